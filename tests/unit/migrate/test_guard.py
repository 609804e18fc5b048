"""An importer or exporter that hangs, exits or returns nonsense costs a migration its deadline, and is named."""

import threading

import pytest

from strongroom._boundary import watchdog
from strongroom._config import discovery
from strongroom.errors import (
    InvalidDataError,
    PluginError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.migrate.endpoints import Endpoints
from strongroom.migrate.sources import Selection
from strongroom.migrate.spi import Failure, MigrationOutcome
from strongroom.secret import Secret
from strongroom.store import Traits, remaining, time_limit
from strongroom.store.concurrency import result_or_error
from strongroom.store.memory import MemoryStore
from support.clock import LONG

FIRST = Secret("a/1", {"key": "canary-6f1d"})


class Plugin:
    """An importer and an exporter with the methods that a test passes. `forever` waits until the test is over."""

    def __init__(self, *, items=None, write=None, close=lambda: None):
        self.free = threading.Event()
        self.threads = set()
        self._items, self._write, self._close = items, write, close

    def forever(self):
        self.threads.add(threading.current_thread())
        self.free.wait()

    def items(self):
        self.threads.add(threading.current_thread())
        return self._items(self)

    def write(self, secrets):
        self.threads.add(threading.current_thread())
        return self._write(self, secrets)

    def close(self):
        self._close()


class Importer(Plugin):
    write = None


class Exporter(Plugin):
    items = None


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr(watchdog, "GRACE", 0.0)


@pytest.fixture
def plugin():
    """Return a function that makes a plugin, whose threads end with the test."""
    made = []

    def make(kind, **methods):
        made.append(kind(**methods))
        return made[-1]

    yield make
    for each in made:
        each.free.set()
        for thread in each.threads - {threading.current_thread()}:
            thread.join(LONG)
            assert not thread.is_alive()


def after_one(then):
    """Return an `items` that yields one secret and then does something."""

    def items(plugin):
        yield FIRST
        yield then(plugin)

    return items


def exits(*_):
    raise SystemExit(0)


def source(importer):
    return Endpoints(None, {"safe": importer}).source("safe")


def target(exporter):
    return Endpoints(None, {"safe": exporter}).target("safe")


@pytest.mark.parametrize("items", [Plugin.forever, after_one(Plugin.forever)], ids=["call", "step"])
def test_an_importer_that_hangs_is_given_up(plugin, items):
    """Whether it hangs in the call or in a later step. The secrets before were yielded."""
    found = source(plugin(Importer, items=items)).items(Selection())
    with time_limit(0.05), pytest.raises(StoreUnavailableError, match=r"store safe.*did not answer in time"):
        list(found)


def test_an_error_of_an_importer_quotes_no_value(plugin):
    """Neither one that it raises, nor one that it yields for a secret."""

    class OwnError(InvalidDataError):
        def __str__(self):
            return "canary-6f1d"

    def items(_):
        yield FIRST
        yield Failure("a/2", OwnError("a/2", "unlike canary-6f1d"))
        raise StoreError("a/3", "after canary-6f1d")

    found = source(plugin(Importer, items=items)).items(Selection())
    assert next(found) == FIRST
    assert str(next(found).error) == "Invalid data: a/2 (store safe: unlike **********)"
    with pytest.raises(StoreError, match=r"after \*+\)$"):
        next(found)


@pytest.mark.parametrize("raises", [True, False])
def test_an_error_of_an_exporter_quotes_no_value(plugin, raises):
    """Neither one that it raises, nor one that it yields for a secret."""

    def write(_, secrets):
        for secret in secrets:
            error = InvalidDataError(secret.path, f"not {secret.data['key']!s}")
            if raises:
                raise error
            yield MigrationOutcome(secret.path, error=error)

    outcome = result_or_error(target(plugin(Exporter, write=write)).write, "a", FIRST.data)
    assert str(outcome) == "Invalid data: a (store safe: not **********)"


def test_all_steps_of_an_importer_have_one_thread(plugin):
    """A connection may belong to the thread that opened it."""
    seen = []

    def items(_):
        for number in range(3):
            seen.append(threading.current_thread())
            yield Secret(f"a/{number}", {})

    assert len(list(source(plugin(Importer, items=items)).items(Selection()))) == 3
    assert len(set(seen)) == 1
    assert seen[0] is not threading.current_thread()


def test_a_local_importer_is_called_directly(plugin):
    """It pays for no thread."""
    importer = plugin(Importer, items=lambda _: iter([FIRST]))
    importer.traits = Traits(local=True)
    assert list(source(importer).items(Selection())) == [FIRST]
    assert importer.threads == {threading.current_thread()}


WRONG_ITEMS = {
    "exits": (exits, "it raised SystemExit"),
    "exits later": (after_one(exits), "it raised SystemExit"),
    "raises": (after_one(lambda _: {}["canary-6f1d"]), "it raised KeyError"),
    "nothing": (lambda _: None, "items() returned NoneType, expected an iterator"),
    "text": (lambda _: "canary-6f1d", "items() returned str, expected an iterator"),
    "a pair": (after_one(lambda _: ("a", "canary-6f1d")), "an item of type tuple, expected Secret or Failure"),
    "a failure": (
        after_one(lambda _: Failure("a", ValueError("canary-6f1d"))),
        "a Failure with error of type ValueErr",
    ),
    "a name": (after_one(lambda _: Failure(None, InvalidDataError("a"))), "a Failure with name of type NoneType"),
}


@pytest.mark.parametrize("wrong", WRONG_ITEMS)
def test_an_importer_cannot_break_a_migration(plugin, wrong):
    """The error names the importer, its class and the type, and shows no value."""
    items, says = WRONG_ITEMS[wrong]
    with pytest.raises(StoreError) as caught:
        list(source(plugin(Importer, items=items)).items(Selection()))
    assert says in str(caught.value)
    assert "store safe" in str(caught.value)
    assert f"This is a bug in the importer's plugin, {__name__}.Importer" in str(caught.value)
    assert "canary" not in f"{caught.value!r} {caught.value.__context__!r}"


def outcomes(then):
    """Return a `write` that reports the first secret and then does something."""

    def write(plugin, secrets):
        for secret in secrets:
            yield MigrationOutcome(secret.path)
            yield then(plugin)

    return write


WRONG_OUTCOMES = {
    "exits": (exits, "it raised SystemExit"),
    "exits later": (outcomes(exits), "it raised SystemExit"),
    "nothing": (lambda *_: None, "write() returned NoneType, expected an iterator"),
    "a path": (outcomes(lambda _: "a/1"), "write() returned an item of type str, expected MigrationOutcome"),
    "no path": (
        outcomes(lambda _: MigrationOutcome(None)),
        "write() returned a MigrationOutcome with path of type NoneType",
    ),
    "an error": (
        outcomes(lambda _: MigrationOutcome("a/2", error=OSError("canary-6f1d"))),
        "a MigrationOutcome with error of type OSError",
    ),
    "a version": (
        lambda _, secrets: (MigrationOutcome(secret.path, version=1.5) for secret in secrets),
        "write() returned a MigrationOutcome with version of type float",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_OUTCOMES)
def test_an_exporter_cannot_break_a_migration(plugin, wrong):
    """The error names the exporter, its class and the type, and shows no value."""
    write, says = WRONG_OUTCOMES[wrong]
    failed = []
    try:
        written = target(plugin(Exporter, write=write)).write_many([("a/1", FIRST.data), ("a/2", FIRST.data)])
        for _, outcome in written:
            failed += [outcome] if isinstance(outcome, StoreError) else []
    except StoreError as error:
        failed.append(error)
    assert any(says in str(error) for error in failed)
    assert f"This is a bug in the exporter's plugin, {__name__}.Exporter" in str(failed[0])
    assert "canary" not in f"{failed!r}"


def test_an_exporter_that_hangs_leaves_the_outcome_open(plugin):
    """Whether the secret was written is unknown."""
    written = target(plugin(Exporter, write=outcomes(Plugin.forever))).write_many([("a/1", FIRST.data), ("a/2", {})])
    with time_limit(0.05), pytest.raises(WriteOutcomeUnknownError, match=r"store safe.*did not answer in time"):
        list(written)


def test_a_plugin_of_a_newer_protocol_is_refused(plugin):
    """By its name, as a store is."""
    newer = Traits(protocol=99)
    importer, exporter = plugin(Importer), plugin(Exporter)
    importer.traits = exporter.traits = newer
    with pytest.raises(PluginError, match=r"Importer safe: .* needs store protocol 99"):
        source(importer)
    with pytest.raises(PluginError, match=r"Exporter safe: .* needs store protocol 99"):
        target(exporter)


@pytest.fixture
def opened(monkeypatch, plugin):
    """Return a function that makes the importer `env` open with another function."""
    config = discovery.load(chain=["env"], environ={})

    def use(opener):
        monkeypatch.setattr("strongroom._plugins.ConfiguredPlugin.open", lambda _: opener())
        return config

    return use


def test_an_opener_that_hangs_or_exits_ends_a_migration(opened):
    """At its deadline, with an error that names it."""
    free = threading.Event()
    with time_limit(0.05), pytest.raises(StoreUnavailableError, match=r"store env.*in time"):
        Endpoints(opened(free.wait), None).source("env")
    free.set()
    with pytest.raises(StoreError, match=r"store env: it raised SystemExit\). This is a bug in the importer's plugin"):
        Endpoints(opened(exits), None).source("env")


@pytest.fixture
def stuck(plugin):
    """An importer whose `close` hangs."""

    def close():
        importer.forever()

    importer = plugin(Importer, items=lambda _: iter([FIRST]), close=close)
    return importer


def test_a_close_that_hangs_is_not_awaited(opened, stuck, caplog):
    """A warning names the importer."""
    with Endpoints(opened(lambda: stuck), None) as endpoints:
        endpoints.source("env")
    assert "Closing importer env failed: StoreUnavailableError" in caplog.text


def test_the_command_line_reads_each_item_within_its_deadline(opened, plugin, monkeypatch):
    """A comparison reads the whole importer: the deadline is that of one step."""
    importer = plugin(Importer, items=after_one(Plugin.forever))
    config = opened(lambda: importer)
    with Endpoints(config, None) as endpoints, time_limit(0.05), pytest.raises(StoreUnavailableError, match="in time"):
        endpoints.source("env").listing(Selection())


class Recorder(MemoryStore):
    """A store that records how long each of its calls may take. MemoryStore alone never waits."""

    def __init__(self, traits):
        super().__init__()
        self.traits, self.limits = traits, {}

    def read(self, path):
        self.limits["read"] = remaining()
        return super().read(path)

    def walk(self, prefix):
        self.limits["walk"] = remaining()
        yield "a/1"
        self.limits["second step of walk"] = remaining()

    def write(self, path, data):
        self.limits["write"] = remaining()
        return super().write(path, data)


@pytest.mark.parametrize("traits", [Traits(), Traits(honors_deadline=True), Traits(local=True)])
def test_a_call_of_a_migration_may_take_the_configured_timeout(traits):
    """Each call and each step of a listing, whether Strongroom enforces the deadline or the store honors it."""
    store = Recorder(traits)
    with Endpoints(discovery.load(environ={"STRONGROOM_TIMEOUT": "1000s"}), {"safe": store}) as endpoints:
        target = endpoints.target("safe")
        target.write("a/1", {"key": "v"})
        assert list(target.walk()) == ["a/1"]
        assert target.read("a/1").data == {"key": "v"}
    assert store.limits.keys() == {"read", "walk", "second step of walk", "write"}
    assert all(900 < limit <= 1000 for limit in store.limits.values())
