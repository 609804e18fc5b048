"""The contract of versions and labels."""

from __future__ import annotations

import pytest

from strongroom.errors import SecretNotFoundError
from strongroom.store import VersionInfo
from strongroom.testing.store_contract.base import PATH, ContractBase, Opened, absent, holds, needs, secret_data

_VERSIONS = 12
"""More than ten: as text, version 10 comes before version 2."""
_TRIED = 12


class VersionContract(ContractBase):
    """Version history, undelete, destroy and labels."""

    @needs("versioned")
    def test_versions_are_kept_oldest_first(self, opened: Opened) -> None:
        """An overwritten version stays readable. `read` returns the newest."""
        guarded = opened({PATH: secret_data(own="0")})
        guarded.write(PATH, secret_data(own="1"))
        versions = guarded.versions(PATH)
        assert [guarded.read_version(PATH, info.version).data["own"] for info in versions] == ["0", "1"]
        assert guarded.read(PATH).version == versions[-1].version
        assert not any(info.deleted or info.destroyed for info in versions)
        assert all(info.created is None or info.created.tzinfo is not None for info in versions)

    @needs("writable")
    def test_newest_versions_are_those_of_reads(self, opened: Opened) -> None:
        """The optional `newest_versions` agrees with `read`, also for deleted and absent secrets."""
        paths = [f"contract/newest/{number}" for number in range(4)]
        guarded = opened()
        if "newest_versions" not in guarded.operations:
            pytest.skip("the store has no newest_versions")
        for path in paths:
            guarded.write(path, secret_data())
        guarded.write(paths[1], secret_data(own="1"))
        guarded.delete(paths[2])
        newest = dict(guarded.newest_versions([*paths, "contract/newest/absent", "contract/nowhere/absent"]))
        for path in (paths[0], paths[1], paths[3]):
            info, secret = newest[path], guarded.read(path)
            assert isinstance(info, VersionInfo)
            assert (info.version, info.created) == (secret.version, secret.created)
            assert not info.deleted
        deleted = newest[paths[2]]
        assert isinstance(deleted, SecretNotFoundError) or (isinstance(deleted, VersionInfo) and deleted.deleted)
        for path in ("contract/newest/absent", "contract/nowhere/absent"):
            assert isinstance(newest[path], SecretNotFoundError)

    @needs("versioned")
    def test_unknown_versions_are_not_found(self, opened: Opened) -> None:
        """A version that never existed, and every version of a path that never existed, are absences."""
        guarded = opened({PATH: secret_data()})
        version = guarded.versions(PATH)[0].version
        unknown = version + 1_000 if isinstance(version, int) else "0" * 32
        for operation in (guarded.read_version, guarded.undelete, guarded.destroy):
            for path, missing in ((PATH, unknown), ("contract/absent", unknown), ("contract/absent", version)):
                absent(operation, path, missing)
        absent(guarded.versions, "contract/absent")
        assert len(guarded.versions(PATH)) == 1

    @needs("versioned")
    def test_kept_versions_stay(self, opened: Opened) -> None:
        """As many versions stay as `kept_versions` returns, tested up to a dozen. An absent path has none."""
        guarded = opened({PATH: secret_data(own="0")})
        oldest, kept = guarded.read(PATH).version, guarded.kept_versions(PATH)
        assert oldest is not None
        for number in range(1, min(kept, _TRIED)):
            guarded.write(PATH, secret_data(own=str(number)))
        assert guarded.read_version(PATH, oldest).data["own"] == "0"
        absent(guarded.kept_versions, "contract/absent")

    @needs("versioned", unless="final_deletes")
    def test_deleted_version_can_be_undeleted(self, opened: Opened) -> None:
        """A secret whose newest version is deleted is absent until that version is undeleted."""
        guarded = opened({PATH: secret_data(own="0")})
        guarded.write(PATH, secret_data(own="1"))
        guarded.delete(PATH)
        newest = guarded.versions(PATH)[-1]
        assert newest.deleted
        absent(guarded.read, PATH)
        absent(guarded.read_version, PATH, newest.version)
        guarded.undelete(PATH, newest.version)
        holds(guarded, "1", newest.version)
        guarded.undelete(PATH, newest.version)
        holds(guarded, "1", newest.version)
        assert not any(info.deleted for info in guarded.versions(PATH))

    @needs("versioned", unless="final_deletes")
    def test_history_names_what_is_deleted(self, opened: Opened) -> None:
        """A deleted version stays in the history, and stays deleted when the secret is written again."""
        guarded = opened({PATH: secret_data(own="0")})
        guarded.delete(PATH)
        guarded.write(PATH, secret_data(own="1"))
        oldest, newest = guarded.versions(PATH)
        assert (oldest.deleted, newest.deleted) == (True, False)
        assert oldest.deleted_at is None or oldest.deleted_at.tzinfo is not None
        guarded.undelete(PATH, oldest.version)
        assert guarded.read_version(PATH, oldest.version).data["own"] == "0"
        holds(guarded, "1", newest.version)

    @needs("versioned")
    def test_destroyed_version_is_gone(self, opened: Opened) -> None:
        """A destroyed version cannot be read or undeleted, and the others do not change."""
        guarded = opened({PATH: secret_data(own="0")})
        guarded.write(PATH, secret_data(own="1"))
        oldest, newest = (info.version for info in guarded.versions(PATH))
        guarded.destroy(PATH, oldest)
        absent(guarded.read_version, PATH, oldest)
        assert all(info.destroyed for info in guarded.versions(PATH) if info.version == oldest)
        holds(guarded, "1", newest)
        guarded.destroy(PATH, oldest)
        absent(guarded.undelete, PATH, oldest)
        absent(guarded.read_version, PATH, oldest)
        assert not any(info.deleted for info in guarded.versions(PATH))

    @needs("versioned", unless="final_deletes")
    def test_destroyed_newest_version_leaves_nothing_to_read(self, opened: Opened) -> None:
        """A secret whose newest version is destroyed is absent, and no later version gets the same name."""
        guarded = opened({PATH: secret_data(own="0")})
        guarded.write(PATH, secret_data(own="1"))
        oldest, newest = (info.version for info in guarded.versions(PATH))
        guarded.delete(PATH)
        guarded.destroy(PATH, newest)
        absent(guarded.read, PATH)
        guarded.write(PATH, secret_data(own="2"))
        version = guarded.read(PATH).version
        assert version not in {oldest, newest}
        holds(guarded, "2", version)

    @needs("versioned")
    def test_twelve_versions_are_in_order(self, opened: Opened) -> None:
        """The history is oldest first, also past the tenth version, and each version has its own data."""
        guarded = opened({PATH: secret_data(own="0")})
        for number in range(1, _VERSIONS):
            guarded.write(PATH, secret_data(own=str(number)))
        kept = [info.version for info in guarded.versions(PATH) if not (info.deleted or info.destroyed)]
        assert len(set(kept)) == len(kept) >= min(_VERSIONS, guarded.kept_versions(PATH))
        numbers = [int(str(guarded.read_version(PATH, version).data["own"])) for version in kept]
        assert numbers == list(range(_VERSIONS - len(kept), _VERSIONS))
        holds(guarded, str(_VERSIONS - 1), kept[-1])

    @needs("versioned")
    def test_labels_are_replaced_and_nothing_else(self, opened: Opened) -> None:
        """A change of labels replaces all of them and makes no version. A write keeps them."""
        guarded = opened({PATH: secret_data(own="0")})
        version = guarded.read(PATH).version
        assert dict(guarded.read_metadata(PATH)) == {}
        guarded.write_metadata(PATH, {"owner": "billing", "tier": "1"})
        guarded.write_metadata(PATH, {"owner": "payments"})
        assert dict(guarded.read_metadata(PATH)) == {"owner": "payments"}
        holds(guarded, "0", version)
        guarded.write(PATH, secret_data(own="1"))
        assert dict(guarded.read_metadata(PATH)) == {"owner": "payments"}
        guarded.write_metadata(PATH, {})
        assert dict(guarded.read_metadata(PATH)) == {}

    @needs("versioned")
    def test_labels_come_with_the_secret_or_with_the_list(self, opened: Opened) -> None:
        """`read` or `walk_labels` returns the labels. `walk_labels` has the same paths as `walk`."""
        guarded = opened({PATH: secret_data(), "contract/other": secret_data()})
        guarded.write_metadata(PATH, {"owner": "billing"})
        listed = dict(guarded.walk_labels()) if "listable" in guarded.capabilities else {PATH: {}}
        assert "listable" not in guarded.capabilities or sorted(listed) == sorted(guarded.walk())
        assert {**guarded.read(PATH).metadata, **listed[PATH]}["owner"] == "billing"

    @needs("versioned", unless="final_deletes")
    def test_labels_belong_to_a_secret(self, opened: Opened) -> None:
        """Labels stay when the secret is deleted. A path that never had a secret has no labels and cannot get any."""
        guarded = opened({PATH: secret_data()})
        guarded.write_metadata(PATH, {"owner": "billing"})
        guarded.delete(PATH)
        assert dict(guarded.read_metadata(PATH)) == {"owner": "billing"}
        absent(guarded.read, PATH)
        absent(guarded.write_metadata, "contract/absent", {"owner": "nobody"})
        for operation in (guarded.read_metadata, guarded.versions, guarded.read):
            absent(operation, "contract/absent")

    @needs("final_deletes")
    def test_final_delete_takes_everything_along(self, opened: Opened) -> None:
        """A delete removes all versions and labels. Nothing can be undeleted, and the next write starts over."""
        guarded = opened({PATH: secret_data(own="0")})
        guarded.write(PATH, secret_data(own="1"))
        guarded.write_metadata(PATH, {"owner": "billing"})
        known = [info.version for info in guarded.versions(PATH)]
        guarded.undelete(PATH, known[-1])
        holds(guarded, "1", known[-1])
        guarded.delete(PATH)
        for path in (PATH, "contract/absent"):
            for read in (guarded.read, guarded.versions, guarded.read_metadata):
                absent(read, path)
            absent(guarded.write_metadata, path, {"owner": "nobody"})
            for version in known:
                for operation in (guarded.read_version, guarded.undelete, guarded.destroy):
                    absent(operation, path, version)
        guarded.write(PATH, secret_data(own="2"))
        [info] = guarded.versions(PATH)
        assert not info.deleted
        holds(guarded, "2", info.version)
        assert dict(guarded.read_metadata(PATH)) == {}
