"""The extension in a real shell of IPython."""

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from strongroom.integrations.ipython import load_ipython_extension, unload_ipython_extension
from strongroom.testing import SimulatedFailure
from support.representatives import some

VALUE = "s3cret-4711"


@pytest.fixture
def shell(strongroom_override):
    """A shell with the extension, and two variables that hold secrets."""
    strongroom_override(
        {"app": {"key": VALUE, "der": VALUE.encode()}, "denied": SimulatedFailure.DENIED},
    )
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    shell.run_line_magic("load_ext", "strongroom.integrations.ipython")
    shell.run_cell("key = %secret app#key\nwhole = %secret app\nder = whole['der']\nother = 42")
    yield shell
    unload_ipython_extension(shell)


def run(shell, capsys, source: str) -> str:
    shell.run_cell(source)
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_the_magic_returns_a_key_or_a_whole_secret(shell):
    assert shell.user_ns["key"] == VALUE
    assert shell.user_ns["whole"]["key"] == VALUE


@pytest.mark.parametrize(
    "source",
    [
        "%secret app#key",
        "key",
        "whole",
        "der",
        "%whos",
        "key?",
        "key??",
        "whole?",
        "der?",
        "%pinfo key",
    ],
)
def test_no_output_shows_a_value(shell, capsys, source):
    """The output of a cell, the list of variables, and the description of one."""
    printed = run(shell, capsys, source)
    assert VALUE not in printed
    assert "Sensitive" in printed


def test_a_number_of_an_object_is_not_shown(shell, capsys, strongroom_override):
    """Its `str` is the value, and IPython shows the `str` of a variable."""
    strongroom_override({"pool": {"size": 77801}})
    shell.run_cell(
        "from dataclasses import dataclass\n@dataclass\nclass Pool:\n    size: int\n"
        "import strongroom\npool = strongroom.get_secret('pool', as_=Pool)\nsize = pool.size"
    )
    for source in ("%whos", "size?", "size", "pool", "pool?"):
        printed = run(shell, capsys, source)
        assert "77801" not in printed
        assert "SensitiveInt" in printed


def test_the_list_of_variables_is_complete_and_changes_none(shell, capsys):
    printed = run(shell, capsys, "%whos")
    assert {line.split()[0]: line.split()[1] for line in printed.splitlines()[2:]} == {
        "der": "SensitiveBytes",
        "key": "SensitiveStr",
        "other": "int",
        "whole": "SensitiveDict",
    }
    assert "42" in printed
    assert shell.user_ns["key"] == VALUE


@pytest.mark.parametrize(
    "text", some(["ke", "key.", "whole['", "whole['key'].", "print(key, k"], {"key.", "whole['"}.__contains__)
)
def test_completion_shows_no_value(shell, text):
    """Names, keys and methods only."""
    with provisionalcompleter():
        matches = list(shell.Completer.completions(text, len(text)))
    assert matches
    assert not any(VALUE in f"{match.text} {match.signature}" for match in matches)


def test_a_verbose_traceback_shows_no_value(shell, capsys):
    shell.run_line_magic("xmode", "Verbose")
    assert VALUE not in run(shell, capsys, "def use(password):\n    raise ValueError\nuse(key)")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("%secret denied", "Permission denied: denied"),
        ("%secret absent", "Secret not found: absent"),
        ("%secret", "Invalid path"),
    ],
)
def test_an_error_is_one_line(shell, capsys, line, shown):
    """It names the path. A denial is not an absence."""
    printed = run(shell, capsys, line)
    assert shown in printed
    assert len(printed.splitlines()) == 1


def test_unloading_restores_the_shell(shell, capsys):
    unload_ipython_extension(shell)
    assert "`%secret` not found" in run(shell, capsys, "%secret app")
    assert VALUE in run(shell, capsys, "%whos")
    load_ipython_extension(shell)
    assert VALUE not in run(shell, capsys, "%whos")
