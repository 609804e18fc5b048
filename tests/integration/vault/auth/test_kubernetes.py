"""Kubernetes on a real server, with a TokenReview of our own."""

import json

import pytest
import trustme

from strongroom.errors import ConfigurationError
from strongroom_vault.auth.workload import SERVICE_ACCOUNT_TOKEN, Kubernetes
from strongroom_vault.errors import VaultAuthenticationError

USER = "system:serviceaccount:prod:app"


@pytest.fixture
def service_account(issuer):
    """A function that signs the token of a pod's service account, as the cluster projects it."""

    def sign(name="app", **claims):
        account = {"namespace": "prod", "serviceaccount": {"name": name, "uid": "u-1"}}
        return issuer.sign(
            **{"aud": ["vault"], "sub": f"system:serviceaccount:prod:{name}", "kubernetes.io": account} | claims
        )

    return sign


@pytest.fixture
def cluster(start_server, answered, issuer):
    """An API server whose TokenReview accepts what it has not been told to refuse."""
    api = start_server()

    def review(connection):
        token = json.loads(api.requests[-1].body)["spec"]["token"]
        good = token not in api.refused
        status = {"authenticated": good, "user": {"username": USER, "uid": "u-1"} if good else {}}
        status |= {"audiences": ["vault"]} if good else {"error": "the token was refused"}
        connection.sendall(
            answered(201, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
        )

    api.refused = set()
    api.answers[:] = [review]
    return api


@pytest.fixture
def mount(openbao, enabled, cluster, issuer):
    """The method with a role `app`, for that cluster."""
    name = enabled("kubernetes")
    openbao.call("POST", f"auth/{name}/config", {
        "kubernetes_host": cluster.url, "disable_local_ca_jwt": True, "token_reviewer_jwt": issuer.sign(),
        "kubernetes_ca_cert": trustme.CA().cert_pem.bytes().decode(),  # needed for http, too
    })  # fmt: skip
    openbao.call("POST", f"auth/{name}/role/app", {
        "bound_service_account_names": "app", "bound_service_account_namespaces": "prod", "audience": "vault",
        "token_ttl": "30s",
    })  # fmt: skip
    return name


def test_login_shows_the_token_of_the_pod(send, mount, cluster, service_account, accepted, tmp_path):
    """As it is in the file at each login: the cluster rotates it."""
    file = tmp_path / "token"
    auth = Kubernetes(role="app", token_file=file, mount=mount)
    for _ in range(2):
        token = service_account()
        file.write_text(token)
        grant = auth.login(send)
        assert json.loads(cluster.requests[-1].body)["spec"]["token"] == token
        assert (grant.ttl, grant.revocable) == (30, True)
        assert accepted(grant)["meta"]["service_account_name"] == "app"
    assert all("X-Vault-Token" not in request.headers for request in send.sent)
    assert auth.repeatable


def test_store_reads_as_the_pod(reads, readable, openbao, mount, service_account, tmp_path):
    """With nothing but a role's name and what the cluster mounts."""
    role = openbao.call("GET", f"auth/{mount}/role/app")["data"]
    openbao.call("POST", f"auth/{mount}/role/app", {**role, "token_policies": readable.policy})
    (tmp_path / "token").write_text(service_account())
    assert reads({"method": "kubernetes", "role": "app", "token_file": str(tmp_path / "token"), "mount": mount})


def test_refusals_are_told_apart_from_a_missing_method(send, mount, cluster, service_account, exposed, tmp_path):
    """A review that says no, another service account, an unknown role."""
    file = tmp_path / "token"
    refused = service_account(jti="x")
    cluster.refused.add(refused)
    for role, token in (("app", refused), ("app", service_account("other")), ("nobody", service_account())):
        file.write_text(token)
        words = f"auth/{mount} in the store's namespace does not accept the service account's token"
        with pytest.raises(VaultAuthenticationError, match=words) as caught:
            Kubernetes(role=role, token_file=file, mount=mount).login(send)
        assert not exposed(caught.value, token)
    with pytest.raises(ConfigurationError, match="auth/elsewhere"):
        Kubernetes(role="app", token_file=file, mount="elsewhere").login(send)


def test_outside_of_a_pod_there_is_no_token(send):
    """The path is Kubernetes' own, and the message has it."""
    with pytest.raises(VaultAuthenticationError, match=str(SERVICE_ACCOUNT_TOKEN)):
        Kubernetes(role="app").login(send)
    assert not send.sent
