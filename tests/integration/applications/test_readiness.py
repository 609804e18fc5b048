"""Waiting for the required secrets at the start of an application."""

import asyncio

import pytest

from strongroom import PermissionDeniedError, SecretNotFoundError, StoreUnavailableError
from strongroom.errors import StoreError
from strongroom.integrations.readiness import await_ready, wait_ready


def _awaited(**options):
    asyncio.run(await_ready(**options))


@pytest.mark.parametrize("wait", [wait_ready, _awaited])
def test_an_application_waits_for_a_store_that_starts_later(application, store, recovering, wait):
    """Each variable is logged with its state, and no value."""
    messages = recovering()
    wait()
    assert "waiting for a required secret variable=PAYMENTS_KEY state=unavailable" in messages
    assert application.get_secret("api-keys/payments", "key") == "sk-4711"


@pytest.mark.parametrize("wait", [wait_ready, _awaited])
@pytest.mark.parametrize(
    ("fault", "error"),
    [(StoreUnavailableError, StoreUnavailableError), (PermissionDeniedError, PermissionDeniedError)],
)
def test_the_error_of_the_store_ends_the_wait(application, store, wait, fault, error):
    """Outage and denial stay different errors. A note names the other variables."""
    store.fault = fault()
    with pytest.raises(error) as raised:
        wait(timeout=0)
    assert raised.value.__notes__ == ["1 more did not resolve: APP_SECRET_KEY"]


@pytest.mark.usefixtures("application")
def test_an_absent_secret_is_named(store):
    store.delete("auth/app")
    with pytest.raises(SecretNotFoundError, match="auth/app"):
        wait_ready(timeout=0)


@pytest.mark.usefixtures("application")
def test_a_fault_that_no_wait_mends_is_raised_at_once(store):
    """An invalid reply of a plugin, for example, does not count as an outage."""
    store.fault = StoreError(reason="broken")
    with pytest.raises(StoreError, match="broken"):
        wait_ready(timeout=3600)


@pytest.mark.usefixtures("application")
def test_found_secrets_are_cached(store):
    """The first request of the application reads no store."""
    wait_ready()
    assert sorted(store.reads) == ["api-keys/payments", "auth/app"]
