"""The help of each command as a part of a written page, made when the documentation is built."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from strongroom._cli import registry
from strongroom._cli.app import strongroom
from strongroom._cli.exit_codes import ExitCode

if TYPE_CHECKING:  # a test of the commands need not load it
    from sphinx.application import Sphinx

PAGES = "reference/command-line"
"""Folder of the written pages. A section `## NAME` of one of them includes the help of the command."""

PARTS = f"{PAGES}/help"
"""Folder of the generated parts."""

AS_IT_STANDS = "\b\n"
"""Beginning of a paragraph whose lines click does not wrap."""

EXAMPLE = re.compile(r"Example(?:, (?P<where>[^:]+))?: +(?P<line>.+)")
LITERAL = re.compile(r"(`[^`]+`)")
CODE = re.compile(r'(?<![\w-])--?[a-z][\w-]*|\[[a-z]+(?:\."PATH")?\](?!\()|\$?[A-Z][A-Z_]*[#=@*_][\w#=@*]*')
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
    """Write the parts that the pages of the commands include."""
    written = {page.name: page.read_text("utf-8") for page in sorted((docs / PAGES).glob("*.md"))}
    replace_pages(docs / PARTS, parts_of_pages(written))


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


def parts_of_pages(written: Mapping[str, str]) -> dict[str, str]:
    """File name -> text: the help of each command, plugins' too, the list of them, the options of all and the codes.

    Args:
        written: file name -> text of the pages whose sections the list links to.
    """
    root = context(strongroom, "strongroom", None)
    commands = {name: found for name in strongroom.list_commands(root) if (found := strongroom.get_command(root, name))}
    made = {f"{name}.md": joined(described(found, context(found, name, root))) for name, found in commands.items()}
    where = {name: page for page, text in written.items() for name in re.findall(r"^## ([\w-]+)$", text, re.MULTILINE)}
    made["_list.md"] = joined(command_list(commands, where))
    made["_options.md"] = joined(definitions(option_records(strongroom, root)))
    made["_exit-codes.md"] = joined(exit_codes())
    return made


def command_list(commands: Mapping[str, click.Command], where: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of a list of the commands in the groups of `strongroom --help`, with links to their sections."""
    for group, names in registry.groups().items():
        yield from (f"**{group}**", "")
        for name in names:
            term = f"[{name}]({where[name]}#{name})" if name in where else f"`{name}`"
            yield f"- {term}: {markdown(help_of(commands[name]).summary)}"
        yield ""


def described(command: click.Command, ctx: click.Context) -> Iterator[str]:
    """Yield the lines about a command, and a section for each command of a group."""
    text = help_of(command)
    yield from (markdown(text.summary), "")
    yield from ("```text", " ".join((ctx.command_path, *command.collect_usage_pieces(ctx))), "```", "")
    for paragraph in text.prose:
        yield from (markdown(paragraph), "")
    if text.example:
        label, lines = text.example
        yield from (f"Example{f', {markdown(label)}' if label else ''}:", "")
        yield from ("```text", lines, "```", "")
    yield from definitions(option_records(command, ctx))
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            if (found := command.get_command(ctx, name)) is not None:
                below = context(found, name, ctx)
                yield from (f"### {below.command_path.removeprefix('strongroom ')}", "")
                yield from described(found, below)


def context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def help_of(command: click.Command) -> Help:
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


def option_records(command: click.Command, ctx: click.Context) -> list[tuple[str, str]]:
    """Each option but `--help` and its help text, as `--help` prints them."""
    options = (option for option in command.get_params(ctx) if isinstance(option, click.Option))
    records = (option.get_help_record(ctx) for option in options if "--help" not in option.opts)
    return [record for record in records if record is not None]


def exit_codes() -> Iterator[str]:
    yield from ("| code | meaning |", "| --- | --- |")
    yield from (f"| {int(code)} | {code.meaning} |" for code in ExitCode)


def definitions(records: list[tuple[str, str]]) -> Iterator[str]:
    for term, text in records:
        yield from (f"`{term}`", f": {markdown(text)}", "")


def joined(lines: Iterator[str]) -> str:
    return "\n".join((*lines, ""))


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
