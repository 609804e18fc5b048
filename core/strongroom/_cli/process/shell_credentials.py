"""Environment variables of a shell that hold credentials of other services, and are not passed on to an agent.

Each name is in the documentation of the program that reads it. `*` stands for any text. A variable with the address of
a package index is withheld if the address has a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

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
    "other clouds, as their providers for Terraform read them": (
        "CLOUDFLARE_API_KEY",
        "CLOUDFLARE_API_TOKEN",
        "DIGITALOCEAN_TOKEN",
        "DIGITALOCEAN_ACCESS_TOKEN",
        "GOOGLE_CREDENTIALS",
        "GOOGLE_OAUTH_ACCESS_TOKEN",
        "HCLOUD_TOKEN",
        "LINODE_TOKEN",
        "KUBECONFIG",
        "TF_TOKEN_*",
    ),
    "GitHub: https://cli.github.com/manual/gh_help_environment": (
        "GH_TOKEN",
        "GITHUB_TOKEN",
        "GH_ENTERPRISE_TOKEN",
        "GITHUB_ENTERPRISE_TOKEN",
        "HOMEBREW_GITHUB_API_TOKEN",
        "ACTIONS_*_TOKEN",
    ),
    "GitLab: https://docs.gitlab.com/cli/ and https://docs.gitlab.com/ci/variables/predefined_variables/": (
        "GITLAB_TOKEN",
        "GITLAB_ACCESS_TOKEN",
        "CI_JOB_TOKEN",
        "CI_*_PASSWORD",
        "OAUTH_TOKEN",
    ),
    "other version control, and programs that ask for a password": (
        "BITBUCKET_*TOKEN",
        "BITBUCKET_*PASSWORD",
        "GITEA_TOKEN",
        "GIT_ASKPASS",
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
        "TWINE_PASSWORD",
        "UV_PUBLISH_TOKEN",
        "UV_PUBLISH_PASSWORD",
        "UV_INDEX_*_PASSWORD",
        "POETRY_PYPI_TOKEN_*",
        "POETRY_HTTP_BASIC_*_PASSWORD",
        "FLIT_PASSWORD",
        "HATCH_INDEX_AUTH",
    ),
    "other package indexes: cargo, RubyGems, NuGet, Docker": (
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


def without_shell_credentials(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without known credentials."""
    return {name: text for name, text in variables.items() if not _is_credential(name.upper(), text)}


def _is_credential(name: str, text: str) -> bool:
    if any(fnmatchcase(name, pattern) for patterns in KNOWN.values() for pattern in patterns):
        return True
    return _WITH_PASSWORD.search(text) is not None and any(fnmatchcase(name, pattern) for pattern in _ADDRESSES)
