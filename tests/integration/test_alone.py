"""Each integration with nothing but the package of its library, and each extra alone. `nox -s alone` runs them.

The environment of the other tests has the packages of all, so that an import which only another one's package makes
possible works there.
"""

import json
import os
import pkgutil
import runpy
import secrets
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import strongroom.integrations
from support.environments import build_wheel, new_environment

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "programs" / "integrations_alone.py"
ENVIRONMENTS = runpy.run_path(str(PROGRAM))["ENVIRONMENTS"]
FOR_CONTRIBUTORS = {"bench", "dev", "docs", "integrations", "tests", "typing"}
ASKED = os.environ.get("TEST_ALONE", "")


def test_each_integration_has_an_environment():
    """And no environment names a module that is gone. A private module needs none: that of its package imports it."""
    folder = strongroom.integrations.__path__
    modules = {about.name for about in pkgutil.walk_packages(folder, "strongroom.integrations.")}
    named = {f"strongroom.integrations.{name}" for one in ENVIRONMENTS.values() for name in one.modules}
    assert named <= modules
    assert {name for name in modules - named if "._" not in name} == set()


def test_each_extra_has_an_environment():
    """Those for contributors make the environment of all other tests."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    alone = {f"strongroom[{extra}]" for extra in extras.keys() - FOR_CONTRIBUTORS}
    assert {one.requirements[0] for name, one in ENVIRONMENTS.items() if name.startswith("extra-")} == alone


def test_sqlalchemy_works_without_greenlet():
    """SQLAlchemy 2.1 no longer installs it. Its modules for asyncio cannot be imported then."""
    hide = "import runpy, sys; sys.modules['greenlet'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    command = [sys.executable, "-c", hide, str(PROGRAM), "sqlalchemy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


class Addresses:
    """The addresses of the servers, each as a secret with an account of this test."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def openbao(self, server) -> dict[str, object]:
        return {"url": server.url, "token": server.token, "mount": server.fresh_mount(version=2)}

    def postgres(self, server) -> dict[str, object]:
        user, password = self._account()
        server.run(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        return self._secret(server, user, password) | {"name": "postgres"}

    def mariadb(self, server) -> dict[str, object]:
        user, password = self._account()
        server.run(f"CREATE USER {user} IDENTIFIED BY '{password}'")
        return self._secret(server, user, password) | {"name": "information_schema"}

    def redis_server(self, server) -> dict[str, object]:
        user, password = self._account()
        with server.client() as client:
            client.acl_setuser(user, enabled=True, passwords=[f"+{password}"], commands=["+@all"], keys=["*"])
        return self._secret(server, user, password)

    def moto(self, server) -> dict[str, object]:
        server.use(self._request.getfixturevalue("monkeypatch"))  # the variables of boto3
        return {}

    def azure(self, service) -> dict[str, object]:
        return {"vault": service.fresh_vault()}  # the fixture sets the variables of the SDK

    def kubernetes_api(self, server) -> dict[str, object]:
        folder = self._request.getfixturevalue("tmp_path")
        return {"kubeconfig": str(server.kubeconfig(folder / "kubeconfig", namespace=server.fresh_namespace()))}

    def etcd(self, server) -> dict[str, object]:
        return {"url": server.url}

    def secret_manager(self, server) -> dict[str, object]:
        return {"url": server.url}

    def age_key(self, key) -> dict[str, object]:
        return {"file": str(key.file), "recipient": key.recipient}

    def _account(self) -> tuple[str, str]:
        return f"alone_{secrets.token_hex(4)}", secrets.token_hex(8)

    def _secret(self, server, user: str, password: str) -> dict[str, object]:
        return {"host": "127.0.0.1", "port": server.port, "user": user, "password": password}


@pytest.mark.skipif(not ASKED, reason="environments from the package index: nox -s alone")
@pytest.mark.timeout(1200)  # Airflow has 150 dependencies
@pytest.mark.parametrize("name", ENVIRONMENTS if ASKED in {"", "every"} else ASKED.split())
def test_it_works_alone(name, wheel, request, monkeypatch, tmp_path):
    """With a real server of each service."""
    one = ENVIRONMENTS[name]
    python = new_environment(tmp_path / "venv", wheel, ["strongroom", *one.requirements]) / "python"
    addresses = Addresses(request)
    servers = {server: getattr(addresses, server)(request.getfixturevalue(server)) for server in one.servers}
    monkeypatch.setenv("ALONE_SERVERS", json.dumps(servers))
    done = subprocess.run([python, "-I", PROGRAM, name], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
