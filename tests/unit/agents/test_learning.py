"""Rules from the requests of a worker: patterns of paths, and tables for an operator to review."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._config import RuleConfig, discovery
from strongroom.agents._rules.learning import Observed, learned_rules, learned_text, observe, path_patterns
from strongroom.agents._rules.policy import fits_path
from strongroom.agents._rules.request import RequestHead

OPENAI = RuleConfig("openai", "api-keys/openai", "key", "OPENAI_API_KEY", ("*.openai.com",), where=("header:x-key",))
UUID = "0b5dd0c4-11b7-4c0c-9d4e-3f6c1b2a0001"


def head(host: str = "api.openai.com", method: str = "GET", path: str = "/v1/models", **options: object) -> RequestHead:
    return RequestHead(method, "https", host, 443, path, "key=s3cret", ())._replace(**options)


def seen(*asked: tuple[RequestHead, list[str]]) -> set[Observed]:
    return {one for each, rules in asked for one in observe(each, rules)}


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "patterns"),
    [
        (["/"], ["/"]),
        (["/v1/responses"], ["/v1/responses"]),
        (["/o/r.git/info/refs", "/o/r.git/git-upload-pack"], ["/o/r.git/git-upload-pack", "/o/r.git/info/refs"]),
        (["/repos/o/r/pulls/12"], ["/repos/o/r/pulls/12"]),
        (["/repos/o/r/pulls/12", "/repos/o/r/pulls/7"], ["/repos/o/r/pulls/*"]),
        (["/pulls/12/files", "/pulls/7/files", "/pulls/new"], ["/pulls/*/files", "/pulls/new"]),
        (["/commit/53eded1", "/commit/aa04695d"], ["/commit/*"]),
        (["/blobs/53eded1/x", "/blobs/aa04695d/y"], ["/blobs/*/x", "/blobs/*/y"]),
        ([f"/runs/{UUID}/log"], ["/runs/*/log"]),
        (["/v1/responses/resp_68a1c0ffee0123456789abcdef"], ["/v1/responses/*"]),
        (["/bot123456:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-x/send"], ["/*/send"]),
        ([f"/simple/p{number}/" for number in range(5)], [f"/simple/p{number}/" for number in range(5)]),
        ([f"/simple/p{number}/" for number in range(6)], ["/simple/*"]),
        ([f"/p{number}/-/p{number}.tgz" for number in range(6)], ["/*"]),
        (["/simple", *(f"/simple/p{number}" for number in range(6))], ["/simple", "/simple/*"]),
        (["/a b/ž"], ["/a*b/*"]),
        (["/v1.0/x", "/v1.1/x"], ["/v1.0/x", "/v1.1/x"]),
    ],
)
def test_patterns_are_as_narrow_as_the_next_run_allows(paths, patterns):
    assert path_patterns(paths) == patterns


@given(st.lists(st.lists(st.text("ab1ž *", max_size=3), min_size=1, max_size=4), max_size=12))
def test_each_path_fits_a_pattern_that_a_rule_can_have(split):
    paths = ["/" + "/".join(parts) for parts in split]
    patterns = path_patterns(paths)
    assert all(any(fits_path(pattern, path) for pattern in patterns) for path in paths)
    if patterns:
        row = {"hosts": ["api.example.com"], "paths": patterns}
        document = {"chain": ["memory"], "agents": {"rules": {"api": row}}}
        assert discovery.load(document=document).agents.rules["api"].paths == tuple(patterns)


# --- rules ------------------------------------------------------------------------------------------------------------


def test_a_rule_whose_secret_was_sent_is_narrowed():
    requests = seen((head(), ["openai"]), (head(path="/v1/responses", method="POST"), ["openai"]))
    assert learned_rules(requests, [OPENAI]) == [
        OPENAI._replace(hosts=("api.openai.com",), methods=("GET", "POST"), paths=("/v1/models", "/v1/responses"))
    ]


def test_a_host_that_got_no_secret_has_a_rule_without_one():
    requests = seen((head("pypi.org", port=8443, path="/simple/a/"), []), (head("::1", path="/"), []))
    assert learned_rules(requests, []) == [
        RuleConfig("[::1]", "", "", "", ("[::1]",), ("GET",), ("/",)),
        RuleConfig("pypi.org:8443", "", "", "", ("pypi.org:8443",), ("GET",), ("/simple/a/",)),
    ]


def test_a_request_without_the_secret_needs_no_rule_if_that_of_the_secret_allows_it():
    """As git asks once without credentials."""
    requests = seen((head(), ["openai"]), (head(), []), (head(method="HEAD"), []))
    named = [(rule.name, rule.path, rule.methods) for rule in learned_rules(requests, [OPENAI])]
    assert named == [("openai", "api-keys/openai", ("GET",)), ("api.openai.com", "", ("HEAD",))]


def test_a_rule_of_the_name_of_a_host_keeps_it():
    rule = OPENAI._replace(name="api.openai.com")
    requests = seen((head(), [rule.name]), (head(path="/other"), []))
    assert [each.name for each in learned_rules(requests, [rule])] == [
        "api.openai.com",
        "api.openai.com without a secret",
    ]


@pytest.mark.parametrize("path", ["/v1//b", "/v1/a%252fb", "/v1/./b", "/v1/x%0a", "/*", "/v1/%2a"])
def test_one_path_that_no_pattern_fits_does_not_take_the_others(path):
    """It would allow every path, where the rule before did not."""
    before = OPENAI._replace(paths=("/v1/*",))
    requests = seen((head(path=path), []), (head(path=path), ["openai"]), (head(), ["openai"]))
    (rule, *others) = learned_rules(requests, [before])
    assert (rule.paths, others) == (("/v1/models",), [])
    text = learned_text(requests, [before])
    assert f"# No rule with paths allows: GET api.openai.com{path}\n" in text
    assert tomllib.loads(text)["agents"]["rules"]["openai"]["paths"] == ["/v1/models"]


def test_a_rule_of_paths_that_no_pattern_fits_keeps_its_own():
    requests = seen((head(path="/v1//b"), ["openai"]))
    (rule,) = learned_rules(requests, [OPENAI._replace(paths=("/v1/*",))])
    assert rule.paths == ("/v1/*",)
    assert "# No rule with paths allows: GET api.openai.com/v1//b\n" in learned_text(
        requests, [OPENAI._replace(paths=("/v1/*",))]
    )


def test_a_method_that_replaces_another_is_learned():
    (rule,) = learned_rules(seen((head(method="POST", headers=(("X-HTTP-Method", "delete"),)), [])), [])
    assert rule.methods == ("DELETE", "POST")


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_file_is_read_as_the_rules():
    signing = RuleConfig("aws", "cloud/a", "", "", ("*.amazonaws.com",), sign="aws4")
    unused = OPENAI._replace(name="not used")
    requests = seen(
        (head(), ["openai"]),
        (head("sqs.eu-west-1.amazonaws.com", "POST", "/"), ["aws"]),
        (head("pypi.org", path='/"quoted"/'), []),
        (head("plain.example.com", scheme="http", port=80), []),
    )
    rules = [OPENAI, signing, unused]
    text = learned_text(requests, rules)
    found = discovery.load(document={"chain": ["memory"], **tomllib.loads(text)}).agents.rules
    assert list(found.values()) == learned_rules(requests, rules)
    assert "s3cret" not in text
    assert '# Not used, and left out: "not used". Unset OPENAI_API_KEY: no placeholder replaces it\n' in text
    assert "# Without TLS, which no rule allows: http://plain.example.com\n" in text


def test_without_requests_the_file_has_no_rule():
    assert tomllib.loads(learned_text([], [])) == {}
