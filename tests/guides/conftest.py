"""A cluster for the page about service accounts. No Kubernetes runs here: `kubectl` and TokenReview are stand-ins."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from support.programs import write_python
from support.vault.jwt_issuer import Issuer

_KUBECTL = """
import sys
answers = {answers!r}
arguments = " ".join(sys.argv[1:])
begins = [begin for begin in answers if arguments.startswith(begin)]
sys.stdout.write(answers[max(begins, key=len)])
"""


class _Review(BaseHTTPRequestHandler):
    """Answers TokenReview for tokens of `Issuer`, as the API server does."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        claims = Issuer.claims(body["spec"]["token"])
        user = {"username": claims["sub"], "uid": claims["kubernetes.io"]["serviceaccount"]["uid"]}
        status = {"authenticated": True, "audiences": claims["aud"], "user": user}
        reply = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
        content = json.dumps(reply).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Print nothing."""


def _service_account(issuer: Issuer, namespace: str, name: str) -> str:
    account = {"namespace": namespace, "serviceaccount": {"name": name, "uid": "u-1"}}
    return issuer.sign(aud=["vault"], sub=f"system:serviceaccount:{namespace}:{name}", **{"kubernetes.io": account})


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Path]:
    """A folder with a program `kubectl` that answers the calls of the page for a cluster whose API server runs here."""
    authority = trustme.CA()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Review)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    issuer = Issuer()
    answers = {
        "create serviceaccount vault-reviewer": "serviceaccount/vault-reviewer created\n",
        "create clusterrolebinding": "clusterrolebinding.rbac.authorization.k8s.io/vault-reviewer created\n",
        "config view": f"https://127.0.0.1:{server.server_port}",
        "get configmap kube-root-ca.crt": authority.cert_pem.bytes().decode(),
        "create token vault-reviewer": _service_account(issuer, "kube-system", "vault-reviewer"),
        "create token billing": _service_account(issuer, "prod", "billing"),
        "create token another": _service_account(issuer, "prod", "another"),
    }
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "kubectl"
    write_python(program, _KUBECTL.format(answers=answers))
    yield folder
    server.shutdown()
    server.server_close()
