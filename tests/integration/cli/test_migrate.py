"""`strongroom migrate` against a real server: kills, labels, denials."""

import json
import signal
import subprocess

import pytest

from support.representatives import some
from support.scenarios.migrations import assert_no_value_is_kept, held, last_run, write

CANARY = "canary-7f3a"

DOTENV = f"""DATABASE_URL=postgres://{CANARY}
STRIPE_API_KEY={CANARY}-stripe
LEGACY={CANARY}-legacy
VAULT_TOKEN={CANARY}-token
AWS_SECRET_ACCESS_KEY={CANARY}-aws
"""


@pytest.fixture(autouse=True)
def sources():
    """A `.env` as in the guide, and a file of secrets."""
    write(".env", DOTENV)
    write("old.json", json.dumps({"a": {"k": f"{CANARY}-a", "n": 5}, "b": {"k": CANARY}, "c/d": {"k": CANARY}}))
    yield
    assert_no_value_is_kept(CANARY)


class Slow:
    """A migration of twenty secrets to a real server, three a second."""

    def __init__(self, command, vault):
        self._command = command
        to = ("--from", "json:old.json", "--to", vault)
        self.arguments = ("--no-color", "migrate", *to, "--rate", "3", "--yes")
        self.again = ("migrate", *to, "--yes")
        self._compared = ("diff", "json:old.json", vault)

    def written(self):
        """How many secrets the target has, and whether these are all."""
        done = self._command(*self._compared)
        states = [line.split("\t")[0] for line in done.out.decode().splitlines()]
        assert set(states) <= {"same", "only first"}
        return states.count("same"), done.code == 0


@pytest.fixture
def slow(command, openbao, kv2, monkeypatch):
    """A migration that can be broken off."""
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    write("old.json", json.dumps({f"s/{number}": {"k": CANARY} for number in range(20)}))
    return Slow(command, f"vault:{kv2}")


@pytest.mark.parametrize(
    ("number", "code"),
    some([(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], lambda row: row[0] == signal.SIGINT),
)
def test_signal_breaks_off_and_resume_goes_on(terminal, script, command, slow, number, code):
    """Ctrl-C, the end of a job and the end of a terminal. The bar says how long it will take."""
    screen = terminal(script, *slow.arguments)
    screen.waits_for("s left")
    screen.gets(number)
    screen.waits_for("strongroom: Interrupted. To continue: `strongroom migrate resume`")
    assert screen.ended()[0] == code
    count, whole = slow.written()
    assert (0 < count < 20, whole) == (True, False)
    assert command("migrate", "report").code == 1
    assert command("migrate", "resume").code == 0
    assert slow.written() == (20, True)


def test_a_killed_migration_is_resumed(script, command, slow, openbao, kv2):
    """Nothing is lost or written twice; and while it ran, a second one was refused."""
    with subprocess.Popen((script, *slow.arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not slow.written()[0]:
                assert process.poll() is None
            busy = command(*slow.again)
        finally:
            process.kill()
    assert (busy.code, "Another migration is writing to vault:" in busy.err) == (6, True)
    assert not slow.written()[1]
    assert command("migrate", "resume").code == 0
    assert slow.written() == (20, True)
    assert command("migrate", "verify").code == 0
    for number in range(20):
        assert openbao.call("GET", f"{kv2}/metadata/s/{number}")["data"]["current_version"] == 1


def test_labels_are_named_and_what_they_say_is_never_shown(terminal, script, command, openbao, kv2, monkeypatch):
    """In the table, on the line and in the document; and where the target has none, that is said."""
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    openbao.call("POST", f"{kv2}/data/a", {"data": {"k": CANARY}})
    openbao.call("POST", f"{kv2}/metadata/a", {"custom_metadata": {"owner": CANARY, "tier": CANARY}})
    to = ("--from", f"vault:{kv2}", "--to", f"vault:{openbao.fresh_mount()}")
    line = command("migrate", "plan", *to).out.decode().rstrip("\n")
    assert line.split("\t") == ["create", "a", f"vault:{kv2}", "a", "k 11B only at the source", "", "", "owner, tier"]
    assert json.loads(command("migrate", "plan", *to, "--json").out)["items"][0]["labels"] == ["owner", "tier"]
    none = command("migrate", "plan", "--from", f"vault:{kv2}", "--to", "json:out.json").out.decode().split("\t")
    assert none[6:] == ["labels, which the target does not support: owner, tier", "\n"]
    code, shown = terminal(script, "--no-color", "migrate", "plan", *to).ended()
    assert (code, "labels: owner, tier" in shown, CANARY in shown) == (10, True, False)


def test_labels_that_were_denied_are_told_on_a_terminal(terminal, script, openbao, kv2, monkeypatch):
    """The secret is done, and its copy lacks something: that is in the table, and is no failure."""
    target = openbao.fresh_mount()
    openbao.call("POST", f"{kv2}/data/a", {"data": {"k": CANARY}})
    openbao.call("POST", f"{kv2}/metadata/a", {"custom_metadata": {"owner": CANARY}})
    may = {f"{kv2}/*": ["read", "list"], f"{target}/data/*": ["create", "read", "update"]}
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.issue_token(may))
    screen = terminal(script, "--no-color", "migrate", "--from", f"vault:{kv2}", "--to", f"vault:{target}", "--yes")
    code, shown = screen.ended()
    assert (code, "labels not copied" in " ".join(shown.split())) == (0, True)


def test_the_guides_words_work_on_a_real_server(command, openbao, kv2, monkeypatch):
    """To Vault by default: the mapping is exported, edited and used; and undone again."""
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", kv2)
    assert command("migrate", "--env-file", ".env", "--export-mapping", "env_mapping.json").code == 0
    mapping = held("env_mapping.json")
    mapping["variables"]["LEGACY"] = {"to": "old/things#legacy", "note": "ask Ann"}
    write("env_mapping.json", json.dumps(mapping))
    done = command("migrate", "--env-file", ".env", "--mapping-file", "env_mapping.json", "--yes")
    assert done.code == 0
    assert done.err.splitlines()[0].startswith(
        f"strongroom: migrating from dotenv:.env to store vault ({openbao.url}, mount {kv2})"
    )
    assert command("get", "old/things", "legacy").out.decode() == f"{CANARY}-legacy"
    monkeypatch.setenv("DATABASE_URL", f"postgres://{CANARY}-new")
    done = command("migrate", "--mapping-file", "env_mapping.json", "--yes", "--on-conflict", "overwrite")
    assert (done.code, "from env to store vault" in done.err) == (0, True)
    assert command("get", "database/connection", "url").out.decode() == f"postgres://{CANARY}-new"
    assert command("migrate", "undo", last_run(), "--yes").code == 0
    assert command("get", "database/connection", "url").out.decode() == f"postgres://{CANARY}"


def test_secrets_that_are_forbidden_are_named_and_the_rest_is_done(command, openbao, kv2, monkeypatch):
    """Two of four, on a real server with a policy: exit code 8."""
    write("old.json", json.dumps({f"{name}/{n}": {"k": CANARY} for name in ("open", "shut") for n in "12"}))
    most = f'path "{kv2}/data/*" {{ capabilities = ["read", "create", "update"] }}'
    shut = f'path "{kv2}/data/shut/*" {{ capabilities = ["read"] }}'
    openbao.call("PUT", "sys/policies/acl/half", {"policy": f"{most}\n{shut}"})
    token = openbao.call("POST", "auth/token/create", {"policies": ["half"]})["auth"]["client_token"]
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", token)
    done = command("migrate", "--from", "json:old.json", "--to", f"vault:{kv2}", "--yes")
    assert done.code == 8
    [named] = [line for line in done.err.splitlines() if ": failed: " in line]
    assert named.split(": ")[2] == "shut/1, shut/2"
    assert "Permission denied" in named
    assert "Migrated and verified 2 secrets, failed 2" in done.err
    assert CANARY not in done.out.decode() + done.err


def test_one_migration_opens_each_store_once(command, openbao, kv2, monkeypatch):
    """Plan, apply and verify share one login: a secret_id with a single use is enough, and it is used up after that."""
    write("old.json", json.dumps({"a": {"k": CANARY}, "b": {"k": 2}}))
    policy = f'path "{kv2}/*" {{ capabilities = ["create", "read", "update", "list"] }}'
    openbao.call("PUT", "sys/policies/acl/once", {"policy": policy})
    openbao.call("POST", f"sys/auth/{kv2}-approle", {"type": "approle"})
    role = f"auth/{kv2}-approle/role/app"
    openbao.call("POST", role, {"token_policies": "once", "secret_id_num_uses": 1})
    role_id = openbao.call("GET", f"{role}/role-id")["data"]["role_id"]
    secret_id = openbao.call("POST", f"{role}/secret-id")["data"]["secret_id"]
    auth = f'{{ method = "approle", mount = "{kv2}-approle", role_id = "{role_id}", secret_id = "{secret_id}" }}'
    write("strongroom.toml", f'[stores.vault]\nurl = "{openbao.url}"\nmount = "{kv2}"\nauth = {auth}\n')
    done = command("migrate", "--from", "json:old.json", "--to", "vault", "--yes")
    assert done.code == 0, done.err
    assert "apply: done" not in done.err
    assert command("migrate", "verify").code != 0
