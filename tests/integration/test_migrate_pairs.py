"""Pairs of stores with clouds, etcd, manifests, a `.env` file or a program: exact, or impossible with a reason."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import pytest

from strongroom._config.discovery import load
from strongroom.errors import (
    InvalidDataError,
    InvalidPathError,
    MigrationError,
    SecretNotFoundError,
    SecretTooLargeError,
)
from strongroom.migrate import ItemState, PlannedState, runs
from strongroom.migrate.endpoints import Endpoints
from strongroom.migrate.variables_importer import open_dotenv
from strongroom.secret import Secret, same
from support.scenarios.migrations import HARD, apply, plan, undo, verify
from support.services.google import FakeSecretManager
from support.services.keepass import PASSWORD, make_database

pytestmark = pytest.mark.long

ODD_PATHS = {"with space", "%2e/percent", "unicode/ünïcode 🗝"}

CANNOT_HOLD = {
    "kv1": set(),
    "kv2": set(),
    "json": set(),
    "yaml": set(),
    "csv": set(),
    "secretsmanager": ODD_PATHS | {"long"},
    "ssm-keys": ODD_PATHS | {"long"},
    "ssm-secrets": ODD_PATHS | {"long"},
    "google": {"long"},
    "key-vault": {"long"},
    "etcd": set(),
    "k8s": {"with space", "%2e/percent"},  # for their keys
    "kubernetes-api": {"with space", "%2e/percent"},
    "keepass": {"nul"},
    # Values that are not text, are empty, or that a shell and python-dotenv would read differently.
    "dotenv": {"empty", "nul", "bytes", "look-alike", "nested", "numbers", "words", "lines"},
    "pass": set(),
    "sops": set(),
    "keyring": set(),
}
"""What each kind of store does not hold of the hard values, by the path."""

ALREADY = {"kv1", "kv2", "json", "yaml", "csv"}
"""`test_migrate.py` has the pairs of these, there and back."""

PROGRAMS = {"pass", "sops", "keyring"}
"""Stores of other programs, slow ones. The suite has them in `test_migrate_local.py`, there and back and undone."""

CLOUDS = {"secretsmanager", "google", "key-vault"}
"""The suite has each pair of these, too."""

UNDONE = {"google", "key-vault", "etcd", "kubernetes-api", "keepass"}
"""Kinds with which the suite undoes each run, too."""

ALL = "TEST_ALL_PAIRS" in os.environ
"""`nox -s pairs` sets it: each pair, those with a program too, and an undo of each run."""


def is_tested(origin, to):
    """Return True if this run has the pair. Unless it has all: each kind with itself, Vault both ways, two clouds."""
    both = {origin, to}
    usual = not both & PROGRAMS and ("kv2" in both or origin == to or both <= CLOUDS)
    return not both <= ALREADY and (ALL or usual)


PAIRS = [(origin, to) for origin in CANNOT_HOLD for to in CANNOT_HOLD if is_tested(origin, to)]


@pytest.fixture(scope="module")
def secret_manager():
    """The fake of Google with the sources of this module, each in a separate project."""
    with FakeSecretManager() as fake:
        yield fake


@pytest.fixture(autouse=True)
def configured(lasting_moto, lasting_azure, secret_manager, kubernetes_api, openbao, age_key, monkeypatch):
    """Specs lead to the shared servers, and each key of the hard values has a variable."""
    lasting_moto.use(monkeypatch)
    lasting_azure.use(monkeypatch)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # only Azure is behind the proxy
    monkeypatch.setenv("KUBECONFIG", str(kubernetes_api.kubeconfig(Path.home() / "kubeconfig")))
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    monkeypatch.setenv("KEEPASS_PASSWORD", PASSWORD)
    places = (f"{path}#{key}" for path, data in HARD.items() for key in data)
    rows = "".join(f"HARD_{number} = {json.dumps(place, ensure_ascii=False)}\n" for number, place in enumerate(places))
    layouts = (f'[stores.ssm-{layout}]\nplugin = "aws-ssm"\nlayout = "{layout}"\n' for layout in ("keys", "secrets"))
    sops = f'[stores.sops]\nplugin = "sops"\nidentity = "{age_key.file}"\nencrypt_to = ["{age_key.recipient}"]\n'
    google = f'[stores.google]\nplugin = "google-secretmanager"\nendpoint_url = "{secret_manager.url}"\n'
    Path("strongroom.toml").write_text(f"[secrets]\n{rows}{''.join(layouts)}{sops}{google}", "utf-8")


@pytest.fixture(autouse=True)
def programs(request, monkeypatch):
    """Get ready what the programs of this pair need, or skip with the name of the one that is missing."""
    parameters = set(request.node.callspec.params.values())
    if "pass" in parameters:
        request.getfixturevalue("gpg_home")
    if "etcd" in parameters:
        monkeypatch.setenv("ETCDCTL_ENDPOINTS", request.getfixturevalue("etcd").url)
    if "keyring" in parameters:
        request.getfixturevalue("session_keyring")


@pytest.fixture
def place(openbao, lasting_azure, lasting_kubernetes, gpg):
    """A function that gives the name of an empty store of a kind."""

    def named(kind, folder):
        if kind == "key-vault":
            return f"azure-keyvault:{lasting_azure.fresh_vault()}"
        if kind == "kubernetes-api":
            return f"{kind}:{lasting_kubernetes.fresh_namespace()}"
        return spec(kind, openbao, folder, gpg)

    return named


def spec(kind, openbao, folder, gpg):
    """The name of an empty store of this kind."""
    if kind == "pass":
        return f"command:pass/{gpg().init(folder / 'passwords')}"
    if kind in {"kv1", "kv2"}:
        return f"vault:{openbao.fresh_mount(version=int(kind[-1]))}/deep/er"
    fresh = secrets.token_hex(4)
    names = {
        "google": f"google:project-{fresh}",
        "keyring": f"keyring:strongroom-{fresh}",
        "secretsmanager": f"aws-secretsmanager:pairs{folder}",
        "sops": f"sops:{folder}/secrets.sops.yaml",
        "ssm-keys": f"ssm-keys:/pairs{folder}",
        "ssm-secrets": f"ssm-secrets:/pairs{folder}",
    }
    if kind == "keepass":
        make_database(folder / "secrets.keepass")
    return names.get(kind, f"{kind}:{folder}/secrets.{kind}")


@pytest.fixture(scope="module")
def sources():
    """Those that are filled already, by their kind."""
    return {}


@pytest.fixture
def gpg(request):
    """Return a function that returns the key of the password stores."""
    return lambda: request.getfixturevalue("gpg_home")


@pytest.fixture
def source(sources, place, tmp_path_factory):
    """A function that gives a source of this kind with all that it can hold, and what that is."""

    def filled(kind, ends):
        if kind not in sources:
            folder = tmp_path_factory.mktemp("source")
            name = place(kind, folder)
            outcomes = dict(ends.target(name).write_many(HARD.items()))
            refused = {path: error for path, error in outcomes.items() if isinstance(error, Exception)}
            assert refused.keys() == CANNOT_HOLD[kind]
            assert {type(e) for e in refused.values()} <= {InvalidPathError, InvalidDataError, SecretTooLargeError}
            sources[kind] = name, {path: data for path, data in HARD.items() if path not in refused}
        name, held = sources[kind]
        if kind == "dotenv":
            return open_dotenv(mapping=load().mapping, file=Path(name.partition(":")[2])), held
        return ends.target(name), held

    return filled


@pytest.mark.parametrize(("origin", "to"), PAIRS)
def test_hard_values_arrive_exactly_or_not_at_all(origin, to, source, place, tmp_path):
    """The plan says which cannot, and why; the others arrive, of the same types, and are verified."""
    home = tmp_path / "home"
    with Endpoints(load(), None) as ends:
        reader, held = source(origin, ends)
        target = ends.target(place(to, tmp_path))
        stores = {"source": reader, "target": target}
        planned = plan("source", "target", stores=stores, state_folder=home)
        impossible = {item.path: item.reason for item in planned.items if item.state is PlannedState.IMPOSSIBLE}
        assert impossible.keys() == CANNOT_HOLD[to] & held.keys()
        assert all(impossible.values())
        arriving = {path: data for path, data in held.items() if path not in impossible}
        assert {item.path for item in planned.pending} == arriving.keys()
        for step in (
            lambda: apply(planned, stores=stores, state_folder=home),
            lambda: verify(stores=stores, state_folder=home),
        ):
            if impossible:
                with pytest.raises(MigrationError) as caught:
                    step()
                report = caught.value.report
            else:
                report = step()
            assert report.count(ItemState.DONE) == len(arriving)
            assert report.count(ItemState.FAILED) == len(impossible)
        assert [run.finished for run in runs(home)] == [True]
        read = dict(target.read_many(HARD))
        if ALL or {origin, to} & UNDONE:
            (run,) = (each.name for each in runs(home))
            undo(run, stores=stores, state_folder=home)
            assert {type(outcome) for _, outcome in target.read_many(HARD)} <= {SecretNotFoundError, InvalidPathError}
    assert {path for path, secret in read.items() if isinstance(secret, Secret)} == arriving.keys()
    assert not [path for path, data in arriving.items() if not same(read[path].data, data)]
