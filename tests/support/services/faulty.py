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
"""The page, and the bodies of refusals, quote a value: the contract fails if an error or a log shows it."""


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

    def meet(self, handler: BaseHTTPRequestHandler, *, changes: bool) -> bool:
        """Let a request meet its fault. Return True if it has been dealt with."""
        fault = self.next_fault(changes=changes)
        if fault is None:
            return False
        handler.close_connection = fault in {"lost", "silent"}
        if fault == "lost":
            handler.wfile = Path("/dev/null").open("wb")  # noqa: SIM115  # the fake carries it out; `finish` closes it
            return False
        if fault == "silent":
            self.wait_healed()
        else:
            body = {"kind": "Status", "message": CANARY, "error": {"code": CANARY, "message": CANARY}}
            replies = {"throttled": reply(429, body, ["Retry-After: 0"]), "failed": reply(503, body)}
            handler.wfile.write(replies.get(fault, LOGIN_PAGE))
            handler.wfile.flush()
        return True


class GoogleService(HTTPService):
    """The fake of Secret Manager."""

    def __init__(self, fake: FakeSecretManager) -> None:
        super().__init__()
        self._fake = fake
        fake.intercept = lambda handler: self.meet(handler, changes=handler.command != "GET")

    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        host, port = address or ("127.0.0.1", self._fake.port)
        return {"plugin": "google-secretmanager", "project": "demo", "endpoint_url": f"http://{host}:{port}"}

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
        return self._azure.fault(
            lambda handler: self.meet(handler, changes=handler.command != "GET"), lambda _, url: self.vault in url
        )


class KubernetesService(HTTPService):
    """A namespace of the API server that kubectl works with."""

    def __init__(self, api: FakeKubernetes, folder: Path) -> None:
        super().__init__()
        self._api = api
        self._folder = folder
        self.namespace = api.fresh_namespace()
        api.intercept = lambda handler: self.meet(handler, changes=handler.command != "GET")

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
        match self.next_fault(changes=changes):
            case "throttled":
                exchange.send(reply(429, {"code": 8, "message": "etcdserver: too many requests"}))
            case "failed":
                exchange.send(reply(503, {"code": 14, "message": "etcdserver: leader changed"}))
            case "odd":
                exchange.send(LOGIN_PAGE)
            case "lost":
                exchange.forward()
                exchange.reset()
            case "silent":
                self.wait_healed()
                exchange.reset()
            case None:
                exchange.send(exchange.forward())
