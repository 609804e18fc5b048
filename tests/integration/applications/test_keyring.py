"""Passwords of keyring in a real OpenBao: the tests that keyring has for every backend, and ours."""

import os
import subprocess
import sys
from pathlib import Path

import keyring
import pytest
from keyring import errors
from keyring.testing.backend import BackendBasicTests

from strongroom import SecretsManager
from strongroom.integrations.keyring import StrongroomKeyring
from strongroom.testing import SimulatedFailure


@pytest.fixture(scope="module")
def manager(openbao):
    """A manager of a store of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRONGROOM_STORES_VAULT_MOUNT", openbao.fresh_mount(version=2))
        manager = SecretsManager(openbao.url, openbao.token, enable_fallback=False)
    with manager:
        yield manager


class TestBackend(BackendBasicTests):
    """The tests of keyring itself."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _chain(cls, manager):
        cls.manager = manager

    def init_keyring(self):
        return StrongroomKeyring().with_properties(manager=self.manager)


@pytest.mark.parametrize("name", ["a/b", "a//b", "", ".", "..", "=", "=2F", "a b", "ß", "\udc80", "a" * 300])
def test_every_name_is_a_path_of_its_own(manager, name):
    """Also names that a path cannot hold. The only user of a service is found without its name."""
    backend = StrongroomKeyring().with_properties(manager=manager)
    with pytest.deprecated_call() if not name else pytest.MonkeyPatch.context():
        backend.set_password(f"of {name}", name, "s3cret")
    assert backend.get_credential(f"of {name}", None).username == name
    backend.set_password(name, "user", "other")
    assert backend.get_password(f"of {name}", name) == "s3cret"
    assert backend.get_password(name, "user") == "other"


def test_which_of_two_users_is_meant_is_not_guessed(manager):
    backend = StrongroomKeyring().with_properties(manager=manager)
    backend.set_password("two users", "a", "1")
    backend.set_password("two users", "b", "2")
    assert backend.get_credential("two users", None) is None


@pytest.mark.parametrize("row", [{"at": "git/h#token", "username": "ada"}, "git/h"], ids=["named", "of the secret"])
def test_the_password_of_a_row_of_helpers_is_not_changed(row):
    """It would be stored elsewhere, and never be read. Another user than the row's has a separate password."""
    held = {"git/h": {"token": "s3cret", "username": "ada", "password": "s3cret"}}
    table = {"chain": ["memory"], "stores": {"memory": {"secrets": held}}, "helpers": {"h.example": row}}
    with SecretsManager.from_config(table) as manager:
        backend = StrongroomKeyring().with_properties(manager=manager)
        with pytest.raises(errors.PasswordSetError, match=r"row h\.example of \[helpers\] .* git/h, .* strongroom set"):
            backend.set_password("https://h.example", "ada", "other")
        with pytest.raises(errors.PasswordDeleteError, match="remove the row"):
            backend.delete_password("h.example", "ada")
        if isinstance(row, dict):
            backend.set_password("h.example", "bob", "own")
            assert backend.get_password("h.example", "bob") == "own"
        assert backend.get_password("h.example", "ada") == "s3cret"


@pytest.mark.parametrize("failure", [SimulatedFailure.DENIED, SimulatedFailure.UNAVAILABLE])
def test_a_denial_or_an_outage_is_no_missing_password(strongroom_override, failure):
    strongroom_override({"keyring/shop/ada": failure})
    with pytest.raises(errors.KeyringError, match="keyring/shop/ada"):
        StrongroomKeyring().get_password("shop", "ada")
    with pytest.raises(errors.KeyringError, match="keyring/shop/ada"):
        StrongroomKeyring().get_credential("shop", "ada")


def test_the_functions_of_keyring_use_it_where_it_is_set(strongroom_override):
    """The prefix is a property of keyring."""
    strongroom_override({"team/keys/shop/ada": {"password": "s3cret"}})
    before = keyring.get_keyring()
    keyring.set_keyring(StrongroomKeyring().with_properties(prefix="team/keys"))
    try:
        assert keyring.get_password("shop", "ada") == "s3cret"
        assert keyring.get_password("shop", "bob") is None
    finally:
        keyring.set_keyring(before)


def test_the_command_of_keyring_reads_through_the_chain(openbao, kv2):
    """As configured by a variable, in a separate process."""
    openbao.put("keyring/shop/ada", {"password": "s3cret"}, mount=kv2)
    variables = {
        "PYTHON_KEYRING_BACKEND": "strongroom.integrations.keyring.StrongroomKeyring",
        "VAULT_ADDR": openbao.url,
        "VAULT_TOKEN": openbao.token,
        "STRONGROOM_STORES_VAULT_MOUNT": kv2,
    }
    command = [sys.executable, "-m", "keyring", "get", "shop", "ada"]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    assert done.stdout == "s3cret\n"


@pytest.fixture
def their_folder(monkeypatch, tmp_path):
    """The working directory is a stranger's, even if it was trusted. The user has a configuration."""
    monkeypatch.setattr("strongroom.integrations.keyring._manager", None)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    mine = tmp_path / "xdg" / "strongroom" / "strongroom.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text('chain = ["json"]\n[stores.json]\nfile = "passwords.json"\n')
    (tmp_path / "theirs").mkdir()
    monkeypatch.chdir(tmp_path / "theirs")
    Path("strongroom.toml").write_text(f'chain = ["memory", "command"]\n{CONSTANT}')
    Path(".env").write_text("KEYRING_SHOP_ADA_PASSWORD=theirs\n")
    for file in (Path("strongroom.toml"), Path(".env")):
        file.chmod(0o600)
    return mine


CONSTANT = '[stores.memory.secrets."keyring/shop/ada"]\npassword = "theirs"\n'


def test_nothing_of_the_working_directory_is_used(their_folder, monkeypatch):
    """pip and uv start keyring in any folder. A new password goes to the store of the user."""
    backend = StrongroomKeyring()
    assert backend.get_password("shop", "ada") is None
    backend.set_password("shop", "ada", "mine")
    assert backend.get_password("shop", "ada") == "mine"
    assert b"mine" in their_folder.with_name("passwords.json").read_bytes()
    monkeypatch.setattr("strongroom.integrations.keyring._manager", None)
    monkeypatch.setenv("STRONGROOM_CONFIG", "strongroom.toml")
    for call in (backend.get_password, backend.get_credential, backend.delete_password):
        with pytest.raises(errors.KeyringError, match="absolute path"):
            call("shop", "ada")


@pytest.fixture
def rows():
    """A backend whose manager has rows of `[helpers]`."""
    secrets = {"team/index": {"username": "ci", "password": "s3cret"}, "team/token": {"token": "t0ken"}}
    helpers = {"pypi.corp.example": "team/index", "h.example:8443": {"at": "team/token#token", "username": "bot"}}
    stores = {"memory": {"secrets": secrets}}
    with SecretsManager.from_config({"chain": ["memory"], "stores": stores, "helpers": helpers}) as manager:
        yield StrongroomKeyring().with_properties(manager=manager)


@pytest.mark.parametrize("service", ["https://pypi.corp.example/simple/", "pypi.corp.example", "pypi.corp.example:443"])
def test_a_service_with_a_row_has_the_login_of_the_row(rows, service):
    """uv asks by the URL of the index, then by its host and port."""
    assert rows.get_password(service, "ci") == "s3cret"
    found = rows.get_credential(service, None)
    assert (found.username, found.password) == ("ci", "s3cret")
    assert rows.get_password(service, "ada") is None


def test_a_row_answers_for_its_user_and_its_port_alone(rows):
    assert rows.get_credential("https://h.example:8443/x", "bot").password == "t0ken"
    assert rows.get_password("https://h.example:8443/x", "ada") is None
    for service in ("https://h.example/x", "http://h.example:8443", "bot@h.example:8443", "mail"):
        assert rows.get_password(service, "bot") is None
    with pytest.raises(errors.KeyringError, match="has a path with a segment"):
        rows.get_password("https://h.example:8443/../x", "bot")


@pytest.mark.parametrize("failure", [SimulatedFailure.DENIED, SimulatedFailure.UNAVAILABLE])
def test_a_denial_or_an_outage_of_a_row_is_no_missing_password(strongroom_override, rows, failure):
    strongroom_override({"team/index": failure})
    with pytest.raises(errors.KeyringError, match="team/index"):
        rows.get_credential("pypi.corp.example", None)


@pytest.mark.usefixtures("their_folder")
def test_the_command_of_keyring_shows_its_own_error_alone(closed_port):
    """Not the errors that led to it, in a folder whose file would answer."""
    variables = {
        "PYTHON_KEYRING_BACKEND": "strongroom.integrations.keyring.StrongroomKeyring",
        "XDG_CONFIG_HOME": os.devnull,
        "VAULT_ADDR": f"http://127.0.0.1:{closed_port}",
        "VAULT_TOKEN": "canary-token",
    }
    command = [sys.executable, "-m", "keyring", "get", "shop", "ada"]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.rstrip().rpartition("\n")[2].startswith("keyring.errors.KeyringError: Cannot connect to Vault")
    assert done.stderr.count("Traceback") == 1
    assert "canary" not in done.stderr
