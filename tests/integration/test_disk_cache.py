"""The disk cache with a real OpenBao: what processes that live for a second ask, and what they get while it is down."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from strongroom import PermissionDeniedError, SecretNotFoundError, SecretsManager, StoreUnavailableError
from strongroom.errors import StoreError
from support.vault.proxy import FaultProxy

pytestmark = pytest.mark.long

CANARY = "canary-4c1e"

READ = """
import json, sys
from strongroom import SecretsManager
with SecretsManager(enable_fallback=False) as secrets:
    found = secrets.resolve("db/app", "k")
    loaded = {name.partition(".")[0] for name in sys.modules} | {name for name in sys.modules if "x509" in name}
print(json.dumps({"value": found.value, "cached": found.cached, "stale": found.stale, "loaded": sorted(loaded)}))
"""
HEAVY = {
    *("hvac", "requests", "urllib3", "pycurl", "ssl", "http", "subprocess", "decimal"),
    *("cryptography.x509", "cryptography.hazmat.primitives.asymmetric"),
}


@pytest.fixture
def server(fresh_openbao, monkeypatch, tmp_path):
    """A server with one secret, and an environment that configures it and the cache."""
    fresh_openbao.call("POST", "secret/data/db/app", {"data": {"k": CANARY, "other": "x"}})
    monkeypatch.setenv("VAULT_ADDR", fresh_openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", fresh_openbao.token)
    monkeypatch.setenv("STRONGROOM_CACHE_DISK", "true")
    monkeypatch.setenv("STRONGROOM_CACHE_FOLDER", str(tmp_path / "cache"))
    return fresh_openbao


def start(code=READ, **environment):
    """Start a process that runs this code."""
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})


def answer(process):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return json.loads(output)


def start_together(code, count):
    """Answers of processes that go on at the same moment, after they have started, and have time to wait."""
    command, environment = [sys.executable, "-c", code], {**os.environ, "STRONGROOM_TIMEOUT": "240"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment}
    processes = [subprocess.Popen(command, **pipes, text=True) for _ in range(count)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return [answer(process) for process in processes]


def open_manager(**arguments):
    return SecretsManager(enable_fallback=False, **arguments)


def test_a_second_process_asks_nothing_and_loads_no_library_for_it(server):
    assert answer(start())["value"] == CANARY
    before = len(server.audit_entries())
    second = answer(start())
    assert (second["value"], second["cached"], second["stale"]) == (CANARY, True, False)
    assert set(second["loaded"]) & HEAVY == set()
    assert len(server.audit_entries()) == before


def test_the_command_line_serves_a_hit_and_says_its_age(server):
    with open_manager() as secrets:
        secrets.get_secret("db/app")
    before = len(server.audit_entries())
    command = [Path(sys.executable).parent / "strongroom", "get", "db/app", "k", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(found.stdout)["cached"] is True
    assert len(server.audit_entries()) == before


def test_processes_that_start_while_the_server_is_down_get_a_stale_secret(server, monkeypatch):
    with FaultProxy(server.url) as door:
        monkeypatch.setenv("VAULT_ADDR", door.url)
        with open_manager(cache_ttl=0.001) as secrets:
            secrets.get_secret("db/app")
    found = answer(start(STRONGROOM_CACHE_TTL="0.001"))
    assert (found["value"], found["cached"], found["stale"]) == (CANARY, True, True)
    with open_manager(cache_ttl=0.001) as secrets, pytest.raises(StoreUnavailableError):
        secrets.get_secret("db/gone")


def test_a_write_of_one_process_is_read_by_all(server):
    with open_manager() as one, open_manager() as two:
        assert one.get_secret("db/app", "k") == CANARY
        two.set_secret("db/app", {"k": "new"})
        with open_manager() as three:
            assert three.get_secret("db/app") == {"k": "new", "other": "x"}
        two.delete_secret("db/app")
        with open_manager() as three, pytest.raises(SecretNotFoundError):
            three.get_secret("db/app")


def test_a_migration_and_an_operator_count_for_all(server):
    strongroom, usual = Path(sys.executable).parent / "strongroom", open_manager()
    assert usual.get_secret("db/app", "k") == CANARY
    Path("new.json").write_text('{"db/app": {"k": "new"}}', "utf-8")
    Path("new.json").chmod(0o600)
    migrate = ["migrate", "--from", "json:new.json", "--to", "vault", "--on-conflict", "overwrite", "--yes"]
    subprocess.run([strongroom, *migrate], check=True, timeout=60)
    with open_manager() as secrets:
        assert secrets.get_secret("db/app", "k") == "new"
    policy = 'path "secret/data/*" { capabilities = ["read", "create", "update"] }'
    server.call("POST", "sys/policies/acl/operator", {"policy": policy})
    token = server.call("POST", "auth/token/create", {"policies": ["operator"]})["auth"]["client_token"]
    with open_manager(vault_token=token) as operator:
        operator.set_secret("db/app", {"k": "newer"})
    with open_manager() as secrets:
        assert secrets.get_secret("db/app", "k") == "newer"
    usual.close()


def test_another_token_namespace_or_mount_finds_nothing(server, monkeypatch):
    with open_manager() as secrets:
        secrets.get_secret("db/app")
    child = server.call("POST", "auth/token/create", {"policies": ["default"]})["auth"]["client_token"]
    for variable, value in {"VAULT_TOKEN": child, "VAULT_NAMESPACE": "elsewhere"}.items():
        with monkeypatch.context() as patch, open_manager() as usual:
            patch.setenv(variable, value)
            with open_manager() as secrets, pytest.raises(Exception, match=r"denied|Nothing answers"):
                secrets.get_secret("db/app")
            assert usual.resolve("db/app").cached
    chain = [{"store": "vault", "disk": False}]
    with open_manager(chain=chain) as secrets:
        assert not secrets.resolve("db/app").cached


def test_a_denial_removes_the_entry(server):
    policy = 'path "secret/data/db/*" { capabilities = ["read"] }'
    server.call("POST", "sys/policies/acl/reader", {"policy": policy})
    token = server.call("POST", "auth/token/create", {"policies": ["reader"]})["auth"]["client_token"]
    with FaultProxy(server.url) as door, open_manager(vault_url=door.url, vault_token=token) as secrets:
        assert secrets.get_secret("db/app", "k") == CANARY
        server.call("POST", "sys/policies/acl/reader", {"policy": policy.replace("db", "other")})
        with pytest.raises(PermissionDeniedError):
            secrets.get_secret("db/app", fresh=True)
    with open_manager(vault_url=door.url, vault_token=token) as secrets, pytest.raises(StoreUnavailableError):
        secrets.get_secret("db/app")


def test_many_processes_that_start_at_once_read_each_secret_once(server):
    count = 20 if not os.environ.get("TEST_DISK_CACHE_LONG") else 50
    code = READ.replace("from strongroom import", "sys.stdin.readline()\nfrom strongroom import")
    found = [each["value"] for each in start_together(code, count)]
    assert found == [CANARY] * count
    assert server.requests("secret/data/db/app") == 1


def test_many_processes_read_each_of_many_secrets_once(server):
    """Each asks for all of them in one batch."""
    count, secrets = (50, 100) if os.environ.get("TEST_DISK_CACHE_LONG") else (6, 30)
    for number in range(secrets):
        server.call("POST", f"secret/data/many/{number}", {"data": {"k": str(number)}})
    code = f"""
import json, sys
from strongroom import SecretsManager
sys.stdin.readline()
with SecretsManager(enable_fallback=False) as secrets:
    found = secrets.get_secrets([f"many/{{number}}" for number in range({secrets})], strict=True)
print(json.dumps([secret["k"] for secret in found.values()]))
"""
    found = start_together(code, count)
    assert found == [[str(number) for number in range(secrets)]] * count
    assert [server.requests(f"secret/data/many/{number}") for number in range(secrets)] == [1] * secrets


def test_scripts_with_an_approle_log_in_once_and_leave_no_token(server, monkeypatch):
    """The login is that of the first; the others get their secret without one, until it has expired.

    The long form starts 100 a minute, for three minutes.
    """
    starts, pause, ttl = (300, 0.6, 30) if os.environ.get("TEST_DISK_CACHE_LONG") else (4, 0.0, 300)
    server.call("POST", "sys/auth/approle", {"type": "approle"})
    server.call("POST", "sys/policies/acl/app", {"policy": 'path "secret/data/*" { capabilities = ["read"] }'})
    server.call("POST", "auth/approle/role/app", {"token_policies": "app"})
    role = server.call("GET", "auth/approle/role/app/role-id")["data"]["role_id"]
    secret = server.call("POST", "auth/approle/role/app/secret-id", {})["data"]["secret_id"]
    monkeypatch.delenv("VAULT_TOKEN")
    auth = {"method": "approle", "role_id": role, "secret_id": secret}
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_AUTH", json.dumps(auth))
    monkeypatch.setenv("STRONGROOM_CACHE_TTL", f"{ttl}s")
    monkeypatch.setenv("STRONGROOM_TIMEOUT", "240")
    # Without another link the store has the whole time, which a busy machine needs.
    Path("strongroom.toml").write_text('chain = ["vault"]\n', "utf-8")
    script = 'import json; from strongroom import get_secret; print(json.dumps(get_secret("db/app", "k")))'
    before = accessors(server)
    first = time.monotonic()
    processes = [start(script)]
    assert answer(processes[0]) == CANARY
    for number in range(1, starts):
        time.sleep(max(0.0, first + number * pause - time.monotonic()))
        processes.append(start(script))
    assert [answer(process) for process in processes[1:]] == [CANARY] * (starts - 1)
    logins = server.requests("auth/approle/login", operation="update")
    assert 1 <= logins <= 1 + (time.monotonic() - first) // ttl
    assert server.requests("auth/token/revoke-self", operation="update") == logins
    assert accessors(server) == before


def accessors(server):
    """Return the accessors of all tokens of this namespace that are alive."""
    try:
        return set(server.call("LIST", "auth/token/accessors")["data"]["keys"])
    except StoreError:  # 404: no token is alive
        return set()


def test_nothing_in_the_folder_is_readable(server, tmp_path):
    with open_manager() as secrets:
        secrets.get_secrets(["db/app", "db/gone"])
    content = b"".join(file.read_bytes() for file in (tmp_path / "cache").iterdir())
    assert len(content) > 4096
    for word in (CANARY, "db/app", "db/gone", "app", "secret", server.token, server.url, "vault"):
        assert not re.search(re.escape(word.encode()), content), word


def test_explain_says_how_old_the_entry_on_disk_is(server):
    strongroom = Path(sys.executable).parent / "strongroom"
    with open_manager() as secrets:
        secrets.get_secret("db/app")
    for command, words in {
        ("--verbose", "get"): r"version 1, disk cache, \d+ s old",
        ("explain",): r"found \(disk cache, \d+ s old\)",
    }.items():
        done = subprocess.run([strongroom, *command, "db/app", "k"], capture_output=True, text=True, check=True)
        assert re.search(words, done.stdout + done.stderr), done
