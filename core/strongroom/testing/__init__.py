"""What tests need: the contracts for those who write a store, an importer or an exporter, `override` for applications.

Nothing here is imported before it is asked for: `override` works without pytest, and an application's test run that
needs neither pays for neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.testing.cases import CANARY, CASES, NON_TEXT_CASES, Case
    from strongroom.testing.contract import StoreContract
    from strongroom.testing.migration_contract import ExporterContract, ImporterContract
    from strongroom.testing.overrides import OverrideValue, SimulatedFailure, Slow, override
    from strongroom.testing.silent_service import silent_server

__all__ = [
    "CANARY",
    "CASES",
    "NON_TEXT_CASES",
    "Case",
    "ExporterContract",
    "ImporterContract",
    "OverrideValue",
    "SimulatedFailure",
    "Slow",
    "StoreContract",
    "override",
    "silent_server",
]

# No name here is a module's too: importing the module would put it in the place of the name.
_HOME = {
    "CANARY": "cases",
    "CASES": "cases",
    "NON_TEXT_CASES": "cases",
    "Case": "cases",
    "ExporterContract": "migration_contract",
    "SimulatedFailure": "overrides",
    "ImporterContract": "migration_contract",
    "OverrideValue": "overrides",
    "Slow": "overrides",
    "StoreContract": "contract",
    "override": "overrides",
    "silent_server": "silent_service",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.endswith("Contract"):
        try:
            import pytest
        except ModuleNotFoundError:
            needs = f'{name} needs pytest, which is not installed: pip install "strongroom[testing]"'
            raise ModuleNotFoundError(needs, name="pytest") from None
        parts = (
            "contract_base",
            "read_contract",
            "write_contract",
            "version_contract",
            "failure_contract",
            "migration_contract",
        )
        pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in parts))
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found
