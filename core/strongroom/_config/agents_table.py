"""Parsing of `[agents]`: the rules for secrets that a worker uses and never sees. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from strongroom._config import AgentsConfig, CommandConfig, RuleConfig
from strongroom._config.document import Table
from strongroom._config.setting_types import Limit, Text
from strongroom.errors import InvalidPathError
from strongroom.paths import parse_reference

_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?|\[[0-9a-f:]+\](:[0-9]{1,5})?")
_METHOD = re.compile(r"[A-Z]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHERE = re.compile(r"header(:[a-z0-9-]+)?|query(:\S+)?|body:[^\s.]+")


def _each(pattern: re.Pattern[str], expected: str) -> Any:  # a hint
    fits = Limit(lambda texts: bool(texts) and all(map(pattern.fullmatch, texts)), f"a list of {expected}")
    return Annotated[list[str], fits]


_RULE: Mapping[str, Any] = {
    "secret": Text,
    "variable": Annotated[str, Limit(lambda text: _VARIABLE.fullmatch(text) is not None, "the name of a variable")],
    "hosts": _each(_HOST, "host names in lower case, each with an optional leading *. and port"),
    "methods": _each(_METHOD, "methods in upper case"),
    "paths": _each(re.compile(r"/[!-~]*"), "paths that begin with /, in which * stands for any text"),
    "where": _each(_WHERE, "header, header:NAME, query, query:NAME or body:FIELD"),
    "sign": Annotated[str, Limit("aws4".__eq__, '"aws4"')],
}
_COMMAND: Mapping[str, Any] = {
    "command": Annotated[list[str], Limit(bool, "a program and its arguments")],
    "description": Text,
}


def read_agents(table: Table) -> AgentsConfig:
    """Return the rules and the commands by name.

    Raises:
        ConfigurationError: a rule or a command is malformed, or two rules set one variable.
    """
    rules = {name: _rule(name, row) for name, row in table.tables("rules").items()}
    commands = {name: _command(name, row) for name, row in table.tables("commands").items()}
    table.close()
    owners: dict[str, str] = {}
    for rule in rules.values():
        for variable in rule.variables:
            if (other := owners.setdefault(variable, rule.name)) != rule.name:
                table.fail("rules", f"{other} and {rule.name} both set the variable {variable}")
    return AgentsConfig(rules, commands)


def _rule(name: str, row: Table) -> RuleConfig:
    given = row.values(_RULE)
    row.close()
    for needed in ("secret", "hosts"):
        if needed not in given:
            row.fail(needed, "is missing")
    sign = given.get("sign", "")
    path, key = _reference(row, "secret", given["secret"])
    if sign:
        if key is not None:
            row.fail("secret", "must be a PATH without a key: signing needs the access key and the secret key")
        for other in ("variable", "where"):
            if other in given:
                row.fail(other, "must not stand beside `sign`, which decides it")
    elif key is None:
        row.fail("secret", 'must be "PATH#KEY"')
    elif "variable" not in given:
        row.fail("variable", "is missing: it names the variable that holds the placeholder")
    return RuleConfig(
        name=name,
        path=path,
        key=key or "",
        variable=given.get("variable", ""),
        hosts=tuple(given["hosts"]),
        methods=tuple(given.get("methods", ())),
        paths=tuple(given.get("paths", ())),
        where=tuple(given.get("where", ("header",))),
        sign=sign,
    )


def _command(name: str, row: Table) -> CommandConfig:
    given = row.values(_COMMAND)
    if "command" not in given:
        row.fail("command", "is missing: a list of a program and its arguments")
    table = row.table("secrets")
    secrets: dict[str, tuple[str, str]] = {}
    for variable in table.rest():
        path, key = _reference(table, variable, table.text(variable) or "")
        if key is None:
            table.fail(variable, 'must be "PATH#KEY"')
        secrets[variable] = path, key
    row.close()
    return CommandConfig(name, tuple(given["command"]), given.get("description", ""), secrets)


def _reference(row: Table, key: str, text: str) -> tuple[str, str | None]:
    try:
        return parse_reference(text)
    except InvalidPathError as error:
        fault = str(error)
    return row.fail(key, fault)
