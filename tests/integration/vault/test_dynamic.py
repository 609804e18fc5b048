"""Credentials that OpenBao's database engine makes on a real PostgreSQL: what is served works, and ends in time."""

import json
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from strongroom import SecretsManager
from strongroom._boundary.guard import GuardedStore
from strongroom._cli.app import run
from strongroom.errors import (
    ConfigurationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store import time_limit
from strongroom_vault.dynamic.dynamic_store import open_vault_dynamic
from support.forks import forked
from support.representatives import some
from support.services.postgres import running_postgres

PATH, PLACE = "database/app", "creds/app"
POLICY = {"{}/creds/*": ["read"], "{}/static-creds/*": ["read"]}
LEASES = {"sys/leases/renew": ["update"], "sys/leases/revoke": ["update"]}
CREATION = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
ENDED = 60.0
"""How long a server may take for what it does in its own time, in seconds: much more than it needs."""


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


class Engine:
    """A database engine of a server's, mounted for one test."""

    def __init__(self, vault, postgres):
        self.vault = vault
        self.postgres = postgres
        self.mount = f"database-{secrets.token_hex(4)}"
        vault.call("POST", f"sys/mounts/{self.mount}", {"type": "database"})
        address = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{postgres.port}/postgres?sslmode=disable"
        connection = {
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": "*",
            "connection_url": address,
            "username": "postgres",
            "password": postgres.password,
            "password_authentication": "scram-sha-256",
        }
        vault.call("POST", f"{self.mount}/config/main", connection)

    def role(self, default="1h", longest="24h", name="app"):
        role = {"db_name": "main", "creation_statements": CREATION, "default_ttl": default, "max_ttl": longest}
        self.vault.call("POST", f"{self.mount}/roles/{name}", role)

    def options(self, **more):
        return {
            "url": self.vault.url,
            "token": self.vault.token,
            "mount": self.mount,
            "paths": {PATH: PLACE},
            **more,
        }

    def token(self, rules=LEASES):
        return self.vault.issue_token({path.format(self.mount): verbs for path, verbs in (POLICY | rules).items()})

    def leases(self, name="app"):
        """How many there are now, by the server's own count."""
        try:
            return len(self.vault.call("LIST", f"sys/leases/lookup/{self.mount}/creds/{name}")["data"]["keys"])
        except StoreError as error:
            if "HTTP 404" not in str(error):
                raise
            return 0

    def made(self, name="app"):
        """How many were ever asked for."""
        return self.vault.requests(f"{self.mount}/creds/{name}")

    def revoke_all(self):
        self.vault.call("PUT", f"sys/leases/revoke-prefix/{self.mount}", {"sync": True})


@pytest.fixture(scope="module")
def postgres():
    with running_postgres() as server:
        yield server


@pytest.fixture
def engine(openbao, postgres):
    mounted = Engine(openbao, postgres)
    yield mounted
    mounted.revoke_all()
    openbao.call("DELETE", f"sys/mounts/{mounted.mount}")


@pytest.fixture
def opened(engine):
    """A function that opens the store, behind its front. Its attribute `store` is the last one itself."""
    fronts = []

    def open_(**options):
        open_.store = open_vault_dynamic(**engine.options(**options))
        fronts.append(GuardedStore(open_.store, "db"))
        return fronts[-1]

    yield open_
    for front in fronts:
        front.close()


@pytest.fixture
def manager_of(tmp_path, engine):
    """A function that makes a manager of a chain with the store, as a configuration file has it."""
    managers = []

    def make(cache="ttl = 300"):
        managers.append(SecretsManager.from_config(write_configuration(tmp_path, engine, cache=cache)))
        return managers[-1]

    yield make
    for manager in managers:
        manager.close()


def write_configuration(folder, engine, *, chain='["db"]', cache="ttl = 300", more=""):
    file = folder / "strongroom.toml"
    file.write_text(
        f'chain = {chain}\n[cache]\n{cache}\n[stores.db]\nplugin = "vault-dynamic"\nurl = "{engine.vault.url}"\n'
        f'token = "{engine.vault.token}"\nmount = "{engine.mount}"\npaths = {{ "{PATH}" = "{PLACE}" }}\n{more}',
        "utf-8",
    )
    return file


@pytest.fixture(autouse=True)
def passwords(monkeypatch, caplog):
    """Every password that was made. None of them is in a log, at whatever level, nor is a lease's name."""
    from strongroom_vault.dynamic import lease_client

    seen, kind = [], lease_client.IssuedCredentials

    def noted(lease_id, data, *rest, **more):
        seen.extend(filter(None, (str(data["password"]), lease_id)))
        return kind(lease_id, data, *rest, **more)

    monkeypatch.setattr(lease_client, "IssuedCredentials", noted)
    caplog.set_level(logging.DEBUG)
    yield seen
    for record in [*caplog.get_records("setup"), *caplog.get_records("call")]:
        text = f"{record.getMessage()} {vars(record)}"
        assert not [canary for canary in seen if canary in text]


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def wait_until(condition, limit=ENDED):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def let_in(engine, data):
    return engine.postgres.lets_in(data["username"], data["password"])


def read_what_lets_in(engine, read):
    """What a read gives, after a login with it; both again if the machine stalled in between."""
    while True:
        began = time.monotonic()
        data = read()
        if let_in(engine, data):
            return data
        assert time.monotonic() - began > 0.15, "what was served does not let in"


# --- what is read -----------------------------------------------------------------------------------------------------


def test_credentials_work_and_are_the_same_for_every_reader(engine, opened):
    """One lease for the path, however often it is read, and it says for how long it is good."""
    engine.role("1h")
    store = opened()
    first = store.read(PATH)
    assert let_in(engine, first.data)
    assert not engine.postgres.lets_in(first.data["username"], "another")
    assert 0.75 * 3600 < first.ttl < 0.95 * 3600
    assert store.read(PATH) == first
    assert (engine.made(), engine.leases()) == (1, 1)
    assert store.capabilities == {"dynamic", "probed"}


def test_thirty_two_threads_get_one_lease(engine, opened):
    """Past the cache too: who comes while the engine is asked waits for the answer."""
    engine.role()
    store, ready = opened(), threading.Barrier(32)

    def read(_):
        ready.wait(30)
        return store.read(PATH).data["username"]

    with ThreadPoolExecutor(32) as pool:
        assert len(set(pool.map(read, range(32)))) == 1
    assert engine.made() == 1


@pytest.mark.long
def test_they_are_renewed_while_they_are_read_and_replaced_before_they_end(engine, opened, caplog):
    """Past the length of a lease, up to the greatest age; and whatever a read gives lets in."""
    engine.role("4s", "8s")
    store, began, users = opened(), time.monotonic(), {}
    while len(users) < 2:
        data = read_what_lets_in(engine, lambda: store.read(PATH).data)
        users.setdefault(data["username"], time.monotonic() - began)
        assert time.monotonic() < began + ENDED
        time.sleep(0.05)
    assert min(list(users.values())[1:]) > 4.0
    assert engine.made() == 2
    assert not [said for said in warnings_of(caplog) if "not renewed" in said]


def test_who_asks_for_another_path_is_told_that_there_is_none(engine, opened):
    """A confirmed absence, for which nothing is asked: the next link goes on."""
    engine.role()
    with pytest.raises(SecretNotFoundError, match="paths"):
        opened().read("database/other")
    assert engine.made() == 0


def test_a_static_roles_password_is_good_until_it_is_rotated(engine, opened, postgres):
    """Nothing is leased, so that nothing is renewed or revoked; and each read asks, since a rotation may come early."""
    user = f"static_{secrets.token_hex(4)}"
    postgres.run(f"CREATE ROLE {user} LOGIN")
    role = {"db_name": "main", "username": user, "rotation_period": "1h"}
    engine.vault.call("POST", f"{engine.mount}/static-roles/app", role)
    store = opened(paths={PATH: "static-creds/app"})
    first = store.read(PATH)
    assert let_in(engine, first.data)
    assert 3590 < first.ttl <= 3600
    engine.vault.call("POST", f"{engine.mount}/rotate-role/app")
    second = store.read(PATH)
    assert (let_in(engine, first.data), let_in(engine, second.data)) == (False, True)
    store.close()
    assert let_in(engine, second.data)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_no_cache_outlives_a_lease(engine, manager_of):
    """With 300 s to live in the cache, and a lease of two that cannot be stretched: what is read always lets in."""
    engine.role("2s", "2s")
    secrets_ = manager_of()
    users = set()
    while len(users) < 2:
        data = read_what_lets_in(engine, lambda: secrets_.get_secret(PATH))
        users.add(data["username"])
        time.sleep(0.05)


@pytest.mark.long
def test_an_outage_serves_what_lives_and_never_what_has_ended(own_openbao, postgres, tmp_path):
    """Neither the store nor a cache that may be an hour stale: after the end there is an error, at every read."""
    engine = Engine(own_openbao, postgres)
    engine.role("2s", "2s")
    file = write_configuration(tmp_path, engine, cache="ttl = 300\nmax_stale = 3600")
    with SecretsManager.from_config(file) as secrets_:
        secrets_.get_secret(PATH)
        began = time.monotonic()
        own_openbao.kill()
        served, refused = 0.0, 0
        while refused < 5:
            asked = time.monotonic() - began
            try:
                secrets_.get_secret(PATH)
            except StoreUnavailableError:
                refused += 1
            else:
                served = asked
                assert not refused
            time.sleep(0.05)
        assert served < 2.0 + 1.0


# --- how it ends ------------------------------------------------------------------------------------------------------


def test_close_revokes_what_was_made(engine, opened):
    """The user is gone from the database, long before the lease would have ended."""
    engine.role("1h")
    store = opened(token=engine.token())
    data = store.read(PATH).data
    assert data["username"] in engine.postgres.users()
    store.close()
    wait_until(lambda: data["username"] not in engine.postgres.users())
    assert not let_in(engine, data)
    assert engine.leases() == 0


def test_close_revokes_what_was_replaced_as_well(engine, opened):
    """Pools may still hold connections with it, so that it lives until then."""
    engine.role("1h")
    store = opened(token=engine.token({"sys/leases/renew": ["deny"], "sys/leases/revoke": ["update"]}))
    first = store.read(PATH).data["username"]
    role = opened.store.roles[PATH]
    role.credentials.end_renewals()
    second = store.read(PATH).data["username"]
    assert {first, second} <= engine.postgres.users()
    store.close()
    wait_until(lambda: not {first, second} & engine.postgres.users())


def test_where_leases_may_not_be_revoked_the_login_takes_them_along(engine, opened, caplog):
    """A token that a login gave is given back, and what hangs on it ends with it."""
    engine.role("1h")
    policy = engine.vault.write_policy({f"{engine.mount}/creds/*": ["read"], "auth/token/revoke-self": ["update"]})
    auth = approle(engine.vault, policy)
    store = opened(token=None, auth=auth)
    user = store.read(PATH).data["username"]
    store.close()
    wait_until(lambda: user not in engine.postgres.users())
    assert not warnings_of(caplog)


@pytest.mark.parametrize(
    ("terms", "reasons"),
    [
        ({}, ["auth/token/revoke-self", "on sys/leases/revoke, and the token was not revoked either"]),
        ({"token_type": "batch", "token_ttl": "1h"}, ["policies do not allow `update` on sys/leases/revoke. "]),
    ],
    ids=["may not revoke itself", "batch"],
)
def test_where_the_logins_token_cannot_be_revoked_what_is_left_is_said(engine, opened, caplog, terms, reasons):
    """What hangs on it lives on: a batch token is never revoked, and others only if their policies allow it."""
    engine.role("1h")
    policy = engine.vault.write_policy({f"{engine.mount}/creds/*": ["read"]})
    store = opened(token=None, auth=approle(engine.vault, policy, **terms))
    user = store.read(PATH).data["username"]
    store.close()
    assert user in engine.postgres.users()
    assert engine.leases() == 1
    said = warnings_of(caplog)
    assert len(said) == len(reasons)
    assert all(reason in text for reason, text in zip(reasons, said, strict=True))


def test_where_nothing_may_be_revoked_it_is_said_once(engine, opened, caplog):
    """How many, until when, and which right is missing."""
    engine.role("1h")
    store = opened(token=engine.token({}))
    user = store.read(PATH).data["username"]
    store.close()
    (said,) = warnings_of(caplog)
    assert "policies do not allow `update` on sys/leases/revoke. There are 1, and the last ends in 3" in said
    assert user in engine.postgres.users()


def approle(vault, policy, **terms):
    """An AppRole of its own with this policy, as the option `auth` names it."""
    name = f"app-{secrets.token_hex(4)}"
    if "approle/" not in vault.call("GET", "sys/auth")["data"]:
        vault.call("POST", "sys/auth/approle", {"type": "approle"})
    role = {"token_policies": policy, "token_no_default_policy": True, **terms}
    vault.call("POST", f"auth/approle/role/{name}", role)
    role_id = vault.call("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
    secret_id = vault.call("POST", f"auth/approle/role/{name}/secret-id")["data"]["secret_id"]
    return {"method": "approle", "role_id": role_id, "secret_id": secret_id}


def test_a_forks_child_has_its_own_and_leaves_its_parents_alone(engine, opened):
    """Who forks with an open store: the child neither uses, renews nor revokes what its parent has."""
    engine.role("1h")
    store = opened()
    mine = store.read(PATH).data

    def read_and_close():
        username = store.read(PATH).data["username"]
        store.close()
        return username

    its = forked(read_and_close)
    assert its != mine["username"]
    wait_until(lambda: its not in engine.postgres.users())
    assert let_in(engine, mine)
    assert store.read(PATH).data == mine


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_lease_that_an_operator_revokes_is_replaced(engine, opened, caplog):
    """At its next renewal it is found out."""
    engine.role("2s", "1h")
    store = opened()
    first = store.read(PATH).data["username"]
    engine.revoke_all()
    wait_until(lambda: store.read(PATH).data["username"] != first)
    assert let_in(engine, store.read(PATH).data)
    (said,) = warnings_of(caplog)
    assert "does not know their lease any more" in said


def test_without_the_right_to_renew_they_are_replaced(engine, opened, caplog):
    """Said once, whatever is said of the token: from then on none is renewed, and each is replaced before it ends."""
    engine.role("2s", "1h")
    store = opened(token=engine.token({"sys/leases/revoke": ["update"]}))
    users = set()
    while len(users) < 2:
        data = read_what_lets_in(engine, lambda: store.read(PATH).data)
        users.add(data["username"])
        time.sleep(0.05)
    (said,) = (text for text in warnings_of(caplog) if text.startswith("Credentials"))
    assert "`update` on sys/leases/renew" in said


def test_another_token_gets_other_credentials(engine, opened):
    """A lease ends with the token that asked for it: with a revoked one they are dead, however long they were good."""
    engine.role("1h")
    policy = engine.vault.write_policy({f"{engine.mount}/creds/*": ["read"]})
    store = opened(token=None, auth=approle(engine.vault, policy))
    first = store.read(PATH).data
    session = opened.store.session
    engine.vault.call("POST", "auth/token/revoke", {"token": str(session.active_token.token)})
    session.tokens.replacement(session.send, session.active_token)
    second = store.read(PATH).data
    assert second["username"] != first["username"]
    assert let_in(engine, second)
    wait_until(lambda: not let_in(engine, first))


def test_a_role_that_is_not_there_is_an_error_of_the_configuration(engine, opened):
    """The row names it: to take it for an absence would serve what a lower link has."""
    paths = {PATH: "creds/none", "database/odd": "nothing/here", "database/config": "config/main"}
    store = opened(paths=paths, max_retries=0)
    for path in (PATH, "database/odd"):
        with pytest.raises(ConfigurationError, match="paths: there is no '"):
            store.read(path)
    with pytest.raises(ConfigurationError, match=r"'config/main' for database/config at .* without a lease or an end"):
        store.read("database/config")


def test_who_may_not_is_denied(engine, opened):
    """Another role's right is enough to open the store."""
    engine.role()
    token = engine.vault.issue_token({f"{engine.mount}/creds/other": ["read"]})
    with pytest.raises(PermissionDeniedError):
        opened(token=token).read(PATH)


def test_a_database_that_is_down_is_an_outage(openbao):
    """Retryable, and the message says where to look."""
    with running_postgres() as postgres:
        engine = Engine(openbao, postgres)
        engine.role()
        postgres.stop()
        front = GuardedStore(open_vault_dynamic(**engine.options(max_retries=1)), "db")
        with pytest.raises(StoreUnavailableError, match="or the service behind it did") as failed:
            front.read(PATH)
        failed_at = time.monotonic()
        assert "Check that service" in failed.value.hint
        postgres.start()
        wait_until(lambda: time.monotonic() > failed_at + 1)  # what failed just now is not asked again
        assert let_in(engine, front.read(PATH).data)
        front.close()


def test_a_role_that_fails_leaves_the_others_alone(engine, tmp_path):
    """No breaker opens for it; it is not asked at every read, and each says what happened to it."""
    engine.role()
    statement = "NONSENSE {{name}} {{password}}"
    engine.vault.call("POST", f"{engine.mount}/roles/odd", {"db_name": "main", "creation_statements": statement})
    file = write_configuration(tmp_path, engine)
    text = file.read_text().replace("paths = {", 'paths = { "database/odd" = "creds/odd",')
    file.write_text(text.replace("[stores.db]", "[stores.db]\nmax_retries = 0"))
    with SecretsManager.from_config(file) as manager:
        for _ in range(3):
            with pytest.raises(StoreUnavailableError, match=r"database/odd .*or the service behind it did"):
                manager.get_secret("database/odd")
        assert engine.made("odd") < 3
        assert manager.get_secret(PATH, "username")
        with pytest.raises(StoreUnavailableError, match="or the service behind it did"):
            manager.get_secret("database/odd")
        assert manager.get_secret(PATH, "username")


def test_a_sealed_server_is_an_outage_and_what_lives_is_served(own_openbao, postgres):
    """It is not asked for what is good."""
    engine = Engine(own_openbao, postgres)
    engine.role()
    front = GuardedStore(open_vault_dynamic(**engine.options(paths={PATH: PLACE, "database/b": "creds/app"})), "db")
    data = front.read(PATH).data
    own_openbao.call("PUT", "sys/seal")
    assert front.read(PATH).data == data
    with time_limit(0.5), pytest.raises(StoreUnavailableError):
        front.read("database/b")
    with time_limit(0.5):
        front.close()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"paths": {}}, "paths: it names no path"),
        ({"paths": {"/app": "creds/app"}}, "paths: '/app'"),
        ({"paths": {"app": "../sys/mounts"}}, "paths: '../sys/mounts'"),
        ({"mount": "secret"}, "mount 'secret' .* is a key-value engine"),
        ({"mount": "no/such"}, "mount: there is no|Nothing answers|no rights"),
    ],
)
def test_a_wrong_option_is_named_when_the_store_is_opened(engine, options, fault):
    with pytest.raises((ConfigurationError, PermissionDeniedError), match=fault):
        open_vault_dynamic(**engine.options(**options))


def test_a_mount_below_the_engines_is_named(engine):
    with pytest.raises(ConfigurationError, match="is below the mount"):
        open_vault_dynamic(**engine.options(mount=f"{engine.mount}/creds"))


# --- who only looks ---------------------------------------------------------------------------------------------------

ROWS = '\n[secrets]\nAPP_USER = "database/app#username"\nAPP_PASSWORD = "database/app#password"\nKEY = "api/mail#key"\n'


@pytest.fixture
def configured(engine, kv2):
    """`./strongroom.toml`: what the engine makes, then a key-value engine, and the rows of both."""
    engine.role("2s", "1h")
    engine.vault.put("api/mail", {"key": "k"}, mount=kv2)
    engine.vault.put("api/mail", {"key": "k2"}, mount=kv2)
    more = f'[stores.kv]\nplugin = "vault"\nurl = "{engine.vault.url}"\ntoken = "{engine.vault.token}"\n'
    more += f'mount = "{kv2}"\n{ROWS}'
    return write_configuration(Path.cwd(), engine, chain='["db", "kv"]', more=more)


@pytest.fixture
def call():
    """Runs the command in this process; its exit code."""
    handlers = list(logging.getLogger().handlers)
    yield lambda *words: run(words)
    logging.getLogger().handlers[:] = handlers


@pytest.mark.usefixtures("configured")
def test_commands_that_look_make_no_lease(engine, call, capsys):
    """By the server's own audit: not one request. Beside it, what is not made is shown as ever."""
    assert call("check") == 0
    assert "APP_PASSWORD\tdatabase/app#password\trequired\tdynamic\tdb\t" in capsys.readouterr().out
    assert call("explain", "database/app#password") == 0
    assert "not asked" in capsys.readouterr().out
    assert call("explain", "api/mail#key") == 0
    assert call("list", "--recursive") == 0
    assert capsys.readouterr().out.endswith("api/mail\n")
    assert call("get", "database/app") == call("get", "database/app#password") == 6
    assert "strongroom run" in capsys.readouterr().err
    assert call("get", "api/mail#key") == 0
    assert call("export", "--format", "json") == 6
    assert "cannot export APP_USER" in capsys.readouterr().err
    assert call("doctor") == 0
    assert call("diff", "api/mail", "--versions", "1", "2") == 10
    assert call("diff", "database/app", "--versions", "1", "2") == 3
    assert call("history", "database/app") == 3
    assert call("config", "show") == call("config", "check") == 0
    with SecretsManager() as secrets_:
        assert secrets_.preload().keys() == {"api/mail"}
        assert secrets_.list_secrets("database") == []
        secrets_.set_secret("api/mail", {"key": "k3"})
    assert (engine.made(), engine.leases()) == (0, 0)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    "words",
    some(["get database/app#", "get database/app ", "set database/app "], lambda words: words == "get database/app#"),
)
def test_a_tab_makes_no_lease(engine, patient_script, words):
    """It offers the keys that the rows of [secrets] name."""
    variables = {
        **os.environ,
        "_STRONGROOM_COMPLETE": "bash_complete",
        "COMP_WORDS": f"strongroom {words}",
        "COMP_CWORD": str(len(words.split()) + words.endswith(" ")),
    }
    done = subprocess.run([patient_script], env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert "password" in done.stdout
    assert engine.made() == 0


def test_process_that_ends_without_close_revokes_its_leases(engine, tmp_path):
    """Those of a token that was given too: nothing else ends them before their time."""
    engine.role()
    program = (
        "import json, sys; from strongroom_vault.dynamic.dynamic_store import open_vault_dynamic\n"
        "store = open_vault_dynamic(**json.load(sys.stdin)); store.read('database/app')"
    )
    options = json.dumps(engine.options())
    subprocess.run([sys.executable, "-c", program], input=options, text=True, cwd=tmp_path, timeout=60, check=True)
    assert engine.made() == 1
    assert engine.leases() == 0


# --- a command that has them ------------------------------------------------------------------------------------------

SCRIPT = str(Path(sys.executable).parent / "strongroom")
LOGS_IN = """if True:
    import os, psycopg, signal, sys, time
    def logs_in():
        return psycopg.connect(host="127.0.0.1", port=int(sys.argv[1]), dbname="postgres",
            user=os.environ["APP_USER"], password=os.environ["APP_PASSWORD"]).info.user
    signal.signal(signal.SIGTERM, lambda *_: os._exit(5))  # an exception could fall into a destructor
    print(logs_in(), flush=True)
    for line in sys.stdin:
        print(logs_in(), flush=True)
"""


@pytest.mark.usefixtures("configured")
def test_run_keeps_them_while_its_command_runs_and_revokes_them_then(engine):
    """It renews the lease, which nobody else does; the signal and the exit code pass through."""
    engine.role("6s", "1h")
    renewed = engine.vault.requests("sys/leases/renew", operation="update")
    command = [SCRIPT, "run", sys.executable, "-c", LOGS_IN, str(engine.postgres.port)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            user = process.stdout.readline().strip()
            while engine.vault.requests("sys/leases/renew", operation="update") == renewed:
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stdout.readline().strip() == user
                time.sleep(0.1)
            assert engine.made() == 1
            process.terminate()
            assert process.wait(timeout=60) == 5  # before its input is closed: Python that ends at that heeds no signal
            assert process.communicate() == ("", "")
        finally:
            process.kill()
    wait_until(lambda: user not in engine.postgres.users())
    assert engine.leases() == 0


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["sh", "-c", "kill -TERM $$"], 143),
        (["no-such-command"], 127),
        pytest.param(["/"], 126, marks=pytest.mark.long),
    ],
)
def test_run_revokes_them_however_its_command_ends(engine, words, code):
    done = subprocess.run([SCRIPT, "run", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code
    wait_until(lambda: not engine.leases())
    assert engine.made() == 1


@pytest.mark.usefixtures("configured")
def test_run_says_when_its_command_needs_new_ones(engine):
    """Its environment cannot be changed any more: whoever looks after it is told to start it again."""
    engine.role("2s", "2s")
    with subprocess.Popen([SCRIPT, "run", "cat"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            advice = "strongroom: {} has a new value, and the old one expires soon: restart cat\n"
            missing = {advice.format(name) for name in ("APP_USER", "APP_PASSWORD")}
            while missing and (line := process.stderr.readline()):  # on a busy machine, warnings are among the lines
                missing.discard(line)
            assert not missing
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()
