"""`strongroom inject`, and `strongroom run --env-file`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGURATION = """
chain = ["memory"]

[secrets]
DB_HOST = "database/connection#host"

[stores.memory.secrets."database/connection"]
host = "db.example"
password = "hunter2 žluť"
"""
TEMPLATE = (
    "host: strongroom://database/connection#host\npassword: 'strongroom://database/connection#password' # $HOME\n"
)
WRITTEN = "host: db.example\npassword: 'hunter2 žluť' # $HOME\n"


@pytest.fixture(autouse=True)
def configured():
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    Path("app.template").write_text(TEMPLATE, "utf-8")


def test_a_template_is_printed_with_its_values(command):
    done = command("inject", "app.template")
    assert (done.code, done.out.decode(), done.err) == (0, WRITTEN, "")


def test_a_file_is_private(command):
    done = command("inject", "app.template", "--output", "app.yaml")
    assert (done.code, done.out) == (0, b"")
    assert Path("app.yaml").read_text("utf-8") == WRITTEN
    assert Path("app.yaml").stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_unless_every_reference_resolves(command):
    Path("app.template").write_text(TEMPLATE + "strongroom://none/here#key", "utf-8")
    done = command("inject", "app.template", "-o", "app.yaml")
    assert done.code == 3
    assert not Path("app.yaml").exists()
    assert "hunter2" not in done.err


@pytest.mark.parametrize(("content", "fault"), [(None, "No such file"), (b"\xff", "it is not UTF-8")])
def test_a_template_that_cannot_be_read_is_a_mistake(command, content, fault):
    Path("app.template").unlink()
    if content is not None:
        Path("app.template").write_bytes(content)
    done = command("inject", "app.template")
    assert done.code == 2
    assert fault in done.err


def environment(script: str, *options: str, **variables: str) -> dict[str, str]:
    """The environment of a command that `strongroom run` starts."""
    program = "import os; print(*(f'{n}={v}' for n, v in os.environ.items()), sep='\\0')"
    call = [script, "run", *options, "--", sys.executable, "-c", program]
    done = subprocess.run(
        call, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **variables}
    )
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split("=", 1) for line in done.stdout.rstrip("\n").split("\0"))


def private(name: str, text: str) -> str:
    Path(name).write_text(text, "utf-8")
    Path(name).chmod(0o600)
    return name


def test_the_variables_of_an_env_file_are_set_and_its_references_resolved(script):
    first = private(
        "app.env",
        "PLAIN='a $HOME'\nDB_HOST=from-the-file\nPASSWORD=strongroom://database/connection#password\n"
        "URL=x://strongroom://database/connection#host/db\n",
    )
    second = private("more.env", "PLAIN=later\nINHERITED=from-the-file\n")
    found = environment(script, "--env-file", first, "--env-file", second, INHERITED="x")
    expected = {
        "PLAIN": "later",
        "DB_HOST": "from-the-file",
        "PASSWORD": "hunter2 žluť",
        "URL": "x://db.example/db",
        "INHERITED": "from-the-file",
    }
    assert {name: found[name] for name in expected} == expected


def test_an_env_file_needs_no_table_of_secrets(script):
    private("strongroom.toml", CONFIGURATION.replace('[secrets]\nDB_HOST = "database/connection#host"\n', ""))
    assert environment(script, "--env-file", private("app.env", "A=b\n"))["A"] == "b"


@pytest.mark.parametrize(
    ("text", "code", "fault"),
    [
        ("A=strongroom://none/here#key\n", 3, "none/here"),
        ("A=hunter2-strongroom://\n", 7, "app.env: A: strongroom:// is not followed by PATH#KEY"),
        (None, 7, "--env-file: the file app.env: No such file"),
    ],
)
def test_a_faulty_env_file_starts_nothing(command, text, code, fault):
    if text is not None:
        private("app.env", text)
    done = command("run", "--env-file", "app.env", "--", "touch", "started")
    assert done.code == code
    assert fault in done.err
    assert "hunter2" not in done.err
    assert not Path("started").exists()
