"""The environment of a worker, its folder, and the files that its programs read."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import pkcs12

from strongroom._config import discovery
from strongroom.agents._proxy.worker import (
    WorkerFolder,
    env_file,
    operator_authorities,
    worker_environment,
)
from strongroom.errors import ConfigurationError

AUTHORITY, ROOTS, NODE = (trustme.CA().cert_pem.bytes() for _ in range(3))
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.fixture
def folder(tmp_path):
    with WorkerFolder(tmp_path) as opened:
        yield opened


def environment(folder, inherited=None):
    placeholders = {"OPENAI_API_KEY": "sk-placeholder"}
    return worker_environment(folder, ROOTS + AUTHORITY, inherited or {}, placeholders, ("127.0.0.1", 8080))


@pytest.fixture(autouse=True)
def no_java(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)


def test_a_placeholder_replaces_an_inherited_variable(folder):
    assert environment(folder, {"OPENAI_API_KEY": "real", "OTHER": "kept"}).items() >= {
        ("OPENAI_API_KEY", "sk-placeholder"),
        ("OTHER", "kept"),
    }


def test_no_rule_takes_a_variable_of_the_proxy(folder, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/java")
    row = {"secret": "path#key", "hosts": ["api.example.com"]}
    for name in environment(folder).keys() - {"OPENAI_API_KEY"}:
        with pytest.raises(ConfigurationError, match="a variable that is free"):
            discovery.load(document={"chain": ["memory"], "agents": {"rules": {"a": {**row, "variable": name}}}})


def test_the_authorities_of_grpc_stay_those_of_the_operator(folder):
    """gRPC speaks HTTP/2 only, so it reaches hosts only in a tunnel, with their own certificates."""
    name = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
    assert environment(folder, {name: "/etc/roots.pem"})[name] == "/etc/roots.pem"
    assert name not in environment(folder)


def test_the_address_of_a_proxy_may_be_one_of_ipv6(folder):
    variables = worker_environment(folder, ROOTS, {}, {}, ("::1", 8080))
    assert variables["HTTPS_PROXY"] == "http://[::1]:8080"
    assert b"HTTPS_PROXY=http://[::1]:8080" in env_file(variables)


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "WS_PROXY", "ws_proxy"])
def test_no_variable_leads_past_the_proxy(folder, name):
    assert name not in environment(folder, {name: "*"})


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "HTTP_PROXY", "WSS_PROXY"])
def test_the_proxy_of_the_operator_is_replaced(folder, name):
    """Programs read a variable in either case."""
    for spelling in (name, name.lower()):
        assert environment(folder, {spelling: "http://proxy.corp.example"})[spelling] == "http://127.0.0.1:8080"


def test_the_bundle_has_the_roots_of_the_system_and_the_authority(folder):
    assert in_file(Path(environment(folder)["SSL_CERT_FILE"])) == {ROOTS, AUTHORITY}


def test_no_variable_of_the_operator_names_authorities_without_that_of_the_session(folder):
    """A program would refuse the proxy."""
    names = ["PIP_CERT", "NIX_SSL_CERT_FILE", "HTTPLIB2_CA_CERTS", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"]
    made = environment(folder, dict.fromkeys(names, "/corporate.pem"))
    assert {made[name] for name in names} == {made["SSL_CERT_FILE"]}


def test_npm_reads_no_other_file_of_authorities(folder):
    """It takes a variable in any case, before an npmrc."""
    made = environment(folder, {"NPM_CONFIG_CAFILE": "corporate.pem"})
    assert {name: text for name, text in made.items() if name.lower() == "npm_config_cafile"} == {
        "npm_config_cafile": made["SSL_CERT_FILE"]
    }


# --- the operator's authorities ---------------------------------------------------------------------------------------


def in_file(file):
    return {
        part + b"-----END CERTIFICATE-----\n" for part in file.read_bytes().split(b"-----END CERTIFICATE-----\n")[:-1]
    }


def test_the_roots_are_those_that_the_operator_names(tmp_path):
    file = tmp_path / "corporate.pem"
    file.write_bytes(ROOTS)
    assert operator_authorities({"SSL_CERT_FILE": str(file)}) == ROOTS


@pytest.mark.parametrize(
    "name",
    [
        "REQUESTS_CA_BUNDLE",
        "PIP_CERT",
        "CURL_CA_BUNDLE",
        "AWS_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "NODE_EXTRA_CA_CERTS",
        "npm_config_cafile",
        "NPM_CONFIG_CAFILE",
        "CARGO_HTTP_CAINFO",
        "NIX_SSL_CERT_FILE",
    ],
)
def test_the_authorities_of_each_variable_are_added_once(name, tmp_path):
    system, file = tmp_path / "system.pem", tmp_path / "corporate.pem"
    system.write_bytes(ROOTS)
    file.write_bytes(b"# corporate\n" + ROOTS + NODE)
    assert operator_authorities({"SSL_CERT_FILE": str(system), name: str(file)}) == ROOTS + NODE


@pytest.mark.parametrize("name", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_variable_may_name_a_folder_of_authorities(name, tmp_path):
    system, folder = tmp_path / "system.pem", tmp_path / "certificates"
    system.write_bytes(ROOTS)
    (folder / "below").mkdir(parents=True)
    (folder / "1.pem").write_bytes(NODE)
    (folder / "2.0").symlink_to(folder / "1.pem")
    given = {"SSL_CERT_FILE": str(system), name: f"{folder}:{folder}" if name == "SSL_CERT_DIR" else str(folder)}
    assert operator_authorities(given) == ROOTS + NODE


def test_a_key_beside_a_certificate_does_not_reach_the_worker(tmp_path):
    file = tmp_path / "both.pem"
    file.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes() + ROOTS)
    assert operator_authorities({"SSL_CERT_FILE": str(file)}) == ROOTS


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_missing_authorities_are_an_error_that_names_the_variable(name, tmp_path):
    with pytest.raises(ConfigurationError, match=f"The authorities of {name} cannot be read: .*No such file"):
        operator_authorities({name: str(tmp_path / "missing.pem")})


# --- the folder of the worker -----------------------------------------------------------------------------------------


def mode_of(file):
    return stat.S_IMODE(os.lstat(file).st_mode)


@LINUX
@pytest.mark.parametrize("mode", [0o755, 0o701, 0o770, 0o730, 0o707])
def test_a_folder_that_others_may_enter_is_refused(mode, tmp_path):
    tmp_path.chmod(mode)
    with pytest.raises(ConfigurationError, match="closed to others"):
        WorkerFolder(tmp_path)


@LINUX
def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ConfigurationError, match="must be yours"):
        WorkerFolder(tmp_path)


@LINUX
def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "private").mkdir(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    with pytest.raises(ConfigurationError, match="Cannot open the folder of the worker"):
        WorkerFolder(tmp_path / "link")


@LINUX
@pytest.mark.parametrize(("mode", "of_file", "of_socket"), [(0o700, 0o600, 0o600), (0o750, 0o640, 0o660)])
def test_the_worker_alone_may_use_its_files_and_its_socket(mode, of_file, of_socket, tmp_path):
    """The group of a folder that lets its group enter is the worker's."""
    tmp_path.chmod(mode)
    before = os.umask(0)
    try:
        with WorkerFolder(tmp_path) as folder, folder.listen("proxy.sock", 1):
            assert folder.group == (tmp_path.stat().st_gid if mode == 0o750 else None)
            folder.write("worker.env", b"A=b")
            assert (mode_of(tmp_path / "worker.env"), mode_of(tmp_path / "proxy.sock")) == (of_file, of_socket)
    finally:
        os.umask(before)


@LINUX
@pytest.mark.skipif(os.geteuid() != 0, reason="needs another group")
def test_the_group_of_the_folder_gets_its_files(tmp_path):
    os.chown(tmp_path, -1, 12345)
    tmp_path.chmod(0o750)
    with WorkerFolder(tmp_path) as folder, folder.listen("proxy.sock", 1):
        folder.write("worker.env", b"A=b")
        found = [(tmp_path / name).stat() for name in ("worker.env", "proxy.sock")]
    assert [(status.st_uid, status.st_gid) for status in found] == [(0, 12345)] * 2


@LINUX
@pytest.mark.parametrize("name", ["worker.env", "bundle.pem", "bundle.p12", "authority.pem"])
def test_a_link_that_the_worker_made_is_refused(name, tmp_path, folder):
    """Its target is neither written nor made readable."""
    target = tmp_path / "private"
    target.write_bytes(b"key")
    target.chmod(0o600)
    (tmp_path / name).symlink_to(target)
    with pytest.raises(ConfigurationError, match=f"{name}: it is a symbolic link"):
        folder.write(name, b"other")
    assert (target.read_bytes(), mode_of(target)) == (b"key", 0o600)


@LINUX
def test_a_link_in_the_place_of_the_socket_is_not_followed(tmp_path, folder):
    target = tmp_path / "private"
    target.touch(0o600)
    (tmp_path / "proxy.sock").symlink_to(target)
    with pytest.raises(OSError, match="in use"), folder.listen("proxy.sock", 1):
        pass
    (tmp_path / "proxy.sock").unlink()
    with folder.listen("proxy.sock", 1):
        (tmp_path / "proxy.sock").unlink()
        (tmp_path / "proxy.sock").symlink_to(target)
    assert (target.exists(), mode_of(target)) == (True, 0o600)


@LINUX
def test_a_folder_that_was_moved_is_still_the_one_that_was_checked(tmp_path):
    (tmp_path / "worker").mkdir(0o700)
    (tmp_path / "other").mkdir(0o700)
    with WorkerFolder(tmp_path / "worker") as folder:
        (tmp_path / "worker").rename(tmp_path / "moved")
        (tmp_path / "worker").symlink_to(tmp_path / "other")
        folder.write("worker.env", b"A=b")
        with folder.listen("proxy.sock", 1):
            assert {file.name for file in (tmp_path / "moved").iterdir()} == {"proxy.sock", "worker.env"}
    assert list((tmp_path / "other").iterdir()) == []


@LINUX
def test_a_socket_without_a_server_is_replaced_and_one_with_a_server_is_not(socket_folder):
    file = socket_folder / "proxy.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(file))
    with WorkerFolder(socket_folder) as folder, folder.listen(file.name, 1) as listener:
        with socket.socket(socket.AF_UNIX) as worker:
            worker.connect(str(file))
            listener.accept()[0].close()
        with pytest.raises(OSError, match="in use"), folder.listen(file.name, 1):
            pass
    assert not file.exists()


def test_java_gets_a_store_with_all_authorities(folder, monkeypatch):
    if not hasattr(pkcs12, "serialize_java_truststore"):
        pytest.skip("this release of cryptography writes no trust store of Java")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/java")
    options = environment(folder)["JAVA_TOOL_OPTIONS"]
    file = folder.path / "bundle.p12"
    assert len(pkcs12.load_pkcs12(file.read_bytes(), b"changeit").additional_certs) == 2
    assert f"-Djavax.net.ssl.trustStore={file}" in options


PROTECTED = """
import ctypes, os
from strongroom._config import discovery
from strongroom.agents._proxy.worker import forbid_inspection
forbid_inspection(["TOKEN"])
PR_GET_DUMPABLE = 3
try:
    shown = open("/proc/self/environ", "rb").read()
except PermissionError:  # for a user other than root
    shown = b""
print(b"topsecret" in shown, os.environ["TOKEN"], ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
"""


@LINUX
def test_a_protected_process_is_not_dumpable_and_its_environment_shows_no_credential(monkeypatch):
    monkeypatch.setenv("TOKEN", "topsecret")
    shown = subprocess.run([sys.executable, "-c", PROTECTED], capture_output=True, text=True, check=False).stdout
    assert shown.split() == ["False", "topsecret", "0"]


def test_a_shell_reads_the_file_of_the_environment_as_docker_does(tmp_path, monkeypatch):
    """Docker takes each line as it is, with quotes. Java takes any white space between its options."""
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/java")
    with WorkerFolder(tmp_path) as folder:
        variables = environment(folder)
        file = folder.write("worker.env", env_file(variables))
    literal = dict(line.split("=", 1) for line in file.read_text().split("\n") if line)
    script = 'set -a; . "$1"; exec "$2" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    done = subprocess.run(["sh", "-c", script, "sh", file, sys.executable], capture_output=True, check=True, env={})
    found = json.loads(done.stdout)
    assert {name: found[name] for name in literal} == literal
    assert literal.pop("JAVA_TOOL_OPTIONS").split() == variables.pop("JAVA_TOOL_OPTIONS").split()
    assert literal == variables


@pytest.mark.parametrize("text", ["/my folder/x", "it's", 'a"b', "a\nB=c", "$HOME", "a;b", "~/x#"])
def test_a_value_that_would_need_quotes_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE in worker\.env would need quotes"):
        env_file({"HTTPS_PROXY": "http://127.0.0.1:3128", "SSL_CERT_FILE": text})


def test_a_worker_that_replaces_its_folder_does_not_disturb_its_end(tmp_path):
    (path := tmp_path / "folder").mkdir(mode=0o700)
    with WorkerFolder(path) as folder, folder.listen("proxy.sock", 1):
        (path / "proxy.sock").unlink()
        (path / "proxy.sock").mkdir()
