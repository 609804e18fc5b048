"""Judging a request by the rules without sending it."""

from __future__ import annotations

import pytest

from strongroom._config import RuleConfig
from strongroom.agents._rules.policy import Verdict, verdict

RULES = [
    RuleConfig("openai", "api-keys/openai", "key", "OPENAI_API_KEY", ("api.openai.com",), ("POST",), ("/v1/*",)),
    RuleConfig("reader", "api-keys/reader", "key", "READER_KEY", ("api.openai.com",), ("GET",)),
    RuleConfig("pypi", "", "", "", ("pypi.org",)),
]


def asked(method: str, url: str, *, only_rules: bool = False) -> Verdict:
    return verdict(RULES, method, url, only_rules=only_rules)


def test_a_request_is_allowed_by_the_rules_that_fit_it():
    found = asked("POST", "https://API.openai.com/v1/responses?a=b")
    assert [rule.name for rule in found.allowing] == ["openai"]
    assert (found.refusal, found.denying) == ("", [("reader", "The rule reader allows GET, not POST")])


@pytest.mark.parametrize(
    ("method", "url", "reason"),
    [
        ("DELETE", "https://api.openai.com/v1/x", "allows GET, not DELETE"),
        ("GET", "http://api.openai.com/", "use https"),
        ("GET", "https://api.openai.com:8443/", "port 443, not 8443"),
        ("GET", "https://127.0.0.1/", "not a public address"),
        ("GET", "https://127.1/", "neither a name nor an address"),
        ("POST", "https://api.openai.com/v1/../x", "allows GET, not POST|ambiguous"),
        ("get", "https://pypi.org/", "method is not in upper case"),
        ("G T", "https://pypi.org/", "method is malformed"),
        ("GET", "https://pypi.org/ž", "must be escaped"),
    ],
)
def test_a_refusal_says_why(method, url, reason):
    found = asked(method, url)
    assert any(part in found.refusal for part in reason.split("|"))
    assert not found.allowing


def test_a_host_that_no_rule_names_passes_unread_unless_only_rules_count():
    assert asked("GET", "https://example.com/") == Verdict(is_read=False)
    assert "--only-rules" in asked("GET", "https://example.com/", only_rules=True).refusal
    assert asked("GET", "https://pypi.org/simple/", only_rules=True).allowing == [RULES[2]]


@pytest.mark.parametrize("url", ["ftp://example.com", "example.com", "https://example.com:port/"])
def test_other_urls_are_errors(url):
    with pytest.raises(ValueError, match=r"URL|Port"):
        asked("GET", url)
