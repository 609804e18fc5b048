"""What importing Strongroom loads, and what it offers."""

import ast
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import strongroom

HEAVY = {
    "hvac",
    "requests",
    "urllib3",
    "boto3",
    "botocore",
    "stevedore",
    "click",
    "rich",
    "dotenv",
    "cryptography",
    "yaml",
    "pyrage",
}


def loaded_by(statement: str) -> set[str]:
    """The top packages in a new interpreter after this statement."""
    program = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import strongroom",
        "from strongroom import get_secret, SecretsManager",
        "from strongroom.secrets_manager import get_database_url",
        "import strongroom.store, strongroom.secret, strongroom.errors, strongroom.env_names",
    ],
)
def test_importing_loads_no_sdk_and_no_tool(statement):
    """An application pays for Vault, plugins and encryption when it first asks for a secret, not when it starts."""
    assert loaded_by(statement) & HEAVY == set()


def test_importing_loads_nothing_that_only_the_first_use_needs():
    """A program that imports Strongroom may never ask it for a secret."""
    later = {"asyncio", "pathlib", "tomllib", "urllib"}
    assert loaded_by("from strongroom import get_secret") & later <= loaded_by("pass")


def test_a_chain_on_this_machine_loads_no_encryption():
    """The environment is never cached, so that there is nothing to seal. Its plugin is loaded by stevedore."""
    statement = (
        "import os; os.environ['DATABASE_URL'] = 'x'; from strongroom import SecretsManager; "
        "SecretsManager(chain=['env', 'dotenv']).get_secret('database/connection', 'url')"
    )
    assert loaded_by(statement) & HEAVY == {"stevedore"}


def test_a_value_of_the_environment_costs_the_command_line_no_more_than_it_needs():
    """Most of what `strongroom get` takes is imports: click, importlib.metadata, which finds plugins, and stevedore."""
    statement = (
        "import os; os.environ['DB_HOST'] = 'x '; from strongroom._cli.app import run; "
        "run(['get', 'database/connection#host'])"
    )
    later = (HEAVY | {"asyncio", "difflib", "tomllib"}) - {"click", "stevedore"}
    loaded = loaded_by(statement)
    assert loaded & later == set()
    assert "strongroom_env" in loaded


CACHED_READ = """
from strongroom import Secret, SecretsManager
class RemoteStore:
    def read(self, path): return Secret(path=path, data={"url": "x"})
    def close(self): pass
manager = SecretsManager(chain=[RemoteStore()])
manager.get_secret("a", "url"); manager.get_secret("a", "url")
"""


@pytest.mark.parametrize(
    "statement",
    [f"exec({CACHED_READ!r})", "from strongroom._cli.app import run; run(['--version'])"],
    ids=["cached read", "--version"],
)
def test_what_loads_no_store_imports_no_loader(statement):
    """stevedore and hvac are imported when a plugin is loaded, and when a store is opened."""
    assert loaded_by(statement) & {"stevedore", "hvac", "requests"} == set()


def test_the_command_of_a_plugin_is_loaded_by_stevedore():
    """As every plugin is when it is used."""
    assert "stevedore" in loaded_by("from strongroom._cli.app import run; run(['vault', '--help'])")


def test_the_version_is_printed_without_importing_the_command_line():
    """Scripts ask for it often, and `import click` takes longer than everything else."""
    lines = "try: main(['--version'])", "except SystemExit: pass"
    program = f"from strongroom._cli.main import main; exec({chr(10).join(lines)!r})"
    assert loaded_by(program) & (HEAVY | {"logging", "dataclasses", "importlib.metadata"}) == set()
    assert strongroom.__version__ in loaded_by(program)


def test_stevedore_leaves_the_user_s_cache_folder_alone(tmp_path, monkeypatch):
    """Its list of entry points there could be changed by others, or be older than what is installed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    statement = (
        "import os, stevedore._cache as cache; cache._c._disable_caching = False; os.environ['DB_HOST'] = 'x '; "
        "from strongroom._cli.app import run; run(['get', 'database/connection#host']); run(['stores'])"
    )
    loaded_by(statement)
    assert list(tmp_path.iterdir()) == []


def test_an_application_can_use_stevedore_after_strongroom():
    """Its own manager lists the same plugins."""
    statement = (
        "import os; os.environ['DB_HOST'] = 'x'; from strongroom import get_secret; "
        "get_secret('database/connection', 'host'); import stevedore; "
        "sys.modules |= dict.fromkeys(stevedore.ExtensionManager('strongroom.stores').names())"
    )
    assert "vault" in loaded_by(statement)


def test_importing_loads_no_backend():
    """The core reaches ours as it reaches a stranger's: through their entry points."""
    assert not {name for name in loaded_by("import strongroom, strongroom.testing") if name.startswith("strongroom_")}


@pytest.mark.parametrize("plugin", entry_points(group="strongroom.stores"), ids=lambda plugin: plugin.name)
def test_importing_a_plugin_loads_no_sdk(plugin):
    """`strongroom stores` imports every plugin to show its options; an SDK is loaded when a store is opened."""
    assert loaded_by(f"import {plugin.module}") & HEAVY == set()


def test_every_public_name_is_there():
    """`from strongroom import *` works, and gives what the list says."""
    names: dict[str, object] = {}
    exec("from strongroom import *", names)
    assert set(strongroom.__all__) == names.keys() - {"__builtins__"}


def test_a_backend_imports_published_modules_only():
    """As a third party's package does: a module of the top level without an underscore, or an `spi`."""
    root = Path(__file__).parents[2]
    folders = ("backends", "docs/examples", "docs/how-to")
    files = [file for folder in folders for file in (root / folder).rglob("*.py")]
    private = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("strongroom."):
                parts = (node.module or "").removesuffix(".spi").split(".")
                private += [f"{file.name}: {node.module}"] * (len(parts) > 2)
            private += [f"{file.name}: {name}" for name in names if name.startswith("strongroom.") and "._" in name]
    assert len(files) > 80
    assert private == []
