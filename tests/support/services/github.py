"""The part of GitHub's API that gives tokens of an app's installations, on loopback."""

from __future__ import annotations

import base64
import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

APP = "Iv23liCANARY"
TOKEN = "ghs_canary"


class FakeGitHub:
    """An app with the installation 7 on the repository `shop`.

    Attributes:
        pem: the private key of the app.
        issued: the body of each request for a token that was granted.
        answer: a status and headers in the place of the real answer; None for none.
        life: the seconds of a token.
        ahead: the seconds by which its clock is ahead of this machine's.
    """

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        form = serialization.PrivateFormat.TraditionalOpenSSL
        self.pem = self._key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
        self.issued: list[dict[str, Any]] = []
        self.answer: tuple[int, dict[str, str]] | None = None
        self.life = 3600
        self.ahead = 0.0
        github = self

        class Handler(BaseHTTPRequestHandler):
            wbufsize = -1

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(time.time() + github.ahead if timestamp is None else timestamp)

            def do_GET(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body = github.reply(self.path, self.headers["Authorization"], sent)
                headers = {}
                if github.answer is not None:
                    status, headers = github.answer
                self.send_response(status)
                content = json.dumps(body).encode()
                for name, text in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815  # a name of http.server

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def reply(self, place: str, authorization: str, content: bytes) -> tuple[int, dict[str, Any]]:
        if not self._is_signed(authorization.removeprefix("Bearer ")):
            return 401, {"message": "canary"}
        if place == "/app":
            return 200, {"slug": "billing"}
        if place != "/app/installations/7/access_tokens":
            return 404, {"message": "canary"}
        body = json.loads(content or b"{}") or {}
        if set(body.get("repositories", [])) - {"shop"}:
            return 422, {"message": "canary"}
        self.issued.append(body)
        ends = datetime.fromtimestamp(time.time() + self.ahead + self.life, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return 201, {"token": f"{TOKEN}{len(self.issued)}", "expires_at": ends}

    def _is_signed(self, token: str) -> bool:
        content, _, signature = token.rpartition(".")
        try:
            self._key.public_key().verify(_decoded(signature), content.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        claims = json.loads(_decoded(content.partition(".")[2]))
        now = time.time() + self.ahead
        return claims["iss"] == APP and claims["iat"] <= now < claims["exp"] <= now + 600

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
