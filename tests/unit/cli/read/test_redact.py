"""`strongroom run --redact`: the output of a command without values."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.scenarios.redaction import forget_values

VALUE = "canary-redact-žluť-1"
CONFIGURATION = f"""
chain = ["memory"]

[secrets]
DB_PASSWORD = "database/connection#password"

[stores.memory.secrets]
"database/connection" = {{ password = "{VALUE}" }}
"auth/jwt" = {{ secret = "canary-of-an-env-file" }}
"card/main" = {{ pin = 847261, port = 5432, note = "canary&/" }}
"""


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Later tests of this process read without fingerprints."""
    yield
    forget_values()


def run(script: str, program: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    call = [script, "run", "--redact", *options, "--", sys.executable, "-c", program]
    return subprocess.run(call, capture_output=True, check=False, timeout=100)


def test_values_are_masked_in_both_outputs_and_the_rest_is_exact(script):
    program = (
        "import os, sys, base64; v = os.environb[b'DB_PASSWORD']; o = sys.stdout.buffer; "
        "o.write(b'a\\xff ' + v + b'\\n' + base64.b64encode(b'u:' + v) + b'\\nlast ' + v); o.flush(); "
        "sys.stderr.buffer.write(b'error ' + v + b'\\n'); sys.exit(3)"
    )
    done = run(script, program)
    first, second, last = done.stdout.split(b"\n")
    assert (done.returncode, first, last) == (3, b"a\xff [redacted]", b"last [redacted]")
    assert b"[redacted]" in second
    assert done.stderr == b"error [redacted]\n"
    assert b"canary" not in done.stdout


def test_a_value_that_is_written_in_pieces_is_masked(script):
    program = (
        "import os, sys; v = os.environb[b'DB_PASSWORD']\n"
        "for byte in v: os.write(1, bytes([byte]))\n"
        "os.write(1, b'x' * 1_200_000 + v + b'y' * 200_000 + v)"
    )
    done = run(script, program)
    assert done.stdout == b"[redacted]" + b"x" * 1_200_000 + b"[redacted]" + b"y" * 200_000 + b"[redacted]"


def test_values_of_env_files_are_masked_too(script):
    Path("app.env").write_text("TOKEN=Bearer strongroom://auth/jwt#secret\n", "utf-8")
    done = run(script, "import os; print(os.environ['TOKEN'])", "--env-file", "app.env")
    assert (done.stdout, done.stderr) == (b"Bearer [redacted]\n", b"")


def test_numbers_and_escapes_are_masked_too(script):
    Path("app.env").write_text("PIN=strongroom://card/main#pin\n", "utf-8")
    program = r"print(r'pin 847261 port 5432 html canary&amp;/ go canary\u0026/ php canary&\/ url canary%26%2f')"
    done = run(script, program, "--env-file", "app.env")
    assert done.stdout == b"pin [redacted] port 5432 html [redacted] go [redacted] php [redacted] url [redacted]\n"


@pytest.mark.parametrize("redact", [True, False])
def test_a_command_that_cannot_be_started_is_reported(command, redact):
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    done = command("run", *(["--redact"] if redact else []), "--", "no-such-program-7f")
    assert done.code == 127


def test_the_reader_may_go_away(script):
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    program = "import sys\nfor n in range(200_000): print(n)"
    line = f"{shlex.quote(script)} run --redact -- {shlex.quote(sys.executable)} -c '{program}' | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=100)
    assert done.stdout == b"0\n"


def test_a_command_without_an_end_ends_with_its_reader(script):
    """By SIGPIPE, as without --redact."""
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    line = f"{shlex.quote(script)} run --redact -- yes | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=100)
    assert done.stdout == b"y\n141\n"
