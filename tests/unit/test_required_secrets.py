"""What the rows of `[secrets]` come to."""

import pytest

from strongroom import (
    ConfigurationError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretsManager,
    StoreUnavailableError,
    required_secrets,
)
from strongroom._chain.answer import DEFAULT_STORE
from strongroom._config import Config, LinkConfig, SecretConfig
from strongroom.errors import AuthenticationError, InvalidDataError
from strongroom.required_secrets import RequirementState
from support.stores import RemoteStore

CANARY = "canary-5e1f"
ROW = SecretConfig("database/connection", "url")
OPTIONAL = SecretConfig("database/connection", "url", required=False)


def raising(error):
    def ask(path, key):
        raise error

    return ask


@pytest.mark.parametrize(
    ("error", "row", "state", "met", "is_transient"),
    [
        (SecretNotFoundError("a"), ROW, RequirementState.MISSING, False, True),
        (SecretNotFoundError("a"), OPTIONAL, RequirementState.ABSENT, True, False),
        (StoreUnavailableError("a"), ROW, RequirementState.UNAVAILABLE, False, True),
        (StoreUnavailableError("a"), OPTIONAL, RequirementState.UNAVAILABLE, False, True),
        (PermissionDeniedError("a"), OPTIONAL, RequirementState.DENIED, False, True),
        (AuthenticationError("a"), ROW, RequirementState.DENIED, False, True),
        (InvalidDataError("a"), ROW, RequirementState.FAILED, False, False),
        (ConfigurationError("wrong"), OPTIONAL, RequirementState.FAILED, False, False),
    ],
)
def test_only_a_confirmed_absence_lets_a_row_do_without(error, row, state, met, is_transient):
    """An outage and a denial say nothing of whether the secret exists, whether it is required or not."""
    (requirement,) = required_secrets.resolve({"DATABASE_URL": row}, raising(error))
    assert (requirement.state, requirement.met, requirement.is_transient) == (state, met, is_transient)
    assert repr(requirement.error) == repr(error)
    assert requirement.error.__traceback__ is None
    assert requirement.resolution is None


def test_every_row_is_asked_in_order_and_a_path_once():
    """What is wrong with one row keeps no other from being asked."""
    store = RemoteStore({"a": {"x": CANARY, "y": 1}})
    rows = {"ONE": SecretConfig("a", "x"), "NONE": SecretConfig("none", "k"), "TWO": SecretConfig("a", "y")}
    with SecretsManager(chain=[store]) as secrets:
        answers = required_secrets.resolve(rows, secrets.resolve)
    assert [(row.variable, row.state) for row in answers] == [
        ("ONE", RequirementState.FOUND), ("NONE", RequirementState.MISSING), ("TWO", RequirementState.FOUND),
    ]  # fmt: skip
    assert store.reads == ["a", "none"]
    assert answers[0].resolution.value == CANARY
    assert answers[1].reference == "none#k"
    assert answers[1].reasons[0].startswith("remote: ")
    assert answers[0].reasons == ()
    assert CANARY not in repr(answers)


def test_a_default_is_told_from_a_value():
    """The chain answers with it only where every store has said that there is none."""
    rows = {"N": SecretConfig("none", "k", CANARY, required=False)}
    config = Config(chain=(LinkConfig("memory"),), secrets=rows)
    with SecretsManager.from_config(config) as secrets:
        (row,) = required_secrets.resolve(config.secrets, secrets.resolve)
    assert (row.state, row.met, row.resolution.store) == (RequirementState.DEFAULT, True, DEFAULT_STORE)
    assert CANARY not in repr(row)


def test_an_error_without_attempts_speaks_for_itself():
    """Such as a plugin's, which no store was asked for."""
    (row,) = required_secrets.resolve({"A": ROW}, raising(ConfigurationError("the option url is missing")))
    assert row.reasons == ("the option url is missing",)
