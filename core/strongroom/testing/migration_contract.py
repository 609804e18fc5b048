"""The contracts of importers and exporters, each as a class of tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import ClassVar, TypeAlias

import pytest

from strongroom.errors import StrongroomError
from strongroom.migrate.spi import Exporter, Failure, Importer, Outcome
from strongroom.paths import check_path
from strongroom.secret import Secret, Value, check_data, same
from strongroom.testing.cases import CANARY, CASES, Case
from strongroom.testing.contract_base import Contents, RedactedLogs, examine, secret_data

Importing: TypeAlias = Callable[[Contents], Importer]
Held: TypeAlias = Callable[[], Contents]

_SOME: Contents = {
    path: secret_data(own=path)
    for path in ("top", "contract", "contract/app", "contract/app/below", *(f"contract/{n:03}" for n in range(40)))
}


class _Declared(RedactedLogs):
    """What the two contracts have in common."""

    cannot_hold: ClassVar[AbstractSet[str]] = frozenset()
    """The names of the hard inputs (`strongroom.testing.cases.CASES`) that it cannot give or take. Others survive."""

    impossible: ClassVar[AbstractSet[str]] = frozenset()
    """The states that it is never in: "unreadable" and "partly_unreadable" of an importer, "unreachable" of an
    exporter."""

    _states: ClassVar[AbstractSet[str]] = frozenset()

    def test_declared_names_exist(self) -> None:
        """A misspelled declaration would declare nothing."""
        assert self.cannot_hold <= {case.name for case in CASES}
        assert self.impossible <= self._states

    def _state(self, request: pytest.FixtureRequest, name: str) -> object:
        """Return the fixture of a state. Skip the test if the state is declared impossible."""
        if name not in self.impossible:
            return request.getfixturevalue(name)
        own = type(self).__dict__.get(name)
        assert own is None, f"{name!r} is declared impossible, and {type(self).__name__} has a fixture for it"
        pytest.skip(f"{name!r} is declared impossible")


class ImporterContract(_Declared):
    """Checks each sentence of `strongroom.migrate.spi` about importers.

    Subclass it in a test module, and give it an importer of what a test wants to read::

        class TestMyImporter(ImporterContract):
            cannot_hold = NON_TEXT_CASES | {"nul"}

            @pytest.fixture
            def importing(self, tmp_path):
                def fill(contents): ...          # path -> data, written as the source has it
                return fill                      # returns the open importer

            @pytest.fixture
            def unreadable(self): ...            # a source that cannot be read as a whole

            @pytest.fixture
            def partly_unreadable(self): ...     # one that has two secrets, and cannot give the first of them
    """

    _states = frozenset({"unreadable", "partly_unreadable"})

    @pytest.fixture
    def importing(self) -> Importing:
        """A function that takes path -> data and returns an open importer whose source holds exactly that."""
        pytest.fail("override the fixture `importing`")

    @pytest.fixture
    def unreadable(self) -> Importer:
        """An open importer whose source is there and cannot be read."""
        pytest.fail("override the fixture `unreadable`, or declare `impossible = {'unreadable'}`")

    @pytest.fixture
    def partly_unreadable(self) -> Importer:
        """An open importer whose source has a secret that cannot be given, and after it one that can."""
        pytest.fail("override the fixture `partly_unreadable`, or declare `impossible = {'partly_unreadable'}`")

    def test_it_is_an_importer(self, importing: Importing) -> None:
        """It has the methods, and `items` begins to give before it has read everything."""
        importer = importing({"contract/app": secret_data()})
        assert isinstance(importer, Importer)
        items = importer.items()
        assert isinstance(items, Iterator), "items() must return an iterator, so that memory is bounded"
        assert len(list(items)) == 1
        importer.close()

    def test_every_secret_comes_once(self, importing: Importing) -> None:
        """With its path and all its keys, however the paths lie below one another."""
        importer = importing(_SOME)
        secrets = _secrets(list(importer.items()))
        assert len({secret.path for secret in secrets}) == len(secrets), "a path came twice"
        assert {secret.path for secret in secrets} == set(_SOME), "what came is not what is there"
        changed = [secret.path for secret in secrets if not same(secret.data, _SOME[secret.path])]
        assert not changed, f"{', '.join(changed)} came changed"
        assert CANARY not in repr(secrets)
        importer.close()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize with the hard inputs that the source can hold."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", [case for case in CASES if case.name not in self.cannot_hold], ids=str)

    def test_hard_input_survives(self, importing: Importing, case: Case) -> None:
        """A hard input is read exactly."""
        importer = importing({case.path: case.data})
        (secret,) = _secrets(list(importer.items()))
        check_data(check_path(secret.path), secret.data)
        assert secret.path == case.path
        assert secret.data.keys() == case.data.keys()
        changed = [key for key in case.data if not same(secret.data[key], case.data[key])]
        assert not changed, f"{case.name}: {', '.join(map(repr, changed))} came changed"
        importer.close()

    def test_it_gives_the_same_again(self, importing: Importing) -> None:
        """A migration reads its source when it is planned, and again when it is carried out."""
        importer = importing(_SOME)
        first, second = ({s.path: s.data for s in _secrets(list(importer.items()))} for _ in range(2))
        assert first.keys() == second.keys(), "the second time it gave other secrets than the first time"
        assert same(first, second)
        importer.close()

    def test_it_can_be_left_in_the_middle(self, importing: Importing) -> None:
        """Who stops after one item and begins anew gets all of them."""
        importer = importing(_SOME)
        next(importer.items())
        assert len(list(importer.items())) == len(_SOME)
        importer.close()

    def test_an_empty_source_gives_nothing(self, importing: Importing) -> None:
        """That is no error."""
        importer = importing({})
        assert list(importer.items()) == []
        importer.close()

    def test_closing_twice_is_harmless(self, importing: Importing) -> None:
        """Closing gives back what it holds, and once more nothing."""
        importer = importing({"contract/app": secret_data()})
        importer.close()
        importer.close()

    def test_a_source_that_cannot_be_read_is_an_error(self, request: pytest.FixtureRequest) -> None:
        """From the tree, and never a shorter list: a migration of nothing would look as if it were done."""
        importer = self._state(request, "unreadable")
        assert isinstance(importer, Importer)
        with pytest.raises(StrongroomError) as caught:
            list(importer.items())
        examine(caught.value)

    def test_an_item_that_cannot_be_given_ends_nothing(self, request: pytest.FixtureRequest) -> None:
        """It is a `Failure` that says what and why; the other items follow."""
        importer = self._state(request, "partly_unreadable")
        assert isinstance(importer, Importer)
        items = list(importer.items())
        failures = [item for item in items if isinstance(item, Failure)]
        assert failures, "nothing was said of what cannot be given"
        assert any(isinstance(item, Secret) for item in items), "what can be given did not come"
        for failure in failures:
            assert isinstance(failure.error, StrongroomError)
            assert failure.name
            assert str(failure.error)
            assert CANARY not in repr(failure)
            examine(failure.error)


class ExporterContract(_Declared):
    """Checks each sentence of `strongroom.migrate.spi` about exporters.

    Subclass it in a test module, and give it an exporter and a way to look at what its target holds::

        class TestMyExporter(ExporterContract):
            cannot_hold = NON_TEXT_CASES

            @pytest.fixture
            def exporter(self, tmp_path):
                return open_my_exporter(root=tmp_path)

            @pytest.fixture
            def held(self, tmp_path):
                return lambda: ...               # path -> data, as the target has it now

            @pytest.fixture
            def unreachable(self): ...           # an exporter whose target cannot be written
    """

    _states = frozenset({"unreachable"})

    @pytest.fixture
    def exporter(self) -> Exporter:
        """An open exporter of a target that is empty, and that the contract may write to."""
        pytest.fail("override the fixture `exporter`")

    @pytest.fixture
    def held(self) -> Held:
        """A function that gives path -> data as the target of `exporter` holds it now, read without the exporter."""
        pytest.fail("override the fixture `held`")

    @pytest.fixture
    def unreachable(self) -> Exporter:
        """An open exporter whose target cannot be written to: it is out, or full, or forbids it."""
        pytest.fail("override the fixture `unreachable`, or declare `impossible = {'unreachable'}`")

    def test_it_is_an_exporter(self, exporter: Exporter) -> None:
        """It has the methods, and says what comes of each secret as it goes."""
        assert isinstance(exporter, Exporter)
        outcomes = exporter.write(iter([Secret("contract/app", secret_data())]))
        assert isinstance(outcomes, Iterator), "write() must return an iterator, so that memory is bounded"
        assert [type(outcome) for outcome in outcomes] == [Outcome]

    def test_each_secret_has_one_outcome(self, exporter: Exporter, held: Held) -> None:
        """Under its own path; and the target then holds all of them, and nothing else."""
        outcomes = list(exporter.write(Secret(path, data) for path, data in _SOME.items()))
        assert sorted(outcome.path for outcome in outcomes) == sorted(_SOME), "not one outcome for each secret"
        assert [outcome.error for outcome in outcomes if outcome.error is not None] == []
        now = held()
        assert now.keys() == _SOME.keys()
        assert same(now, _SOME)

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_hard_input_survives_or_is_refused(self, exporter: Exporter, held: Held, case: Case) -> None:
        """A hard input is held exactly; one that the target cannot hold is refused, and leaves nothing behind."""
        (outcome,) = _written(exporter, {case.path: case.data})
        if case.name in self.cannot_hold:
            assert isinstance(outcome.error, StrongroomError), f"{case.name} is said to be written"
            examine(outcome.error)
            assert case.path not in held()
            return
        assert outcome.error is None
        now = held()[case.path]
        assert now.keys() == case.data.keys()
        changed = [key for key in case.data if not same(now[key], case.data[key])]
        assert not changed, f"{case.name}: {', '.join(map(repr, changed))} changed"

    def test_what_is_refused_ends_nothing(self, exporter: Exporter, held: Held) -> None:
        """The others are written all the same."""
        refused = [case for case in CASES if case.name in self.cannot_hold]
        secrets = {"contract/first": secret_data(), **{case.path: case.data for case in refused}}
        outcomes = _written(exporter, {**secrets, "contract/last": secret_data()})
        failed = {outcome.path for outcome in outcomes if outcome.error is not None}
        assert failed == {case.path for case in refused}
        assert {"contract/first", "contract/last"} <= held().keys()

    def test_a_secret_is_written_whole(self, exporter: Exporter, held: Held) -> None:
        """Its old keys are gone, and what stands beside, above and below it is left alone."""
        around = {path: secret_data(own=path) for path in ("contract/apple", "contract", "contract/app/below")}
        _written(exporter, {**around, "contract/app": secret_data(old="key")})
        _written(exporter, {"contract/app": secret_data(new="key")})
        assert same(held(), {**around, "contract/app": secret_data(new="key")})

    def test_what_is_said_to_be_written_is_held(self, exporter: Exporter, held: Held) -> None:
        """At the moment when it is said."""
        for outcome in exporter.write(Secret(path, data) for path, data in _SOME.items()):
            assert outcome.error is None
            assert same(held().get(outcome.path), _SOME[outcome.path]), f"{outcome.path} is not there yet"

    def test_writing_nothing_is_harmless(self, exporter: Exporter, held: Held) -> None:
        """There is no outcome then."""
        assert list(exporter.write(iter(()))) == []
        assert held() == {}

    def test_closing_twice_is_harmless(self, exporter: Exporter) -> None:
        """Closing gives back what it holds, and once more nothing."""
        exporter.close()
        exporter.close()

    def test_a_target_that_cannot_be_written_is_an_error(self, request: pytest.FixtureRequest) -> None:
        """Of each secret, or of the whole; and it is from the tree."""
        exporter = self._state(request, "unreachable")
        assert isinstance(exporter, Exporter)
        errors: Sequence[BaseException | None] = ()
        try:
            errors = [outcome.error for outcome in _written(exporter, {"a": secret_data(), "b": secret_data()})]
        except Exception as error:  # noqa: BLE001  # what it is is looked at below
            errors = [error]
        assert errors, "nothing was said of what was not written"
        for found in errors:
            assert isinstance(found, StrongroomError), f"{type(found).__name__} is not of strongroom.errors"
            examine(found)


def _secrets(items: Sequence[Secret | Failure]) -> list[Secret]:
    """The items, all of which are to be secrets."""
    failed = [item.name for item in items if not isinstance(item, Secret)]
    assert not failed, f"{', '.join(failed)} did not come"
    return [item for item in items if isinstance(item, Secret)]


def _written(exporter: Exporter, contents: Mapping[str, Mapping[str, Value]]) -> list[Outcome]:
    return list(exporter.write(Secret(path, data) for path, data in contents.items()))
