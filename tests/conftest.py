"""Fixtures of all tests: a clean environment, an empty folder, and real servers that tests share."""

from __future__ import annotations

import gc
import os
import random
import re
import signal
import stat
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, NamedTuple

import pytest
from _pytest.assertion import rewrite
from hypothesis import HealthCheck, settings

from strongroom._config import discovery
from support import environments

if TYPE_CHECKING:  # the servers need extras, and the unit tests of the core run without them
    from strongroom_vault.testing import TestVault
    from support.services.aws import Moto
    from support.services.azure import FakeAzure
    from support.services.etcd import Node, SecureNode
    from support.services.google import FakeSecretManager
    from support.services.kubernetes import FakeKubernetes
    from support.services.passwordstore import PasswordStore
    from support.vault.fresh_vault import FreshVault
    from support.vault.recorded_vault import RecordedVault

_AMBIENT = re.compile(
    r"(VAULT|BAO|STRONGROOM|AWS|AZURE|CLOUDSDK|DB|ETCDCTL|GCE|GOOGLE|JWT|KEEPASS|KUBERNETES|REDIS|XDG)_.*|KUBECONFIG"
    r"|DATABASE_URL|APP_SECRET_KEY|.*_API_KEY|(HTTPS?|ALL|NO)_PROXY|PG[A-Z]+"
    r"|PYTHON.*|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|DBUS_SESSION_BUS_ADDRESS|GIT_(DIR|WORK_TREE|INDEX_FILE)",
    re.IGNORECASE,
)

# In bytes. The path of a socket has at most 107, and those of multiprocessing and of servers are below TMPDIR.
_LONGEST_TMPDIR = 60

_TESTS = Path(__file__).parent
_LONG_MODULE = re.compile(r"^pytestmark = .*\bpytest\.mark\.long\b", re.MULTILINE)
_UNIT = _TESTS / "unit"
_OTHERS_END = 0.8  # the share of the run in which the last module outside of tests/unit begins
_LONG = {_TESTS / name for name in ("bench", "browser", "faults", "guides", "ui")}


# No deadline for an example: on a busy machine it would measure the neighbors. The suite draws the same examples each
# time, since a draw must not fail it; `nox -s properties` draws others, and more.
settings.register_profile("thorough", max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", settings.get_profile("thorough"), max_examples=25, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


# Without cached bytecode, each worker rewrites the assertions of all modules, and each child process compiles ours.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite on all cores if pytest-xdist is there. Selected files run in one process, as with `-n 0`.

    The whole suite, and a folder that is named, leave out the tests that take long. A file that is named has all.
    """
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if not whole and config.option.markexpr == "not long" and all(".py" in argument for argument in config.args):
        config.option.markexpr = ""
    nested = "PYTEST_XDIST_WORKER" in os.environ  # a worker, or a run that a test starts, must not start workers
    if whole and not nested and config.getoption("numprocesses", 0) is None and config.getoption("capture") != "no":
        config.option.numprocesses = "auto"
        config.option.dist = "loadscope"  # tests that share a fixture of their module stay together
        config.option.loadscopereorder = False  # in the order of `_mix`


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers of `-n auto`: three more than the cores, since many tests wait for a server.

    Each further worker takes about seven seconds of a core: five to collect all tests, one for moto, and a fifth of one
    for each OpenBao, which is why workers share no server.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 3


class _SkippedTests:
    """Writes the ids of the skipped tests and modules to the file TEST_SKIPPED: `.ci/run` runs them once more."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{report.nodeid}\n")

    pytest_collectreport = pytest_runtest_logreport


def pytest_configure(config: pytest.Config) -> None:
    """Hide the caller's environment and umask from the tests, their child processes and the servers that they share.

    A fixture would be too late: those of a session or a module start before those of a test. A process that only
    starts workers keeps its environment, which they inherit and then hide themselves.
    """
    if file := os.environ.pop("TEST_SKIPPED", ""):
        config.pluginmanager.register(_SkippedTests(Path(file)))
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_TMPDIR:
        os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"
    if config.getoption("dist", "no") != "no":
        return
    environments.for_pip.update(os.environ)
    for name in filter(_AMBIENT.fullmatch, list(os.environ)):
        del os.environ[name]
    os.umask(0o022)


def pytest_sessionstart() -> None:
    """Restore the default signal handlers, in case the tests were started with signals ignored (`nohup … &`)."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


def _write_bytecode(config: pytest.Config) -> None:
    """Write the bytecode of the test modules that have none yet, in a different order in each worker.

    The workers of a new clone would otherwise import the modules at the same time in the same order, and each would
    rewrite the assertions of all modules. That takes longer than all else before the first test. pytest has no public
    function for it.
    """
    collected = [config.invocation_params.dir / argument for argument in config.args]
    found = sorted(module for folder in collected for module in folder.rglob("test_*.py"))
    modules = [module for module in found if _LONG.isdisjoint(module.parents)]
    if config.option.markexpr == "not long":
        modules = [module for module in modules if not _is_long(module)]
    random.Random(os.environ["PYTEST_XDIST_WORKER"]).shuffle(modules)
    for module in modules:
        folder = rewrite.get_cache_dir(module)
        bytecode = folder / f"{module.stem}{rewrite.PYC_TAIL}"
        if not bytecode.exists() and rewrite.try_makedirs(folder):
            source, code = rewrite._rewrite_test(module, config)
            rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, bytecode)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Exempt the collected tests and imported modules from garbage collection: they last until the end."""
    gc.disable()
    if "PYTEST_XDIST_WORKER" in os.environ:
        _write_bytecode(session.config)
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _is_long(module: Path) -> bool:
    """Return True if all tests of the module have the mark `long`."""
    return _LONG_MODULE.search(module.read_text("utf-8")) is not None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip the benchmarks, faults, guides and the tests in a browser, unless a session of noxfile.py names them.

    A module whose mark deselects all of its tests is not even imported: each worker would do so.
    """
    if collection_path.match("test_*.py") and config.option.markexpr == "not long":
        return True if _is_long(collection_path) else None
    if collection_path not in _LONG:
        return None
    named = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    asked = any(
        path.is_relative_to(collection_path) or (_TESTS in path.parents and collection_path.is_relative_to(path))
        for path in named
    )
    return None if asked else True


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, obj: object) -> list[pytest.Item] | None:
    """Leave out a function or class with the mark `long` before it has rows, an eighth of the time of a collection."""
    if collector.config.option.markexpr == "not long" and isinstance(obj, (FunctionType, type)):
        marks = getattr(obj, "pytestmark", [])
        if any(mark.name == "long" for mark in (marks if isinstance(marks, list) else [marks])):
            return []
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that need an OpenBao server, so that `-m "not server"` deselects them. Mix the whole suite."""
    for item in items:
        if {"openbao", "audited_openbao", "own_openbao", "standing_cluster"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and "PYTEST_XDIST_WORKER" in os.environ:
        _mix(items)


def _mix(items: list[pytest.Item]) -> None:
    """Spread the modules of tests/unit over the run, among those that wait for servers, so that no core is idle.

    The last ones are of tests/unit: they are short, and the workers end together.
    """
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    units, others = ([path for path in modules if (_UNIT in path.parents) is unit] for unit in (True, False))
    places = {path: number / len(units) for number, path in enumerate(units)}
    places |= {path: _OTHERS_END * number / len(others) for number, path in enumerate(reversed(others))}
    items[:] = [item for path in sorted(modules, key=places.__getitem__) for item in modules[path]]


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """No file of this process must survive a power failure. Thousands of `fsync` also delay all others on a disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


class _Folders:
    """The empty home and working directory of a test. Most tests leave them empty for the next one."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._unused: list[Path] = []

    def take(self) -> Path:
        """Return a folder with an empty `home` and `cwd`."""
        if self._unused:
            return self._unused.pop()
        folder = Path(tempfile.mkdtemp(dir=self._parent))
        for name in ("home", "cwd"):
            (folder / name).mkdir(0o700)
        return folder

    def give_back(self, folder: Path) -> None:
        """Keep the folder for the next test if both are as new. Others remain, to be looked at after a failure."""
        for each in (folder / "home", folder / "cwd"):
            try:
                if any(each.iterdir()) or each.lstat().st_mode != stat.S_IFDIR | 0o700:
                    return
            except OSError:  # the test has removed it
                return
        self._unused.append(folder)


@pytest.fixture(scope="session", autouse=True)
def _folders(tmp_path_factory) -> _Folders:
    """The folders in which the tests of this worker run. Their parent is the home of the servers that they share."""
    parent = tmp_path_factory.mktemp("folders")
    os.environ["HOME"] = str(parent)
    return _Folders(parent)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory, _folders):
    """Hide from the test the machine's configuration, the files of other tests, and their default manager."""
    folder = _folders.take()
    monkeypatch.setenv("HOME", str(folder / "home"))
    # Tests of trust delete it; all others write the files that they find.
    monkeypatch.setenv("STRONGROOM_TRUSTED_PATHS", str(tmp_path_factory.getbasetemp()))
    # A child process reads the machine's file.
    monkeypatch.setattr(discovery, "SYSTEM_FILE", folder / discovery.CONFIG_FILE_NAME)
    monkeypatch.chdir(folder / "cwd")
    # For a pytest that the test starts: the plugin of Hypothesis takes a third of a short run.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    yield
    if (module := sys.modules.get("strongroom.secrets_manager")) is not None:
        module.set_default_manager(None)
    if (module := sys.modules.get("strongroom_vault.session.tokens")) is not None:
        module._outstanding.clear()  # the servers of their tokens are gone when this process ends
    _folders.give_back(folder)


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder for the sockets of a test: the path of its `tmp_path` may be too long for them."""
    with tempfile.TemporaryDirectory(prefix="sockets-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def openbao() -> Iterator[TestVault]:
    """The server that all tests of a worker share. Use a `fresh_mount` or paths of your own, and leave it running."""
    from strongroom_vault.testing import TestVault

    with TestVault() as server:
        yield server


@pytest.fixture(scope="session")
def audited_openbao(tmp_path_factory) -> Iterator[RecordedVault]:
    """Like `openbao`, for tests that count requests. The audit device takes a third of a server's time."""
    from support.vault.recorded_vault import RecordedVault

    with RecordedVault(tmp_path_factory.mktemp("openbao") / "audit.log") as server:
        yield server


@pytest.fixture
def own_openbao(tmp_path) -> Iterator[RecordedVault]:
    """A server for one test, to kill, pause and restart. It loses its data when it restarts."""
    from support.vault.recorded_vault import RecordedVault

    with RecordedVault(tmp_path / "audit.log") as server:
        yield server


@pytest.fixture
def fresh_openbao(audited_openbao) -> Iterator[FreshVault]:
    """What looks like a new server: a namespace of the shared server, behind an address of its own."""
    from support.vault.fresh_vault import FreshVault

    server = FreshVault(audited_openbao)
    yield server
    server.kill()


@pytest.fixture
def kv2(openbao) -> str:
    """The name of an empty KV version 2 mount on the shared server."""
    return openbao.fresh_mount(version=2)


@pytest.fixture
def kv1(openbao) -> str:
    """The name of an empty KV version 1 mount on the shared server."""
    return openbao.fresh_mount(version=1)


@pytest.fixture(scope="session")
def lasting_moto() -> Iterator[Moto]:
    """The AWS that all tests of a worker share. It checks no signatures and policies by itself. A test may empty it."""
    from support.services.aws import Moto

    server = Moto()
    yield server
    server.close()


@pytest.fixture
def moto(lasting_moto) -> Moto:
    """The shared AWS, empty."""
    lasting_moto.reset()  # moto searches all names, and would take longer with each test
    return lasting_moto


@pytest.fixture
def secret_manager() -> Iterator[FakeSecretManager]:
    """A fake of Google, without secrets."""
    from support.services.google import FakeSecretManager

    with FakeSecretManager() as fake:
        yield fake


@pytest.fixture(scope="session")
def lasting_azure(tmp_path_factory) -> Iterator[FakeAzure]:
    """The Azure that all tests of a worker share. A test takes a separate vault: `fresh_vault`."""
    from support.services.azure import FakeAzure

    service = FakeAzure(tmp_path_factory.mktemp("azure"))
    yield service
    service.close()


@pytest.fixture
def azure(lasting_azure, monkeypatch) -> FakeAzure:
    """The shared Azure, as the one that the SDK finds. A deletion or a recovery takes effect at once."""
    monkeypatch.setattr("strongroom_azure.store.PAUSE", 0.01)
    lasting_azure.use(monkeypatch)
    lasting_azure.requests.clear()
    return lasting_azure


@pytest.fixture(scope="session")
def lasting_kubernetes(tmp_path_factory) -> Iterator[FakeKubernetes]:
    """The API server that all tests of a worker share. Use a fresh namespace."""
    from support.services.kubernetes import FakeKubernetes

    server = FakeKubernetes(tmp_path_factory.mktemp("kubernetes"))
    yield server
    server.close()


@pytest.fixture
def kubernetes_api(lasting_kubernetes) -> FakeKubernetes:
    """The shared API server, as a client finds it that no test has disturbed."""
    lasting_kubernetes.calm()
    return lasting_kubernetes


@pytest.fixture(scope="session")
def etcd() -> Iterator[Node]:
    """Skip the test if etcd is not installed. Each test has its own prefix."""
    from support.services.etcd import running_etcd

    with running_etcd() as node:
        yield node


@pytest.fixture(scope="session")
def secure_etcd() -> Iterator[SecureNode]:
    """A server with users, TLS and client certificates. Skip the test if etcd is not installed."""
    from support.services.etcd import running_etcd

    with running_etcd(secure=True) as node:
        yield node


@pytest.fixture(scope="session")
def _gpg_key() -> Iterator[PasswordStore]:
    from support.services.passwordstore import password_store

    with password_store() as made:
        yield made


@pytest.fixture
def gpg_home(_gpg_key, monkeypatch) -> PasswordStore:
    """The programs `pass` and `gpg`, with a throw-away key that this worker shares. Use a folder of your own."""
    for name, value in _gpg_key.variables.items():
        monkeypatch.setenv(name, value)
    return _gpg_key


class AgeKey(NamedTuple):
    """An age identity in a private file, and its recipient."""

    file: Path
    recipient: str


@pytest.fixture(scope="session")
def age_key(tmp_path_factory) -> AgeKey:
    """A throw-away age key that this worker shares."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    file = tmp_path_factory.mktemp("age") / "identity"
    file.touch(0o600)
    file.write_text(f"{identity}\n")
    return AgeKey(file, str(identity.to_public()))


@pytest.fixture(scope="session")
def _unlocked_bus() -> Iterator[str]:
    from support.services.secret_service import secret_service

    with secret_service() as address:
        yield address


@pytest.fixture(scope="session")
def _locked_bus() -> Iterator[str]:
    from support.services.secret_service import secret_service

    with secret_service(locked=True) as address:
        yield address


@pytest.fixture
def session_keyring(_unlocked_bus, monkeypatch) -> None:
    """The unlocked keyring of a session that this worker shares. Use a service of your own."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", _unlocked_bus)


@pytest.fixture
def locked_keyring(_locked_bus, monkeypatch) -> None:
    """The keyring of a session whose user is away."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", _locked_bus)
