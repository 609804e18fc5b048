"""The contracts of importers and exporters, each as a class of tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, closing
from typing import ClassVar, TypeAlias

import pytest

from strongroom.errors import StoreUnavailableError, StrongroomError
from strongroom.migrate.sources import check_item, check_outcome
from strongroom.migrate.spi import Exporter, Failure, Importer, MigrationOutcome
from strongroom.paths import check_path
from strongroom.secret import Secret, Value, check_data, same
from strongroom.store.protocols import traits_of
from strongroom.testing.cases import CASES, Case
from strongroom.testing.plugin_contract import check_import
from strongroom.testing.store_contract.base import (
    Contents,
    Supervised,
    examine,
    in_state,
    secret_data,
    shows_value,
)

Importing: TypeAlias = Callable[[Contents], Importer]
Held: TypeAlias = Callable[[], Contents]

_LARGE = 1 << 20
"""Characters of a value that many services refuse. It is written whole, or not at all."""

_ALIKE: Contents = {
    path: secret_data(own=path)
    for path in (
        "contract/app",
        "contract/App",
        "contract/app.json",
        "contract/a/pp",
        "contract-app",
        "contract_app",
        "contract%2Fapp",
        "contract/..app",
        "contract/app ",
        "contract/~",
    )
}
"""Paths that an escape which forgets a character would make one, or put outside."""

_MOST_AHEAD = 1_000
"""Secrets that an exporter may take before it yields an outcome: a source can have millions."""

_SOME: Contents = {
    path: secret_data(own=path)
    for path in ("top", "contract", "contract/app", "contract/app/below", *(f"contract/{n:03}" for n in range(40)))
}


class _Declared(Supervised):
    """Declarations that both contracts share."""

    cannot_hold: ClassVar[AbstractSet[str]] = frozenset()
    """Names of the hard inputs (`strongroom.testing.CASES`) that it cannot read or write. Others must survive."""

    impossible: ClassVar[AbstractSet[str]] = frozenset()
    """States that it is never in: "unreadable" and "partly_unreadable" of importers, "unreachable" of exporters."""

    _states: ClassVar[AbstractSet[str]] = frozenset()

    def test_declared_names_exist(self) -> None:
        """A misspelled declaration is an error."""
        assert self.cannot_hold <= {case.name for case in CASES}
        assert self.impossible <= self._states

    def _check_plugin(self, plugin: Importer | Exporter) -> None:
        """Assert that the plugin is for a known protocol, and that its module can be imported quickly and silently."""
        kind = type(plugin)
        traits = traits_of(plugin, kind.__name__)
        assert traits.protocol >= 1, f"{kind.__name__} is for protocol {traits.protocol}"
        if kind.__module__ != type(self).__module__:
            check_import(kind.__module__, self.longest_test, sys.path)

    def _check_end(self, plugin: Importer | Exporter) -> None:
        """Assert that `close` ends the connections and threads of a plugin. Close it twice."""
        plugin.close()
        plugin.close()
        self.check_ended()

    def _state(self, request: pytest.FixtureRequest, name: str) -> object:
        """Return the fixture of a state, see `in_state`. A state that is declared impossible has none."""
        if name in self.impossible:
            own = type(self).__dict__.get(name)
            assert own is None, f"{name!r} is declared impossible, and {type(self).__name__} has a fixture for it"
        return in_state(request, name, self.impossible)


class ImporterContract(_Declared):
    """Check each sentence of `strongroom.migrate.spi` about importers.

    Subclass it in a test module, and return an importer of given contents::

        class TestMyImporter(ImporterContract):
            cannot_hold = NON_TEXT_CASES | {"nul"}

            @pytest.fixture
            def importing(self, tmp_path):
                def fill(contents): ...          # path -> data, written in the source's format
                return fill                      # returns the open importer

            @pytest.fixture
            def unreadable(self): ...            # a source that cannot be read as a whole

            @pytest.fixture
            def partly_unreadable(self): ...     # a source whose first of two secrets cannot be read

            @pytest.fixture
            def misnamed(self): ...              # optional: a source with an invalid name, such as ../app
    """

    _states = frozenset({"unreadable", "partly_unreadable"})

    @pytest.fixture
    def importing(self) -> Importing:
        """Return a function that takes path -> data and returns an open importer of exactly these contents."""
        pytest.fail("override the fixture `importing`")

    @pytest.fixture
    def unreadable(self) -> Importer:
        """Return an open importer whose source exists but cannot be read."""
        pytest.fail("override the fixture `unreadable`, or declare `impossible = {'unreadable'}`")

    @pytest.fixture
    def partly_unreadable(self) -> Importer:
        """Return an open importer whose source has a secret that cannot be read, followed by one that can."""
        pytest.fail("override the fixture `partly_unreadable`, or declare `impossible = {'partly_unreadable'}`")

    @pytest.fixture
    def misnamed(self) -> Importer:
        """Return an open importer whose source has an entry with an invalid name, followed by a good one.

        Such names are `../app`, `/app`, `a//b`, and one with a line break. Optional.
        """
        pytest.skip("the fixture `misnamed` is not overridden")

    @pytest.fixture
    def imported(self, importing: Importing) -> Iterator[Importing]:
        """Return `importing`, which closes its importers after the test."""
        with ExitStack() as stack:
            yield lambda contents: stack.enter_context(closing(importing(contents)))

    def test_import_and_protocol(self, imported: Importing) -> None:
        """Its module is imported quickly and silently, and its traits, if it has any, name a protocol that exists."""
        importer = imported({})
        self._check_plugin(importer)

    def test_it_is_an_importer(self, imported: Importing) -> None:
        """It has the methods, and `items` returns an iterator."""
        importer = imported({"contract/app": secret_data()})
        assert isinstance(importer, Importer)
        items = importer.items()
        assert isinstance(items, Iterator), "items() must return an iterator, so that memory is bounded"
        assert len(list(items)) == 1

    def test_every_secret_comes_once(self, imported: Importing) -> None:
        """Each secret has its path and all its keys, also if some paths are below others."""
        importer = imported(_SOME)
        secrets = _secrets(list(importer.items()))
        assert len({secret.path for secret in secrets}) == len(secrets), "a path was yielded twice"
        assert {secret.path for secret in secrets} == set(_SOME), "the paths differ from those of the source"
        changed = [secret.path for secret in secrets if not same(secret.data, _SOME[secret.path])]
        assert not changed, f"{', '.join(changed)} changed"
        assert not shows_value(repr(secrets))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize with the hard inputs that the source can hold."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", [case for case in CASES if case.name not in self.cannot_hold], ids=str)

    def test_hard_input_survives(self, imported: Importing, case: Case) -> None:
        """A hard input is read exactly."""
        importer = imported({case.path: case.data})
        (secret,) = _secrets(list(importer.items()))
        check_data(check_path(secret.path), secret.data)
        assert secret.path == case.path
        assert secret.data.keys() == case.data.keys()
        changed = [key for key in case.data if not same(secret.data[key], case.data[key])]
        assert not changed, f"{case.name}: {', '.join(map(repr, changed))} changed"

    def test_it_gives_the_same_again(self, imported: Importing) -> None:
        """A migration reads its source for the plan and again for the run."""
        importer = imported(_SOME)
        first, second = ({s.path: s.data for s in _secrets(list(importer.items()))} for _ in range(2))
        assert first.keys() == second.keys(), "the second call yielded other secrets"
        assert same(first, second)

    def test_it_can_be_left_in_the_middle(self, imported: Importing) -> None:
        """A second call yields all items, also if the first one was left after one item."""
        importer = imported(_SOME)
        next(importer.items())
        assert len(list(importer.items())) == len(_SOME)

    def test_an_empty_source_gives_nothing(self, imported: Importing) -> None:
        """An empty source yields nothing and raises nothing."""
        importer = imported({})
        assert list(importer.items()) == []

    def test_items_have_the_declared_types(self, imported: Importing) -> None:
        """Each is a `Secret` with a valid path, exact values, labels of text, and a time with a time zone."""
        importer = imported(_SOME)
        for item in importer.items():
            check_item(item)

    def test_large_secret_survives_or_is_an_error(self, imported: Importing) -> None:
        """A value of 1 MiB is read exactly, or is a failure. It is never cut."""
        large = {"key": "x" * _LARGE, "own": "small"}
        importer = imported({"contract/large": large})
        try:
            (item,) = list(importer.items())
        except StrongroomError as error:
            examine(error)
        else:
            assert isinstance(item, Failure) or same(item.data, large), "a large value changed"

    def test_name_that_is_no_path_is_a_failure(self, misnamed: Importer) -> None:
        """It hides no other secret, and no secret has a path that Strongroom refuses."""
        items = list(misnamed.items())
        secrets = [item for item in items if isinstance(item, Secret)]
        for secret in secrets:
            check_item(secret)
        assert secrets, "the secret with a good name was not yielded"
        assert len(items) > len(secrets), "no failure was yielded for the invalid name"

    def test_close_ends_connections_and_threads(self, importing: Importing) -> None:
        """After `close`, also in the middle of the items, nothing is left. A second `close` does nothing."""
        self.note_resources()
        importer = importing(_SOME)
        next(importer.items())
        self._check_end(importer)

    def test_a_source_that_cannot_be_read_is_an_error(self, request: pytest.FixtureRequest) -> None:
        """It is a StrongroomError and never a shorter list: a migration of nothing would look complete."""
        importer = self._state(request, "unreadable")
        assert isinstance(importer, Importer)
        with pytest.raises(StrongroomError) as caught:
            list(importer.items())
        examine(caught.value)

    def test_an_item_that_cannot_be_given_ends_nothing(self, request: pytest.FixtureRequest) -> None:
        """It is a `Failure` with a name and an error. The other items follow."""
        importer = self._state(request, "partly_unreadable")
        assert isinstance(importer, Importer)
        items = list(importer.items())
        failures = [item for item in items if isinstance(item, Failure)]
        assert failures, "no failure was yielded for the secret that cannot be read"
        assert any(isinstance(item, Secret) for item in items), "the secret that can be read was not yielded"
        for failure in failures:
            assert isinstance(failure.error, StrongroomError)
            assert failure.name
            assert str(failure.error)
            assert not shows_value(repr(failure))
            examine(failure.error)


class ExporterContract(_Declared):
    """Check each sentence of `strongroom.migrate.spi` about exporters.

    Subclass it in a test module, and return an exporter and the contents of its target::

        class TestMyExporter(ExporterContract):
            cannot_hold = NON_TEXT_CASES

            @pytest.fixture
            def exporter(self, tmp_path):
                return open_my_exporter(root=tmp_path)

            @pytest.fixture
            def held(self, tmp_path):
                return lambda: ...               # path -> data: the present contents of the target

            @pytest.fixture
            def unreachable(self): ...           # an exporter whose target cannot be written
    """

    _states = frozenset({"unreachable"})

    @pytest.fixture
    def exporter(self) -> Exporter:
        """Return an open exporter of an empty target that the contract may write to."""
        pytest.fail("override the fixture `exporter`")

    @pytest.fixture
    def held(self) -> Held:
        """Return a function that reads path -> data from the target of `exporter`, without the exporter."""
        pytest.fail("override the fixture `held`")

    @pytest.fixture
    def unreachable(self) -> Exporter:
        """Return an open exporter whose target cannot be written: it is unavailable, full or denies access."""
        pytest.fail("override the fixture `unreachable`, or declare `impossible = {'unreachable'}`")

    def test_import_and_protocol(self, exporter: Exporter) -> None:
        """Its module is imported quickly and silently, and its traits, if it has any, name a protocol that exists."""
        self._check_plugin(exporter)

    def test_it_is_an_exporter(self, exporter: Exporter) -> None:
        """It has the methods, and `write` returns an iterator of outcomes."""
        assert isinstance(exporter, Exporter)
        outcomes = exporter.write(iter([Secret("contract/app", secret_data())]))
        assert isinstance(outcomes, Iterator), "write() must return an iterator, so that memory is bounded"
        assert [type(outcome) for outcome in outcomes] == [MigrationOutcome]

    def test_each_secret_has_one_outcome(self, exporter: Exporter, held: Held) -> None:
        """Each outcome has its secret's path, and the target then holds exactly these secrets."""
        outcomes = list(exporter.write(Secret(path, data) for path, data in _SOME.items()))
        assert sorted(outcome.path for outcome in outcomes) == sorted(_SOME), "not one outcome for each secret"
        assert [outcome.error for outcome in outcomes if outcome.error is not None] == []
        now = held()
        assert now.keys() == _SOME.keys()
        assert same(now, _SOME)

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_hard_input_survives_or_is_refused(self, exporter: Exporter, held: Held, case: Case) -> None:
        """A hard input is kept intact. One that the target cannot hold is refused and leaves nothing behind."""
        (outcome,) = _written(exporter, {case.path: case.data})
        if case.name in self.cannot_hold:
            assert isinstance(outcome.error, StrongroomError), f"{case.name} was reported as written"
            examine(outcome.error)
            assert case.path not in held()
            return
        assert outcome.error is None
        now = held()[case.path]
        assert now.keys() == case.data.keys()
        changed = [key for key in case.data if not same(now[key], case.data[key])]
        assert not changed, f"{case.name}: {', '.join(map(repr, changed))} changed"

    def test_what_is_refused_ends_nothing(self, exporter: Exporter, held: Held) -> None:
        """A refused secret does not stop the others."""
        refused = [case for case in CASES if case.name in self.cannot_hold]
        secrets = {"contract/first": secret_data(), **{case.path: case.data for case in refused}}
        outcomes = _written(exporter, {**secrets, "contract/last": secret_data()})
        failed = {outcome.path for outcome in outcomes if outcome.error is not None}
        assert failed == {case.path for case in refused}
        assert {"contract/first", "contract/last"} <= held().keys()

    def test_a_secret_is_written_whole(self, exporter: Exporter, held: Held) -> None:
        """Old keys are gone, and secrets beside, above and below do not change."""
        around = {path: secret_data(own=path) for path in ("contract/apple", "contract", "contract/app/below")}
        _written(exporter, {**around, "contract/app": secret_data(old="key")})
        _written(exporter, {"contract/app": secret_data(new="key")})
        assert same(held(), {**around, "contract/app": secret_data(new="key")})

    def test_written_secret_is_held(self, exporter: Exporter, held: Held) -> None:
        """The target holds a secret when its outcome is yielded."""
        for outcome in exporter.write(Secret(path, data) for path, data in _SOME.items()):
            assert outcome.error is None
            assert same(held().get(outcome.path), _SOME[outcome.path]), f"{outcome.path} is not there yet"

    def test_writing_nothing_is_harmless(self, exporter: Exporter, held: Held) -> None:
        """No secret, no outcome."""
        assert list(exporter.write(iter(()))) == []
        assert held() == {}

    def test_outcomes_have_the_declared_types(self, exporter: Exporter) -> None:
        """Each is a `MigrationOutcome` with a path of text, a version or None, and an error of `strongroom.errors`."""
        for outcome in exporter.write(Secret(path, data) for path, data in _SOME.items()):
            check_outcome(outcome)

    def test_paths_that_look_alike_are_different_secrets(self, exporter: Exporter, held: Held) -> None:
        """Each is held as it is, or refused: none overwrites another, and none is written elsewhere."""
        outcomes = {outcome.path: outcome.error for outcome in _written(exporter, _ALIKE)}
        now = held()
        assert now.keys() <= _ALIKE.keys(), "a secret was written under another path"
        for path, error in outcomes.items():
            assert (error is None) == (path in now), f"{path} was reported wrongly"
            assert error is not None or same(now[path], _ALIKE[path]), f"{path} was overwritten by another"

    def test_large_secret_survives_or_is_refused(self, exporter: Exporter, held: Held) -> None:
        """A value of 1 MiB is kept exactly, or refused and not written. It is never cut."""
        large = {"key": "x" * _LARGE, "own": "small"}
        (outcome,) = _written(exporter, {"contract/large": large})
        if outcome.error is None:
            assert same(held()["contract/large"], large), "a large value changed"
        else:
            examine(outcome.error)
            assert "contract/large" not in held()

    def test_secrets_are_written_one_after_another(self, exporter: Exporter) -> None:
        """The first outcome comes before the last secret is taken, so that memory is bounded."""
        taken = 0

        def secrets() -> Iterator[Secret]:
            nonlocal taken
            for taken in range(1, _MOST_AHEAD + 1):
                yield Secret(f"contract/{taken}", {"key": "v"})

        next(exporter.write(secrets()))
        assert taken < _MOST_AHEAD, f"{taken} secrets were taken before the first outcome"

    def test_error_of_the_source_is_passed_on(self, exporter: Exporter, held: Held) -> None:
        """A source that fails halfway is an error, not the end of the secrets. The secrets that were written stay."""

        def secrets() -> Iterator[Secret]:
            yield Secret("contract/first", secret_data())
            raise StoreUnavailableError("contract/second", "of the source", store="source")

        outcomes: list[MigrationOutcome] = []
        with pytest.raises(StoreUnavailableError, match="of the source"):
            outcomes.extend(exporter.write(secrets()))
        assert {outcome.path for outcome in outcomes} <= held().keys()

    def test_close_ends_connections_and_threads(self, request: pytest.FixtureRequest) -> None:
        """After `close` nothing is left. A second `close` does nothing."""
        exporter: Exporter = request.getfixturevalue("exporter")
        _written(exporter, {"contract/app": secret_data()})
        self._check_end(exporter)

    def test_a_target_that_cannot_be_written_is_an_error(self, request: pytest.FixtureRequest) -> None:
        """Each outcome has a StrongroomError, or `write` raises one."""
        exporter = self._state(request, "unreachable")
        assert isinstance(exporter, Exporter)
        errors: Sequence[BaseException | None] = ()
        try:
            errors = [outcome.error for outcome in _written(exporter, {"a": secret_data(), "b": secret_data()})]
        except Exception as error:  # noqa: BLE001  # its class is checked below
            errors = [error]
        assert errors, "no error was reported for secrets that were not written"
        for found in errors:
            assert isinstance(found, StrongroomError), f"{type(found).__name__} is not of strongroom.errors"
            examine(found)


def _secrets(items: Sequence[Secret | Failure]) -> list[Secret]:
    """Return the items. Assert that all of them are secrets."""
    failed = [item.name for item in items if not isinstance(item, Secret)]
    assert not failed, f"{', '.join(failed)} was not yielded"
    return [item for item in items if isinstance(item, Secret)]


def _written(exporter: Exporter, contents: Mapping[str, Mapping[str, Value]]) -> list[MigrationOutcome]:
    return list(exporter.write(Secret(path, data) for path, data in contents.items()))
