"""Fixtures for tests of the command line: in this process, on a terminal, with known secrets."""

import logging
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pexpect.fdpexpect import fdspawn

from strongroom import SecretsManager
from strongroom._cli.app import run
from strongroom.store.memory import MemoryStore
from support.clock import LONG
from support.programs import write_python

CONFIGURATION = """
chain = ["memory"]

[stores.memory.secrets."database/connection"]
host = "db.example"
port = 5432
password = "canary-7f3a"

[stores.memory.secrets."odd/values"]
text = "no newline"
lines = "one\\r\\ntwo\\n"
unicode = "žluť 🔑"
list = [1, "two"]
"""


class Done(NamedTuple):
    """How a command ended: its exit code, the bytes on stdout and the text on stderr."""

    code: int
    out: bytes
    err: str


@pytest.fixture
def command(capsysbinary, monkeypatch) -> Iterator[Callable[..., Done]]:
    """A function that runs `strongroom` in this process, with optional bytes on stdin."""

    def call(*arguments: str, piped: bytes = b"") -> Done:
        reading, writing = os.pipe()
        os.write(writing, piped)
        os.close(writing)
        with os.fdopen(reading, "r") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            code = run(arguments)
        captured = capsysbinary.readouterr()
        return Done(code, captured.out, captured.err.decode())

    before = {name: logging.getLogger(name).level for name in ("strongroom", "strongroom_env", "strongroom_vault")}
    handlers = list(logging.getLogger().handlers)
    yield call
    logging.getLogger().handlers[:] = handlers
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def configured() -> Path:
    """`./strongroom.toml` with a store in memory that holds known secrets."""
    file = Path("strongroom.toml")
    file.write_text(CONFIGURATION, "utf-8")
    return file


@pytest.fixture
def kept(monkeypatch) -> MemoryStore:
    """A memory store that is the whole chain of every command and outlives it."""
    store = MemoryStore()
    monkeypatch.setattr(store, "close", lambda: None)
    monkeypatch.setattr(SecretsManager, "from_config", lambda _: SecretsManager(chain=[store]))
    return store


class Terminal:
    """A process whose stdin, stdout and stderr are a terminal."""

    def __init__(self, *program: str) -> None:
        screen, keyboard = pty.openpty()
        self._process = subprocess.Popen(
            program, stdin=keyboard, stdout=keyboard, stderr=keyboard, start_new_session=True
        )
        os.close(keyboard)
        self._keyboard = screen
        self._screen = fdspawn(screen, timeout=LONG, encoding="utf-8")

    def waits_for(self, text: str) -> None:
        """Wait until this text is on the screen."""
        self._screen.expect_exact(text)

    def types(self, text: str) -> None:
        """Type a line."""
        self._screen.sendline(text)

    def presses(self, keys: bytes) -> None:
        """Send these bytes, without a line end."""
        while keys:
            keys = keys[os.write(self._keyboard, keys) :]

    def echoes(self) -> bool:
        """Return True if typed text is visible."""
        return bool(termios.tcgetattr(self._keyboard)[3] & termios.ECHO)

    def interrupts(self) -> None:
        """Press Ctrl-C."""
        self.gets(signal.SIGINT)

    def gets(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def ended(self) -> tuple[int, str]:
        """Return the exit code and the screen text since the last `waits_for`."""
        rest = self._screen.read()
        return self._process.wait(LONG), rest

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._screen.close()


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """A function that runs a program on a terminal."""
    opened: list[Terminal] = []

    def start(*program: str) -> Terminal:
        opened.append(Terminal(*program))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.fixture
def script() -> str:
    """The path of the installed command."""
    return str(Path(sys.executable).parent / "strongroom")


_PATIENT = """
from strongroom._cli.configure import completion
completion.CHAIN_TIME = completion.WHOLE_TIME = 60
from strongroom._cli.main import main
main()
"""


@pytest.fixture
def patient_script(tmp_path) -> str:
    """The path of a command `strongroom` whose time limits on Tab a busy machine does not reach."""
    file = tmp_path / "path" / "strongroom"
    file.parent.mkdir()
    return str(write_python(file, _PATIENT))
