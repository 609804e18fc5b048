"""The backoff after a refused login counts for the credentials of that login alone."""

import pytest

from strongroom_vault.auth.workload import Certificate
from strongroom_vault.http.address import Address
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.session.session import Session


def backoff(auth, tls=None):
    """Return the backoff of a new session with these credentials."""
    cluster = Cluster((Address.parse("https://127.0.0.1:1"),))
    return Session(object(), cluster, auth, namespace=None, mount="secret", tls=tls).tokens._backoff


@pytest.mark.parametrize("content", ["another", None])
def test_another_client_certificate_is_tried_at_once(tmp_path, content):
    """Under another name, or in the same file, also if the file was missing."""
    first, second = tmp_path / "first.pem", tmp_path / "second.pem"
    if content is not None:
        first.write_text("one")
    refused = backoff(Certificate(), TLSSettings(client_cert=first))
    assert backoff(Certificate(), TLSSettings(client_cert=first)) is refused
    assert backoff(Certificate(), TLSSettings(client_cert=second)) is not refused
    first.write_text("another")
    assert backoff(Certificate(), TLSSettings(client_cert=first)) is not refused
