"""Options of the Vault store that are checked before it is opened."""

import pytest

from strongroom import ConfigurationError, SecretsManager
from strongroom_vault.auth.methods import METHODS
from strongroom_vault.options import METHODS as NAMES


def configured(auth: dict[str, str]) -> dict[str, object]:
    return {"chain": ["vault"], "stores": {"vault": {"url": "http://127.0.0.1:1", "auth": auth}}}


@pytest.mark.parametrize("auth", [{"method": "aprole"}, {"role_id": "canary-1"}, {"method": "canary-1"}])
def test_an_unknown_login_method_is_found_when_the_manager_is_made(auth: dict[str, str]) -> None:
    """Not by the first read. The message does not show the text, since a token can stand there."""
    with pytest.raises(ConfigurationError, match="auth: method must be one of agent, approle, ") as caught:
        SecretsManager.from_config(configured(auth))
    assert "canary" not in str(caught.value)


def test_every_method_can_be_named() -> None:
    assert list(NAMES) == list(METHODS)
    for name in NAMES:
        SecretsManager.from_config(configured({"method": name})).close()


@pytest.mark.parametrize(("option", "instead"), [("rate_limit", "sys/quotas"), ("shared_token_file", "token-file")])
def test_an_option_of_an_earlier_release_is_told_what_takes_its_place(option: str, instead: str) -> None:
    config = {"chain": ["vault"], "stores": {"vault": {"url": "http://127.0.0.1:1", option: "x"}}}
    with pytest.raises(ConfigurationError, match=f"vault.* {option}: it was removed: .*{instead}"):
        SecretsManager.from_config(config)
