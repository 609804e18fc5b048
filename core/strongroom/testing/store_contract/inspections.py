"""The inspection of `strongroom stores --check`, as a test of the contract: it needs no pytest itself."""

from __future__ import annotations

from strongroom.testing.inspection import Inspection, State
from strongroom.testing.store_contract.base import PATH, ContractBase, Opened, secret_data


class InspectionContract(ContractBase):
    """The part of the contract that an operator runs against a configured store."""

    def test_inspection_finds_no_fault(self, opened: Opened) -> None:
        """A store with a secret passes every check that writes nothing."""
        results = list(Inspection(opened({PATH: secret_data()}), [PATH], self.longest_test).results())
        faults = [f"{result.name}: {result.detail}" for result in results if result.state is State.FAILED]
        assert not faults, "; ".join(faults)
