"""The reference is complete: every public name, error, event, option and setting is on its page."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

import option_pages
import strongroom
import strongroom.integrations
import strongroom_vault
from strongroom import _config as config
from strongroom import _plugins as plugins
from strongroom.events import Event, EventKind
from support.scenarios import pages

API = sorted((pages.DOCS / "reference" / "api").glob("*.md"))
ERRORS = pages.page("reference/errors.md")


def published() -> Iterator[str]:
    """Yield each module that has an `__all__` and no name with an underscore in its path."""
    for folder in (pages.ROOT / "core", pages.ROOT / "backends"):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            names = parts[:-1] if parts[-1] == "__init__" else parts
            if not any(name.startswith("_") for name in names) and "__all__" in file.read_text("utf-8"):
                yield ".".join(names)


MODULES = [*published()]

DIRECTIVE = re.compile(r"^\.\. (auto\w+|currentmodule):: ([\w.]+)(?:\(.*\))?\n((?:   :.*\n)*)", re.MULTILINE)


def documented() -> Iterator[str]:
    """Yield the name of every object that a page renders or names in backticks, without its module."""
    for page in (*API, ERRORS):
        text = page.read_text("utf-8")
        yield from re.findall(r"`(?:[\w.]+\.)?(\w+)(?:\(\))?`", text)
        for kind, name, options in DIRECTIVE.findall(text):
            if kind != "automodule":
                yield name.rpartition(".")[2]
            elif listed := re.search(r":members:(.*)", options):
                excluded = re.search(r":exclude-members: (.*)", options)
                members = listed[1].split(",") if listed[1] else importlib.import_module(name).__all__
                yield from {member.strip() for member in members} - set(excluded[1].split(", ") if excluded else ())


NAMES = frozenset(documented())


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_on_a_page(module):
    """And has a docstring, if it is a class or a function."""
    found = importlib.import_module(module)
    assert {name for name in found.__all__ if not name.startswith("__")} - NAMES == set()
    for name in found.__all__:
        thing = getattr(found, name)
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__.startswith("strongroom"):
            assert (thing.__doc__ or "").strip(), name


def test_every_public_name_has_one_home():
    """But for those that the user's guide imports from `strongroom.secrets_manager`: functions and the manager.

    A package is the home of the names that it takes from its own modules.
    """
    homes: dict[str, list[str]] = {}
    for module in MODULES:
        package = module.rpartition(".")[0]
        of_package = importlib.import_module(package).__all__ if package in MODULES and package != "strongroom" else ()
        for name in set(importlib.import_module(module).__all__) - set(of_package):
            homes.setdefault(name, []).append(module)
    twice = {name: modules for name, modules in homes.items() if len(modules) > 1}
    assert {name for name, modules in twice.items() if modules != ["strongroom", "strongroom.secrets_manager"]} == set()
    assert {name for name in twice if inspect.isclass(getattr(strongroom, name))} == {"SecretsManager"}


IMPORT = re.compile(r"^[> ]*from (strongroom(?:_vault)?(?:\.[a-z]\w*)*) import (\([^)]*\)|.*)", re.MULTILINE)
SOURCES = [
    pages.README,
    *pages.pages(),
    *sorted(pages.DOCS.rglob("how-to/**/*.py")),
    *sorted(pages.DOCS.rglob("examples/**/*.py")),
    *sorted((pages.DOCS.parent / "core").rglob("*.py.tmpl")),
]
"""Pages and example plugins, and the packages that `strongroom new-plugin` writes."""


REFERENCE = "".join(page.read_text("utf-8") for page in (*API, ERRORS))


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: "/".join(file.parts[-2:]))
def test_every_name_that_an_author_is_shown_is_on_a_page(file):
    """With the module from which a page or a scaffold imports it: the name's one home."""
    for module, names in IMPORT.findall(file.read_text("utf-8")):
        for name in re.findall(r"\w+", re.sub(r"#.*| as \w+", "", names)):
            rendered = re.search(rf"^\.\. automodule:: {module}\n   :members:.*\b{name}\b", REFERENCE, re.MULTILINE)
            if f"{module}.{name}" in REFERENCE or rendered:
                continue
            place = importlib.import_module(module)
            there = module in MODULES and (name in place.__all__ or f"{module}.{name}" in MODULES)
            assert there, f"{module}.{name}"


def test_every_integration_is_on_a_page():
    """Each module of `strongroom.integrations` that a user imports has a section."""
    text = pages.page("api/integrations.md").read_text("utf-8")
    folder = strongroom.integrations.__path__
    modules = {about.name for about in pkgutil.walk_packages(folder, "strongroom.integrations.") if not about.ispkg}
    theirs = {name for name in modules if ".integrations.django." in name or "._" in name}  # frameworks import them
    assert theirs
    assert {name for name in modules - theirs if name not in text} == set()


@pytest.mark.parametrize("module", [strongroom.errors, strongroom_vault])
def test_every_error_has_its_remedy(module):
    """In the table of the page, and with its attributes below it."""
    text = ERRORS.read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", text, re.MULTILINE))
    errors = {name for name in dir(module) if name.endswith("Error")}
    assert {name for name in errors if not rows.get(name, "").strip()} == set()
    assert {name for name in errors if f".. autoexception:: {module.__name__}.{name}\n" not in text} == set()


def test_every_event_is_on_its_page():
    """Each kind, with its meaning, and each field."""
    text = pages.page("reference/events.md").read_text("utf-8")
    assert {kind.value for kind in EventKind} - set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set()
    assert set(Event._fields) - set(re.findall(r"`(\w+)`", text)) == set()


@pytest.fixture(scope="module")
def options() -> dict[str, str]:
    """The text of each generated page by its file name."""
    return option_pages.pages()


@pytest.mark.parametrize("file", option_pages.PAGES)
def test_every_option_of_every_plugin_is_on_its_page(file, options):
    """With a description, as `strongroom stores NAME` prints it."""
    sections = dict(re.findall(r"^## (\S+)\n((?:(?!^## ).*\n?)*)", options[file], re.MULTILINE))
    found = plugins.installed(option_pages.PAGES[file][0])
    assert [plugin.name for plugin in found] == [*sections]
    for plugin in found:
        listed = re.findall(r"^`(\w+)`\n: (\S.*)", sections[plugin.name], re.MULTILINE)
        assert [name for name, _ in listed] == [*plugin.schema.options]


def test_every_option_of_every_authentication_method_is_described(options):
    """By the docstring of the method."""
    text = options["authentication.md"]
    assert re.findall(r"^## (\S+)$", text, re.MULTILINE) == [*option_pages.METHODS]
    assert re.findall(r"^`(\w+)`\n: (?:A string|A file's path)", text, re.MULTILINE) == []


NOT_SETTINGS = {"path", "key", "origin", "settings", "found_file"}
"""Fields that the place of a table gives, or that tell of it."""

TABLES = [config.CacheConfig, config.LinkConfig, config.SecretConfig, config.RotationConfig]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_setting_is_on_the_page_of_the_configuration(table):
    """The keys of the tables that are not a plugin's."""
    text = pages.page("reference/configuration.md").read_text("utf-8")
    assert {*table.__annotations__} - NOT_SETTINGS - set(re.findall(r"`\"?(\w+)", text)) == set()
