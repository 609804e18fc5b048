"""The store protocol: detection of capabilities, protocol versions, and the time of a call."""

import asyncio
import contextvars
import inspect
import threading
from typing import Protocol

import pytest

from strongroom import Secret, SecretsManager, store
from strongroom._boundary import guard
from strongroom._plugins.option_schema import Schema, read_schema
from strongroom.errors import InvalidPathError, PluginError, UnsupportedOperationError
from strongroom.migrate.spi import MigrationHints
from strongroom.store import (
    PROTOCOL_VERSION,
    BulkStore,
    CheckedStore,
    DynamicStore,
    KeyedStore,
    ListableStore,
    ProbedStore,
    SecretStore,
    Traits,
    VersionedStore,
    WritableStore,
    deadline,
    protocols,
    remaining,
    time_limit,
)
from strongroom.store.deadline import DEFAULT_TIMEOUT
from strongroom.store.memory import MemoryStore
from strongroom.store.protocols import CAPABILITIES, OPERATIONS, Operation

PROTOCOLS = {
    "": SecretStore,
    "keyed": KeyedStore,
    "listable": ListableStore,
    "writable": WritableStore,
    "checked": CheckedStore,
    "versioned": VersionedStore,
    "bulk": BulkStore,
    "probed": ProbedStore,
    "dynamic": DynamicStore,
}
"""The protocol of each capability. Every store has those of the empty name."""


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that the test moves."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(deadline, "time", clock)
    return clock


def test_without_a_limit_there_is_the_default():
    """Without a limit, the default timeout applies."""
    assert remaining() == DEFAULT_TIMEOUT


def test_remaining_runs_down_to_zero(clock):
    """The remaining time never goes below zero."""
    with time_limit(3):
        assert remaining() == 3
        clock.now += 2
        assert remaining() == 1
        clock.now += 2
        assert remaining() == 0
    assert remaining() == DEFAULT_TIMEOUT


def test_inner_limit_never_extends_the_outer(clock):
    """An inner limit cannot exceed the time left, and ends with its block."""
    with time_limit(5):
        with time_limit(2):
            assert remaining() == 2
        assert remaining() == 5
        clock.now += 4
        with time_limit(3):
            assert remaining() == 1


def test_limit_ends_with_an_error(clock):
    """A limit ends when its block raises."""
    with pytest.raises(ZeroDivisionError), time_limit(1):
        _ = 1 / 0
    assert remaining() == DEFAULT_TIMEOUT


def test_limit_is_of_its_thread_and_of_who_inherits_its_context(clock):
    """A new thread has the default time; a thread with the caller's context has the time left."""
    seen = []
    with time_limit(2):
        context = contextvars.copy_context()
        for run in (lambda: seen.append(remaining()), lambda: context.run(lambda: seen.append(remaining()))):
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
    assert seen == [DEFAULT_TIMEOUT, 2]


def test_limit_goes_with_a_task():
    """`asyncio.to_thread` carries it into the thread that does the I/O."""

    async def ask():
        with time_limit(2):
            return await asyncio.to_thread(remaining)

    assert 0 < asyncio.run(ask()) <= 2


def test_capability_is_there_when_its_methods_are():
    """Each protocol is a set of names; no store has to inherit."""

    class Least:
        def read(self, path): ...
        def close(self): ...

    least, all_of_it = Least(), MemoryStore()
    optional = [ListableStore, WritableStore, CheckedStore, VersionedStore, BulkStore, ProbedStore]
    assert isinstance(least, SecretStore)
    assert not any(isinstance(least, capability) for capability in [*optional, KeyedStore])
    assert all(isinstance(all_of_it, capability) for capability in optional)
    assert not isinstance(object(), SecretStore)


def test_no_two_capabilities_share_a_method():
    """Two protocols with one method name could be confused."""
    own = [
        {name for name in vars(protocol) if not name.startswith("_")}
        for protocol in (MigrationHints, *PROTOCOLS.values())
    ]
    assert sum(map(len, own)) == len(set().union(*own))


def test_at_most_ten_concepts():
    """Nine protocols and the static facts."""
    found = [value for value in vars(protocols).values() if getattr(value, "_is_protocol", False)]
    assert len({*found, Traits} - {Protocol}) == 10


def test_public_names_are_all_there():
    """`strongroom.store` exports what its `__all__` names, and every protocol."""
    assert all(hasattr(store, name) for name in store.__all__)
    assert {protocol.__name__ for protocol in PROTOCOLS.values()} <= set(store.__all__)


def methods_of(protocol):
    """Return name -> number of arguments."""
    methods = inspect.getmembers(protocol, inspect.isfunction)
    return {name: len(inspect.signature(method).parameters) - 1 for name, method in methods if name[0] != "_"}


def test_the_table_has_each_method_of_the_protocols():
    """With its capability and its arguments."""
    assert PROTOCOLS.keys() - {""} == CAPABILITIES.keys()
    hints = methods_of(MigrationHints)
    for capability, protocol in PROTOCOLS.items():
        rows = [row for row in OPERATIONS.values() if row.capability == capability and row.name not in hints]
        required = {row.name: 1 if row.many else len(row.takes) for row in rows if not row.optional}
        methods = methods_of(protocol)
        methods.pop("close", None)
        assert required == methods
    assert {row.name: 1 if row.many else len(row.takes) for row in OPERATIONS.values() if row.name in hints} == hints


def test_a_new_capability_is_detected_refused_and_called(monkeypatch):
    """The guard and the list of plugins need only a name and a row of the table."""

    class Renamable(MemoryStore):
        def rename(self, path, to):
            return f"{path} to {to}"

    monkeypatch.setitem(CAPABILITIES, "renamable", "renaming")
    monkeypatch.setitem(OPERATIONS, "rename", Operation("rename", "renamable", ("path", "key"), "text", changes=True))
    able, unable = guard.GuardedStore(Renamable(), "able"), guard.GuardedStore(MemoryStore(), "unable")
    assert able.capabilities - unable.capabilities == {"renamable"}
    assert Schema({}, stores=(Renamable, MemoryStore)).capabilities() == (unable.capabilities, {"renamable"})
    assert able._operate("rename", "a", "b") == "a to b"
    with pytest.raises(InvalidPathError):
        able._operate("rename", "a", "")
    with pytest.raises(UnsupportedOperationError, match=r"store unable: it has no renaming"):
        unable._operate("rename", "a", "b")


class Plugin:
    """A store of a plugin that was written for some version of the protocol."""

    closed = 0

    def read(self, path):
        return Secret(path, {"key": "value"})

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("ours", [1, 2, 5])
@pytest.mark.parametrize("traits", [None, Traits(), Traits(protocol=1)])
def test_plugin_for_an_older_protocol_works(monkeypatch, ours, traits):
    """A plugin that states no version was written for the first."""
    monkeypatch.setattr(protocols, "PROTOCOL_VERSION", ours)
    kind = type("Old", (Plugin,), {} if traits is None else {"traits": traits})
    with SecretsManager(chain=[kind()]) as secrets:
        assert secrets.get_secret("a", "key") == "value"


def test_plugin_for_a_newer_protocol_is_refused_by_name():
    """The error names the store, the class and both versions, and the opened store is closed."""
    new = type("New", (Plugin,), {"traits": Traits(protocol=PROTOCOL_VERSION + 1), "__module__": "strongroom_new"})()
    versions = rf"protocol {PROTOCOL_VERSION + 1}, and this Strongroom has {PROTOCOL_VERSION}\."
    with pytest.raises(PluginError, match=rf"^Store db: strongroom_new\.New needs store {versions} Upgrade strongroom"):
        guard.GuardedStore.open(lambda: new, "db")
    assert new.closed == 1
    with SecretsManager(chain=[new]) as secrets, pytest.raises(PluginError, match=versions):
        secrets.get_secret("a", "key")


def test_plugin_for_a_newer_protocol_is_refused_before_it_is_opened():
    """The class that its opener returns states the protocol, so that no login is made."""

    class New(Plugin):
        traits = Traits(protocol=PROTOCOL_VERSION + 1)

    def open_new() -> New:
        pytest.fail("opened")

    open_new.__annotations__["return"] = New
    with pytest.raises(PluginError, match=rf"^Plugin db: .*New .* needs store protocol {PROTOCOL_VERSION + 1}, and"):
        read_schema(open_new, "db")


@pytest.mark.parametrize("traits", [{"local": True}, True, Traits])
def test_traits_of_another_class_are_refused(traits):
    """A plugin with invalid traits is refused."""
    with pytest.raises(PluginError, match=r"^Store db: `traits` of .*Odd must be a strongroom\.store\.Traits"):
        guard.GuardedStore(type("Odd", (Plugin,), {"traits": traits})(), "db")
