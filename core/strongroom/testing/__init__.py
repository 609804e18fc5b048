"""Test support: contracts for stores and other plugins, and `override` for the tests of applications.

Each name is imported at its first use, so that `override` works without pytest and costs nothing until it is used.
"""

from typing import TYPE_CHECKING

from strongroom._lazy_names import lazy_names

if TYPE_CHECKING:
    from strongroom.testing.cases import CANARY as CANARY
    from strongroom.testing.cases import CASES as CASES
    from strongroom.testing.cases import NON_TEXT_CASES as NON_TEXT_CASES
    from strongroom.testing.cases import Case as Case
    from strongroom.testing.faulty_services import DroppingProxy as DroppingProxy
    from strongroom.testing.faulty_services import FaultyService as FaultyService
    from strongroom.testing.faulty_services import dripping_server as dripping_server
    from strongroom.testing.faulty_services import dropping_proxy as dropping_proxy
    from strongroom.testing.faulty_services import silent_server as silent_server
    from strongroom.testing.migration_contract import ExporterContract as ExporterContract
    from strongroom.testing.migration_contract import ImporterContract as ImporterContract
    from strongroom.testing.overrides import OverrideValue as OverrideValue
    from strongroom.testing.overrides import SimulatedFailure as SimulatedFailure
    from strongroom.testing.overrides import Slow as Slow
    from strongroom.testing.overrides import override as override
    from strongroom.testing.overrides import use_clock as use_clock
    from strongroom.testing.plugin_contract import PluginContract as PluginContract
    from strongroom.testing.rotator_contract import RotatorContract as RotatorContract
    from strongroom.testing.service_contract import ServiceContract as ServiceContract
    from strongroom.testing.store_contract import StoreContract as StoreContract
else:
    # No name here is also a module's name: importing the module would replace the name.
    _import, __dir__, __all__ = lazy_names(
        __name__,
        {
            "strongroom.testing.cases": "CANARY CASES NON_TEXT_CASES Case",
            "strongroom.testing.faulty_services": (
                "DroppingProxy FaultyService dripping_server dropping_proxy silent_server"
            ),
            "strongroom.testing.migration_contract": "ExporterContract ImporterContract",
            "strongroom.testing.overrides": "OverrideValue SimulatedFailure Slow override use_clock",
            "strongroom.testing.plugin_contract": "PluginContract",
            "strongroom.testing.rotator_contract": "RotatorContract",
            "strongroom.testing.service_contract": "ServiceContract",
            "strongroom.testing.store_contract": "StoreContract",
        },
    )

    def __getattr__(name: str) -> object:
        if name.endswith("Contract") and name in __all__:
            try:
                import pytest
            except ModuleNotFoundError:
                message = f'{name} needs pytest, which is not installed: pip install "strongroom[testing]"'
                raise ModuleNotFoundError(message, name="pytest") from None
            parts = "store_contract", "service_contract", "migration_contract", "plugin_contract", "rotator_contract"
            pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in parts))
        return _import(name)
