"""`strongroom dev --seed`: what of a .env file reaches the server, and what never does."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from strongroom.env_names import EnvironmentMapping
from strongroom_vault.dev.seed import plan_seed

STRONGROOM = [sys.executable, "-c", "from strongroom._cli.main import main; main()"]
CANARY = "canary-7f3a"

DOTENV = """
DATABASE_URL=postgresql://app:canary-7f3a@db.example/app
export SENTRY_DSN='canary-7f3a with spaces'
MY_SERVICE_API_KEY=canary-7f3a
JWT_SECRET_KEY=
APP_SETTING=canary-7f3a
VAULT_TOKEN=canary-7f3a
BAO_ADDR=http://canary-7f3a
STRONGROOM_TIMEOUT=5
AWS_SECRET_ACCESS_KEY=canary-7f3a
CANARY7F3A==
"""

CONFIGURATION = """
environment = "dev"

[secrets]
SENTRY_DSN = "monitoring/sentry#dsn"

[stores.vault]
plugin = "vault"
url = "https://vault.corp.example:8200"
mount = "team/kv"
prefix = "billing"
auth = { method = "token", token = { env = "PRODUCTION_TOKEN" } }

[environments.dev]
chain = [{ store = "vault" }]
"""


def run(*arguments):
    return subprocess.run([*STRONGROOM, *arguments], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def files(tmp_path):
    """The configuration, and a .env file that is in another folder, so that nothing but --seed reads it."""
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    file = tmp_path / "seed.env"
    file.touch(0o600)
    file.write_text(DOTENV, "utf-8")
    return file


def test_the_command_finds_the_variables_on_the_server(files):
    """At the configured mount and prefix, each where the mapping says; what is left out is named, and no value is."""
    program = """if True:
        from strongroom import list_secrets, resolve
        for path in list_secrets(recursive=True):
            found = resolve(path)
            print(path, found.store, sorted(found.value))
    """
    called = run("dev", "--seed", str(files), "--", sys.executable, "-c", program)
    assert called.returncode == 0, called.stderr
    assert called.stdout.splitlines() == [
        "api-keys/my_service vault ['key']",
        "database/connection vault ['url']",
        "monitoring/sentry vault ['dsn']",
    ]
    reserved = "VAULT_TOKEN, BAO_ADDR, STRONGROOM_TIMEOUT, AWS_SECRET_ACCESS_KEY"
    assert called.stderr.splitlines() == [
        "strongroom: seeded: DATABASE_URL, SENTRY_DSN, MY_SERVICE_API_KEY",
        "strongroom: not seeded: no row of [secrets] and no other rule maps APP_SETTING",
        f"strongroom: not seeded: credentials of a store are never secrets: {reserved}",
        "strongroom: not seeded: empty: JWT_SECRET_KEY",
        "strongroom: not seeded: 1 name(s) that may be part of a value",
    ]
    assert "7f3a" not in called.stderr.lower()


def test_a_value_comes_back_exactly(files):
    """As python-dotenv reads it."""
    called = run("dev", "--seed", str(files), "--", *STRONGROOM, "get", "monitoring/sentry#dsn")
    assert called.stdout == "canary-7f3a with spaces", called.stderr


def test_without_a_configuration_the_chain_begins_with_the_server(tmp_path):
    """The first thing that somebody tries: a .env file, and nothing else."""
    file = Path(".env")
    file.touch(0o600)
    file.write_text(f"DB_PASSWORD={CANARY}\n", "utf-8")
    program = (
        "from strongroom import _config; _config.LINK_TIMEOUT = 60\n"  # too short on a busy machine
        "from strongroom import resolve; print(resolve('database/connection', 'password').store)"
    )
    called = run("dev", "--seed", ".env", "--", sys.executable, "-c", program)
    assert (called.returncode, called.stdout) == (0, "vault\n"), called.stderr


def test_a_shell_that_uses_the_printed_variables_finds_them_too(files):
    """On a terminal, until Ctrl-C."""
    arguments = [*STRONGROOM[1:], "dev", "--seed", str(files)]
    server = pexpect.spawn(STRONGROOM[0], arguments, encoding="utf-8", timeout=60, dimensions=(50, 500))
    try:
        server.expect_exact("seeded: DATABASE_URL")
        server.expect(r"export STRONGROOM_CONFIG=\S+\r\n")
        variables = dict(re.findall(r"export (\w+)='?(.*?)'?\r\n", server.before))
        environ = {**os.environ, **variables}
        used = subprocess.run(
            [*STRONGROOM, "get", "monitoring/sentry#dsn"], env=environ, capture_output=True, text=True, check=False
        )
        assert used.stdout == "canary-7f3a with spaces", used.stderr
        server.kill(signal.SIGINT)
        server.expect(pexpect.EOF)
        assert CANARY not in server.before
    finally:
        server.close(force=True)
    assert server.exitstatus == 0


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, 7, "No such file"),
        (f'A="{CANARY}\nB={CANARY}', 7, "line 1"),
    ],
)
def test_a_file_that_is_none_starts_nothing(tmp_path, text, code, said):
    """It is read before the server is started."""
    file = tmp_path / "seed.env"
    if text is not None:
        file.touch(0o600)
        file.write_text(text, "utf-8")
    called = run("dev", "--seed", str(file), "--", "echo", "started")
    assert (called.returncode, called.stdout) == (code, "")
    assert said in called.stderr
    assert CANARY not in called.stderr


def test_a_chain_that_never_asks_the_server_is_said(files):
    """Seeded where nobody looks, the variables would only seem to be there."""
    Path("strongroom.toml").write_text('chain = [{ store = "vault", paths = ["other/*"] }, "env"]\n', "utf-8")
    called = run("dev", "--seed", str(files), "--", "echo", "started")
    assert (called.returncode, called.stdout) == (7, "")
    assert "no Vault store of the chain reads database/connection" in called.stderr


def test_the_demonstration_takes_no_seed(files):
    assert run("dev", "--demo", "--seed", str(files)).returncode == 2


def test_a_row_of_secrets_goes_before_the_pattern():
    """The plan is pure: names and values to paths and keys."""
    mapping = EnvironmentMapping({"MY_SERVICE_API_KEY": ("services/my", "token")})
    seed = plan_seed({"MY_SERVICE_API_KEY": CANARY, "a b": CANARY, "QUJD": "="}, mapping)
    assert seed.secrets == {"services/my": {"token": CANARY}}
    assert (seed.mapped, seed.unmapped, seed.invalid) == (("MY_SERVICE_API_KEY",), (), 2)
    assert CANARY not in repr(seed)
