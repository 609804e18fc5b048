"""The contract of reading: exact values, confirmed absences, single keys, listing, bulk reads, health."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import InvalidDataError, InvalidPathError, SecretNotFoundError, SecretTooLargeError, StoreError
from strongroom.secret import Secret, same
from strongroom.store import SecretStore
from strongroom.store.protocols import CAPABILITIES
from strongroom.testing.cases import CASES, Case
from strongroom.testing.store_contract.base import (
    NAME,
    PATH,
    STATES,
    ContractBase,
    Holding,
    Opened,
    absent,
    fails,
    needs,
    refuses,
    secret_data,
    shows_value,
)

_MANY = 2_000
_FOREIGN = "contract/foreign"


class ReadContract(ContractBase):
    """Reads, lists and probes."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize with the capabilities that the store does not declare."""
        if "lacking" in metafunc.fixturenames:
            metafunc.parametrize("lacking", [name for name in CAPABILITIES if name not in self.capabilities])
        super().pytest_generate_tests(metafunc)

    def test_undeclared_capability_is_refused(self, opened: Opened, lacking: str) -> None:
        """Operations of a capability that the store lacks are refused. Its other tests are left out."""
        refuses(opened(), lacking)
        pytest.skip(f"the store does not declare {lacking!r}")

    def test_capabilities_are_the_declared_ones(self, opened: Opened) -> None:
        """The declared capabilities are exactly those that Strongroom detects."""
        assert opened().capabilities == self.capabilities

    def test_declared_names_exist(self) -> None:
        """A misspelled declaration is an error."""
        assert self.cannot_hold <= {case.name for case in CASES}
        assert self.impossible <= STATES

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_hard_input_survives_or_is_refused(self, opened: Opened, case: Case) -> None:
        """A hard input is returned intact. One that the store cannot hold is refused and leaves nothing behind."""
        if case.name not in self.cannot_hold:
            read = opened({case.path: case.data}).read(case.path)
            assert read.data.keys() == case.data.keys()
            changed = [key for key in case.data if not same(read.data[key], case.data[key])]
            assert not changed, f"{case.name}: {', '.join(map(repr, changed))} came back changed"
            return
        guarded = opened()
        if "writable" in self.capabilities:
            with fails(InvalidDataError, InvalidPathError, SecretTooLargeError):
                guarded.write(case.path, case.data)
        with fails(SecretNotFoundError, InvalidPathError):
            guarded.read(case.path)

    def test_secret_has_its_path(self, opened: Opened) -> None:
        """A secret has the requested path, all its keys, and a time with a time zone if it has a time."""
        secret = opened({PATH: secret_data(port="5432")}).read(PATH)
        assert secret.path == PATH
        assert set(secret.data) == {"user", "password", "port"}
        assert secret.created is None or secret.created.tzinfo is not None
        assert {type(part) for label in secret.metadata.items() for part in label} <= {str}
        assert not shows_value(repr(secret))

    def test_reads_are_independent(self, opened: Opened) -> None:
        """A caller that changes the data of a read does not change the store."""
        guarded = opened({PATH: secret_data()})
        data = guarded.read(PATH).data
        assert isinstance(data, dict)
        data.clear()
        assert set(guarded.read(PATH).data) == {"user", "password"}

    @pytest.mark.parametrize(
        "path", ["other", "contract", f"{PATH}/below", f"{PATH}lication", "contract/ap", "contract/APP"]
    )
    def test_absent_path_is_not_found(self, opened: Opened, path: str) -> None:
        """A path without a secret is a confirmed absence, however similar it is to an existing path.

        A store that cannot hold upper case may refuse the path.
        """
        guarded = opened({PATH: secret_data()})
        with nullcontext() if path.islower() else suppress(InvalidPathError):
            absent(guarded.read, path)
        assert set(guarded.read(PATH).data) == {"user", "password"}

    def test_store_itself_raises_the_class_of_an_absence(self, holding: Holding) -> None:
        """Without the guard, too, an absence is a `SecretNotFoundError`. The store's `repr` shows no credential."""
        store = holding({})
        try:
            assert not shows_value(repr(store)), "repr() of the store shows a credential"
            absent(store.read, PATH)
        finally:
            store.close()

    def test_closing_twice_is_harmless(self, holding: Holding) -> None:
        """A second `close` does nothing."""
        store = holding({PATH: secret_data()})
        store.close()
        store.close()

    def test_threads_get_their_own_answers(self, opened: Opened) -> None:
        """Eight threads read eight secrets at once, and each gets its own."""
        contents = {f"contract/thread-{number}": secret_data(number=str(number)) for number in range(8)}
        guarded = opened(contents)

        def read(path: str) -> list[bool]:
            return [guarded.read(path).data["number"] == contents[path]["number"] for _ in range(self.rounds)]

        with ThreadPoolExecutor(len(contents)) as pool:
            assert all(all(right) for right in pool.map(read, contents))

    # --- single keys --------------------------------------------------------------------------------------------------

    @needs("keyed")
    def test_single_key_agrees_with_the_whole(self, opened: Opened) -> None:
        """A single key has the same value as in the whole secret."""
        guarded = opened({PATH: secret_data(port="5432")})
        for key, value in guarded.read(PATH).data.items():
            assert same(guarded.read_key(PATH, key), value)

    @needs("keyed")
    def test_absent_single_key_has_a_reason(self, opened: Opened) -> None:
        """An absent key is a confirmed absence, and the reason names the variable or file that is missing."""
        guarded = opened({PATH: secret_data()})
        for path in (PATH, "contract/absent"):
            with fails(SecretNotFoundError) as caught:
                guarded.read_key(path, "absent")
            assert caught.value.reason

    # --- listing ------------------------------------------------------------------------------------------------------

    @needs("listable")
    def test_list_names_what_is_directly_below(self, opened: Opened) -> None:
        """A list has each name and folder directly below the prefix once. `walk` finds every secret."""
        contents = {
            path: secret_data()
            for path in ("top", "contract/one", "contract/two", "contract/sub/a", "contract/sub/b/c")
        }
        guarded = opened({**contents, "contractor": secret_data()})
        assert sorted(guarded.list_entries("")) == ["contract/", "contractor", "top"]
        assert sorted(guarded.list_entries("contract")) == ["one", "sub/", "two"]
        assert sorted(guarded.list_entries("contract/")) == ["one", "sub/", "two"]
        assert sorted(guarded.list_entries("contract/sub")) == ["a", "b/"]
        assert sorted(guarded.walk()) == sorted([*contents, "contractor"])

    @needs("listable")
    def test_walk_stays_below_its_folder(self, opened: Opened) -> None:
        """A path that only starts with the folder's name is not below it, for `walk` and for `walk_labels`."""
        below = ["contract/sub/a", "contract/sub/b/c"]
        guarded = opened(dict.fromkeys([*below, "contract/subway", "contract/sub-2/x", "contract/su"], secret_data()))
        assert sorted(guarded.walk("contract/sub")) == below
        assert sorted(path for path, _ in guarded.walk_labels("contract/sub")) == below

    @needs("listable")
    def test_nothing_below_lists_nothing(self, opened: Opened) -> None:
        """A prefix with nothing below it lists nothing, whether it is absent or a secret."""
        guarded = opened({PATH: secret_data()})
        assert list(guarded.list_entries(PATH)) == []
        assert list(guarded.list_entries("absent/folder")) == []
        assert list(guarded.list_entries("contract/ap")) == []
        assert list(guarded.walk(PATH)) == []
        assert list(guarded.walk("contract/ap")) == []

    @needs("listable")
    def test_empty_store_lists_nothing(self, opened: Opened) -> None:
        """An empty store lists nothing."""
        assert list(opened().list_entries("")) == []

    @needs("listable")
    @pytest.mark.parametrize("more", [0, 1])
    def test_list_is_complete_at_a_page_boundary(self, opened: Opened, more: int) -> None:
        """A folder that fills one page exactly, or has one more name, is listed whole."""
        names = {f"name-{number:05}" for number in range(self.page_size + more)}
        entries = list(opened({f"contract/{name}": {"key": "v"} for name in names}).list_entries("contract"))
        assert len(entries) == len(names)
        assert set(entries) == names

    @needs("listable")
    def test_large_folder_is_listed_whole(self, opened: Opened) -> None:
        """A folder with many names is complete, by `list_entries` and by `walk`."""
        names = {f"name-{number:05}" for number in range(self.many)}
        guarded = opened({f"contract/{name}": {"key": "v"} for name in names})
        entries = list(guarded.list_entries("contract"))
        assert len(entries) == len(names)
        assert set(entries) == names
        assert sorted(guarded.walk("contract")) == sorted(f"contract/{name}" for name in names)

    @needs("listable")
    def test_folders_that_differ_in_case_are_two(self, opened: Opened) -> None:
        """`App` and `app` are two folders with separate secrets, or the store refuses upper case."""
        try:
            guarded = opened({path: secret_data(own=path) for path in ("contract/App/one", "contract/app/two")})
        except InvalidPathError:
            pytest.skip("the store refuses upper case")
        assert sorted(guarded.list_entries("contract")) == ["App/", "app/"]
        assert list(guarded.list_entries("contract/App")) == ["one"]
        assert list(guarded.list_entries("contract/app")) == ["two"]
        for path in ("contract/app/one", "contract/App/two"):
            absent(guarded.read, path)

    def test_entry_of_another_program_is_an_error_of_its_own(self, foreign: SecretStore) -> None:
        """An entry that is no secret is never an absence, and leaves the secrets beside it alone."""
        guarded = GuardedStore(foreign, NAME)
        outcomes = dict(guarded.read_many([_FOREIGN, PATH]))
        assert isinstance(outcomes[_FOREIGN], StoreError)
        assert not isinstance(outcomes[_FOREIGN], SecretNotFoundError), "an entry of another program is not an absence"
        assert isinstance(outcomes[PATH], Secret)
        if "listable" in guarded.capabilities:
            assert PATH.rpartition("/")[2] in list(guarded.list_entries("contract"))

    # --- bulk, health -------------------------------------------------------------------------------------------------

    def test_many_reads_have_their_own_outcomes(self, opened: Opened) -> None:
        """A bulk read yields each path once, with its secret or its own error, also across a page boundary."""
        contents = {f"contract/{number:05}": {"key": str(number)} for number in range(self.page_size + 1)}
        outcomes = list(opened(contents).read_many([*contents, "contract/absent"]))
        found = {path: outcome.data["key"] for path, outcome in outcomes if isinstance(outcome, Secret)}
        errors = {path: type(outcome) for path, outcome in outcomes if isinstance(outcome, StoreError)}
        assert len(outcomes) == len(contents) + 1
        assert found == {path: data["key"] for path, data in contents.items()}
        assert errors == {"contract/absent": SecretNotFoundError}

    def test_many_reads_take_bounded_memory(self, opened: Opened) -> None:
        """The first result is yielded before the last path is requested."""
        asked = 0

        def paths() -> Iterator[str]:
            nonlocal asked
            for asked in range(1, _MANY + 1):
                yield f"contract/absent-{asked}"

        next(opened({PATH: secret_data()}).read_many(paths()))
        assert asked < _MANY

    def test_open_store_is_well(self, opened: Opened) -> None:
        """An open store is healthy, and its health shows no value."""
        health = opened({PATH: secret_data()}).probe()
        assert health.ok
        assert not shows_value(repr(health))
