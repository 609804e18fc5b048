"""`strongroom types`: a Python module with a typed function for each row of `[secrets]`."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from strongroom._cli.options import Invocation, current
from strongroom._cli.read.secret_variables import declared_rows
from strongroom._cli.terminal import output
from strongroom._config.secrets_table import TYPES
from strongroom.errors import ConfigurationError

if TYPE_CHECKING:
    from strongroom._config import SecretConfig

_MODULES = {"Path": "pathlib", "Decimal": "decimal", "UUID": "uuid", "datetime": "datetime", "date": "datetime",
            "timedelta": "datetime"}  # fmt: skip
"""The module of each declared type that is not built in."""


@click.command("types")
@current
def types_command(invocation: Invocation) -> None:
    """Print a Python module with one typed function for each row of [secrets].

    A function reads its secret from the default manager and returns the declared type, so that a type checker and an
    editor know every secret of the application. A row that is not required can be None. A row with `extract` is left
    out: its value is a part of another one.

    Example: strongroom types > app/secrets.py
    """
    rows = declared_rows(invocation.load())
    output.write_lines(list(module_lines({name: row for name, row in rows.items() if row.extract is None})))


def module_lines(rows: Mapping[str, SecretConfig]) -> Iterator[str]:
    """Yield the lines of the module.

    Raises:
        ConfigurationError: two variables would be one function.
    """
    names = {variable: _function_name(variable) for variable in rows}
    for variable, name in names.items():
        twin = next(other for other in names if names[other] == name)
        if twin != variable:
            raise ConfigurationError(f"{twin} and {variable} of [secrets] would both be the function {name}")
    yield '"""The secrets of this application. Written by `strongroom types`."""'
    yield ""
    imports = {kind: _MODULES[kind] for row in rows.values() if (kind := _kind(row)) in _MODULES}
    for module in sorted(set(imports.values())):
        yield f"from {module} import {', '.join(sorted(kind for kind in imports if imports[kind] == module))}"
    if imports:
        yield ""
    yield "from strongroom import get_secret"
    for variable, row in rows.items():
        yield from _function(variable, names[variable], row)


def _function(variable: str, name: str, row: SecretConfig) -> Iterator[str]:
    kind = _kind(row)
    optional = not row.required and row.default is None
    about = f"{variable}: {row.description.rstrip('.')}" if row.description else variable
    escaped = output.one_line(about).replace("\\", "\\\\").replace('"', '\\"')
    yield ""
    yield ""
    yield f"def {name}() -> {kind}{' | None' if optional else ''}:"
    yield f'    """{escaped}."""'
    default = ", default=None" if optional else ""
    yield f"    return get_secret({row.path!a}, {row.key!a}, as_={kind}{default})"


def _kind(row: SecretConfig) -> str:
    return "Path" if row.as_path else row.type or "str"


def _function_name(variable: str) -> str:
    name = re.sub(r"\W", "_", variable.lower())
    taken = keyword.iskeyword(name) or name in {"get_secret", *(known.lower() for known in TYPES), *_MODULES}
    return f"_{name}" if name[:1].isdigit() else f"{name}_" if taken else name
