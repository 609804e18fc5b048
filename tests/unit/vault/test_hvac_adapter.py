"""hvac builds the requests to Vault's API, and sends none of them."""

import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.store.kv2 import VaultKV2

MOUNT = "team a/b"
ODD = quote(MOUNT)


@pytest.mark.parametrize(("build", "method", "target", "content"), [
    (lambda api: api.token.lookup_self(), "GET", "auth/token/lookup-self", None),
    (lambda api: api.token.renew_self(), "POST", "auth/token/renew-self", {}),
    (lambda api: api.token.revoke_self(), "POST", "auth/token/revoke-self", None),
    (lambda api: api.approle.login("r", "s", mount_point=MOUNT), "POST", f"auth/{ODD}/login",
     {"role_id": "r", "secret_id": "s"}),
    (lambda api: api.kubernetes.login("r", "j", mount_point=MOUNT), "POST", f"auth/{ODD}/login",
     {"role": "r", "jwt": "j"}),
    (lambda api: api.jwt.jwt_login(None, "j", path=MOUNT), "POST", f"auth/{ODD}/login", {"jwt": "j"}),
    (lambda api: api.cert.login(None, mount_point=ODD), "POST", f"auth/{ODD}/login", {}),
    (lambda api: api.cert.login("r", mount_point=ODD), "POST", f"auth/{ODD}/login", {"name": "r"}),
    (lambda api: api.system.unwrap(), "POST", "sys/wrapping/unwrap", {}),
    (lambda api: api.system.renew_lease("l"), "POST", "sys/leases/renew", {"lease_id": "l"}),
    (lambda api: api.system.revoke_lease("l"), "POST", "sys/leases/revoke", {"lease_id": "l"}),
    (lambda api: api.system.get_capabilities(["a"]), "POST", "sys/capabilities-self", {"paths": ["a"]}),
    (lambda api: api.database.generate_credentials("app", mount_point=MOUNT), "GET", f"{ODD}/creds/app", None),
    (lambda api: api.database.get_static_credentials("app", mount_point=MOUNT), "GET", f"{ODD}/static-creds/app", None),
    (lambda api: api.kv2.read_secret_version("a?b", version=2, mount_point=MOUNT, raise_on_deleted_version=False),
     "GET", f"{ODD}/data/a%3Fb?version=2", None),
    (lambda api: api.kv2.list_secrets("", mount_point=MOUNT), "LIST", f"{ODD}/metadata/", None),
])  # fmt: skip
def test_each_request_is_returned(build, method, target, content):
    """Paths are encoded once, arguments that were left out are not sent, and PUT is POST."""
    assert build(requests()) == ApiRequest(method, f"/v1/{target}", content)


def test_hvac_makes_the_request_for_a_version_once(monkeypatch):
    """Most secrets are read again."""
    kv2, made, sent = requests().kv2, [], []
    read = kv2.read_secret_version
    monkeypatch.setattr(
        kv2, "read_secret_version", lambda *args, **options: made.append(args[0]) or read(*args, **options)
    )

    def request(request):
        sent.append(request.target)
        return Reply(200, {}, b'{"data": {"data": {"k": "v"}, "metadata": {"version": 2}}}')

    for mount in ("once", "twice"):
        store = VaultKV2(SimpleNamespace(mount=mount, request=request), kv2, "below")
        for _ in range(2):
            assert store.read("app").data == {"k": "v"}
            store.read_version("app", 2)
    assert made == ["below/app"] * 4
    targets = [f"/v1/{mount}/data/below/app" for mount in ("once", "twice")]
    assert sent == [target + version for target in targets for version in ("", "?version=2") * 2]


def test_null_is_a_value_of_a_version_1_secret():
    request = requests().kv1.create_or_update_secret("app", {"k": None}, method="POST", mount_point="kv")
    assert request.content == {"k": None}


def test_a_wrapped_reply_is_requested():
    assert requests().approle.generate_secret_id("app", wrap_ttl="2m").wrap_ttl == "2m"


def test_checking_options_does_not_import_hvac():
    code = (
        "import sys; from strongroom_vault.plugin import check_vault;"
        "check_vault(url='http://127.0.0.1:1'); sys.exit('hvac' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
