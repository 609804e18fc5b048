"""`strongroom check`: what it says of each row of `[secrets]`, its exit codes, and waiting."""

import json
import subprocess
from pathlib import Path

import pytest

from strongroom import Secret, SecretsManager
from strongroom._cli.diagnose.check import poll
from strongroom._config import SecretConfig
from strongroom.errors import ConfigurationError, InvalidDataError, MissingFileError, SecretNotFoundError
from strongroom.required_secrets import resolve
from strongroom.store import Traits
from strongroom.store.memory import MemoryStore
from support.clock import LONG
from support.command_line import call_on_terminal, configure

CANARY = "canary-7f3a"
ROWS = """
chain = ["memory", "env"]

[secrets]
DATABASE_URL = "database/connection#url"
DB_POOL_SIZE = { at = "database/pool#size", default = 5 }
SENTRY_DSN = { at = "monitoring/sentry#dsn", required = false }

[stores.memory.secrets."database/connection"]
url = "canary-7f3a"
"""
VAULT = """
chain = ["vault"]

[secrets]
DATABASE_URL = "database/connection#url"
OPENAI_API_KEY = "api-keys/openai#key"

[stores.vault]
mount = "{mount}"
"""


def test_rows_of_a_store_with_bulk_reads_are_one_batch(command, monkeypatch):
    """So that many rows take about as long as one."""
    batches = []

    class Bulk(MemoryStore):
        traits = Traits()  # not local

        def read_many(self, paths):
            batches.append(list(paths))
            return ((path, Secret(path, {"k": path})) for path in batches[-1])

    configure('[secrets]\nA = "a#k"\nB = "b#k"\nC = "a#none"\n')
    monkeypatch.setattr(SecretsManager, "from_config", lambda *_, **__: SecretsManager(chain=[Bulk()]))
    done = command("check", "--json")
    rows = json.loads(done.out)["secrets"]
    assert [(row["variable"], row["state"]) for row in rows] == [("A", "found"), ("B", "found"), ("C", "missing")]
    assert batches == [["a", "b"]]


def test_each_row_is_a_line_of_fields_where_it_is_piped(command):
    """Variable, reference, whether it is required, the state, the store, the reason; and never a value."""
    configure(ROWS)
    done = command("check")
    assert (done.code, done.err) == (0, "")
    lines = [line.split("\t") for line in done.out.decode().splitlines()]
    assert lines[0] == ["DATABASE_URL", "database/connection#url", "required", "found", "memory", ""]
    assert lines[1] == ["DB_POOL_SIZE", "database/pool#size", "default", "default", "", ""]
    assert lines[2][:5] == ["SENTRY_DSN", "monitoring/sentry#dsn", "optional", "absent", ""]
    assert "memory: " in lines[2][5]
    assert "env: " in lines[2][5]


def test_json_has_a_version_and_an_object_for_each_row(command):
    """Its shape is documented; what has no store has null."""
    configure(ROWS)
    answer = json.loads(command("check", "--json").out)
    memory, environment = answer["secrets"][2].pop("reasons")
    assert memory.startswith("memory: ")
    assert environment.startswith("env: ")
    assert answer == {
        "version": 1,
        "ok": True,
        "helpers": [],
        "secrets": [
            {
                "variable": "DATABASE_URL", "path": "database/connection", "key": "url", "required": True,
                "description": None, "type": None, "expires": None,
                "state": "found", "store": "memory", "secret_version": 1, "reasons": [],
            },
            {
                "variable": "DB_POOL_SIZE", "path": "database/pool", "key": "size", "required": False,
                "description": None, "type": None, "expires": None,
                "state": "default", "store": None, "secret_version": None, "reasons": [],
            },
            {
                "variable": "SENTRY_DSN", "path": "monitoring/sentry", "key": "dsn", "required": False,
                "description": None, "type": None, "expires": None,
                "state": "absent", "store": None, "secret_version": None,
            },
        ],
    }  # fmt: skip


def test_a_required_row_that_no_store_has_is_named_and_is_code_3(command):
    """The others are shown as ever."""
    configure(ROWS.replace('url = "', 'uri = "'))
    done = command("check")
    assert done.code == 3
    assert done.out.count(b"\n") == 3
    assert b"\trequired\tmissing\t\tmemory: it has no key 'url'; env: " in done.out
    assert "strongroom: 1 of 3 variables did not resolve: DATABASE_URL\n" in done.err
    assert json.loads(command("check", "--json").out)["ok"] is False


def test_to_have_nothing_to_check_is_no_success(command, configured):
    """Nor is to stand in the wrong folder. The message names the file that was read, wherever it is."""
    for done in (command("check"), command("check", "--wait", "60s"), command("types")):
        assert (done.code, done.out) == (7, b"")
        assert f"No [secrets] to resolve. Configuration: {configured.absolute()}\n" in done.err
    configured.unlink()
    done = command("check")
    assert done.code == 7
    assert f"No [secrets] to resolve. No configuration file was found in {Path.cwd()}\n" in done.err


@pytest.mark.parametrize("duration", ["soon", "-1s", ""])
def test_a_wait_is_a_duration(command, duration):
    """As in the configuration file."""
    configure(ROWS)
    done = command("check", "--wait", duration)
    assert (done.code, done.out) == (2, b"")
    assert "is not a duration" in done.err


def test_a_terminal_shows_a_table():
    """Without a value, of a row that is found too."""
    configure(ROWS)
    code, screen = call_on_terminal(["--no-color", "check"])
    assert code == 0
    words = " ".join(screen.split())
    assert "DATABASE_URL database/connection#url required memory, version 1" in words
    assert "DB_POOL_SIZE database/pool#size default default, in no store" in words
    assert "SENTRY_DSN monitoring/sentry#dsn optional absent, in no store" in words
    assert CANARY not in screen
    assert "\x1b" not in screen


def test_a_terminal_shows_what_each_store_said_of_what_is_missing():
    """A line for each, and then which it is."""
    configure(ROWS.replace('url = "', 'uri = "'))
    code, screen = call_on_terminal(["--no-color", "check"])
    assert code == 3
    words = " ".join(screen.split())
    assert "DATABASE_URL database/connection#url required missing memory: it has no key" in words
    assert words.endswith("strongroom: 1 of 3 variables did not resolve: DATABASE_URL")


GREEN, DIM, RED, YELLOW = "\x1b[32m", "\x1b[2m", "\x1b[31m", "\x1b[33m"


def test_a_terminal_shows_the_states_in_their_colours(monkeypatch):
    """What is there green, what need not be dim, what is missing red."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    configure(ROWS.replace("[stores", 'TOKEN = "a#b"\n[stores'))
    code, screen = call_on_terminal(["check"])
    assert code == 3
    assert f"{GREEN}memory, version 1" in screen
    assert f"{GREEN}default, in no store" in screen
    assert f"{DIM}absent, in no store" in screen
    assert f"{RED}missing" in screen


@pytest.mark.vault
def test_a_terminal_shows_an_outage_in_another_colour_than_an_absence(monkeypatch):
    """It is no absence."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("STRONGROOM_TIMEOUT", "1s")
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    configure(VAULT, mount="secret")
    code, screen = call_on_terminal(["check"])
    assert code == 5
    assert f"{YELLOW}unavailable" in screen


@pytest.mark.parametrize(("options", "variable"), [(("--no-color",), ""), ((), "1")])
def test_no_colour_where_none_is_wanted(monkeypatch, options, variable):
    """Nor any other style: the screen is plain text."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", variable)
    configure(ROWS)
    code, screen = call_on_terminal([*options, "check"])
    assert code == 0
    assert "\x1b" not in screen


def test_waiting_for_the_file_of_an_option(script):
    """A token that an agent in the next container writes is not there when the first container starts."""
    configure(ROWS.replace('url = "canary-7f3a"', 'url = { file = "late/token" }'))
    waiting = [script, "check", "--wait", "50s"]
    with subprocess.Popen(waiting, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = process.stderr.readline()
            assert said.startswith("strongroom: Waiting: ./strongroom.toml: [stores.memory] secrets: the file ")
            assert said.endswith("late/token: No such file or directory\n")
            Path("late").mkdir()
            Path("late/token").touch()
            assert process.stderr.readline().endswith("late/token is empty\n")
            Path("late/token").write_text(CANARY, "utf-8")
            out, err = process.communicate(timeout=LONG)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    assert "\tfound\tmemory\t" in out
    assert CANARY not in out


def test_a_file_that_does_not_come_is_an_error_of_the_configuration(command):
    """Its name may be wrong. Without --wait it is said at once, and with it when the time is over."""
    configure(ROWS.replace('url = "canary-7f3a"', 'url = { file = "late" }'))
    at_once, later = command("check"), command("check", "--wait", "10ms")
    assert (at_once.code, later.code, later.out) == (7, 7, b"")
    assert later.err.endswith(at_once.err)
    assert at_once.err.endswith("late: No such file or directory\n")


# --- the rounds of --wait ---------------------------------------------------------------------------------------------


class Rounds:
    """Answers of a store that has nothing until a round, on a clock that only `sleep` moves."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.now = 0.0
        self.asked: list[float] = []

    def ask(self):
        self.asked.append(self.now)
        error = self.errors[min(len(self.asked), len(self.errors)) - 1]
        if isinstance(error, ConfigurationError):
            raise error

        def read(path, key):
            raise error

        return resolve({} if error is None else {"A": SecretConfig("a", "b")}, read)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def poll(self, limit: float):
        return poll(self.ask, limit, clock=lambda: self.now, sleep=self.sleep)


def test_the_pauses_grow_and_the_last_round_is_when_the_time_is_over(capsys):
    """So that what comes in the last second is seen."""
    rounds = Rounds(SecretNotFoundError("a"))
    (answer,) = rounds.poll(20)
    assert not answer.met
    assert rounds.asked == [0, 0.5, 1.5, 3.5, 7.5, 12.5, 17.5, 20]
    assert capsys.readouterr().err.count("Waiting: A is missing") == 1


def test_without_a_wait_there_is_one_round():
    """Also where one more might help."""
    rounds = Rounds(SecretNotFoundError("a"))
    rounds.poll(0)
    assert rounds.asked == [0]


def test_a_file_may_come_and_nothing_else_that_is_wrong_with_the_configuration():
    """A mistyped option will be no better in a minute."""
    rounds = Rounds(MissingFileError("a"), None)
    assert rounds.poll(60) == ()
    assert rounds.asked == [0, 0.5]
    rounds = Rounds(MissingFileError("a"), ConfigurationError("b"))
    with pytest.raises(ConfigurationError, match="b"):
        rounds.poll(60)
    assert rounds.asked == [0, 0.5]
    rounds = Rounds(MissingFileError("a"))
    with pytest.raises(MissingFileError):
        rounds.poll(2)
    assert rounds.asked == [0, 0.5, 1.5, 2]


def test_what_time_does_not_mend_is_not_waited_for():
    """A value that cannot be read will be no better in a minute."""
    rounds = Rounds(SecretNotFoundError("a"), InvalidDataError("a"))
    rounds.poll(60)
    assert rounds.asked == [0, 0.5]


def test_the_code_is_that_of_what_needs_the_most_doing():
    """5 says that trying again is enough, so it is the last."""
    from strongroom import errors
    from strongroom._cli.read.secret_variables import exit_code

    kinds = (
        errors.StoreUnavailableError, errors.SecretNotFoundError, errors.PermissionDeniedError,
        errors.InvalidDataError, errors.StoreError, errors.ConfigurationError,
    )  # fmt: skip
    pending = list(kinds)

    def read(path, key):
        raise pending.pop()("x")

    rows = {f"V{number}": SecretConfig("a", str(number)) for number in range(len(kinds))}
    answers = resolve(rows, read)
    assert [int(exit_code(answers[first:])) for first in range(len(kinds))] == [7, 1, 6, 4, 3, 5]
    assert exit_code(()) == 0


def test_a_reason_that_rows_share_is_shown_once():
    """One dead token would repeat its reason on every row of the screen."""
    rows = "".join(f'{name} = "a/b#{name.lower()}"\n' for name in ("FIRST", "SECOND", "THIRD"))
    Path("strongroom.toml").write_text(f'chain = ["files"]\n[secrets]\n{rows}[stores.files]\nroot = "/none"\n', "utf-8")
    code, screen = call_on_terminal(["--no-color", "check"], lines=40)
    assert code == 5
    assert (screen.count("/none"), screen.count("as FIRST")) == (1, 2)
