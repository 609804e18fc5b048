"""AppRole on a real server: a secret_id from a value, a file, or a wrapping token that is looked at first."""

import http.client
import json
import threading

import pytest

from strongroom.errors import ConfigurationError, StoreUnavailableError, WriteOutcomeUnknownError
from strongroom.store import time_limit
from strongroom_vault.auth.approle import AppRole
from strongroom_vault.auth.approle import _lock as unwrapping_lock
from strongroom_vault.errors import VaultAuthenticationError, VaultConnectionError
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.plugin import open_vault
from support.forks import forked


@pytest.fixture
def wrap(openbao):
    """A function that sends a request and returns the wrapping token that holds its answer."""

    def send(path, body=None, namespace=None):
        connection = http.client.HTTPConnection(openbao.url.removeprefix("http://"))
        headers = {"X-Vault-Token": openbao.token, "X-Vault-Wrap-TTL": "60s"}
        headers |= {"X-Vault-Namespace": namespace} if namespace else {}
        connection.request("POST", f"/v1/{path}", json.dumps(body or {}), headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer["wrap_info"]["token"]

    return send


def test_login_gives_a_token_of_ours(send, approle, accepted):
    """Its life is what the role says; the request carried no token."""
    role = approle()
    auth = AppRole(role_id=role.role_id, secret_id=role.issue(), mount=role.mount)
    grant = auth.login(send)
    assert accepted(grant)["path"] == f"auth/{role.mount}/login"
    assert (grant.ttl, grant.renewable, grant.revocable) == (60, True, True)
    assert auth.repeatable
    assert len(send.sent) == 1
    assert "X-Vault-Token" not in send.sent[0].headers


def test_batch_token_is_not_renewable(send, approle):
    """As the server says."""
    role = approle(token_type="batch")
    assert not AppRole(role_id=role.role_id, secret_id=role.issue(), mount=role.mount).login(send).renewable


def test_file_is_read_anew(send, approle, tmp_path):
    """Whoever delivers secret_ids replaces it."""
    role, file = approle(secret_id_num_uses=1), tmp_path / "secret-id"
    auth = AppRole(role_id=role.role_id, secret_id_file=file, mount=role.mount)
    with pytest.raises(VaultAuthenticationError, match=r"auth\.secret_id_file: the file .*secret-id: No such file"):
        auth.login(send)
    tokens = set()
    for _ in range(2):
        file.write_text(role.issue() + "\n")
        tokens.add(auth.login(send).token)
    assert len(tokens) == 2


def test_used_up_secret_id_is_not_accepted(send, approle, exposed):
    """HTTP 400, which is invalid data elsewhere; the message has what to check."""
    role = approle(secret_id_num_uses=1)
    secret_id = role.issue()
    auth = AppRole(role_id=role.role_id, secret_id=secret_id, mount=role.mount)
    auth.login(send)
    with pytest.raises(VaultAuthenticationError, match=r"does not accept .*HTTP 400.* used up") as caught:
        auth.login(send)
    assert not exposed(caught.value, secret_id, role.role_id)


def test_unknown_role_is_not_accepted(send, approle):
    """The server says the same of it as of a wrong secret_id."""
    role = approle()
    with pytest.raises(VaultAuthenticationError, match=f"auth/{role.mount} in the store's namespace does not accept"):
        AppRole(role_id="nobody", secret_id=role.issue(), mount=role.mount).login(send)


@pytest.mark.parametrize(("namespace", "words"), [
    (None, "auth/nowhere in the store's namespace"), ("", "auth/nowhere in the root namespace"),
    ("nowhere", "auth/nowhere in namespace 'nowhere'"),
])  # fmt: skip
def test_missing_mount_or_namespace_is_a_wrong_option(send, namespace, words):
    """The server says 403 of a mount that is not there, as of a credential that is wrong, and 404 of a namespace."""
    auth = AppRole(role_id="r", secret_id="s", mount="nowhere", namespace=namespace)
    with pytest.raises(ConfigurationError, match=f"no method answers at {words}: check `mount` and `namespace`"):
        auth.login(send)


def test_login_may_be_in_another_namespace_than_the_data(sender, openbao, approle):
    """The store's namespace is what `None` stands for, the root is said as an empty one."""
    openbao.call("POST", "sys/namespaces/data", {})
    role = approle()
    send = sender(openbao.url, namespace="data")
    options = {"role_id": role.role_id, "secret_id": role.issue(), "mount": role.mount}
    assert AppRole(**options, namespace="").login(send).token
    with pytest.raises(ConfigurationError, match="in the store's namespace"):
        AppRole(**options).login(send)


def test_store_logs_in_and_gives_its_token_back(reads, readable, approle, openbao):
    """The login may be in another namespace than the data."""
    role = approle(token_policies=readable.policy)
    accessors = set(openbao.call("LIST", "auth/token/accessors")["data"]["keys"])
    table = {"method": "approle", "role_id": role.role_id, "secret_id": role.issue(), "mount": role.mount}
    assert reads(table)
    assert set(openbao.call("LIST", "auth/token/accessors")["data"]["keys"]) == accessors


def test_data_may_be_in_a_namespace_below_the_logins(openbao, approle, readable):
    """A token of the root's that a policy lets into the namespace."""
    openbao.call("POST", "sys/namespaces/below", {})
    openbao.call("POST", "below/sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
    openbao.call("POST", "below/kv/app", {"password": "hunter2"})
    role = approle(token_policies=openbao.write_policy({"below/kv/*": ["read"]}))
    table = {"method": "approle", "role_id": role.role_id, "secret_id": role.issue(), "mount": role.mount}
    store = open_vault(url=openbao.url, namespace="below", mount="kv", auth={**table, "namespace": ""})
    assert store.read("app").data == {"password": "hunter2"}
    store.close()
    with pytest.raises(ConfigurationError, match=f"no method answers at auth/{role.mount} in the store's namespace"):
        open_vault(url=openbao.url, namespace="below", mount="kv", auth=table)


# --- wrapped ----------------------------------------------------------------------------------------------------------


def test_wrapped_secret_id_is_unwrapped_once(send, approle, accepted, wrap):
    """Later logins, of this store or another one of this process, use what was unwrapped."""
    role = approle()
    token = wrap(f"auth/{role.mount}/role/app/secret-id")
    options = {"role_id": role.role_id, "wrapping_token": token, "role": "app", "mount": role.mount}
    grants = [AppRole(**options).login(send) for _ in range(2)]
    assert all(accepted(grant) for grant in grants)
    targets = [request.target for request in send.sent]
    assert targets == ["/v1/sys/wrapping/lookup", "/v1/sys/wrapping/unwrap", *[f"/v1/auth/{role.mount}/login"] * 2]
    assert [request.headers.get("X-Vault-Token") for request in send.sent] == [None, token, None, None]


def test_wrapped_secret_id_of_another_namespace(sender, openbao, wrap):
    """It is looked up and unwrapped where the method is."""
    openbao.call("POST", "sys/namespaces/wrapped", {})
    here = sender(openbao.url, namespace="wrapped")
    root = openbao.token
    here(ApiRequest("POST", "/v1/sys/auth/approle", {"type": "approle"}), token=root)
    here(ApiRequest("POST", "/v1/auth/approle/role/app", {}), token=root)
    found = json.loads(here(ApiRequest("GET", "/v1/auth/approle/role/app/role-id"), token=root).body)
    token = wrap("auth/approle/role/app/secret-id", namespace="wrapped")
    auth = AppRole(role_id=found["data"]["role_id"], wrapping_token=token, namespace="wrapped")
    assert auth.login(sender(openbao.url)).token


def test_another_wrapping_token_in_the_file_is_unwrapped(send, approle, wrap, tmp_path):
    """The same one is not."""
    role, file = approle(), tmp_path / "wrapped"
    auth = AppRole(role_id=role.role_id, wrapping_token_file=file, mount=role.mount)
    for _ in range(2):
        file.write_text(wrap(f"auth/{role.mount}/role/app/secret-id"))
        auth.login(send)
        auth.login(send)
    assert [request.target for request in send.sent].count("/v1/sys/wrapping/unwrap") == 2


def test_opened_wrapping_token_is_an_alarm(send, approle, wrap, exposed):
    """Somebody else has its secret_id."""
    role = approle()
    token = wrap(f"auth/{role.mount}/role/app/secret-id")
    stolen = json.loads(send(ApiRequest("POST", "/v1/sys/wrapping/unwrap", {}), token=token).body)["data"]["secret_id"]
    auth = AppRole(role_id=role.role_id, wrapping_token=token, mount=role.mount)
    with pytest.raises(VaultAuthenticationError, match=r"unwrapped before.*It may have been intercepted") as caught:
        auth.login(send)
    assert not exposed(caught.value, token, stolen)


@pytest.mark.parametrize("lost", ["no answer", "a gateway's"])
def test_an_unwrapping_whose_answer_was_lost_is_no_alarm(tell, answered, lost):
    """It was most likely this process that opened the token, which is of no more use; a second time as well."""
    looked_up = answered(200, {"data": {"creation_path": "auth/approle/role/app/secret-id"}})
    send = tell(looked_up, None if lost == "no answer" else answered(502, b"<html>"), answered(400, {"errors": ["x"]}))
    auth = AppRole(role_id="r", wrapping_token=f"s.lost-{len(lost)}")
    with pytest.raises(WriteOutcomeUnknownError):
        auth.login(send)
    for _ in range(2):
        with pytest.raises(VaultAuthenticationError, match="most likely this process unwrapped it") as caught:
            auth.login(send)
        assert "Deliver a new one" in caught.value.hint
        assert "intercepted" not in str(caught.value)


@pytest.mark.parametrize("path", [
    "sys/wrapping/wrap", "auth/{mount}/role/other/secret-id", "auth/{mount}/role/app/custom-secret-id",
])  # fmt: skip
def test_wrapping_token_that_something_else_made_is_an_alarm(send, approle, wrap, openbao, path, exposed):
    """It is not opened: whoever swapped it may want us to log in as somebody else."""
    role = approle()
    openbao.call("POST", f"auth/{role.mount}/role/other", {})
    token = wrap(path.format(mount=role.mount), {"secret_id": "planted"})
    auth = AppRole(role_id=role.role_id, wrapping_token=token, role="app", mount=role.mount)
    words = r"was made by .*, not by auth/.*/role/app/secret-id.*intercepted"
    with pytest.raises(VaultAuthenticationError, match=words) as caught:
        auth.login(send)
    assert not exposed(caught.value, token, "planted")
    assert [request.target for request in send.sent] == ["/v1/sys/wrapping/lookup"]


@pytest.mark.parametrize("role", ["app", None])
@pytest.mark.parametrize("path", [
    "kv/auth/approle/role/app/secret-id", "auth/approle/role/app/secret-id/lookup", "auth/approle/role/a/b/secret-id",
    "auth/approle/role//secret-id", "auth/approle2/role/app/secret-id", "auth/approle/role/app.\n/secret-id",
])  # fmt: skip
def test_path_that_only_looks_like_a_secret_ids_is_an_alarm(tell, answered, path, role):
    """An engine of somebody else's may be mounted at a name that holds the right one."""
    send = tell(answered(200, {"data": {"creation_path": path}}))
    with pytest.raises(VaultAuthenticationError, match="intercepted"):
        AppRole(role_id="r", wrapping_token="s.look-alike", role=role).login(send)
    assert len(send.sent) == 1


def test_role_is_named_without_its_case(send, approle, wrap):
    """The server keeps it in lower case, and says the path as it was asked."""
    role = approle()
    token = wrap(f"auth/{role.mount}/role/APP/secret-id")
    assert AppRole(role_id=role.role_id, wrapping_token=token, role="app", mount=role.mount).login(send)


def test_without_a_role_any_role_of_the_mount_will_do(send, approle, wrap, openbao):
    """And no other mount's."""
    role, other = approle(), approle()
    assert AppRole(
        role_id=role.role_id, wrapping_token=wrap(f"auth/{role.mount}/role/app/secret-id"), mount=role.mount
    ).login(send)
    auth = AppRole(
        role_id=role.role_id, wrapping_token=wrap(f"auth/{other.mount}/role/app/secret-id"), mount=role.mount
    )
    with pytest.raises(VaultAuthenticationError, match="intercepted"):
        auth.login(send)


def test_what_was_unwrapped_is_for_what_was_asked_alone(send, approle, wrap, openbao):
    """Another role's login is not given it: the token is looked at again, and is an alarm."""
    role = approle()
    openbao.call("POST", f"auth/{role.mount}/role/other", {})
    options = {"wrapping_token": wrap(f"auth/{role.mount}/role/app/secret-id"), "mount": role.mount}
    AppRole(role_id=role.role_id, role="app", **options).login(send)
    with pytest.raises(VaultAuthenticationError, match="intercepted"):
        AppRole(role_id=role.role_id, role="other", **options).login(send)


def test_many_threads_unwrap_once(send, approle, wrap):
    """The second would take the first for a thief."""
    role = approle()
    auth = AppRole(role_id=role.role_id, wrapping_token=wrap(f"auth/{role.mount}/role/app/secret-id"), mount=role.mount)
    grants, start = [], threading.Barrier(8)

    def log_in():
        start.wait()
        grants.append(auth.login(send))

    threads = [threading.Thread(target=log_in) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({grant.token for grant in grants}) == 8


def test_forked_child_has_what_its_parent_unwrapped(sender, openbao, approle, wrap):
    """It opens its stores anew, also while another thread of the parent's was unwrapping."""
    role = approle()
    options = {"wrapping_token": wrap(f"auth/{role.mount}/role/app/secret-id"), "mount": role.mount}
    AppRole(role_id=role.role_id, **options).login(sender(openbao.url))
    with unwrapping_lock:  # no public call holds it for long
        assert forked(lambda: bool(AppRole(role_id=role.role_id, **options).login(sender(openbao.url)).token))


def test_lock_is_not_waited_for_beyond_the_deadline(tell, answered):
    """Another thread may be waiting for a server that does not answer."""
    auth = AppRole(role_id="r", wrapping_token="s.other-thread")
    holding, go = threading.Event(), threading.Event()

    def hold():
        with unwrapping_lock:  # as above
            holding.set()
            assert go.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(20)
    try:
        with time_limit(0.05), pytest.raises(StoreUnavailableError, match="no time is left"):
            auth.login(tell(answered(200, {})))
    finally:
        go.set()
        thread.join()


# --- what no real server does -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", [
    None, [], {}, {"client_token": ""}, {"client_token": 7, "lease_duration": 1}, {"client_token": "s.x"},
    {"client_token": "s.x\r\nX-Evil: 1", "lease_duration": 1}, {"client_token": "s.x", "lease_duration": True},
    {"client_token": "s.x", "lease_duration": -1}, {"client_token": "s.x", "lease_duration": 10**400},
    {"client_token": "s.x", "lease_duration": "1h"},
])  # fmt: skip
def test_what_is_no_login_is_unavailable(tell, answered, auth):
    """A proxy answered, or half of something: never a token that breaks the next request."""
    with pytest.raises(StoreUnavailableError, match="not Vault's API"):
        AppRole(role_id="r", secret_id="s").login(tell(answered(200, {"auth": auth})))


def test_second_factor_is_a_wrong_option(tell, answered):
    """No application can give one."""
    auth = {"client_token": "", "mfa_requirement": {"mfa_request_id": "x"}, "lease_duration": 0}
    with pytest.raises(ConfigurationError, match="second factor"):
        AppRole(role_id="r", secret_id="s").login(tell(answered(200, {"auth": auth})))


def test_refused_where_the_method_is_mounted_is_not_accepted(tell, answered):
    """Another status of the login's path tells."""
    send = tell(answered(403, {"errors": ["permission denied"]}), answered(405, {"errors": []}))
    with pytest.raises(VaultAuthenticationError, match="HTTP 403"):
        AppRole(role_id="r", secret_id="s").login(send)
    assert [request.method for request in send.sent] == ["POST", "GET"]


@pytest.mark.parametrize("status", [400, 403, 404])
def test_page_of_a_gateway_is_no_refusal(tell, answered, status):
    """It says nothing about the credentials or the method."""
    send = tell(answered(status, b"<html>"))
    with pytest.raises(StoreUnavailableError, match="not Vault's API"):
        AppRole(role_id="r", secret_id="s").login(send)
    assert len(send.sent) == 1


@pytest.mark.parametrize("status", [500, 501])
def test_outage_is_no_refusal(tell, answered, status):
    """And the login is not sent twice within a second: it may have spent the secret_id."""
    send = tell(answered(status, {}))
    with time_limit(0.5), pytest.raises(StoreUnavailableError, match=f"HTTP {status}|in time|no time is left"):
        AppRole(role_id="r", secret_id="s").login(send)
    assert len(send.sent) <= 1  # none if a busy machine used up the limit before


def test_login_that_a_sealed_server_refuses_is_sent_again(tell, answered):
    """The server has done nothing."""
    grant = {"auth": {"client_token": "s.token", "lease_duration": 60}}
    send = tell(answered(503, {}), answered(200, grant))
    assert AppRole(role_id="r", secret_id="s").login(send).token == "s.token"


def test_no_answer_is_no_refusal(tell):
    """The connection ends without a word."""
    with pytest.raises(VaultConnectionError):
        AppRole(role_id="r", secret_id="s").login(tell(None))
