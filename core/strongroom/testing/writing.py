"""The contract of writing: whole replacement, siblings left alone, deletion, check-and-set, versions, bulk writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from strongroom.errors import ConflictError, SecretNotFoundError, StoreError
from strongroom.front import Front
from strongroom.model import Version
from strongroom.testing.basis import PATH, Basis, Opened, fails, needs, secret_data
from strongroom.testing.cases import same

_NEIGHBOURS = ("contract/apple", "contract/ap", "contract/other", "contract")


class Writing(Basis):
    """Writes, deletes, compares and keeps versions."""

    @needs("writable")
    def test_write_replaces_the_whole_secret(self, opened: Opened) -> None:
        """After a write the secret is what was written: its old keys are gone, and none of the new ones is missing."""
        front = opened({PATH: secret_data(port="1", name="first")})
        version = front.write(PATH, secret_data(port="2", host="second"))
        read = front.read(PATH)
        assert same(read.data, secret_data(port="2", host="second"))
        assert version is None or read.version == version

    @needs("writable")
    def test_write_leaves_siblings_alone(self, opened: Opened) -> None:
        """Writing and deleting one secret changes none beside or above it."""
        front = opened({path: secret_data(own=path) for path in (*_NEIGHBOURS, PATH)})
        front.write(PATH, secret_data(own="new"))
        assert [front.read(path).data["own"] for path in _NEIGHBOURS] == list(_NEIGHBOURS)
        front.delete(PATH)
        assert [front.read(path).data["own"] for path in _NEIGHBOURS] == list(_NEIGHBOURS)

    @needs("writable")
    def test_secret_above_others_is_a_secret_of_its_own(self, opened: Opened) -> None:
        """A secret and the secrets below it do not touch one another, and both are listed."""
        front = opened({PATH: secret_data(own="above"), f"{PATH}/below": secret_data(own="below")})
        if "listable" in self.capabilities:
            assert sorted(front.list_entries("contract")) == ["app", "app/"]
        front.delete(PATH)
        assert front.read(f"{PATH}/below").data["own"] == "below"
        with fails(SecretNotFoundError):
            front.read(PATH)

    @needs("writable")
    def test_write_copies(self, opened: Opened) -> None:
        """What the caller does to its data after a write does not reach the store."""
        front = opened()
        inner: list[str] = ["one"]
        data = secret_data(port="1")
        front.write(PATH, data if "nested" in self.cannot_hold else {**data, "inner": inner})
        data.clear()
        inner.append("two")
        read = front.read(PATH).data
        assert read["port"] == "1"
        assert same(read.get("inner", ["one"]), ["one"])

    @needs("writable")
    def test_delete_makes_absent(self, opened: Opened) -> None:
        """A deleted secret is a confirmed absence, and can be written again, with none of its old keys."""
        front = opened({PATH: secret_data(old="key")})
        front.delete(PATH)
        with fails(SecretNotFoundError):
            front.read(PATH)
        front.write(PATH, secret_data())
        assert same(front.read(PATH).data, secret_data())

    @needs("writable")
    def test_deleting_what_is_absent_is_not_found(self, opened: Opened) -> None:
        """There is nothing to delete where nothing was written, and nothing twice."""
        front = opened({PATH: secret_data()})
        with fails(SecretNotFoundError):
            front.delete("contract/absent")
        front.delete(PATH)
        with fails(SecretNotFoundError):
            front.delete(PATH)

    @needs("writable")
    def test_write_is_seen_at_once(self, opened: Opened) -> None:
        """A write that returned is what the next read gives, and every thread sees a whole secret."""
        front = opened({PATH: secret_data(turn="0", copy="0")})

        def read() -> bool:
            data = front.read(PATH).data
            return data["turn"] == data["copy"]

        with ThreadPoolExecutor(4) as pool:
            reads = []
            for turn in map(str, range(1, 26)):
                reads += [pool.submit(read) for _ in range(4)]
                front.write(PATH, secret_data(turn=turn, copy=turn))
                assert front.read(PATH).data["turn"] == turn
            assert all(future.result() for future in reads)

    @needs("writable")
    def test_many_writes_have_their_own_outcomes(self, opened: Opened) -> None:
        """Each item of a bulk write comes once with its version, and the store then holds all of them."""
        front = opened()
        items = {f"contract/{number:05}": secret_data(number=str(number)) for number in range(self.page_size + 1)}
        outcomes = list(front.write_many(items.items()))
        assert sorted(path for path, _ in outcomes) == sorted(items)
        for path, outcome in outcomes:
            assert not isinstance(outcome, StoreError)
            read = front.read(path)
            assert same(read.data, items[path])
            assert outcome is None or read.version == outcome

    # --- check-and-set ------------------------------------------------------------------------------------------------

    @needs("checked")
    def test_checked_write_expecting_none_creates(self, opened: Opened) -> None:
        """Expecting none writes where there is none, and once only."""
        front = opened()
        version = front.write_if(PATH, secret_data(own="first"), None)
        assert version is not None
        with fails(ConflictError):
            front.write_if(PATH, secret_data(own="second"), None)
        _holds(front, "first", version)

    @needs("checked")
    def test_checked_write_replaces_the_expected_version(self, opened: Opened) -> None:
        """The newest version is replaced, whole; an older one is a conflict, and nothing is written."""
        front = opened({PATH: secret_data(own="first", old="key")})
        first = front.read(PATH).version
        assert first is not None
        second = front.write_if(PATH, secret_data(own="second"), first)
        assert "old" not in front.read(PATH).data
        for stale in (first, None):
            with fails(ConflictError):
                front.write_if(PATH, secret_data(own="third"), stale)
        _holds(front, "second", second)

    @needs("checked")
    def test_checked_write_expecting_a_version_of_nothing_is_a_conflict(self, opened: Opened) -> None:
        """Where there is no secret no version can be the newest, and none is made."""
        front = opened({PATH: secret_data()})
        with fails(ConflictError):
            front.write_if("contract/absent", secret_data(), front.read(PATH).version)
        with fails(SecretNotFoundError):
            front.read("contract/absent")

    @needs("checked")
    def test_checked_write_after_a_delete_expects_none(self, opened: Opened) -> None:
        """A deleted secret is none; a version that an older caller saw, before it was replaced, is a conflict."""
        front = opened({PATH: secret_data(own="first")})
        first = front.read(PATH).version
        front.write(PATH, secret_data(own="second"))
        front.delete(PATH)
        with fails(ConflictError):
            front.write_if(PATH, secret_data(own="third"), first)
        version = front.write_if(PATH, secret_data(own="fourth"), None)
        _holds(front, "fourth", version)

    @needs("checked")
    def test_one_of_many_checked_writes_wins(self, opened: Opened) -> None:
        """Eight writers expect the same version: one writes it, seven are told of the conflict."""
        front = opened({PATH: secret_data(own="first")})
        expected = front.read(PATH).version

        def attempt(writer: int) -> Version | None:
            try:
                return front.write_if(PATH, secret_data(own=str(writer)), expected)
            except ConflictError:
                return None

        with ThreadPoolExecutor(8) as pool:
            versions = list(pool.map(attempt, range(8)))
        winners = [writer for writer, version in enumerate(versions) if version is not None]
        assert len(winners) == 1
        _holds(front, str(winners[0]), versions[winners[0]])

    # --- versions -----------------------------------------------------------------------------------------------------

    @needs("versioned")
    def test_versions_are_kept_oldest_first(self, opened: Opened) -> None:
        """What was overwritten stays readable under its version; `read` gives the newest."""
        front = opened({PATH: secret_data(own="0")})
        front.write(PATH, secret_data(own="1"))
        versions = front.versions(PATH)
        assert [front.read_version(PATH, info.version).data["own"] for info in versions] == ["0", "1"]
        assert front.read(PATH).version == versions[-1].version
        assert not any(info.deleted or info.destroyed for info in versions)
        assert all(info.created is None or info.created.tzinfo is not None for info in versions)

    @needs("versioned")
    def test_unknown_versions_are_not_found(self, opened: Opened) -> None:
        """A version that was never there, and every version of a path that was never there, are absences."""
        front = opened({PATH: secret_data()})
        version = front.read(PATH).version
        unknown = version + 1_000 if isinstance(version, int) else "0" * 32
        with fails(SecretNotFoundError):
            front.read_version(PATH, unknown)
        with fails(SecretNotFoundError):
            front.read_version("contract/absent", unknown)
        with fails(SecretNotFoundError):
            front.versions("contract/absent")

    @needs("versioned")
    def test_deleted_version_can_be_undeleted(self, opened: Opened) -> None:
        """A deleted newest version is an absence, and no older one takes its place, until it is undeleted."""
        front = opened({PATH: secret_data(own="0")})
        front.write(PATH, secret_data(own="1"))
        front.delete(PATH)
        newest = front.versions(PATH)[-1]
        assert newest.deleted
        with fails(SecretNotFoundError):
            front.read(PATH)
        with fails(SecretNotFoundError):
            front.read_version(PATH, newest.version)
        front.undelete(PATH, newest.version)
        _holds(front, "1", newest.version)

    @needs("versioned")
    def test_destroyed_version_is_gone(self, opened: Opened) -> None:
        """A destroyed version cannot be read, and the others are as they were."""
        front = opened({PATH: secret_data(own="0")})
        front.write(PATH, secret_data(own="1"))
        oldest, newest = (info.version for info in front.versions(PATH))
        front.destroy(PATH, oldest)
        with fails(SecretNotFoundError):
            front.read_version(PATH, oldest)
        assert all(info.destroyed for info in front.versions(PATH) if info.version == oldest)
        _holds(front, "1", newest)

    @needs("versioned")
    def test_labels_are_replaced_and_nothing_else(self, opened: Opened) -> None:
        """Labels are replaced whole, make no new version, and stay with the secret when it is written."""
        front = opened({PATH: secret_data(own="0")})
        version = front.read(PATH).version
        assert dict(front.read_metadata(PATH)) == {}
        front.write_metadata(PATH, {"owner": "billing", "tier": "1"})
        front.write_metadata(PATH, {"owner": "payments"})
        assert dict(front.read_metadata(PATH)) == {"owner": "payments"}
        _holds(front, "0", version)
        front.write(PATH, secret_data(own="1"))
        assert dict(front.read_metadata(PATH)) == {"owner": "payments"}


def _holds(front: Front, own: str, version: Version | None) -> None:
    """The secret is the one that says `own`, whole, under that version."""
    read = front.read(PATH)
    assert same(read.data, secret_data(own=own))
    assert read.version == version
