"""The hooks of gunicorn for TLS: what a worker does that has no certificate."""

import ssl

import pytest

from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreUnavailableError
from strongroom.integrations.workers import gunicorn
from strongroom.integrations.workers.gunicorn import tls_hooks


@pytest.fixture
def pauses(monkeypatch):
    """The pauses of a worker, which take no time."""
    pauses = []
    monkeypatch.setattr(gunicorn.time, "sleep", pauses.append)
    return pauses


def test_a_worker_has_its_context_before_the_first_connection():
    """One for all of its connections."""
    created = []

    def create():
        created.append(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        return created[-1]

    post_worker_init, ssl_context = tls_hooks(create)
    assert created == []  # the configuration is read in the process that forks the workers
    post_worker_init(object())
    assert len(created) == 1
    assert [ssl_context(object(), object()) for _ in range(2)] == created * 2


@pytest.mark.parametrize(
    ("error", "code", "waits"),
    [
        (StoreUnavailableError("tls/web", reason="down"), 1, True),
        (SecretNotFoundError("tls/web"), 3, False),
        (PermissionDeniedError("tls/web"), 3, False),
        (FileNotFoundError(2, "No such file or directory", "clients.pem"), 3, False),
    ],
)
def test_a_worker_without_a_certificate_does_not_boot(pauses, capsys, error, code, waits):
    """gunicorn starts another one for 1, which follows an outage, and ends for 3."""

    def create():
        raise error

    post_worker_init, _ = tls_hooks(create)
    with pytest.raises(SystemExit) as raised:
        post_worker_init(object())
    assert raised.value.code == code
    assert capsys.readouterr().err == f"strongroom: {error}\n"
    assert bool(pauses) == waits
