"""Reads and writes of the stores, and the fields that they leave alone, on the API server that kubectl works with."""

import base64
import json
from datetime import UTC, datetime
from itertools import product

import pytest
import yaml

from strongroom.errors import (
    CheckState,
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
)
from strongroom.formats.kubernetes import name_of
from strongroom.store.deadline import require_paths
from strongroom_kubernetes import api_server
from strongroom_kubernetes.objects import open_kubernetes_api
from support.scenarios import pages

pytestmark = pytest.mark.long


def decoded(secret):
    return {key: base64.b64decode(text) for key, text in secret["data"].items()}


def test_a_secret_of_another_program_is_read_by_its_name(cluster):
    """Text is text, other bytes are bytes, and the version is the resourceVersion."""
    cluster.put("db.main", {"password": b"s3cret", "key.der": b"\xff\x00"})
    secret = cluster.open().read("db.main")
    assert dict(secret.data) == {"password": "s3cret", "key.der": b"\xff\x00"}
    assert secret.version == cluster.stored("db.main")["metadata"]["resourceVersion"]
    assert abs((datetime.now(UTC) - secret.created).total_seconds()) < 60


def test_a_path_that_is_no_name_is_kept_in_an_annotation(cluster):
    """As in the manifests of the store `kubernetes`."""
    cluster.open().write("database/connection", {"port": 5432, "host": "db"})
    stored = cluster.stored(name_of("database/connection"))
    assert decoded(stored) == {"port": b"5432", "host": b"db"}
    annotations = stored["metadata"]["annotations"]
    assert annotations == {"strongroom/path": "database/connection", "strongroom/types": '{"port":"json"}'}


def test_a_plain_name_has_no_annotation(cluster):
    """Kubernetes has the whole truth about it."""
    cluster.open().write("db", {"host": "db"})
    assert "annotations" not in cluster.stored("db")["metadata"]
    assert cluster.stored("db")["type"] == "Opaque"


def test_an_annotation_for_another_name_is_ignored(cluster):
    """Only a name that was made from a path has that path, so that each Secret has one path, and each path one name."""
    cluster.put("db", {"key": b"v"}, metadata={"annotations": {"strongroom/path": "database/connection"}})
    store = cluster.open()
    assert list(store.walk("")) == ["db"]
    assert store.read("db").data == {"key": "v"}
    with pytest.raises(SecretNotFoundError):
        store.read("database/connection")


def test_the_made_name_of_a_path_is_no_path(cluster):
    """Otherwise one Secret would be two secrets, and a delete of one would delete the other."""
    store = cluster.open()
    store.write("database/connection", {"key": "v"})
    name = name_of("database/connection")
    for operation in (store.read, store.delete):
        with pytest.raises(SecretNotFoundError, match="has the path database/connection"):
            operation(name)
    for operation in (store.write, store.vet):
        with pytest.raises(InvalidPathError, match="has the path database/connection"):
            operation(name, {"key": "w"})
    assert store.read("database/connection").data == {"key": "v"}


def test_a_write_changes_nothing_but_the_data(cluster):
    """Type, labels, annotations and owners of other programs stay, fields of newer versions of Kubernetes too."""
    owner = {"apiVersion": "v1", "kind": "Certificate", "name": "web", "uid": "1"}
    metadata = {"labels": {"team": "a"}, "annotations": {"note": "b"}, "ownerReferences": [owner], "future": {"x": 1}}
    cluster.put("web", {"tls.crt": b"1", "tls.key": b"2"}, type="kubernetes.io/tls", metadata=metadata, newer=True)
    store = cluster.open()
    version = store.write("web", {"tls.crt": "3", "tls.key": "4", "number": 5})
    stored = cluster.stored("web")
    assert decoded(stored) == {"tls.crt": b"3", "tls.key": b"4", "number": b"5"}
    assert (stored["type"], stored["newer"]) == ("kubernetes.io/tls", True)
    assert stored["metadata"]["resourceVersion"] == version
    kept = {field: stored["metadata"][field] for field in metadata}
    assert kept == {**metadata, "annotations": {"note": "b", "strongroom/types": '{"number":"json"}'}}
    store.write("web", {"tls.crt": "3", "tls.key": "4"})
    assert cluster.stored("web")["metadata"]["annotations"] == {"note": "b"}
    assert list(store.cautions("web")) == [
        "a Certificate owns it, and may change it",
        "its type is kubernetes.io/tls",
    ]


def test_a_type_keeps_its_required_keys(cluster):
    """Kubernetes refuses the write; nothing changes."""
    cluster.put("web", {"tls.crt": b"1", "tls.key": b"2"}, type="kubernetes.io/tls")
    with pytest.raises(InvalidDataError):
        cluster.open().write("web", {"certificate": "3"})
    assert decoded(cluster.stored("web")) == {"tls.crt": b"1", "tls.key": b"2"}


def test_an_immutable_secret_is_a_conflict(cluster):
    """`vet` reports it for the plan of a migration, too. A delete works."""
    cluster.put("held", {"key": b"v"}, immutable=True)
    store = cluster.open()
    for operation in (store.write, store.vet):
        with pytest.raises(ConflictError, match="immutable"):
            operation("held", {"key": "w"})
    store.delete("held")
    store.write("held", {"key": "w"})


def test_a_secret_without_data_is_absent_until_it_is_written(cluster):
    """Its creation may have been prepared by another program, with labels."""
    cluster.put("prepared", {}, metadata={"labels": {"team": "a"}})
    store = cluster.open()
    with pytest.raises(SecretNotFoundError, match="has no data"):
        store.read("prepared")
    store.write_if("prepared", {"key": "v"}, None)
    assert store.read("prepared").data == {"key": "v"}
    assert cluster.stored("prepared")["metadata"]["labels"] == {"team": "a"}


def test_the_largest_secret_is_a_mebibyte(cluster):
    """The limit of Kubernetes is one of all values together."""
    store = cluster.open()
    data = {"half": b"\xfe" * (1 << 19), "rest": b"\xff" * (1 << 19)}
    store.write("large", data)
    assert dict(store.read("large").data) == data
    for operation in (store.write, store.vet):
        with pytest.raises(SecretTooLargeError):
            operation("larger", {**data, "more": "x"})


def test_a_label_that_changes_is_a_new_version(cluster):
    """The resourceVersion changes with the whole object: check-and-set fails, and the caller reads again."""
    store = cluster.open()
    version = store.write("db", {"key": "v"})
    changed = cluster.stored("db")
    changed["metadata"]["labels"] = {"team": "a"}
    cluster.api.update("secrets", cluster.namespace, "db", changed)
    with pytest.raises(ConflictError):
        store.write_if("db", {"key": "w"}, version)
    store.write_if("db", {"key": "w"}, store.read("db").version)


def test_a_write_without_check_goes_on_after_a_conflict(cluster):
    """Another writer came between the read and the write: the Secret is read again, and the last writer wins."""
    store = cluster.open()
    store.write("db", {"key": "v"})
    cluster.api.failures = [0, 409]
    store.write("db", {"key": "w"})
    assert [request.method for request in cluster.api.requests[-4:]] == ["GET", "PUT", "GET", "PUT"]
    assert store.read("db").data == {"key": "w"}


def test_a_list_shows_names_and_never_asks_for_values(cluster, monkeypatch):
    """Of every kind of Secret, in pages, and from metadata alone."""
    monkeypatch.setattr(api_server, "PAGE", 3)
    for number in range(7):
        cluster.put(f"secret-{number}", {"key": b"v"})
    store = cluster.open()
    assert sorted(store.walk("")) == [f"secret-{number}" for number in range(7)]
    assert [request.accept for request in cluster.api.requests] == [api_server.METADATA_LIST] * 3
    cluster.api.expire_lists = True
    assert sorted(store.walk("")) == [f"secret-{number}" for number in range(7)]


def test_configmaps_have_text_and_bytes(cluster):
    """And no method that writes."""
    cluster.put("settings", {"mode": b"fast"}, "configmaps", binaryData={"logo": base64.b64encode(b"\xff").decode()})
    store = cluster.open("configmap")
    assert dict(store.read("settings").data) == {"mode": "fast", "logo": b"\xff"}
    assert list(store.walk("")) == ["settings"]
    assert not hasattr(store, "write")


def test_a_namespace_that_does_not_exist_has_no_secrets(cluster):
    """Kubernetes answers a read as for an absent Secret. A write and the probe name the namespace."""
    store = cluster.open(namespace="nowhere")
    with pytest.raises(SecretNotFoundError):
        store.read("db")
    assert list(store.walk("")) == []
    with pytest.raises(StoreError, match="the namespace does not exist") as caught:
        store.write("db", {"key": "v"})
    assert type(caught.value) is StoreError
    health = store.probe()
    assert (health.ok, health.detail) == (False, "nowhere does not exist")


def test_the_namespace_is_that_of_the_option_the_context_or_the_pod(cluster, monkeypatch, tmp_path):
    """In this order. Without a kubeconfig, the service account of the pod is used."""
    other = cluster.api.fresh_namespace()
    cluster.api.put(other, "here", {"key": b"other"})
    cluster.put("here", {"key": b"context"})
    file = cluster.kubeconfig()

    def read(**options):
        store = open_kubernetes_api(**options)
        try:
            return store.read("here").data["key"]
        finally:
            store.close()

    assert read(kubeconfig=file, namespace=other) == "other"
    assert read(kubeconfig=file) == "context"
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert read() == "context"
    monkeypatch.delenv("KUBECONFIG")
    in_pod(cluster, monkeypatch, tmp_path, other)
    assert read() == "other"
    assert read(namespace=cluster.namespace) == "context"


def in_pod(cluster, monkeypatch, folder, namespace):
    """Let the official client find the service account of a pod."""
    from kubernetes.config import incluster_config

    account = folder / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("admin")
    (account / "ca.crt").write_text(cluster.api.ca.read_text())
    (account / "namespace").write_text(f"{namespace}\n")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(account / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(account / "ca.crt"))
    monkeypatch.setattr(api_server, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(cluster.api.address[1]))
    return account / "token"


def test_a_token_that_has_expired_is_read_again(cluster, monkeypatch, tmp_path):
    """The kubelet replaces the file of a projected token, and the official client reads it once a minute at most."""
    token = in_pod(cluster, monkeypatch, tmp_path, cluster.namespace)
    cluster.api.rights["first"] = cluster.api.rights["second"] = ["* *"]
    token.write_text("first")
    store = open_kubernetes_api()
    cluster.opened.append(store)
    store.write("db", {"key": "v"})
    token.write_text("second")
    del cluster.api.rights["first"]
    assert store.read("db").data == {"key": "v"}


def test_the_file_of_a_token_in_a_kubeconfig_is_read_again(cluster, tmp_path):
    """The official client alone reads it once. A write is sent again too: the first one was refused."""
    token = tmp_path / "token"
    token.write_text("first")
    cluster.api.rights["first"] = cluster.api.rights["second"] = ["* *"]
    store = cluster.open(token=str(token))
    store.write("db", {"key": "v"})
    token.write_text("second")
    del cluster.api.rights["first"]
    store.write("db", {"key": "w"})
    assert store.read("db").data == {"key": "w"}


def test_a_probe_reports_what_the_role_lacks(cluster):
    """A role without lists is enough to read. A required secret that it does not cover is a failed check."""
    cluster.api.rights["reader"] = ["get secrets/db"]
    cluster.put("db", {"key": b"v"})
    store = cluster.open(token="reader")
    with require_paths(["db"]):
        health = store.probe()
    assert health.ok
    assert [check.name for check in health.checks if check.state is CheckState.WARNING] == ["listing"]
    with require_paths(["db", "database/connection"]):
        health = store.probe()
    assert (health.ok, health.detail) == (False, "database/connection may not be read")
    assert name_of("database/connection") in health.checks[-1].hint


def test_the_role_of_the_page_is_enough_to_read(cluster):
    """It names two Secrets, and has no right to list."""
    [shown] = [block for block in pages.blocks(pages.page("kubernetes-api.md"), "yaml") if block.startswith("# role")]
    [rule] = yaml.safe_load(shown)["rules"]
    rights = product(rule["verbs"], rule["resources"], rule["resourceNames"])
    cluster.api.rights["billing"] = [f"{verb} {resource}/{name}" for verb, resource, name in rights]
    cluster.put("database", {"key": b"v"})
    cluster.put("other", {"key": b"v"})
    store = cluster.open(token="billing")
    assert store.read("database").data == {"key": "v"}
    for denied in (lambda: store.read("other"), lambda: list(store.walk("")), lambda: store.write("database", {})):
        with pytest.raises(PermissionDeniedError):
            denied()


def test_the_annotation_of_types_is_that_of_the_manifests(cluster):
    """Bytes that are UTF-8, and a list, come back with their types."""
    data = {"text": "a", "bytes": b"a", "list": [1, {"b": None}]}
    store = cluster.open()
    store.write("typed", data)
    annotations = cluster.stored("typed")["metadata"]["annotations"]
    assert json.loads(annotations["strongroom/types"]) == {"bytes": "bytes", "list": "json"}
    assert store.read("typed").data == data
