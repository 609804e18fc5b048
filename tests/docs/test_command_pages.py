"""Tests of the page of each command, which an extension of the documentation writes: it has all of `--help`."""

import html
import re
import shutil
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.deflist import deflist_plugin

import command_pages
from strongroom._cli import registry
from strongroom._cli.app import strongroom
from strongroom._cli.exit_codes import ExitCode
from support.scenarios.pages import DOCS

MARKDOWN = MarkdownIt("commonmark").enable("table").use(deflist_plugin)


def shown(page: Path) -> str:
    """Return the text of a page without its markup, as its reader sees it."""
    return html.unescape(re.sub(r"<[^>]+>", "", MARKDOWN.render(page.read_text("utf-8"))))


def words(text: str) -> str:
    """Without what only a layout makes of it: white space, and quotes that are set in another way."""
    return re.sub(r"[\s`'’\"“”]|…|\.\.\.|–|-", "", text)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The pages of the commands, as the extension writes them. `nox -s docs` builds them."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(DOCS / "reference" / "command-line", folder / "reference" / "command-line")
    (folder / command_pages.FOLDER).mkdir()
    (folder / command_pages.FOLDER / "gone.md").write_text("# A removed command\n", "utf-8")
    command_pages.write(folder)
    return folder / command_pages.FOLDER


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
def test_the_page_of_a_command_says_all_that_its_help_says(path, command, ctx, made):
    """Every paragraph and every option of it, and how it is used; the page of a group has that of its commands too."""
    page = words(shown(made / f"{path.split()[1]}.md"))
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


def test_the_list_has_every_command_and_the_options_before_it(made):
    """What stands before the command is for every one of them."""
    listed = (made / command_pages.LIST).read_text("utf-8")
    for name in registry.names():
        assert f"- [{name}]({name}.md): " in listed
    for option in ("--config", "--environment", "--verbose", "--no-color"):
        assert words(option) in words(listed)


def test_a_page_leads_to_the_section_that_tells_more(made):
    """The story of a command is on one page with related ones."""
    for name, story in (("get", "read-and-write"), ("set", "read-and-write"), ("config", "diagnose")):
        assert f"](../command-line/{story}.md#{name})" in (made / f"{name}.md").read_text("utf-8")


def test_the_page_of_a_command_that_is_gone_goes_too(made):
    """The pages are made in the sources' folder, where the last build left its own."""
    assert not (made / "gone.md").exists()


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
