"""The contract of writing: whole replacement, siblings left alone, deletion, bulk writes, check-and-set."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom.errors import ConflictError, InvalidDataError, SecretNotFoundError, SecretTooLargeError, StoreError
from strongroom.secret import Version, same
from strongroom.testing.store_contract.base import (
    PATH,
    ContractBase,
    Opened,
    absent,
    examine,
    fails,
    holds,
    needs,
    secret_data,
)

_NEIGHBOURS = ("contract/apple", "contract/ap", "contract/other", "contract")

_LARGE = (1 << 17, 1 << 20)
"""Characters of values beyond the limits of many services and buffers, such as 64 KiB, 100,000 or 512 KiB."""


class WriteContract(ContractBase):
    """Writes, deletes and check-and-set."""

    @needs("writable")
    def test_write_replaces_the_whole_secret(self, opened: Opened) -> None:
        """A write replaces the whole secret: old keys are gone, and all new keys are there."""
        guarded = opened({PATH: secret_data(port="1", name="first")})
        version = guarded.write(PATH, secret_data(port="2", host="second"))
        read = guarded.read(PATH)
        assert same(read.data, secret_data(port="2", host="second"))
        assert version is None or read.version == version

    @needs("writable")
    def test_write_returns_the_version_that_a_read_shows(self, opened: Opened) -> None:
        """The undo of a migration knows by it that nobody else has written the secret since."""
        guarded = opened()
        for number in "12":
            version = guarded.write(PATH, secret_data(number=number))
            shown = guarded.read(PATH).version
            assert version == shown, (
                f"`write` returned {version!r}, and `read` shows the version {shown!r}: the undo of a migration"
                " takes such a secret for one that somebody else has changed, and leaves it as a conflict"
            )

    @needs("writable")
    def test_write_leaves_siblings_alone(self, opened: Opened) -> None:
        """Writing and deleting one secret changes no other secret beside or above it."""
        guarded = opened({path: secret_data(own=path) for path in (*_NEIGHBOURS, PATH)})
        guarded.write(PATH, secret_data(own="new"))
        assert [guarded.read(path).data["own"] for path in _NEIGHBOURS] == list(_NEIGHBOURS)
        guarded.delete(PATH)
        assert [guarded.read(path).data["own"] for path in _NEIGHBOURS] == list(_NEIGHBOURS)

    @needs("writable")
    def test_secret_above_others_is_a_secret_of_its_own(self, opened: Opened) -> None:
        """A secret and the secrets below it are independent, and both are listed."""
        guarded = opened({PATH: secret_data(own="above"), f"{PATH}/below": secret_data(own="below")})
        if "listable" in self.capabilities:
            assert sorted(guarded.list_entries("contract")) == ["app", "app/"]
        guarded.delete(PATH)
        assert guarded.read(f"{PATH}/below").data["own"] == "below"
        absent(guarded.read, PATH)

    @needs("writable")
    def test_write_copies(self, opened: Opened) -> None:
        """A caller that changes its data after a write does not change the store."""
        guarded = opened()
        inner: list[str] = ["one"]
        data = secret_data(port="1")
        guarded.write(PATH, data if "nested" in self.cannot_hold else {**data, "inner": inner})
        data.clear()
        inner.append("two")
        read = guarded.read(PATH).data
        assert read["port"] == "1"
        assert same(read.get("inner", ["one"]), ["one"])

    @needs("writable")
    @pytest.mark.parametrize("size", _LARGE)
    def test_large_value_survives_or_is_refused(self, opened: Opened, size: int) -> None:
        """A large value is returned whole, or is refused and leaves nothing behind. It is never cut."""
        guarded = opened()
        data = secret_data(password="x" * size + "end")
        refused = False
        try:
            guarded.write(PATH, data)
        except (InvalidDataError, SecretTooLargeError) as error:
            examine(error)
            refused = True
        if refused:
            absent(guarded.read, PATH)
        else:
            assert same(guarded.read(PATH).data, data), f"a value of {size:,} characters changed"

    @needs("writable")
    def test_delete_makes_absent(self, opened: Opened) -> None:
        """A deleted secret is a confirmed absence. It can be written again, without its old keys."""
        guarded = opened({PATH: secret_data(old="key")})
        guarded.delete(PATH)
        absent(guarded.read, PATH)
        guarded.write(PATH, secret_data())
        assert same(guarded.read(PATH).data, secret_data())

    @needs("writable")
    def test_deleting_what_is_absent_is_not_found(self, opened: Opened) -> None:
        """Deleting an absent secret, or deleting twice, is `SecretNotFoundError`."""
        guarded = opened({PATH: secret_data()})
        absent(guarded.delete, "contract/absent")
        guarded.delete(PATH)
        absent(guarded.delete, PATH)

    @needs("writable")
    def test_write_is_seen_at_once(self, opened: Opened) -> None:
        """The next read returns the new data, and every thread sees a whole secret."""
        guarded = opened({PATH: secret_data(turn="0", copy="0")})

        def read() -> bool:
            data = guarded.read(PATH).data
            return data["turn"] == data["copy"]

        with ThreadPoolExecutor(4) as pool:
            reads = []
            for turn in map(str, range(1, self.rounds + 1)):
                reads += [pool.submit(read) for _ in range(4)]
                guarded.write(PATH, secret_data(turn=turn, copy=turn))
                assert guarded.read(PATH).data["turn"] == turn
            assert all(future.result() for future in reads)

    @needs("writable")
    def test_many_writes_have_their_own_outcomes(self, opened: Opened) -> None:
        """A bulk write yields each path once with its version, and the store then holds all of them."""
        guarded = opened()
        items = {f"contract/{number:05}": secret_data(number=str(number)) for number in range(self.page_size + 1)}
        outcomes = list(guarded.write_many(items.items()))
        assert sorted(path for path, _ in outcomes) == sorted(items)
        for path, outcome in outcomes:
            assert not isinstance(outcome, StoreError)
            read = guarded.read(path)
            assert same(read.data, items[path])
            assert outcome is None or read.version == outcome

    @needs("writable")
    def test_many_deletes_have_their_own_outcomes(self, opened: Opened) -> None:
        """A bulk delete yields each path once: with None if it was deleted, with its own error if it was absent."""
        paths = [f"contract/{number:05}" for number in range(self.page_size + 1)]
        guarded = opened({path: secret_data(own=path) for path in (*paths, *_NEIGHBOURS)})
        outcomes = list(guarded.delete_many([*paths, "contract/absent"]))
        assert sorted(path for path, _ in outcomes) == [*paths, "contract/absent"]
        assert isinstance(dict(outcomes).pop("contract/absent"), SecretNotFoundError)
        assert [path for path, outcome in outcomes if outcome is not None] == ["contract/absent"]
        for path in paths:
            absent(guarded.read, path)
        assert [guarded.read(path).data["own"] for path in _NEIGHBOURS] == list(_NEIGHBOURS)

    # --- check-and-set ------------------------------------------------------------------------------------------------

    @needs("checked")
    def test_checked_write_expecting_none_creates(self, opened: Opened) -> None:
        """Expecting None creates an absent secret, but only once."""
        guarded = opened()
        version = guarded.write_if(PATH, secret_data(own="first"), None)
        assert version is not None
        with fails(ConflictError):
            guarded.write_if(PATH, secret_data(own="second"), None)
        holds(guarded, "first", version)

    @needs("checked")
    def test_checked_write_replaces_the_expected_version(self, opened: Opened) -> None:
        """Expecting the newest version replaces it whole. Expecting an older one is a conflict that writes nothing."""
        guarded = opened({PATH: secret_data(own="first", old="key")})
        first = guarded.read(PATH).version
        assert first is not None
        second = guarded.write_if(PATH, secret_data(own="second"), first)
        assert "old" not in guarded.read(PATH).data
        for stale in (first, None):
            with fails(ConflictError):
                guarded.write_if(PATH, secret_data(own="third"), stale)
        holds(guarded, "second", second)

    @needs("checked")
    def test_checked_write_expecting_a_version_of_nothing_is_a_conflict(self, opened: Opened) -> None:
        """Expecting a version of an absent secret is a conflict, and creates no secret."""
        guarded = opened({PATH: secret_data()})
        with fails(ConflictError):
            guarded.write_if("contract/absent", secret_data(), guarded.read(PATH).version)
        absent(guarded.read, "contract/absent")

    @needs("checked")
    def test_checked_write_after_a_delete_expects_none(self, opened: Opened) -> None:
        """After a delete, expecting None writes, and expecting an older version is a conflict."""
        guarded = opened({PATH: secret_data(own="first")})
        first = guarded.read(PATH).version
        guarded.write(PATH, secret_data(own="second"))
        guarded.delete(PATH)
        with fails(ConflictError):
            guarded.write_if(PATH, secret_data(own="third"), first)
        version = guarded.write_if(PATH, secret_data(own="fourth"), None)
        holds(guarded, "fourth", version)

    @needs("checked")
    def test_one_of_many_checked_writes_wins(self, opened: Opened) -> None:
        """Of eight writers that expect the same version, one writes and seven get a conflict."""
        guarded = opened({PATH: secret_data(own="first")})
        expected = guarded.read(PATH).version

        def attempt(writer: int) -> Version | None:
            try:
                return guarded.write_if(PATH, secret_data(own=str(writer)), expected)
            except ConflictError:
                return None

        with ThreadPoolExecutor(8) as pool:
            versions = list(pool.map(attempt, range(8)))
        winners = [writer for writer, version in enumerate(versions) if version is not None]
        assert len(winners) == 1
        holds(guarded, str(winners[0]), versions[winners[0]])
