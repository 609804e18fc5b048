"""The store in a chain: the command line, a watch, and a rotation of nothing but the Secret."""

import json
import queue
from pathlib import Path

import pytest

from strongroom import SecretsManager
from support.cli_fixtures import command

pytestmark = pytest.mark.long

__all__ = ["command"]


@pytest.fixture
def configured(cluster):
    """A configuration with Secrets and ConfigMaps of this namespace."""
    kubeconfig = json.dumps(str(cluster.kubeconfig()))
    Path("strongroom.toml").write_text(
        'chain = ["cluster", "settings"]\n[secrets]\nDB_PASSWORD = "database/connection#password"\n'
        f'[stores.cluster]\nplugin = "kubernetes-api"\nkubeconfig = {kubeconfig}\n'
        f'[stores.settings]\nplugin = "kubernetes-api"\nkind = "configmap"\nkubeconfig = {kubeconfig}\n'
    )


@pytest.mark.usefixtures("configured")
def test_the_command_line_writes_reads_lists_and_deletes(command, cluster):
    """With a merge under check-and-set, and a fallback to ConfigMaps."""
    assert command("set", "database/connection", "password", piped=b"s3cret").code == 0
    assert command("set", "database/connection", "user", piped=b"app").code == 0
    assert command("get", "database/connection", "password").out == b"s3cret"
    cluster.put("settings", {"mode": b"fast"}, "configmaps")
    assert command("get", "settings", "mode").out == b"fast"
    assert command("list", "database").out == b"connection\n"
    assert command("delete", "database/connection", "--yes").code == 0
    assert command("get", "database/connection", "password").code != 0


@pytest.mark.usefixtures("configured")
def test_doctor_names_a_required_secret_that_the_role_does_not_cover(command, cluster):
    """`database/connection` is the path of a required variable."""
    cluster.api.rights["reader"] = ["list secrets/", "get secrets/other"]
    cluster.kubeconfig(token="reader")
    done = command("doctor")
    assert done.code != 0
    assert "database/connection may not be read" in done.out.decode()


def test_a_watch_costs_one_list_of_metadata(cluster):
    """A change of kubectl is delivered with its keys. Only the changed Secret is read."""
    writer = cluster.open()
    for number in range(5):
        writer.write(f"app/{number}", {"n": "0"})
    changes = queue.Queue()
    paths = [f"app/{number}" for number in range(5)]
    with SecretsManager(chain=[cluster.open()]) as manager, manager.watch(paths, changes.put, interval=0.1):
        seen = len(cluster.api.requests)
        version = writer.write("app/3", {"n": "1"})
        change = changes.get(timeout=60)
        assert (change.path, change.keys, change.new_version) == ("app/3", ("n",), version)
        assert manager.get_secret("app/3", "n") == "1"
        looks = cluster.api.requests[seen:]
        writer.delete("app/1")
        change = changes.get(timeout=60)
        assert (change.path, change.kind) == ("app/1", "deleted")
    lists = [request for request in looks if request.path.endswith("/secrets")]
    reads = [request for request in looks if request not in lists and request.method == "GET"]
    assert lists
    assert {request.accept for request in lists} == {"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    assert len(reads) <= 3  # the writer's, and the one of the changed Secret


def test_a_watch_without_the_right_to_list_reads(cluster):
    """A role that names its Secrets cannot list them."""
    cluster.api.rights["reader"] = ["get secrets/db"]
    writer = cluster.open()
    writer.write("db", {"n": "0"})
    changes = queue.Queue()
    reader = cluster.open(name="reader", token="reader")
    with SecretsManager(chain=[reader]) as manager, manager.watch(["db"], changes.put, interval=0.1):
        writer.write("db", {"n": "1"})
        assert changes.get(timeout=60).keys == ("n",)
