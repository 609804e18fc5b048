"""The page of each command, which the documentation's build makes, says what the command's `--help` says."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

import command_pages
from strongroom._cli import registry
from strongroom._cli.app import strongroom
from strongroom._cli.exit_codes import ExitCode
from support.scenarios.pages import DOCS


class Text(HTMLParser):
    """What a reader sees of the article in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(page[page.index("<article") : page.index("</article>")])

    def handle_data(self, data: str) -> None:
        self.text += data


def words(text: str) -> str:
    """Without what only a layout makes of it: white space, and quotes that are set in another way."""
    return re.sub(r"[\s`'’\"“”]|…|\.\.\.|–|-", "", text)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The pages of the commands, built by Sphinx with the project's own settings, where a warning is an error."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("extensions", "static", "reference/command-line"):
        shutil.copytree(DOCS / name, folder / name)
    shutil.copy(DOCS / "conf.py", folder)
    (folder / "reference" / "commands").mkdir()
    shutil.copy(DOCS / "reference" / "commands" / "index.md", folder / "reference" / "commands")
    (folder / "index.md").write_text("# Docs\n\n```{toctree}\n:glob:\n\nreference/*/index\n```\n", "utf-8")
    (folder / "reference" / "commands" / "gone.md").write_text("# A removed command\n", "utf-8")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", folder, folder / "html"]
    # These pages need no other extension, and link to pages that are not here.
    settings = ("extensions=myst_parser,command_pages", "suppress_warnings=myst.xref_missing")
    options = [option for setting in settings for option in ("-D", setting)]
    done = subprocess.run([*build, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html" / "reference" / "commands"


def commands():
    """Every command with its context; those of a group have the group's name before their own."""
    root = click.Context(strongroom, info_name="strongroom", **strongroom.context_settings)
    left = [(name, registry.load(name), root) for name in registry.names()]
    while left:
        name, command, parent = left.pop()
        ctx = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        yield ctx.command_path, command, ctx
        if isinstance(command, click.Group):
            left += [(below, command.commands[below], ctx) for below in command.commands]


@pytest.mark.parametrize(("path", "command", "ctx"), [pytest.param(*found, id=found[0]) for found in commands()])
def test_the_page_of_a_command_says_all_that_its_help_says(path, command, ctx, built):
    """Every paragraph and every option of it, and how it is used; the page of a group has that of its commands too."""
    page = words(Text((built / f"{path.split()[1]}.html").read_text("utf-8")).text)
    assert words(" ".join((path, *command.collect_usage_pieces(ctx)))) in page
    for paragraph in command.help.split("\n\n"):
        text = re.sub(r"^(\x08\s*)?Example(, [^:]*:|:|, )", "", paragraph.strip())
        assert words(text.replace("\x08", "")) in page
    for option in command.get_params(ctx):
        if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
            assert words("".join(record)) in page
    for code in ExitCode:
        assert words(f"{int(code)}{code.meaning}") in page


@pytest.mark.parametrize("command", [pytest.param(found, id=path) for path, found, _ in commands()])
def test_every_command_shows_an_example(command):
    """What a reader of a help text looks for first."""
    assert command_pages.parts(command).example


def test_the_list_has_every_command_and_the_options_before_it(built):
    """What stands before the command is for every one of them."""
    index = (built / "index.html").read_text("utf-8")
    for name in registry.names():
        assert f'href="{name}.html"' in index
    for option in ("--config", "--environment", "--verbose", "--no-color"):
        assert words(option) in words(Text(index).text)


def test_a_page_leads_to_the_section_that_tells_more(built):
    """The story of a command is on one page with related ones."""
    for name, story in (("get", "read-and-write"), ("set", "read-and-write"), ("config", "diagnose")):
        assert f'href="../command-line/{story}.html#{name}"' in (built / f"{name}.html").read_text("utf-8")


def test_the_page_of_a_command_that_is_gone_goes_too(built):
    """The pages are made in the sources' folder, where the last build left its own."""
    assert not (built / "gone.html").exists()


@pytest.mark.parametrize(
    ("heading", "told"),
    [
        ("## undelete", "how-to/versions.md#undelete"),
        ("### `history`, undelete and destroy", "how-to/versions.md#history-undelete-and-destroy"),
        ("## How to undelete", "reference/command-line/index.md"),
    ],
)
def test_a_section_of_any_page_may_tell_of_several_commands(heading, told):
    """One story for what belongs together, where it belongs."""
    stories = {
        "reference/command-line/index.md": "# The command line\n\n## get\n",
        "how-to/versions.md": f"# Versions\n\n{heading}\n",
    }
    assert command_pages.story("undelete", stories) == told


def test_the_words_of_a_help_text_are_no_markup():
    """A help text is written for a terminal: a star or a bracket of it stands for itself."""
    assert command_pages.markdown("a *b* [c](d) <e> with --flag, PATH#KEY and `x`") == (
        r"a \*b\* \[c\](d) \<e\> with `--flag`, `PATH#KEY` and `x`"
    )
