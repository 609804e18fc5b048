"""What the opener makes of its options, before anything is sent."""

import builtins
import ssl
import traceback
from pathlib import Path

import pytest
import trustme

from strongroom import SecretsManager
from strongroom import _plugins as plugins
from strongroom._config import discovery
from strongroom._plugins.option_schema import read_schema
from strongroom.errors import ConfigurationError, PluginError, StoreUnavailableError
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http import hvac_adapter
from strongroom_vault.plugin import open_vault
from strongroom_vault.session.session import Session
from support.vault.engines import open_engine

ADDRESS = "http://127.0.0.1:1"


def opened(**options):
    return open_engine(2, **{"url": ADDRESS, "token": "s.token", **options})


def test_signature_is_a_schema():
    """Strongroom reads types, ambient names and what is secret from it."""
    schema = read_schema(open_vault, "vault").options
    assert schema["url"].option.address
    assert schema["url"].required
    assert schema["token"].option.ambient == ("BAO_TOKEN", "VAULT_TOKEN")
    assert {name for name, option in schema.items() if option.option.secret} == {"token", "auth", "headers", "proxy"}
    assert {schema[name].option.sent_to for name in ("token", "auth", "headers")} == {"url"}
    trust = {name for name, option in schema.items() if option.option.verifies == "url"}
    assert trust == {"ca_cert", "ca_cert_bytes", "ca_path", "tls_server_name", "skip_verify", "proxy"}


def test_misspelled_option_of_a_call_is_refused():
    """Python accepts every name for `**connection`: ignoring one could open the store of another namespace."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'namespce'"):
        open_vault(url=ADDRESS, token="s.token", namespce="team")


def test_missing_sdk_names_the_extra(monkeypatch):
    """One line that says what to install."""
    real = builtins.__import__

    def without_hvac(name, *rest, **more):
        if name.startswith("hvac"):
            raise ModuleNotFoundError("No module named 'hvac'", name="hvac")
        return real(name, *rest, **more)

    hvac_adapter.requests.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_hvac)
    config = discovery.load(vault_url=ADDRESS, vault_token="s.token")
    words = r'^The plugin vault needs hvac, which is not installed: pip install "strongroom\[vault\]"$'
    with pytest.raises(PluginError, match=words):
        plugins.prepare(config, "vault")()


@pytest.mark.parametrize("url", [
    "", "vault:8200", "ftp://vault", "http://", "https://user:hunter2@vault", "https://vault?token=hunter2",
    "https://vault#hunter2", "https://vault:hunter2", "https://[", [], ["http://one", "nonsense"],
    "https://vault..example", f"https://{'v' * 64}.example", "https://vault/a\nVAULT_TOKEN=hunter2",
    "http://vault:0",
])  # fmt: skip
def test_bad_address_is_a_configuration_error(url):
    """It may hold a password, which is not shown."""
    with pytest.raises(ConfigurationError, match="url") as caught:
        opened(url=url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("url", "shown"), [
    ("http://vault", "http://vault:80"), ("https://Vault.example/", "https://vault.example:443"),
    ("https://[::1]:8200", "https://[::1]:8200"), ("https://gate/vault/", "https://gate:443/vault"),
])  # fmt: skip
def test_address_is_taken_apart(url, shown):
    """Port, brackets, and the path of a gateway."""
    assert shown in repr(opened(url=url))


@pytest.mark.parametrize("options", [{"token": None}, {"token": ""}, {"token": None, "auth": {"method": "token"}}])
def test_no_token_is_not_authenticated(options):
    """The guide's own message, with what to check."""
    with pytest.raises(VaultAuthenticationError, match=r"^Failed to authenticate with Vault.*VAULT_TOKEN"):
        opened(**options)


@pytest.mark.parametrize(
    "token", ["hunter2\n", "hunter2 x", "\thunter2", "hunter2\r\nX-Evil: 1", "hunter2é", "hunter2\0"]
)
def test_token_that_no_header_can_hold_is_refused(token):
    """The HTTP library would say so as well, and show it."""
    with pytest.raises(ConfigurationError, match="token") as caught:
        open_vault(url=ADDRESS, token=token)
    trace = caught.value.__traceback__.tb_next  # the frames after this test's own
    printed = "".join(
        traceback.TracebackException(ConfigurationError, caught.value, trace, capture_locals=True).format()
    )
    assert "open_vault" in printed
    assert "hunter2" not in f"{caught.value!r} {vars(caught.value)} {printed}"


def test_auth_table_outranks_the_token(fault_server, stored):
    """The option may come from the surroundings, the table never does."""
    fault_server.answers[:] = [stored(k="v")]
    store = opened(url=fault_server.url, token="ambient", auth={"method": "token", "token": "configured"})
    store.read("app")
    assert fault_server.requests[0].headers["x-vault-token"] == "configured"
    store.close()


@pytest.mark.parametrize(("auth", "words"), [
    ({}, "auth.method"), ({"method": "carrier pigeon"}, r"auth\.method: it must be one of agent, "),
    ({"method": "token", "role": "x"}, "auth.role"),
])  # fmt: skip
def test_bad_auth_table_is_a_configuration_error(auth, words):
    """It names the key."""
    with pytest.raises(ConfigurationError, match=words):
        opened(auth=auth)


@pytest.mark.parametrize(("option", "value"), [
    ("namespace", "té\nam"), ("namespace", "../x"), ("namespace", "a//b"), ("mount", ""), ("mount", "../sys"),
    ("prefix", "a//b"), ("prefix", ".."),
])  # fmt: skip
def test_bad_option_is_refused_and_named(option, value):
    """Before anything is sent. A wrong prefix is no error of the path that was asked for."""
    with pytest.raises(ConfigurationError, match=f"^{option}: ") as caught:
        opened(**{option: value})
    assert caught.value.__context__ is None


def test_nothing_is_taken_from_the_surroundings(fault_server, stored, monkeypatch, tmp_path):
    """No token file, no netrc, no proxy, no VAULT_ variable: only what was given."""
    (tmp_path / ".vault-token").write_text("from-file")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password from-netrc")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "VAULT_ADDR", "VAULT_PROXY_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
    monkeypatch.setenv("VAULT_TOKEN", "from-environment")
    fault_server.answers[:] = [stored(k="v")]
    store = opened(url=fault_server.url)
    store.read("app")
    sent = fault_server.requests[0]
    assert sent.headers["x-vault-token"] == "s.token"
    assert "x-vault-namespace" not in sent.headers
    assert "authorization" not in sent.headers
    store.close()


def test_gateway_path_is_in_front_of_every_request(fault_server, stored):
    """A gateway may publish the server below a path."""
    fault_server.answers[:] = [stored(k="v")]
    store = opened(url=f"{fault_server.url}/gate/")
    store.read("app")
    assert fault_server.requests[0].target == "/gate/v1/secret/data/app"
    store.close()


def test_path_that_the_server_does_not_know_is_a_configuration_error(openbao, tmp_path):
    """It answers there as it answers for an absent secret: a gateway may pass its own path on to the server."""
    config = tmp_path / "strongroom.toml"
    config.write_text(
        f'chain = ["vault", "memory"]\n[stores.vault]\nurl = "{openbao.url}/vault"\ntoken = "{openbao.token}"\n'
    )
    with SecretsManager.from_config(config) as manager:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"Nothing answers for .*/vault \(HTTP 404\). Check `url`"):
                manager.get_secret("app/db", default="none")


def test_failed_opening_closes_what_it_opened(fault_server, answered, monkeypatch):
    """Its connections do not stay for the garbage collector."""
    closed, close = [], Session.close

    def noting(session):
        closed.append(session.location)
        close(session)

    monkeypatch.setattr(Session, "close", noting)
    fault_server.answers[:] = [answered(200, b"<html>")]
    with pytest.raises(StoreUnavailableError, match="not Vault's API"):
        open_vault(url=fault_server.url, token="s.token")
    assert len([location for location in closed if fault_server.url in location]) == 1


# --- the variables of Vault's own clients -----------------------------------------------------------------------------

READ = {
    "ADDR": ("url", "https://one:8200,https://two:8200", ["https://one:8200", "https://two:8200"]),
    "AGENT_ADDR": ("url", "http://127.0.0.1:8100", "http://127.0.0.1:8100"),
    "TOKEN": ("token", "s.token", "s.token"),
    "NAMESPACE": ("namespace", "team", "team"),
    "CACERT": ("ca_cert", "/ca.pem", Path("/ca.pem")),
    "CACERT_BYTES": ("ca_cert_bytes", "PEM", "PEM"),
    "CAPATH": ("ca_path", "/ca", Path("/ca")),
    "CLIENT_CERT": ("client_cert", "/c.pem", Path("/c.pem")),
    "CLIENT_KEY": ("client_key", "/k.pem", Path("/k.pem")),
    "TLS_SERVER_NAME": ("tls_server_name", "vault.internal", "vault.internal"),
    "SKIP_VERIFY": ("skip_verify", "1", True),
    "MAX_RETRIES": ("max_retries", "5", 5),
    "DISABLE_REDIRECTS": ("disable_redirects", "true", True),
    "CLIENT_TIMEOUT": ("client_timeout", "90s", "90s"),
    "HTTP_PROXY": ("proxy", "http://127.0.0.1:3128", "http://127.0.0.1:3128"),
    "PROXY_ADDR": ("proxy", "http://127.0.0.1:3128", "http://127.0.0.1:3128"),
    "HEADERS": ("headers", '{"X-Gateway": "pass"}', {"X-Gateway": "pass"}),
}


def resolved(monkeypatch, **variables):
    for name, text in {"VAULT_ADDR": "http://127.0.0.1:1", **variables}.items():
        monkeypatch.setenv(name, text)
    return {name: setting.value for name, setting in plugins.store_settings(discovery.load(), "vault").items()}


@pytest.mark.parametrize("name", READ)
def test_variable_of_vaults_own_clients_is_read(monkeypatch, name):
    """Under both names, and OpenBao's goes first."""
    option, text, value = READ[name]
    assert resolved(monkeypatch, **{f"VAULT_{name}": text})[option] == value
    monkeypatch.setenv(f"VAULT_{name}", "http://127.0.0.1:9" if option == "url" else "9")
    assert resolved(monkeypatch, **{f"BAO_{name}": text})[option] == value


def test_every_ambient_variable_is_in_the_list_above():
    """And in the table of the page about Vault."""
    schema = read_schema(open_vault, "vault").options
    ambient = {name for option in schema.values() for name in option.option.ambient}
    assert ambient == {f"{prefix}_{name}" for name in READ for prefix in ("BAO", "VAULT")}


@pytest.mark.parametrize(("options", "words"), [
    ({"client_timeout": "soon"}, "client_timeout"), ({"client_timeout": 0}, "client_timeout"),
    ({"client_timeout": "-5s"}, "client_timeout"), ({"client_timeout": "5 hunter2"}, "client_timeout"),
    ({"max_retries": -1}, "max_retries"), ({"proxy": "http://me:hunter2@proxy:3128"}, "proxy"),
    ({"headers": {"X-Vault-Token": "hunter2"}}, "X-Vault-Token"), ({"headers": {"host": "hunter2"}}, "host"),
    ({"headers": {"Accept-Encoding": "gzip, hunter2"}}, "Accept-Encoding"),
    ({"headers": {"a b": "hunter2"}}, "not the name"), ({"headers": {"a": "x\r\nhunter2"}}, "character"),
    ({"url": "https://one:8200", "ca_cert_bytes": "hunter2"}, "ca_cert_bytes"),
])  # fmt: skip
def test_bad_setting_of_the_client_is_a_configuration_error(options, words):
    """It names the option, and shows no value."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        opened(**options)
    assert "hunter2" not in str(caught.value)


def test_headers_go_with_every_request(faulty, fault_server, stored):
    """A gateway in front may want them; no header of Vault's own can be replaced."""
    faulty(stored(k="v"), headers={"X-Gateway": "pass"}).read("app")
    assert fault_server.requests[0].headers["x-gateway"] == "pass"
    assert fault_server.requests[0].headers["x-vault-token"] == "s.token"


def test_authorities_can_be_text(start_server, stored):
    """As a variable holds them where there is no file."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = start_server(context)
    server.answers[:] = [stored(k="v")]
    pem = authority.cert_pem.bytes().decode()
    store = open_engine(2, url=server.url, token="t", ca_cert_bytes=pem)
    assert store.read("app").data == {"k": "v"}
    store.close()
