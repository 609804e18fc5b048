"""Logins of a service's store: its credentials are exchanged for a token, which ends or is revoked."""

from __future__ import annotations

import pytest

from strongroom.errors import AuthenticationError, PermissionDeniedError
from strongroom.store import time_limit
from strongroom.testing.faulty_services import FaultyService, ServiceFault
from strongroom.testing.service_contract.base import PATIENCE, Opened, ServiceContractBase, holds, is_outage
from strongroom.testing.store_contract.base import PATH, fails, secret_data


class LoginContract(ServiceContractBase):
    """A login fails as a request does, and its errors and logs show no credential."""

    @pytest.mark.parametrize("fault", ["rejected", "denied"])
    def test_refused_login_is_a_denial(self, service: FaultyService, opened: Opened, fault: ServiceFault) -> None:
        """No fallback may answer. Neither the error nor a log shows the credentials, and a later call succeeds."""
        self._without_tokens(service, opened)
        guarded = opened()
        self.meet(service, fault, only="logins")
        with time_limit(PATIENCE), fails(AuthenticationError, PermissionDeniedError):
            guarded.read(PATH)
        _asked(service)
        service.heal()
        with time_limit(PATIENCE):
            holds(guarded, "old")

    @pytest.mark.parametrize("fault", ["failed", "odd", "misdirected", "lost", "silent"])
    def test_failed_login_is_an_outage(self, service: FaultyService, opened: Opened, fault: ServiceFault) -> None:
        """It is neither a denial nor an absence. A change was certainly not made, and a later call succeeds."""
        self._without_tokens(service, opened)
        guarded = opened()
        self.meet(service, fault, only="logins")
        is_outage(lambda: guarded.read(PATH), in_doubt=False)
        if "writable" in guarded.capabilities and fault != "silent":  # it would only wait once more
            is_outage(lambda: guarded.write(PATH, secret_data(own="new")), in_doubt=False)
        _asked(service)
        service.heal()
        with time_limit(PATIENCE):
            holds(guarded, "old")

    def test_login_that_fails_once_is_repeated(self, service: FaultyService, opened: Opened) -> None:
        """One bad reply does not count as an outage."""
        self._without_tokens(service, opened)
        guarded = opened()
        self.meet(service, "failed", only="logins", times=1)
        with time_limit(PATIENCE):
            holds(guarded, "old")

    def test_revoked_token_is_replaced(self, service: FaultyService, opened: Opened) -> None:
        """The service rejects the token that the store has: the store logs in again. A change is made, too."""
        guarded = opened({PATH: secret_data(own="old")})
        holds(guarded, "old")
        if not service.revoke_tokens():
            pytest.skip("the service has no login")
        with time_limit(PATIENCE):
            holds(guarded, "old")
        _asked(service)
        if "writable" in guarded.capabilities:
            service.revoke_tokens()
            with time_limit(PATIENCE):
                guarded.write(PATH, secret_data(own="new"))
                holds(guarded, "new")

    def _without_tokens(self, service: FaultyService, opened: Opened) -> None:
        """Let the service hold a secret and accept no token so far. Skip the test without a login."""
        opened({PATH: secret_data(own="old")})
        if not service.revoke_tokens():
            pytest.skip("the service has no login")


def _asked(service: FaultyService) -> None:
    assert service.logins, "the service did not call `next_fault` with `login=True`"
