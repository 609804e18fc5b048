"""The hooks of gunicorn for TLS: a worker with a certificate, and one without."""

import ssl
from types import SimpleNamespace

import pytest

from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreUnavailableError
from strongroom.integrations.workers import gunicorn
from strongroom.integrations.workers.gunicorn import tls_hooks


def worker(age):
    """Return one of two workers, or a later one. gunicorn counts all that it has started."""
    return SimpleNamespace(age=age, cfg=SimpleNamespace(workers=2))


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
    post_worker_init(worker(1))
    assert len(created) == 1
    assert [ssl_context(object(), object()) for _ in range(2)] == created * 2


OUTAGE = StoreUnavailableError("tls/web", reason="down")
ABSENCE = SecretNotFoundError("tls/web")
DENIAL = PermissionDeniedError("tls/web")
NO_FILE = FileNotFoundError(2, "No such file or directory", "clients.pem")


@pytest.mark.parametrize(
    ("error", "age", "code"),
    [(ABSENCE, 1, 3), (DENIAL, 2, 3), (NO_FILE, 1, 3), (OUTAGE, 1, 1), (OUTAGE, 3, 1), (DENIAL, 3, 1), (NO_FILE, 9, 1)],
)
def test_a_worker_without_a_certificate_does_not_boot(pauses, capsys, error, age, code):
    """3 ends gunicorn when it starts. A later worker must not end those that serve: gunicorn starts another one."""

    def create():
        raise error

    post_worker_init, _ = tls_hooks(create)
    with pytest.raises(SystemExit) as raised:
        post_worker_init(worker(age))
    assert raised.value.code == code
    assert capsys.readouterr().err == f"strongroom: {error}\n"
    assert bool(pauses) == (code == 1)
