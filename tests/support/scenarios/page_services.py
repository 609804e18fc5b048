"""The services that a page needs, which its comment `<!-- needs: … -->` lists."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from support.programs import require
from support.scenarios import page_blocks


@contextmanager
def services_of(
    page: Path, needs: set[str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Set the variables of a reader who has these services."""
    require(*re.findall(r"^\$ .*\b(curl|openssl)\b", page.read_text("utf-8"), re.MULTILINE))
    for need in sorted(needs & _SETUPS.keys()):
        _SETUPS[need](request, monkeypatch)
    server = request.getfixturevalue("fresh_openbao") if "server" in needs else None
    with page_blocks.servers_of(page, server, monkeypatch) if server else nullcontext():
        yield


def _aws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 find an account."""
    request.getfixturevalue("moto").use(monkeypatch)


def _etcd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let etcdctl find a server."""
    require("etcdctl")
    monkeypatch.setenv("ETCDCTL_ENDPOINTS", request.getfixturevalue("etcd").url)
    monkeypatch.setenv("ETCDCTL_PASSWORD", "unused")  # of the second configuration, whose servers nobody asks


def _keepass(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a database, whose password is in a variable."""
    from support.services.keepass import PASSWORD, make_database

    make_database(Path("secrets.kdbx"))
    monkeypatch.setenv("KEEPASS_PASSWORD", PASSWORD)


def _google(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a project and credentials."""
    monkeypatch.setenv("STRONGROOM_STORES_GOOGLE_ENDPOINT_URL", request.getfixturevalue("secret_manager").url)


def _azure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a vault, and an identity that the SDK finds."""
    from support.services.azure import Vault

    request.getfixturevalue("azure").vaults["billing-prod"] = Vault()


def _kubernetes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kubectl find a cluster with the namespace `billing`."""
    require("kubectl")
    cluster = request.getfixturevalue("kubernetes_api")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(Path.home() / "kubeconfig")))
    cluster.add_namespace("billing")


def _pass(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `pass init`."""
    folder = request.getfixturevalue("tmp_path") / "store"
    monkeypatch.setenv("PASSWORD_STORE_DIR", str(request.getfixturevalue("gpg_home").init(folder)))


def _secret_apis(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give accounts, tokens and programs of the services whose published APIs the tests fake."""
    apis = request.getfixturevalue("secret_apis")
    items = [{"label": "username", "value": "app"}, {"label": "password", "value": "s3cret"}]
    apis.items.append(("database/connection", items))
    apis.doppler["DATABASE_URL"] = "postgresql://db.example/billing"
    apis.infisical["/database"] = {"PASSWORD": "s3cret"}
    apis.bitwarden.append(("database/password", "s3cret"))


def _agents(_: pytest.FixtureRequest, __: pytest.MonkeyPatch) -> None:
    """Skip the page on a Python that the proxy does not know."""
    if sys.version_info < (3, 12):
        pytest.skip("`strongroom agent` needs Python 3.12 or later")


_SETUPS = {
    "agents": _agents,
    "aws": _aws,
    "etcd": _etcd,
    "keepass": _keepass,
    "google": _google,
    "azure": _azure,
    "kubernetes": _kubernetes,
    "pass": _pass,
    "secret apis": _secret_apis,
}
