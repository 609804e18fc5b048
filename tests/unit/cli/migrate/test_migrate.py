"""`strongroom migrate`: what it says, asks, writes and shows, on files."""

import json
import os
import re
from pathlib import Path

import pyrage
import pytest

from strongroom._cli.diagnose.chain_status import Migrations
from strongroom._cli.migrate.plan import write as write_plan
from strongroom._cli.terminal import output
from strongroom._files import yaml_codec
from strongroom._files.file_store import FileStore
from strongroom.errors import PermissionDeniedError, StoreUnavailableError
from strongroom.migrate import Migrator, runs
from strongroom.migrate._ledger import journal
from strongroom.migrate.endpoints import Endpoints
from support.command_line import call_on_terminal
from support.representatives import some
from support.scenarios.migrations import assert_no_value_is_kept, held, last_run, write

CANARY = "canary-7f3a"

DOTENV = f"""DATABASE_URL=postgres://{CANARY}
STRIPE_API_KEY={CANARY}-stripe
LEGACY={CANARY}-legacy
VAULT_TOKEN={CANARY}-token
AWS_SECRET_ACCESS_KEY={CANARY}-aws
"""

TO_JSON = ("migrate", "--env-file", ".env", "--to", "json:out.json")


@pytest.fixture(autouse=True)
def sources():
    """A `.env` as the guide has it, and a file of secrets, which a file beside it has in part."""
    write(".env", DOTENV)
    write("old.json", json.dumps({"a": {"k": f"{CANARY}-a", "n": 5}, "b": {"k": CANARY}, "c/d": {"k": CANARY}}))
    write("new.json", json.dumps({"a": {"k": f"{CANARY}-other", "mine": "x"}, "b": {"k": CANARY}}))
    yield
    assert_no_value_is_kept(CANARY)


def run_of(done):
    """The name of the migration that was said."""
    found = re.search(r"(?:\(migration |migrate undo )(\S+?)[)`]", done.err)
    assert found is not None, done.err
    return found[1]


# --- in one go --------------------------------------------------------------------------------------------------------


def test_one_go_plans_applies_and_verifies(command):
    """It says where first, and how to go back last; each secret and each variable that is none is a line."""
    done = command(*TO_JSON, "--yes")
    assert done.code == 0
    assert done.err.splitlines()[0] == "strongroom: migrating from dotenv:.env to store json:out.json"
    assert f"`strongroom migrate undo {run_of(done)}`" in done.err.splitlines()[-1]
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert {(row[0], row[1], row[2] or row[4]) for row in rows} == {
        ("verify", "done", "api-keys/stripe"),
        ("verify", "done", "database/connection"),
        ("verify", "skipped", "LEGACY"),
        ("verify", "skipped", "VAULT_TOKEN"),
        ("verify", "skipped", "AWS_SECRET_ACCESS_KEY"),
    }
    assert CANARY not in done.out.decode() + done.err
    assert held("out.json")["database/connection"] == {"url": f"postgres://{CANARY}"}


def test_what_opens_a_store_is_listed_and_never_migrated(command):
    """Also where nothing else is left out."""
    rows = [line.split("\t") for line in command(*TO_JSON, "--dry-run").out.decode().splitlines()]
    reasons = {row[3]: row[5] for row in rows if row[0] == "unmapped"}
    assert "never migrated" in reasons["VAULT_TOKEN"]
    assert "never migrated" in reasons["AWS_SECRET_ACCESS_KEY"]
    assert "no mapping" in reasons["LEGACY"]


def test_a_second_run_has_nothing_to_do(command):
    """And makes no migration that `undo` would take for the last one."""
    first = run_of(command(*TO_JSON, "--yes"))
    done = command(*TO_JSON, "--yes")
    assert done.code == 0
    assert "equal 2, unmapped 3. Nothing to write" in done.err
    assert [line.split("\t")[0] for line in command("migrate", "report", "--list").out.decode().splitlines()] == [first]


def test_dry_run_is_the_plan(command):
    """Nothing is written, and the exit code says that something would be."""
    done = command(*TO_JSON, "--dry-run")
    assert (done.code, Path("out.json").exists()) == (10, False)
    assert (
        "create\tdatabase/connection\tdotenv:.env\tdatabase/connection\turl 22B only at the source\t\t"
        in done.out.decode()
    )
    assert "plan: create 2, unmapped 3" in done.err
    command(*TO_JSON, "--yes")
    assert command(*TO_JSON, "--dry-run").code == 0


def test_without_a_terminal_it_needs_yes(command):
    """Before anything is read."""
    done = command(*TO_JSON)
    assert (done.code, done.out, Path("out.json").exists()) == (2, b"", False)
    assert "it needs --yes, or --dry-run" in done.err
    assert command("migrate", "--from", "json:none.json", "--to", "json:out.json").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Usage: strongroom migrate"),
        (("--yes",), "Nothing to migrate: give --from STORE"),
        (("--from", "json:old.json", "plan"), "--from must follow the command: strongroom migrate plan --from …"),
        (("--json", "undo"), "--json must follow the command"),
        (("--from", "json:old.json", "--mapping-file", "m.json", "--dry-run"), "--mapping-file only applies"),
        (("--export-mapping", "m.json", "--to", "env"), "leave --to out"),
        (("--from", "json:old.json", "--rate", "0", "--yes"), "'--rate'"),
        (
            ("--from", "json:old.json", "--rate", "nan", "--yes"),
            "'--rate': the rate must be a number of writes a second",
        ),
        (("resume", "--rate", "inf"), "'--rate': the rate must be a number of writes"),
        (("apply", "old.json", "--rate", "1e-300"), "'--rate': the rate must be a number of writes"),
        (("--from", "json:old.json", "--on-conflict", "ignore"), "'--on-conflict'"),
    ],
)
def test_a_wrong_command_line_says_what_to_type(command, arguments, said):
    """Options before a sub-command would be lost without a word."""
    done = command("migrate", *arguments)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err


@pytest.fixture
def recipient():
    """A recipient of age, and a store of the configuration that reads what is encrypted to it."""
    identity = pyrage.x25519.Identity.generate()
    write("key.txt", str(identity))
    write("strongroom.toml", '[stores.sealed]\nplugin = "json"\nfile = "sealed.json"\nidentity = "key.txt"\n')
    return str(identity.to_public())


def is_sealed():
    return Path("sealed.json").read_bytes().startswith(b"age-encryption.org/v1\n")


def test_a_file_is_encrypted_to_recipients_of_the_command_line(command, recipient):
    done = command("migrate", "--from", "json:old.json", "--to", "sealed", "--encrypt-to", recipient, "--yes")
    assert (done.code, is_sealed()) == (0, True)
    assert command("diff", "json:old.json", "sealed").code == 0
    assert command("migrate", "undo", last_run(), "--yes").code == 0
    assert is_sealed()


@pytest.mark.parametrize("step", ["plan", "apply"])
def test_what_broke_off_before_the_file_was_written_goes_on_encrypted(command, recipient, monkeypatch, step):
    """Whoever goes on need not name the recipients: they are no secret, and the run has them."""
    named = ("--encrypt-to", recipient)
    planned, applied = (named, ()) if step == "plan" else ((), named)
    command("migrate", "plan", "--from", "json:old.json", "--to", "sealed", *planned, "-o", "plan.json")

    def fail(*_):
        raise StoreUnavailableError(None, "the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(FileStore, "_change", fail)  # every change of a file
        assert command("migrate", "apply", "plan.json", *applied).code == 5
    assert not Path("sealed.json").exists()
    assert command("migrate", "resume").code == 0
    assert is_sealed()
    assert command("migrate", "verify").code == 0


def test_what_nobody_here_can_read_back_is_written_and_can_be_verified_later(command, recipient):
    """A name of a plugin has the options of the store of that name."""
    options = ("--from", "json:old.json", "--to", "json:sealed.json", "--encrypt-to", recipient, "--yes")
    done = command("migrate", *options)
    assert (done.code, is_sealed()) == (8, True)
    assert "it is encrypted with age). Name the file of your identity with the option identity" in done.err
    assert f"compare again: `strongroom migrate verify {run_of(done)}`" in done.err
    assert "plan again" not in done.err
    write("strongroom.toml", '[stores.json]\nplugin = "json"\nidentity = "key.txt"\n')
    assert command("migrate", "verify").code == 0


def test_resuming_takes_recipients_of_its_own(command, recipient):
    write("old.json", json.dumps({"a": {"k": 1}}))
    command("migrate", "plan", "--from", "json:old.json", "--to", "sealed", "-o", "plan.json")
    write("old.json", json.dumps({"a": {"k": 2}}))
    assert command("migrate", "apply", "plan.json").code == 6
    write("old.json", json.dumps({"a": {"k": 1}}))
    assert command("migrate", "resume", "--encrypt-to", recipient).code == 0
    assert is_sealed()


@pytest.mark.parametrize(
    ("target", "named", "said"),
    [
        ("memory", "", "memory cannot encrypt to recipients. Only files can: leave --encrypt-to out"),
        ("json:sealed.json", "AGE-SECRET-KEY-1", "not an age recipient"),
    ],
)
def test_recipients_are_refused_where_nothing_can_be_encrypted_to_them(command, recipient, target, named, said):
    for words in (("migrate", "--yes"), ("migrate", "plan"), ("copy", "a")):
        done = command(*words, "--from", "json:old.json", "--to", target, "--encrypt-to", named or recipient)
        assert (done.code, done.out) == (7, b"")
        assert said in done.err
    assert not Path("sealed.json").exists()


@pytest.mark.parametrize(
    ("policy", "code", "k"),
    [("fail", 6, "other"), ("skip", 0, "other"), ("merge", 0, "other"), ("overwrite", 0, "a")],
)
def test_a_conflict_is_as_the_policy_says(command, policy, code, k):
    """Keys that only the target has are kept in any case; under `fail` nothing at all is written."""
    done = command("migrate", "--from", "json:old.json", "--to", "json:new.json", "--yes", "--on-conflict", policy)
    assert done.code == code
    assert held("new.json")["a"]["k"] == f"{CANARY}-{k}"
    assert held("new.json")["a"]["mine"] == "x"
    assert ("n" in held("new.json")["a"]) is (policy in {"merge", "overwrite"})
    assert ("c/d" in held("new.json")) is (policy != "fail")
    assert ("Nothing was written. Choose a policy" in done.err) is (policy == "fail")
    assert CANARY not in done.out.decode() + done.err


def test_what_is_done_in_part_is_named(command):
    """What is impossible does not hold up the rest: exit code 8, and each with its reason."""
    write("old.json", json.dumps({"x": {"k": CANARY}, "database/connection": {"k": 1}}))
    done = command("migrate", "--from", "json:old.json", "--from", "dotenv:.env", "--to", "json:out.json", "--yes")
    assert done.code == 8
    assert held("out.json").keys() == {"x", "api-keys/stripe"}
    named = [line for line in done.err.splitlines() if "database/connection" in line]
    assert len(named) == 2
    assert all("failed: two sources for one target" in line for line in named)
    assert "Nothing is left to resume. Fix the cause, then plan again" in done.err
    assert "migrate resume" not in done.err
    done = command("migrate", "resume")
    assert (done.code, "no migration to resume" in done.err) == (6, True)


def test_nothing_but_the_impossible_is_impossible(command):
    """No secret was written, and that is no part."""
    write("old.json", json.dumps({"database/connection": {"k": 1}}))
    arguments = (
        "migrate",
        "--from",
        "json:old.json",
        "--from",
        "dotenv:.env",
        "--to",
        "json:out.json",
        "--exclude",
        "api*",
    )
    assert command(*arguments, "--yes").code == 6
    assert command(*arguments, "--dry-run").code == 6


def test_a_selection_is_taken_and_moved(command):
    """By prefix and by pattern."""
    done = command(
        *("migrate", "--from", "json:old.json", "--to", "json:out.json", "--yes"),
        *("--to-prefix", "team", "--include", "?", "--exclude", "b"),
    )
    assert (done.code, list(held("out.json"))) == (0, ["team/a"])
    arguments = ("--from", "json:old.json", "--to", "json:out.json", "--from-prefix", "c", "--yes", "--rate", "1000")
    assert command("migrate", *arguments).code == 0
    assert sorted(held("out.json")) == ["d", "team/a"]


def test_the_document_is_one_object(command):
    """With the plan in it, and its version first."""
    done = command(*TO_JSON, "--yes", "--json")
    document = json.loads(done.out)
    assert next(iter(document.items())) == ("version", 2)
    assert document["plan"]["counts"]["create"] == 2
    assert document["counts"]["done"] == 2
    assert (document["action"], document["ok"], document["run"]) == ("verify", True, run_of(done))
    again = json.loads(command(*TO_JSON, "--yes", "--json").out)
    assert (again["run"], again["plan"]["counts"]["equal"]) == (None, 2)


def test_what_is_written_and_not_verified_is_done_in_part(command, monkeypatch):
    """Somebody else wrote right after it."""
    real = Migrator.verify

    def after_a_change(self, run, **options):
        write("out.json", json.dumps({**held("out.json"), "b": {"k": "changed"}}))
        return real(self, run, **options)

    monkeypatch.setattr(Migrator, "verify", after_a_change)
    done = command("migrate", "--from", "json:old.json", "--to", "json:out.json", "--yes")
    assert (done.code, "verify: b: failed: " in done.err) == (8, True)


# --- step by step -----------------------------------------------------------------------------------------------------


def test_a_plan_is_a_file_that_apply_carries_out(command):
    """The file names keys and sizes; what it says is reviewed, and is what happens."""
    done = command("migrate", "plan", "--from", "json:old.json", "--to", "json:out.json", "-o", "plan.json")
    assert (done.code, Path("out.json").exists()) == (10, False)
    assert {"a", "b", "c/d"} == {item["path"] for item in held("plan.json")["items"]}
    done = command("migrate", "apply", "plan.json")
    assert done.code == 0
    assert held("out.json") == held("old.json")
    assert command("migrate", "verify", run_of(done)).code == 0
    assert command("migrate", "plan", "--from", "json:old.json", "--to", "json:out.json").code == 0


def test_items_may_be_taken_out_of_a_plan(command):
    """The others are still known by what they were; one that was changed since is noticed, too."""
    command("migrate", "plan", "--from", "json:old.json", "--to", "json:out.json", "-o", "plan.json")
    document = held("plan.json")
    write("plan.json", json.dumps({**document, "items": document["items"][1:]}))
    write("old.json", json.dumps({**held("old.json"), "b": {"k": CANARY.swapcase()}}))
    done = command("migrate", "apply", "plan.json", "--yes")
    assert (done.code, "apply: b: conflict: the source was changed since the plan" in done.err) == (8, True)
    assert held("out.json") == {"c/d": {"k": CANARY}}
    write("old.json", json.dumps({**held("old.json"), "b": {"k": CANARY}}))


MAPPING = {"DATABASE_URL": "renamed/database#dsn", "LEGACY": {"to": "legacy/parts", "split": "json"}}


@pytest.fixture
def mapped(command):
    """A plan that was made with a mapping file, of which apply, resume and verify are not told again."""
    write(".env", f'DATABASE_URL=postgres://{CANARY}\nLEGACY=\'{{"one": "{CANARY}", "two": 2}}\'\n')
    write("m.json", json.dumps({"version": 1, "variables": MAPPING}))
    options = ("--env-file", ".env", "--to", "json:out.json", "--mapping-file", "m.json", "-o", "plan.json")
    assert command("migrate", "plan", *options).code == 10
    assert held("plan.json")["mapping"].keys() == {"file", "digest"}
    return {"renamed/database": {"dsn": f"postgres://{CANARY}"}, "legacy/parts": {"one": CANARY, "two": 2}}


def test_a_plan_remembers_its_mapping_file(command, mapped, monkeypatch):
    """Renamed and split variables arrive and are verified; also where what is in the middle is another folder's."""
    real = FileStore.write_many
    monkeypatch.setattr(
        FileStore, "write_many", lambda _, items: ((path, StoreUnavailableError(path)) for path, _ in list(items))
    )
    assert command("migrate", "apply", "plan.json").code == 5
    monkeypatch.setattr(FileStore, "write_many", real)
    assert command("migrate", "resume").code == 0
    assert held("out.json") == mapped
    assert command("migrate", "verify").code == 0
    assert command("migrate", "undo", last_run(), "--yes").code == 0
    assert command("migrate", "apply", "plan.json").code == 0
    assert held("out.json") == mapped


def test_a_mapping_file_that_was_changed_since_the_plan_is_noticed(command, mapped):
    """Nothing is written, and the one that the plan was made with can be named in its place."""
    Path("m.json").rename("moved.json")
    done = command("migrate", "apply", "plan.json")
    assert (done.code, "m.json: it no longer exists. Name it with --mapping-file" in done.err) == (7, True)
    write("m.json", json.dumps({"version": 1, "variables": {"LEGACY": "a#b"}}))
    for arguments in ((), ("--mapping-file", "m.json")):
        done = command("migrate", "apply", "plan.json", *arguments)
        assert (done.code, "m.json: it was changed since the plan" in done.err) == (7, True)
    assert not Path("out.json").exists()
    assert command("migrate", "report").code == 6
    assert command("migrate", "apply", "plan.json", "--mapping-file", "moved.json").code == 0
    assert held("out.json") == mapped


@pytest.mark.parametrize("step", ["resume", "verify", "delete-source"])
def test_every_step_notices_a_mapping_file_that_was_changed(command, mapped, monkeypatch, step):
    """As a fault of the configuration, before anything is done."""
    with monkeypatch.context() as broken:
        if step == "resume":
            out = StoreUnavailableError("a")
            broken.setattr(FileStore, "write_many", lambda _, items: ((path, out) for path, _ in list(items)))
        assert command("migrate", "apply", "plan.json").code == (5 if step == "resume" else 0)
    write("m.json", json.dumps({"version": 1, "variables": {"LEGACY": "a#b"}}))
    named = {"delete-source": (last_run(), "--yes"), "resume": ("--yes",), "verify": ()}[step]
    done = command("migrate", step, *named)
    assert (done.code, "m.json: it was changed since the plan" in done.err) == (7, True)
    assert CANARY in Path(".env").read_text("utf-8")


def test_a_plan_that_is_applied_twice_is_undone_once(command):
    """The second time there is nothing to write, and what is undone is what was written."""
    command("migrate", "plan", "--from", "json:old.json", "--to", "json:out.json", "-o", "plan.json")
    first = run_of(command("migrate", "apply", "plan.json"))
    again = command("migrate", "apply", "plan.json")
    assert (again.code, run_of(again) == first, "migrate undo" in again.err) == (0, False, False)
    for step, code in (("verify", 0), ("undo", 0)):
        done = command("migrate", step, *((first, "--yes") if step == "undo" else ()))
        assert (done.code, run_of(done)) == (code, first)
    assert held("out.json") == {}
    assert run_of(command("migrate", "verify")) == first
    assert run_of(command("migrate", "undo", first, "--yes")) == first


def test_a_plan_replaces_a_plan_and_nothing_else(command):
    """A file of secrets may have been named by mistake."""
    plan = ("migrate", "plan", "--from", "json:old.json", "--to", "json:out.json", "-o")
    assert command(*plan, "plan.json").code == command(*plan, "plan.json").code == 10
    done = command(*plan, "new.json")
    assert (done.code, "is not a plan, so it is not replaced" in done.err) == (7, True)
    assert held("new.json")["b"] == {"k": CANARY}


def test_a_plan_in_conflict_is_not_applied(command):
    """Exit code 6 of plan and apply alike."""
    done = command("migrate", "plan", "--from", "json:old.json", "--to", "json:new.json", "-o", "plan.json")
    assert done.code == 6
    before = held("new.json")
    assert command("migrate", "apply", "plan.json").code == 6
    assert held("new.json") == before
    assert command("migrate", "report").code == 6


def test_a_source_that_was_changed_since_the_plan_is_noticed(command):
    """It is left alone, and the others go on."""
    command("migrate", "plan", "--from", "json:old.json", "--to", "json:out.json", "-o", "plan.json")
    write("old.json", json.dumps({**held("old.json"), "b": {"k": f"{CANARY}!"}}))
    done = command("migrate", "apply", "plan.json")
    assert done.code == 8
    assert "apply: b: conflict: the source was changed since the plan" in done.err
    assert held("out.json").keys() == {"a", "c/d"}


@pytest.mark.parametrize("text", ["", "{}", "no plan", '{"format": "strongroom-migration-plan", "version": 99}'])
def test_what_is_no_plan_is_not_applied(command, text):
    """With the file's name."""
    write("plan.json", text)
    done = command("migrate", "apply", "plan.json")
    assert (done.code, "plan.json" in done.err) == (7, True)
    assert command("migrate", "apply", "none.json").code == 7


def test_resume_goes_on_where_it_broke_off(command, monkeypatch):
    """The store is out in the middle; then nothing is written twice."""
    real = FileStore.write_many

    def failing(self, items):
        for path, data in list(items):
            if path == min(held("old.json")):
                yield from real(self, [(path, data)])
            else:
                yield path, StoreUnavailableError(path, "it is out")

    monkeypatch.setattr(FileStore, "write_many", failing)
    done = command("migrate", "--from", "json:old.json", "--to", "json:out.json", "--yes")
    assert (done.code, len(held("out.json"))) == (8, 1)
    assert "strongroom migrate resume" in done.err
    monkeypatch.setattr(FileStore, "write_many", real)
    assert command("migrate", "resume").code == 0
    assert held("out.json") == held("old.json")
    assert command("migrate", "resume").code == 6


def test_undo_gives_back_what_was_there(command):
    """It asks, since it takes away; and can be done again."""
    before = held("new.json")
    arguments = ("migrate", "--from", "json:old.json", "--to", "json:new.json", "--on-conflict", "overwrite", "--yes")
    assert command(*arguments).code == 0
    for refused in (command("migrate", "undo"), command("migrate", "undo", "--yes")):
        assert (refused.code, "needs the name RUN" in refused.err) == (2, True)
    done = command("migrate", "undo", last_run())
    assert (done.code, "without a terminal this needs --yes" in done.err) == (2, True)
    assert command("migrate", "undo", last_run(), "--yes").code == 0
    assert held("new.json") == before
    assert command("migrate", "verify").code == 10
    assert command(*arguments).code == 0
    assert held("new.json")["a"]["k"] == f"{CANARY}-a"


def test_without_a_backup_a_file_is_not_overwritten(command):
    """It keeps no versions: what it has stays, and what is new is written. The plan says how it was made."""
    options = ("--from", "json:old.json", "--to", "json:new.json", "--on-conflict", "overwrite", "--no-backup")
    done = command("migrate", "plan", *options, "-o", "plan.json")
    assert done.code == 6
    assert "the target keeps too few versions to undo it without a backup" in done.out.decode()
    assert "plan: create 1, equal 1, impossible 1, without a backup" in done.err
    before = held("new.json")
    assert command("migrate", "apply", "plan.json").code == 8
    assert held("new.json") == {**before, "c/d": {"k": CANARY}}
    assert json.loads(command("migrate", *options, "--dry-run", "--json").out)["backup"] is False


def test_delete_source_deletes_what_the_target_has(command):
    """And leaves what was changed since. Without a terminal it needs the name: the last migration may be another."""
    assert command("migrate", "--from", "json:old.json", "--to", "json:out.json", "--yes").code == 0
    refused = command("migrate", "delete-source", "--yes")
    assert (refused.code, "needs the name RUN" in refused.err) == (2, True)
    assert held("old.json").keys() == held("out.json").keys()
    write("old.json", json.dumps({**held("old.json"), "b": {"k": f"{CANARY}!"}}))
    assert command("migrate", "delete-source").code == 2
    done = command("migrate", "delete-source", last_run(), "--yes")
    assert done.code == 8
    assert "from store json:old.json" in done.err.splitlines()[0]
    assert held("old.json") == {"b": {"k": f"{CANARY}!"}}


@pytest.mark.parametrize("source", ["dotenv:.env", "env"])
def test_delete_source_of_a_read_only_source_is_refused_before_the_prompt(command, monkeypatch, source):
    """The message has the manual way, and nobody confirms a deletion that cannot happen."""
    monkeypatch.setenv("STRIPE_API_KEY", CANARY)
    assert command("migrate", "--from", source, "--to", "json:out.json", "--yes").code == 0
    code, shown = call_on_terminal(["migrate", "delete-source"])
    assert (code, "Continue?" in shown, "deleting" in shown) == (6, False, False)
    words = " ".join(shown.split())
    assert f"{source}: it is read-only" in words
    assert "migrate verify`, then delete the secrets by hand: the lines of a .env file" in words


def test_delete_source_names_only_the_sources_that_can_delete(command):
    """The secrets of a read-only source beside them are reported with the manual way."""
    assert (
        command("migrate", "--from", "json:old.json", "--from", "dotenv:.env", "--to", "json:out.json", "--yes").code
        == 0
    )
    done = command("migrate", "delete-source", last_run(), "--yes")
    assert (done.code, held("old.json")) == (8, {})
    assert done.err.splitlines()[0].endswith("from store json:old.json")
    assert "api-keys/stripe" in done.err
    assert "delete the secrets by hand" in done.err


@pytest.mark.parametrize("step", ["resume", "verify", "undo", "delete-source", "report"])
def test_a_migration_that_never_was_is_none(command, step):
    """By name or by default: one line."""
    for arguments in ((), ("20250101T000000000000-00000000",)):
        done = command("migrate", step, *arguments)
        assert (done.code, done.out, done.err.count("\n")) == (6, b"", 1)
        assert "There is no migration" in done.err


@pytest.mark.parametrize("step", ["resume", "verify", "undo", "delete-source"])
def test_a_migration_is_bound_to_its_places(command, monkeypatch, step):
    """In another folder the same names are other files, which hold something else: nothing is concluded from that."""
    begun = Path.cwd()
    run = run_of(command("migrate", "--from", "json:old.json", "--to", "json:out.json", "--yes"))
    there = begun / "there"
    there.mkdir()
    monkeypatch.chdir(there)
    arguments = ("migrate", step, run, *(("--yes",) if step != "verify" else ()))
    done = command(*arguments)
    assert (done.code, done.out) == (6, b"")
    assert f"json:out.json is another place now than when the migration began in {begun}" in done.err
    assert not (there / "out.json").exists()
    monkeypatch.chdir(begun)
    assert command(*arguments).code == 0


def test_a_migration_is_bound_to_what_the_configuration_said_of_its_stores(command):
    """The source too; what is not asked for the source needs none of it."""
    write("strongroom.toml", '[stores.mine]\nplugin = "json"\nfile = "old.json"\n')
    assert command("migrate", "--from", "mine", "--to", "json:out.json", "--yes").code == 0
    write("strongroom.toml", '[stores.mine]\nplugin = "json"\nfile = "new.json"\n')
    for step in (("verify",), ("delete-source", last_run(), "--yes")):
        done = command("migrate", *step)
        assert (done.code, "mine is another place now than when the migration" in done.err) == (6, True)
    assert command("migrate", "undo", last_run(), "--yes").code == 0
    assert held("out.json") == {}


def test_production_asks(command):
    """Also where the plan was reviewed."""
    write("strongroom.toml", 'production = true\nchain = ["env"]\n')
    command("migrate", "plan", "--from", "json:old.json", "--to", "json:out.json", "-o", "plan.json")
    done = command("migrate", "apply", "plan.json")
    assert (done.code, Path("out.json").exists()) == (2, False)
    assert "json:out.json, production" in done.err
    assert "This is production: without a terminal this needs --yes" in done.err
    assert command("migrate", "apply", "plan.json", "--yes").code == 0


# --- on a terminal, and a real server ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_it_shows_the_plan_and_asks(terminal, script, answer, code):
    """A table in colour, and nothing written before a yes."""
    screen = terminal(script, *TO_JSON)
    screen.waits_for("\x1b[32mcreate")
    screen.waits_for("strongroom: plan: create 2, unmapped 3")
    screen.waits_for("strongroom: This writes 2 secrets to json:out.json. Continue? [y/N] ")
    assert not Path("out.json").exists()
    screen.types(answer)
    ended, rest = screen.ended()
    assert (ended, CANARY in rest) == (code, False)
    assert Path("out.json").exists() is (code == 0)


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_table_is_as_wide_as_the_terminal(monkeypatch, columns):
    """Conflicts say which key, and no line is cut."""
    monkeypatch.setenv("COLUMNS", columns)
    plan = ["--no-color", "migrate", "plan", "--from", "json:old.json", "--to", "json:new.json"]
    code, shown = call_on_terminal(plan)
    assert code == 6
    table = [line.rstrip() for line in shown.splitlines() if not line.startswith("strongroom:")]
    assert max(map(len, table)) <= int(columns)
    words = " ".join(shown.split())
    assert "a conflict differs: k 13B only at the source: n 1B only at the target: mine c/d create k 11B" in words
    assert "plan: create 1, equal 1, conflict 1 (fails)" in words
    assert CANARY not in shown


def test_a_limit_of_the_file_is_in_the_plan_once(command, monkeypatch):
    """Secrets that the file can hold alone and not together are impossible, and nothing is begun."""
    monkeypatch.setattr(yaml_codec, "MAX_MARKS", 100)
    write("old.json", json.dumps({f"app/s{number:02}": {"k": CANARY} for number in range(40)}))
    given = ("migrate", "--from", "json:old.json", "--to", "yaml:out.yaml")
    done = command(*given, "--yes")
    assert (done.code, Path("out.yaml").exists(), runs()) == (6, False, [])
    assert "plan: impossible 40. Nothing to write" in done.err
    assert done.out.count(b"the secrets together: invalid data: too many fields: more than 100 of") == 40
    with Migrator() as migrator:
        made = migrator.plan("json:old.json", "yaml:out.yaml")
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    table = []
    monkeypatch.setattr(output, "write_table", lambda _, rows: table.extend(rows))
    write_plan(made)
    [row] = table
    assert row[0] == "app/s00, app/s01, app/s02 and 37 more"
    assert "more than 100 of" in row[-1]


def test_failures_of_one_cause_are_one_line(command, monkeypatch):
    """With the first paths and the number of the others. Another cause is another line."""
    write("old.json", json.dumps({f"app/s{number:02}": {"k": CANARY} for number in range(40)}))

    def refuse(self, items):
        for path, _ in list(items):
            reason = "odd" if path == "app/s07" else "too old"
            yield path, PermissionDeniedError(path, reason, hint=f"Grant it on data/{path}")

    monkeypatch.setattr(FileStore, "write_many", refuse)
    done = command("migrate", "--from", "json:old.json", "--to", "json:out.json", "--yes")
    many, one = (line for line in done.err.splitlines() if "failed: " in line)
    assert many.startswith("strongroom: verify: app/s00, app/s01, app/s02 and 36 more: failed: ")
    assert many.endswith("Permission denied: PATH (store json:out.json: too old). Grant it on data/PATH")
    assert one.startswith("strongroom: verify: app/s07: failed: Permission denied: app/s07 (store json:out.json: odd)")


@pytest.mark.parametrize("policy", some(["fail", "skip", "merge", "overwrite"], {"fail", "merge"}.__contains__))
def test_a_plan_compares_keys_in_two_vocabularies(command, policy):
    """A terminal and a pipe compare, and promise no change that the policy for conflicts does not make.

    `plan.json` and `--json` have the words of `diff`.
    """
    given = ("migrate", "plan", "--from", "json:old.json", "--to", "json:new.json", "--on-conflict", policy)
    piped = command(*given, "-o", "plan.json").out.decode().splitlines()[0].split("\t")
    assert piped[4] == "k 13B differs, mine only at the target, n 1B only at the source"
    words = {"k": "changed", "mine": "removed", "n": "added"}
    for document in (held("plan.json"), json.loads(command(*given, "--json").out)):
        assert document["version"] == 2
        assert {key["name"]: key["change"] for key in document["items"][0]["keys"]} == words
    _, screen = call_on_terminal(["--no-color", *given])
    assert "differs: k 13B only at the source: n 1B only at the target: mine" in " ".join(screen.split())


def test_the_list_names_migrations_that_were_undone(command):
    """A migration that was finished and then undone is not shown as finished."""
    assert command(*TO_JSON, "--yes").code == 0
    assert command("migrate", "undo", last_run(), "--yes").code == 0
    assert command("migrate", "report", "--list").out.decode().split("\t")[2] == "undone"
    assert json.loads(command("migrate", "report", "--list", "--json").out)["migrations"][0]["undone"] is True


def test_the_list_tells_a_migration_that_wrote_from_one_that_failed(command, monkeypatch):
    """The recipe of the pages takes the one that wrote, and undoing the other one says that nothing was restored."""
    wrote = run_of(command(*TO_JSON, "--yes"))
    monkeypatch.setattr(
        FileStore, "write_many", lambda self, items: iter([(p, PermissionDeniedError(p)) for p, _ in items])
    )
    assert command(
        "migrate", "--from", "json:old.json", "--to", "json:new.json", "--on-conflict", "overwrite", "--yes"
    ).code
    failed = last_run()
    rows = [line.split("\t") for line in command("migrate", "report", "--list").out.decode().splitlines()]
    assert [(row[0], row[2], row[3]) for row in rows] == [(wrote, "finished", "2"), (failed, "not finished", "0")]
    listed = json.loads(command("migrate", "report", "--list", "--json").out)["migrations"]
    assert [migration["wrote"] for migration in listed] == [2, 0]
    done = command("migrate", "undo", failed, "--yes")
    assert f"Nothing was restored, skipped 3 (migration {failed})" in done.err


def test_the_list_reads_no_item(command, monkeypatch):
    """Only the header of a plan, and the recorded progress with the journal's digest: it may have 100,000 secrets."""
    run = run_of(command(*TO_JSON, "--yes"))
    plan = runs()[-1].folder / "plan"
    head, *items = plan.read_bytes().splitlines(keepends=True)
    plan.write_bytes(head + b"x" * sum(map(len, items)))
    monkeypatch.setattr(journal, "_record", None)
    row = command("migrate", "report", "--list").out.decode().rstrip("\n").split("\t")
    assert [row[0], *row[2:]] == [run, "finished", "2", "dotenv:.env", "json:out.json"]


def test_a_migration_that_cannot_be_read_hides_no_other(command):
    """A damaged plan, or one of a newer release, is a row with its reason, and the exit code is not that of success."""
    first = run_of(command(*TO_JSON, "--yes"))
    broken = run_of(command("migrate", "--from", "dotenv:.env", "--to", "json:new.json", "--yes"))
    plan = runs()[-1].folder / "plan"
    plan.write_bytes(b"{}\n")
    done = command("migrate", "report", "--list")
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert (done.code, [row[0] for row in rows], {len(row) for row in rows}) == (8, [first, broken], {6})
    assert (rows[0][2], rows[1][2]) == ("finished", f"unreadable: {plan}: it is not a migration plan")
    done = command("migrate", "report", "--list", "--json")
    listed = json.loads(done.out)["migrations"]
    assert (done.code, [entry["run"] for entry in listed]) == (8, [first, broken])
    assert [entry["unreadable"] for entry in listed] == [None, f"{plan}: it is not a migration plan"]
    assert [entry["target"] for entry in listed] == ["json:out.json", None]
    (plan.parent / "finished").unlink()
    done = command("migrate", "resume", "--yes")
    assert done.code == 7
    assert f"Migration {broken} cannot be read: {plan}: it is not a migration plan" in done.err


_LATER = "it needs a later Strongroom: its format is version 2, and this release reads up to 1"


@pytest.mark.parametrize(
    ("damage", "code", "fault"),
    [
        (lambda text: None, 6, "journal: it is missing, so what the run wrote is unknown"),
        (lambda text: b"", 6, "journal: it is empty, so what the run wrote is unknown"),
        (lambda text: text[:-9], 6, "journal: its end is missing: it has "),
        (lambda text: b"".join(text.splitlines(keepends=True)[:-1]), 6, "journal: its end is missing: it has "),
        (lambda text: text.replace(b"done", b"gone"), 6, "unrecognized journal entry"),
        (lambda text: text.replace(b'n": 1', b'n": 2'), 7, f"journal: {_LATER}"),
        (lambda text: text.replace(b'"run": "2', b'"run": "3'), 6, "journal: it is the journal of another migration"),
        ("plan", 6, "plan: No such file or directory"),
    ],
    ids=["missing", "empty", "torn", "cut", "damaged", "later", "another", "plan"],
)
def test_a_run_that_does_not_tell_what_it_wrote_is_listed_and_not_undone(command, damage, code, fault):
    """Nothing would be restored, and the exit code would be that of a success."""
    first = run_of(command("migrate", "--from", "dotenv:.env", "--to", "json:new.json", "--yes"))
    broken = run_of(command(*TO_JSON, "--yes"))
    folder = runs()[-1].folder
    file, content = folder / "plan", None
    if damage != "plan":
        file = folder / "journal"
        content = damage(file.read_bytes())
    file.unlink() if content is None else file.write_bytes(content)
    before = held("out.json")

    done = command("migrate", "report", "--list")
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert (done.code, [row[0] for row in rows], rows[0][2]) == (8, [first, broken], "finished")
    assert rows[1][2].startswith("unreadable: ")
    assert fault in rows[1][2]
    assert [status.state for status in Migrations().status()] == ["unreadable", "finished"]

    (folder / "finished").unlink()
    for step in ("undo", "resume"):
        done = command("migrate", step, *([broken] if step == "undo" else []), "--yes")
        assert done.code == code
        assert f"Migration {broken} cannot be read: " in done.err
        assert fault in done.err
    assert held("out.json") == before


def test_a_prefix_or_pattern_that_matches_nothing_is_an_error(command):
    """It is most likely mistyped. An empty source without one is not."""
    for option in ("--from-prefix", "--include"):
        done = command("migrate", "--from", "json:old.json", "--to", "json:out.json", "--yes", option, "mistyped")
        assert (done.code, "Check the spelling" in done.err) == (6, True)


def test_standard_output_is_refused_as_a_store(command):
    """No file of the name `-` is made."""
    done = command("migrate", "--from", "json:old.json", "--to", "json:-", "--yes")
    assert (done.code, "not supported" in done.err, Path("-").exists()) == (7, True, False)


def test_a_location_whose_prefix_matches_nothing_is_an_error(command, monkeypatch):
    """As for --from-prefix, and also beside another source. An empty store without a prefix is not an error."""
    monkeypatch.setattr(Endpoints, "has_prefix", lambda _, name: name == "json:empty.json")
    write("empty.json", "{}")
    for others in ((), ("--from", "json:old.json")):
        for start in (("migrate",), ("migrate", "plan")):
            yes = ("--yes",) if start == ("migrate",) else ()
            done = command(*start, "--from", "json:empty.json", *others, "--to", "json:out.json", *yes)
            assert (done.code, "json:empty.json has no secrets below its prefix" in done.err) == (6, True)
    assert not Path("out.json").exists()


def test_a_symbolic_link_as_target_is_refused_once_before_any_write(command):
    """It names the link and the target, and no row per secret."""
    write("out.json", "{}")
    Path("link.json").symlink_to("out.json")
    for step in (("--dry-run",), ("--yes",)):
        done = command("migrate", "--from", "json:old.json", "--to", "json:link.json", *step)
        assert done.code != 0
        assert done.out == b""
        assert done.err.count("is a symbolic link. Name the file that it leads to") == 1
    assert runs() == []
    assert held("out.json") == {}


def test_a_plan_that_is_too_large_or_not_a_regular_file_is_refused(command):
    """Before it is read into memory."""
    with Path("plan.json").open("wb") as file:
        file.truncate(1 << 29)
    os.mkfifo("pipe.json")
    for name in ("plan.json", "pipe.json"):
        for words in (("apply", name), ("plan", "--from", "json:old.json", "--to", "json:out.json", "-o", name)):
            done = command("migrate", *words)
            assert (done.code, name in done.err) == (7, True)
    Path("plan.json").unlink()  # `assert_no_value_is_kept` reads all files


# --- edited plans -----------------------------------------------------------------------------------------------------


def edited_plan(command, change):
    """Write a plan, change its document and write it again."""
    assert command("migrate", "plan", "--from", "json:old.json", "--to", "json:out.json", "-o", "plan.json").code == 10
    plan = held("plan.json")
    change(plan)
    write("plan.json", json.dumps(plan))


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["items"][0].update(path="elsewhere"),
        lambda plan: plan["items"].pop(1),
        lambda plan: plan.update(target="yaml:out.json"),
        lambda plan: plan.update(on_conflict="overwrite"),
        lambda plan: plan.update(items=[{**plan["items"][0], "source_path": "z", "path": "z"}]),
    ],
)
def test_an_edited_plan_is_confirmed(command, change):
    """Without a terminal it needs --yes."""
    edited_plan(command, change)
    done = command("migrate", "apply", "plan.json")
    assert done.code == 2
    assert "The plan was edited after it was made: without a terminal this needs --yes" in done.err
    assert runs() == []
    assert not Path("out.json").exists()
    command("migrate", "apply", "plan.json", "--yes")
    assert len(runs()) == 1


def test_another_format_of_the_file_is_no_edit(command):
    edited_plan(command, lambda _: None)
    done = command("migrate", "apply", "plan.json")
    assert (done.code, "edited" in done.err) == (0, False)


def test_a_plan_from_another_machine_has_no_seal(command):
    """Its edits are not recognized, so it is confirmed as an edited one is."""
    edited_plan(command, lambda plan: plan.update(id="0123456789abcdef"))
    done = command("migrate", "apply", "plan.json")
    assert done.code == 2
    assert "not made on this machine, so edits in it are not recognized: without a terminal this needs" in done.err
    assert (runs(), Path("out.json").exists()) == ([], False)
    assert command("migrate", "apply", "plan.json", "--yes").code == 0
    assert held("out.json").keys() == {"a", "b", "c/d"}
