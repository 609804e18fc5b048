"""`strongroom rotate`, and what `check --expiring` and `doctor` say of rotations."""

import json
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from strongroom import SecretsManager
from strongroom._cli.options import Invocation
from strongroom.rotate.state import pending_path
from strongroom.store.memory import MemoryStore
from support.clock import LONG

PATH = "database/app"
TABLE = f'[rotation."{PATH}"]\nrotator = "token"\nevery = "30d"\n'
FAILING = f'[rotation."{PATH}"]\nrotator = "command"\nkey = "token"\napply = ["false"]\nprove = ["true"]\n'


@pytest.fixture
def rotated(monkeypatch):
    """A store that outlives the commands, with a secret, and a configuration that rotates it."""
    store = MemoryStore()
    store.write(PATH, {"token": "canary-token-1", "owner": "payments"})
    monkeypatch.setattr(store, "close", lambda: None)
    monkeypatch.setattr(Invocation, "open", lambda _: SecretsManager(chain=[store]))
    Path("strongroom.toml").write_text(TABLE)
    return store


def test_a_path_is_rotated(command, rotated):
    done = command("rotate", PATH)
    assert (done.code, done.out) == (0, b"")
    assert "Rotating database/app with token" in done.err
    assert "Rotated database/app. It is due again 20" in done.err
    assert rotated.read(PATH).data["token"] != "canary-token-1"
    assert rotated.read(PATH).data["owner"] == "payments"


def test_the_result_in_json_has_no_value(command, rotated):
    document = json.loads(command("rotate", PATH, "--json").out)
    assert (document["path"], document["state"], document["unfinished"]) == (PATH, "done", False)
    token = rotated.read(PATH).data["token"].reveal()
    shown = json.dumps(document) + command("rotate", "history", PATH, "--json").out.decode()
    assert "canary-token-1" not in shown
    assert token not in shown


def test_in_production_it_asks(command, rotated):
    Path("strongroom.toml").write_text(f"production = true\n{TABLE}")
    assert command("rotate", PATH).code == 2
    assert rotated.read(PATH).data["token"] == "canary-token-1"
    assert command("rotate", PATH, "--yes").code == 0


def test_status_and_history(command, rotated):
    assert command("rotate", "status").out.decode().split("\t")[:2] == [PATH, "never"]
    command("rotate", "now", PATH)
    fields = command("rotate", "status", PATH).out.decode().split("\t")
    assert fields[:2] == [PATH, "done"]
    assert fields[5:7] == ["token", "memory"]
    assert command("rotate", "history", PATH).out.decode().split("\t")[0::2] == ["2", "token\n"]


def test_a_grace_time_is_told_and_can_be_cut_short(command, rotated):
    Path("strongroom.toml").write_text(f'{TABLE}previous_key = "previous"\ngrace = "1h"\n')
    told = command("rotate", PATH).err
    # To the second: ten seconds after 14:15:30, "14:15" would be over.
    assert re.search(r"The old credential is valid until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; ", told)
    assert rotated.read(PATH).data["previous"] == "canary-token-1"
    refused = command("rotate", PATH)
    assert refused.code == 6
    assert "strongroom rotate resume --now database/app" in refused.err
    ended = command("rotate", "resume", "--now", PATH)
    assert ended.code == 0
    assert "Revoked the old credential of database/app. It is due again 20" in ended.err
    assert "Rotated" not in ended.err
    assert "previous" not in rotated.read(PATH).data


def test_the_end_of_a_grace_time_is_not_told_as_a_rotation(command, rotated):
    """By a run of cron, whose output is mailed."""
    Path("strongroom.toml").write_text(f'{TABLE}grace = "1h"\n')
    command("rotate", PATH)
    Path("strongroom.toml").write_text(TABLE)  # the grace time is over
    assert command("rotate", "run", "--once").err.startswith("strongroom: Revoked the old credential of database/app. ")
    assert command("rotate", "run", "--once").err == ""
    assert "Rotated database/app. " in command("rotate", PATH).err


def test_a_promoted_rotation_can_be_undone(command, rotated):
    Path("strongroom.toml").write_text(f'{TABLE}grace = "1h"\n')
    command("rotate", PATH)
    done = command("rotate", "undo", PATH)
    assert done.code == 0
    assert "Undid the rotation of database/app: the old credential works. It is due again 20" in done.err
    assert "to stop the schedule, remove `every` from its table" in done.err
    assert "overdue" not in command("rotate", "status", PATH).out.decode()
    assert rotated.read(PATH).data["token"] == "canary-token-1"
    assert command("rotate", "undo", PATH).code == 6


def test_a_step_that_fails_is_named_with_the_next_command(command, rotated):
    Path("strongroom.toml").write_text(FAILING)
    done = command("rotate", PATH)
    assert done.code == 1
    assert "failed at step apply" in done.err
    assert "the old credential works" in done.err
    assert "strongroom rotate database/app" in done.err
    assert rotated.read(PATH).data["token"] == "canary-token-1"


ADMIN = f'[rotation."{PATH}"]\nrotator = "postgres"\nusers = ["app", "app_2"]\nadmin = "database/typo"\n'


def test_a_rotation_without_its_administrator_does_not_begin(command, rotated):
    """A typing error in `admin`: neither the step nor its undo would be possible."""
    rotated.write(PATH, {"user": "app", "password": "canary", "host": "db.example"})
    Path("strongroom.toml").write_text(ADMIN)
    done = command("rotate", PATH)
    assert done.code == 3
    assert "Secret not found: database/typo (" in done.err
    assert list(rotated.list_entries(f"{PATH}/rotation")) == []


def test_a_key_that_its_administrator_lacks_is_named_with_those_that_exist(command, rotated):
    """Nothing has reached the service, so nothing has to be resumed."""
    rotated.write("database/typo", {"user": "postgres", "pasword": "canary-1"})
    rotated.write(PATH, {"user": "app", "password": "canary-2", "host": "db.example"})
    Path("strongroom.toml").write_text(ADMIN)
    done = command("rotate", PATH)
    assert done.code == 1
    assert "database/typo (the key 'password' of the secret is missing). Its keys are user, pasword" in done.err
    assert "It was undone" in done.err
    assert "canary" not in done.err


def test_an_undo_that_fails_has_the_code_of_what_is_partly_done(command, rotated):
    Path("strongroom.toml").write_text(FAILING.replace('["true"]', '["false"]'))
    done = command("rotate", PATH)
    assert done.code == 8
    assert "strongroom rotate undo database/app" in done.err


def test_a_rotation_that_was_asked_for_is_made_after_the_undo_that_was_left(command, rotated):
    """Whoever asked for it, such as a cron job, relies on the exit code."""
    Path("strongroom.toml").write_text(FAILING.replace('["true"]', '["false"]'))
    command("rotate", PATH)
    Path("strongroom.toml").write_text(FAILING.replace('["false"]', '["true"]'))
    done = command("rotate", PATH, "--json")
    assert (done.code, json.loads(done.out)["state"]) == (0, "done")
    assert "Rotated database/app" in done.err
    assert rotated.read(PATH).data["token"] != "canary-token-1"


@pytest.mark.parametrize(
    ("tables", "message", "code"),
    [
        ("", 'add [rotation."database/app"]', 7),
        (TABLE.replace("30d", "soon"), "every: must be a duration", 7),
        (TABLE.replace("token", "tokn"), 'did you mean "token"', 7),
        (TABLE + "lenght = 3\n", "the plugin token has no option lenght", 7),
        (TABLE + "size = 3\n", "size: must be from 16", 7),
        (TABLE + 'store = "none"\n', "no store 'none' in the chain", 7),
    ],
)
def test_a_configuration_that_is_wrong_is_refused(command, rotated, tables, message, code):
    Path("strongroom.toml").write_text(tables)
    done = command("rotate", PATH)
    assert (done.code, message in done.err) == (code, True), done.err
    assert rotated.read(PATH).data["token"] == "canary-token-1"
    assert list(rotated.list_entries("database/app/rotation")) == []


def test_config_check_finds_it_too(command):
    Path("strongroom.toml").write_text(f'chain = ["memory"]\n{TABLE}size = 3\n')
    done = command("config", "check")
    assert (done.code, "size: must be from 16" in done.err) == (7, True)
    Path("strongroom.toml").write_text(f'chain = ["memory"]\n{TABLE}')
    assert command("config", "check").code == 0


@pytest.mark.parametrize("untrusted", ["strongroom.toml", ".env"])
def test_an_untrusted_file_decides_nothing_about_a_rotation(command, monkeypatch, untrusted):
    """The table could name a program, and a variable of .env the host that gets the credentials."""
    monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS")
    Path("strongroom.toml").write_text(f'chain = ["memory"]\n{FAILING}')
    Path(".env").write_text("PGHOST=evil.example\n")
    for file in {"strongroom.toml", ".env"} - {untrusted}:
        command("trust", file)
    done = command("rotate", PATH)
    assert done.code == 7
    assert f"./{untrusted} is not trusted: a rotation of database/app sends credentials" in done.err


def date_back(store):
    """Let the secret of a store be of 2020."""

    def read(path):
        secret = MemoryStore.read(store, path)
        return replace(secret, created=secret.created.replace(year=2020)) if path == PATH else secret

    store.read = read


def test_run_once_rotates_what_is_due(command, rotated):
    assert command("rotate", "run", "--once").err == ""
    Path("strongroom.toml").write_text(TABLE.replace("30d", "1m"))
    date_back(rotated)
    document = json.loads(command("rotate", "run", "--once", "--json").out)
    assert [found["path"] for found in document["rotations"]] == [PATH]
    assert document["failures"] == []


def test_run_once_has_the_code_of_the_gravest_failure(command, rotated):
    Path("strongroom.toml").write_text(FAILING + 'every = "1m"\n')
    date_back(rotated)
    done = command("rotate", "run", "--once", "--json")
    assert done.code == 1
    assert json.loads(done.out)["failures"][0]["path"] == PATH


def test_run_needs_a_rotation(command, rotated):
    Path("strongroom.toml").write_text("")
    assert command("rotate", "run").code == 7
    assert command("rotate", "run", "--json").code == 2
    assert command("rotate").code == 2


def test_run_ends_with_sigterm(script):
    Path("strongroom.toml").write_text(f'chain = ["memory"]\n{TABLE}')
    with subprocess.Popen([script, "rotate", "run"], stderr=subprocess.PIPE, text=True) as process:
        assert "Watching the schedules of database/app" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG) == 0


def test_check_reports_what_is_about_to_be_due(command, rotated):
    assert command("check", "--expiring", "1d").code == 0
    done = command("check", "--expiring", "31d")
    assert done.code == 10
    assert done.out.decode().split("\t")[:2] == [PATH, "due in 30 d"]
    document = json.loads(command("check", "--expiring", "31d", "--json").out)
    assert (document["ok"], document["rotations"][0]["path"]) == (False, PATH)
    assert command("check", "--expiring", "soon").code == 2
    assert command("check", "--expiring", "1d", "--wait", "1s").code == 2


def test_check_reports_an_unfinished_rotation(command, rotated):
    Path("strongroom.toml").write_text(FAILING.replace('["true"]', '["false"]'))
    command("rotate", PATH)
    done = command("check", "--expiring", "1d")
    assert (done.code, "unfinished: undoing" in done.out.decode()) == (10, True)
    assert rotated.read(pending_path(PATH))


def test_doctor_warns_of_an_overdue_rotation(command):
    text = f'chain = ["memory"]\n[stores.memory.secrets."{PATH}"]\ntoken = "canary-token-1"\n'
    Path("strongroom.toml").write_text(text + TABLE)
    assert "rotation" not in command("doctor").out.decode()
    Path("strongroom.toml").write_text(text + FAILING.replace('["true"]', '["false"]'))
    assert command("doctor").code == 0


def test_doctor_reads_rotations_from_the_stores_that_it_has_open(command, monkeypatch):
    """A store that logs in would do so twice."""
    opened, begin = [], MemoryStore.__init__

    def noted(store, *given, **options):
        opened.append(store)
        begin(store, *given, **options)

    monkeypatch.setattr(MemoryStore, "__init__", noted)
    Path("strongroom.toml").write_text(f'chain = ["memory"]\n[stores.memory.secrets."{PATH}"]\ntoken = "t"\n{TABLE}')
    assert command("doctor").code == 0
    assert len(opened) == 1


def test_doctor_names_a_rotation_that_it_cannot_read(command):
    """The store answers, and yet the rotation may be unfinished."""
    secrets = (
        f'[stores.memory.secrets]\n"{PATH}" = {{ token = "canary-1" }}\n"{pending_path(PATH)}" = {{ state = "x" }}\n'
    )
    Path("strongroom.toml").write_text(f'chain = ["memory"]\n{secrets}{TABLE}')
    done = command("doctor", "--json")
    assert (done.code, json.loads(done.out)["ok"]) == (8, False)
    assert "Not checked: " in done.err
    assert PATH in done.err
