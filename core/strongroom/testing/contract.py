"""The contract that every store keeps, as a class of tests."""

from __future__ import annotations

from strongroom.testing.failure_contract import Failing
from strongroom.testing.migration_target_contract import Target
from strongroom.testing.read_contract import Reading
from strongroom.testing.version_contract import History
from strongroom.testing.write_contract import Writing


class StoreContract(Reading, Writing, Target, History, Failing):
    """Checks each sentence of `strongroom.store` that says *must*.

    Subclass it in a test module, declare what your store can do, and give it a store::

        class TestMyStore(StoreContract):
            capabilities = {"listable", "writable"}
            cannot_hold = TYPED | {"nul"}

            @pytest.fixture
            def store(self, tmp_path):
                return open_my_store(root=tmp_path)

            @pytest.fixture
            def denied(self, ...): ...

            @pytest.fixture
            def unreachable(self): ...

    A store that Strongroom cannot write to overrides `holding` instead of `store`. Nothing is ever skipped: what is
    declared is tested, what is not declared must be refused, and what raises unexpectedly fails.
    """
