"""Drivers of our services for `strongroom.testing.ServiceContract`: how each one fails, as its vendor documents it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from strongroom.testing import FaultyService
from strongroom.testing.cases import CANARY
from support.services.azure import FakeAzure
from support.services.etcd import Node
from support.services.google import FakeSecretManager
from support.services.kubernetes import FakeKubernetes
from support.vault.faults import Exchange, reply
from support.vault.proxy import FaultProxy

PROCESSES = (
    "test_child_of_a_fork_has_its_own_connection",
    "test_child_of_a_fork_during_a_call_has_its_own_connection",
    "test_hung_call_does_not_keep_the_process",
)
"""Tests that start programs."""

LOGIN_PAGE = reply(200, f"<!doctype html><title>{CANARY}</title>".encode(), ["Content-Type: text/html"])
NO_SUCH_PAGE = reply(404, f"<!doctype html><title>{CANARY}</title>".encode(), ["Content-Type: text/html"])
"""These pages, and the bodies of refusals, quote a value: the contract fails if an error or a log shows it."""


def long_processes(contract: type) -> type:
    """Mark the tests of a contract that start programs as long ones."""
    for name in PROCESSES:
        setattr(contract, name, pytest.mark.long(_copied(getattr(contract, name))))
    return contract


def _copied(test: Callable[..., None]) -> Callable[..., None]:
    """Return a copy of a test, whose marks do not change those of the contract."""

    @functools.wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        test(*arguments, **fixtures)

    return run


class HTTPService(FaultyService):
    """A service over HTTP whose fake is an `http.server`."""

    pause = 0

    def ask_for_pause(self, seconds: int) -> bool:
        self.pause = seconds
        return True

    def refusals(self) -> dict[str, bytes]:
        """Return the reply of each fault that sends one."""
        body = {"kind": "Status", "message": CANARY, "error": {"code": CANARY, "message": CANARY}}
        return {
            "throttled": reply(429, body, [f"Retry-After: {self.pause}"]),
            "failed": reply(503, body),
            "odd": LOGIN_PAGE,
            "misdirected": NO_SUCH_PAGE,
            "redirected": reply(307, b"", [f"Location: {self.location}/elsewhere"]),
            "rejected": reply(401, body),
            "denied": reply(403, body),
        }

    def meet(
        self, handler: BaseHTTPRequestHandler, *, changes: bool, repeatable: bool = False, login: bool = False
    ) -> bool:
        """Let a request meet its fault. Return True if it has been dealt with."""
        fault = self.next_fault(changes=changes, repeatable=repeatable, login=login)
        if fault is None:
            return False
        handler.close_connection = fault in {"lost", "silent"}
        if fault == "lost":
            handler.wfile = Path("/dev/null").open("wb")  # noqa: SIM115  # the fake carries it out; `finish` closes it
            return False
        if fault == "silent":
            self.wait_healed()
        else:
            handler.wfile.write(self.refusals()[fault])
            handler.wfile.flush()
        return True


class GoogleService(HTTPService):
    """The fake of Secret Manager."""

    def __init__(self, fake: FakeSecretManager) -> None:
        super().__init__()
        self._fake = fake
        fake.intercept = self._meet

    def _meet(self, handler: BaseHTTPRequestHandler) -> bool:
        return self.meet(handler, changes=handler.command != "GET", repeatable=handler.command == "PATCH")

    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        host, port = address or ("127.0.0.1", self._fake.port)
        return {"plugin": "google-secretmanager", "project": "demo", "endpoint_url": f"http://{host}:{port}"}

    def refusals(self) -> dict[str, bytes]:
        refused = {"rejected": (401, "UNAUTHENTICATED"), "denied": (403, "PERMISSION_DENIED")}
        bodies = {
            fault: reply(code, {"error": {"code": code, "message": CANARY, "status": status}})
            for fault, (code, status) in refused.items()
        }
        return super().refusals() | bodies

    def delay(self, seconds: float) -> bool:
        self._fake.late = seconds
        return True


class AzureService(HTTPService):
    """A vault on the fake of Azure. Another address is one of the proxy through which Azure is reached."""

    def __init__(self, azure: FakeAzure, monkeypatch: Any) -> None:
        super().__init__()
        self._azure = azure
        self._monkeypatch = monkeypatch
        self.vault = azure.fresh_vault()

    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        proxy = self._azure.proxy if address is None else f"http://{address[0]}:{address[1]}"
        self._monkeypatch.setenv("HTTPS_PROXY", proxy)
        return {"plugin": "azure-keyvault", "vault": self.vault, "restore": True}

    def serve(self) -> Any:
        """Return a block in which requests to the vault meet their faults."""

        def meet(handler: BaseHTTPRequestHandler) -> bool:
            repeatable = handler.command in {"PATCH", "DELETE"}
            return self.meet(handler, changes=handler.command != "GET", repeatable=repeatable)

        return self._azure.fault(meet, lambda _, url: self.vault in url)


class KubernetesService(HTTPService):
    """A namespace of the API server that kubectl works with."""

    def __init__(self, api: FakeKubernetes, folder: Path) -> None:
        super().__init__()
        self._api = api
        self._folder = folder
        self.namespace = api.fresh_namespace()
        # A PUT names the version that it replaces, and a POST conflicts with the secret that it has made.
        api.intercept = lambda handler: self.meet(handler, changes=handler.command != "GET", repeatable=True)

    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        url = "" if address is None else f"https://{address[0]}:{address[1]}"
        file = self._folder / f"kubeconfig-{len(url)}"
        self._api.kubeconfig(file, namespace=self.namespace, url=url)
        return {"plugin": "kubernetes-api", "kubeconfig": str(file)}


class EtcdService(FaultyService):
    """A real etcd behind a proxy."""

    def __init__(self, node: Node, proxy: FaultProxy, prefix: str) -> None:
        super().__init__()
        self._node = node
        self._proxy = proxy
        self._prefix = prefix
        proxy.inject(self._exchange)

    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        url = self._proxy.url if address is None else f"http://{address[0]}:{address[1]}"
        return {"plugin": "etcd", "endpoints": [url], "prefix": self._prefix}

    def _exchange(self, exchange: Exchange) -> None:
        body = json.loads(exchange.request.body or b"{}")
        operations = [*body.get("success", ()), *body.get("failure", ())]
        changes = any(kind != "request_range" for operation in operations for kind in operation)
        fault = self.next_fault(changes=changes, repeatable=True)  # each change has its condition
        if fault == "lost":
            exchange.forward()
            exchange.reset()
        elif fault == "silent":
            self.wait_healed()
            exchange.reset()
        elif fault is None:
            exchange.send(exchange.forward())
        else:
            exchange.send(self._refusals()[fault])

    def _refusals(self) -> Mapping[str, bytes]:
        return {
            "throttled": reply(429, {"code": 8, "message": "etcdserver: too many requests"}),
            "failed": reply(503, {"code": 14, "message": "etcdserver: leader changed"}),
            "odd": LOGIN_PAGE,
            "misdirected": NO_SUCH_PAGE,
            "redirected": reply(307, b"", [f"Location: {self.location}/elsewhere"]),
            "rejected": reply(401, {"code": 16, "message": "etcdserver: invalid auth token"}),
            "denied": reply(403, {"code": 7, "message": "etcdserver: permission denied"}),
        }
