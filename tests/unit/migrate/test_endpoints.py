"""What a migration reads from and writes to, by the name of a plugin: an importer or exporter first, else the store."""

import subprocess
import sys
import textwrap

import pytest

from strongroom._config import discovery
from strongroom._files.file_store import FileStore
from strongroom._plugins import EXPORTERS, IMPORTERS, STORES, offers
from strongroom.errors import ConfigurationError, PluginError
from strongroom.migrate import endpoints
from strongroom.migrate.spi import Exporter, Importer
from strongroom.migrate.variables_importer import VariablesImporter
from strongroom.store.memory import MemoryStore
from support.clock import LONG

STRANGER = """
    from pathlib import Path

    class Both:
        def __init__(self, file):
            self.file = file

        def items(self):
            return iter(())

        def write(self, secrets):
            return iter(())

        def close(self):
            pass

    def open_both(*, file: Path) -> Both:
        return Both(file)

    def open_nothing() -> object:
        return object()

    def open_needing() -> object:
        import a_module_that_nobody_has
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a stranger's distribution with entry points of one group."""

    def install(distribution, group, points):
        site = tmp_path / distribution  # one each: what is found on a search path is remembered
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        (site / "stranger.py").write_text(textwrap.dedent(STRANGER))
        monkeypatch.delitem(sys.modules, "stranger", raising=False)
        monkeypatch.syspath_prepend(site)

    return install


def config(**stores):
    environ = {
        f"STRONGROOM_STORES_{store}_{name}".upper(): str(value)
        for store, value_of in stores.items()
        for name, value in value_of.items()
    }
    return discovery.load(chain=["memory", *stores], environ=environ)


def opened(name, preferred, chosen=None):
    chosen = chosen or config()
    return endpoints.open_endpoint(chosen, name, endpoints.plugin_group(preferred, name))


def test_the_environment_and_a_dotenv_file_are_importers():
    """So that what no rule names is listed too."""
    assert isinstance(opened("env", IMPORTERS), VariablesImporter)
    assert isinstance(opened("dotenv", IMPORTERS), VariablesImporter)


def test_a_dotenv_file_is_written_as_a_target_alone(tmp_path):
    """In a chain it stays read-only, so that what is set goes on past it."""
    assert isinstance(opened("dotenv", EXPORTERS), FileStore)
    assert offers(EXPORTERS, "dotenv")
    assert offers(STORES, "dotenv")
    assert not offers(EXPORTERS, "json")


def test_every_other_name_is_a_store():
    """At both ends."""
    assert isinstance(opened("memory", IMPORTERS), MemoryStore)
    assert isinstance(opened("memory", EXPORTERS), MemoryStore)


def test_a_stranger_s_importer_and_exporter(install, tmp_path):
    """Found by their groups, with options by their signature."""
    install("safe-import", IMPORTERS, {"safe": "stranger:open_both"})
    install("safe-export", EXPORTERS, {"safe": "stranger:open_both"})
    chosen = config(safe={"file": tmp_path / "safe.csv"})
    source, target = opened("safe", IMPORTERS, chosen), opened("safe", EXPORTERS, chosen)
    assert isinstance(source, Importer)
    assert isinstance(target, Exporter)
    assert source.file == tmp_path / "safe.csv"
    with pytest.raises(ConfigurationError, match="the option file is missing"):
        opened("safe", IMPORTERS)


def test_a_name_of_two_distributions_is_refused(install):
    """As it is for stores: which of them is meant nobody knows."""
    install("safe-one", IMPORTERS, {"safe": "stranger:open_both"})
    install("safe-two", IMPORTERS, {"safe": "stranger:open_both"})
    with pytest.raises(PluginError, match=r"safe is registered by safe-.* and safe-"):
        opened("safe", IMPORTERS)


@pytest.mark.parametrize(
    ("end", "group", "says"),
    [
        (
            "source",
            IMPORTERS,
            "plugin safe is broken: it returned object, which is no importer and no store: it has no items",
        ),
        (
            "target",
            EXPORTERS,
            "plugin safe is broken: it returned object, which is no exporter and no store: it has no write",
        ),
    ],
)
def test_a_plugin_that_gives_neither_is_broken(install, end, group, says):
    """And says so before anything is read or written."""
    install("safe-nothing", group, {"safe": "stranger:open_nothing", "needing": "stranger:open_needing"})
    with pytest.raises(PluginError, match=says):
        getattr(endpoints.Endpoints(config(), None), end)("safe")
    with pytest.raises(PluginError, match="needs a_module_that_nobody_has, which is not installed"):
        opened("needing", group)


WITHOUT_YAML = """
import sys
sys.modules["yaml"] = None
from strongroom._config import discovery
from strongroom.errors import PluginError
from strongroom.migrate.endpoints import open_endpoint, plugin_group
from strongroom._plugins import EXPORTERS

for plugin in ("yaml", "kubernetes"):
    config = discovery.load(chain=["memory"], environ={f"STRONGROOM_STORES_{plugin.upper()}_FILE": "file"})
    try:
        open_endpoint(config, plugin, plugin_group(EXPORTERS, plugin))
    except PluginError as error:
        print(error)
"""


def test_what_a_format_needs_is_named_by_its_extra():
    """In one line. A separate process has not imported the formats before."""
    program = [sys.executable, "-c", WITHOUT_YAML]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=LONG)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for plugin, line in zip(("yaml", "kubernetes"), lines, strict=True):
        assert "needs yaml, " in line
        assert f'pip install "strongroom[{plugin}]"' in line


def test_encryption_is_named_by_its_extra(tmp_path, monkeypatch):
    """By the options that need it."""
    monkeypatch.setitem(sys.modules, "pyrage", None)
    chosen = config(json={"file": tmp_path / "file", "encrypt_to": "age1x"})
    with pytest.raises(ConfigurationError, match=r'encrypt_to and identity need pyrage, .*"strongroom\[age\]"'):
        opened("json", EXPORTERS, chosen)
