"""A page for each command, made when the documentation is built, from the texts of its `--help`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from os.path import relpath
from pathlib import Path
from typing import NamedTuple

import click
from sphinx.application import Sphinx

from strongroom._cli.app import strongroom
from strongroom._cli.exit_codes import ExitCode

FOLDER = "reference/commands"
LIST = "_list.md"
STORY = "reference/command-line/index.md"
"""The page about commands in general. Sections of the pages beside it, or of other pages, tell of a single command."""

AS_IT_STANDS = "\b\n"
"""Beginning of a paragraph whose lines click does not wrap."""

EXAMPLE = re.compile(r"Example(?:, (?P<where>[^:]+))?: +(?P<line>.+)")
PIECE = re.compile(r"\[[^]]*\]\S*|\S+")
"""One argument in a usage line, such as `PATH[#KEY]` or `[KEY | KEY=@FILE...]`."""

NO_ANCHOR = re.compile(r"[^\w\- ]")
"""Characters that the anchor of a heading lacks."""

LITERAL = re.compile(r"(`[^`]+`)")
CODE = re.compile(r"(?<![\w-])--?[a-z][\w-]*|\[secrets\]|\$?[A-Z][A-Z_]*[#=@*_][\w#=@*]*")
"""Words of a help text that are code, though nothing marks them in a terminal."""


class Help(NamedTuple):
    """A command's help text in its parts. The example is a label and its lines."""

    summary: str
    prose: list[str]
    example: tuple[str, str] | None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: write(Path(app.srcdir)))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(docs: Path) -> None:
    """Write the pages of the commands."""
    made = pages({file.relative_to(docs).as_posix(): file.read_text("utf-8") for file in stories(docs)})
    replace_pages(docs / FOLDER, made)


def replace_pages(folder: Path, made: Mapping[str, str]) -> None:
    """Write pages into a folder, and remove all other pages of it but the index."""
    folder.mkdir(exist_ok=True)
    for stale in {file.name for file in folder.glob("*.md")} - made.keys() - {"index.md"}:
        (folder / stale).unlink()
    for name, text in made.items():
        write_if_changed(folder / name, text)


def write_if_changed(file: Path, text: str) -> None:
    """Write a file unless it has this text: Sphinx builds a page again if one of its files is newer."""
    if not file.exists() or file.read_text("utf-8") != text:
        file.write_text(text, "utf-8")


def stories(docs: Path) -> list[Path]:
    """Return the pages that may have a section for a command, in the order of preference."""
    first = (docs / STORY).parent
    written = [page for page in sorted(docs.rglob("*.md")) if page.parent != docs / FOLDER]
    return sorted(written, key=lambda page: page.parent != first)


def pages(stories: Mapping[str, str]) -> dict[str, str]:
    """File name -> text: one for each command that is installed, plugins' too, and one that lists them.

    Args:
        stories: file name -> text of the pages that may have a section for a command, in the order of preference.
    """
    root = context(strongroom, "strongroom", None)
    commands = {name: found for name in strongroom.list_commands(root) if (found := strongroom.get_command(root, name))}
    made = {f"{name}.md": page(name, command, root, story(name, stories)) for name, command in commands.items()}
    rows = (f"- [{name}]({name}.md): {markdown(parts(command).summary)}" for name, command in commands.items())
    options = "\n".join(definitions(option_records(strongroom, root)))
    made[LIST] = "\n".join(
        (*rows, "", "## Options before the command", "", options, "## Exit codes", "", *exit_codes(), "")
    )
    return made


def page(name: str, command: click.Command, root: click.Context, told: str) -> str:
    lines = [
        *described(command, context(command, name, root), level=1),
        "## Exit codes",
        "",
        *exit_codes(),
        "",
        f"[Examples that run]({relpath(told, FOLDER)}). Options that stand before the command,",
        "such as `--environment`: [all commands](index.md#options-before-the-command).",
        "",
    ]
    return "\n".join(lines)


def described(command: click.Command, ctx: click.Context, level: int) -> Iterator[str]:
    """Yield the sections of a command, and of the commands of a group."""
    below = f"#{'#' * level}"
    text = parts(command)
    yield from (f"{'#' * level} {ctx.command_path}", "", markdown(text.summary), "")
    yield from ("```text", " ".join((ctx.command_path, *command.collect_usage_pieces(ctx))), "```", "")
    for paragraph in text.prose:
        yield from (markdown(paragraph), "")
    if text.example:
        label, lines = text.example
        yield from (f"{below} Example", "")
        if label:
            yield from (f"{markdown(capitalized(label))}:", "")
        yield from ("```text", lines, "```", "")
    if arguments := argument_records(command, ctx):
        yield from (f"{below} Arguments", "", *definitions(arguments))
    yield from (f"{below} Options", "", *definitions(option_records(command, ctx)))
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            if (found := command.get_command(ctx, name)) is not None:
                yield from described(found, context(found, name, ctx), level + 1)


def context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def parts(command: click.Command) -> Help:
    """The first paragraph, the others, and the one that begins with `Example`."""
    summary, *rest = inspect.cleandoc(command.help or "").split("\n\n")
    prose, example = [], None
    for paragraph in rest:
        as_it_stands = paragraph.removeprefix(AS_IT_STANDS)
        if found := EXAMPLE.fullmatch(one_line(paragraph)):
            example = (found["where"] or "", found["line"])
        elif as_it_stands.startswith("Example"):
            example = ("", as_it_stands.removeprefix("Example, "))
        else:
            prose.append(paragraph)
    return Help(one_line(summary), prose, example)


def argument_records(command: click.Command, ctx: click.Context) -> list[tuple[str, str]]:
    """Each argument as the usage line has it, which says by its brackets and dots how often it is given."""
    records = []
    for argument in command.params:
        if isinstance(argument, click.Argument):
            said = getattr(argument, "help", None)  # since click 8.4
            pieces = PIECE.findall(argument.make_metavar(ctx))
            records += [(piece, said or how_often(piece)) for piece in pieces]
    return records


def how_often(piece: str) -> str:
    if piece.startswith("["):
        return "Any number, or none." if "..." in piece else "Optional."
    return "One or more." if "..." in piece else "Required."


def option_records(command: click.Command, ctx: click.Context) -> list[tuple[str, str]]:
    """Each option and its help, as `--help` prints them."""
    return [
        record
        for option in command.get_params(ctx)
        if isinstance(option, click.Option) and (record := option.get_help_record(ctx)) is not None
    ]


def exit_codes() -> Iterator[str]:
    yield from ("| code | says |", "| --- | --- |")
    yield from (f"| {int(code)} | {code.meaning} |" for code in ExitCode)


def definitions(records: list[tuple[str, str]]) -> Iterator[str]:
    for term, text in records:
        yield from (f"`{term}`", f": {markdown(text)}", "")


def story(name: str, stories: Mapping[str, str]) -> str:
    """The section that tells of the command, alone or with others, as in `## undelete and destroy`; else the page."""
    for file, text in stories.items():
        for heading in re.findall(r"^##+ (.+)$", text, re.MULTILINE):
            if name in re.split(r", and |, | and ", heading.replace("`", "").replace("strongroom ", "")):
                return f"{file}#{re.sub(NO_ANCHOR, '', heading.lower()).replace(' ', '-')}"
    return STORY


def markdown(text: str) -> str:
    """A help text, which is plain, as Markdown that looks the same, but for the words that are code."""
    if text.startswith(AS_IT_STANDS):
        return f"```text\n{text.removeprefix(AS_IT_STANDS)}\n```"
    pieces = LITERAL.split(one_line(text))
    return "".join(piece if piece.startswith("`") else marked(piece) for piece in pieces)


def marked(text: str) -> str:
    escaped, end = "", 0
    for word in CODE.finditer(text):
        escaped += f"{plain(text[end : word.start()])}`{word[0]}`"
        end = word.end()
    return escaped + plain(text[end:])


def plain(text: str) -> str:
    return re.sub(r"[\\`*_{}\[\]<>#|$~^&]", r"\\\g<0>", text)


def capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def one_line(text: str) -> str:
    return " ".join(text.split())
