"""Credentials of the shell that an agent does not inherit."""

from __future__ import annotations

import pytest

from strongroom._cli.process.shell_credentials import passed_to_agents, without_shell_credentials
from strongroom._config import discovery


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "AZURE_CLIENT_SECRET",
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "GITLAB_TOKEN",
        "SSH_AUTH_SOCK",
        "NPM_TOKEN",
        "npm_config__authToken",
        "UV_INDEX_PRIVATE_PASSWORD",
        "POETRY_HTTP_BASIC_PRIVATE_PASSWORD",
        "CARGO_REGISTRIES_PRIVATE_TOKEN",
        "TF_TOKEN_app_terraform_io",
        "KUBECONFIG",
        "OP_SERVICE_ACCOUNT_TOKEN",
        "OP_CONNECT_TOKEN",
        "DOPPLER_TOKEN",
        "INFISICAL_CLIENT_SECRET",
        "BWS_ACCESS_TOKEN",
        "SOPS_AGE_KEY",
        "AZURE_STORAGE_CONNECTION_STRING",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "SYSTEM_ACCESSTOKEN",
        "CI_JOB_JWT_V2",
        "BUNDLE_GEM__FURY__IO",
        "GIT_CONFIG_VALUE_0",
        "COMPOSER_AUTH",
        "HF_TOKEN",
    ],
)
def test_a_known_credential_is_withheld(name):
    assert without_shell_credentials({name: "value", "LANG": "C"}) == {"LANG": "C"}


@pytest.mark.parametrize(
    "name",
    ["AWS_REGION", "AWS_PROFILE", "GH_HOST", "UV_INDEX_STRATEGY", "ANTHROPIC_API_KEY", "CLOUDSDK_CONFIG", "HOME"],
)
def test_a_setting_is_passed_on(name):
    """The key of a model too: an agent may need it for itself."""
    assert without_shell_credentials({name: "value"}) == {name: "value"}


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "GOPROXY"])
def test_an_address_of_packages_is_withheld_with_its_password(name):
    assert without_shell_credentials({name: "https://robot:password@pypi.example.com/simple"}) == {}
    plain = {name: "https://pypi.example.com/simple"}
    assert without_shell_credentials(plain) == plain


def test_a_program_of_an_agent_gets_no_row_and_no_credential():
    config = discovery.load(document={"secrets": {"QUERY_KEY": "query/x#key"}}, environ={})
    variables = {"QUERY_KEY": "value", "GITHUB_TOKEN": "value", "VAULT_TOKEN": "value", "LANG": "C"}
    assert passed_to_agents(variables, config) == {"LANG": "C"}
