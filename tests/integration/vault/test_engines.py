"""Engines beside `database`: real ones of OpenBao, two with a fake service behind them, three as recorded replies.

OpenBao has no engines for AWS, Google Cloud and Azure. Their replies are those of HashiCorp's documentation.
"""

import json
import secrets
import time

import pytest
from cryptography import x509

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import ConfigurationError
from strongroom_vault.dynamic.dynamic_store import open_vault_dynamic
from support.services.engine_backends import fake_kubernetes_tokens, fake_rabbitmq

from .conftest import reply


@pytest.fixture
def mount(openbao):
    """A function that mounts an engine for one test, and returns its path."""
    mounted = []

    def mount_(kind):
        mounted.append(f"{kind}-{secrets.token_hex(4)}")
        openbao.call("POST", f"sys/mounts/{mounted[-1]}", {"type": kind})
        return mounted[-1]

    yield mount_
    for path in mounted:
        openbao.call("DELETE", f"sys/mounts/{path}")


@pytest.fixture
def opened(openbao):
    """A function that opens the store with one row, `app`, behind its guard."""
    stores = []

    def open_(mount, row, **options):
        given = {"url": openbao.url, "token": openbao.token, **options}
        stores.append(GuardedStore(open_vault_dynamic(mount=mount, paths={"app": row}, **given), "engine"))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


@pytest.fixture
def authority(openbao, mount):
    """The path of a `pki` engine with an authority and the role `web`."""
    path = mount("pki")
    openbao.call("POST", f"{path}/root/generate/internal", {"common_name": "authority", "ttl": "87600h"})
    openbao.call("POST", f"{path}/roles/web", {"allow_any_name": True, "key_type": "ec", "key_bits": 256})
    return path


def issue(**parameters):
    """The row of a certificate."""
    named = {"common_name": "web.example.com", **parameters}
    return {"path": "issue/web", "method": "write", "parameters": named}


def test_a_certificate_serves_until_two_thirds_of_its_life(authority, opened):
    """It has no lease: its end is in the answer. Until then each read has the same one."""
    store = opened(authority, issue(ttl="1h"))
    first = store.read("app")
    assert 0.6 * 3600 < first.ttl < 0.8 * 3600
    assert store.read("app").data == first.data
    certificate = x509.load_pem_x509_certificate(first.data["certificate"].reveal().encode())
    assert certificate.subject.rfc4514_string() == "CN=web.example.com"


def test_a_certificate_is_replaced_before_its_end(authority, opened):
    """The next one is there while the old one still works."""
    store = opened(authority, issue(ttl="3s"))
    first = store.read("app")
    assert first.ttl < 3
    deadline = time.monotonic() + 60
    while store.read("app").data["serial_number"] == first.data["serial_number"]:
        assert time.monotonic() < deadline
    assert time.time() < first.data["expiration"]


def test_parameters_that_an_engine_refuses_name_the_row(authority, openbao, opened):
    """They are an error of the configuration, and no outage."""
    openbao.call("POST", f"{authority}/roles/web", {"allowed_domains": ["example.org"], "allow_subdomains": True})
    with pytest.raises(ConfigurationError, match=r"'issue/web' for app .*method or parameters.*HTTP 400"):
        opened(authority, issue()).read("app")


def test_a_lease_of_a_certificate_is_revoked_at_the_end(authority, openbao, opened):
    """A role with `generate_lease` has leases, which cannot be renewed."""
    openbao.call("POST", f"{authority}/roles/web", {"allow_any_name": True, "generate_lease": True, "ttl": "1h"})
    store = opened(authority, issue())
    serial = store.read("app").data["serial_number"].reveal()
    store.close()
    assert openbao.call("GET", f"{authority}/cert/{serial}")["data"]["revocation_time"] > 0


def test_a_one_time_password_for_ssh(openbao, mount, opened):
    """A write with parameters, and a lease."""
    path = mount("ssh")
    openbao.call("POST", f"{path}/roles/otp", {"key_type": "otp", "default_user": "ubuntu", "cidr_list": "0.0.0.0/0"})
    store = opened(path, {"path": "creds/otp", "method": "write", "parameters": {"ip": "192.0.2.1"}})
    assert store.read("app").data["username"] == "ubuntu"


@pytest.fixture
def signer(openbao, mount):
    """The path of an `ssh` engine whose authority signs keys for half an hour."""
    path = mount("ssh")
    openbao.call("POST", f"{path}/config/ca", {"generate_signing_key": True})
    role = {"key_type": "ca", "allow_user_certificates": True, "allowed_users": "*", "ttl": "30m"}
    openbao.call("POST", f"{path}/roles/sign", {**role, "default_user": "ubuntu"})
    return path


def ssh_key(**row):
    """The row of a signed key, whose answer tells no end."""
    return {"path": "issue/sign", "method": "write", "parameters": {"key_type": "ed25519"}, **row}


def test_an_answer_without_an_end_lives_as_long_as_its_row_says(signer, opened):
    """Two thirds of it are served."""
    store = opened(signer, ssh_key(ttl="30m"))
    first = store.read("app")
    assert 0.6 * 1800 < first.ttl < 0.8 * 1800
    assert store.read("app").data == first.data


def test_a_life_of_zero_is_one_answer_for_each_read(signer, opened):
    """For credentials that are used once."""
    store = opened(signer, ssh_key(ttl=0))
    assert store.read("app").data["serial_number"] != store.read("app").data["serial_number"]


def test_an_answer_without_an_end_is_refused_where_the_row_tells_none(signer, opened):
    """It may be the definition of a role, which somebody wrote instead of its credentials."""
    with pytest.raises(ConfigurationError, match=r"'roles/sign' for app .*without a lease or an end.*`ttl`"):
        opened(signer, "roles/sign").read("app")


def test_the_code_of_a_second_factor(openbao, mount, opened):
    """Its answer tells its end."""
    path = mount("totp")
    openbao.call("POST", f"{path}/keys/me", {"generate": True, "issuer": "shop", "account_name": "me"})
    secret = opened(path, "code/me").read("app")
    assert secret.data["code"].reveal().isdigit()
    assert secret.ttl <= 30


def test_a_user_of_a_broker_is_dropped_at_the_end(openbao, mount, opened):
    """RabbitMQ's management API is a fake."""
    with fake_rabbitmq() as broker:
        path = mount("rabbitmq")
        connection = {"connection_uri": broker.url, "username": "root", "password": "root", "verify_connection": False}
        openbao.call("POST", f"{path}/config/connection", connection)
        rights = json.dumps({"/": {"read": ".*"}})
        openbao.call("POST", f"{path}/roles/app", {"vhosts": rights})
        store = opened(path, "creds/app")
        assert broker.users == {store.read("app").data["username"].reveal()}
        store.close()
        assert not broker.users


def test_a_token_of_a_service_account(openbao, mount, opened):
    """The token API of Kubernetes is a fake."""
    with fake_kubernetes_tokens() as cluster:
        path = mount("kubernetes")
        connection = {"kubernetes_host": cluster.url, "service_account_jwt": "jwt", "disable_local_ca_jwt": True}
        openbao.call("POST", f"{path}/config", connection)
        role = {"allowed_kubernetes_namespaces": ["*"], "service_account_name": "app", "token_default_ttl": "10m"}
        openbao.call("POST", f"{path}/roles/app", role)
        parameters = {"kubernetes_namespace": "default"}
        store = opened(path, {"path": "creds/app", "method": "write", "parameters": parameters})
        assert [store.read("app").data["service_account_token"]] == cluster.tokens


CLOUDS = {
    "aws": (
        "creds/app",
        {"lease_id": "aws/creds/app/1", "renewable": True, "lease_duration": 768},
        {"access_key": "AKIA", "secret_key": "x", "security_token": None},
    ),
    "aws role": (
        {"path": "sts/app", "method": "write", "parameters": {"ttl": "15m"}},
        {"lease_id": "aws/sts/app/1", "renewable": False, "lease_duration": 900},
        {"access_key": "ASIA", "secret_key": "x", "security_token": "t", "arn": "arn:aws:sts::1:assumed-role/a/b"},
    ),
    "gcp token": (
        "roleset/app/token",
        {"lease_id": "", "renewable": False, "lease_duration": 0},
        {"token": "ya29.x", "token_ttl": 3599, "expires_at_seconds": int(time.time()) + 3599},
    ),
    "gcp key": (
        {"path": "roleset/app/key", "method": "write"},
        {"lease_id": "gcp/key/app/1", "renewable": True, "lease_duration": 3600},
        {"private_key_data": "e30=", "key_algorithm": "KEY_ALG_RSA_2048", "key_type": "TYPE_GOOGLE_CREDENTIALS_FILE"},
    ),
    "azure": (
        "creds/app",
        {"lease_id": "azure/creds/app/1", "renewable": True, "lease_duration": 3600},
        {"client_id": "408bf248", "client_secret": "x"},
    ),
}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_credentials_of_a_cloud(fault_server, opened, cloud):
    """A recorded reply: the data and the life come as the engine told them."""
    row, life, data = CLOUDS[cloud]
    mounted = reply(200, {"data": {"type": cloud.split()[0], "path": "cloud/"}})
    fault_server.answers = [mounted, reply(200, {**life, "data": data, "auth": None}), reply(204)]
    store = opened("cloud", row, url=fault_server.url, token="t")
    secret = store.read("app")
    assert {key: value for key, value in secret.data.items() if value is not None} == {
        key: value for key, value in data.items() if value is not None
    }
    assert 0 < secret.ttl <= (life["lease_duration"] or 3599)
    method = "POST" if isinstance(row, dict) else "GET"
    assert fault_server.requests[1].method == method


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (1, r"must be a path below the mount, or a table"),
        ({"method": "write"}, "its `path` must be"),
        ({"path": "creds/app", "methode": "read"}, "there is no 'methode'. Its keys are path, method, parameters, ttl"),
        ({"path": "creds/app", "method": "list"}, "its `method` must be one of read, write"),
        ({"path": "creds/app", "parameters": "ttl=1h"}, "its `parameters` must be a table"),
        ({"path": "creds/app", "ttl": "soon"}, "its `ttl` must be a duration"),
        ({"path": "../sys/mounts"}, r"'app': `path`"),
    ],
)
def test_a_wrong_row_is_named(openbao, row, fault):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=fault):
        open_vault_dynamic(url="http://127.0.0.1:9", token="t", mount="pki", paths={"app": row})
