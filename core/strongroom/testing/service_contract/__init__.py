"""The contract of a store that asks a service, from its parts."""

from __future__ import annotations

from strongroom.testing.service_contract.applications import ApplicationContract
from strongroom.testing.service_contract.faults import FaultContract
from strongroom.testing.service_contract.logins import LoginContract


class ServiceContract(FaultContract, LoginContract, ApplicationContract):
    """Check how a store calls its service, and what applications meet when the service fails.

    Subclass it in a test module beside `StoreContract`, and return the driver of a service without secrets::

        class TestMyService(ServiceContract):
            page_size = 50

            @pytest.fixture
            def service(self):
                with MyFake() as fake:
                    yield MyService(fake)        # a `FaultyService`

    The plugin must be installed: the tests open stores by `FaultyService.options`, as a configuration does.
    """
