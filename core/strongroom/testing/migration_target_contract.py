"""The contract of a migration's target: bulk writes with check-and-set, and the migration hints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    UnsupportedOperationError,
)
from strongroom.secret import same
from strongroom.store.guard import GuardedStore
from strongroom.testing.cases import CASES
from strongroom.testing.contract_base import PATH, ContractBase, Opened, fails, holds, needs, secret_data

_ODD_LABELS: tuple[Mapping[str, str], ...] = (
    {"n" * 600: "billing"},
    {"owner": "t" * 5_000},
    {"owner": ""},
    {"owner": "two\nlines"},
    {"owner": "<&> 🔑"},
    {f"label{number}": "one of many" for number in range(70)},
)
"""Labels that some services refuse."""


class MigrationTargetContract(ContractBase):
    """Bulk check-and-set, `vet`, `vet_labels` and `write_formed`."""

    @needs("checked")
    def test_many_checked_writes_have_their_own_outcomes(self, opened: Opened) -> None:
        """Each item is compared on its own: a conflict writes nothing, and the others are written."""
        front = opened({PATH: secret_data(own="first"), "contract/changed": secret_data(own="first")})
        first, stale = front.read(PATH).version, front.read("contract/changed").version
        front.write("contract/changed", secret_data(own="second"))
        items = [
            (PATH, secret_data(own="second"), first),
            ("contract/changed", secret_data(own="third"), stale),
            ("contract/new", secret_data(own="first"), None),
            ("contract/absent", secret_data(own="second"), first),
        ]
        outcomes = list(front.write_many_if(items))
        assert sorted(path for path, _ in outcomes) == sorted(path for path, *_ in items)
        came = dict(outcomes)
        assert [type(came[path]) for path in ("contract/changed", "contract/absent")] == [ConflictError] * 2
        assert front.read("contract/changed").data["own"] == "second"
        with fails(SecretNotFoundError):
            front.read("contract/absent")
        for path, own in ((PATH, "second"), ("contract/new", "first")):
            read = front.read(path)
            assert (read.data["own"], read.version) == (own, came[path])

    @needs("writable")
    def test_vetting_writes_nothing_and_refuses_what_a_write_refuses(self, opened: Opened) -> None:
        """For every hard input. A write may refuse what `vet` accepts, and must refuse what `vet` refuses."""
        front = opened()
        _require_hint(front, "vet")
        refused = [(case, error) for case in CASES if (error := _refusal(front.vet, case.path, case.data)) is not None]
        for case in CASES:
            with fails(SecretNotFoundError, InvalidPathError):
                front.read(case.path)
        for case, error in refused:
            with fails(error):
                front.write(case.path, case.data)

    @needs("versioned")
    def test_vetting_labels_writes_none_and_refuses_what_a_write_refuses(self, opened: Opened) -> None:
        """Also for labels that other services refuse."""
        front = opened({PATH: secret_data()})
        _require_hint(front, "vet_labels")
        front.vet_labels(PATH, {"owner": "billing"})
        refused = [labels for labels in _ODD_LABELS if _refusal(front.vet_labels, PATH, labels) is not None]
        assert dict(front.read_metadata(PATH)) == {}
        for labels in refused:
            with fails(InvalidDataError):
                front.write_metadata(PATH, labels)
        assert dict(front.read_metadata(PATH)) == {}

    @needs("writable")
    def test_secret_written_in_a_form_is_the_same_secret(self, opened: Opened) -> None:
        """The data is intact in its own form, without a form and in an unknown form. No form is kept as a label."""
        front = opened()
        if not front.formed:
            with fails(UnsupportedOperationError):
                front.write_formed(PATH, secret_data(), {})
        _require_hint(front, "write_formed")
        front.write(PATH, {"value": secret_data()["password"]})
        form = _form(front.read(PATH).metadata)
        front.write_formed("contract/again", front.read(PATH).data, form)
        assert _form(front.read("contract/again").metadata) == form
        for own, form in (("1", {}), ("2", {"strongroom:form": "of another store"})):
            version = front.write_formed(PATH, secret_data(own=own), form)
            if version is not None:
                holds(front, own, version)
            assert same(front.read(PATH).data, secret_data(own=own))
            if "versioned" in self.capabilities:
                assert not _form(front.read_metadata(PATH))


def _require_hint(front: GuardedStore, hint: str) -> None:
    if hint not in front.optional:
        pytest.skip(f"the store has no migration hint {hint!r}")


def _refusal(vet: Callable[..., None], *given: object) -> type[StoreError] | None:
    """Return the class of the error that `vet` raised, or None."""
    try:
        vet(*given)
    except (InvalidPathError, InvalidDataError, SecretTooLargeError, ConflictError) as error:
        return type(error)
    return None


def _form(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in labels.items() if name.startswith("strongroom:")}
