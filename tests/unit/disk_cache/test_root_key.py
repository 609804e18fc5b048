"""Root keys outside of the folder. The keyring is one of this process, and the credential is as systemd passes it."""

import logging
import sys
import threading

import keyring
import pytest
from keyring.backends import fail

from strongroom.config import CacheConfig, discovery
from strongroom.disk_cache import maintenance
from strongroom.disk_cache.container import Container
from strongroom.disk_cache.external_keys import CREDENTIAL, SERVICE
from strongroom.disk_cache.store_cache import StoreCache
from strongroom.errors import ConfigurationError
from strongroom.secret import Secret
from strongroom.store import time_limit


class ProcessKeyring(keyring.backend.KeyringBackend):
    """A keyring that ends with its process."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.entries = {}
        self.calls = 0

    def get_password(self, service, username):
        self.calls += 1
        return self.entries.get((service, username))

    def set_password(self, service, username, password):
        self.entries[service, username] = password

    def delete_password(self, service, username):
        del self.entries[service, username]


class LockedKeyring(ProcessKeyring):
    """A keyring that waits for the user to unlock it."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()

    def get_password(self, service, username):
        assert self.gate.wait(60)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def install():
    """Use a keyring in this test."""
    before = keyring.get_keyring()

    def use(backend):
        keyring.set_keyring(backend)
        return backend

    yield use
    keyring.set_keyring(before)


@pytest.fixture
def credential(tmp_path, monkeypatch):
    """A file in the folder in which systemd passes credentials."""
    file = tmp_path / "credentials" / CREDENTIAL
    file.parent.mkdir()
    file.write_bytes(bytes(range(32)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    return file


def read(folder, key, value):
    """Read the secret in a new process, while the store has this value."""
    cache = StoreCache(Container(folder, 1 << 22, key), "vault", dict, CacheConfig())
    return cache.fetch("db/app", lambda: Secret("db/app", {"k": value})).data["k"]


def faults(caplog):
    prefix = "The disk cache of store vault is not used: "
    return [each.getMessage().removeprefix(prefix) for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_key_in_the_keyring(folder, install, caplog):
    """It is not in the folder. Without it the entries are misses."""
    service = install(ProcessKeyring())
    assert [read(folder, "keyring", value) for value in ("one", "two")] == ["one", "one"]
    assert not (folder / "root.key").exists()
    ((name, key),) = service.entries.items()
    assert name == (SERVICE, str(folder))
    assert not any(bytes.fromhex(key) in file.read_bytes() for file in folder.iterdir())
    service.entries[name] = "00" * 32
    assert read(folder, "keyring", "three") == "three"
    assert faults(caplog) == []


def test_a_process_asks_the_keyring_once(folder, install):
    service = install(ProcessKeyring())
    read(folder, "keyring", "one")
    service.calls = 0
    cache = StoreCache(Container(folder, 1 << 22, "keyring"), "vault", dict, CacheConfig())
    assert [cache.current("db/app").data["k"] for _ in range(5)] == ["one"] * 5
    assert service.calls == 1


def test_upkeep_of_a_key_in_the_keyring(folder, install):
    service = install(ProcessKeyring())
    read(folder, "keyring", "one")
    assert maintenance.inspect(folder, "keyring").entries == maintenance.verify(folder, "keyring").entries == 1
    before = dict(service.entries)
    maintenance.rotate_key(folder, "keyring")
    assert service.entries.keys() == before.keys()
    assert service.entries != before
    assert read(folder, "keyring", "two") == "two"
    maintenance.clear(folder, "keyring")
    assert service.entries == {}


@pytest.mark.parametrize("stored", ["00", "text", ""])
def test_a_damaged_key_in_the_keyring_is_a_miss_with_one_warning(folder, install, caplog, stored):
    install(ProcessKeyring()).entries[SERVICE, str(folder)] = stored
    assert [read(folder, "keyring", value) for value in ("one", "two")] == ["one", "two"]
    assert set(faults(caplog)) == {"the root key in the keyring is damaged; run strongroom cache clear"}


def test_no_keyring_is_a_miss_with_one_warning(folder, install, caplog):
    """As in a job of cron."""
    install(fail.Keyring())
    assert read(folder, "keyring", "one") == "one"
    assert faults(caplog) == ["the keyring cannot be used (NoKeyringError)"]


def test_without_the_library_each_read_is_a_miss(folder, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert read(folder, "keyring", "one") == "one"
    assert faults(caplog) == ["the library keyring is not installed: pip install keyring"]


def test_a_keyring_that_does_not_answer_is_a_miss_within_the_deadline(folder, install, caplog):
    locked = install(LockedKeyring())
    try:
        with time_limit(0.2):
            assert read(folder, "keyring", "one") == "one"
    finally:
        locked.gate.set()
    assert faults(caplog) == ["the keyring cannot be used (StoreUnavailableError)"]


def test_a_key_in_a_credential_of_systemd(folder, credential, caplog):
    assert [read(folder, "systemd", value) for value in ("one", "two")] == ["one", "one"]
    assert not (folder / "root.key").exists()
    credential.write_bytes(b"x" * 32)
    assert read(folder, "systemd", "three") == "three"
    assert faults(caplog) == []


def test_systemd_alone_changes_its_credential(folder, credential):
    read(folder, "systemd", "one")
    with pytest.raises(OSError, match="with systemd-creds, and restart the service"):
        maintenance.rotate_key(folder, "systemd")
    maintenance.clear(folder, "systemd")
    assert credential.exists()


def test_no_credential_of_systemd_is_a_miss_with_one_warning(folder, credential, caplog):
    """As in a shell of the same user."""
    credential.unlink()
    assert read(folder, "systemd", "one") == "one"
    assert faults(caplog) == ["systemd has passed no credential strongroom-cache to this process"]


def test_a_short_credential_is_a_miss_with_one_warning(folder, credential, caplog):
    credential.write_bytes(b"short")
    assert read(folder, "systemd", "one") == "one"
    assert faults(caplog) == ["the credential strongroom-cache must have 32 to 4096 bytes"]


def test_the_place_is_a_setting(tmp_path):
    file = tmp_path / "strongroom.toml"
    file.write_text('[cache]\nkey = "keyring"\n')
    assert discovery.load(config_file=file).cache.key == "keyring"
    file.write_text('[cache]\nkey = "tpm"\n')
    with pytest.raises(ConfigurationError, match="must be 'file', 'keyring' or 'systemd'"):
        discovery.load(config_file=file)
