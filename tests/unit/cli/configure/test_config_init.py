"""`strongroom config init`: a file from answers, which can be read at once."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from strongroom._config import discovery
from support.cli_fixtures import Done


@pytest.fixture
def answered(command, monkeypatch) -> Callable[..., Done]:
    """A function that runs `strongroom config init` with these lines on stdin. No folder is trusted beforehand."""
    monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS")

    def call(*lines: str, arguments: tuple[str, ...] = ()) -> Done:
        return command("config", "init", *arguments, piped="".join(f"{line}\n" for line in lines).encode())

    return call


def test_the_answers_become_a_file_that_is_trusted(answered):
    done = answered("files", "/run/secrets/app", "y", "n", "DB_PASSWORD=database/connection#password", "")
    assert (done.code, done.out) == (0, b"")
    assert Path("strongroom.toml").read_text("utf-8") == (
        'chain = ["files", "env"]\n\n[secrets]\nDB_PASSWORD = "database/connection#password"\n\n'
        '[stores.files]\nroot = "/run/secrets/app"\n'
    )
    config = discovery.load(require_trust=True)
    assert config.untrusted == ()
    assert [link.store for link in config.chain] == ["files", "env"]
    assert "Next: strongroom config check" in done.err


@pytest.mark.parametrize("shown", ["./strongroom.toml", "sub/../strongroom.toml"])
def test_a_file_that_is_named_by_another_spelling_is_trusted_too(answered, shown):
    Path("sub").mkdir()
    assert answered("env", "n", "A=a/b#c", "", arguments=("--output", shown)).code == 0
    assert discovery.load(require_trust=True).untrusted == ()


def test_the_questions_come_from_the_options_of_the_plugin(answered):
    done = answered("aws-ssm", "eu-west-1", *[""] * 20)
    assert done.code == 0, done.err
    assert 'region = "eu-west-1"' in Path("strongroom.toml").read_text("utf-8")


def test_a_mistake_is_asked_again(answered):
    done = answered("nowhere", "env", "y", "NO-REFERENCE", "A B=", "X=a/b#c", "")
    assert done.code == 0, done.err
    assert (
        Path("strongroom.toml").read_text("utf-8") == 'chain = ["env"]\nproduction = true\n\n[secrets]\nX = "a/b#c"\n'
    )
    assert 'must be "PATH#KEY"' in done.err


def test_an_existing_file_is_never_changed(answered):
    Path("strongroom.toml").write_text("# mine\n", "utf-8")
    done = answered("env", "n", "")
    assert done.code == 7
    assert "exists already" in done.err
    assert Path("strongroom.toml").read_text("utf-8") == "# mine\n"


def test_nothing_is_written_if_the_answers_end(answered):
    for lines in ((), ("env",)):
        done = answered(*lines)
        said = "strongroom: Stdin ended before the last question, so strongroom.toml is not written. Try"
        assert (done.code, said in done.err.splitlines()[-1]) == (2, True)
    assert not Path("strongroom.toml").exists()


def test_another_file_is_written_where_it_is_named(answered):
    done = answered("env", "n", "", arguments=("--output", "other.toml"))
    assert done.code == 0
    assert Path("other.toml").read_text("utf-8") == 'chain = ["env"]\n'
    assert Path("other.toml").stat().st_mode & 0o022 == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs a umask")
def test_a_wide_umask_makes_no_file_that_others_may_write(script):
    line = f"umask 0; printf 'env\\nn\\n\\n' | {shlex.quote(script)} config init"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert Path("strongroom.toml").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(("end", "code", "said"), [(KeyboardInterrupt, 130, ""), (EOFError, 2, "Stdin ended before")])
def test_an_interrupt_before_a_pipe_is_not_the_end_of_stdin(command, monkeypatch, end, code, said):
    """A wrong command line would be blamed for Ctrl-C."""

    def read(_):
        raise end

    monkeypatch.setattr(click.termui, "visible_prompt_func", read)
    done = command("config", "init")
    assert done.code == code
    assert (said in done.err) if said else ("Stdin" not in done.err)
    assert not Path("strongroom.toml").exists()


def test_a_question_names_the_default_and_a_row_needs_an_equal_sign(answered):
    """`empty for none` left a mount that the plugin sets, and a row without its path was blamed for an empty path."""
    done = answered("vault", *[""] * 6, "n", "n", "DB_PASSWORD", "DB_PASSWORD=database/connection#password", "")
    assert "mount: the mount path of the key-value engine, empty for secret:" in done.err
    assert "prefix: the folder of all paths, empty for none:" in done.err
    assert "Write VARIABLE=PATH#KEY, not DB_PASSWORD, or nothing to finish" in done.err
    assert 'DB_PASSWORD = "database/connection#password"' in Path("strongroom.toml").read_text("utf-8")
