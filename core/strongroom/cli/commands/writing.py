"""`strongroom set`."""

from __future__ import annotations

import sys

import click

from strongroom.cli import output
from strongroom.cli.invocation import Invocation, current
from strongroom.errors import shown
from strongroom.model import SensitiveStr, Value, check_key, check_path, parse_reference, protect

_HOW = "type the value when asked, or pipe it in: `… | strongroom set PATH KEY`"


# Unknown options are taken as words, since click would repeat in its message what may be a value.
@click.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="PATH KEY")
@click.option("--store", metavar="NAME", help="Write to this store, not to the first of the chain that can be written.")
@click.option("--replace", is_flag=True, help="Drop the secret's other keys; without it they are kept.")
@click.option("--empty", is_flag=True, help="Store an empty value, where stdin is empty.")
@current
def set_command(
    invocation: Invocation, words: tuple[str, ...], *, store: str | None, replace: bool, empty: bool
) -> None:
    """Store one value, and keep the secret's other keys.

    The value is never on the command line, where every process of the machine could read it: on a terminal it is asked
    for without echo, else it is read from stdin, less one newline at its end. What is not UTF-8 is stored as bytes,
    whole. PATH#KEY stands for PATH KEY.
    """
    path, key = _target(words)
    value = _typed(path, key) if sys.stdin.isatty() else _piped(empty=empty)
    with invocation.open() as secrets:
        version = secrets.set_secret(path, {key: value}, store=store, replace=replace)
    output.say(f"stored {shown(key)} at {shown(path)}{'' if version is None else f', version {version}'}")


def _target(words: tuple[str, ...]) -> tuple[str, str]:
    """Path and key. No message of it repeats a word that follows the path: it may be a value in the wrong place."""
    last = words[-1] if words else ""
    # A path may hold an equals sign, and so may a key; but in a key it is nearly always a value that was put there.
    suspect = last.partition("#")[2] or last if len(words) == 1 else last
    if "=" in suspect or any(word.startswith("-") for word in words):
        raise click.UsageError(f"A value does not belong on the command line: {_HOW}")
    if len(words) not in {1, 2}:
        raise click.UsageError(f"It takes PATH and KEY, or PATH#KEY, and nothing more: {_HOW}")
    path, key = parse_reference(last) if len(words) == 1 else words
    if key is None:
        raise click.UsageError(f"It takes a KEY too: {_HOW}")
    return check_path(path), check_key(key, path)


def _typed(path: str, key: str) -> Value:
    return SensitiveStr(click.prompt(f"Value of {path}#{key}", hide_input=True, err=True))


def _piped(*, empty: bool) -> Value:
    content = sys.stdin.buffer.read()
    if not content and not empty:
        raise click.UsageError("stdin is empty; --empty stores an empty value")
    try:
        return SensitiveStr(content.removesuffix(b"\n").decode())
    except UnicodeDecodeError:
        return protect(content)
