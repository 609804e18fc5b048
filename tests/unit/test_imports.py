"""What importing Strongroom loads, and what it offers."""

import ast
import itertools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import strongroom

ROOT = Path(__file__).parents[2]

HEAVY = {
    "hvac",
    "requests",
    "urllib3",
    "boto3",
    "botocore",
    "grpc",
    "stevedore",
    "click",
    "rich",
    "dotenv",
    "cryptography",
    "yaml",
    "pyrage",
}


UNUSED_BY_A_READ = {
    *(["email.message"] if sys.version_info >= (3, 12) else []),  # importlib.metadata of 3.11 imports it
    "strongroom._credentials.database_address",
    "strongroom._watch.watch",
    "strongroom._watch.watcher",
}
"""Modules of calls that a read of one value does not make: watches, addresses, the metadata of a distribution."""


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
        "import strongroom.store, strongroom.secret, strongroom.errors, strongroom.formats.variables",
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
    later = (HEAVY | UNUSED_BY_A_READ | {"asyncio", "difflib", "tomllib"}) - {"click", "stevedore"}
    loaded = loaded_by(f"{statement}; print(*sys.modules)")
    assert loaded & later == set()
    assert "strongroom_env" in loaded


def test_a_hit_in_the_disk_cache_loads_no_part_of_vault_that_sends():
    """It reads the options of the store from the signature of its opener, and opens nothing."""
    loaded = loaded_by("import strongroom_vault.plugin; print(*sys.modules)")
    senders = ("http.hvac_adapter", "http.messages", "http.address", "http.drivers", "session.session", "auth")
    assert loaded & {"email.utils", *(f"strongroom_vault.{name}" for name in senders)} == set()


def test_run_with_values_of_the_environment_imports_no_other_plugin(tmp_path, monkeypatch):
    """The names of credentials stand in entry points, and the code of unused options is not loaded."""
    (tmp_path / "app.toml").write_text('chain = ["env"]\n[secrets]\nDB_HOST = "database/connection#host"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DB_HOST", "x")
    statement = (
        "import os; os.execvpe = lambda *_: 0; from strongroom._cli.app import run; "
        "assert run(['--config', 'app.toml', 'run', '--', 'true']) == 0; print(*sys.modules)"
    )
    loaded = loaded_by(statement)
    later = {
        "asyncio",
        "difflib",
        "subprocess",
        "strongroom._redaction.fingerprints",
        "strongroom.migrate._plans.mapping_file",
    }
    assert loaded & ((HEAVY | later) - {"click", "stevedore"}) == set()
    assert {name for name in loaded if name.startswith("strongroom_") and "." not in name} == {"strongroom_env"}


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


def test_importing_the_plugins_loads_no_sdk():
    """`strongroom stores` imports every plugin to show its options; an SDK is loaded when a store is opened."""
    modules = {plugin.module for plugin in entry_points(group="strongroom.stores")}
    assert loaded_by(f"import {', '.join(sorted(modules))}") & HEAVY == set()


def test_every_public_name_is_there():
    """`from strongroom import *` works, and gives what the list says."""
    names: dict[str, object] = {}
    exec("from strongroom import *", names)
    assert set(strongroom.__all__) == names.keys() - {"__builtins__"}


def test_a_backend_imports_published_modules_only():
    """As a third party's package does: a module of the top level, of `store`, `files` or `formats`, or an `spi`."""
    folders = ("backends", "docs/examples", "docs/how-to")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    private = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("strongroom."):
                parts = (node.module or "").removesuffix(".spi").split(".")
                private += [f"{file.name}: {node.module}"] * (
                    len(parts) > (3 if parts[1] in {"store", "files", "formats"} else 2)
                )
            private += [f"{file.name}: {name}" for name in names if name.startswith("strongroom.") and "._" in name]
    assert len(files) > 80
    assert private == []


# --- circles ----------------------------------------------------------------------------------------------------------


def sources() -> dict[str, ast.Module]:
    """Return the modules of the core and of the backends by name, parsed."""
    modules = {}
    for folder in (ROOT / "core", ROOT / "backends"):
        for file in folder.rglob("*.py"):
            name = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
            modules[name] = ast.parse(file.read_text("utf-8"))
    return modules


def for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield module and name of each import, in functions too, but not those for a type checker alone."""
    nodes: list[ast.AST] = [module]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        children = node.orelse if isinstance(node, ast.If) and for_type_checkers(node) else ast.iter_child_nodes(node)
        blocks = ast.stmt | ast.ExceptHandler | ast.match_case
        nodes.extend(child for child in children if isinstance(child, blocks))


def lazy_names(module: ast.Module) -> dict[str, tuple[str, str]]:
    """Return the names that a type checker finds in a module: if others import one, it comes at its first use."""
    found: dict[str, tuple[str, str]] = {}
    for block in filter(for_type_checkers, module.body):
        for node in block.body:
            if isinstance(node, ast.ImportFrom):
                found |= {alias.asname or alias.name: (node.module or "", alias.name) for alias in node.names}
    return found


def import_graph(modules: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Return the modules that each module imports."""
    lazy = {name: lazy_names(module) for name, module in modules.items()}

    def targets(origin: str, name: str) -> Iterator[str]:
        if f"{origin}.{name}" in modules:
            yield f"{origin}.{name}"
            return
        yield origin
        if name in lazy.get(origin, {}):
            yield from targets(*lazy[origin][name])

    return {
        module: {target for origin, name in imported(tree) for target in targets(origin, name)}
        & modules.keys() - {module}
        for module, tree in modules.items()
    }


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the sets of modules that reach each other, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []
    numbers = itertools.count()

    def visit(module: str) -> None:
        index[module] = lowest[module] = next(numbers)
        stack.append(module)
        for target in graph[module]:
            if target not in index:
                visit(target)
            if target in stack:
                lowest[module] = min(lowest[module], lowest[target])
        if lowest[module] == index[module]:
            start = stack.index(module)
            found.append(sorted(stack[start:]))
            del stack[start:]

    for module in graph:
        if module not in index:
            visit(module)
    return [circle for circle in found if len(circle) > 1]


@pytest.mark.long
def test_no_modules_import_each_other():
    """Neither directly nor through others, nor in a function, which would hide the circle from Python.

    An import of a package's name counts as one of the package, whose `__init__` runs then. If the package imports the
    name at its first use, by a `__getattr__` of the module, it counts as one of the module that has the name, too. That
    a module's own packages run before it does not count, nor does an import for a type checker alone.
    """
    graph = import_graph(sources())
    assert len(graph) > 300
    assert "strongroom._manager" in graph["strongroom.secrets_manager"]
    assert circles(graph) == []


LAZY = "if TYPE_CHECKING:\n    from b import name"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("import b", "import a"),
        ("from b import name", "def later():\n    from a import other"),
        ("try:\n    import c\nexcept ImportError: ...", "if True:\n    import a"),
        ("from package import name", "import a"),
    ],
    ids=["at the top", "in a function", "through a third", "of a lazy name"],
)
def test_a_circle_is_found(first, second):
    texts = {"a": first, "b": second, "c": "from b import name", "package": LAZY, "package.b": "from a import x"}
    (circle,) = circles(import_graph({name: ast.parse(text) for name, text in texts.items()}))
    assert "a" in circle
    assert "b" in circle or "package.b" in circle


def test_an_import_for_a_type_checker_is_no_circle():
    texts = {"a": "import b", "b": "if TYPE_CHECKING:\n    import a"}
    assert circles(import_graph({name: ast.parse(text) for name, text in texts.items()})) == []
