"""The contract of every store. Separate from `contract_base`, which its parts import."""

from __future__ import annotations

from strongroom.testing.failure_contract import FailureContract
from strongroom.testing.inspection_contract import InspectionContract
from strongroom.testing.migration_target_contract import MigrationTargetContract
from strongroom.testing.read_contract import ReadContract
from strongroom.testing.version_contract import VersionContract
from strongroom.testing.write_contract import WriteContract


class StoreContract(
    ReadContract, WriteContract, MigrationTargetContract, VersionContract, FailureContract, InspectionContract
):
    """Check each sentence of `strongroom.store` that says *must*.

    Subclass it in a test module, declare the store's capabilities, and return a store::

        class TestMyStore(StoreContract):
            capabilities = {"listable", "writable"}
            cannot_hold = NON_TEXT_CASES | {"nul"}

            @pytest.fixture
            def store(self, tmp_path):
                return open_my_store(root=tmp_path)

            @pytest.fixture
            def denied(self, ...): ...

            @pytest.fixture
            def unreachable(self): ...

    A store that Strongroom cannot write to overrides `holding` instead of `store`. A capability, a migration hint or a
    state that the store does not have is one skipped test with its reason. For a capability, the contract checks first
    that its operations are refused.
    """
