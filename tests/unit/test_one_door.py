"""Paths, keys and data are validated by every entry."""

import asyncio
import inspect

import pytest

from strongroom import SecretsManager
from strongroom._boundary.guard import GuardedStore
from strongroom._chain.chain import Chain
from strongroom._manager.versions import Versions
from strongroom.errors import InvalidDataError, InvalidPathError, StrongroomError
from strongroom.rotate.rotations import Rotations
from support.stores import RemoteStore

BAD_PATHS = ["", "/a", "a/", "a//b", "a/../b", ".", "a\nb", "a\\b", "a\u2028", "\ud800", "x" * 1025, 5, None, ["a"]]
BAD_DATA = [
    {},
    {"": "x"},
    {"k\n": "x"},
    {5: "x"},
    {"k": float("nan")},
    {"k": "\ud800"},
    {"k": 1j},
    ["k"],
    "k",
    None,
]
ARGUMENTS = {
    "path": "a/b",
    "key": "k",
    "data": {"k": "v"},
    "version": 1,
    "metadata": {},
    "labels": {},
    "form": {},
    "expected": None,
    "grace": "1h",
}
"""A valid argument for each parameter without a default."""


class Recorder(RemoteStore):
    """Notes which of its methods are called. It has every method that the guard knows."""

    def __init__(self) -> None:
        super().__init__({"a/b": {"k": "v"}})
        self.called: list[str] = []

    def __getattribute__(self, name: str):
        method = super().__getattribute__(name)
        if name.startswith("_") or name in {"called", "close"} or not inspect.ismethod(method):
            return method

        def noted(*arguments, **options):
            self.called.append(name)
            return method(*arguments, **options)

        return noted

    def read_key(self, path, key):
        return self.read(path).data[key]

    def makes(self, path):
        return False

    def walk(self, prefix):
        return iter(["a/b"])

    def walk_labels(self, prefix):
        return iter([("a/b", {})])

    def vet(self, path, data):
        pass

    vet_labels = vet

    def cautions(self, path):
        return ()

    def write_formed(self, path, data, form):
        return self.write(path, data)

    def write_many(self, items):
        return iter([(path, self.write(path, data)) for path, data in items])

    def write_many_if(self, items):
        return iter([(path, self.write_if(path, data, expected)) for path, data, expected in items])

    def delete_many(self, items):
        return iter([(path, self.delete(path)) for path in items])


@pytest.fixture
def store():
    return Recorder()


@pytest.fixture
def manager(store):
    with SecretsManager(chain=[store]) as manager:
        yield manager


def entries(kind: type, parameter: str, *, but: frozenset[str] = frozenset()) -> list[str]:
    """The public methods of a class with this parameter: one that is added later is an entry too."""
    public = {name: method for name, method in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"}
    return sorted(
        name for name, method in public.items() if parameter in inspect.signature(method).parameters if name not in but
    )


def call(owner: object, name: str, **given: object) -> object:
    """Call a method with these arguments, and valid ones for the others that it needs, and finish what it returns."""
    method = getattr(owner, name)
    for parameter in inspect.signature(method).parameters.values():
        if parameter.default is parameter.empty and parameter.name not in given:
            given[parameter.name] = ARGUMENTS[parameter.name]
    result = method(**given)
    if inspect.iscoroutine(result):
        return asyncio.run(result)
    return list(result) if inspect.isgenerator(result) else result


DROPS_ONLY_FROM_THE_CACHE = frozenset({"invalidate"})
MANAGER = entries(SecretsManager, "path", but=DROPS_ONLY_FROM_THE_CACHE)
CHAIN = entries(Chain, "path", but=frozenset({"forget"}))
GUARD = entries(GuardedStore, "path", but=frozenset({"makes", "unwrapped"}))
"""All but one whose answer to an error is True, and one whose path is for messages."""


def test_the_entries_are_found():
    """An empty list of entries would let every test below pass."""
    assert {"get_secret", "aget_secret", "resolve", "explain", "set_secret", "delete_secret", "write_target"} <= set(
        MANAGER
    )
    assert {"resolve", "write", "at_target"} <= set(CHAIN)
    assert {"history", "aread", "set_metadata"} <= set(entries(Versions, "path"))
    assert {"read", "write", "write_if", "delete", "vet", "cautions"} <= set(GUARD)


@pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
def test_every_entry_refuses_a_bad_path(manager, store, path):
    """Before the store is asked anything."""
    owners = [(manager, name) for name in MANAGER]
    owners += [(manager.versions, name) for name in entries(Versions, "path")]
    owners += [(manager.rotations, name) for name in entries(Rotations, "path")]
    owners += [(GuardedStore(store, "store"), name) for name in GUARD]
    store.called.clear()
    for owner, name in owners:
        with pytest.raises(InvalidPathError):
            call(owner, name, path=path)
        assert store.called == [], name


@pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
def test_a_collection_refuses_each_bad_path_alone(manager, store, path):
    """The others are read or written."""
    if isinstance(path, str):
        batch = manager.get_secrets(["a/b", path])
        assert (list(batch), list(batch.errors)) == (["a/b"], [path])
    with pytest.raises(InvalidPathError):
        manager.watch(["a/b", path], print)
    valid = GuardedStore(store, "store")
    for results in (
        valid.read_many(["a/b", path]),
        valid.write_many([("a/b", {"k": "v"}), (path, {"k": "v"})]),
        valid.write_many_if([("a/b", {"k": "v"}, 2), (path, {"k": "v"}, None)]),
        valid.delete_many(["a/b", path]),
    ):
        outcomes = list(results)
        assert len(outcomes) == 2
        for named, outcome in outcomes:
            assert isinstance(outcome, InvalidPathError) == (named != "a/b")
    assert {name for name in store.called if name.endswith("_many")} == {"read_many", "write_many", "delete_many"}


@pytest.mark.parametrize("prefix", [path for path in BAD_PATHS if path not in ("", "a/")], ids=repr)
def test_every_listing_refuses_a_bad_prefix(manager, store, prefix):
    """A folder may end in a slash, and the empty one is the top."""
    valid = GuardedStore(store, "store")
    for owner, kind in ((manager, SecretsManager), (valid, GuardedStore)):
        for name in entries(kind, "prefix"):
            with pytest.raises(InvalidPathError):
                call(owner, name, prefix=prefix)
            assert store.called == [], name


@pytest.mark.parametrize("data", BAD_DATA, ids=repr)
def test_every_write_refuses_bad_data(manager, store, data):
    """Before the store is asked anything."""
    owners = [(manager, name) for name in entries(SecretsManager, "data")]
    owners += [(GuardedStore(store, "store"), name) for name in entries(GuardedStore, "data")]
    assert {"set_secret", "aset_secret", "write", "write_if", "vet", "write_formed"} == {name for _, name in owners}
    for owner, name in owners:
        with pytest.raises((InvalidDataError, InvalidPathError)):
            call(owner, name, data=data)
        assert store.called == [], name
    outcomes = dict(GuardedStore(store, "store").write_many([("a", data), ("b", {"k": "v"})]))
    assert isinstance(outcomes["a"], StrongroomError)
    assert isinstance(outcomes["b"], int)


@pytest.mark.parametrize("version", ["", "a\nb", 1.5, True, None])
def test_every_entry_refuses_a_bad_version(manager, store, version):
    """A version of another type would be another version to some stores."""
    owners = [(manager.versions, name) for name in entries(Versions, "version")]
    owners += [(GuardedStore(store, "store"), name) for name in entries(GuardedStore, "version")]
    for owner, name in owners:
        with pytest.raises(InvalidPathError):
            call(owner, name, version=version)
        assert store.called == [], name
