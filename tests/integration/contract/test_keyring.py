"""The keyring of the system keeps the contract, in a real Secret Service."""

import os
import secrets
import socket

import pytest

from strongroom.testing import StoreContract
from strongroom_local.keyring_store import open_keyring

pytestmark = pytest.mark.skipif("TEST_KEYRING" not in os.environ, reason="a real keyring: nox -s keyring")


class TestKeyring(StoreContract):
    """Whole secrets in JSON, so that every value survives."""

    capabilities = frozenset({"listable", "writable", "probed"})
    page_size = 2
    many = 20

    @pytest.fixture
    def store(self, session_keyring):
        return open_keyring(service=f"strongroom-{secrets.token_hex(4)}")

    @pytest.fixture
    def denied(self, locked_keyring):
        """The keyring is locked, and nobody answers a prompt."""
        return open_keyring(service="strongroom")

    @pytest.fixture
    def unreachable(self, socket_folder, monkeypatch):
        """A bus that accepts connections and never answers."""
        file = socket_folder / "bus"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(file))
            listener.listen(100)
            monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={file}")
            yield open_keyring(service="strongroom")
