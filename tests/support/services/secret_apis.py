"""The HTTP APIs of 1Password Connect, Doppler and Infisical, and a program as Bitwarden's `bws`, on loopback.

They are fakes: the paths, status codes and error bodies that the services publish, for reads alone. The program `bws`
asks this server and prints what Bitwarden's prints, since its service holds nothing that a server could decrypt.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

VAULT = "ftz4pm2xxwmwrsd7rjqn7grzfz"
PROJECT = "e325ea69-a3ab-4dff-836f-b02e013fe530"
TOKENS = {
    "OP_CONNECT_TOKEN": "canary-connect",
    "DOPPLER_TOKEN": "dp.st.canary-doppler",
    "INFISICAL_TOKEN": "canary-infisical",
    "BWS_ACCESS_TOKEN": "0.canary-bitwarden",
}
_REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 503: "Service Unavailable"}

_BWS = """#!/bin/sh
[ "$1 $2" = "secret list" ] || exit 2
answer=$(printf 'Authorization: Bearer %s' "$BWS_ACCESS_TOKEN" |
  curl -sH @- -w '%{http_code}' "$BWS_SERVER_URL/bws/$3") || {
  echo "Error: error sending request for url ($BWS_SERVER_URL/identity/connect/token)" >&2
  exit 1
}
body=${answer%???}
case $answer in
  *200) printf '%s\\n' "$body" ;;
  *)
    printf 'Error:\\n   0: Received error message from server: [%s ] %s\\n' "${answer#"$body"}" "$body" >&2
    exit 1
    ;;
esac
"""


class SecretApis:
    """The services, until `stop`, which a test may call too.

    Attributes:
        items: the items of the 1Password vault: their fields.
        doppler: the secrets of one config.
        infisical: the secrets of each folder of the environment `prod`.
        bitwarden: the keys and values of one project.
        other_config: Doppler's token is one for another config.
        status: if set, the status of each answer.
        paths: the path of each request, in order.
    """

    def __init__(self) -> None:
        self.items: list[tuple[str, list[dict[str, Any]]]] = []
        self.doppler: dict[str, str] = {}
        self.infisical: dict[str, dict[str, str]] = {"/": {}}
        self.bitwarden: list[tuple[str, str]] = []
        self.other_config = False
        self.status = 0
        self.paths: list[str] = []
        handler = type("Handler", (_Handler,), {"apis": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def variables(self) -> dict[str, str]:
        """The environment of a reader who uses these services."""
        hosts = ("OP_CONNECT_HOST", "DOPPLER_API_HOST", "INFISICAL_DOMAIN", "BWS_SERVER_URL")
        return {**TOKENS, **dict.fromkeys(hosts, self.url), "INFISICAL_PROJECT_ID": PROJECT}

    def install_bws(self, folder: Path) -> None:
        """Write the program `bws` to this folder."""
        (folder / "bws").write_text(_BWS, "utf-8")
        (folder / "bws").chmod(0o755)

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    apis: SecretApis

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.apis.paths.append(parts.path)
        service, _, rest = parts.path[1:].partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        answers = {"v1": self._connect, "v3": self._doppler, "api": self._infisical, "bws": self._bitwarden}
        status, body = answers[service](rest, query)
        if self.apis.status:
            status, body = self.apis.status, {"message": _REASONS.get(self.apis.status, "")}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _has(self, variable: str) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKENS[variable]}"

    def _connect(self, rest: str, _: Mapping[str, str]) -> tuple[int, Any]:
        """https://developer.1password.com/docs/connect/api-reference"""
        if not self._has("OP_CONNECT_TOKEN"):
            return 401, {"status": 401, "message": "Invalid token signature"}
        vault, item = rest.removeprefix("vaults/").split("/items", 1)
        if vault != VAULT:
            return 403, {"status": 403, "message": "Unauthorized access"}
        summaries = [
            {"id": f"item{number}", "title": title, "vault": {"id": VAULT}, "category": "LOGIN"}
            for number, (title, _) in enumerate(self.apis.items)
        ]
        if not item:
            return 200, summaries
        number = int(item.removeprefix("/item"))
        return 200, {**summaries[number], "fields": self.apis.items[number][1]}

    def _doppler(self, rest: str, query: Mapping[str, str]) -> tuple[int, Any]:
        """https://docs.doppler.com/reference/secrets-get"""
        if not self._has("DOPPLER_TOKEN"):
            return 401, {"messages": ["Invalid Auth token"], "success": False}
        if self.apis.other_config:
            message = "This token does not have access to requested config 'prd'"
            return 400, {"messages": [message], "success": False}
        if rest != "configs/config/secret":
            return 404, {"messages": ["Could not find requested resource"], "success": False}
        name = query["name"]
        if name not in self.apis.doppler:
            return 404, {"messages": [f"Could not find requested secret: {name}"], "success": False}
        value = self.apis.doppler[name]
        return 200, {"name": name, "value": {"raw": value, "computed": value, "note": ""}, "success": True}

    def _infisical(self, rest: str, query: Mapping[str, str]) -> tuple[int, Any]:
        """https://infisical.com/docs/api-reference/endpoints/secrets/read"""
        if not self._has("INFISICAL_TOKEN"):
            return 401, {"statusCode": 401, "message": "Token invalid", "error": "UnauthorizedError"}
        if query["projectId"] != PROJECT:
            return 403, {"statusCode": 403, "message": "Not a member of the project", "error": "PermissionDenied"}
        folder, environment = query["secretPath"], query["environment"]
        if environment != "prod" or folder not in self.apis.infisical:
            message = f"Folder with path '{folder}' in environment with slug '{environment}' not found"
            return 404, {"statusCode": 404, "message": message, "error": "NotFound"}
        name = unquote(rest.removeprefix("v4/secrets/"))
        if name not in self.apis.infisical[folder]:
            return 404, {"statusCode": 404, "message": f"Secret with name '{name}' not found", "error": "NotFound"}
        return 200, {"secret": {"secretKey": name, "secretValue": self.apis.infisical[folder][name], "version": 1}}

    def _bitwarden(self, project: str, _: Mapping[str, str]) -> tuple[int, Any]:
        """https://github.com/bitwarden/sdk-sm/blob/main/crates/bws/src/command/secret.rs"""
        if not self._has("BWS_ACCESS_TOKEN"):
            return 400, {"error": "invalid_client"}
        if project != PROJECT:
            return 404, {"message": "Resource not found.", "object": "error"}
        return 200, [
            {"id": str(number), "projectId": PROJECT, "key": key, "value": value, "note": ""}
            for number, (key, value) in enumerate(self.apis.bitwarden)
        ]

    def log_message(self, *_: Any) -> None:
        """Do not log to standard error."""
