"""Test support: contracts for stores, importers, exporters and rotators, and `override` for the tests of applications.

Each name is imported at its first use, so that `override` works without pytest and costs nothing until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.testing.cases import CANARY, CASES, NON_TEXT_CASES, Case
    from strongroom.testing.faulty_services import DroppingProxy, dripping_server, dropping_proxy, silent_server
    from strongroom.testing.migration_contract import ExporterContract, ImporterContract
    from strongroom.testing.overrides import OverrideValue, SimulatedFailure, Slow, override
    from strongroom.testing.plugin_contract import PluginContract
    from strongroom.testing.rotator_contract import RotatorContract
    from strongroom.testing.store_contract.async_stores import AsyncStoreContract
    from strongroom.testing.store_contract.contract import StoreContract

__all__ = [
    "CANARY",
    "CASES",
    "NON_TEXT_CASES",
    "AsyncStoreContract",
    "Case",
    "DroppingProxy",
    "ExporterContract",
    "ImporterContract",
    "OverrideValue",
    "PluginContract",
    "RotatorContract",
    "SimulatedFailure",
    "Slow",
    "StoreContract",
    "dripping_server",
    "dropping_proxy",
    "override",
    "silent_server",
]

# No name here is also a module's name: importing the module would replace the name.
_NAMES = {
    "store_contract.async_stores": "AsyncStoreContract",
    "cases": "CANARY CASES NON_TEXT_CASES Case",
    "store_contract.contract": "StoreContract",
    "faulty_services": "DroppingProxy dripping_server dropping_proxy silent_server",
    "migration_contract": "ExporterContract ImporterContract",
    "overrides": "OverrideValue SimulatedFailure Slow override",
    "rotator_contract": "RotatorContract",
    "plugin_contract": "PluginContract",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.endswith("Contract"):
        try:
            import pytest
        except ModuleNotFoundError:
            message = f'{name} needs pytest, which is not installed: pip install "strongroom[testing]"'
            raise ModuleNotFoundError(message, name="pytest") from None
        parts = {module.partition(".")[0] for each, module in _MODULES.items() if each.endswith("Contract")}
        pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in parts))
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found
