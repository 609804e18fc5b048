"""`strongroom vault setup` on a real server: its changes, the existing state that it keeps, and its messages."""

import contextlib
import errno
import json
import os
import re
import shlex
import stat
import sys
from pathlib import Path

import pexpect
import pytest
from dotenv import dotenv_values

from strongroom import SecretsManager
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreError
from strongroom.files.private import Replacement
from strongroom_vault.plugin import open_vault
from strongroom_vault.setup import policies
from support.command_line import Caller
from support.representatives import some

pytestmark = pytest.mark.long

STRONGROOM = [sys.executable, "-c", "from strongroom._cli.main import main; main()"]
POLICIES = ("app-read", "database-read", "database-write")
CHANGES = {"create", "update", "delete", "patch"}
MOUNT = "STRONGROOM_STORES_VAULT_MOUNT"
WEEK = 7 * 24 * 3600


@pytest.fixture
def command(capsys):
    return Caller(capsys)


@pytest.fixture
def server(fresh_openbao, monkeypatch):
    """A server with an empty mount `secret`, and an operator with a root token."""
    monkeypatch.setenv("VAULT_ADDR", fresh_openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", fresh_openbao.token)
    return fresh_openbao


@pytest.fixture
def setup(command):
    return lambda *arguments, **settings: command("vault", "setup", *arguments, **settings)


def outcomes(done):
    """Return the outcome of each step of a call with --json, by its name."""
    return {step["what"]: step["outcome"] for step in json.loads(done.out)["steps"]}


def audited(server):
    """Return operation and path of every request in the server's audit log."""
    requests = [entry["request"] for entry in server.audit_entries() if entry["type"] == "request"]
    return [(request["operation"], request["path"]) for request in requests]


@contextlib.contextmanager
def unchanged(server):
    """Check that the block changes nothing on the server. Some POST requests only ask."""
    before = len(audited(server))
    yield
    asks = re.compile(r"sys/wrapping/lookup")
    since = [(operation, path) for operation, path in audited(server)[before:] if operation in CHANGES]
    assert [path for _, path in since if not asks.fullmatch(path)] == []


def token_of(file=".env"):
    return dotenv_values(file)["VAULT_TOKEN"]


# --- idempotence ------------------------------------------------------------------------------------------------------


def test_a_second_run_has_nothing_to_do(server, setup):
    """The first run creates everything, the second one finds it. Both exit with 0."""
    server.call("DELETE", "sys/mounts/secret")
    first = setup("--json")
    assert first.code == 0
    assert {what for what, outcome in outcomes(first).items() if outcome == "created"} == {
        "KV version 2 at secret/",
        *(f"policy {name}" for name in POLICIES),
        *(f"path {path}" for path in policies.STRUCTURE),
    }
    with unchanged(server):
        second = setup("--json")
    assert second.code == 0
    assert set(outcomes(second).values()) == {"exists"}
    assert "nothing to do" in second.err


def test_a_dry_run_changes_nothing_and_its_exit_code_tells_whether_anything_would(server, setup):
    """The exit code is 10 if anything is missing, and 0 if everything exists."""
    with unchanged(server):
        done = setup("--dry-run", "--env-file", ".env", "--json")
    assert done.code == 10
    assert outcomes(done)["policy app-read"] == outcomes(done)["token in .env"] == "would be created"
    assert not Path(".env").exists()
    assert json.loads(done.out)["pending"] == len(POLICIES) + len(policies.STRUCTURE) + 1
    assert setup("--env-file", ".env").code == 0
    with unchanged(server):
        done = setup("--dry-run", "--env-file", ".env")
    assert (done.code, done.out) == (0, "")
    assert "exists: token in .env" in done.err


def test_a_document_has_a_version(server, setup):
    """It also has every step and the settings for the application."""
    document = json.loads(setup("--json").out)
    assert (document["version"], document.keys()) == (2, {"version", "steps", "environment", "pending", "role_id"})
    assert document["steps"][0].keys() == {"what", "outcome", "detail", "difference"}
    assert document["environment"] == {"VAULT_ADDR": server.url}
    assert "token" not in document


def test_the_stores_mount_and_prefix_are_set_up(server, setup):
    """The policies cover the paths below them only."""
    Path("strongroom.toml").write_text(
        f'chain = ["kv"]\n[stores.kv]\nplugin = "vault"\nmount = "team/kv"\nprefix = "billing"\n'
        f'url = "{server.url}"\ntoken = {{ env = "VAULT_TOKEN" }}\n'
    )
    assert setup("--policy-prefix", "billing-", "--env-file", "token.env").code == 0
    assert server.call("GET", "sys/mounts/team/kv")["data"]["options"] == {"version": "2"}
    server.put("billing/api-keys/openai", {"key": "k"}, mount="team/kv")
    server.put("other/api-keys/openai", {"key": "k"}, mount="team/kv")
    store = open_vault(url=server.url, token=token_of("token.env"), mount="team/kv", prefix="billing")
    assert store.read("api-keys/openai").data == {"key": "k"}
    assert "api-keys/google" in store.walk("api-keys")
    store.close()
    other = open_vault(url=server.url, token=token_of("token.env"), mount="team/kv", prefix="other")
    with pytest.raises(PermissionDeniedError):
        other.read("api-keys/openai")
    other.close()
    assert setup("--policy-prefix", "billing-", "--env-file", "token.env", "--dry-run").code == 0


def test_a_namespace_is_set_up_by_itself(server, setup, monkeypatch):
    """The root namespace stays unchanged, and the .env file names the namespace."""
    server.call("POST", "sys/namespaces/team", {})
    monkeypatch.setenv("VAULT_NAMESPACE", "team")
    monkeypatch.setenv(MOUNT, "kv")
    done = setup("--env-file", ".env")
    assert done.code == 0
    assert "VAULT_NAMESPACE=team\n" in Path(".env").read_text()
    assert server.call("GET", "team/sys/policies/acl/app-read")["data"]["name"] == "app-read"
    assert "app-read" not in server.call("GET", "sys/policies/acl?list=true")["data"]["keys"]
    store = open_vault(url=server.url, token=token_of(), mount="kv", namespace="team")
    assert store.probe().ok
    store.close()


def test_without_a_chain_an_address_is_enough(server, setup, monkeypatch):
    """Without a chain and an address, the error names the missing variable."""
    monkeypatch.delenv("VAULT_ADDR")
    done = setup()
    assert (done.code, done.out) == (7, "")
    assert "set VAULT_ADDR" in done.err
    monkeypatch.setenv("VAULT_ADDR", server.url)
    done = setup()
    assert done.code == 0
    assert done.out == f"VAULT_ADDR={server.url}\n"


def test_a_missing_package_is_named_with_its_extra(setup, monkeypatch):
    """The command is installed without the extra, as the plugin of the store is."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    for name in ("curl_driver", "urllib3_driver"):
        monkeypatch.setitem(sys.modules, f"strongroom_vault.http.drivers.{name}", None)
    done = setup()
    assert done.code == 7
    assert "strongroom[vault]" in done.err


def test_a_server_that_is_gone_is_an_outage(setup, monkeypatch):
    """Its exit code is 5: another attempt may succeed."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    assert setup().code == 5


# --- existing state ----------------------------------------------------------------------------------------------


def test_no_value_is_written_and_none_overwritten(server, setup):
    """Live and deleted secrets keep their data and metadata, and a path without a version reads as not found."""
    server.put("database/connection", {"url": "mine"})
    server.call("POST", "secret/metadata/database/connection", {"custom_metadata": {"owner": "me"}, "max_versions": 7})
    server.put("cache/redis", {"host": "old"})
    server.call("DELETE", "secret/data/cache/redis")
    before = {
        path: server.call("GET", f"secret/metadata/{path}")["data"] for path in ("database/connection", "cache/redis")
    }
    done = setup("--json", "--env-file", ".env")
    assert done.code == 0
    assert outcomes(done)["path database/connection"] == outcomes(done)["path cache/redis"] == "exists"
    for path, metadata in before.items():
        assert server.call("GET", f"secret/metadata/{path}")["data"] == metadata
    assert server.peek("database/connection") == {"url": "mine"}
    with SecretsManager(vault_url=server.url, vault_token=server.token, enable_fallback=False) as secrets:
        for path in set(policies.STRUCTURE) - {"database/connection"}:
            with pytest.raises(SecretNotFoundError):
                secrets.get_secret(path)
        assert "openai" in secrets.list_secrets("api-keys")
        secrets.set_secret("api-keys/openai", {"key": "first"})
        assert secrets.get_secret("api-keys/openai", "key") == "first"
    metadata = server.call("GET", "secret/metadata/api-keys/openai")["data"]
    assert metadata["custom_metadata"] == {"description": "API key: key"}
    assert metadata["current_version"] == 1


def test_a_mount_that_is_in_the_way_is_hinted_at(server, setup, monkeypatch):
    """The server refuses a mount above another one; the message names the path and a likely cause."""
    server.call("POST", "sys/mounts/team/kv", {"type": "kv", "options": {"version": "2"}})
    monkeypatch.setenv(MOUNT, "team")
    done = setup()
    assert done.code == 1
    assert "sys/mounts/team" in done.err
    assert "Another engine may be mounted at that path or below it: choose another `mount`" in done.err


def test_a_mount_that_demands_check_and_set_is_set_up(server, setup):
    """It demands it for secrets and for metadata. A second run has nothing to do."""
    server.call("POST", "secret/config", {"cas_required": True, "metadata_cas_required": True})
    assert setup().code == 0
    assert set(outcomes(setup("--json")).values()) == {"exists"}


def test_a_mount_of_version_1_is_refused(server, setup, monkeypatch):
    """It is never upgraded to version 2; the message names the choices."""
    server.mount("old", version=1)
    server.call("PUT", "old/database/connection", {"url": "mine"})
    monkeypatch.setenv(MOUNT, "old")
    with unchanged(server):
        done = setup("--yes")
    assert (done.code, done.out) == (7, "")
    assert "version 1" in done.err
    assert server.call("GET", "sys/mounts/old")["data"]["options"] == {"version": "1"}


def test_a_mount_of_another_engine_is_refused(server, setup, monkeypatch):
    server.call("POST", "sys/mounts/totp", {"type": "totp"})
    monkeypatch.setenv(MOUNT, "totp")
    with unchanged(server):
        done = setup()
    assert done.code == 7
    assert "is not a key-value engine" in done.err


def test_a_path_below_another_mount_is_refused(server, setup, monkeypatch):
    monkeypatch.setenv(MOUNT, "secret/below")
    done = setup()
    assert done.code == 7
    assert "below the mount 'secret/'" in done.err


def test_a_policy_that_differs_is_replaced_only_after_confirmation(server, setup):
    """The difference is shown. Without a terminal it needs --yes."""
    theirs = 'path "secret/data/theirs" {\n  capabilities = ["read"]\n}\n'
    assert setup().code == 0
    server.call("PUT", "sys/policies/acl/app-read", {"policy": theirs})
    with unchanged(server):
        done = setup()
        assert done.code == 2
        assert 'path "secret/data/theirs"' in done.err
        assert "--yes" in done.err
        done = setup("--dry-run", "--json")
    assert done.code == 10
    assert outcomes(done)["policy app-read"] == "would be replaced"
    done = setup("--yes", "--json")
    assert outcomes(done)["policy app-read"] == "replaced"
    assert setup("--dry-run").code == 0


@pytest.mark.parametrize("arguments", [("--env-file",), ("--approle", "app", "--secret-id-file")])
def test_a_missing_folder_is_reported_before_anything_is_created(server, setup, arguments):
    with unchanged(server):
        done = setup(*arguments, "no/such/file")
    assert done.code == 7
    assert f"{arguments[-1]} no/such/file: its folder does not exist" in done.err


def test_the_question_is_whole(server, setup):
    """It is not cut, even if several policies differ."""
    for name in POLICIES:
        server.call(
            "PUT", f"sys/policies/acl/{name}", {"policy": 'path "secret/data/theirs" { capabilities = ["read"] }'}
        )
    done = setup()
    assert done.code == 2
    assert "database-write exists and differs: without a terminal this needs --yes" in done.err


def test_the_policy_for_vault_is_no_difference(server, setup):
    """Vault refuses the capability `scan`, so its policies lack it."""
    openbaos, vaults = policies.structure_policies("secret", "")["database-read"]
    assert openbaos != vaults
    server.call("PUT", "sys/policies/acl/database-read", {"policy": vaults})
    assert outcomes(setup("--json"))["policy database-read"] == "exists"


def test_production_asks(server, setup, monkeypatch):
    """It asks before any change, and does not ask if there is none."""
    Path("strongroom.toml").write_text(
        f'[environments.prod]\nproduction = true\nchain = ["vault"]\n'
        f'[stores.vault]\nurl = "{server.url}"\ntoken = {{ env = "VAULT_TOKEN" }}\n'
    )
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "prod")
    with unchanged(server):
        done = setup()
    assert done.code == 2
    assert "production" in done.err
    assert "--yes" in done.err
    assert setup("--yes").code == 0
    assert setup().code == 0


# --- the application's token ------------------------------------------------------------------------------------------


def test_the_token_reads_what_the_guide_reads_and_lists_it(server, setup):
    """With the policies app-read and database-read, on a real server, through the application's own API."""
    assert setup("--env-file", ".env").code == 0
    for path in policies.STRUCTURE:
        server.put(path, {"key": path})
    server.put("elsewhere/x", {"key": "x"})
    with SecretsManager(vault_url=server.url, vault_token=token_of(), enable_fallback=False) as secrets:
        for path in policies.STRUCTURE:
            assert secrets.get_secret(path, "key") == path
        assert secrets.list_secrets("api-keys") == ["anthropic", "google", "openai"]
        assert secrets.list_secrets("database") == ["connection", "pool"]
        assert "monitoring/" in secrets.list_secrets()
        with pytest.raises(PermissionDeniedError):
            secrets.get_secret("elsewhere/x")
        with pytest.raises(PermissionDeniedError):
            secrets.set_secret("database/connection", {"key": "new"})
    assert server.peek("database/connection") == {"key": "database/connection"}
    store = open_vault(url=server.url, token=token_of())
    assert set(store.walk("database")) == {"database/connection", "database/pool"}
    assert [info.version for info in store.versions("database/pool")] == [1]
    store.close()
    scans = [path for operation, path in audited(server) if operation == "scan"]
    assert scans == ["secret/metadata/database/"]


def test_the_env_file_is_all_that_an_application_needs(server, setup, command, monkeypatch):
    """As in the guide's quick start: after the set-up, .env alone is enough to read secrets."""
    assert setup("--env-file", ".env").code == 0
    server.put("database/connection", {"url": "postgres://"})
    monkeypatch.delenv("VAULT_ADDR")
    monkeypatch.delenv("VAULT_TOKEN")
    assert command("get", "database/connection", "url").out == "postgres://"
    assert command("list", "api-keys").out.split() == ["anthropic", "google", "openai"]
    done = setup("--yes")
    assert done.code == 4
    assert "VAULT_TOKEN in ./.env" in done.err


def test_an_application_that_rotates_the_database_is_granted_it(server, setup):
    """The guide's full access to database secrets is a separate policy."""
    server.put("database/connection", {"password": "old"})
    assert setup("--env-file", ".env", "--grant", "app-read", "--grant", "database-write").code == 0
    with SecretsManager(vault_url=server.url, vault_token=token_of(), enable_fallback=False) as secrets:
        secrets.set_secret("database/connection", {"password": "new"})
        assert secrets.get_secret("database/connection", "password") == "new"
        secrets.delete_secret("database/connection")


def test_the_token_lives_on_by_itself(server, setup):
    """It outlives the operator's token, has no maximum lifetime, and may renew itself."""
    setup("--env-file", ".env")
    data = server.call("GET", "auth/token/lookup-self", token=token_of())["data"]
    assert (data["orphan"], data["period"], data["renewable"], data["explicit_max_ttl"]) == (True, WEEK, True, 0)
    assert data["policies"] == ["app-read", "database-read", "default"]
    assert server.call("POST", "auth/token/renew-self", {}, token=token_of())["auth"]["lease_duration"] == WEEK


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("before", ["", "APP_NAME=mine\n", "VAULT_PROXY_ADDR=http://127.0.0.1:9\n"])
def test_only_an_env_file_without_unreviewed_settings_is_trusted(setup, command, monkeypatch, before):
    """A proxy that stood in the file of a cloned folder would receive the new token."""
    monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS")
    Path("deploy").mkdir()
    Path("deploy/.env").write_text(before)
    done = setup("--env-file", "deploy/.env")
    assert done.code == 0
    assert ("review it, then run strongroom trust deploy/.env" in done.err) is ("PROXY" in before)
    for name in ("VAULT_ADDR", "VAULT_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.chdir("deploy")
    used = command("list")
    assert ("is not trusted" in used.err) is ("PROXY" in before), used.err


def test_the_env_file_keeps_its_other_lines_and_is_private(server, setup):
    """A file that others could read becomes private to its owner."""
    text = "# mine\nDATABASE_URL='postgres://x\ny'\n\nexport VAULT_TOKEN=s.expired\nVAULT_ADDR={url}\nLAST=1"
    Path(".env").write_text(text.replace("{url}", server.url))
    Path(".env").chmod(0o644)
    done = setup("--env-file", ".env")
    assert done.code == 0
    assert "only its owner can read it now" in done.err
    token = token_of()
    assert Path(".env").read_text() == text.replace("{url}", server.url).replace(
        "VAULT_TOKEN=s.expired", f"VAULT_TOKEN={token}"
    )
    assert stat.S_IMODE(Path(".env").stat().st_mode) == 0o600
    assert [file.name for file in Path().iterdir()] == [".env"]
    with unchanged(server):
        assert setup("--env-file", ".env").code == 0
    assert token_of() == token


def test_an_env_file_is_written_through_a_link_and_never_made_wider(server, setup):
    """A mode that gives the owner fewer rights stays."""
    Path("real").touch(0o400)
    Path(".env").symlink_to("real")
    assert setup("--env-file", ".env").code == 0
    assert Path(".env").is_symlink()
    assert stat.S_IMODE(Path("real").stat().st_mode) == 0o400
    assert token_of("real")


@pytest.mark.parametrize(
    ("text", "said"),
    [("BAO_TOKEN=s.other\n", "BAO_TOKEN"), ("A='open\n", "line 1"), ("\udcff", "UTF-8")],
)
def test_an_env_file_that_cannot_hold_the_token_is_refused_before_one_is_created(server, setup, text, said):
    """The message shows none of its content."""
    Path(".env").write_bytes(text.encode(errors="surrogateescape"))
    with unchanged(server):
        done = setup("--env-file", ".env")
    assert done.code == 7
    assert said in done.err
    assert "s.other" not in done.err
    assert setup("--env-file", "no/such/folder/.env").code == 7
    assert not server.requests("auth/token/create-orphan", operation="update")


def test_another_valid_token_is_replaced_only_after_confirmation(server, setup):
    """A root token in the file may be the only copy. A token for another address is never sent to this server."""
    Path(".env").write_text(f"VAULT_ADDR={server.url}\nVAULT_TOKEN={server.token}\n")
    done = setup("--env-file", ".env")
    assert done.code == 2
    assert "root" in done.err
    assert server.token in Path(".env").read_text()
    Path(".env").write_text("VAULT_ADDR=https://other.example\nVAULT_TOKEN=s.other-server\n")
    before = len(audited(server))
    done = setup("--env-file", ".env")
    assert done.code == 2
    assert "another address" in done.err
    assert ("read", "auth/token/lookup-self") not in audited(server)[before:]
    assert setup("--env-file", ".env", "--yes").code == 0
    assert token_of() != "s.other-server"


def test_a_valid_token_that_may_not_look_itself_up_is_replaced_only_after_confirmation(server, setup):
    token = server.issue_token({"secret/data/x": ["read"]})
    Path(".env").write_text(f"VAULT_ADDR={server.url}\nVAULT_TOKEN={token}\n")
    done = setup("--env-file", ".env")
    assert done.code == 2
    assert "a valid token with unknown policies" in setup("--env-file", ".env", "--dry-run").err
    assert token_of() == token


@pytest.mark.parametrize("arguments", [("--env-file", ".env"), ("--approle", "a", "--secret-id-file", "wrapped")])
def test_a_full_disk_is_reported_without_the_credential(setup, monkeypatch, server, arguments):
    """The credential expires by itself, and nobody has it."""
    created = []

    def fail(self, content):
        created.append(content.decode().strip().rpartition("=")[2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Replacement, "commit", fail)
    done = setup(*arguments)
    assert done.code == 7
    assert os.strerror(errno.ENOSPC) in done.err
    assert created[0] not in done.out + done.err
    assert list(Path().iterdir()) == []


# --- no secret in a log --------------------------------------------------------------------------------------


def test_no_secret_is_in_a_log(server, command):
    """This covers the operator's token, the application's token, and a secret_id, even with --verbose."""
    every = []
    for arguments in (
        ("--env-file", ".env"),
        ("--approle", "a", "--secret-id-file", "wrapped"),
        ("--env-file", ".env", "--json"),
        ("--approle", "a"),
    ):
        done = command("--verbose", "vault", "setup", *arguments)
        assert done.code == 0
        every.append(done.out + done.err)
    secrets = [server.token, token_of(), Path("wrapped").read_text().strip()]
    assert all(len(secret) > 8 for secret in secrets)
    for said in every:
        assert not [secret for secret in secrets if secret in said]


def test_without_a_destination_no_token_is_created(server, setup):
    """Every reader of a log could use a token in it. The message names the option for a destination."""
    done = setup()
    assert done.out == f"VAULT_ADDR={server.url}\n"
    assert "--env-file" in done.err
    assert not server.requests("auth/token/create-orphan", operation="update")


def test_no_option_takes_a_token(server, setup):
    """Every process on the machine can read a command line."""
    done = setup("--token", "s.canary-7f3a")
    assert done.code == 2


# --- roles ------------------------------------------------------------------------------------------------------------


def test_an_approle_logs_in_with_its_wrapped_secret_id(server, setup, command, monkeypatch):
    """Its tokens live one hour, at most four. A second run finds everything until the secret_id is unwrapped."""
    done = setup("--approle", "myapp", "--secret-id-file", "wrapped")
    assert done.code == 0
    role = server.call("GET", "auth/approle/role/myapp")["data"]
    assert (role["token_ttl"], role["token_max_ttl"]) == (3600, 14400)
    assert role["token_policies"] == ["app-read", "database-read"]
    with unchanged(server):
        again = setup("--approle", "myapp", "--secret-id-file", "wrapped")
    assert (again.code, again.out) == (0, done.out)
    assert stat.S_IMODE(Path("wrapped").stat().st_mode) == 0o600
    server.put("auth/jwt", {"secret": "signs"})
    table = done.out.partition("\n\n")[2]
    Path("strongroom.toml").write_text(f'chain = ["vault"]\n[stores.vault]\nurl = "{server.url}"\n{table}')
    monkeypatch.delenv("VAULT_TOKEN")
    assert command("get", "auth/jwt", "secret").out == "signs"
    monkeypatch.setenv("VAULT_TOKEN", server.token)
    done = command(
        "--config",
        "strongroom.toml",
        "vault",
        "setup",
        "--approle",
        "myapp",
        "--secret-id-file",
        "wrapped",
        "--dry-run",
    )
    assert done.code == 10


def test_a_role_that_differs_is_named_field_by_field(server, setup):
    """It is replaced only after confirmation, and its other fields stay. The order of its policies does not count."""
    setup("--approle", "myapp")
    policies = ["database-read", "app-read"]
    server.call("POST", "auth/approle/role/myapp", {"token_policies": policies, "secret_id_num_uses": 3})
    assert outcomes(setup("--approle", "myapp", "--json"))["approle role myapp"] == "exists"
    server.call("POST", "auth/approle/role/myapp", {"token_ttl": "10m"})
    done = setup("--approle", "myapp")
    assert done.code == 2
    assert "token_ttl is 600, not 3600" in done.err
    assert setup("--approle", "myapp", "--yes").code == 0
    role = server.call("GET", "auth/approle/role/myapp")["data"]
    assert (role["token_ttl"], role["secret_id_num_uses"]) == (3600, 3)


def test_a_role_of_kubernetes_is_bound_to_one_service_account(server, setup):
    """The missing configuration of the auth method is reported."""
    arguments = ("--kubernetes-role", "billing", "--service-account", "prod/app", "--auth-mount", "kubernetes-eu1")
    done = setup(*arguments)
    assert done.code == 0
    role = server.call("GET", "auth/kubernetes-eu1/role/billing")["data"]
    assert (role["bound_service_account_namespaces"], role["bound_service_account_names"]) == (["prod"], ["app"])
    assert "auth/kubernetes-eu1/config" in done.err
    assert 'auth = { method = "kubernetes", mount = "kubernetes-eu1", role = "billing" }' in done.out
    assert setup(*arguments, "--dry-run").code == 0
    assert "audience is None, not vault" in setup(*arguments, "--audience", "vault", "--dry-run").err
    assert setup(*arguments, "--audience", "vault", "--yes").code == 0
    assert server.call("GET", "auth/kubernetes-eu1/role/billing")["data"]["audience"] == "vault"
    assert setup("--approle", "x", "--auth-mount", "kubernetes-eu1").code == 7


@pytest.mark.parametrize(
    "arguments",
    [
        ("--approle", "a", "--kubernetes-role", "b", "--service-account", "c/d"),
        ("--kubernetes-role", "b"),
        ("--kubernetes-role", "b", "--service-account", "app"),
        ("--secret-id-file", "f"),
        ("--approle", "a", "--audience", "vault"),
        ("--auth-mount", "m"),
        ("--approle", "../../sys/mounts"),
        ("--approle", "My App"),
        ("--kubernetes-role", "my role", "--service-account", "c/d"),
        ("--approle", "a", "--env-file", ".env"),
        ("--policy-prefix", "../"),
    ],
)
def test_contradicting_options_are_refused(setup, monkeypatch, arguments):
    """They are refused before any request: nothing listens at the address."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    done = setup(*arguments)
    assert (done.code, done.out) == (2, "")


# --- rights -----------------------------------------------------------------------------------------------------------

OPERATOR = {
    "sys/mounts/secret": ["read", "update"],
    "sys/policies/acl/app-read": ["read", "update"],
    "sys/policies/acl/database-read": ["read", "update"],
    "sys/policies/acl/database-write": ["read", "update"],
    "secret/metadata/*": ["read", "create"],
    "auth/token/create-orphan": ["update", "sudo"],
}
"""The rights that an operator needs to create a token for an application."""


def test_an_operator_needs_no_more_than_this(server, setup, monkeypatch):
    """This holds for a missing mount too."""
    server.call("DELETE", "sys/mounts/secret")
    monkeypatch.setenv("VAULT_TOKEN", server.issue_token(OPERATOR))
    assert setup("--env-file", ".env").code == 0
    assert setup("--env-file", ".env", "--dry-run").code == 0


ROLES = {
    "sys/auth/approle": ["read", "update", "sudo"],
    "auth/approle/role/myapp": ["read", "create", "update"],
    "auth/approle/role/myapp/role-id": ["read"],
    "auth/approle/role/myapp/secret-id": ["update"],
}
"""The additional rights for an AppRole."""


def test_an_operator_of_an_approle_needs_no_more_than_this(server, setup, monkeypatch):
    rules = {path: names for path, names in OPERATOR.items() if not path.startswith("auth/")}
    arguments = ("--approle", "myapp", "--secret-id-file", "wrapped")
    for lacking in ROLES:
        some = {path: names for path, names in ROLES.items() if path != lacking}
        monkeypatch.setenv("VAULT_TOKEN", server.issue_token(rules | some))
        done = setup(*arguments)
        assert done.code == 4
        assert lacking in done.err
    monkeypatch.setenv("VAULT_TOKEN", server.issue_token(rules | ROLES))
    assert setup(*arguments).code == 0
    assert setup(*arguments, "--dry-run").code == 0


@pytest.mark.parametrize("lacking", sorted(OPERATOR))
def test_a_missing_right_is_named(server, setup, monkeypatch, lacking):
    """The exit code is 4, and the message has the path and the source of the token. The next run continues."""
    server.call("DELETE", "sys/mounts/secret")
    rules = {path: names for path, names in OPERATOR.items() if path != lacking}
    rules["auth/token/lookup-self"] = ["read"]  # as the policy `default` allows
    monkeypatch.setenv("VAULT_TOKEN", server.issue_token(rules))
    done = setup("--env-file", ".env")
    assert (done.code, done.out) == (4, "")
    assert lacking.removesuffix("*") in done.err
    assert "comes from the environment variable VAULT_TOKEN" in done.err
    assert not Path(".env").exists()
    monkeypatch.setenv("VAULT_TOKEN", server.token)
    assert setup("--env-file", ".env").code == 0


def test_a_token_without_rights_and_one_that_is_wrong_are_told_apart(server, setup, monkeypatch):
    """Both have the exit code 4: one lacks rights, the other is not accepted."""
    weak = server.issue_token({"secret/data/x": ["read"]})
    monkeypatch.setenv("VAULT_TOKEN", weak)
    done = setup()
    assert done.code == 4
    assert "Permission denied: sys/policies/acl/app-read" in done.err
    monkeypatch.setenv("VAULT_TOKEN", "s.canary-7f3a")
    done = setup()
    assert done.code == 4
    assert "Failed to authenticate" in done.err
    assert "canary" not in done.err
    monkeypatch.delenv("VAULT_TOKEN")
    done = setup()
    assert done.code == 2
    assert "VAULT_TOKEN" in done.err


def test_the_operators_token_goes_before_the_applications(server, setup, monkeypatch):
    """The store's configured login is the application's. It is used if there is no other, and then lacks rights."""
    Path("app-token").write_text(server.issue_token({"secret/data/*": ["read"]}))
    table = f'auth = {{ method = "token-file", token_file = "{Path("app-token").absolute()}" }}'
    Path("strongroom.toml").write_text(f'chain = ["vault"]\n[stores.vault]\n{table}\n')
    assert setup().code == 0
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.setenv(MOUNT, "other")
    assert setup().code == 4


def test_an_ambient_token_never_goes_to_an_address_that_a_found_file_gives(server, setup):
    """This is the same in every command."""
    Path("strongroom.toml").write_text(f'chain = ["vault"]\n[stores.vault]\nurl = "{server.url}"\n')
    with unchanged(server):
        assert setup().code == 7


def test_a_terminal_is_asked_for_the_token(server):
    """The prompt has no echo. Answering no to the confirmation changes nothing."""
    server.write_policy({"secret/data/theirs": ["read"]}, name="app-read")
    environment = {name: value for name, value in os.environ.items() if name != "VAULT_TOKEN"}
    screen = pexpect.spawn(
        shlex.join([*STRONGROOM, "vault", "setup"]), env=environment, encoding="utf-8", timeout=60, echo=False
    )  # fmt: skip
    screen.expect_exact("operator's token:")
    screen.sendline(server.token)
    with unchanged(server):
        screen.expect_exact("[y/N]")
        before = screen.before
        screen.sendline("n")
        rest = screen.read()
    screen.close()
    assert screen.exitstatus == 1
    assert "Nothing was changed" in rest
    assert server.token not in before + rest


# --- the guide's order: setup, then migrate ---------------------------------------------------------------------------


@pytest.fixture
def set_up(server, setup, monkeypatch):
    """A server after `vault setup --env-file .env`: `.env` has a secret and the read-only token of the application."""
    Path(".env").touch(0o600)
    Path(".env").write_text("OPENAI_API_KEY=sk-openai\n")
    assert setup("--env-file", ".env").code == 0
    monkeypatch.delenv("VAULT_ADDR")
    monkeypatch.delenv("VAULT_TOKEN")
    return server


@pytest.mark.parametrize("arguments", [("--yes",), ("--dry-run",)])
def test_migrate_after_setup_names_the_applications_token(set_up, command, arguments):
    """That token may only read, so nothing is written; the message says how to use another one."""
    done = command("migrate", "--env-file", ".env", *arguments)
    assert "store vault uses VAULT_TOKEN in ./.env" in done.err
    assert "operator's token" in done.err
    if arguments == ("--yes",):
        assert done.code == 4
    with pytest.raises(StoreError, match="404"):
        set_up.peek("api-keys/openai")


def test_migrate_after_setup_uses_the_operators_token_of_the_environment(set_up, command, monkeypatch):
    monkeypatch.setenv("VAULT_ADDR", set_up.url)
    monkeypatch.setenv("VAULT_TOKEN", set_up.token)
    done = command("migrate", "--env-file", ".env", "--yes")
    assert done.code == 0
    assert "store vault uses" not in done.err
    assert set_up.peek("api-keys/openai") == {"key": "sk-openai"}


def test_migrate_after_setup_asks_for_the_operators_token(set_up):
    """On a terminal, without echo; it goes to the address that `.env` gives."""
    screen = pexpect.spawn(
        shlex.join([*STRONGROOM, "migrate", "--env-file", ".env"]), encoding="utf-8", timeout=60, echo=False
    )
    screen.expect_exact("Operator's token, or Enter for that one:")
    screen.sendline(set_up.token)
    screen.expect_exact("[y/N]")
    before = screen.before
    screen.sendline("y")
    rest = screen.read()
    screen.close()
    assert screen.exitstatus == 0
    assert set_up.token not in before + rest
    assert set_up.peek("api-keys/openai") == {"key": "sk-openai"}


@pytest.fixture
def migrated(set_up, command, monkeypatch):
    """The name of a migration to `vault` that an operator made, and of one from it; the operator's token is gone."""
    monkeypatch.setenv("VAULT_ADDR", set_up.url)
    monkeypatch.setenv("VAULT_TOKEN", set_up.token)
    runs = []
    for arguments in (("--env-file", ".env"), ("--from", "vault", "--to", "json:copy.json")):
        done = command("migrate", *arguments, "--yes", "--json")
        assert done.code == 0, done.err
        runs.append(json.loads(done.out)["run"])
    monkeypatch.delenv("VAULT_ADDR")
    monkeypatch.delenv("VAULT_TOKEN")
    return runs


@pytest.mark.parametrize("step", some(["resume", "verify", "undo", "delete-source"], lambda step: step == "undo"))
def test_each_step_of_a_migration_asks_for_the_operators_token(set_up, migrated, command, step):
    """As the migration itself does: the token in `.env` may not write, delete, or perhaps read."""
    run = migrated[step == "delete-source"]
    if step == "resume":
        assert "no migration to resume" not in command("migrate", "resume", run, "--yes").err
    words = [*STRONGROOM, "migrate", step, run]
    screen = pexpect.spawn(shlex.join(words), encoding="utf-8", timeout=60, echo=False)
    if step in {"undo", "delete-source"}:
        screen.expect_exact("[y/N]")
        screen.sendline("y")
    screen.expect_exact("Operator's token, or Enter for that one:")
    screen.sendline(set_up.token)
    rest = screen.read()
    screen.close()
    assert screen.exitstatus == 0, rest
    assert set_up.token not in rest
