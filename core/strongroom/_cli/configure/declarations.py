"""The secrets that files of other tools declare: secretspec.toml and .env.schema (varlock). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from strongroom.errors import InvalidPathError
from strongroom.paths import check_path

_DECORATOR = re.compile(r"@(\w+)(?:=(\"[^\"]*\"|[^\s(]+(?:\([^)]*\))?))?")
_ITEM = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")

_TYPES = {"number": "int", "integer": "int", "port": "int", "boolean": "bool"}
_GENERATORS = {"password": "password", "hex": "hex", "base64": "token"}

_FIELDS = {"description", "required", "default", "type", "generate", "composed", "ref", "extract", "as_path"}
"""The fields of a secret in secretspec.toml that have a counterpart."""

_WITHOUT = {
    "providers": "order the stores in chain, and give a link its paths",
}
"""The advice for fields without one."""

_READ = {"project", "profiles"}
_TABLES = {"providers": "configure each as [stores.NAME]"}
_REFERENCE = re.compile(r"\$\$|\$\{\{([A-Z][A-Z0-9_]*)\}\}")
"""`$$` and `${NAME}` of secretspec, after its braces were doubled."""


class DeclaredSecret(NamedTuple):
    """One secret.

    Attributes:
        variable: the name of its environment variable.
        reference: its path and key, if the file has them.
        settings: `description`, `required`, `default`, `type`, `generate`, `compose`, `extract` and `as_path`.
    """

    variable: str
    reference: tuple[str, str] | None = None
    settings: Mapping[str, Any] = {}


class Declarations(NamedTuple):
    """The secrets of a file.

    Attributes:
        rows: the secrets.
        project: the name of the project, or the empty string.
        notes: parts without a counterpart, each with its reason.
    """

    rows: list[DeclaredSecret]
    project: str = ""
    notes: tuple[str, ...] = ()


def read_secretspec(document: Mapping[str, Any], profile: str) -> Declarations:
    """Return the secrets of a profile of secretspec.toml, laid over the profile `default`.

    Raises:
        KeyError: there is no such profile.
    """
    profiles = _mapping(document.get("profiles"))
    if profile not in profiles:
        raise KeyError(profile)
    found: dict[str, dict[str, Any]] = {}
    for name in ("default", profile):
        for variable, about in _mapping(profiles.get(name)).items():
            if isinstance(about, Mapping):
                found[variable] = {**found.get(variable, {}), **about}
    project = _mapping(document.get("project"))
    notes = [
        f"[{name}] has no counterpart: {_TABLES.get(name, 'it is left out')}"
        for name in sorted(document.keys() - _READ)
    ]
    if project.get("extends"):
        notes.append("extends: the files that it names are not read. Import them too")
    if found.pop("defaults", None) is not None:
        notes.append("defaults of a profile have no counterpart: write them into each row")
    rows = [
        DeclaredSecret(variable, _secretspec_reference(variable, about, notes), _secretspec_row(variable, found, notes))
        for variable, about in found.items()
    ]
    return Declarations(rows, str(project.get("name") or ""), tuple(notes))


def _secretspec_reference(variable: str, about: Mapping[str, Any], notes: list[str]) -> tuple[str, str] | None:
    """Return the path and key of `ref`, whose other coordinates only some of its providers have."""
    if not about.get("ref"):
        return None
    ref = _mapping(about["ref"])
    item, field = str(ref.get("item", "")).strip("/"), ref.get("field")
    try:
        reference = (check_path(item), str(field))
    except InvalidPathError:
        reference = None
    if reference is None or field is None or "#" in item:
        notes.append(f"{variable}: ref has no counterpart without a path as its item and a key as its field")
        return None
    if others := ref.keys() - {"item", "field"}:
        notes.append(f"{variable}: {', '.join(sorted(others))} of ref has no counterpart")
    return reference


def _composed(variable: str, template: str, names: Collection[str], notes: list[str]) -> str | None:
    """Return the template of secretspec with `{NAME}` for `${NAME}`, or None if `compose` cannot have it."""
    found: list[str] = []

    def put(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        found.append(match[1])
        return f"{{{match[1]}}}"

    composed = _REFERENCE.sub(put, template.replace("{", "{{").replace("}", "}}"))
    if not found or not set(found) <= set(names):
        notes.append(f"{variable}: composed has no counterpart unless each ${{NAME}} is another secret, and no file")
        return None
    if "://" in template:
        notes.append(f"{variable}: values in a composed URL are percent-encoded here")
    return composed


def _extraction(variable: str, extract: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return the setting for a pointer into JSON. The empty pointer is the whole value."""
    pointer = extract.get("pointer")
    if extract and (extract.get("format") != "json" or not isinstance(pointer, str)):
        notes.append(f"{variable}: extract has no counterpart unless it has a pointer into JSON")
        return {}
    return {"extract": pointer} if pointer else {}


def _secretspec_row(variable: str, found: Mapping[str, Mapping[str, Any]], notes: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    about, compose = found[variable], None
    if about.get("description"):
        settings["description"] = str(about["description"])
    if "composed" in about:
        texts = {name for name, other in found.items() if name != variable and not other.get("as_path")}
        compose = _composed(variable, str(about["composed"]), texts, notes)
    if compose is not None:
        settings["compose"] = compose
    elif "default" in about:
        settings["default"] = about["default"]
    if "default" not in settings and about.get("required") is False:
        settings["required"] = False
    if about.get("as_path"):
        settings["as_path"] = True
    settings |= _extraction(variable, _mapping(about.get("extract")), notes)
    if about.get("generate"):
        kind = str(about.get("type"))
        if kind in _GENERATORS:
            settings["generate"] = _GENERATORS[kind]
        else:
            notes.append(f"{variable}: generate of the type {kind} has no counterpart")
    notes.extend(
        f"{variable}: {name} has no counterpart: {_WITHOUT.get(name, 'it is left out')}"
        for name in sorted(about.keys() - _FIELDS)
        if about[name] not in (None, False)
    )
    return settings


def read_env_schema(text: str) -> Declarations:
    """Return the sensitive items of a .env.schema. By default all are, and all are required."""
    sensitive, required = True, True
    rows: list[DeclaredSecret] = []
    notes: list[str] = []
    words: list[str] = []
    decorators: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#"):
            comment = line.lstrip("#").strip()
            if comment and not comment.strip("-="):  # the line that ends the header
                sensitive = decorators.get("defaultSensitive", "true") == "true"
                required = decorators.get("defaultRequired", "true") == "true"
                words, decorators = [], {}
            elif comment.startswith("@"):
                decorators |= {match[1]: match[2] or "true" for match in _DECORATOR.finditer(comment)}
            elif comment:
                words.append(comment)
        elif item := _ITEM.fullmatch(line):
            if _is(decorators, "sensitive", "public", default=sensitive):
                needed = _is(decorators, "required", "optional", default=required)
                rows.append(DeclaredSecret(item[1], None, _schema_row(words, decorators, required=needed)))
                if item[2].strip():
                    notes.append(f"{item[1]}: its value is not copied")
            else:
                notes.append(f"{item[1]}: it is not sensitive")
            words, decorators = [], {}
        else:
            words, decorators = [], {}
    return Declarations(rows, notes=tuple(notes))


def _is(decorators: Mapping[str, str], name: str, opposite: str, *, default: bool) -> bool:
    if opposite in decorators:
        return decorators[opposite] != "true"
    return decorators[name] == "true" if name in decorators else default


def _schema_row(words: list[str], decorators: Mapping[str, str], *, required: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {"description": " ".join(words)} if words else {}
    if not required:
        settings["required"] = False
    if kind := _TYPES.get(decorators.get("type", "").partition("(")[0]):
        settings["type"] = kind
    return settings


def _mapping(value: object) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}
