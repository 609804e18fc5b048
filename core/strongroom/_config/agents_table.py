"""Parsing of `[agents]`: the rules for secrets that a worker uses and never sees. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from strongroom._config import DEFAULT_PLACES, AgentsConfig, CommandConfig, RuleConfig
from strongroom._config.document import Table, suggest
from strongroom._config.setting_types import Limit, Text
from strongroom.paths import parse_reference

_HOST = re.compile(r"(?:(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])(?::([0-9]{1,5}))?")
_METHOD = re.compile(r"[A-Z]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = re.compile(
    r"PATH|HOME|LD_\w+|JAVA_TOOL_OPTIONS|\w*_PROXY|"
    r"\w*SSL_CERT_(FILE|DIR)|\w*_(CA_CERTS(_FILE)?|CA_BUNDLE|CAINFO|CAFILE)|(PIP|DENO)_CERT",
    re.IGNORECASE,  # as some programs read them
)
"""Variables by which programs find other programs, their files, the proxy, and the authorities that they trust."""

_NAME_OF_A_VARIABLE = "the name of a variable that is free for a secret, unlike PATH or HTTPS_PROXY"
_WHERE = re.compile(r"header:[a-z0-9-]+|query(:\S+)?|body:[^\s.]+")


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and 0 < int(found[1] or 443) < 1 << 16


def _is_free(variable: str) -> bool:
    return _VARIABLE.fullmatch(variable) is not None and not _TAKEN.fullmatch(variable)


def _each(fits: Callable[[str], object], expected: str) -> Any:  # a hint
    return Annotated[list[str], Limit(lambda texts: bool(texts) and all(map(fits, texts)), f"a list of {expected}")]


_RULE: Mapping[str, Any] = {
    "preset": Text,
    "secret": Text,
    "variable": Annotated[str, Limit(_is_free, _NAME_OF_A_VARIABLE)],
    "hosts": _each(_is_host, "host names in lower case, each with an optional leading *. and port, 1 to 65535"),
    "methods": _each(_METHOD.fullmatch, "methods in upper case"),
    "paths": _each(re.compile(r"/[!-~]*").fullmatch, "paths that begin with /, in which * stands for any text"),
    "where": _each(_WHERE.fullmatch, "header:NAME, query, query:NAME or body:FIELD"),
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
    if (preset := given.get("preset")) is not None:
        given = _with_preset(row, preset, given)
    if "hosts" not in given:
        row.fail("hosts", "is missing")
    path, key = _secret(row, given)
    return RuleConfig(
        name=name,
        path=path,
        key=key,
        variable=given.get("variable", ""),
        hosts=tuple(given["hosts"]),
        methods=tuple(given.get("methods", ())),
        paths=tuple(given.get("paths", ())),
        where=tuple(given.get("where", DEFAULT_PLACES)),
        sign=given.get("sign", ""),
    )


def _secret(row: Table, given: Mapping[str, Any]) -> tuple[str, str]:
    """Return the path and the key of a rule's secret; both are empty for a rule without one."""
    others = [name for name in ("variable", "where", "sign") if name in given]
    sign = given.get("sign")
    if "secret" not in given:
        if others:
            row.fail("secret", f"is missing, and `{others[0]}` needs it")
        return "", ""
    path, key = row.parsed("secret", parse_reference, given["secret"])
    if sign and key is not None:
        row.fail("secret", "must be a PATH without a key: signing needs the access key and the secret key")
    if sign and others != ["sign"]:
        row.fail(others[0], "must not stand beside `sign`, which decides it")
    if not sign and key is None:
        row.fail("secret", 'must be "PATH#KEY"')
    if not sign and "variable" not in given:
        row.fail("variable", "is missing: it names the variable that holds the placeholder")
    return path, key or ""


@cache
def presets() -> Mapping[str, Mapping[str, Any]]:
    """Return the presets by name: see the comment in their file."""
    text = files("strongroom._config").joinpath("agent_presets.toml").read_text("utf-8")
    return tomllib.loads(text)


def _with_preset(row: Table, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a rule with those of its preset, which the rule may narrow.

    Raises:
        ConfigurationError: the preset is unknown, or the rule allows more than it.
    """
    if (preset := presets().get(name)) is None:
        row.fail("preset", f"unknown preset: {suggest(name, presets())}")
    bounds = {key: preset[key] for key in ("hosts", "methods", "where", "within") if key in preset}
    if "hosts" not in {**bounds, **given}:
        row.fail("hosts", f"is missing: with the preset {name}, name hosts below {' or '.join(bounds['within'])}")
    for key, allowed in bounds.items():
        own = "hosts" if key == "within" else key
        for each in given.get(own, ()):
            if not (_is_below(each, allowed) if key == "within" else each in allowed):
                row.fail(own, f"{each} is beyond the preset {name}: {', '.join(allowed)}. Leave out `preset`")
    return {**{key: preset[key] for key in _RULE if key in preset}, **given}


def _is_below(host: str, patterns: Iterable[str]) -> bool:
    """Return True if a host is below one of the patterns, which begin with `*.`."""
    return any(host.endswith(pattern[1:]) and host != pattern for pattern in patterns)


def _command(name: str, row: Table) -> CommandConfig:
    given = row.values(_COMMAND)
    if "command" not in given:
        row.fail("command", "is missing: a list of a program and its arguments")
    table = row.table("secrets")
    secrets: dict[str, tuple[str, str]] = {}
    for variable in table.rest():
        if not _is_free(variable):
            table.fail(variable, f"must be {_NAME_OF_A_VARIABLE}")
        path, key = table.parsed(variable, parse_reference, table.text(variable) or "")
        if key is None:
            table.fail(variable, 'must be "PATH#KEY"')
        secrets[variable] = path, key
    row.close()
    return CommandConfig(name, tuple(given["command"]), given.get("description", ""), secrets)
