"""A page for each kind of plugin, made when the documentation is built, with every option of every installed plugin.

The options come from the openers' signatures, as for `strongroom stores NAME`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from command_pages import capitalized, definitions, markdown, one_line, replace_pages
from strongroom._plugins import EXPORTERS, IMPORTERS, ROTATORS, STORES, installed
from strongroom._plugins.option_schema import OptionSchema, Schema
from strongroom_vault.auth.login import LoginMethod
from strongroom_vault.auth.methods import METHODS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDER = "reference/options"

PAGES = {
    "stores.md": (
        STORES,
        "Options of stores",
        (
            "A store takes these options in its table `[stores.NAME]`, in an entry of `chain`, or as variables such as "
            "`STRONGROOM_STORES_VAULT_MOUNT`. `strongroom stores NAME` prints them in a terminal."
        ),
    ),
    "importers.md": (
        IMPORTERS,
        "Options of importers",
        (
            "An importer is a source of migrations, not a store. It takes these options in `[stores.NAME]`, or as the "
            "location in `NAME:LOCATION`."
        ),
    ),
    "exporters.md": (
        EXPORTERS,
        "Options of exporters",
        (
            "An exporter is a target of migrations, not a store. It takes these options in `[stores.NAME]`, or as the "
            "location in `NAME:LOCATION`."
        ),
    ),
    "rotators.md": (
        ROTATORS,
        "Options of rotators",
        'A rotator takes these options in the table `[rotation."PATH"]`, beside those of every rotation.',
    ),
}
"""File name -> the group of entry points, the title and the introduction."""


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: replace_pages(Path(app.srcdir) / FOLDER, pages()))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def pages() -> dict[str, str]:
    """File name -> text."""
    made = {name: "\n".join(group_page(*about)) for name, about in PAGES.items()}
    made["authentication.md"] = "\n".join(authentication_page())
    return made


def group_page(group: str, title: str, introduction: str) -> Iterator[str]:
    """Yield the lines of a page with a section for each plugin of a group."""
    yield from (f"# {title}", "", introduction, "")
    for plugin in installed(group):
        yield from (f"## {plugin.name}", "", f"{summary(plugin.target)} (Package {plugin.distribution}.)", "")
        yield from capabilities(plugin.schema)
        yield from option_list([(option.name, described(option)) for option in plugin.schema.options.values()])


def capabilities(schema: Schema) -> Iterator[str]:
    """Yield a line with the capabilities beyond reading, if the plugin's classes tell."""
    if (known := schema.capabilities()) is not None:
        always, sometimes = ([f"*{name}*" for name in sorted(names)] for names in known)
        parts = [", ".join(always), f"depending on the service: {', '.join(sometimes)}" if sometimes else ""]
        yield from (f"Capabilities: {'; '.join(filter(None, parts)) or 'reading alone'}.", "")


def option_list(records: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of the options of a section, from their names and descriptions."""
    yield from definitions(records) if records else ("It has no option.", "")


def described(option: OptionSchema) -> str:
    """Return the type, the default, the variables and the help of an option."""
    default = "Required" if option.required else default_of(option)
    variables = " or ".join(f"`{name}`" for name in option.option.ambient)
    facts = [option.type_name, default, f"Also set by {variables}" if variables else ""]
    return sentences(option.option.help, *facts)


def default_of(option: OptionSchema) -> str:
    """Return the default if it is a plain value. Others are resolved when the store is opened."""
    if isinstance(option.default, bool):
        return f"Default: `{str(option.default).lower()}`"
    plain = isinstance(option.default, str | int | float) and option.default != ""
    return f"Default: `{option.default}`" if plain else ""


def authentication_page() -> Iterator[str]:
    """Yield the lines of the page with the methods of the table `auth`."""
    yield from ("# Options of authentication methods", "")
    yield from ("The table `auth` of the stores `vault` and `vault-dynamic` takes these options beside `method`.", "")
    for name, target in METHODS.items():
        documented: dict[str, str] = {}
        for kind in reversed(inspect.getmro(target)):
            documented |= attributes(inspect.cleandoc(kind.__doc__ or ""))
        yield from (f"## {name}", "", summary(target), "")
        parameters = inspect.signature(target, eval_str=True).parameters.values()
        shared = {field.name for field in fields(LoginMethod)}
        own_first = sorted(parameters, key=lambda option: option.name in shared)
        yield from option_list([(option.name, of_method(option, documented)) for option in own_first])


def of_method(option: inspect.Parameter, documented: dict[str, str]) -> str:
    """Return the documentation, the type and the default of an option of the table `auth`."""
    kind = "a file's path" if Path in {option.annotation, *get_args(option.annotation)} else "a string"
    if option.default is inspect.Parameter.empty:
        default = "Required"
    else:
        default = f"Default: `{option.default}`" if option.default else ""
    return sentences(documented.get(option.name, "").rstrip("."), kind, default)


def attributes(docstring: str) -> dict[str, str]:
    """Return the descriptions in the section `Attributes` of a docstring, by name."""
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    return {name: one_line(text) for name, text in re.findall(r"^ {4}(\w+): ((?:.|\n {5,})*)", section, re.MULTILINE)}


def summary(opener: object) -> str:
    return markdown(inspect.cleandoc(getattr(opener, "__doc__", "") or "").split("\n\n")[0])


def sentences(*facts: str) -> str:
    """Return each fact that is not empty as a sentence."""
    return f"{'. '.join(capitalized(fact) for fact in facts if fact)}."
