"""`strongroom stores`, and commands that plugins bring."""

import json

import click
import pytest

from strongroom import _plugins as plugins
from strongroom._boundary.guard import GuardedStore
from strongroom._plugins.option_schema import Schema
from strongroom.errors import ConflictError, PluginError
from strongroom.formats.variables import EnvironmentMapping
from strongroom.store import SecretStore
from strongroom.store.memory import MemoryStore
from strongroom_env.variables import EnvironmentStore
from strongroom_vault.store.kv1 import VaultKV1
from strongroom_vault.store.kv2 import VaultKV2
from support.command_line import call_on_terminal


@click.command("third")
@click.argument("code", type=int)
@click.pass_context
def third_party(ctx: click.Context, code: int) -> None:
    """What a stranger adds."""
    click.echo(json.dumps({key: str(value) for key, value in ctx.find_root().params.items()}))
    if code == 6:
        raise ConflictError("a/b", "somebody wrote first")
    ctx.exit(code)


def broken() -> click.Command:
    raise PluginError("The plugin broken needs nothing, which is not installed")


@pytest.fixture
def added(monkeypatch):
    """Three commands of plugins, and one that would take the place of ours."""
    commands = {"third": lambda: third_party, "broken": broken, "odd": lambda: print, "get": broken}
    monkeypatch.setattr(plugins, "commands", lambda **_: commands)


@pytest.mark.usefixtures("added")
def test_a_plugins_command_gets_the_global_options_and_our_errors(command):
    """It reads the options from the root context, and its errors have our exit codes."""
    done = command("--environment", "dev", "--config", "other.toml", "third", "0")
    assert done.code == 0
    assert json.loads(done.out) == {
        "config_file": "other.toml",
        "environment": "dev",
        "verbose": "False",
        "no_color": "False",
        "reason": "None",
    }
    assert command("third", "6").code == 6
    assert command("third", "42").code == 42


@pytest.mark.usefixtures("added", "configured")
def test_a_broken_command_is_one_line_and_breaks_no_other(command):
    """The help lists it with its fault; a command of ours cannot be replaced."""
    assert command("broken") == (7, b"", "strongroom: The plugin broken needs nothing, which is not installed\n")
    assert command("odd").code == 7
    helped = command("--help")
    assert helped.code == 0
    assert b"What a stranger adds." in helped.out
    assert b"broken needs nothing" in helped.out
    assert command("get", "odd/values#text").out == b"no newline"


def test_stores_lists_each_plugin_with_its_options(command):
    """Tab-separated where it is piped; what an option is called comes first."""
    done = command("stores", "memory")
    assert done.code == 0
    plugin, option = done.out.decode().splitlines()
    assert plugin.split("\t")[0] == "memory"
    assert plugin.split("\t")[1].startswith("strongroom ")
    assert {"writable", "versioned"} <= set(plugin.split("\t")[2].split(", "))
    assert option.split("\t")[:2] == ["  secrets", "a table of tables"]


def test_stores_without_a_name_is_one_line_for_each_plugin(command):
    """The options of one plugin are listed by its name."""
    lines = command("stores").out.decode().splitlines()
    names = [line.split("\t")[0] for line in lines]
    assert set(names) >= {"memory", "env", "vault", "json"}
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith(" ")]


def test_stores_as_json(command):
    """An object for each plugin, in a document that has a version."""
    document = json.loads(command("stores", "--json").out)
    assert (document.keys(), document["version"]) == ({"version", "plugins"}, 1)
    found = {plugin["name"]: plugin for plugin in document["plugins"]}
    assert {"memory", "env", "dotenv", "files", "vault"} <= found.keys()
    assert found["memory"].keys() == {
        "name", "distribution", "fault", "capabilities", "some_capabilities", "options",
    }  # fmt: skip
    assert found["memory"]["options"][0].keys() == {"name", "type", "required", "help", "variables"}


def test_what_depends_on_the_service_is_told_apart():
    """Of a union, what every class can do and what only some can: KV version 1 has no check-and-set."""
    always, sometimes = Schema({}, stores=(VaultKV1, VaultKV2)).capabilities()
    assert {"listable", "writable", "probed"} <= always
    assert "checked" in sometimes
    assert not always & sometimes


@pytest.mark.parametrize("store", [MemoryStore(), EnvironmentStore(EnvironmentMapping())])
def test_a_class_tells_what_its_store_can_do(store):
    """The same that the front finds once it is opened."""
    assert Schema({}, stores=(type(store),)).capabilities() == (GuardedStore(store, "a").capabilities, frozenset())


@pytest.mark.parametrize("kinds", [(), (SecretStore,), (MemoryStore, int)])
def test_what_is_not_known_is_not_guessed(kinds):
    """A protocol says the least that a store can do, and not the most."""
    assert Schema({}, stores=kinds).capabilities() is None


def test_stores_on_a_terminal_is_a_table():
    """For a person to read."""
    code, screen = call_on_terminal(["--no-color", "stores", "memory"])
    assert code == 0
    assert "plugin, option" in screen
    assert "secrets" in screen
