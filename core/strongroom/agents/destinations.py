"""Decision about the host and the port that a worker asks for: looked into, passed on unread, or refused. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from strongroom._config import RuleConfig
from strongroom.agents.rules import DEFAULT_PORTS, Refusal, covers, names_exactly, split_host

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Destinations:
    """The destinations of one session.

    Args:
        rules: the rules of the session.
        only_rules: refuse every host that no rule names.
    """

    def __init__(self, rules: Sequence[RuleConfig], *, only_rules: bool = False) -> None:
        self._rules = rules
        self._only_rules = only_rules
        self._ports = {DEFAULT_PORTS["https"], *(port for host in _patterns(rules) if (port := split_host(host)[1]))}

    def is_looked_into(self, scheme: str, host: str, port: int) -> bool:
        """Return True if a rule names this host, at this port: its requests are looked into. False: they pass unread.

        Args:
            scheme: `https` for a tunnel, which a client encrypts, or `http`.
            host: as `normalize_host` returns it.
            port: the port.

        Raises:
            Refusal: the worker may not connect there.
        """
        if ports := sorted(port for port in self._ports if any(covers(rule, host, port) for rule in self._rules)):
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
        return False

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
