"""A running application while its server is killed, stopped, restarted, or out of bounds."""

import logging
import time
from concurrent.futures import wait

import pytest

from strongroom import SecretsManager
from strongroom._chain.connection import FIRST_PROBE
from strongroom._manager.manager import parts_of
from strongroom.errors import Answer, PermissionDeniedError, SecretNotFoundError, StoreUnavailableError
from strongroom_vault import VaultConnectionError
from support.clock import LONG, SOON, Clock

READ, NOT_READ = ("api-keys/openai", "key"), ("api-keys/anthropic", "key")


@pytest.fixture
def server(own_openbao, monkeypatch):
    """A server to kill or pause, with two secrets, one of which the environment has too."""
    return prepared(own_openbao, monkeypatch)


@pytest.fixture
def running_server(fresh_openbao, monkeypatch):
    """The same for tests that leave it running."""
    return prepared(fresh_openbao, monkeypatch)


def prepared(server, monkeypatch):
    server.put("api-keys/openai", {"key": "from-vault"})
    server.put("api-keys/anthropic", {"key": "from-vault"})
    monkeypatch.setenv("ANTHROPIC_API_KEY", "from-the-environment")
    return server


@pytest.fixture
def secrets(server):
    """The application's manager, which has read one of the two."""
    with SecretsManager(vault_url=server.url, vault_token=server.token) as manager:
        assert manager.get_secret(*READ) == "from-vault"
        yield manager


@pytest.fixture
def clock(secrets):
    return Clock.of(secrets)


def limit(secrets, seconds):
    """Set how long the server may take for an answer. The limits of all other tests are those of a busy machine."""
    parts_of(secrets).chain.links[0].connection.timeout = seconds


def answers(resolution):
    return [(attempt.store, attempt.answer) for attempt in resolution.attempts]


# --- killed -----------------------------------------------------------------------------------------------------------


def test_what_was_read_stays_served_and_is_marked_stale_when_its_time_is_up(server, secrets, clock):
    server.kill()
    cached = secrets.resolve(*READ)
    assert (cached.value, cached.cached, cached.stale) == ("from-vault", True, False)
    clock.move(301)
    stale = secrets.resolve(*READ)
    assert (stale.value, stale.store, stale.cached, stale.stale) == ("from-vault", "vault", True, True)
    assert stale.age > 300


def test_what_was_read_is_not_served_for_longer_than_max_stale(server, secrets, clock):
    """An hour past its time it is no answer any more, and nobody else has the key: an outage, and not an absence."""
    server.kill()
    clock.move(300 + 3600 + 1)
    with pytest.raises(StoreUnavailableError) as raised:
        secrets.get_secret(*READ)
    assert not isinstance(raised.value, SecretNotFoundError)
    assert [(attempt.store, attempt.answer) for attempt in raised.value.attempts][:2] == [
        ("vault", Answer.UNAVAILABLE),
        ("env", Answer.NOT_FOUND),
    ]


def test_what_was_not_read_falls_back_and_says_so_once(server, secrets, caplog):
    server.kill()
    with caplog.at_level(logging.WARNING, "strongroom.secrets_manager"):
        for _ in range(20):
            assert secrets.get_secret(*NOT_READ) == "from-the-environment"
    assert len(caplog.records) == 1
    assert "vault" in caplog.text
    assert "unavailable" in caplog.text
    assert answers(secrets.resolve(*NOT_READ)) == [("vault", Answer.UNAVAILABLE), ("env", Answer.FOUND)]


def test_fifty_reads_in_the_outage_do_not_wait_for_it(server, secrets, clock):
    """Half of them are of what is stale by now, half of what falls back."""
    server.kill()
    clock.move(301)
    started = time.monotonic()
    for _ in range(25):
        assert secrets.get_secret(*READ) == "from-vault"
        assert secrets.get_secret(*NOT_READ) == "from-the-environment"
    assert time.monotonic() - started < SOON


def test_when_the_server_is_back_the_chain_uses_it_within_the_probe_interval(server, secrets, caplog):
    """In real time, and with the secret changed meanwhile: what comes is new, and not what was cached."""
    server.kill()
    assert secrets.get_secret(*NOT_READ) == "from-the-environment"
    server.restart()
    server.put("api-keys/anthropic", {"key": "from-vault-again"})
    back = time.monotonic()
    with caplog.at_level(logging.INFO, "strongroom.secrets_manager"):
        while secrets.get_secret(*NOT_READ) != "from-vault-again":
            assert time.monotonic() - back < FIRST_PROBE + SOON
    assert "available again" in caplog.text


def test_a_stale_secret_is_read_again_when_the_server_is_back(server, secrets, clock):
    """The read after the probe's time is not kept waiting: the probe runs in the background."""
    server.kill()
    clock.move(301)
    assert secrets.resolve(*READ).stale
    server.restart()
    server.put("api-keys/openai", {"key": "rotated-meanwhile"})
    clock.move(FIRST_PROBE)
    secrets.resolve(*READ)  # stale, unless the probe answers at once
    assert wait([parts_of(secrets).chain.links[0].last_probe], LONG).done
    resolution = secrets.resolve(*READ)
    assert (resolution.value, resolution.cached, resolution.stale) == ("rotated-meanwhile", True, False)


def test_the_fallback_does_not_outlive_the_outage(server, secrets, clock):
    """What the environment answered is remembered nowhere."""
    server.kill()
    assert secrets.get_secret(*NOT_READ) == "from-the-environment"
    server.restart()
    server.put("api-keys/anthropic", {"key": "from-vault"})
    clock.move(FIRST_PROBE)
    assert secrets.get_secret(*NOT_READ) == "from-vault"


def test_a_write_in_the_outage_fails_and_is_not_taken_by_another_store(server, secrets):
    server.kill()
    with pytest.raises(VaultConnectionError):
        secrets.set_secret("api-keys/openai", {"key": "lost"})


def test_without_the_fallback_the_outage_is_an_error(server):
    with SecretsManager(vault_url=server.url, vault_token=server.token, enable_fallback=False) as secrets:
        server.kill()
        with pytest.raises(VaultConnectionError, match=r"^Cannot connect to Vault") as raised:
            secrets.get_secret(*NOT_READ)
    assert "from-the-environment" not in str(raised.value)
    assert server.token not in str(raised.value)


def test_an_application_that_starts_in_the_outage_falls_back(server):
    """It has never opened a connection."""
    server.kill()
    with SecretsManager(vault_url=server.url, vault_token=server.token) as secrets:
        assert secrets.get_secret(*NOT_READ) == "from-the-environment"


# --- stopped ----------------------------------------------------------------------------------------------------------


def test_a_server_that_hangs_leaves_time_for_the_fallback_and_is_waited_for_once(server, secrets):
    """SIGSTOP: connections are accepted, and nothing answers."""
    limit(secrets, 0.5)
    server.pause()
    started = time.monotonic()
    assert secrets.get_secret(*NOT_READ) == "from-the-environment"
    first = time.monotonic()
    for _ in range(20):
        assert secrets.get_secret(*NOT_READ) == "from-the-environment"
    assert first - started < SOON
    assert time.monotonic() - first < SOON


def test_an_application_that_starts_beside_a_server_that_hangs_falls_back_as_soon(server):
    """Opening the store talks to the server, and has no time of its own."""
    server.pause()
    chain = [{"store": "vault", "timeout": 0.5}, "env"]
    with SecretsManager(vault_url=server.url, vault_token=server.token, chain=chain) as secrets:
        started = time.monotonic()
        assert secrets.get_secret(*NOT_READ) == "from-the-environment"
        assert time.monotonic() - started < SOON


def test_a_server_that_goes_on_is_used_again(server):
    with SecretsManager(vault_url=server.url, vault_token=server.token) as secrets:
        assert secrets.get_secret(*READ) == "from-vault"
        clock = Clock.of(secrets)
        limit(secrets, 0.3)
        server.pause()
        assert secrets.get_secret(*NOT_READ) == "from-the-environment"
        server.resume()
        limit(secrets, LONG)
        clock.move(FIRST_PROBE)
        assert secrets.get_secret(*NOT_READ) == "from-vault"


# --- denied -----------------------------------------------------------------------------------------------------------


def test_a_token_that_may_not_read_the_path_is_denied_and_the_environment_is_not_asked(running_server):
    """A lower store's secret must not stand in for one that is there and out of bounds."""
    token = running_server.issue_token({"secret/data/api-keys/openai": ["read"]})
    with SecretsManager(vault_url=running_server.url, vault_token=token) as secrets:
        assert secrets.get_secret(*READ) == "from-vault"
        with pytest.raises(PermissionDeniedError) as raised:
            secrets.get_secret(*NOT_READ)
    assert [attempt.store for attempt in raised.value.attempts] == ["vault"]
    assert "api-keys/anthropic" in str(raised.value)
    assert "from-the-environment" not in str(raised.value)


def test_a_denial_has_no_default(running_server):
    token = running_server.issue_token({"secret/data/api-keys/openai": ["read"]})
    with (
        SecretsManager(vault_url=running_server.url, vault_token=token) as secrets,
        pytest.raises(PermissionDeniedError),
    ):
        secrets.get_secret(*NOT_READ, default="a default")
