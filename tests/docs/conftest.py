"""Fixtures of the distributions in docs/examples, installed as a user installs them, and of published APIs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.programs import require
from support.services.secret_apis import SecretApis


@pytest.fixture(scope="module")
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command beside the installed distribution of the module's folder EXAMPLE."""
    site = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(request.module.EXAMPLE)], check=True)
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"

    def call(*arguments: str, piped: str = "") -> subprocess.CompletedProcess[str]:
        # `os.environ` as the test has it, which keeps the state of migrations in a separate folder.
        environ = {**os.environ, "PYTHONPATH": str(site), "PATH": path, "STRONGROOM_TRUSTED_PATHS": str(Path.cwd())}
        return subprocess.run(arguments, input=piped, capture_output=True, text=True, check=False, env=environ)

    return call


@pytest.fixture
def secret_apis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SecretApis]:
    """Fakes of the APIs of 1Password Connect, Doppler, Infisical and Bitwarden, in the variables of a reader."""
    require("curl", "jq")
    apis = SecretApis()
    for name, value in apis.variables().items():
        monkeypatch.setenv(name, value)
    apis.install_bws(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    yield apis
    apis.stop()
