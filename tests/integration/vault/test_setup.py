"""`strongroom vault setup`, on a real server: what it makes, what it leaves alone, and what it says."""

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

import strongroom_vault
from command_line import Caller
from strongroom import SecretsManager
from strongroom.errors import ConfigurationError, PermissionDeniedError, SecretNotFoundError, StoreError
from strongroom.files.private_file import Replacement
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.plugin import open_session, open_vault
from strongroom_vault.setup import env_file, structure
from strongroom_vault.setup.runner import apply
from strongroom_vault.setup.steps import Goal, Role, ServerState, State, Step, plan
from strongroom_vault.testing import TestVault

STRONGROOM = [sys.executable, "-c", "from strongroom.cli.main import main; main()"]
POLICIES = ("app-read", "database-read", "database-write")
CHANGES = {"create", "update", "delete", "patch"}


@pytest.fixture
def command(capsys, monkeypatch):
    return Caller(capsys, monkeypatch)


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
    """What -> what became of it, of a call with --json."""
    return {step["what"]: step["outcome"] for step in json.loads(done.out)["steps"]}


def audited(server):
    """Every request of the server's audit log: operation and path."""
    requests = [entry["request"] for entry in server.audit_entries() if entry["type"] == "request"]
    return [(request["operation"], request["path"]) for request in requests]


@contextlib.contextmanager
def unchanged(server):
    """Nothing on the server is changed by the block. What only asks is a POST, too."""
    before = len(audited(server))
    yield
    asks = re.compile(r"sys/(capabilities-self|wrapping/lookup)|auth/approle/role/[^/]+/secret-id/lookup")
    since = [(operation, path) for operation, path in audited(server)[before:] if operation in CHANGES]
    assert [path for _, path in since if not asks.fullmatch(path)] == []


def token_of(file=".env"):
    return env_file.values(Path(file).read_text(), file)["VAULT_TOKEN"]


# --- idempotence ------------------------------------------------------------------------------------------------------


def test_a_second_run_has_nothing_to_do(server, setup):
    """The first makes everything and says so; then all is there, and the code is 0 both times."""
    server.call("DELETE", "sys/mounts/secret")
    first = setup("--json")
    assert first.code == 0
    assert {what for what, outcome in outcomes(first).items() if outcome == "created"} == {
        "KV version 2 at secret/",
        *(f"policy {name}" for name in POLICIES),
        *(f"path {path}" for path in structure.STRUCTURE),
    }
    with unchanged(server):
        second = setup("--json")
    assert second.code == 0
    assert set(outcomes(second).values()) == {"exists"}
    assert "nothing to do" in second.err


def test_a_dry_run_changes_nothing_and_says_by_its_code_whether_something_would_be(server, setup):
    """10, what was compared differs; 0 when all is there."""
    with unchanged(server):
        done = setup("--dry-run", "--env-file", ".env", "--json")
    assert done.code == 10
    assert outcomes(done)["policy app-read"] == outcomes(done)["token in .env"] == "would be created"
    assert not Path(".env").exists()
    assert json.loads(done.out)["pending"] == len(POLICIES) + len(structure.STRUCTURE) + 1
    assert setup("--env-file", ".env").code == 0
    with unchanged(server):
        done = setup("--dry-run", "--env-file", ".env")
    assert (done.code, done.out) == (0, "")
    assert "exists: token in .env" in done.err


def test_a_document_has_a_version(server, setup):
    """And the whole of what was done and what to configure."""
    document = json.loads(setup("--json").out)
    assert document["version"] == 1
    assert document["environment"] == {"VAULT_ADDR": server.url}
    assert "token" not in document


def test_a_mount_and_a_prefix_of_the_store_are_those_that_are_set_up(server, setup):
    """The policies are about what is below them."""
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


def test_a_namespace_is_set_up_by_itself(server, setup):
    """What is there without one stays without; the application is told the namespace."""
    server.call("POST", "sys/namespaces/team", {})
    done = setup("--namespace", "team", "--mount", "kv", "--env-file", ".env")
    assert done.code == 0
    assert "VAULT_NAMESPACE=team\n" in Path(".env").read_text()
    assert server.call("GET", "team/sys/policies/acl/app-read")["data"]["name"] == "app-read"
    assert "app-read" not in server.call("GET", "sys/policies/acl?list=true")["data"]["keys"]
    store = open_vault(url=server.url, token=token_of(), mount="kv", namespace="team")
    assert store.probe().ok
    store.close()


def test_without_a_chain_an_address_is_enough(server, setup, monkeypatch):
    """And without either, it says what is missing."""
    monkeypatch.delenv("VAULT_ADDR")
    done = setup()
    assert (done.code, done.out) == (7, "")
    assert "--url" in done.err
    done = setup("--url", server.url, "--mount", "kv")
    assert done.code == 0
    assert done.out == f'VAULT_ADDR={server.url}\n\n# strongroom.toml, [stores.vault]\nmount = "kv"\n'


def test_a_package_that_is_missing_is_named_with_what_brings_it(setup, monkeypatch):
    """The command is there without the extra, since the store's plugin is."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    monkeypatch.delattr(strongroom_vault, "transport", raising=False)  # another test may have imported it
    monkeypatch.setitem(sys.modules, "strongroom_vault.http.urllib3_driver", None)
    done = setup()
    assert done.code == 7
    assert "strongroom[vault]" in done.err


def test_a_server_that_is_gone_is_an_outage(setup, monkeypatch):
    """5: worth trying again."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    assert setup().code == 5


# --- what is there stays ----------------------------------------------------------------------------------------------


def test_no_value_is_written_and_none_overwritten(server, setup):
    """Not a live one, not a deleted one, nor what is known of either; and a place alone reads as not found."""
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
        for path in set(structure.STRUCTURE) - {"database/connection"}:
            with pytest.raises(SecretNotFoundError):
                secrets.get_secret(path)
        assert "openai" in secrets.list_secrets("api-keys")
        secrets.set_secret("api-keys/openai", {"key": "first"})
        assert secrets.get_secret("api-keys/openai", "key") == "first"
    metadata = server.call("GET", "secret/metadata/api-keys/openai")["data"]
    assert metadata["custom_metadata"] == {"description": "API key: key"}
    assert metadata["current_version"] == 1


def test_a_mount_that_is_in_the_way_is_hinted_at(server, setup):
    """The server refuses one above another, and the message says at which path and what it may be."""
    server.call("POST", "sys/mounts/team/kv", {"type": "kv", "options": {"version": "2"}})
    done = setup("--mount", "team")
    assert done.code == 1
    assert "sys/mounts/team" in done.err
    assert "Another engine may be mounted at that path or below it: choose another --mount" in done.err


def test_a_step_that_no_api_answers_names_its_path(openbao):
    step = Step(
        "thing", State.MISSING, requests=(ApiRequest("POST", "/v1/sys/none", {}),), rights={"sys/none": frozenset()}
    )
    session = open_session(url=openbao.url, token=openbao.token)
    with (
        contextlib.closing(session),
        pytest.raises(ConfigurationError, match="has no sys/none, so thing cannot be created"),
    ):
        list(apply(session, Goal("secret"), [step]))


def test_a_mount_that_demands_check_and_set_is_set_up(server, setup):
    """Of secrets and of their metadata; once more, there is nothing to do."""
    server.call("POST", "secret/config", {"cas_required": True, "metadata_cas_required": True})
    assert setup().code == 0
    assert set(outcomes(setup("--json")).values()) == {"exists"}


def test_a_mount_of_version_1_is_refused(server, setup):
    """It is never turned into version 2; the message says what to do."""
    server.mount("old", version=1)
    server.call("PUT", "old/database/connection", {"url": "mine"})
    with unchanged(server):
        done = setup("--mount", "old", "--yes")
    assert (done.code, done.out) == (7, "")
    assert "version 1" in done.err
    assert server.call("GET", "sys/mounts/old")["data"]["options"] == {"version": "1"}
    assert setup("--mount", "transit", "--url", server.url).code == 0
    server.call("POST", "sys/mounts/totp", {"type": "totp"})
    assert setup("--mount", "totp").code == 7
    below = setup("--mount", "secret/below")
    assert below.code == 7
    assert "below the mount 'secret/'" in below.err


def test_a_policy_of_the_same_name_is_replaced_by_a_yes_alone(server, setup):
    """It is shown as differing; without a terminal nobody can be asked."""
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


def test_the_question_is_whole(server, setup):
    """However many policies differ."""
    for name in POLICIES:
        server.call(
            "PUT", f"sys/policies/acl/{name}", {"policy": 'path "secret/data/theirs" { capabilities = ["read"] }'}
        )
    done = setup()
    assert done.code == 2
    assert "database-write exists and differs: without a terminal this needs --yes" in done.err


@pytest.mark.parametrize("arguments", [("--env-file",), ("--approle", "app", "--secret-id-file")])
def test_a_folder_that_is_not_there_is_found_before_anything_is_made(server, setup, arguments):
    with unchanged(server):
        done = setup(*arguments, "no/such/file")
    assert done.code == 7
    assert f"{arguments[-1]} no/such/file: its folder does not exist" in done.err


def test_comments_and_the_lack_of_scan_are_no_difference(server, setup):
    """What an operator notes in a policy stays, and so does one that was written for Vault."""
    openbaos, vaults = structure.policies("secret", "")["database-read"]
    server.call("PUT", "sys/policies/acl/database-read", {"policy": "# ours\n" + vaults.replace("\n", "\n\n")})
    server.call("PUT", "sys/policies/acl/app-read", {"policy": structure.policies("secret", "")["app-read"][0]})
    done = setup("--json")
    assert outcomes(done)["policy database-read"] == outcomes(done)["policy app-read"] == "exists"
    assert openbaos != vaults


def test_production_asks(server, setup, monkeypatch):
    """Whatever there is to do; and not where nothing is."""
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
    for path in structure.STRUCTURE:
        server.put(path, {"key": path})
    server.put("elsewhere/x", {"key": "x"})
    with SecretsManager(vault_url=server.url, vault_token=token_of(), enable_fallback=False) as secrets:
        for path in structure.STRUCTURE:
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
    """As in the guide's quick start: set up, then ask. Nothing of it is in the process."""
    assert setup("--env-file", ".env").code == 0
    server.put("database/connection", {"url": "postgres://"})
    monkeypatch.delenv("VAULT_ADDR")
    monkeypatch.delenv("VAULT_TOKEN")
    assert command("get", "database/connection", "url").out == "postgres://"
    assert command("list", "api-keys").out.split() == ["anthropic", "google", "openai"]
    done = setup("--mount", "other", "--yes")
    assert done.code == 4
    assert "VAULT_TOKEN in ./.env" in done.err


@pytest.mark.parametrize("arguments", [["--env-file", ".env"], [], ["--approle", "app", "--secret-id-file", "wrapped"]])
def test_another_mount_than_the_stores_is_to_be_configured(server, setup, command, monkeypatch, arguments):
    """No variable of Vault's own clients says where it is."""
    done = setup("--mount", "kv", *arguments)
    assert done.code == 0
    environment, _, table = done.out.partition("# strongroom.toml, [stores.vault]\n")
    assert ("VAULT_ADDR=" in environment) is (arguments[:1] != ["--env-file"])
    assert table.startswith('mount = "kv"\n')
    server.put("database/connection", {"url": "postgres://"}, mount="kv")
    Path("strongroom.toml").write_text(f'[stores.vault]\nurl = "{server.url}"\n{table}')
    if arguments:
        monkeypatch.delenv("VAULT_TOKEN")
        monkeypatch.delenv("VAULT_ADDR")
    assert command("--config", "strongroom.toml", "get", "database/connection", "url").out == "postgres://"
    assert "mount" not in setup("--yes", *arguments).out


def test_an_application_that_rotates_the_database_is_granted_it(server, setup):
    """The guide's full access to database secrets is a policy of its own."""
    server.put("database/connection", {"password": "old"})
    assert setup("--env-file", ".env", "--grant", "app-read", "--grant", "database-write").code == 0
    with SecretsManager(vault_url=server.url, vault_token=token_of(), enable_fallback=False) as secrets:
        secrets.set_secret("database/connection", {"password": "new"})
        assert secrets.get_secret("database/connection", "password") == "new"
        secrets.delete_secret("database/connection")


def test_the_token_lives_on_by_itself(server, setup):
    """It ends neither with the operator's nor at a maximum, and renews itself."""
    setup("--env-file", ".env", "--token-ttl", "2h")
    data = server.call("GET", "auth/token/lookup-self", token=token_of())["data"]
    assert (data["orphan"], data["period"], data["renewable"], data["explicit_max_ttl"]) == (True, 7200, True, 0)
    assert data["policies"] == ["app-read", "database-read", "default"]
    assert server.call("POST", "auth/token/renew-self", {}, token=token_of())["auth"]["lease_duration"] == 7200


def test_the_env_file_keeps_its_other_lines_and_is_private(server, setup):
    """Also one that others could read before: there was no token in it then."""
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
    """A mode that gives its owner less stays."""
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
def test_an_env_file_that_cannot_be_written_rightly_is_refused_before_a_token_is_made(server, setup, text, said):
    """What is in it is not shown."""
    Path(".env").write_bytes(text.encode(errors="surrogateescape"))
    with unchanged(server):
        done = setup("--env-file", ".env")
    assert done.code == 7
    assert said in done.err
    assert "s.other" not in done.err
    assert setup("--env-file", "no/such/folder/.env").code == 7
    assert not server.requests("auth/token/create-orphan", operation="update")


def test_a_good_token_of_somebody_else_is_replaced_by_a_yes_alone(server, setup):
    """A root token that the file has may be the only copy of it; one for another server is never sent to this one."""
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


def test_a_token_that_could_not_be_written_is_revoked(server, setup, monkeypatch):
    """Nobody has it, and it would live on."""

    def fail(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Replacement, "commit", fail)
    server.issue_token({"secret/data/x": ["read"]})  # a list of nothing would be a 404
    before = server.call("LIST", "auth/token/accessors")["data"]["keys"]
    done = setup("--env-file", ".env")
    assert done.code == 7
    assert server.call("LIST", "auth/token/accessors")["data"]["keys"] == before
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("wrapping", ["0", "10m"])
def test_a_secret_id_that_could_not_be_written_is_destroyed(server, setup, monkeypatch, wrapping):
    """Nobody has it, and it would be good for logins; also what a wrapping token holds."""
    assert setup("--approle", "myapp").code == 0
    made = []

    def fail(self, content):
        made.append(content.decode().strip())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Replacement, "commit", fail)
    done = setup("--approle", "myapp", "--secret-id-file", "f", "--wrap-ttl", wrapping)
    assert done.code == 7
    assert made[0] not in done.out + done.err
    with pytest.raises(StoreError, match="404"):
        server.call("LIST", "auth/approle/role/myapp/secret-id")


# --- secrets are for their taker --------------------------------------------------------------------------------------


def test_no_secret_is_in_a_log(server, command):
    """Neither the operator's nor the application's, however much is said; nor a secret_id, wrapped or not."""
    every = []
    for arguments in (
        ("--env-file", ".env"),
        ("--approle", "a", "--secret-id-file", "wrapped"),
        ("--approle", "b", "--secret-id-file", "bare", "--wrap-ttl", "0"),
        ("--env-file", ".env", "--json"),
        ("--approle", "a"),
    ):
        done = command("--verbose", "vault", "setup", *arguments)
        assert done.code == 0
        every.append(done.out + done.err)
    secrets = [server.token, token_of(), Path("wrapped").read_text().strip(), Path("bare").read_text().strip()]
    assert all(len(secret) > 8 for secret in secrets)
    for said in every:
        assert not [secret for secret in secrets if secret in said]


def test_without_somebody_to_take_it_no_token_is_made(server, setup):
    """A token in a log would be one for all who read it: it says what to do instead."""
    done = setup()
    assert done.out == f"VAULT_ADDR={server.url}\n"
    assert "--env-file" in done.err
    assert not server.requests("auth/token/create-orphan", operation="update")


def test_a_token_is_printed_where_that_is_asked_for(server, setup):
    """On stdout alone, as lines of a .env file, or in the document."""
    done = setup("--reveal")
    found = env_file.values(done.out, "stdout")
    assert found["VAULT_ADDR"] == server.url
    assert server.call("GET", "auth/token/lookup-self", token=found["VAULT_TOKEN"])["data"]["orphan"]
    assert found["VAULT_TOKEN"] not in done.err
    assert json.loads(setup("--reveal", "--json").out)["token"]


def test_a_token_on_the_command_line_is_not_understood(server, setup):
    """Every process of the machine could read it there."""
    done = setup("--token", "s.canary-7f3a")
    assert done.code == 2


# --- roles ------------------------------------------------------------------------------------------------------------


def test_an_approle_logs_in_with_its_wrapped_secret_id(server, setup, command, monkeypatch):
    """As the guide has it, an hour and at most four; a second run finds it all, until the secret_id is opened."""
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


def test_a_bare_secret_id_is_found_again(server, setup):
    """It is the role's until it ends."""
    arguments = ("--approle", "myapp", "--secret-id-file", "bare", "--wrap-ttl", "0")
    done = setup(*arguments)
    assert "secret_id_file" in done.out
    secret_id = Path("bare").read_text().strip()
    role_id = json.loads(setup("--approle", "myapp", "--json").out)["role_id"]
    login = {"role_id": role_id, "secret_id": secret_id}
    assert server.call("POST", "auth/approle/login", login)["auth"]["policies"] == [
        "app-read",
        "database-read",
        "default",
    ]
    with unchanged(server):
        assert setup(*arguments).code == 0
    server.call("POST", "auth/approle/role/myapp/secret-id/destroy", {"secret_id": secret_id})
    assert setup(*arguments, "--dry-run").code == 10


def test_a_role_that_differs_is_named_field_by_field(server, setup):
    """And replaced by a yes alone; what else is set in it stays."""
    setup("--approle", "myapp")
    server.call("POST", "auth/approle/role/myapp", {"token_ttl": "10m", "secret_id_num_uses": 3})
    done = setup("--approle", "myapp")
    assert done.code == 2
    assert "token_ttl is 600, not 3600" in done.err
    assert setup("--approle", "myapp", "--yes").code == 0
    role = server.call("GET", "auth/approle/role/myapp")["data"]
    assert (role["token_ttl"], role["secret_id_num_uses"]) == (3600, 3)


def test_a_role_of_kubernetes_is_bound_to_one_service_account(server, setup):
    """What its method still needs is said."""
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
        ("--approle", "app."),
        ("--kubernetes-role", "my role", "--service-account", "c/d"),
        ("--approle", "a", "--env-file", ".env"),
        ("--token-ttl", "soon"),
        ("--policy-prefix", "../"),
    ],
)
def test_options_that_do_not_go_together_are_refused(setup, monkeypatch, arguments):
    """Before anything is sent: nobody listens there."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    done = setup(*arguments)
    assert (done.code, done.out) == (2, "")


# --- audit ------------------------------------------------------------------------------------------------------------


def test_a_server_that_takes_no_audit_device_through_its_api_says_so(server, setup, tmp_path):
    """As OpenBao does: all else is done, and the code is that of what is done in part."""
    done = setup("--audit-file", tmp_path / "x.log")
    assert done.code == 8
    assert "refused: audit device" in done.err
    assert setup("--json", "--dry-run").code == 0
    assert outcomes(setup("--json"))["audit device"] == "exists"


class Permissive(TestVault):
    """An OpenBao that takes audit devices through its API, as Vault does."""

    def _configuration(self, binary, port):
        return f"{super()._configuration(binary, port)}\nunsafe_allow_api_audit_creation = true\n"


def test_an_audit_device_is_made_where_the_api_allows_it(setup, tmp_path, monkeypatch):
    """And found again; without the option, it is only said that there is none."""
    with Permissive() as server:
        monkeypatch.setenv("VAULT_ADDR", server.url)
        monkeypatch.setenv("VAULT_TOKEN", server.token)
        assert "there is none" in setup("--dry-run").err
        file = tmp_path / "audit.log"
        assert setup("--audit-file", file).code == 0
        assert '"secret/metadata/api-keys/openai"' in file.read_text()
        assert setup("--audit-file", file, "--dry-run").code == 0


# --- rights -----------------------------------------------------------------------------------------------------------

OPERATOR = {
    "sys/capabilities-self": ["update"],
    "sys/mounts/secret": ["read", "update"],
    "sys/policies/acl/app-read": ["read", "update"],
    "sys/policies/acl/database-read": ["read", "update"],
    "sys/policies/acl/database-write": ["read", "update"],
    "secret/metadata/*": ["read", "create"],
    "auth/token/create-orphan": ["update", "sudo"],
}
"""All that an operator needs for a token of an application."""


def test_an_operator_needs_no_more_than_this(server, setup, monkeypatch):
    """Also where the mount is not there yet."""
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
"""What it takes besides for an AppRole."""


def test_an_operator_of_an_approle_needs_no_more_than_this(server, setup, monkeypatch):
    """What reads the role_id is asked about before the role is made, too."""
    rules = {path: names for path, names in OPERATOR.items() if not path.startswith("auth/")}
    arguments = ("--approle", "myapp", "--secret-id-file", "wrapped")
    for lacking in ROLES:
        some = {path: names for path, names in ROLES.items() if path != lacking}
        monkeypatch.setenv("VAULT_TOKEN", server.issue_token(rules | some))
        with unchanged(server):
            done = setup(*arguments)
        assert done.code == 4
        assert lacking in done.err
    monkeypatch.setenv("VAULT_TOKEN", server.issue_token(rules | ROLES))
    assert setup(*arguments).code == 0
    assert setup(*arguments, "--dry-run").code == 0


@pytest.mark.parametrize("lacking", sorted(OPERATOR))
def test_what_an_operator_lacks_is_named_before_anything_is_changed(server, setup, monkeypatch, lacking):
    """4, with the path and the capability."""
    server.call("DELETE", "sys/mounts/secret")
    rules = {path: names for path, names in OPERATOR.items() if path != lacking}
    monkeypatch.setenv("VAULT_TOKEN", server.issue_token(rules))
    with unchanged(server):
        done = setup("--env-file", ".env")
    assert (done.code, done.out) == (4, "")
    assert lacking.removesuffix("*") in done.err
    assert not Path(".env").exists()


def test_a_token_without_rights_and_one_that_is_wrong_are_told_apart(server, setup, monkeypatch):
    """Both are 4: the one lacks rights, the other is not accepted."""
    weak = server.issue_token({"secret/data/x": ["read"]})
    monkeypatch.setenv("VAULT_TOKEN", weak)
    done = setup()
    assert done.code == 4
    assert "The token lacks" in done.err
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
    """The store's own way to log in is the application's. Without another, it is taken, and said to lack rights."""
    Path("app-token").write_text(server.issue_token({"secret/data/*": ["read"]}))
    table = f'auth = {{ method = "token-file", token_file = "{Path("app-token").absolute()}" }}'
    Path("strongroom.toml").write_text(f'chain = ["vault"]\n[stores.vault]\n{table}\n')
    assert setup().code == 0
    monkeypatch.delenv("VAULT_TOKEN")
    done = setup("--mount", "other")
    assert done.code == 4


def test_an_ambient_token_never_goes_to_an_address_that_a_found_file_gives(server, setup):
    """As in every other command."""
    Path("strongroom.toml").write_text(f'chain = ["vault"]\n[stores.vault]\nurl = "{server.url}"\n')
    with unchanged(server):
        assert setup().code == 7


def test_the_token_is_asked_for_on_a_terminal(server):
    """Without echo, and a no to the question that follows changes nothing."""
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


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_is_what_is_wanted_less_what_is_found():
    """Pure: the mount comes first of what it is needed for, and what is there has nothing to be done."""
    wanted = Goal("kv", "team", {"p": ("a", "b")}, {"x/y": "Y"})
    assert [step.state for step in plan(wanted, ServerState())] == [State.SKIPPED, *[State.MISSING] * 3]
    _, mount, policy, path = plan(wanted, ServerState(mounted=True, policies={"p": "b"}, structure=frozenset({"x/y"})))
    assert {mount.state, policy.state, path.state} == {State.EXISTS}
    assert (mount.requests, policy.requests, path.requests) == ((), (), ())
    (*_, path) = plan(wanted, ServerState())
    assert path.requests[0].target == "/v1/kv/metadata/team/x/y"
    assert path.requests[0].content == {"custom_metadata": {"description": "Y"}, "metadata_cas": 0}


def test_a_role_differs_in_what_is_wanted_of_it_alone():
    """The order of its policies is no difference, nor is what nobody asked for."""
    role = Role("approle", "approle", "r", {"token_policies": ["a", "b"], "token_ttl": 60})
    found = ServerState(mounted=True, method="approle", role={"token_policies": ["b", "a"], "token_ttl": 60, "more": 1})
    assert plan(Goal("kv", role=role), found)[-1].state is State.EXISTS
    found = ServerState(mounted=True, method="approle", role={"token_policies": [], "token_ttl": 60})
    step = plan(Goal("kv", role=role), found)[-1]
    assert (step.state, step.detail) == (State.DIFFERS, "token_policies is nothing, not a, b")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", "A=new\n"),
        ("X=1", "X=1\nA=new\n"),
        ("A=old\r\nX=1\r\n", "A=new\nX=1\r\n"),
        ("A=1\nX='\nA=inside\n'\nA=2\n", "X='\nA=inside\n'\nA=new\n"),
        ("\n\n  export A = 'old' # why\n# end\n", "\n\n  export A=new # why\n# end\n"),
    ],
)
def test_a_value_is_put_in_the_place_of_the_old_one(text, written):
    """By python-dotenv's own grammar: what stands inside another value is that value's."""
    assert env_file.with_values(text, {"A": "new"}, ".env") == written
