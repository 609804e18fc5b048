"""`strongroom config show` and `strongroom config check`."""

import json
from pathlib import Path

import pytest

from support.command_line import call_on_terminal

CANARY = "canary-7f3a"
FILE = """
environment = "prod"

[stores.vault]
url = "https://vault.example:8200"
mount = "kv"
token = { env = "APP_TOKEN" }

[cache]
ttl = "1m"

[secrets]
DATABASE_URL = "database/connection#url"
DB_POOL_SIZE = { at = "database/pool#size", default = 5 }
SENTRY_DSN = { at = "monitoring/sentry#dsn", required = false }

[environments.prod.cache]
max_stale = "2m"

[environments.prod]
production = true
chain = [{ store = "vault", paths = ["app/*"], timeout = "2s" }, { store = "memory" }]

[environments.dev]
chain = ["memory"]

[stores.memory.secrets."database/connection"]
url = "canary-7f3a"
"""


@pytest.fixture
def configured(monkeypatch) -> Path:
    """A chain of two stores in production, and a token in a variable."""
    monkeypatch.setenv("APP_TOKEN", CANARY)
    monkeypatch.setenv("VAULT_NAMESPACE", "platform")
    file = Path("strongroom.toml")
    file.write_text(FILE, "utf-8")
    return file


@pytest.mark.usefixtures("configured")
def test_each_setting_is_a_line_with_where_it_came_from(command):
    """Name, value and origin; a credential and a table are redacted."""
    done = command("config", "show", "--all")
    assert (done.code, done.err) == (0, "")
    lines = [line.split("\t") for line in done.out.decode().splitlines()]
    rows = {name: (value, origin) for name, value, origin in lines}
    prod, link = "./strongroom.toml: [environments.prod]", "./strongroom.toml: [environments.prod.chain[0]]"
    assert rows["environment"] == ("prod", "./strongroom.toml: environment")
    assert rows["production"] == ("true", f"{prod} production")
    assert rows["timeout"] == ("10.0", "the default")
    assert rows["cache.ttl"] == ("60.0", "./strongroom.toml: [cache] ttl")
    assert rows["cache.max_stale"] == ("120.0", f"{prod.removesuffix(']')}.cache] max_stale")
    assert rows["cache.missing_ttl"] == ("30.0", "the default")
    assert rows["chain[0].store"] == ("vault", f"{link} store")
    assert rows["chain[0].paths"] == ('["app/*"]', f"{link} paths")
    assert rows["chain[0].timeout"] == ("2.0", f"{link} timeout")
    assert rows["chain[0].on_denied"] == ("fail", "the default")
    assert rows["chain[1].on_unavailable"] == ("fail", "the default in production")
    assert rows["secrets.DATABASE_URL"] == ("database/connection#url", "./strongroom.toml: [secrets] DATABASE_URL")
    assert rows["secrets.DB_POOL_SIZE"] == (
        "database/pool#size, with a default",
        "./strongroom.toml: [secrets.DB_POOL_SIZE]",
    )
    assert rows["secrets.SENTRY_DSN"][0] == "monitoring/sentry#dsn, optional"
    assert rows["stores.vault.plugin"][0] == "vault"
    assert rows["stores.vault.url"] == ("https://vault.example:8200", "./strongroom.toml: [stores.vault] url")
    assert rows["stores.vault.prefix"] == rows["stores.vault.ca_cert"] == ("", "the plugin's default")
    assert rows["stores.vault.namespace"] == ("platform", "the environment variable VAULT_NAMESPACE")
    assert rows["stores.vault.token"][0] == rows["stores.memory.secrets"][0] == "**********"
    assert "APP_TOKEN" in rows["stores.vault.token"][1]
    assert CANARY not in done.out.decode()


@pytest.mark.usefixtures("configured")
def test_defaults_are_listed_on_demand(command):
    """What is configured would be lost among fifty defaults."""
    configured, every = (
        [line.split("\t") for line in command("config", "show", *option).out.decode().splitlines()]
        for option in ((), ("--all",))
    )
    assert ["cache.ttl", "60.0", "./strongroom.toml: [cache] ttl"] in configured
    assert configured == [row for row in every if "default" not in row[2]]
    assert len(configured) < len(every)


@pytest.mark.usefixtures("configured")
def test_json_has_a_version(command):
    """Settings with their types, and each option with its origin."""
    done = command("config", "show", "--json")
    document = json.loads(done.out)
    assert document.keys() == {"version", "settings", "secrets", "stores"}
    assert document["version"] == 1
    assert document["settings"]["production"] == {
        "value": True,
        "origin": "./strongroom.toml: [environments.prod] production",
    }
    assert document["secrets"]["DB_POOL_SIZE"] == {
        "path": "database/pool",
        "key": "size",
        "required": False,
        "has_default": True,
        "origin": "./strongroom.toml: [secrets.DB_POOL_SIZE]",
    }
    vault = document["stores"]["vault"]
    assert vault.keys() == {"plugin", "origin", "in_chain", "fault", "options"}
    assert (vault["in_chain"], vault["fault"]) == (True, None)
    assert vault["options"]["mount"] == {
        "value": "kv",
        "redacted": False,
        "origin": "./strongroom.toml: [stores.vault] mount",
    }
    assert vault["options"]["token"]["redacted"] is True
    assert CANARY not in done.out.decode()


@pytest.mark.usefixtures("configured")
def test_another_environment_is_another_configuration(command):
    """A store that is in no chain of it comes last: a migration may use it."""
    document = json.loads(command("--environment", "dev", "config", "show", "--json").out)
    assert document["settings"]["environment"] == {"value": "dev", "origin": "the argument environment"}
    assert {name: store["in_chain"] for name, store in document["stores"].items()} == {"memory": True, "vault": False}
    assert document["stores"]["vault"]["options"]["mount"]["value"] == "kv"


@pytest.mark.usefixtures("configured")
def test_what_is_wrong_with_a_store_of_no_chain_is_no_failure(command, monkeypatch):
    """An application lacks the token of a store that only a migration uses: it is said in the store's place."""
    monkeypatch.delenv("APP_TOKEN")
    done = command("--environment", "dev", "config", "show")
    assert (done.code, done.err) == (0, "")
    fault = next(line for line in done.out.decode().splitlines() if line.startswith("stores.vault\t"))
    assert "APP_TOKEN is not set" in fault
    store = json.loads(command("--environment", "dev", "config", "show", "--json").out)["stores"]["vault"]
    assert (store["options"], fault.split("\t")[2]) == ({}, store["fault"])
    assert command("--environment", "dev", "config", "check").code == 0


@pytest.mark.usefixtures("configured")
def test_what_is_wrong_with_a_store_of_the_chain_hides_nothing_else(command, monkeypatch):
    """It is when something is wrong that somebody looks. The fault is in the store's place and on stderr: code 7."""
    monkeypatch.delenv("APP_TOKEN")
    done = command("config", "show", "--all")
    rows = {name: rest for name, *rest in (line.split("\t") for line in done.out.decode().splitlines())}
    assert done.code == 7
    assert "APP_TOKEN is not set" in rows["stores.vault"][1]
    assert done.err == f"strongroom: {rows['stores.vault'][1]}\n"
    assert rows["stores.memory.secrets"][0] == "**********"
    assert rows["timeout"] == ["10.0", "the default"]
    done = command("config", "show", "--json")
    stores = json.loads(done.out)["stores"]
    assert (done.code, stores["vault"]["in_chain"], stores["vault"]["fault"]) == (7, True, rows["stores.vault"][1])
    assert stores["memory"]["fault"] is None


@pytest.mark.usefixtures("configured")
def test_a_variable_is_named_where_it_counts(command, monkeypatch):
    """Over the file; an option of the command line over both."""
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "dev")
    monkeypatch.setenv("STRONGROOM_TIMEOUT", "4s")
    monkeypatch.setenv("STRONGROOM_CACHE_TTL", "7")
    found = json.loads(command("config", "show", "--json").out)["settings"]
    assert found["environment"] == {"value": "dev", "origin": "the environment variable STRONGROOM_ENVIRONMENT"}
    assert found["timeout"] == {"value": 4.0, "origin": "the environment variable STRONGROOM_TIMEOUT"}
    assert found["cache.ttl"] == {"value": 7.0, "origin": "the environment variable STRONGROOM_CACHE_TTL"}
    found = json.loads(command("--environment", "prod", "config", "show", "--json").out)["settings"]
    assert found["environment"]["origin"] == "the argument environment"


def test_without_a_file_everything_is_a_default(command):
    """Of the chain too."""
    settings = json.loads(command("config", "show", "--json").out)["settings"]
    assert {setting["origin"] for setting in settings.values()} == {"the default"}
    assert settings["chain[0].store"]["value"] == "env"


@pytest.mark.vault
@pytest.mark.usefixtures("configured")
def test_a_right_configuration_is_checked_in_silence(command):
    """Nothing is opened: no server is there. As JSON there is a document."""
    assert command("config", "check") == (0, b"", "")
    done = command("config", "check", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {"version": 1, "ok": True, "faults": []}


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ('mount = "kv"', "mount = 5", "[stores.vault] mount"),
        ('mount = "kv"', 'mounts = "kv"', "[stores.vault] mounts"),
        ('"https://vault', '"http://vault', "https"),
        ("APP_TOKEN", "NO_SUCH_TOKEN", "NO_SUCH_TOKEN"),
        ('timeout = "2s"', "timeout = false", "chain[0]"),
    ],
)
def test_what_is_wrong_is_one_line_and_code_7(command, configured, right, wrong, named):
    """It names what is wrong, and shows no credential."""
    configured.write_text(FILE.replace(right, wrong), "utf-8")
    assert command("config", "check").out == b""
    for done in (command("config", "check"), command("config", "show")):
        assert (done.code, done.err.count("\n")) == (7, 1)
        assert named in done.err
        assert CANARY not in done.err
    done = command("config", "check", "--json")
    assert (done.code, done.err.count("\n")) == (7, 1)
    document = json.loads(done.out)
    assert (document["version"], document["ok"]) == (1, False)
    assert [f"strongroom: {fault}\n" for fault in document["faults"]] == [done.err]


@pytest.mark.vault
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ('url = "ftp://vault.example"', "url: a Vault address is like"),
        ('url = "http://vault.example:99999"', "must be a URL"),
        ('auth = { method = "tokn" }', 'token, token-file; did you mean "token"?'),
        ('auth = { method = "token-file", token_file = "here" }', "auth.token_file: it must be an absolute path"),
        ('auth = { method = "token-file", path = "/here" }', "auth.path: the method 'token-file' has no such option"),
        ('auth = { method = "cert" }', "client_cert"),
        ('mount = "../x"', "mount: "),
        ('prefix = "a//b"', "prefix: "),
        ("max_retries = -1", "max_retries: it must not be below zero"),
        ('plugin = "vault-dynamic"\npaths = {}', "paths: it names no path"),
        ('plugin = "vault-dynamic"\npaths = { a = "b" }\nmount = "../x"', "mount: "),
        ('plugin = "aws-secretsmanager"\nrecovery_days = 3', "recovery_days: 3 is not from"),
        ('plugin = "aws-ssm"\ntag_prefix = "a"', "layout: "),
        ('plugin = "aws-ssm"\nprefix = "//a"', "prefix: "),
        ('plugin = "aws-rds"\npaths = { a = { host = "db", port = "no", user = "app" } }', "'port' must be a number"),
        ('plugin = "aws-rds"\npaths = { a = { host = "db", port = 1, user = 2 } }', "'user' must be text"),
        (
            'plugin = "aws-sts"\npaths = { a = { role = "arn:aws:iam::123456789012:role/r", duration = "1m" } }',
            "'duration' must be from 15m to 12h",
        ),
        (
            'plugin = "aws-sts"\npaths = { a = { role = "arn:aws:iam::123456789012:role/r", duration = "x" } }',
            "'duration' must be",
        ),
        (
            'plugin = "aws-sts"\npaths = { a = { role = "arn:aws:iam::123456789012:role/r", external_id = "x" } }',
            "'external_id' must be",
        ),
        ('plugin = "aws-sts"\npaths = { a = { role = 1 } }', "'role' must be the ARN"),
        ('plugin = "github-app"\napp = "a"\nprivate_key = "k"\npaths = { a = { installation = "7" } }', "the number"),
        ('plugin = "azure-token"\npaths = { a = 1 }', "'a' must be a scope"),
        ('plugin = "azure-token"\npaths = {}', "paths: it names no path"),
        ('plugin = "azure-keyvault"\nvault = "no_name"', "vault: the name of a vault"),
        ('plugin = "azure-keyvault"\nvault_url = "https://shop.vault.azure.cn/secrets"', "vault_url: write it as"),
        ('plugin = "azure-keyvault"', "vault: name the vault"),
    ],
)
def test_what_a_plugin_would_refuse_is_found_without_opening_it(command, options, named):
    """What the type of an option does not say, its plugin says; there is no server, no token and no region."""
    url = "" if "url" in options or "aws" in options or "azure" in options else 'url = "http://127.0.0.1:1"\n'
    Path("strongroom.toml").write_text(f'chain = ["vault"]\n[stores.vault]\n{url}{options}\n', "utf-8")
    done = command("config", "check")
    assert (done.code, done.err.count("\n")) == (7, 1)
    assert named in done.err
    assert done.err.startswith("strongroom: ./strongroom.toml: [stores.vault]")


def test_a_variable_is_blamed_for_what_it_says(command, monkeypatch):
    """The file is right, and says so."""
    Path("strongroom.toml").write_text('chain = ["vault"]\n', "utf-8")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_AUTH", '{"method": "tokn"}')
    for arguments in (("config", "check"), ("get", "a", "b")):
        done = command(*arguments)
        assert done.code == 7
        assert "the environment variable STRONGROOM_STORES_VAULT_AUTH: method must be one of" in done.err
        assert "strongroom.toml" not in done.err


@pytest.mark.vault
def test_a_store_without_a_token_is_no_fault(command):
    """Its application gets one where it runs."""
    Path("strongroom.toml").write_text('chain = ["vault"]\n[stores.vault]\nurl = "http://127.0.0.1:1"\n', "utf-8")
    assert command("config", "check") == (0, b"", "")


@pytest.mark.parametrize(
    ("prod", "named"),
    [
        (
            'chain = ["nope", "env"]',
            "./strongroom.toml: [environments.prod.chain[0]] store nope: there is no plugin nope",
        ),
        ('chain = ["vault"]\n[environments.prod.stores.vault]\ntokn = "x"', "[environments.prod.stores.vault] tokn"),
        ('chain = ["vault"]\n[environments.prod.stores.vault]\nurl = 5', "[environments.prod.stores.vault] url"),
        ('chain = ["vault"]\n[environments.prod.stores.vault]\nurl = "http://vault.example"', "is not https"),
        ('chain = ["dotenv"]', "production reads no ./.env"),
        ('[environments.prod.stores.vault]\nprefix = "{enviroment}"', "has a placeholder in braces"),
    ],
)
def test_the_environments_that_are_not_selected_are_checked(command, prod, named):
    """A mistake in production's table shows in development, where its variables and files are not."""
    text = f'environment = "dev"\n[environments.dev]\nchain = ["env"]\n[environments.prod]\nproduction = true\n{prod}\n'
    file = Path("strongroom.toml")
    file.write_text(text, "utf-8")
    done = command("config", "check")
    assert (done.code, done.err.count("\n")) == (7, 1)
    assert named in done.err
    file.write_text(
        text.replace(
            prod,
            """chain = ["vault", { store = "files" }, "dotenv"]
[environments.prod.stores.vault]
url = { env = "NOT_HERE" }
auth = { method = "token", token = { file = "/not/here" } }
[environments.prod.stores.files]
root = "/not/here"
[environments.prod.stores.dotenv]
file = { env = "NOT_HERE" }
""",
        )
    )
    assert command("config", "check") == (0, b"", "")


def test_each_store_that_is_wrong_has_its_line(command, configured):
    """One is not hidden by the other."""
    configured.write_text(
        FILE.replace('mount = "kv"', "mount = 5").replace(".memory.secrets", ".memory.secret"), "utf-8"
    )
    done = command("config", "check")
    assert (done.code, done.err.count("\n")) == (7, 2)
    assert "[stores.vault] mount" in done.err
    assert "[stores.memory] secret" in done.err
    assert CANARY not in done.err


@pytest.mark.vault
@pytest.mark.usefixtures("configured")
def test_a_terminal_shows_a_table():
    """For a person to read; a check is as silent there."""
    code, screen = call_on_terminal(["--no-color", "config", "show"])
    assert code == 0
    for word in ("setting", "stores.vault.mount", "VAULT_NAMESPACE", "**********"):
        assert word in screen
    assert CANARY not in screen
    assert call_on_terminal(["config", "check"]) == (0, "")
