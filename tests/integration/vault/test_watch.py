"""Watches on a real OpenBao: the requests of a look, its rights, and its changes."""

import json
import os
import queue
from pathlib import Path

import pytest

from strongroom import SecretsManager
from strongroom._boundary.guard import GuardedStore
from strongroom._manager.manager import parts_of
from strongroom.errors import SecretNotFoundError, UnsupportedOperationError
from strongroom.store import VersionInfo
from strongroom_vault.plugin import open_vault
from strongroom_vault.setup.policies import APP_READ, DATABASE_READ, DATABASE_WRITE, structure_policies
from support.clock import LONG
from support.forks import forked
from support.scenarios.watching import Looks


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


class Audited:
    """The requests of a server's audit file since the last look at it."""

    def __init__(self, server):
        self._file = server.audit_file
        self._read = self._file.stat().st_size

    def requests(self, mount):
        """Return (operation, path below the mount) for each request since the last call."""
        requests = []
        with self._file.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):  # the server is still writing it, for a request of another test
                    break
                self._read += len(line)
                entry = json.loads(line)
                requests += [entry["request"]] if entry["type"] == "request" else []
        return [
            (request["operation"], request["path"].removeprefix(f"{mount}/"))
            for request in requests
            if request["path"].startswith(f"{mount}/")
        ]


@pytest.fixture
def audited(openbao):
    return Audited(openbao)


@pytest.fixture
def opened(openbao, kv2):
    """A function that opens a guarded store on a separate mount, with a token of these rights."""
    stores = []

    def opener(rules=None, prefix=""):
        token = openbao.token if rules is None else openbao.issue_token(rules)
        stores.append(GuardedStore(open_vault(url=openbao.url, token=token, mount=kv2, prefix=prefix), "vault"))
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


def test_one_request_tells_the_newest_versions_of_a_folder(openbao, kv2, opened, audited):
    store = opened()
    for number in range(30):
        openbao.put(f"app/{number}", {"k": number}, mount=kv2)
    openbao.put("app/7", {"k": "new"}, mount=kv2)
    openbao.call("DELETE", f"{kv2}/data/app/9")
    audited.requests(kv2)
    found = dict(store.newest_versions([*(f"app/{number}" for number in range(30)), "app/absent"]))
    assert audited.requests(kv2) == [("list", "detailed-metadata/app/")]
    for path, newest in found.items():
        if path == "app/absent":
            assert isinstance(newest, SecretNotFoundError)
        else:
            assert isinstance(newest, VersionInfo)
            assert newest == store.versions(path)[-1]
            if path != "app/9":
                secret = store.read(path)
                assert (newest.version, newest.created) == (secret.version, secret.created)
    assert (found["app/7"].version, found["app/9"].deleted) == (2, True)


def test_a_prefix_a_top_folder_and_hard_names_work(openbao, kv2, opened):
    names = ["a", "b c", "per%cent", "quest?ion", "ü", "plus+"]
    for prefix in ("", "team/x"):
        store = opened(prefix=prefix)
        for name in names:
            for path in (name, f"folder name/{name}"):
                store.write(path, {"k": "v"})
        paths = [*names, *(f"folder name/{name}" for name in names)]
        found = dict(store.newest_versions(paths))
        assert {path: newest.version for path, newest in found.items()} == dict.fromkeys(paths, 1)


def test_without_the_list_the_metadata_of_each_secret_is_read(openbao, kv2, opened, audited):
    """As on Vault, which has no such list; and without that right, nothing is known without a read."""
    for path in ("app/a", "app/b"):
        openbao.put(path, {"k": "v"}, mount=kv2)
    store = opened({f"{kv2}/metadata/*": ["read"], f"{kv2}/data/*": ["read"]})
    for requests in ([("list", "detailed-metadata/app/")], []):  # it is refused once, and then not sent for minutes
        audited.requests(kv2)
        found = dict(store.newest_versions(["app/a", "app/b"]))
        assert {path: newest.version for path, newest in found.items()} == {"app/a": 1, "app/b": 1}
        metadata = [("read", "metadata/app/a"), ("read", "metadata/app/b")]
        assert sorted(audited.requests(kv2)) == sorted([*requests, *metadata])
    store = opened({f"{kv2}/data/*": ["read"]})
    dict(store.newest_versions(["app/a", "app/b"]))
    audited.requests(kv2)
    found = dict(store.newest_versions(["app/a", "app/b"]))
    assert {type(error) for error in found.values()} == {UnsupportedOperationError}
    assert audited.requests(kv2) == []


def test_a_large_folder_is_not_listed_for_a_few_secrets(openbao, kv2, opened, audited):
    for number in range(25):
        openbao.put(f"app/{number}", {"k": "v"}, mount=kv2)
    store = opened()
    dict(store.newest_versions(["app/1", "app/2"]))
    audited.requests(kv2)
    dict(store.newest_versions(["app/1", "app/2"]))
    assert sorted(audited.requests(kv2)) == [("read", "metadata/app/1"), ("read", "metadata/app/2")]


def test_an_empty_folder_confirms_no_absence(openbao, kv2, opened):
    """A server without the list answers 404 too: each secret's metadata tells."""
    openbao.put("elsewhere", {"k": "v"}, mount=kv2)
    found = dict(opened().newest_versions(["none/a", "none/b"]))
    assert {type(error) for error in found.values()} == {SecretNotFoundError}


def test_unchanged_secrets_cost_one_request_a_look(openbao, kv2, audited):
    paths = [f"app/{number}" for number in range(120)]
    with _manager(openbao, kv2) as manager:
        store = parts_of(manager).chain.links[0].connection.open()
        for path, error in store.write_many((path, {"k": "v"}) for path in paths):
            assert error == 1, path
        look, changes = Looks(manager), []
        manager.watch(paths, changes.append)
        audited.requests(kv2)
        for _ in range(3):
            look()
        assert audited.requests(kv2) == [("list", "detailed-metadata/app/")] * 3
        openbao.put("app/100", {"k": "w"}, mount=kv2)
        audited.requests(kv2)
        look()
        assert audited.requests(kv2) == [("list", "detailed-metadata/app/"), ("read", "data/app/100")]
    assert [(change.path, change.old_version, change.new_version) for change in changes] == [("app/100", 1, 2)]


def test_a_recreated_secret_with_an_old_number_is_a_change(openbao, kv2):
    openbao.put("db", {"k": "v"}, mount=kv2)
    with _manager(openbao, kv2) as manager:
        look, changes = Looks(manager), []
        manager.watch(["db"], changes.append)
        openbao.call("DELETE", f"{kv2}/metadata/db")
        openbao.put("db", {"k": "w"}, mount=kv2)
        look()
    assert [(change.kind, change.keys, change.old_version, change.new_version) for change in changes] == [
        ("updated", ("k",), 1, 1)
    ]


@pytest.mark.parametrize("right", ["list", "read", "none"])
def test_a_change_is_delivered_with_every_set_of_rights(openbao, kv2, right):
    """The rights of `vault setup`, of a Vault policy with metadata, and of the smallest policy."""
    rules = {
        "list": {f"{kv2}/detailed-metadata/*": ["list"]},
        "read": {f"{kv2}/metadata/*": ["read"]},
        "none": {},
    }[right]
    for path in ("app/a", "app/b"):
        openbao.put(path, {"k": "v"}, mount=kv2)
    token = openbao.issue_token({f"{kv2}/data/*": ["read"], **rules})
    changes = queue.Queue()
    with _manager(openbao, kv2, token) as manager:
        manager.watch(["app/a", "app/b"], changes.put, interval=0.05)
        for number in range(2, 5):
            openbao.put("app/a", {"k": f"{number}"}, mount=kv2)
            assert changes.get(timeout=LONG).new_version == number
        openbao.call("DELETE", f"{kv2}/data/app/b")
        assert changes.get(timeout=LONG).kind == "deleted"


def test_the_policies_of_setup_allow_the_list(openbao, kv2, audited):
    """Each application policy, below its own folders."""
    for name in (APP_READ, DATABASE_READ, DATABASE_WRITE):
        folder = "api-keys" if name == APP_READ else "database"
        policy, _ = structure_policies(kv2, "")[name]
        openbao.call("POST", f"sys/policies/acl/{kv2}-{name}", {"policy": policy})
        token = openbao.call("POST", "auth/token/create", {"policies": [f"{kv2}-{name}"]})["auth"]["client_token"]
        paths = [f"{folder}/a", f"{folder}/b"]
        for path in paths:
            openbao.put(path, {"k": "v"}, mount=kv2)
        with _manager(openbao, kv2, token) as manager:
            look, changes = Looks(manager), []
            manager.watch(paths, changes.append)
            audited.requests(kv2)
            look()
            assert audited.requests(kv2) == [("list", f"detailed-metadata/{folder}/")]


def _manager(openbao, mount, token=None):
    store = open_vault(url=openbao.url, token=token or openbao.token, mount=mount)
    return SecretsManager(chain=[store])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_the_child_of_a_fork_watches_over_its_own_connection(openbao, kv2):
    """The parent looks all the time, so that a fork may come in the middle of a request."""
    paths = [f"app/{number}" for number in range(20)]
    for path in paths:
        openbao.put(path, {"k": path}, mount=kv2)
    options = f'url = "{openbao.url}"\ntoken = "{openbao.token}"\nmount = "{kv2}"\n'
    Path("strongroom.toml").write_text(f'chain = ["vault"]\n[stores.vault]\n{options}', "utf-8")
    changes = queue.SimpleQueue()  # a `Queue` has a lock, which a fork may find held
    with SecretsManager.from_config("strongroom.toml") as manager:
        manager.watch(paths, changes.put, interval=0.02)

        def work():
            manager.set_secret("app/7", {"k": "new"})
            found = changes.get(timeout=LONG)
            return [found.path, {path: manager.get_secret(path, "k").reveal() for path in paths}]

        for _ in range(3):
            path, values = forked(work)
            assert path == "app/7"
            assert values == {path: path for path in paths} | {"app/7": "new"}
            assert changes.get(timeout=LONG).path == "app/7"
