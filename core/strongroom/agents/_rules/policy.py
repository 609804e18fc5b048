"""Permissions of the rules: the hosts and ports to which a worker connects, and the requests to them.

Pure: names are compared, never resolved.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence

from strongroom._config import RuleConfig
from strongroom.agents._rules.request import AUTHORITY, DEFAULT_PORTS, Refusal, RequestHead, form_pairs, normalize_path

_OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override", "-method"})
"""Headers, parameters and fields of a form by which some services and frameworks take a POST for another method. WSGI
and PHP take other characters for each other, so each is written with `-`."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def fits_path(pattern: str, path: str) -> bool:
    """Return True if a normalized path fits a pattern, in which `*` stands for any text."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), path, re.DOTALL) is not None


def override_methods(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return the methods that headers, parameters or fields put in the place of the request's own."""
    return [value.upper() for name, value in pairs if re.sub(r"[_. ]", "-", name.lower()) in _OVERRIDES]


def asked_methods(head: RequestHead) -> list[str]:
    """Return the method of a request, and those that take its place."""
    return [head.method, *override_methods((*head.headers, *form_pairs(head.query)))]


def covers(rule: RuleConfig, host: str, port: int, scheme: str = "https") -> bool:
    """Return True if the rule names the host, at this port."""
    return any(_names(pattern, host, port, scheme) for pattern in rule.hosts)


def names_exactly(rules: Iterable[RuleConfig], host: str, port: int, scheme: str = "https") -> bool:
    """Return True if a rule names the host without a wildcard, so that the host may have a private address."""
    patterns = (pattern for rule in rules for pattern in rule.hosts if not pattern.startswith("*."))
    return any(_names(pattern, host, port, scheme) for pattern in patterns)


def _names(pattern: str, host: str, port: int, scheme: str) -> bool:
    name, own = split_host(pattern)
    if port != (own or DEFAULT_PORTS[scheme]):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def split_host(pattern: str) -> tuple[str, int | None]:
    """Return the name or the address of a rule's host, with its `*.` and without brackets, and its port."""
    found = AUTHORITY.fullmatch(pattern)
    assert found is not None, "the configuration checks it"  # noqa: S101
    return found[1].strip("[]"), int(found[2]) if found[2] else None


def check_request(rule: RuleConfig, head: RequestHead) -> None:
    """Check the scheme, the method and the path.

    Plain http needs a port in the rule: the name of a host alone means https.

    Raises:
        Refusal: the rule does not allow the request.
    """
    ports = [
        port
        for pattern in rule.hosts
        if _names(pattern, head.host, head.port, head.scheme)
        for port in split_host(pattern)[1:]
    ]
    if head.scheme in {"http", "ws"} and not any(ports):
        raise Refusal(403, f"The rule {rule.name} allows https only", rule.name)
    methods = asked_methods(head)
    if rule.methods and not set(methods).issubset(rule.methods):
        raise Refusal(403, f"The rule {rule.name} allows {', '.join(rule.methods)}, not {methods[-1][:20]}", rule.name)
    if rule.paths and not any(fits_path(pattern, normalize_path(head.path)) for pattern in rule.paths):
        raise Refusal(403, f"The rule {rule.name} allows the paths {', '.join(rule.paths)}", rule.name)


def allowing_rules(covering: Sequence[RuleConfig], used: Collection[RuleConfig], head: RequestHead) -> list[RuleConfig]:
    """Return the rules of the host that allow a request. Those whose placeholders it carries must be among them.

    Raises:
        Refusal: one of them, or every rule of the host, does not allow it.
    """
    for rule in used:
        if rule not in covering:
            reason = f"The placeholder of the rule {rule.name} is for {', '.join(rule.hosts)}, not for {head.authority}"
            raise Refusal(403, reason, rule.name)
        check_request(rule, head)
    allowing, denying = judge(covering, head)
    if not allowing:
        raise denying[-1][1] if denying else Refusal(403, f"No rule names {head.authority}")
    return allowing


def judge(
    covering: Iterable[RuleConfig], head: RequestHead
) -> tuple[list[RuleConfig], list[tuple[RuleConfig, Refusal]]]:
    """Return the rules of the host that allow a request, and the others with their refusals."""
    allowing, denying = [], []
    for rule in covering:
        try:
            check_request(rule, head)
        except Refusal as refusal:
            denying.append((rule, refusal))
        else:
            allowing.append(rule)
    return allowing, denying


# --- destinations -----------------------------------------------------------------------------------------------------


class Destinations:
    """The destinations of one session.

    Args:
        rules: the rules of the session.
        only_rules: refuse every host that no rule names.
        learns: look into the requests to all hosts.
    """

    def __init__(self, rules: Sequence[RuleConfig], *, only_rules: bool = False, learns: bool = False) -> None:
        self._rules = rules
        self._only_rules = only_rules
        self._learns = learns

    def replace_rules(self, rules: Sequence[RuleConfig]) -> None:
        """Take other rules for new connections."""
        self._rules = rules

    def is_looked_into(self, scheme: str, host: str, port: int) -> bool:
        """Return True if requests to this host and port are looked into. False: no rule names it, and they pass unread.

        Args:
            scheme: `https` for a tunnel, which a client encrypts, or `http`.
            host: as `normalize_host` returns it.
            port: the port.

        Raises:
            Refusal: the worker may not connect there.
        """
        rules = self._rules
        named = {DEFAULT_PORTS["https"], *(own for pattern in _patterns(rules) if (own := split_host(pattern)[1]))}
        if ports := sorted(port for port in named if any(covers(rule, host, port) for rule in rules)):
            if scheme != "https":
                raise Refusal(403, f"A rule names {host}: use https, since a secret never leaves without TLS")
            if port not in ports:
                raise Refusal(403, f"The rules name {host} with the port {', '.join(map(str, ports))}, not {port}")
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
        return is_public(address) or names_exactly(self._rules, host, port)


def is_public(address: str) -> bool:
    """Return False for an address of a private network, of this machine, or of a cloud's metadata. True for a name."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def named_hosts(rules: Iterable[RuleConfig]) -> Iterable[str]:
    """Return the hosts of the rules without ports and brackets, with the `*.` of a rule."""
    return (split_host(host)[0] for host in _patterns(rules))


def _patterns(rules: Iterable[RuleConfig]) -> Iterable[str]:
    return (host for rule in rules for host in rule.hosts)
