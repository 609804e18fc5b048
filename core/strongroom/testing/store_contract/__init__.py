"""The contract of every store, from its parts."""

from __future__ import annotations

from strongroom.testing.store_contract.failures import FailureContract
from strongroom.testing.store_contract.migration_targets import MigrationTargetContract
from strongroom.testing.store_contract.reads import ReadContract
from strongroom.testing.store_contract.versions import VersionContract
from strongroom.testing.store_contract.writes import WriteContract


class StoreContract(ReadContract, WriteContract, MigrationTargetContract, VersionContract, FailureContract):
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
