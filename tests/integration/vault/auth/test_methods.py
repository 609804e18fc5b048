"""The table `auth`: what it may hold, and what is said of one that is wrong."""

import tomllib
from pathlib import Path

import pytest

from strongroom import _plugins as plugins
from strongroom._config import discovery
from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveDict, SensitiveStr
from strongroom_vault.auth.approle import AppRole
from strongroom_vault.auth.aws import AWS
from strongroom_vault.auth.methods import METHODS, read_auth
from strongroom_vault.auth.token import Agent, StaticToken, TokenFile
from strongroom_vault.auth.workload import JWT, SERVICE_ACCOUNT_TOKEN, Certificate, Kubernetes
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.plugin import open_vault
from support.scenarios import pages


@pytest.mark.parametrize(("table", "auth"), [
    ({"method": "token", "token": "s.x"}, StaticToken("s.x")),
    ({"method": "token-file", "token_file": "/run/token"}, TokenFile(token_file=Path("/run/token"))),
    ({"method": "approle", "role_id": "r", "secret_id": "s", "mount": "/auth/ci/", "namespace": "team/"},
     AppRole(role_id="r", secret_id="s", mount="ci", namespace="team")),
    ({"method": "approle", "role_id": "r", "wrapping_token_file": "/run/w", "role": "app", "namespace": "/"},
     AppRole(role_id="r", wrapping_token_file=Path("/run/w"), role="app", namespace="")),
    ({"method": "kubernetes", "role": "app"},
     Kubernetes(role="app", token_file=SERVICE_ACCOUNT_TOKEN, mount="kubernetes", namespace=None)),
    ({"method": "jwt", "jwt_env": "CI_JOB_JWT"}, JWT(jwt_env="CI_JOB_JWT", mount="jwt")),
    ({"method": "jwt", "jwt_from": "github", "audience": "vault"}, JWT(jwt_from="github", audience="vault")),
    ({"method": "aws", "region": "eu-west-1"}, AWS(region="eu-west-1", mount="aws")),
    ({"method": "cert", "name": "app"}, Certificate(name="app", mount="cert")), ({"method": "agent"}, Agent()),
])  # fmt: skip
def test_table_is_read_as_its_method(table, auth):
    """Text, whatever it comes from."""
    assert read_auth(SensitiveDict({name: SensitiveStr(value) for name, value in table.items()})) == auth


def test_pages_have_an_example_of_every_method_and_each_is_right():
    """Those that the pages do not run against a server, too."""
    how_to = pages.DOCS / "how-to"
    methods = [*(how_to / "authentication").glob("*.md"), how_to / "platforms" / "kubernetes.md"]
    blocks = [block for page in methods for block in pages.blocks(page, "toml")]
    stores = [store for block in blocks for store in tomllib.loads(block).get("stores", {}).values()]
    tables = [store["auth"] for store in stores if "auth" in store]
    for table in tables:
        read_auth({name: value if isinstance(value, str) else "/referred-to" for name, value in table.items()})
    assert {table["method"] for table in tables} == {*METHODS}


def test_path_may_begin_at_home(monkeypatch):
    """As the file of Vault's own client does."""
    monkeypatch.setenv("HOME", "/home/app")
    read = read_auth({"method": "token-file", "token_file": "~/.vault-token"})
    assert read == TokenFile(token_file=Path("/home/app/.vault-token"))


@pytest.mark.parametrize(("table", "words"), [
    ({}, r"^auth\.method: it must be one of agent, approle, aws, cert, jwt, kubernetes, token, token-file$"),
    ({"method": "s.canary"}, r"^auth\.method: it must be one of agent, "), ({"method": ""}, r"^auth\.method: "),
    ({"method": "kubernetes"}, r"^auth\.role: the method 'kubernetes' needs it$"),
    ({"method": "token-file", "token": "s.canary"},
     r"^auth\.token: the method 'token-file' has no such option; it takes token_file$"),
    ({"method": "kubernetes", "role": "x", "jwt": "canary"},
     r"^auth\.jwt: .* it takes mount, namespace, role, token_file$"),
    ({"method": "agent", "mount": "x"}, r"^auth\.mount: the method 'agent' has no such option; it takes none$"),
    ({"method": "agent", "a\nb": "x"}, r"^auth\.'a\\nb': "),
    ({"method": "kubernetes", "role": ""}, r"^auth\.role: it is empty$"),
    ({"method": "token-file", "token_file": "canary"}, r"^auth\.token_file: it must be an absolute path"),
    ({"method": "token-file", "token_file": "~nobody-canary/x"}, r"^auth\.token_file: it is below a home folder"),
    ({"method": "token-file", "token_file": "/x\0canary"}, r"^auth\.token_file: it has a NUL"),
    ({"method": "cert", "mount": "../sys/canary"}, r"^auth\.mount: it has a segment that is '..'"),
    ({"method": "cert", "mount": "/"}, r"^auth\.mount: "),
    ({"method": "cert", "namespace": "a\ncanary"}, r"^auth\.namespace: "),
    ({"method": "approle", "role_id": "canary"},
     "takes one of secret_id, secret_id_file, wrapping_token, wrapping_token_file"),
    ({"method": "approle", "role_id": "r", "secret_id": "canary", "role": "x"},
     r"^auth\.role: it needs a wrapping token"),
])  # fmt: skip
def test_wrong_table_is_named_and_not_shown(table, words, exposed):
    """What is allowed is said; a value may be a credential in the wrong place."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        read_auth(SensitiveDict({name: SensitiveStr(value) for name, value in table.items()}))
    assert not exposed(caught.value, "canary")


def test_no_method_shows_a_credential():
    """Nor where an option that holds one is added and forgotten."""
    auths = [
        StaticToken("canary"), AppRole(role_id="canary", secret_id="canary"),
        AppRole(role_id="r", wrapping_token="canary"),
    ]  # fmt: skip
    assert "canary" not in repr(auths)


def test_certificate_needs_one(tmp_path):
    """The option stands beside the table."""
    with pytest.raises(ConfigurationError, match=r"^auth\.method: the method 'cert' needs the option client_cert"):
        open_vault(url="https://127.0.0.1:1", auth={"method": "cert"})


def test_error_of_the_table_names_the_file(tmp_path):
    """The file, the table, and the key in it."""
    (tmp_path / "strongroom.toml").write_text(
        'chain = [{ store = "vault" }]\n[stores.vault]\nurl = "http://127.0.0.1:1"\nauth = { method = "kubernetes" }\n'
    )
    config = discovery.load(config_file=tmp_path / "strongroom.toml")
    with pytest.raises(
        ConfigurationError, match=r"strongroom\.toml.*stores\.vault.*auth\.role: the method 'kubernetes' needs it"
    ):
        plugins.prepare(config, "vault")()


def test_empty_token_is_not_authenticated():
    """The message says what to check."""
    with pytest.raises(VaultAuthenticationError, match="there is no token"):
        read_auth({"method": "token", "token": ""})


def test_table_of_a_found_file_names_its_source(tmp_path, monkeypatch):
    """What an application is given by its surroundings goes to an address of that file where the file asks for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAULT_TOKEN", "s.ambient")
    start = 'chain = [{ store = "vault" }]\n[stores.vault]\nurl = "http://127.0.0.1:1"\n'
    (tmp_path / "strongroom.toml").write_text(start)
    with pytest.raises(ConfigurationError, match=r"is not sent to an address that only .* gives"):
        plugins.prepare(discovery.load(), "vault")
    (tmp_path / "strongroom.toml").write_text(start + 'auth = { method = "kubernetes", role = "app" }\n')
    settings = plugins.store_settings(discovery.load(), "vault")
    assert settings["auth"].value == {"method": "kubernetes", "role": "app"}
    assert "token" not in settings
    assert settings["auth"].secret


def test_values_of_the_table_may_be_references(tmp_path, monkeypatch):
    """As of any option."""
    monkeypatch.setenv("ROLE_ID", "from-env")
    (tmp_path / "secret-id").write_text("from-file\n")
    (tmp_path / "strongroom.toml").write_text(
        'chain = [{ store = "vault" }]\n[stores.vault]\nurl = "http://127.0.0.1:1"\n'
        'auth = { method = "approle", role_id = { env = "ROLE_ID" }, secret_id = { file = "secret-id" } }\n'
    )
    table = plugins.store_settings(discovery.load(config_file=tmp_path / "strongroom.toml"), "vault")["auth"].value
    assert read_auth(table) == AppRole(role_id="from-env", secret_id="from-file")


def test_table_may_come_from_a_variable(monkeypatch):
    """In JSON, over what a file says."""
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_AUTH", '{"method": "jwt", "jwt_env": "CI_JOB_JWT", "mount": "gitlab"}')
    table = plugins.store_settings(discovery.load(vault_url="http://127.0.0.1:1"), "vault")["auth"].value
    assert read_auth(table) == JWT(jwt_env="CI_JOB_JWT", mount="gitlab")
