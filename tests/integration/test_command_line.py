"""Every command in development, and in production those that change something, on a real server.

Each runs at once on a real terminal and through pipes.

Production talks to it through TLS, with a certificate of an authority that only the environment names.

The value of the secret is of this run alone. It is looked for in what every process of the machine was started with,
in what is printed, and in the file in which a shell keeps what was typed.
"""

import io
import json
import os
import re
import secrets
import shlex
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pexpect
import pytest
import trustme

from support.command_line import Caller, Done, call_on_terminal
from support.vault.proxy import FaultProxy

pytestmark = pytest.mark.long

STRONGROOM = str(Path(sys.executable).parent / "strongroom")
CANARY = f"canary-{secrets.token_hex(8)}"
MODES = {"dev": (24, 80), "production": (40, 120)}
"""Each with the size of its terminal: lines and columns."""

CONFIGURATION = """
[secrets]
DB_PASSWORD = "database/connection#password"
DB_POOL_SIZE = { at = "database/pool#size", default = 5 }

[stores.vault]
mount = "MOUNT"

[environments.dev]
chain = [{ store = "vault", timeout = "1m" }, "env", "dotenv"]

[environments.production]
production = true
chain = [{ store = "vault", timeout = "1m" }, "env"]
"""
DOCUMENT = json.dumps({"password": CANARY})
PRINT_AND_WAIT = """'printenv DB_PASSWORD; echo "token: $VAULT_TOKEN."; read line'"""

PIPE, TERMINAL = "pipe", "terminal"
BOTH = (PIPE, TERMINAL)


class Case(NamedTuple):
    """One command line; `{own}` in it is a name of its own for each mode and each of `BOTH`.

    Attributes:
        words: what is typed after `strongroom`.
        shows: where it is asked to print the value.
        refused: where it must end with code 2.
        code: how it ends everywhere else.
        table: on a terminal it is a table, in bold and colours.
        piped: what stands in stdin, where that is a pipe.
        asked: what a terminal asks, and what is typed.
        writes: it changes a secret: production asks first.
        final: it asks in development too, as what cannot be undone does.
        waits_after: what is on the screen when it waits to be let go.
        at: the path that it writes the value to.
        versions: the state of each version of the secret there at the end, if the command changes one version.
    """

    words: str
    shows: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    code: int = 0
    table: bool = False
    piped: str = ""
    asked: tuple[str, str] | None = None
    writes: bool = False
    final: bool = False
    waits_after: str = ""
    at: str = ""
    versions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The words up to the first quote."""
        return self.words.partition("'")[0]

    @property
    def changes(self) -> bool:
        """Whether it changes a store."""
        return bool(self.writes or self.final or self.at)

    def asks(self, mode: str) -> bool:
        """Whether somebody has to say yes first."""
        return self.final or (self.writes and mode == "production")


CASES = [
    Case("get database/connection password", shows=BOTH),
    Case("get database/connection", shows=(PIPE,), table=True),
    Case("get database/connection --reveal", shows=BOTH, table=True),
    Case("get --json database/connection#password", shows=BOTH),
    Case(
        "set written/{own} password",
        piped=f"{CANARY}\n",
        asked=("#password: ", CANARY),
        writes=True,
        at="written/{own}",
    ),
    Case("set written/{own} password=@value.txt", writes=True, at="written/{own}"),
    Case("set written/{own} --from-json document.json", writes=True, at="written/{own}"),
    Case(
        "set written/{own} --from-json -",
        piped=DOCUMENT,
        asked=("then Ctrl-D: ", f"{DOCUMENT}\n\x04"),
        writes=True,
        at="written/{own}",
    ),
    Case("delete spare/{own}", writes=True),
    Case("rollback rolled/{own} 1", writes=True, at="rolled/{own}", versions=("", "deleted", "", "", "")),
    Case("undelete undeleted/{own} 2", writes=True, at="undeleted/{own}", versions=("",) * 4),
    Case(
        "destroy destroyed/{own} 3",
        writes=True,
        final=True,
        at="destroyed/{own}",
        versions=("", "deleted", "destroyed", ""),
    ),
    Case("copy database/connection --from vault --to vault --as copied/{own}", writes=True, at="copied/{own}"),
    Case(
        "migrate --from json:source.json --to vault --to-prefix moved/{own}",
        writes=True,
        final=True,
        table=True,
        at="moved/{own}/app",
    ),
    Case("migrate plan --from json:source.json --to vault --to-prefix planned/{own}", code=10, table=True),
    Case("mapping export mapping-{own}.toml"),
    Case("list --recursive database"),
    Case("check", table=True),
    Case(f"run -- sh -c {PRINT_AND_WAIT}", shows=BOTH, piped="\n", waits_after="token: "),
    *(
        Case(f"export --format {kind}", shows=(PIPE,), refused=(TERMINAL,))
        for kind in ("dotenv", "json", "shell", "github")
    ),
    Case("export --format shell --reveal", shows=BOTH),
    Case("explain database/connection password", table=True),
    Case("doctor", table=True),
    Case("config show", table=True),
    Case("config check"),
    Case("stores", table=True),
    Case("history database/connection", table=True),
    Case("diff database/connection --versions 1 2", code=10, table=True),
    Case("diff vault json:source.json --prefix database", code=10, table=True),
    Case("vault policy"),
    Case("completion bash"),
]


class Place(NamedTuple):
    """Where the commands work: the mount, and the token that they have."""

    mount: str
    token: str


@pytest.fixture(scope="module")
def place(openbao) -> Place:
    """A mount with secrets, and a token that may do with it what an application and its operator do."""
    mount = openbao.fresh_mount()
    rules = {
        f"{mount}/data/*": ["create", "read", "update", "patch", "delete"],
        f"{mount}/metadata/*": ["list", "read", "update", "delete"],
        f"{mount}/metadata": ["list"],
        f"{mount}/undelete/*": ["update"],
        f"{mount}/destroy/*": ["update"],
        f"sys/internal/ui/mounts/{mount}": ["read"],
        "auth/token/lookup-self": ["read"],
        "sys/capabilities-self": ["update"],
    }
    for value in ("old", CANARY):
        openbao.put("database/connection", {"password": value, "port": 5432}, mount=mount)
    for mode in MODES:
        for how in BOTH:
            own = f"{mode}-{how}"
            openbao.put(f"spare/{own}", {"password": CANARY}, mount=mount)
            for folder in ("rolled", "undeleted", "destroyed"):
                for value in (CANARY, "deleted", "old", CANARY):
                    openbao.put(f"{folder}/{own}", {"password": value}, mount=mount)
                openbao.call("POST", f"{mount}/delete/{folder}/{own}", {"versions": [2]})
    return Place(mount, openbao.issue_token(rules))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """It is trusted where it is named, and nowhere else."""
    return trustme.CA()


@pytest.fixture(scope="module")
def addresses(openbao, authority) -> Iterator[dict[str, str]]:
    """Where the server is reached in each mode."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FaultProxy(openbao.url, context=context) as proxy:
        yield {"dev": openbao.url, "production": proxy.url}


@pytest.fixture(params=MODES)
def mode(request, authority, addresses, place, monkeypatch) -> str:
    """A folder with a configuration, files that hold the value, and a token in the environment."""
    Path("strongroom.toml").write_text(CONFIGURATION.replace("MOUNT", place.mount), "utf-8")
    Path("value.txt").write_text(CANARY, "utf-8")
    Path("document.json").write_text(DOCUMENT, "utf-8")
    Path("source.json").touch(0o600)
    Path("source.json").write_text(f'{{"app": {DOCUMENT}}}', "utf-8")
    Path("github").touch()
    authority.cert_pem.write_to_path("authority.pem")
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", request.param)
    monkeypatch.setenv("VAULT_ADDR", addresses[request.param])
    monkeypatch.setenv("VAULT_CACERT", "authority.pem")
    monkeypatch.setenv("VAULT_TOKEN", place.token)
    monkeypatch.setenv("GITHUB_ENV", "github")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return request.param


def assert_in_no_argv(*canaries: str) -> None:
    """No process of the machine was started with one of them."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            argv = file.read_text("utf-8", "replace")
        except OSError:
            continue  # it has ended
        assert not any(canary in argv for canary in canaries)


def words_on_pipes(case: Case, mode: str) -> list[str]:
    """What is typed where nobody can be asked."""
    words = shlex.split(case.words.format(own=f"{mode}-{PIPE}"))
    return [*words, "--yes"] if case.asks(mode) else words


class Pipes:
    """A process of the command with a pipe for each of its streams, waiting for its stdin to end."""

    def __init__(self, case: Case, mode: str) -> None:
        self._case = case
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen([STRONGROOM, *words_on_pipes(case, mode)], encoding="utf-8", **streams)

    def ended(self) -> Done:
        """The exit code, stdout and stderr."""
        out = ""
        while self._case.waits_after not in out:
            line = self._process.stdout.readline()
            assert line, self._process.stderr.read()
            out += line
        assert_in_no_argv(CANARY, os.environ["VAULT_TOKEN"])
        rest, err = self._process.communicate(self._case.piped, timeout=60)
        return Done(self._process.returncode, out + rest, err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def on_a_terminal(case: Case, mode: str) -> tuple[int, str]:
    """The exit code and the screen. A command that waits for an answer has a process."""
    words = shlex.split(case.words.format(own=f"{mode}-{TERMINAL}"))
    if not (case.asks(mode) or case.asked or case.waits_after or case.piped):
        return call_on_terminal(words, *MODES[mode])
    screen = io.StringIO()
    with pexpect.spawn(STRONGROOM, words, dimensions=MODES[mode], timeout=60, encoding="utf-8") as child:
        child.logfile_read = screen
        if case.asks(mode):
            child.expect_exact("Continue? [y/N] ")
            child.sendline("y")
        if case.asked is not None:
            question, answer = case.asked
            child.expect_exact(question)
            assert child.waitnoecho()
            assert_in_no_argv(CANARY, os.environ["VAULT_TOKEN"])
            child.send(f"{answer}\n" if answer[-1] != "\x04" else answer)
        elif case.waits_after:
            child.expect_exact(case.waits_after)
            assert_in_no_argv(CANARY, os.environ["VAULT_TOKEN"])
            child.sendline()
        elif case.piped:
            child.sendeof()
        child.expect(pexpect.EOF)
        code = child.wait()
        child.ptyproc.delayafterclose = 0  # for what ends by the close
    return code, screen.getvalue()


# What only reads does the same in production: one case stands for all.
RUNS = [(case, mode) for case in CASES for mode in MODES if mode == "dev" or case.changes or case is CASES[0]]


@pytest.mark.parametrize(
    ("case", "mode"),
    RUNS,
    indirect=["mode"],
    ids=[f"{mode}-{case.name}" for case, mode in RUNS],
)
def test_a_command(case, mode, place, openbao, capfd, monkeypatch):
    """It ends with its code, shows the value where it is asked to and nowhere else, and colours on a terminal only.

    A command that waits for somebody, or becomes another process, has a process; others run in that of the test.
    """
    screen_code, screen = on_a_terminal(case, mode)
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("pipes").absolute()))  # a state of its own, as of another user
    if case.waits_after:
        with Pipes(case, mode) as pipes:
            code, out, err = pipes.ended()
    else:
        code, out, err = Caller(capfd)(*words_on_pipes(case, mode), piped=case.piped)
    assert (code, screen_code) == tuple(2 if how in case.refused else case.code for how in BOTH), (err, screen)
    assert (CANARY in out, CANARY in screen) == tuple(how in case.shows for how in BOTH)
    assert CANARY not in err
    assert place.token not in out + err + screen
    assert "\x1b" not in out + err
    assert ("\x1b[" in screen) is case.table
    rules = re.findall("─+", screen)
    assert bool(rules) is case.table
    assert all(len(rule) <= MODES[mode][1] for rule in rules)
    if case.at:
        for how in set(BOTH) - set(case.refused):
            path = case.at.format(own=f"{mode}-{how}")
            assert openbao.peek(path, mount=place.mount)["password"] == CANARY
            assert case.versions in {(), states(openbao, place.mount, path)}


def states(openbao, mount: str, path: str) -> tuple[str, ...]:
    """Return the state of each version of a secret."""
    known = openbao.call("GET", f"{mount}/metadata/{path}")["data"]["versions"].values()
    return tuple(
        "destroyed" if version["destroyed"] else "deleted" if version["deletion_time"] else "" for version in known
    )


@pytest.mark.parametrize("mode", ["production"], indirect=True)
def test_production_talks_to_an_authority_that_it_trusts(mode, addresses, monkeypatch):
    """It says which option would name one; and it talks through nothing but TLS to what is not on loopback."""
    monkeypatch.delenv("VAULT_CACERT")
    with Pipes(Case("get database/connection password"), mode) as pipes:
        code, out, err = pipes.ended()
    assert (code, out) == (5, "")
    assert "certificate is not trusted" in err
    assert "Check `ca_cert`" in err
    monkeypatch.setenv("VAULT_ADDR", "http://vault.example:8200")
    with Pipes(Case("get database/connection password"), mode) as pipes:
        code, out, err = pipes.ended()
    assert (code, out) == (7, "")
    assert "VAULT_ADDR: http://vault.example is not https" in err


@pytest.mark.parametrize("mode", ["production"], indirect=True)
@pytest.mark.parametrize("words", ["set database/connection password", "delete database/connection"])
def test_production_is_not_changed_where_nobody_can_be_asked(words, mode, place, openbao):
    """Without a terminal and without --yes."""
    with Pipes(Case(words, piped="another"), mode) as pipes:
        code, out, err = pipes.ended()
    assert (code, out) == (2, "")
    assert "this is production: without a terminal this needs --yes" in err.lower()
    assert openbao.peek("database/connection", mount=place.mount)["password"] == CANARY


@pytest.mark.parametrize("mode", ["dev"], indirect=True)
def test_what_is_typed_is_in_no_history(mode, place, openbao, monkeypatch):
    """Of a shell that keeps what is typed at its prompt: the value is typed at another."""
    monkeypatch.setenv("HISTFILE", "history")
    monkeypatch.setenv("PS1", "prompt> ")
    screen = io.StringIO()
    with pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], timeout=60, encoding="utf-8") as shell:
        shell.logfile_read = screen
        shell.expect_exact("prompt> ")
        shell.sendline(f"{shlex.quote(STRONGROOM)} set typed/here password")
        shell.expect_exact("#password: ")
        assert shell.waitnoecho()
        shell.sendline(CANARY)
        shell.expect_exact("prompt> ")
        shell.sendline("exit")
        shell.expect(pexpect.EOF)
        shell.wait()
    assert openbao.peek("typed/here", mount=place.mount) == {"password": CANARY}
    history = Path("history").read_text("utf-8")
    assert "set typed/here password" in history
    assert CANARY not in history + screen.getvalue()
