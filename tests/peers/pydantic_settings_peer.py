"""A pytest plugin for the tests in the sdist of pydantic-settings: each setting comes from a chain.

`nox -s peers` runs them. Our source replaces that of the environment, and reads one secret of a chain whose keys are
the variables that the tests set.
"""

import os

import pydantic_settings
import pydantic_settings.main
import pytest

from strongroom import Secret, SecretNotFoundError, SecretsManager
from strongroom.integrations.settings.pydantic import StrongroomSettingsSource
from strongroom.store import Traits

_reads: list[str] = []


class VariablesStore:
    """A store with one secret: the variables of this process."""

    traits = Traits(local=True)

    def read(self, path: str) -> Secret:
        _reads.append(path)
        if not os.environ:
            raise SecretNotFoundError(path)
        return Secret(path, dict(os.environ))

    def close(self) -> None:
        """Nothing is open."""


class EnvSettingsSource(StrongroomSettingsSource):
    """Our source with the name and the arguments of that of the environment."""

    def __init__(self, settings_cls, case_sensitive=None, env_prefix=None, **options):
        prefix = settings_cls.model_config.get("env_prefix", "") if env_prefix is None else env_prefix
        super().__init__(
            settings_cls, "app", manager=_MANAGER, env_prefix=prefix, case_sensitive=case_sensitive, **options
        )


_MANAGER = SecretsManager(chain=[VariablesStore()])


class AWSSecretsManagerSettingsSource(StrongroomSettingsSource):
    """Our source over AWS, with the defaults of theirs."""

    def __init__(self, settings_cls, secret_id, *, case_sensitive=True):
        manager = SecretsManager(chain=["aws-secretsmanager"])
        super().__init__(
            settings_cls, secret_id, manager=manager, case_sensitive=case_sensitive, env_nested_delimiter="--"
        )


pydantic_settings.AWSSecretsManagerSettingsSource = AWSSecretsManagerSettingsSource


_through: set[str] = set()


@pytest.fixture(autouse=True)
def through_a_chain(monkeypatch, request):
    """Put our source in the place of that of the environment, and note the tests that read from it."""
    monkeypatch.setattr(pydantic_settings.main, "EnvSettingsSource", EnvSettingsSource)
    _reads.clear()
    yield
    if _reads:
        _through.add(request.node.nodeid)


def pytest_terminal_summary(terminalreporter):
    """Print the number of tests that read from a chain: others check parts that are not ours."""
    terminalreporter.write_line(f"{len(_through)} tests read from a chain")
