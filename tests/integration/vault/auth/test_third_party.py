"""Authentication methods of other distributions: they log in, and their faults are contained and named."""

import json
import threading

import pytest

from strongroom import SecretsManager
from strongroom._cli.operate.plugins.new_plugin import names_of, package
from strongroom._config import discovery
from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    PluginError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.secret import SensitiveStr, protect_data
from strongroom.store import time_limit
from strongroom_vault import options
from strongroom_vault.auth import Grant
from strongroom_vault.auth.methods import GROUP, read_auth
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.messages import Reply
from strongroom_vault.testing import ScriptedSend
from support.search_path import search_path

__all__ = ["search_path"]

CANARY = "canary-5e1f"
TITLE = "hostile of corp-auth 1.2"


@pytest.fixture
def userpass(search_path, openbao, enabled, readable, tmp_path):
    """The plugin of `strongroom new-plugin corp --auth`, with a user at the shared server; returns its table."""
    source = package("auth", names_of("corp"))["src/strongroom_corp/__init__.py"]
    search_path.install("corp-auth", {"corp": "corp_auth:CorpAuth"}, modules={"corp_auth": source}, group=GROUP)
    mount = enabled("userpass")
    openbao.call("POST", f"auth/{mount}/users/app", {"password": CANARY, "token_policies": readable.policy})
    (tmp_path / "password").write_text(CANARY)
    return {"method": "corp", "username": "app", "password_file": str(tmp_path / "password"), "mount": mount}


def test_store_logs_in_with_the_method(reads, userpass):
    """In code: the table is the argument `auth`, as for the methods of Strongroom."""
    assert reads(userpass)


def test_method_works_from_the_configuration(openbao, readable, userpass, tmp_path):
    """A file names it like any other."""
    table = ", ".join(f'{name} = "{value}"' for name, value in userpass.items())
    (tmp_path / "strongroom.toml").write_text(
        f'chain = ["vault"]\n[stores.vault]\nurl = "{openbao.url}"\nmount = "{readable.mount}"\nauth = {{ {table} }}\n'
    )
    with SecretsManager.from_config(discovery.load(config_file=tmp_path / "strongroom.toml")) as secrets:
        assert secrets.get_secret("app", "password") == "hunter2"


def test_refused_password_is_an_authentication_error(reads, userpass, tmp_path, exposed):
    """The file is read anew at each login, and shown never."""
    (tmp_path / "password").write_text(f"wrong-{CANARY}")
    with pytest.raises(VaultAuthenticationError, match="does not accept the password of this user") as caught:
        reads(userpass)
    assert not exposed(caught.value, CANARY)
    (tmp_path / "password").write_text(CANARY)
    assert reads(userpass)


HOSTILE = """
    from strongroom.errors import AuthenticationError, ConfigurationError
    from strongroom_vault.auth import Grant
    from strongroom_vault.http.hvac_adapter import ApiRequest

    class Hostile:
        def __init__(self, *, way: str, password: str = "") -> None:
            if way == "constructor":
                raise ValueError(password)
            if way == "quoting constructor":
                raise ConfigurationError(f"password: {password} is too short")
            if way == "import":
                import no_such_sdk
            self.way, self.password = way, password

        def login(self, send):
            if self.way == "prints":
                print(self.password)
            if self.way == "key error":
                raise KeyError(self.password)
            if self.way == "quotes":
                raise AuthenticationError(reason=f"{self.password} is wrong")
            if self.way == "quotes its request":
                password = str(self.password) + "-derived"
                send(ApiRequest("POST", "/v1/auth/corp/login", {"password": password}))
                raise AuthenticationError(reason=f"{password} is wrong")
            if self.way == "exit":
                raise SystemExit(self.password)
            if self.way == "text":
                return self.password
            if self.way == "plain token":
                return Grant("hvs.plain")
            if self.way == "late import":
                import no_such_sdk
            if self.way == "waits":
                GATE.wait()
            return None

    GATE = None
"""


@pytest.fixture
def hostile(search_path):
    """Read a table with the method `hostile`, which fails in the given way."""
    search_path.install("corp-auth", {"hostile": "hostile:Hostile"}, modules={"hostile": HOSTILE}, group=GROUP)
    return lambda way: read_auth(protect_data({"method": "hostile", "way": way, "password": CANARY}))


@pytest.mark.parametrize(
    ("way", "kind", "said"),
    [
        ("constructor", StoreError, "it raised ValueError"),
        ("import", PluginError, "needs no_such_sdk, which is not installed"),
        ("key error", StoreError, "it raised KeyError"),
        ("exit", StoreError, "it raised SystemExit"),
        ("text", StoreError, "login() returned SensitiveStr, expected Grant"),
        ("plain token", StoreError, "login() returned Grant, expected Grant with a SensitiveStr that is a token"),
        ("nothing", StoreError, "login() returned NoneType, expected Grant"),
        ("late import", PluginError, "needs no_such_sdk, which is not installed"),
    ],
)
def test_fault_of_a_method_names_its_plugin(hostile, exposed, way, kind, said):
    """It is an error of Strongroom, and shows no credential."""
    with pytest.raises(kind) as caught:
        hostile(way).login(ScriptedSend())
    assert said in str(caught.value)
    assert "hostile" in str(caught.value)
    assert "corp-auth 1.2" in str(caught.value)
    assert not exposed(caught.value, CANARY)


@pytest.mark.parametrize(
    ("way", "kind", "said"),
    [
        ("quoting constructor", ConfigurationError, "password: ********** is too short"),
        ("quotes", AuthenticationError, "********** is wrong"),
        ("quotes its request", AuthenticationError, "********** is wrong"),
    ],
)
def test_error_of_a_method_quotes_no_credential(hostile, exposed, way, kind, said):
    """Neither an option, nor a part of its request to the server."""
    with pytest.raises(kind) as caught:
        hostile(way).login(ScriptedSend(Reply(400, {}, b"{}")))
    assert said in str(caught.value)
    assert not exposed(caught.value, CANARY)


def test_fault_of_a_method_reaches_the_caller_of_a_store(hostile, openbao, exposed, tmp_path):
    """With the store's name."""
    hostile("nothing")
    (tmp_path / "strongroom.toml").write_text(
        f'chain = ["vault"]\n[stores.vault]\nurl = "{openbao.url}"\n'
        f'auth = {{ method = "hostile", way = "key error", password = "{CANARY}" }}\n'
    )
    config = discovery.load(config_file=tmp_path / "strongroom.toml")
    with SecretsManager.from_config(config) as secrets, pytest.raises(StrongroomError) as caught:
        secrets.get_secret("app", "password")
    assert f"This is a bug in the plugin {TITLE}" in str(caught.value)
    assert "vault: it raised KeyError" in str(caught.value)
    assert not exposed(caught.value, CANARY)


def test_method_that_hangs_is_given_up_at_the_deadline(hostile, monkeypatch):
    """Whatever it waits for: the login ends, and its thread does not delay the exit."""
    import hostile as module

    gate = threading.Event()
    monkeypatch.setattr(module, "GATE", gate)
    with time_limit(0.05), pytest.raises(StoreUnavailableError, match=f"{TITLE} did not answer in time"):
        hostile("waits").login(ScriptedSend())
    gate.set()


@pytest.mark.parametrize("source", ["", "repeatable = True", "repeatable = False"])
def test_method_tells_if_another_login_gives_another_token(search_path, source):
    """By default it may."""
    source = f"class Method:\n    {source or 'pass'}\n    def login(self, send): ...\n"
    search_path.install("corp-auth", {"corp": "corp_auth:Method"}, modules={"corp_auth": source}, group=GROUP)
    assert read_auth({"method": "corp"}).repeatable is ("False" not in source)


def test_method_is_never_shown(hostile):
    """Its own `repr` is not asked."""
    assert repr(hostile("nothing")) == f"the authentication method {TITLE}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ValueError('canary')", "loading it raised ValueError"),
        ("def method(*, retries: int): ...", "its option retries is neither a string nor a path"),
        ("def method(**given: str): ...", "its option given is neither a string nor a path"),
        ("from __future__ import annotations\ndef method(*, role: Missing): ...", "its signature cannot be read"),
    ],
)
def test_method_that_cannot_be_used_names_its_plugin(search_path, source, said):
    """Before anything of it is called."""
    modules = {"corp_auth": source}
    search_path.install("corp-auth", {"corp": "corp_auth:method"}, modules=modules, group=GROUP)
    with pytest.raises(PluginError, match=r"The plugin corp of corp-auth 1\.2 is broken") as caught:
        read_auth({"method": "corp", "role": "x"})
    assert said in str(caught.value)


def test_name_that_two_distributions_claim_is_refused(search_path):
    """Also if one of them is Strongroom: no method can be replaced."""
    search_path.install("corp-auth", {"approle": "corp_auth:method"}, group=GROUP)
    with pytest.raises(PluginError, match=r"approle is registered by .*: uninstall all but one"):
        read_auth({"method": "approle", "role_id": CANARY, "secret_id": CANARY})


def test_options_are_those_of_a_function_too(search_path, tmp_path):
    """With `Path` for what names a file, and the same errors as for the methods of Strongroom."""
    source = """
        from pathlib import Path
        from strongroom.secret import SensitiveStr, protect_data
        from strongroom_vault.auth import Grant

        class Made:
            def __init__(self, *given):
                self.given = given

            def login(self, send):
                return Grant(SensitiveStr("-".join(type(item).__name__ for item in self.given)))

        def method(*, role: str, key: Path, namespace: str | None = None):
            return Made(role, key, namespace)
    """
    search_path.install("corp-auth", {"corp": "corp_auth:method"}, modules={"corp_auth": source}, group=GROUP)
    grant = read_auth({"method": "corp", "role": "a", "key": "/run/key"}).login(ScriptedSend())
    assert grant == Grant(SensitiveStr("str-PosixPath-NoneType"))
    for table, said in (
        ({"role": "a"}, r"^auth\.key: the method 'corp' needs it$"),
        ({"role": "a", "key": "key"}, r"^auth\.key: it must be an absolute path"),
        ({"role": "a", "key": "/k", "x": "y"}, r"^auth\.x: the method 'corp' has no such option; it takes role, key"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            read_auth({"method": "corp", **table})


def test_variables_of_a_method_are_withheld_by_run(search_path):
    """Those that its class names."""
    source = "class Method:\n    credential_variables = ('CORP_PASSWORD',)\n"
    search_path.install("corp-auth", {"corp": "corp_auth:Method"}, modules={"corp_auth": source}, group=GROUP)
    variables = options.credential_variables
    assert variables({"method": "corp"}) == ("CORP_PASSWORD",)
    assert "AWS_SECRET_ACCESS_KEY" in variables({"method": "aws"})
    assert variables({"method": "approle"}) == variables({"method": CANARY}) == variables(None) == ()


def test_methods_are_listed_with_their_faults(search_path, capsysbinary):
    """By `strongroom plugins`, beside those of Strongroom."""
    from strongroom._cli.app import run

    search_path.install("corp-auth", {"corp": "corp_auth:x"}, modules={"corp_auth": "raise KeyError"}, group=GROUP)
    assert run(["plugins", "--json"]) == 7
    rows = [row for row in json.loads(capsysbinary.readouterr().out)["plugins"] if row["group"] == GROUP]
    assert {row["name"] for row in rows} >= {"token", "approle", "kubernetes", "corp"}
    assert [row["name"] for row in rows if row["fault"]] == ["corp"]
