"""Tests of the help of each command in the reference, which an extension of the documentation writes."""

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

SHARED = ("_list", "_options", "_exit-codes")

MARKDOWN = MarkdownIt("commonmark").enable("table").use(deflist_plugin)


def shown(page: Path) -> str:
    """Return the text of a page without its markup, as its reader sees it."""
    return html.unescape(re.sub(r"<[^>]+>", "", MARKDOWN.render(page.read_text("utf-8"))))


def words(text: str) -> str:
    """Without what only a layout makes of it: white space, and quotes that are set in another way."""
    return re.sub(r"[\s`'’\"“”]|…|\.\.\.|–|-", "", text)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The parts of the pages, as the extension writes them. `nox -s docs` builds the pages."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(DOCS / command_pages.PAGES, folder / command_pages.PAGES, ignore=shutil.ignore_patterns("help"))
    (folder / command_pages.PARTS).mkdir()
    (folder / command_pages.PARTS / "gone.md").write_text("# A removed command\n", "utf-8")
    command_pages.write(folder)
    return folder / command_pages.PARTS


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
def test_the_reference_of_a_command_has_all_of_its_help(path, command, ctx, made):
    """Every paragraph and every option of it, and how it is used; the part of a group has that of its commands too."""
    page = words(shown(made / f"{path.split()[1]}.md"))
    assert words(" ".join((path, *command.collect_usage_pieces(ctx)))) in page
    for paragraph in command.help.split("\n\n"):
        text = re.sub(r"^(\x08\s*)?Example(, [^:]*:|:|, )", "", paragraph.strip())
        assert words(text.replace("\x08", "")) in page
    for option in command.get_params(ctx):
        if isinstance(option, click.Option) and "--help" not in option.opts and (record := option.get_help_record(ctx)):
            assert words("".join(record)) in page


def test_no_part_repeats_the_option_help(made):
    """Every command has it. The index names it once."""
    assert [part.name for part in made.glob("*.md") if "`-h, --help`" in part.read_text("utf-8")] == []


@pytest.mark.parametrize("command", [pytest.param(found, id=path) for path, found, _ in commands()])
def test_every_command_shows_an_example(command):
    """What a reader of a help text looks for first."""
    assert command_pages.help_of(command).example


def test_every_command_has_a_section_that_includes_its_help(made):
    """On one of the written pages, and the list of the commands links to it."""
    written = [page for page in (DOCS / command_pages.PAGES).glob("*.md") if page.name != "index.md"]
    included = {
        name: (page.name, part)
        for page in written
        for name, part in re.findall(
            r"^## (\S+)\n\n```\{include\} help/(\S+)\.md$", page.read_text("utf-8"), re.MULTILINE
        )
    }
    assert {name: part for name, (_, part) in included.items()} == {name: name for name in registry.names()}
    listed = (made / "_list.md").read_text("utf-8")
    for name, (page, _) in included.items():
        assert f"- [{name}]({page}#{name}): " in listed


def test_the_index_has_the_options_before_a_command_and_the_exit_codes(made):
    """They are the same for all commands."""
    index = (DOCS / command_pages.PAGES / "index.md").read_text("utf-8")
    assert set(re.findall(r"\{include\} help/(\S+)$", index, re.MULTILINE)) == {f"{part}.md" for part in SHARED}
    options = words((made / "_options.md").read_text("utf-8"))
    for option in ("--config", "--environment", "--verbose", "--no-color"):
        assert words(option) in options
    codes = words(shown(made / "_exit-codes.md"))
    for code in ExitCode:
        assert words(f"{int(code)}{code.meaning}") in codes


ARGUMENTS = [(path, command.collect_usage_pieces(ctx)) for path, command, ctx in commands()]


@pytest.mark.parametrize(("path", "usage"), ARGUMENTS, ids=[path for path, _ in ARGUMENTS])
def test_every_argument_of_a_command_is_explained(path, usage):
    """In the list of the index, or by the command's own help."""
    index = (DOCS / command_pages.PAGES / "index.md").read_text("utf-8")
    terms = re.findall(r"^(.+)\n: ", index.partition("## Arguments")[2], re.MULTILINE)
    listed = {name for term in terms for name in term.split(", ")}
    (command,) = [found for name, found, _ in commands() if name == path]
    for name in re.findall(r"[A-Z_]{2,}", re.sub(r"\[OPTIONS\]|COMMAND \[ARGS\]\.\.\.", "", " ".join(usage))):
        assert name in listed or re.search(rf"\b{name}\b", command.help), name


def test_the_help_of_a_command_that_is_gone_goes_too(made):
    """The parts are made in the sources' folder, where the last build left its own."""
    assert not (made / "gone.md").exists()


def test_the_words_of_a_help_text_are_no_markup():
    """A help text is written for a terminal: a star or a bracket of it stands for itself."""
    assert command_pages.markdown("a *b* [c](d) <e> with --flag, PATH#KEY and `x`") == (
        r"a \*b\* \[c\](d) \<e\> with `--flag`, `PATH#KEY` and `x`"
    )
