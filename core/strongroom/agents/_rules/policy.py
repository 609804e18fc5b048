"""Permissions of the rules: the hosts and ports to which a worker connects, and the requests to them.

Pure: names are compared, never resolved.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from strongroom._config import RuleConfig
from strongroom.agents._rules.request import (
    AUTHORITY,
    DEFAULT_PORTS,
    Refusal,
    RequestHead,
    check_head,
    form_pairs,
    normalize_host,
    normalize_path,
)

_OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override", "-method"})
"""Headers, parameters and fields of a form by which some services and frameworks take a POST for another method."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def fits_path(pattern: str, path: str) -> bool:
    """Return True if a normalized path fits a pattern, in which `*` stands for any text."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), path, re.DOTALL) is not None


def override_methods(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return the methods that headers, parameters or fields put in the place of the request's own."""
    return [value.upper() for name, value in pairs if _canonical(name) in _OVERRIDES]


def _canonical(name: str) -> str:
    """Return a name as PHP and WSGI read it: they take some characters for each other, and PHP cuts it at a NUL."""
    return re.sub(r"[_. ]", "-", name.partition("\0")[0].strip().lower())


def asked_methods(head: RequestHead) -> list[str]:
    """Return the method of a request, and those that take its place."""
    return [head.method, *override_methods((*head.headers, *form_pairs(head.query)))]


@cache
def split_host(pattern: str) -> tuple[str, int]:
    """Return the name or the address of a rule's host, with its `*.` and without brackets, and its port."""
    found = AUTHORITY.fullmatch(pattern)
    assert found is not None, "the configuration checks it"  # noqa: S101
    return found[1].strip("[]"), int(found[2] or DEFAULT_PORTS["https"])


def named_ports(rules: Iterable[RuleConfig], host: str, *, exactly: bool = False) -> set[int]:
    """Return the ports at which rules name a host; with `exactly`, only without a wildcard."""
    return {
        port
        for name, port in (split_host(pattern) for rule in rules for pattern in rule.hosts)
        if host == name or (not exactly and name.startswith("*.") and host.endswith(name[1:]))
    }


def covers(rule: RuleConfig, host: str, port: int) -> bool:
    """Return True if the rule names the host, at this port."""
    return port in named_ports([rule], host)


def refusal_of(rule: RuleConfig, head: RequestHead) -> Refusal | None:
    """Return why the rule does not allow the method or the path of a request to its host; None if it does."""
    others = [method for method in asked_methods(head) if method not in rule.methods]
    if rule.methods and others:
        other = others[0].strip()[:20] or "an empty method"
        return Refusal(403, f"The rule {rule.name} allows {', '.join(rule.methods)}, not {other}", rule.name)
    try:
        is_allowed = not rule.paths or any(fits_path(pattern, normalize_path(head.path)) for pattern in rule.paths)
    except Refusal as ambiguous:
        return ambiguous
    if is_allowed:
        return None
    return Refusal(403, f"The rule {rule.name} allows the paths {', '.join(rule.paths)}", rule.name)


def allowing_rules(covering: Sequence[RuleConfig], used: Collection[RuleConfig], head: RequestHead) -> list[RuleConfig]:
    """Return the rules of the host that allow a request. Those whose placeholders it carries must be among them.

    Raises:
        Refusal: one of them, or every rule of the host, does not allow it.
    """
    for rule in used:
        if rule not in covering:
            reason = f"The placeholder of the rule {rule.name} is for {', '.join(rule.hosts)}, not for {head.authority}"
            raise Refusal(403, reason, rule.name)
    refusals = refusals_of(covering, head)
    allowing = [rule for rule in covering if rule not in refusals]
    if denied := [rule for rule in used if rule in refusals] or ([] if allowing else covering[-1:]):
        raise refusals[denied[0]]
    if not allowing:
        raise Refusal(403, f"No rule names {head.authority}")
    return allowing


def refusals_of(rules: Iterable[RuleConfig], head: RequestHead) -> dict[RuleConfig, Refusal]:
    """Return the refusal of each rule of the host that does not allow a request."""
    return {rule: refusal for rule in rules if (refusal := refusal_of(rule, head)) is not None}


# --- destinations -----------------------------------------------------------------------------------------------------


class Destinations:
    """The destinations of one session.

    Args:
        rules: returns the rules of the session, which may change.
        only_rules: refuse every host that no rule names.
        learns: look into the requests to all hosts.
    """

    def __init__(
        self, rules: Callable[[], Sequence[RuleConfig]], *, only_rules: bool = False, learns: bool = False
    ) -> None:
        self._rules = rules
        self._only_rules = only_rules
        self._learns = learns

    def is_looked_into(self, scheme: str, host: str, port: int) -> bool:
        """Return True if requests to this host and port are looked into. False: no rule names it, and they pass unread.

        Args:
            scheme: `https` for a tunnel, which a client encrypts, or `http`.
            host: as `normalize_host` returns it.
            port: the port.

        Raises:
            Refusal: the worker may not connect there.
        """
        if ports := named_ports(self._rules(), host):
            if scheme != "https":
                raise Refusal(403, f"A rule names {host}: use https, since a secret never leaves without TLS")
            if port not in ports:
                named = ", ".join(map(str, sorted(ports)))
                raise Refusal(403, f"The rules name {host} with the port {named}, not {port}")
            return True
        if self._only_rules:
            raise Refusal(403, f"No rule names {host}, and other hosts are refused (--only-rules)")
        if port != DEFAULT_PORTS[scheme]:
            raise Refusal(403, f"The port {port} of {host} is refused, since no rule names it")
        if not self.may_reach(host, port, host):
            raise Refusal(403, f"{host} is not a public address, and no rule names it")
        return self._learns and scheme == "https"

    def may_reach(self, host: str, port: int, address: str) -> bool:
        """Return True if the address, to which the host resolves, is public, or a rule names the host without `*`."""
        return is_public(address) or port in named_ports(self._rules(), host, exactly=True)


def is_public(address: str) -> bool:
    """Return False for an address of a private network, of this machine, or of a cloud's metadata. True for a name."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(found, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner := found.ipv4_mapped or found.sixtofour or (last if found in _NAT64 else None):
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def named_hosts(rules: Iterable[RuleConfig]) -> Iterable[str]:
    """Return the hosts of the rules without ports and brackets, with the `*.` of a rule."""
    return (split_host(pattern)[0] for rule in rules for pattern in rule.hosts)


# --- a request that is not sent ---------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """The answer to a request.

    Attributes:
        refusal: the reason for which it is refused, or the empty string.
        is_read: it is looked into; otherwise it passes as it is.
        allowing: the rules that allow it.
        denying: the reason of each other rule of the host, by its name.
    """

    refusal: str = ""
    is_read: bool = True
    allowing: Sequence[RuleConfig] = ()
    denying: Sequence[tuple[str, str]] = ()


def verdict(rules: Sequence[RuleConfig], method: str, url: str, *, only_rules: bool) -> Verdict:
    """Return what happens to a request with this method and URL.

    Raises:
        ValueError: the URL is not one of http or https.
    """
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("the URL is not one of https or http")
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        host = normalize_host(parts.hostname or "")
        head = RequestHead(method, parts.scheme, host, port, parts.path or "/", parts.query, ())
        if not Destinations(lambda: rules, only_rules=only_rules).is_looked_into(parts.scheme, host, port):
            return Verdict(is_read=False)
        check_head(head)
    except Refusal as refusal:
        return Verdict(refusal.reason)
    covering = [rule for rule in rules if covers(rule, host, port)]
    refusals = refusals_of(covering, head)
    denying = [(rule.name, refusal.reason) for rule, refusal in refusals.items()]
    allowing = [rule for rule in covering if rule not in refusals]
    return Verdict("" if allowing else denying[-1][1], allowing=allowing, denying=denying)
