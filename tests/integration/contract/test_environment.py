"""The process environment and a .env file keep the contract. Both hold only text and are never written."""

import errno
import os

import pytest

from strongroom.formats.variables import EnvironmentMapping
from strongroom.testing import NON_TEXT_CASES, StoreContract
from strongroom_env.variables import open_dotenv, open_env

READ_ONLY = frozenset({"keyed", "listable", "local"})


def rows(contents):
    """Return a variable for each key: variable -> path, key."""
    places = [(path, key) for path, data in contents.items() for key in data]
    return {f"CONTRACT_{number}": place for number, place in enumerate(places)}


def by_variable(contents):
    return {variable: contents[path][key] for variable, (path, key) in rows(contents).items()}


class TestEnvironment(StoreContract):
    """An empty variable counts as missing, and no variable can hold a NUL."""

    capabilities = READ_ONLY
    cannot_hold = NON_TEXT_CASES | {"empty", "nul"}
    impossible = frozenset({"denied", "unreachable"})

    @pytest.fixture
    def holding(self, monkeypatch):
        def fill(contents):
            for variable, value in by_variable(contents).items():
                monkeypatch.setenv(variable, value)
            return open_env(mapping=EnvironmentMapping(rows(contents)))

        return fill


def quoted(text):
    """Return text escaped for double quotes, as python-dotenv reads it."""
    for character, escape in {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}.items():
        text = text.replace(character, escape)
    return f'"{text}"'


class TestDotenv(StoreContract):
    """A .env file has the limits of the environment."""

    capabilities = READ_ONLY | {"probed"}
    cannot_hold = NON_TEXT_CASES | {"empty", "nul"}

    @pytest.fixture
    def file(self, tmp_path):
        return tmp_path / ".env"

    @pytest.fixture
    def holding(self, file):
        def fill(contents):
            lines = [f"{variable}={quoted(value)}\n" for variable, value in by_variable(contents).items()]
            file.touch(0o600)
            file.write_text("".join(lines), newline="")
            return open_dotenv(mapping=EnvironmentMapping(rows(contents)), file=file)

        return fill

    @pytest.fixture
    def known(self):
        """Return a mapping with the secret that the file denies."""
        return EnvironmentMapping(rows({"contract/app": {"user": "", "password": ""}}))

    @pytest.fixture
    def denied(self, file, known, monkeypatch):
        """Simulate the kernel's denial: no file mode stops root, who may run the tests."""
        opened = os.open

        def refuse(path, *rest, **more):
            if path == file:
                raise PermissionError(errno.EACCES, "Permission denied")
            return opened(path, *rest, **more)

        monkeypatch.setattr(os, "open", refuse)
        return open_dotenv(mapping=known, file=file)

    @pytest.fixture
    def unreachable(self, file, known):
        """A pipe without a writer: opening it as a file would block forever."""
        os.mkfifo(file)
        return open_dotenv(mapping=known, file=file)
