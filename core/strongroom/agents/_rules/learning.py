"""Rules for the requests that a worker has sent, for an operator to review. Pure.

They allow the same requests again, and little more: hosts without a wildcard, and paths in which `*` stands for what
differs from one run to the next. No query, header or body is in them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from strongroom._config import RuleConfig
from strongroom._config.document import toml_key, toml_string
from strongroom.agents._rules.policy import asked_methods, fits_path
from strongroom.agents._rules.request import Refusal, RequestHead, normalize_path

_MOST_SIBLINGS = 5
"""The most names at one place of a path that are listed. More become `*`, and so does what follows them."""

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ID = re.compile(rf"[0-9]+|[0-9a-f]{{7,}}|{_UUID}")
"""A segment of a path that is `*` if another request has another identifier in its place."""

_RANDOM = re.compile(
    rf"(?:[A-Za-z]{{1,12}}[_-])?(?:[0-9a-f]{{16,}}|{_UUID}|(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9_~:=-]{{20,}})"
)
"""A segment that is always `*`: the next run has another one, and some are credentials, as in a webhook."""

_UNPRINTABLE = re.compile(r"[^!-~]+")

_ABOUT = """\
# The requests of one run, as rules: review them, put them in the place of the rules of your configuration, and run
# the command again with --only-rules. `*` stands for any text. A rule without a secret allows requests without one.
"""


class Observed(NamedTuple):
    """A request that was sent.

    Attributes:
        rule: the name of the rule whose secret it carried, or the empty string.
        scheme: `https`, or `http`, which no rule allows.
        host: the host as in a rule, with its port unless that is the scheme's.
        methods: its method, and those that take its place.
        path: the normalized path; the path as it is sent if it is not plain.
        is_plain: False for a path that no pattern names: programs may read it in different ways, or it has a `*`.
    """

    rule: str
    scheme: str
    host: str
    methods: frozenset[str]
    path: str
    is_plain: bool = True


def observe(head: RequestHead, rules: Iterable[str]) -> set[Observed]:
    """Return the record of a request that carries the secrets of some rules."""
    path, is_plain = head.path, False
    with suppress(Refusal):
        if "*" not in (normal := normalize_path(path)):  # as a pattern, it would fit other paths
            path, is_plain = normal, True
    methods = frozenset(asked_methods(head))
    return {Observed(rule, head.scheme, head.authority, methods, path, is_plain) for rule in rules or [""]}


def learned_rules(observed: Iterable[Observed], rules: Iterable[RuleConfig]) -> list[RuleConfig]:
    """Return rules for requests with TLS: those whose secrets they carried, narrowed, and one for each other host.

    A rule has the paths that patterns can hold, and does not allow the other requests, which `learned_text` names. If
    it has only such requests, its paths stay as they were; a new rule for a host is then without paths.

    Args:
        observed: the requests.
        rules: the rules of the session.
    """
    secure = [one for one in observed if one.scheme == "https"]
    found = [_narrowed(rule, same) for rule in rules if (same := [one for one in secure if one.rule == rule.name])]
    names, hosts = {rule.name for rule in found}, {host for rule in found for host in rule.hosts}
    others = [one for one in secure if not one.rule and not _is_allowed(one, found)]
    others = [one for one in others if one.is_plain or one.host not in hosts]
    for host in sorted({one.host for one in others}):
        name = f"{host} without a secret" if host in names else host
        found.append(_narrowed(RuleConfig(name, "", "", "", ()), [one for one in others if one.host == host]))
    return found


def _narrowed(rule: RuleConfig, observed: Collection[Observed]) -> RuleConfig:
    plain = [one for one in observed if one.is_plain]
    held = plain or observed
    return rule._replace(
        hosts=tuple(sorted({one.host for one in held})),
        methods=tuple(sorted(frozenset().union(*(one.methods for one in held)))),
        paths=tuple(path_patterns(one.path for one in plain)) or rule.paths,
    )


def _is_allowed(one: Observed, rules: Iterable[RuleConfig]) -> bool:
    return any(
        one.host in rule.hosts
        and one.methods.issubset(rule.methods)
        and (not rule.paths or (one.is_plain and any(fits_path(pattern, one.path) for pattern in rule.paths)))
        for rule in rules
    )


def path_patterns(paths: Iterable[str]) -> list[str]:
    """Return the fewest patterns that fit these paths and say which they are."""
    patterns = {
        "/" + "/".join(parts) for parts in _listed((), {tuple(map(_segment, path[1:].split("/"))) for path in paths})
    }
    return sorted(one for one in patterns if not any(fits_path(other, one) for other in patterns - {one}))


def _segment(text: str) -> str:
    return "*" if _RANDOM.fullmatch(text) else _UNPRINTABLE.sub("*", text)


def _listed(before: tuple[str, ...], tails: set[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield the paths below a folder, with `*` for several identifiers, or one with `*` if it has too many names."""
    ids = {tail[0] for tail in tails if _ID.fullmatch(tail[0])}
    if len(ids) > 1:
        tails = {("*", *tail[1:]) if tail[0] in ids else tail for tail in tails}
    names = {tail[0] for tail in tails}
    if len(names) > _MOST_SIBLINGS:
        yield (*before, "*")
        return
    for name in names:
        below = {tail[1:] for tail in tails if tail[0] == name}
        if () in below:
            yield (*before, name)
        yield from _listed((*before, name), below - {()})


def learned_text(observed: Collection[Observed], rules: Collection[RuleConfig]) -> str:
    """Return the rules of `learned_rules` as TOML, with comments about requests and rules that are not among them."""
    found = learned_rules(observed, rules)
    ambiguous = [one for one in observed if one.scheme == "https" and not one.is_plain]
    plain = {one.host for one in observed if one.scheme == "http"}
    names = {rule.name for rule in found}
    unused = {toml_key(rule.name): rule.variables for rule in rules if rule.path and rule.name not in names}
    notes = [f"# Without TLS, which no rule allows: http://{host}\n" for host in sorted(plain)]
    notes += [f"# No rule with paths allows: {text}\n" for text in sorted(set(map(_shown, ambiguous)))]
    for name, variables in sorted(unused.items()):
        notes.append(f"# Not used, and left out: {name}. Unset {' and '.join(variables)}: no placeholder replaces it\n")
    return "\n".join(["".join((_ABOUT, *notes)), *map(_table, found)])


def _shown(one: Observed) -> str:
    """Return a request for a comment: without random segments, and without what ends a comment."""
    path = "/".join(map(_segment, one.path.split("/")))
    return f"{', '.join(sorted(one.methods))} {one.host}{path}"


def _table(rule: RuleConfig) -> str:
    reference = rule.path if rule.sign else rule.path and f"{rule.path}#{rule.key}"
    lists = {"hosts": rule.hosts, "methods": rule.methods, "paths": rule.paths}
    if rule.path and not rule.sign:
        lists["where"] = rule.where
    texts = {"secret": reference, "variable": rule.variable, "sign": rule.sign}
    lines = [f"{key} = {toml_string(text)}" for key, text in texts.items() if text]
    lines += [f"{key} = [{', '.join(map(toml_string, entries))}]" for key, entries in lists.items() if entries]
    return "\n".join((f"[agents.rules.{toml_key(rule.name)}]", *lines, ""))
