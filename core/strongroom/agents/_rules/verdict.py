"""The verdict of the rules on a request, without a store, a worker or a network. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from strongroom._config import RuleConfig
from strongroom.agents._rules.policy import Destinations, covers, judge
from strongroom.agents._rules.request import DEFAULT_PORTS, Refusal, RequestHead, check_head, normalize_host


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
    if parts.scheme not in {"http", "https"}:
        raise ValueError("the URL is not one of https or http")
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        host = normalize_host(parts.hostname or "")
        head = RequestHead(method, parts.scheme, host, port, parts.path or "/", parts.query, ())
        if not Destinations(rules, only_rules=only_rules).is_looked_into(parts.scheme, host, port):
            return Verdict(is_read=False)
        check_head(head)
        allowing, denying = judge((rule for rule in rules if covers(rule, host, port)), head)
    except Refusal as refusal:
        return Verdict(refusal.reason)
    reasons = [(rule.name, refusal.reason) for rule, refusal in denying]
    return Verdict("" if allowing else reasons[-1][1], allowing=allowing, denying=reasons)
