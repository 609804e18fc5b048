"""Environment variables of a shell that hold credentials of other services, and are not passed on to an agent.

Each name is in the documentation of the program that reads it, or one that its users often choose (`PYPI_TOKEN`). `*`
stands for any text. A variable with the address of a package index is withheld if the address has a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from strongroom._cli.process.store_credentials import without_credentials
from strongroom._config import Config

KNOWN: Mapping[str, tuple[str, ...]] = {
    "AWS: https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN*",
        "AWS_CONTAINER_CREDENTIALS_*",
        "AWS_BEARER_TOKEN_*",
    ),
    "Google Cloud: https://cloud.google.com/docs/authentication/application-default-credentials": (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "CLOUDSDK_AUTH_*",
    ),
    "Azure: https://learn.microsoft.com/python/api/azure-identity/azure.identity.environmentcredential": (
        "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_CERTIFICATE_*",
        "AZURE_PASSWORD",
        "AZURE_FEDERATED_TOKEN_FILE",
        "ARM_CLIENT_SECRET",
        "ARM_ACCESS_KEY",
    ),
    "Azure's storage and DevOps: https://learn.microsoft.com/cli/azure/azure-cli-configuration, /azure/devops/cli": (
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_DEVOPS_EXT_PAT",
        "SYSTEM_ACCESSTOKEN",
    ),
    "other stores of secrets: the command lines of 1Password, Doppler, Infisical and Bitwarden, and SOPS": (
        "OP_SERVICE_ACCOUNT_TOKEN",
        "OP_CONNECT_TOKEN",
        "OP_SESSION_*",
        "DOPPLER_TOKEN",
        "INFISICAL_TOKEN",
        "INFISICAL_CLIENT_SECRET",
        "INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET",
        "BWS_ACCESS_TOKEN",
        "BW_SESSION",
        "SOPS_AGE_KEY",
    ),
    "other clouds, as their command lines and their providers for Terraform read them": (
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "CF_API_KEY",
        "CF_API_TOKEN",
        "CLOUDFLARE_API_KEY",
        "CLOUDFLARE_API_TOKEN",
        "DIGITALOCEAN_TOKEN",
        "DIGITALOCEAN_ACCESS_TOKEN",
        "FLY_API_TOKEN",
        "GOOGLE_CREDENTIALS",
        "GOOGLE_OAUTH_ACCESS_TOKEN",
        "HCLOUD_TOKEN",
        "HEROKU_API_KEY",
        "LINODE_TOKEN",
        "KUBECONFIG",
        "SCW_SECRET_KEY",
        "TF_TOKEN_*",
    ),
    "GitHub: https://cli.github.com/manual/gh_help_environment": (
        "GH_TOKEN",
        "GITHUB_TOKEN",
        "GH_ENTERPRISE_TOKEN",
        "GITHUB_ENTERPRISE_TOKEN",
        "GITHUB_PAT",
        "HOMEBREW_GITHUB_API_TOKEN",
        "ACTIONS_*_TOKEN",
    ),
    "GitLab: https://docs.gitlab.com/cli/ and https://docs.gitlab.com/ci/variables/predefined_variables/": (
        "GITLAB_TOKEN",
        "GITLAB_ACCESS_TOKEN",
        "GITLAB_PRIVATE_TOKEN",
        "GL_TOKEN",
        "CI_JOB_JWT*",
        "CI_JOB_TOKEN",
        "CI_*_PASSWORD",
        "OAUTH_TOKEN",
    ),
    "other version control, https://git-scm.com/docs/git-config, and programs that ask for a password": (
        "BITBUCKET_*TOKEN",
        "BITBUCKET_*PASSWORD",
        "GITEA_TOKEN",
        "GIT_ASKPASS",
        "GIT_CONFIG_COUNT",  # without which git does not look for the values, and with which it needs them
        "GIT_CONFIG_VALUE_*",
        "SSH_ASKPASS",
        "SSH_AUTH_SOCK",
    ),
    "npm and yarn: https://docs.npmjs.com/cli/using-npm/config, https://yarnpkg.com/configuration/yarnrc": (
        "NPM_TOKEN",
        "NODE_AUTH_TOKEN",
        "NPM_CONFIG_*_AUTH*",
        "NPM_CONFIG_*PASSWORD*",
        "NPM_CONFIG__AUTH*",
        "YARN_NPM_AUTH_*",
    ),
    "Python: https://twine.readthedocs.io, https://docs.astral.sh/uv/reference/environment/, Poetry, Flit, Hatch": (
        "PYPI_TOKEN",
        "TWINE_PASSWORD",
        "UV_PUBLISH_TOKEN",
        "UV_PUBLISH_PASSWORD",
        "UV_INDEX_*_PASSWORD",
        "POETRY_PYPI_TOKEN_*",
        "POETRY_HTTP_BASIC_*_PASSWORD",
        "FLIT_PASSWORD",
        "HATCH_INDEX_AUTH",
    ),
    "other package indexes: cargo, RubyGems, NuGet, Docker, Composer, CodeArtifact, Artifactory, Hugging Face": (
        "ARTIFACTORY_API_KEY",
        "BUNDLE_GEM__*",
        "CODEARTIFACT_AUTH_TOKEN",
        "COMPOSER_AUTH",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "JFROG_ACCESS_TOKEN",
        "CARGO_REGISTRY_TOKEN",
        "CARGO_REGISTRIES_*_TOKEN",
        "GEM_HOST_API_KEY",
        "NUGETPACKAGESOURCECREDENTIALS_*",
        "DOCKER_AUTH_CONFIG",
    ),
}
"""Patterns of names in upper case, by group."""

_ADDRESSES = ("PIP_*INDEX_URL", "PIP_FIND_LINKS", "UV_*INDEX*", "UV_FIND_LINKS", "GOPROXY", "NPM_CONFIG_*REGISTRY")
"""Patterns of variables with addresses."""

_WITH_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]+@|://[^/\s@]{16,}@")


def passed_to_agents(variables: Mapping[str, str], config: Config) -> dict[str, str]:
    """Return the variables for a program of an agent: no credential of a store or of the shell, no row of `[secrets]`.

    Raises:
        PluginError: see `without_credentials`.
    """
    passed = without_shell_credentials(without_credentials(variables, config))
    return {name: text for name, text in passed.items() if name not in config.secrets}


def without_shell_credentials(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without known credentials."""
    return {name: text for name, text in variables.items() if not _is_credential(name.upper(), text)}


def _is_credential(name: str, text: str) -> bool:
    if any(fnmatchcase(name, pattern) for patterns in KNOWN.values() for pattern in patterns):
        return True
    return _WITH_PASSWORD.search(text) is not None and any(fnmatchcase(name, pattern) for pattern in _ADDRESSES)
