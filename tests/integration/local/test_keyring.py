"""The keyring of the system: passwords of other programs, and sessions without a usable keyring."""

import os
import secrets

import pytest
from keyring.backend import KeyringBackend
from keyring.backends import null
from keyring.backends.SecretService import Keyring as SecretService

from strongroom.errors import ConfigurationError, PermissionDeniedError, SecretNotFoundError, StoreUnavailableError
from strongroom_local.keyring_store import open_keyring

pytestmark = pytest.mark.skipif("TEST_KEYRING" not in os.environ, reason="a real keyring: nox -s keyring")


@pytest.fixture
def service(session_keyring):
    return f"strongroom-{secrets.token_hex(4)}"


def test_a_password_of_another_program_is_one_value(service):
    """It is the value of one key, is listed, and stays plain text when it is written again."""
    library = SecretService()
    library.set_password(service, "mail/app", "hunter2\n")
    store = open_keyring(service=service)
    assert list(store.walk("")) == ["mail/app"]
    assert store.read("mail/app").data == {"value": "hunter2\n"}
    store.write("mail/app", {"value": "hunter3"})
    assert library.get_password(service, "mail/app") == "hunter3"


def test_other_services_are_left_alone(service):
    """A store has the passwords of its service only."""
    open_keyring(service=f"{service}-other").write("app", {"user": "app"})
    store = open_keyring(service=service)
    assert list(store.walk("")) == []
    with pytest.raises(SecretNotFoundError):
        store.read("app")
    with pytest.raises(SecretNotFoundError):
        store.delete("app")


def test_a_session_without_a_keyring_is_unavailable_and_says_what_to_do(monkeypatch):
    """A headless machine has no answer, which is no absence; and it recovers when a session appears."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus")
    store = open_keyring(service="strongroom")
    for operation in (lambda: store.read("app"), lambda: list(store.walk("")), store.probe):
        with pytest.raises(StoreUnavailableError, match=r"no keyring.*dbus-run-session"):
            operation()


def test_a_keyring_that_appears_later_is_used(service, monkeypatch):
    """The library would remember that there was none."""
    store = open_keyring(service=service)
    with monkeypatch.context() as headless:
        headless.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus")
        with pytest.raises(StoreUnavailableError):
            store.read("app")
    store.write("app", {"user": "app"})
    assert store.read("app").data == {"user": "app"}


def test_a_locked_keyring_is_denied(locked_keyring):
    """Whether the secret exists is unknown."""
    with pytest.raises(PermissionDeniedError, match="locked"):
        open_keyring(service="strongroom").read("app")


def test_a_keyring_that_keeps_plain_text_is_refused(monkeypatch):
    """Its file would not protect the passwords."""
    monkeypatch.setattr(
        KeyringBackend,
        "get_viable_backends",
        lambda: iter([type("PlaintextKeyring", (null.Keyring,), {"__module__": "keyrings.alt.file"})]),
    )
    with pytest.raises(ConfigurationError, match="does not protect"):
        open_keyring(service="strongroom").write("app", {"user": "app"})
