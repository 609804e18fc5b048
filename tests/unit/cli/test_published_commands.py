"""`strongroom.commands`, the published interface for the commands of plugins."""

import subprocess
import sys

import click
import pytest

from strongroom import _plugins as plugins
from strongroom import commands


@pytest.mark.parametrize("name", commands.__all__)
def test_every_published_name_exists(name):
    assert getattr(commands, name) is not None
    assert name in dir(commands)


def test_no_other_name_exists():
    with pytest.raises(AttributeError, match="no attribute 'write_everything'"):
        _ = commands.write_everything


def test_importing_it_loads_neither_the_chain_nor_click():
    """`strongroom --help` loads every command of a plugin for its summary."""
    program = "import sys; from strongroom import commands; print({'strongroom._manager', 'click'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"


@pytest.mark.usefixtures("configured")
def test_a_command_opens_the_configured_chain(command, monkeypatch):
    """The options before the command's name choose the configuration, and the output goes to stdout."""

    @click.command("first")
    @commands.current
    def first(invocation: commands.Invocation) -> None:
        with invocation.open() as secrets:
            commands.write_rows([[secrets.list_secrets()[0], invocation.load().chain[0].store]])

    monkeypatch.setattr(plugins, "commands", lambda **_: {"first": lambda: first})
    assert command("first").code == 0
