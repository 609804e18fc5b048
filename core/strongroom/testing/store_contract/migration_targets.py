"""The contract of a migration's target: bulk writes with check-and-set, and the migration hints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from strongroom._boundary.guard import GuardedStore
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
from strongroom.testing.cases import CASES
from strongroom.testing.store_contract.base import PATH, ContractBase, Opened, fails, holds, needs, secret_data

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
        guarded = opened({PATH: secret_data(own="first"), "contract/changed": secret_data(own="first")})
        first, stale = guarded.read(PATH).version, guarded.read("contract/changed").version
        guarded.write("contract/changed", secret_data(own="second"))
        items = [
            (PATH, secret_data(own="second"), first),
            ("contract/changed", secret_data(own="third"), stale),
            ("contract/new", secret_data(own="first"), None),
            ("contract/absent", secret_data(own="second"), first),
        ]
        outcomes = list(guarded.write_many_if(items))
        assert sorted(path for path, _ in outcomes) == sorted(path for path, *_ in items)
        came = dict(outcomes)
        assert [type(came[path]) for path in ("contract/changed", "contract/absent")] == [ConflictError] * 2
        assert guarded.read("contract/changed").data["own"] == "second"
        with fails(SecretNotFoundError):
            guarded.read("contract/absent")
        for path, own in ((PATH, "second"), ("contract/new", "first")):
            read = guarded.read(path)
            assert (read.data["own"], read.version) == (own, came[path])

    @needs("writable")
    def test_vetting_writes_nothing_and_refuses_what_a_write_refuses(self, opened: Opened) -> None:
        """For every hard input. A write may refuse what `vet` accepts, and must refuse what `vet` refuses."""
        guarded = opened()
        _require_hint(guarded, "vet")
        vetted = [(case, _refusal(guarded.vet, case.path, case.data)) for case in CASES]
        refused = [(case, error) for case, error in vetted if error is not None]
        for case in CASES:
            with fails(SecretNotFoundError, InvalidPathError):
                guarded.read(case.path)
        for case, error in refused:
            with fails(error):
                guarded.write(case.path, case.data)

    @needs("versioned")
    def test_vetting_labels_writes_none_and_refuses_what_a_write_refuses(self, opened: Opened) -> None:
        """Also for labels that other services refuse."""
        guarded = opened({PATH: secret_data()})
        _require_hint(guarded, "vet_labels")
        guarded.vet_labels(PATH, {"owner": "billing"})
        refused = [labels for labels in _ODD_LABELS if _refusal(guarded.vet_labels, PATH, labels) is not None]
        assert dict(guarded.read_metadata(PATH)) == {}
        for labels in refused:
            with fails(InvalidDataError):
                guarded.write_metadata(PATH, labels)
        assert dict(guarded.read_metadata(PATH)) == {}

    @needs("writable")
    def test_secret_written_in_a_form_is_the_same_secret(self, opened: Opened) -> None:
        """The data is intact in its own form, without a form and in an unknown form. No form is kept as a label."""
        guarded = opened()
        if "write_formed" not in guarded.operations:
            with fails(UnsupportedOperationError):
                guarded.write_formed(PATH, secret_data(), {})
        _require_hint(guarded, "write_formed")
        guarded.write(PATH, {"value": secret_data()["password"]})
        form = _form(guarded.read(PATH).metadata)
        guarded.write_formed("contract/again", guarded.read(PATH).data, form)
        assert _form(guarded.read("contract/again").metadata) == form
        for own, form in (("1", {}), ("2", {"strongroom:form": "of another store"})):
            version = guarded.write_formed(PATH, secret_data(own=own), form)
            if version is not None:
                holds(guarded, own, version)
            assert same(guarded.read(PATH).data, secret_data(own=own))
            if "versioned" in self.capabilities:
                assert not _form(guarded.read_metadata(PATH))


def _require_hint(guarded: GuardedStore, hint: str) -> None:
    if hint not in guarded.operations:
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
