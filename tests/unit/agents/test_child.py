"""The environment of a worker, and the files that its programs read."""

import ssl
import subprocess
import sys

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import pkcs12

from strongroom.agents.child import TrustFiles, system_roots, worker_environment
from strongroom.errors import ConfigurationError

AUTHORITY = trustme.CA().cert_pem.bytes()
ROOTS = trustme.CA().cert_pem.bytes()


@pytest.fixture
def trust(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    return TrustFiles(tmp_path, AUTHORITY, ROOTS)


def environment(trust, inherited=None, reveals=lambda _: False):
    return worker_environment(
        inherited or {}, {"OPENAI_API_KEY": "sk-placeholder"}, trust, ("127.0.0.1", 8080), reveals
    )


def test_a_placeholder_replaces_an_inherited_variable(trust):
    assert environment(trust, {"OPENAI_API_KEY": "real"})["OPENAI_API_KEY"] == "sk-placeholder"


def test_a_variable_that_has_a_value_of_the_session_is_left_out(trust):
    given = {"COPY": "url with real in it", "OTHER": "kept"}
    found = environment(trust, given, lambda text: "real" in text)
    assert "COPY" not in found
    assert found["OTHER"] == "kept"


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"])
def test_no_variable_leads_past_the_proxy(trust, name):
    assert name not in environment(trust, {name: "*"})


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"])
def test_the_proxy_of_the_operator_is_replaced(trust, name):
    assert environment(trust, {name: "http://proxy.corp.example"})[name] == "http://127.0.0.1:8080"


def test_the_bundle_has_the_roots_of_the_system_and_the_authority(trust):
    context = ssl.create_default_context(cafile=str(trust.bundle))
    assert len(context.get_ca_certs()) == 2


def test_the_roots_are_those_that_the_operator_names(tmp_path):
    file = tmp_path / "corporate.pem"
    file.write_bytes(ROOTS)
    assert system_roots({"SSL_CERT_FILE": str(file)}) == ROOTS


def test_missing_roots_are_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        system_roots({"SSL_CERT_FILE": str(tmp_path)})


def test_java_gets_a_store_with_all_authorities(tmp_path, monkeypatch):
    if not hasattr(pkcs12, "serialize_java_truststore"):
        pytest.skip("this release of cryptography writes no trust store of Java")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/java")
    trust = TrustFiles(tmp_path, AUTHORITY, ROOTS)
    stored = pkcs12.load_pkcs12(trust.java.read_bytes(), b"changeit")
    assert len(stored.additional_certs) == 2
    assert f"-Djavax.net.ssl.trustStore={trust.java}" in environment(trust)["JAVA_TOOL_OPTIONS"]


PROTECTED = """
import ctypes, os
from strongroom.agents.child import forbid_inspection
forbid_inspection(["TOKEN"])
PR_GET_DUMPABLE = 3
try:
    shown = open("/proc/self/environ", "rb").read()
except PermissionError:  # for a user other than root
    shown = b""
print(b"topsecret" in shown, os.environ["TOKEN"], ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_protected_process_is_not_dumpable_and_its_environment_shows_no_credential(monkeypatch):
    monkeypatch.setenv("TOKEN", "topsecret")
    shown = subprocess.run([sys.executable, "-c", PROTECTED], capture_output=True, text=True, check=False).stdout
    assert shown.split() == ["False", "topsecret", "0"]
