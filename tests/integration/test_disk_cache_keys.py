"""Root keys of the disk cache in a real keyring and in a credential that systemd encrypts."""

import os
import shutil
import subprocess

import keyring
import pytest
from keyring.backends.SecretService import Keyring as SecretService

from strongroom.config import CacheConfig
from strongroom.disk_cache import maintenance
from strongroom.disk_cache.container import Container
from strongroom.disk_cache.external_keys import CREDENTIAL, SERVICE
from strongroom.disk_cache.store_cache import StoreCache
from strongroom.secret import Secret


def read(folder, key, value):
    """Read the secret as a new process does, while the store has this value."""
    cache = StoreCache(Container(folder, 1 << 22, key), "vault", dict, CacheConfig())
    return cache.fetch("db/app", lambda: Secret("db/app", {"k": value})).data["k"]


@pytest.fixture
def library(session_keyring):
    """The library keyring, with the Secret Service of this session."""
    before = keyring.get_keyring()
    keyring.set_keyring(SecretService())
    yield keyring
    keyring.set_keyring(before)


@pytest.mark.skipif("TEST_KEYRING" not in os.environ, reason="a real keyring: nox -s keyring")
def test_a_root_key_in_gnome_keyring(tmp_path, library):
    """It is not in the folder, rotates, and is gone after `cache clear`."""
    folder = tmp_path / "cache"
    assert [read(folder, "keyring", value) for value in ("one", "two")] == ["one", "one"]
    first = library.get_password(SERVICE, str(folder))
    assert len(bytes.fromhex(first)) == 32
    assert not (folder / "root.key").exists()
    assert not any(bytes.fromhex(first) in file.read_bytes() for file in folder.iterdir())
    maintenance.rotate_key(folder, "keyring")
    assert library.get_password(SERVICE, str(folder)) != first
    assert read(folder, "keyring", "three") == "three"
    maintenance.clear(folder, "keyring")
    assert library.get_password(SERVICE, str(folder)) is None


@pytest.mark.skipif(shutil.which("systemd-creds") is None, reason="systemd-creds is not installed")
def test_a_root_key_that_systemd_decrypts_for_each_start_of_a_service(tmp_path, monkeypatch):
    """Under a key of the host, since this machine may have no TPM. `decrypt` is what systemd itself does."""
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", str(tmp_path / "host.key"))
    encrypted = tmp_path / "strongroom-cache.cred"
    creds = ["systemd-creds", f"--name={CREDENTIAL}"]
    made = subprocess.run(
        [*creds, "--with-key=host", "encrypt", "-", encrypted], input=os.urandom(32), capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("systemd-creds cannot encrypt under a key of the host here")
    found = []
    for start, value in (("first", "one"), ("second", "two")):
        credentials = tmp_path / start
        credentials.mkdir()
        subprocess.run([*creds, "decrypt", encrypted, credentials / CREDENTIAL], capture_output=True, check=True)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
        found.append(read(tmp_path / "cache", "systemd", value))
    assert found == ["one", "one"]
    assert not (tmp_path / "cache" / "root.key").exists()
