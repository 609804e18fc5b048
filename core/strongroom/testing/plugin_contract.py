"""The contract of an installed plugin: its entry point, its options, their check, and its import."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar

import click
import pytest

from strongroom._plugins import COMMANDS, CREDENTIAL_VARIABLES, STORES
from strongroom._plugins.distributions import by_name, entry_point, entry_points
from strongroom._plugins.option_schema import Schema, ambient_credentials, read_schema
from strongroom.errors import ConfigurationError
from strongroom.store.protocols import PROTOCOL_VERSION, Traits
from strongroom.testing.store_contract.base import Supervised, examine

_IMPORT = """
import importlib, json, sys, threading, time
sys.path[:0] = json.loads(sys.argv[2])
import strongroom._config, strongroom.migrate.spi, strongroom.rotate.spi, strongroom.store, strongroom.commands
known, began = set(sys.modules), time.monotonic()
importlib.import_module(sys.argv[1])
seconds = time.monotonic() - began
loaded = sorted({name.partition(".")[0] for name in set(sys.modules) - known})
print(seconds, threading.active_count(), *loaded, sep="\\n", file=sys.stderr)
"""
_LONGEST_IMPORT = 20.0
"""Seconds. An import without I/O takes a hundredth of that, and on a busy machine some tenths."""


class PluginContract(Supervised):
    """Check how a plugin is installed, which its users meet before the first read.

    Subclass it in a test module of the plugin's distribution, which must be installed::

        class TestMyPlugin(PluginContract):
            plugin = "redis"
            options = {"url": "rediss://cache.example"}
            refused = [{"url": "rediss://cache.example", "database": -1}]
            lazy = {"redis"}
    """

    plugin: ClassVar[str]
    """The name of the entry point."""

    group: ClassVar[str] = STORES
    """The group of the entry point, such as `strongroom.importers`."""

    options: ClassVar[Mapping[str, object]] = {}
    """Options that the plugin accepts."""

    refused: ClassVar[Sequence[Mapping[str, object]]] = ()
    """Sets of options of the right types that the plugin refuses."""

    lazy: ClassVar[AbstractSet[str]] = frozenset()
    """Top-level modules that the plugin imports when it is opened, such as its SDK."""

    @pytest.fixture
    def opener(self) -> Callable[..., Any]:
        """Return the object that the entry point names."""
        opener = entry_point(self.group, self.plugin).load()
        assert callable(opener), "the entry point names no callable"
        return opener  # type: ignore[no-any-return]  # narrowed from Any

    @pytest.fixture
    def schema(self, opener: Callable[..., Any]) -> Schema:
        """Return the options of the opener; a command has none."""
        if self.group == COMMANDS:
            assert isinstance(opener, click.Command), f"{type(opener).__name__} is not a click command"
            pytest.skip("a command has no options of a store")
        return read_schema(opener, self.plugin)

    def test_one_distribution_has_the_name(self) -> None:
        """The entry point belongs to one installed distribution with a name and a version."""
        points = by_name(self.group).get(self.plugin, [])
        assert len(points) == 1, f"{len(points)} distributions have the plugin {self.plugin} in {self.group}"
        assert points[0].dist is not None
        assert points[0].dist.name
        assert points[0].dist.version

    def test_import_is_quick_and_silent(self) -> None:
        """Importing the plugin's module prints nothing, starts no thread, and imports no SDK."""
        point = entry_point(self.group, self.plugin)
        loaded = check_import(point.value.partition(":")[0], self.longest_test)
        assert not self.lazy & loaded, f"the import loads {', '.join(sorted(self.lazy & loaded))}"

    def test_options_can_be_read(self, schema: Schema) -> None:
        """The opener's signature is a schema, and its options have a line of help."""
        without = [name for name, option in schema.options.items() if not option.option.help]
        assert not without, f"no Option(help=…): {', '.join(without)}"

    def test_protocol_is_the_declared_one(self, schema: Schema) -> None:
        """The annotated classes are for a version of the protocol that exists. Only stores have to be annotated."""
        assert schema.stores or self.group != STORES, "the opener's return annotation does not name the store's class"
        for plugin in schema.stores:
            traits = getattr(plugin, "traits", Traits())
            assert 1 <= traits.protocol <= PROTOCOL_VERSION, f"{plugin.__name__} is for protocol {traits.protocol}"

    def test_declared_options_exist(self, schema: Schema) -> None:
        """A misspelled declaration is an error."""
        for options in (self.options, *self.refused):
            assert options.keys() <= schema.options.keys()
        assert {name for name, option in schema.options.items() if option.required} <= self.options.keys()

    def test_credential_variables_are_listed(self, schema: Schema) -> None:
        """A distribution that lists credential variables lists each that sets a secret option of the plugin."""
        dist = entry_point(self.group, self.plugin).dist
        listed = {point.name for point in entry_points(CREDENTIAL_VARIABLES) if point.dist is dist}
        missing = ambient_credentials(schema) - listed if listed else ()
        assert not missing, f"not in the entry-point group {CREDENTIAL_VARIABLES}: {', '.join(sorted(missing))}"

    def test_check_takes_the_options_of_the_opener(self, opener: Callable[..., Any], schema: Schema) -> None:
        """The check takes each option, and accepts the options that the plugin accepts, without opening anything."""
        check = _check_of(opener)
        inspect.signature(check).bind(**dict.fromkeys(schema.options))
        assert check(**self.options) is None, "a check returns nothing"

    def test_check_and_opener_refuse_the_same(self, opener: Callable[..., Any]) -> None:
        """Options that the check refuses are refused by the opener, with an error that begins with the option."""
        if not self.refused:
            pytest.skip("no `refused` options are declared")
        for options in self.refused:
            for call in (_check_of(opener), opener):
                with pytest.raises(ConfigurationError) as caught:
                    call(**options)
                named = str(caught.value).replace(":", ".").partition(".")[0]
                assert named in options, "the error does not begin with the name of an option"
                examine(caught.value)


def check_import(module: str, patience: float, path: Sequence[str] = ()) -> set[str]:
    """Import a module in another process, and return the top-level modules that this loads.

    Assert that it is quick, prints nothing and starts no thread.

    Args:
        module: its name.
        patience: seconds after which the process is ended.
        path: more folders to import from, for a module that is not installed.
    """
    command = [sys.executable, "-c", _IMPORT, module, json.dumps(list(path))]
    run = subprocess.run(  # noqa: S603  # the plugin under test
        command, capture_output=True, text=True, timeout=patience, check=False
    )
    assert run.returncode == 0, f"the import failed: {run.stderr}"
    assert not run.stdout, "the import printed to stdout"
    assert run.stderr, "the import ended the process"
    seconds, threads, *modules = run.stderr.splitlines()
    assert float(seconds) < _LONGEST_IMPORT, f"the import took {float(seconds):.1f} s"
    assert int(threads) == 1, "the import started a thread"
    return set(modules)


def _check_of(opener: Callable[..., Any]) -> Callable[..., Any]:
    check = getattr(opener, "check", None)
    if check is None:
        pytest.skip("the opener has no check")
    assert callable(check), "the opener's check is not callable"
    return check  # type: ignore[no-any-return]  # an attribute of any object
