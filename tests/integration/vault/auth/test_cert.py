"""TLS certificates, on a real server with a TLS listener."""

import pytest
import trustme

from strongroom.errors import ConfigurationError
from strongroom_vault.auth.workload import Certificate
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.plugin import open_vault
from support.vault.tls_vault import TLSVault


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server(tmp_path_factory, authority):
    """It trusts the certificates of one authority for the role `app`."""
    with TLSVault(tmp_path_factory.mktemp("tls"), authority) as server:
        server.call("POST", "sys/auth/cert", {"type": "cert"})
        trusted = {"certificate": authority.cert_pem.bytes().decode(), "token_ttl": "50s"}
        server.call("POST", "auth/cert/certs/app", trusted)
        yield server


@pytest.fixture
def identity(tmp_path, authority):
    """A function that makes the TLS settings of a client whose certificate this authority issued."""

    def issue(issuer=authority, name="app.test"):
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        # The server takes the token's name from the common name, and answers HTTP 500 where there is none.
        certificate = issuer.issue_cert(name, common_name=name)
        certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
        return TLSSettings(ca_cert=tmp_path / "ca.pem", client_cert=tmp_path / "client.pem")

    return issue


@pytest.mark.parametrize("name", ["app", None])
def test_login_shows_the_certificate_of_the_connection(server, sender, identity, name):
    """By the role's name, or by whichever fits. No token goes with it."""
    send = sender(server.tls_url, identity())
    auth = Certificate(name=name)
    grant = auth.login(send)
    assert server.call("GET", "auth/token/lookup-self", token=str(grant.token))["data"]["path"] == "auth/cert/login"
    assert (grant.ttl, grant.revocable, auth.repeatable) == (50, True, True)
    assert "X-Vault-Token" not in send.sent[0].headers


def test_store_reads_with_its_client_certificate(server, identity):
    """The option that stands beside the table."""
    server.put("app", {"password": "hunter2"})
    policy = server.write_policy({"secret/data/*": ["read"]})
    role = server.call("GET", "auth/cert/certs/app")["data"]
    server.call("POST", "auth/cert/certs/reader", {"certificate": role["certificate"], "token_policies": policy})
    tls = identity()
    store = open_vault(
        url=server.tls_url, ca_cert=tls.ca_cert, client_cert=tls.client_cert, auth={"method": "cert", "name": "reader"}
    )
    assert store.read("app").data == {"password": "hunter2"}
    store.close()


def test_strangers_certificate_is_not_accepted(server, sender, identity):
    """Nor a role that does not exist, nor a connection without a certificate."""
    words = "auth/cert in the store's namespace does not accept the client certificate"
    with pytest.raises(VaultAuthenticationError, match=words):
        Certificate(name="app").login(sender(server.tls_url, identity(trustme.CA())))
    with pytest.raises(VaultAuthenticationError, match=words):
        Certificate(name="nobody").login(sender(server.tls_url, identity()))
    bare = TLSSettings(ca_cert=identity().ca_cert)
    with pytest.raises(VaultAuthenticationError, match=words):
        Certificate().login(sender(server.tls_url, bare))


def test_missing_mount_is_a_wrong_option(server, sender, identity):
    """It names the mount."""
    with pytest.raises(ConfigurationError, match="auth/elsewhere"):
        Certificate(mount="elsewhere").login(sender(server.tls_url, identity()))
