"""Settings of dynaconf that come from a chain."""

import pytest
from dynaconf import Dynaconf

from strongroom import ConfigurationError, PermissionDeniedError, StoreUnavailableError
from strongroom.errors import InvalidDataError
from strongroom.testing import SimulatedFailure

LOADERS = ["strongroom.integrations.settings.dynaconf", "dynaconf.loaders.env_loader"]
REFERENCES = {"API_KEY": "api-keys/payments#key", "DATABASE": "database/connection", "OTHER": "absent#key"}
SECRETS = {
    "api-keys/payments": {"key": "0123"},
    "database/connection": {"host": "db", "port": 6432, "password": "s3cret"},
}


def settings(**options) -> Dynaconf:
    return Dynaconf(LOADERS_FOR_DYNACONF=LOADERS, **{"STRONGROOM_FOR_DYNACONF": REFERENCES, **options})


def test_keys_and_whole_secrets_become_settings(strongroom_override):
    """Text stays text: a password of digits does not become a number. An absent secret leaves the default."""
    strongroom_override(SECRETS)
    loaded = settings(OTHER="default")
    assert loaded.API_KEY == "0123"
    assert (loaded.database.host, loaded.database.port) == ("db", 6432)
    assert loaded.OTHER == "default"


def test_no_repr_shows_a_value(strongroom_override):
    """Neither that of a value nor that of a nested setting."""
    strongroom_override(SECRETS)
    loaded = settings()
    shown = f"{loaded.API_KEY!r} {loaded.DATABASE!r} {loaded.as_dict()!r}"
    assert "0123" not in shown
    assert "s3cret" not in shown


def test_the_loader_after_ours_wins(strongroom_override, monkeypatch):
    monkeypatch.setenv("DYNACONF_API_KEY", "from the environment")
    strongroom_override(SECRETS)
    assert settings().API_KEY == "from the environment"


def test_a_fresh_variable_follows_a_rotation(strongroom_override):
    """dynaconf loads it at each use, which is a read of the cache."""
    manager = strongroom_override(SECRETS)
    loaded = settings(FRESH_VARS_FOR_DYNACONF=["API_KEY"])
    assert loaded.API_KEY == "0123"
    manager.set_secret("api-keys/payments", {"key": "new"})
    assert loaded.API_KEY == "new"


@pytest.mark.parametrize(
    ("failure", "error"),
    [(SimulatedFailure.DENIED, PermissionDeniedError), (SimulatedFailure.UNAVAILABLE, StoreUnavailableError)],
)
def test_a_denied_or_unavailable_secret_is_never_a_default(strongroom_override, failure, error):
    """Also if dynaconf is silent, as it is by default."""
    strongroom_override({**SECRETS, "absent": failure})
    with pytest.raises(error, match="absent"):
        _ = settings(OTHER="default", SILENT_ERRORS_FOR_DYNACONF=True).OTHER


@pytest.mark.parametrize("value", ["@jinja {{ 6 * 7 }}", "@read_file /etc/hostname", "@del"])
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"in": [value]}], ids=["text", "nested"])
def test_a_value_is_never_evaluated(strongroom_override, value, wrap):
    """Whoever writes a secret would run code in the application."""
    strongroom_override({**SECRETS, "absent": {"key": wrap(value)}})
    with pytest.raises(InvalidDataError, match="OTHER") as raised:
        _ = settings().OTHER
    assert value not in str(raised.value)


def test_the_rows_of_the_configuration_are_settings_by_default(application):
    loaded = settings(STRONGROOM_FOR_DYNACONF=None)
    assert (loaded.PAYMENTS_KEY, loaded.APP_SECRET_KEY) == ("sk-4711", "first")


def test_a_mapping_that_is_none_is_refused(strongroom_override):
    strongroom_override(SECRETS)
    with pytest.raises(ConfigurationError, match="STRONGROOM_FOR_DYNACONF"):
        _ = settings(STRONGROOM_FOR_DYNACONF=["api-keys/payments#key"]).API_KEY
