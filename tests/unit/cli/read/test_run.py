"""`strongroom run`: what the command's environment holds, what stops it, and that nothing stands before it."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pexpect
import pytest

from strongroom import SecretsManager
from strongroom._cli.process.store_credentials import without_credentials
from strongroom._config import discovery
from support.clock import LONG

CANARY = "canary-7f3a"
CONFIGURATION = """
chain = ["memory", "env"]

[secrets]
DATABASE_URL = "database/connection#url"
DB_POOL_SIZE = { at = "database/pool#size", default = 5 }
SENTRY_DSN = { at = "monitoring/sentry#dsn", required = false }
FLAGS = "app/flags#list"

[stores.memory.secrets]
"database/connection" = { url = "canary-7f3a žluť 🔑\\r\\n two" }
"app/flags" = { list = [1, "two"] }
"""
ENVIRONMENT = "import json, os; print(json.dumps({os.fsdecode(n): list(v) for n, v in os.environb.items()}))"


@pytest.fixture
def called(script):
    """Runs a command by way of `strongroom run`, in a process."""

    def call(*arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script, *before, "run", *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    return call


@pytest.fixture
def variables(called):
    """The environment that a command has, as bytes."""

    def read() -> dict[str, bytes]:
        done = called("--", sys.executable, "-c", ENVIRONMENT)
        assert (done.returncode, done.stderr) == (0, "")
        return {name: bytes(value) for name, value in json.loads(done.stdout).items()}

    return read


@pytest.fixture(autouse=True)
def configuration() -> Path:
    file = Path("strongroom.toml")
    file.write_text(CONFIGURATION, "utf-8")
    return file


def test_a_value_is_exact_and_takes_the_place_of_the_parents(variables, monkeypatch):
    """Text as UTF-8, a list as JSON, a default where no store has it. All else is as it was."""
    monkeypatch.setenv("DATABASE_URL", "the parent's")
    monkeypatch.setenv("APP_SETTING", "kept")
    monkeypatch.setitem(os.environb, b"ODD", b"\xff")
    given = variables()
    assert given["DATABASE_URL"] == f"{CANARY} žluť 🔑\r\n two".encode()
    assert given["FLAGS"] == b'[1,"two"]'
    assert given["DB_POOL_SIZE"] == b"5"
    assert given["APP_SETTING"] == b"kept"
    assert given["ODD"] == b"\xff"
    assert "SENTRY_DSN" not in given


APPLICATION = """
import os, strongroom
from strongroom._config import discovery
os.chdir("/")  # a relative name would lead elsewhere
print(discovery.load().environment, strongroom.get_secret("app/flags", "list"))
"""


def test_the_command_has_the_configuration_that_was_chosen(called, configuration, monkeypatch):
    """What an application reads by itself, it reads from the same file and environment, wherever it goes."""
    monkeypatch.setenv("STRONGROOM_CONFIG", "elsewhere.toml")
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "other")
    Path("conf").mkdir()
    chosen = configuration.read_text("utf-8").replace('chain = ["memory", "env"]', "") + (
        '[environments.prod]\nproduction = true\nchain = ["memory"]\n[environments.dev]\nchain = ["env"]\n'
    )
    Path("conf/app.toml").write_text(chosen, "utf-8")
    configuration.unlink()
    before = ("--config", "conf/app.toml", "--environment", "prod")
    done = called("--", sys.executable, "-c", APPLICATION, before=before)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'prod [1,"two"]\n', "")


def test_without_a_choice_the_command_has_none(variables):
    """It looks for its file as it would without `run`."""
    assert not {"STRONGROOM_CONFIG", "STRONGROOM_ENVIRONMENT"} & variables().keys()


def test_an_optional_one_that_no_store_has_stays_as_it_is_inherited(variables, monkeypatch, configuration):
    """Strongroom says nothing of it, so that it changes nothing."""
    configuration.write_text(CONFIGURATION.replace(', "env"]', "]"), "utf-8")
    monkeypatch.setenv("SENTRY_DSN", "the parent's")
    assert variables()["SENTRY_DSN"] == b"the parent's"


def test_a_required_one_that_does_not_resolve_stops_the_command(called, configuration):
    """Each is named with its reason, and the code is that of `check`."""
    configuration.write_text(CONFIGURATION.replace("list =", "none =").replace("url =", "uri ="), "utf-8")
    done = called("--", "touch", "started")
    assert done.returncode == 3
    lines = done.stderr.splitlines()[-3:]
    assert lines[0].startswith("strongroom: DATABASE_URL: Secret not found: database/connection (memory: ")
    assert lines[1].startswith("strongroom: FLAGS: Secret not found: app/flags (memory: ")
    assert lines[2] == "strongroom: touch was not started: 2 of 4 variables of [secrets] did not resolve"
    assert CANARY not in done.stderr
    assert not Path("started").exists()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (f"{CANARY}\0", "a NUL"),
        (f"{CANARY}\0".encode(), "a NUL"),
        (None, "it is null"),
        (f"{CANARY}\udc80", "surrogate"),
    ],
)
def test_what_no_environment_can_hold_is_refused_by_the_variables_name(command, monkeypatch, value, fault):
    """Cut at the NUL, it would be another value. Nothing is started, and nothing of the value is said."""
    from strongroom.store.memory import MemoryStore

    class Holding(MemoryStore):
        def read(self, path):
            from strongroom import Secret

            return Secret(path, {"url": value, "list": 1})

    monkeypatch.setattr(SecretsManager, "from_config", lambda *_, **__: SecretsManager(chain=[Holding()]))
    done = command("--verbose", "run", "--", "touch", "started")
    assert (done.code, done.out) == (6, b"")
    assert "DATABASE_URL cannot be set: " in done.err
    assert fault in done.err
    assert CANARY not in done.err
    assert not Path("started").exists()


def test_without_a_secrets_table_nothing_is_started(called, configuration):
    """The command would run with whatever its parent had: somebody stands in the wrong folder."""
    configuration.unlink()
    done = called("--", "touch", "started")
    assert done.returncode == 7
    assert not Path("started").exists()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        pytest.param(["true"], 0, marks=pytest.mark.long),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], -signal.SIGTERM),
        pytest.param(["--", "/nonexistent/command"], 127, marks=pytest.mark.long),
        (["no-such-command"], 127),
        pytest.param([""], 127, marks=pytest.mark.long),
        (["/"], 126),
        pytest.param([], 2, marks=pytest.mark.long),
    ],
)
def test_the_exit_status_is_the_commands(called, words, status):
    """A death by a signal too. What cannot be run has a shell's code."""
    done = called(*words)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stderr


def test_the_command_takes_the_place_of_the_process(script):
    """So that a signal to the one is a signal to the other; and it ignores none that its caller did not."""
    program = 'trap "echo told; exit 3" TERM; echo $$; grep SigIgn /proc/$$/status; while :; do sleep 0.01; done'
    with subprocess.Popen([script, "run", "sh", "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert int(process.stdout.readline()) == process.pid
            ignored = int(process.stdout.readline().split()[1], 16)
            assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)
            process.terminate()
            assert process.stdout.read() == "told\n"
            assert process.wait(LONG) == 3
        finally:
            process.kill()


def test_on_a_terminal_the_command_has_the_keyboard_and_ctrl_c(script):
    """The terminal is the command's own: what is typed reaches it, and Ctrl-C once."""
    program = """if True:
        import os, time
        assert os.isatty(0) and os.environ["DB_POOL_SIZE"] == "5"
        print("typed:", input("? "))
        try:
            print("waiting")
            while True:
                time.sleep(0.01)  # `input` would miss a signal that arrives before it reads
        except KeyboardInterrupt:
            print("interrupted"); raise SystemExit(4)
    """
    screen = pexpect.spawn(script, ["run", sys.executable, "-c", program], timeout=60, encoding="utf-8")
    screen.expect_exact("? ")
    screen.sendline("something")
    screen.expect_exact("typed: something")
    screen.expect_exact("waiting")
    screen.sendintr()
    screen.expect_exact("interrupted")
    rest = screen.read()
    screen.close()
    assert screen.exitstatus == 4
    assert CANARY not in rest


# --- what is not passed on --------------------------------------------------------------------------------------------

STORES = """
chain = ["vault"]
[stores.vault]
auth = { method = "token", token = { env = "CI_TOKEN" } }
prefix = { env = "PREFIX" }
[stores.other]
plugin = "vault"
[stores.ci]
plugin = "vault"
auth = { method = "jwt", jwt_env = "CI_JOB_JWT" }
"""
PASSED = {
    "VAULT_ADDR": "https://vault.example",
    "BAO_NAMESPACE": "platform",
    "VAULT_CLIENT_KEY": "/run/key.pem",
    "STRONGROOM_CONFIG": "strongroom.toml",
    "STRONGROOM_STORES_VAULT_MOUNT": "kv",
    "STRONGROOM_STORES_OTHER_URL": "https://vault.example",
    "PREFIX": "billing",
    "MY_VAULT_TOKEN": "another program's",
    "APP_TOKEN": "another program's",
}
DROPPED = {
    "VAULT_TOKEN": CANARY,
    "BAO_TOKEN": CANARY,
    "VAULT_SECRET_ID": CANARY,
    "BAO_TOKEN_FILE": CANARY,
    "vault_token": CANARY,
    "VAULT_HEADERS": CANARY,
    "BAO_HTTP_PROXY": CANARY,
    "VAULT_TOKENS": CANARY,
    "BAO_PASSWD": CANARY,
    "VAULT_CREDENTIALS": CANARY,
    "BAO_JWT": CANARY,
    "VAULT_UNSEAL_KEY": CANARY,
    "VAULT_CLIENT_CERT_PASSPHRASE": CANARY,
    "STRONGROOM_STORES_VAULT_TOKEN": CANARY,
    "STRONGROOM_STORES_OTHER_AUTH": '{"method": "token", "token": {"env": "OTHERS_TOKEN"}}',
    "STRONGROOM_STORES_ELSEWHERE_OPTION": CANARY,
    "CI_TOKEN": CANARY,
    "CI_JOB_JWT": CANARY,
    "OTHERS_TOKEN": CANARY,
}


def test_what_opens_a_store_is_not_passed_on(configuration):
    """Neither by the names that Vault's clients read, nor by ours, nor by those that the configuration refers to."""
    configuration.write_text(STORES, "utf-8")
    known = {"STRONGROOM_STORES_ELSEWHERE_OPTION"}
    config = discovery.load(environ={name: value for name, value in (PASSED | DROPPED).items() if name not in known})
    assert without_credentials(PASSED | DROPPED, config) == PASSED


AWS_KEYS = {
    "AWS_ACCESS_KEY_ID": CANARY,
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "AWS_SESSION_TOKEN": CANARY,
    "AWS_SECURITY_TOKEN": CANARY,
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": CANARY,
}
AWS_SETTINGS = {"AWS_REGION": "eu-west-1", "AWS_PROFILE": "app", "AWS_ROLE_ARN": "arn:x"}


@pytest.mark.parametrize("plugin", ["aws-secretsmanager", "aws-ssm", "aws-rds", "aws-sts"])
def test_keys_that_the_library_of_a_store_reads_are_not_passed_on(configuration, plugin):
    """They are no option of it. Settings, and the names of a profile or a role, are the command's too."""
    configuration.write_text(f'chain = ["central", "env"]\n[stores.central]\nplugin = "{plugin}"\n')
    config = discovery.load(environ={})
    assert without_credentials(AWS_KEYS | AWS_SETTINGS, config) == AWS_SETTINGS


def test_credentials_for_the_program_of_a_command_store_are_not_passed_on(configuration):
    """Their names tell. The address of a service or of a proxy is the command's too."""
    names = ["DOPPLER_TOKEN", "APP_SECRET_ID", "HTTPS_PROXY", "TOKENIZER"]
    configuration.write_text(
        f'chain = ["central"]\n[stores.central]\nplugin = "command"\nread = ["cat", "<path>"]\nenvironment = {names}\n'
    )
    passed = without_credentials(dict.fromkeys(names, CANARY), discovery.load(environ={}))
    assert list(passed) == ["HTTPS_PROXY", "TOKENIZER"]


def test_credentials_of_azure_are_not_passed_on(configuration):
    """The names of an identity are the command's too."""
    configuration.write_text('chain = ["central"]\n[stores.central]\nplugin = "azure-keyvault"\nvault = "shop"\n')
    names = {"AZURE_CLIENT_ID": "x", "AZURE_TENANT_ID": "y", "AZURE_CLIENT_CERTIFICATE_PATH": "/z.pem"}
    keys = (
        "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_CERTIFICATE_PASSWORD",
        "AZURE_PASSWORD",
        "IDENTITY_HEADER",
        "MSI_SECRET",
    )
    given = names | dict.fromkeys(keys, CANARY)
    assert without_credentials(given, discovery.load(environ={})) == names


@pytest.mark.vault
@pytest.mark.parametrize(
    ("auth", "withheld"),
    [
        ('{ method = "aws", role = "app" }', AWS_KEYS.keys()),
        ('{ method = "jwt", role = "app", jwt_from = "github" }', {"ACTIONS_ID_TOKEN_REQUEST_TOKEN"}),
        ('{ method = "token-file", token_file = "/run/token" }', set()),
        ('{ env = "AUTH" }', set()),
    ],
)
@pytest.mark.parametrize("from_variable", [False, True])
def test_keys_that_a_login_of_vault_reads_are_not_passed_on(configuration, auth, withheld, from_variable):
    """They are no option either: botocore, and the login for GitHub Actions, find them themselves."""
    given = {**AWS_KEYS, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": CANARY, "AWS_REGION": "eu-west-1", "AUTH": "{}"}
    environ = {}
    if from_variable:
        if "env" in auth:
            return
        environ = {"STRONGROOM_STORES_VAULT_AUTH": json.dumps(tomllib.loads(f"auth = {auth}")["auth"])}
        auth = '{ method = "agent" }'
    configuration.write_text(f'chain = ["vault"]\n[stores.vault]\nurl = "https://vault.example"\nauth = {auth}\n')
    kept = without_credentials(given, discovery.load(environ=environ))
    assert {name for name in given if name not in kept and name != "AUTH"} == set(withheld)


def test_keys_of_a_library_are_the_commands_if_no_store_of_the_chain_uses_them(configuration):
    """A configured store outside the chain is for migrations."""
    configuration.write_text('chain = ["env"]\n[stores.central]\nplugin = "aws-ssm"\n')
    config = discovery.load(environ={})
    assert without_credentials(AWS_KEYS, config) == AWS_KEYS
    configuration.write_text('chain = ["central"]\n[stores.central]\nplugin = "of-nobody"\n')
    assert without_credentials(AWS_KEYS, discovery.load(environ={})) == AWS_KEYS


OPENERS = """
    from typing import Annotated
    from strongroom.store import Option

    Key = Annotated[str, Option(secret=True, ambient=("CORP_KEY",))]
    def open_corp(*, key: Key = "", region: str = "") -> object: ...
"""


@pytest.mark.parametrize("group", ["stores", "importers", "exporters", "rotators"])
def test_secret_options_of_every_kind_of_plugin_are_not_passed_on(configuration, search_path, group):
    """Nor the variables that they refer to, in a store's table or in that of a rotation."""
    search_path.install(
        "corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": OPENERS}, group=f"strongroom.{group}"
    )
    options = 'key = { env = "NAMED" }\nregion = { env = "REGION" }'
    table = '[rotation."a/b"]\nrotator = "corp"' if group == "rotators" else '[stores.mine]\nplugin = "corp"'
    configuration.write_text(f'chain = ["env"]\n{table}\n{options}\n')
    given = {"CORP_KEY": CANARY, "NAMED": CANARY, "REGION": "eu"}
    assert without_credentials(given, discovery.load(environ={})) == {"REGION": "eu"}


def test_option_that_one_plugin_of_the_name_keeps_secret_is_secret(configuration, search_path):
    """A store and an importer share a name, and only the importer's `key` is secret."""
    search_path.install(
        "corp-secrets",
        {"corp": "corp_import:open_corp"},
        modules={
            "corp_import": OPENERS,
            "corp_store": "def open_corp(*, key: str = '', region: str = '') -> object: ...",
        },
        group="strongroom.importers",
    )
    search_path.install("corp-store", {"corp": "corp_store:open_corp"}, group="strongroom.stores")
    configuration.write_text('chain = ["env"]\n[stores.corp]\n')
    given = {"STRONGROOM_STORES_CORP_KEY": CANARY, "STRONGROOM_STORES_CORP_REGION": "eu"}
    kept = without_credentials(given, discovery.load(environ=given))
    assert kept == {"STRONGROOM_STORES_CORP_REGION": "eu"}


def test_distribution_that_lists_its_variables_is_not_imported(configuration, search_path):
    """Its names stand in its entry points, so that a short command does not wait for every installed plugin."""
    search_path.install(
        "corp-secrets",
        {"corp": "corp_store:open_corp"},
        modules={"corp_store": OPENERS},
        credential_variables={"CORP_KEY": "corp_store"},
    )
    configuration.write_text('chain = ["env"]\n')
    given = {"CORP_KEY": CANARY, "APP_KEY": "the application's"}
    assert without_credentials(given, discovery.load(environ={})) == {"APP_KEY": "the application's"}
    assert "corp_store" not in sys.modules


def test_where_no_schema_is_known_every_option_may_be_a_credential(configuration, monkeypatch):
    """As for a plugin that cannot be loaded."""
    monkeypatch.setattr("strongroom._plugins.schemas", lambda _: [])
    monkeypatch.setattr("strongroom._plugins.credential_variables", set)
    configuration.write_text(STORES, "utf-8")
    config = discovery.load(environ={})
    kept = without_credentials(PASSED | DROPPED, config)
    assert kept.keys() == {name for name in PASSED if not re.match("STRONGROOM_STORES_|PREFIX", name)} | {
        "OTHERS_TOKEN",
        "VAULT_HEADERS",
        "BAO_HTTP_PROXY",
    }


def test_the_value_stands_in_no_argument(called):
    """Every process of the machine could read it there."""
    done = called("--", "cat", "/proc/self/cmdline")
    assert done.stdout == "cat\0/proc/self/cmdline\0"


@pytest.mark.vault
def test_an_outage_stops_the_command(called, monkeypatch, configuration):
    """Also where the row is not required: an outage is not an absence."""
    configuration.write_text(CONFIGURATION.replace('["memory", "env"]', '["memory", "vault"]'), "utf-8")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    done = called("--", "touch", "started", before=("--verbose",))
    assert done.returncode == 5
    assert "SENTRY_DSN: Cannot connect" in done.stderr
    assert CANARY not in done.stderr
    assert not Path("started").exists()
