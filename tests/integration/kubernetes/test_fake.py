"""The API server of the tests is one to kubectl and to the official client, so that a test on it means something."""

import base64
import json
import os
import subprocess

import pytest
from kubernetes import client, config, watch
from kubernetes.client import ApiException

from support.programs import require

pytestmark = pytest.mark.long

MANIFEST = """
apiVersion: v1
kind: Secret
metadata:
  name: applied
stringData:
  password: {}
"""


@pytest.fixture
def environment(cluster):
    """The variables of kubectl."""
    require("kubectl", "diff")
    return {**os.environ, "KUBECONFIG": str(cluster.kubeconfig()), "NO_PROXY": "127.0.0.1"}


@pytest.fixture
def kubectl(environment):
    """A function that runs kubectl, and returns its exit code and its output."""

    def kubectl(*arguments, given=None):
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        command = ["kubectl", *arguments]
        done = subprocess.run(command, input=given, env=environment, text=True, check=False, timeout=60, **output)
        return done.returncode, done.stdout

    return kubectl


def test_kubectl_creates_lists_and_deletes(kubectl, cluster):
    """It sends protobuf, and asks for tables."""
    assert kubectl("create", "secret", "generic", "db", "--from-literal=password=s3cret") == (0, "secret/db created\n")
    assert kubectl("create", "configmap", "settings", "--from-literal=mode=fast")[0] == 0
    assert cluster.stored("db")["data"] == {"password": base64.b64encode(b"s3cret").decode()}
    code, table = kubectl("get", "secrets")
    assert (code, table.splitlines()[1].split()[:3]) == (0, ["db", "Opaque", "1"])
    code, found = kubectl("get", "configmap", "settings", "-o", "json")
    assert (code, json.loads(found)["data"]) == (0, {"mode": "fast"})
    assert kubectl("delete", "secret", "db")[1].startswith('secret "db" deleted')
    code, refused = kubectl("get", "secret", "db")
    assert (code, "NotFound" in refused) == (1, True)


def test_kubectl_applies_compares_patches_and_replaces(kubectl, cluster):
    """With strategic and merge patches, and dry runs."""
    assert kubectl("apply", "-f", "-", given=MANIFEST.format("one"))[1] == "secret/applied created\n"
    assert kubectl("apply", "-f", "-", given=MANIFEST.format("two"))[1] == "secret/applied configured\n"
    code, shown = kubectl("diff", "-f", "-", given=MANIFEST.format("three"))
    assert (code, "password: '*** (after)'" in shown) == (1, True)
    assert kubectl("patch", "secret", "applied", "-p", '{"stringData": {"user": "app"}}')[0] == 0
    assert kubectl("patch", "secret", "applied", "--type=merge", "-p", '{"data": {"password": null}}')[0] == 0
    assert kubectl("label", "secret", "applied", "team=billing")[0] == 0
    stored = cluster.stored("applied")
    assert (list(stored["data"]), stored["metadata"]["labels"]) == (["user"], {"team": "billing"})
    assert "applied" in kubectl("get", "secrets", "-l", "team=billing")[1]
    assert kubectl("replace", "-f", "-", given=MANIFEST.format("four"))[0] == 0
    assert "labels" not in cluster.stored("applied")["metadata"]


def test_kubectl_watches(environment, cluster):
    """The table of the list, and a row for each change."""
    cluster.put("first", {"key": b"v"})
    command = ["kubectl", "get", "secrets", "--watch"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert [watching.stdout.readline().split()[0] for _ in range(2)] == ["NAME", "first"]
            cluster.put("second", {"key": b"v"})
            assert watching.stdout.readline().split()[0] == "second"
        finally:
            watching.terminate()


@pytest.fixture
def official(cluster):
    """The official client's API of version 1."""
    with config.new_client_from_config(str(cluster.kubeconfig())) as connection:
        connection.configuration.retries = False
        yield client.CoreV1Api(connection)


def test_the_official_client_is_refused_what_kubernetes_refuses(official, cluster):
    """The status of each rule that the documentation states."""
    cluster.put("held", {"key": b"v"}, immutable=True)
    held = official.read_namespaced_secret("held", cluster.namespace)
    held.data = {"key": "dw=="}
    large = base64.b64encode(bytes((1 << 20) + 1)).decode()

    def create(name="new", namespace=cluster.namespace, **fields):
        body = {"metadata": {"name": name}, **fields}
        official.create_namespaced_secret(namespace, body)

    def replace(body):
        official.replace_namespaced_secret("held", cluster.namespace, body)

    refused = {
        "a name": (lambda: create("Not_a_name"), 422),
        "a key": (lambda: create(data={"a b": "dg=="}), 422),
        "the size": (lambda: create(data={"key": large}), 422),
        "base64": (lambda: create(data={"key": "%"}), 400),
        "keys of a type": (lambda: create(type="kubernetes.io/tls"), 422),
        "an immutable one": (lambda: replace(held), 422),
        "a name that is taken": (lambda: create("held"), 409),
        "an absent namespace": (lambda: create(namespace="nowhere"), 404),
        "an absent one": (lambda: official.read_namespaced_secret("absent", cluster.namespace), 404),
    }
    for rule, (call, status) in refused.items():
        with pytest.raises(ApiException) as caught:
            call()
        assert caught.value.status == status, rule
    held.metadata.resource_version = "1"
    with pytest.raises(ApiException) as caught:
        replace(held)
    assert caught.value.status == 409


def test_the_official_client_pages_and_watches(official, cluster):
    """A list that has expired is 410, and so is a watch from before the history that is kept."""
    for number in range(3):
        cluster.put(f"secret-{number}", {"key": b"v"})
    page = official.list_namespaced_secret(cluster.namespace, limit=2)
    since = page.metadata.resource_version
    after = page.metadata._continue
    assert len(official.list_namespaced_secret(cluster.namespace, limit=2, _continue=after).items) == 1
    cluster.api.expire_lists = True
    with pytest.raises(ApiException) as caught:
        official.list_namespaced_secret(cluster.namespace, limit=2, _continue=after)
    assert caught.value.status == 410
    cluster.put("later", {"key": b"v"})
    options = {"namespace": cluster.namespace, "resource_version": since, "timeout_seconds": 1}
    events = list(watch.Watch().stream(official.list_namespaced_secret, **options))
    assert [(event["type"], event["object"].metadata.name) for event in events] == [("ADDED", "later")]
    cluster.api.forget_history()
    with pytest.raises(ApiException) as caught:
        list(watch.Watch().stream(official.list_namespaced_secret, **options))
    assert caught.value.status == 410
