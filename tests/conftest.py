"""What every test stands on: an empty environment, an empty folder, and a real server for those that ask."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from aws import Moto
from strongroom_vault.testing import TestVault

_AMBIENT = re.compile(
    r"(VAULT|BAO|STRONGROOM|AWS|DB|JWT|REDIS)_.*|DATABASE_URL|APP_SECRET_KEY|.*_API_KEY|(HTTPS?|ALL|NO)_PROXY|PYTHON.*",
    re.IGNORECASE,
)

_TESTS = Path(__file__).parent
_LONG = {_TESTS / name for name in ("bench/test_migrate.py", "faults")}


# How long an example takes says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite on all cores if pytest-xdist is there. Selected files run in one process, as with `-n 0`."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if whole and config.getoption("numprocesses", 0) is None and config.getoption("capture") != "no":
        config.option.numprocesses = "auto"
        config.option.dist = "worksteal"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers that `-n auto` starts: one for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_sessionstart() -> None:
    """Restore the default signal handlers, in case the tests were started with signals ignored (`nohup … &`)."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out what takes minutes, unless it or its folder is named, as the sessions of noxfile.py do."""
    named = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    asked = any(
        path.is_relative_to(collection_path) or (_TESTS in path.parents and collection_path.is_relative_to(path))
        for path in named
    )
    return True if collection_path in _LONG and not asked else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that need a server, so that `-m "not server"` leaves them out."""
    for item in items:
        if {"openbao", "own_openbao", "standing_cluster"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """Nothing of the developer's machine reaches a test: no variable of Strongroom's or Python's, no .env, no home."""
    for name in list(os.environ):
        if _AMBIENT.fullmatch(name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="session")
def openbao(tmp_path_factory) -> Iterator[TestVault]:
    """The server that all tests share. Use a `fresh_mount` or paths of your own, and leave it running."""
    with TestVault(audit=tmp_path_factory.mktemp("openbao") / "audit.log") as server:
        yield server


@pytest.fixture
def own_openbao(tmp_path) -> Iterator[TestVault]:
    """A server of the test's own, to kill, pause and restart. It forgets its data when it restarts."""
    with TestVault(audit=tmp_path / "audit.log") as server:
        yield server


@pytest.fixture
def kv2(openbao) -> str:
    """The name of an empty KV version 2 mount on the shared server."""
    return openbao.fresh_mount(version=2)


@pytest.fixture
def kv1(openbao) -> str:
    """The name of an empty KV version 1 mount on the shared server."""
    return openbao.fresh_mount(version=1)


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """The AWS that all tests share, without checks of signatures and policies. Use names of your own."""
    server = Moto()
    yield server
    server.close()
