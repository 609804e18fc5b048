"""Importers and exporters keep their contracts: variables, and a third party's plugins."""

import os
from urllib.parse import quote

import pytest

from strongroom.formats.variables import EnvironmentMapping
from strongroom.migrate.variables_importer import open_dotenv, open_env
from strongroom.secret import Secret
from strongroom.testing import CANARY, NON_TEXT_CASES, ExporterContract, ImporterContract, dripping_server
from support.plugins.folder_plugins import FolderExporter, FolderImporter


def rows(contents):
    """Return a variable for each key: variable -> path, key."""
    places = [(path, key) for path, data in contents.items() for key in data]
    return {f"CONTRACT_{number}": place for number, place in enumerate(places)}


def quoted(text):
    """Return text escaped for double quotes, as python-dotenv reads it."""
    for character, escape in {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}.items():
        text = text.replace(character, escape)
    return f'"{text}"'


class TestEnvironment(ImporterContract):
    """The environment holds only text without NUL, and can always be read."""

    cannot_hold = NON_TEXT_CASES | {"empty", "nul"}
    impossible = frozenset({"unreadable"})

    @pytest.fixture
    def environment(self, monkeypatch):
        """Return a function that replaces all variables: pytest sets some before each test."""
        return lambda variables: monkeypatch.setattr(os, "environ", variables)

    @pytest.fixture
    def importing(self, environment):
        def fill(contents):
            table = rows(contents)
            environment({name: contents[path][key] for name, (path, key) in table.items()})
            return open_env(mapping=EnvironmentMapping(table))

        return fill

    @pytest.fixture
    def partly_unreadable(self, environment, tmp_path):
        """A variable with a rule to split its JSON, whose value is not JSON."""
        file = tmp_path / "mapping.json"
        file.write_text('{"version": 1, "variables": {"A": {"to": "a", "split": "json"}, "B": "b#k"}}')
        environment({"A": f"{CANARY}, and not JSON", "B": "v"})
        return open_env(mapping=EnvironmentMapping(), mapping_file=file)


class TestDotenv(ImporterContract):
    """A missing file is a source that cannot be read."""

    cannot_hold = NON_TEXT_CASES | {"empty", "nul"}
    impossible = frozenset({"partly_unreadable"})

    @pytest.fixture
    def importing(self, tmp_path):
        def fill(contents):
            table = rows(contents)
            file = tmp_path / ".env"
            file.touch(0o600)
            lines = (f"{name}={quoted(contents[path][key])}\n" for name, (path, key) in table.items())
            file.write_text("".join(lines), newline="")
            return open_dotenv(mapping=EnvironmentMapping(table), file=file)

        return fill

    @pytest.fixture
    def unreadable(self, tmp_path):
        return open_dotenv(mapping=EnvironmentMapping(), file=tmp_path / "none")


class TestFolderImporter(ImporterContract):
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "secrets"
        root.mkdir()
        return root

    @pytest.fixture
    def importing(self, root):
        def fill(contents):
            list(FolderExporter(root).write(Secret(path, data) for path, data in contents.items()))
            return FolderImporter(root)

        return fill

    @pytest.fixture
    def unreadable(self, tmp_path):
        return FolderImporter(tmp_path / "none")

    @pytest.fixture
    def misnamed(self, root):
        (root / quote("../app", safe="")).write_text('{"k": "v"}')
        (root / "good").write_text('{"k": "v"}')
        return FolderImporter(root)

    @pytest.fixture
    def partly_unreadable(self, root):
        (root / "a").write_text(f"{CANARY}, and not JSON")
        (root / "b").write_text('{"k": "v"}')
        return FolderImporter(root)


class TestFolderExporter(ExporterContract):
    """The length of file names is limited, but no hard input exceeds the limit."""

    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "secrets"
        root.mkdir()
        return root

    @pytest.fixture
    def service(self):
        """A server, whose thread is not the exporter's: it may outlive its `close`."""
        with dripping_server() as address:
            yield address

    @pytest.fixture
    def exporter(self, root, service):
        return FolderExporter(root)

    @pytest.fixture
    def held(self, root):
        return lambda: {secret.path: secret.data for secret in FolderImporter(root).items()}

    @pytest.fixture
    def unreachable(self, tmp_path):
        return FolderExporter(tmp_path / "none")
