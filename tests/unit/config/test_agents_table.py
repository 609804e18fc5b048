"""The table `[agents]`: rules and commands."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from strongroom import ConfigurationError
from strongroom._config import AgentsConfig, CommandConfig, RuleConfig, discovery
from strongroom._config.agents_table import presets

RULE = {"secret": "api-keys/openai#key", "variable": "OPENAI_API_KEY", "hosts": ["api.openai.com"]}


def load(**agents: Any) -> AgentsConfig:
    return discovery.load(document={"chain": ["memory"], "agents": agents}).agents


def test_without_the_table_there_is_no_rule():
    assert discovery.load(document={"chain": ["memory"]}).agents == AgentsConfig()


def test_a_rule_has_a_secret_a_variable_and_hosts():
    (rule,) = load(rules={"openai": RULE}).rules.values()
    assert rule == RuleConfig("openai", "api-keys/openai", "key", "OPENAI_API_KEY", ("api.openai.com",))
    assert rule.where == ("header:authorization",)
    assert rule.variables == ("OPENAI_API_KEY",)


def test_a_rule_may_narrow_its_requests():
    narrow = {
        "methods": ["POST"],
        "paths": ["/v1/*"],
        "where": ["header:x-key", "query", "query:api[key]", "body:api_key"],
    }
    (rule,) = load(rules={"openai": {**RULE, **narrow}}).rules.values()
    assert {key: list(getattr(rule, key)) for key in narrow} == narrow


def test_a_rule_that_signs_needs_a_whole_secret():
    (rule,) = load(rules={"aws": {"secret": "aws/app", "hosts": ["*.amazonaws.com"], "sign": "aws4"}}).rules.values()
    assert (rule.path, rule.key) == ("aws/app", "")
    assert rule.variables == ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def test_a_command_has_its_arguments_and_secrets():
    row = {"command": ["gh", "pr", "list"], "description": "Lists", "secrets": {"GH_TOKEN": "github#token"}}
    assert load(commands={"prs": row}).commands == {
        "prs": CommandConfig("prs", ("gh", "pr", "list"), "Lists", {"GH_TOKEN": ("github", "token")})
    }


def test_a_rule_without_a_secret_allows_requests():
    (rule,) = load(rules={"pypi": {"hosts": ["pypi.org"], "paths": ["/simple/*"]}}).rules.values()
    assert (rule.path, rule.key, rule.variables) == ("", "", ())


def test_a_rule_may_be_as_wide_as_its_preset():
    (rule,) = load(rules={"claude": {"preset": "anthropic", "secret": "api-keys/anthropic#key"}}).rules.values()
    assert rule == RuleConfig(
        "claude",
        "api-keys/anthropic",
        "key",
        "ANTHROPIC_API_KEY",
        ("api.anthropic.com",),
        ("GET", "POST", "DELETE"),
        where=("header:x-api-key", "header:authorization"),
    )


def test_a_rule_may_narrow_its_preset():
    narrow = {"hosts": ["api.github.com"], "methods": ["GET"], "paths": ["/repos/o/r/*"], "variable": "GH_TOKEN"}
    row = {"preset": "github", "secret": "github#token", **narrow}
    (rule,) = load(rules={"github": row}).rules.values()
    assert rule == RuleConfig("github", "github", "token", "GH_TOKEN", ("api.github.com",), ("GET",), ("/repos/o/r/*",))


def test_a_rule_for_aws_names_services():
    row = {"preset": "aws", "secret": "aws/app", "hosts": ["sqs.eu-west-1.amazonaws.com"]}
    (rule,) = load(rules={"aws": row}).rules.values()
    assert (rule.sign, rule.hosts) == ("aws4", ("sqs.eu-west-1.amazonaws.com",))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"preset": "opnai"}, 'preset.*: unknown preset: did you mean "openai"'),
        ({"secret": None}, "secret.* is missing"),
        ({"hosts": ["api.openai.com.evil.com"]}, "api.openai.com.evil.com is beyond the preset openai: api.openai.com"),
        ({"hosts": ["*.openai.com"]}, "is beyond the preset"),
        ({"hosts": ["api.openai.com:8443"]}, "is beyond the preset"),
        ({"methods": ["GET", "PATCH"]}, "PATCH is beyond the preset openai: GET, POST, DELETE. Leave out `preset`"),
        ({"where": ["header:authorization", "query"]}, "query is beyond the preset"),
        ({"preset": "aws", "secret": "aws"}, r"is missing: with the preset aws, name hosts below \*.amazonaws.com or"),
        ({"preset": "aws", "secret": "aws", "hosts": ["*.amazonaws.com"]}, "is beyond the preset"),
        ({"preset": "aws", "secret": "aws", "hosts": ["s3.amazonaws.com.evil.com"]}, "is beyond the preset"),
    ],
)
def test_a_rule_that_is_wider_than_its_preset_is_an_error(changed, reason):
    row = {"preset": "openai", "secret": "api-keys/openai#key", **changed}
    with pytest.raises(ConfigurationError, match=reason):
        load(rules={"openai": {key: value for key, value in row.items() if value is not None}})


@pytest.mark.parametrize("name", presets())
def test_a_preset_says_where_and_when_it_was_read(name):
    assert presets()[name]["source"]
    assert isinstance(presets()[name]["read"], date)
    wide = {"hosts": ["s3.amazonaws.com"], "secret": "path"} if name == "aws" else {"secret": "path#key"}
    assert load(rules={name: {"preset": name, **wide}}).rules[name].hosts


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"secret": None}, "secret.* is missing"),
        ({"secret": "api-keys/openai"}, 'must be "PATH#KEY"'),
        ({"hosts": None}, "hosts.* is missing"),
        ({"hosts": []}, "host names in lower case"),
        ({"hosts": ["API.openai.com"]}, "host names in lower case"),
        ({"hosts": ["https://api.openai.com"]}, "host names in lower case"),
        ({"hosts": ["*"]}, "host names in lower case"),
        ({"hosts": ["a.*.com"]}, "host names in lower case"),
        ({"hosts": ["api.openai.com/v1"]}, "host names in lower case"),
        ({"hosts": ["api.openai.com:99999"]}, r"rules.openai\] hosts.*host names in lower case"),
        ({"hosts": ["[::1]:0"]}, "host names in lower case"),
        ({"variable": None}, "variable.* is missing"),
        ({"variable": "A-B"}, "the name of a variable"),
        ({"methods": ["post"]}, "methods in upper case"),
        ({"paths": ["v1/*"]}, "paths that begin with /"),
        ({"where": ["cookie"]}, "header:NAME, query, query:NAME or body:FIELD"),
        ({"where": ["header"]}, "header:NAME, query, query:NAME or body:FIELD"),
        ({"where": ["query:"]}, "header:NAME, query, query:NAME or body:FIELD"),
        ({"where": []}, "header:NAME, query, query:NAME or body:FIELD"),
        ({"sign": "aws3"}, "aws4"),
        ({"sign": "aws4"}, "without a key"),
        ({"sign": "aws4", "secret": "aws"}, "variable.* must not stand beside `sign`"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_malformed_rule_is_an_error(changed, reason):
    row = {key: value for key, value in {**RULE, **changed}.items() if value is not None}
    with pytest.raises(ConfigurationError, match=reason):
        load(rules={"openai": row})


def test_two_rules_must_not_set_one_variable():
    with pytest.raises(ConfigurationError, match="one and two both set the variable OPENAI_API_KEY"):
        load(rules={"one": RULE, "two": RULE})


@pytest.mark.parametrize("name", ["PATH", "HOME", "LD_PRELOAD", "SSL_CERT_DIR", "JAVA_TOOL_OPTIONS", "https_proxy"])
def test_a_secret_takes_no_variable_that_programs_need(name):
    with pytest.raises(ConfigurationError, match=r"variable.*: must be the name of a variable that is free"):
        load(rules={"openai": {**RULE, "variable": name}})
    with pytest.raises(ConfigurationError, match=f"{name}.*: must be the name of a variable that is free"):
        load(commands={"prs": {"command": ["gh"], "secrets": {name: "github#token"}}})


@pytest.mark.parametrize("changed", [{"command": []}, {"command": 1}, {"secrets": {"A": "path"}}, {"shell": True}])
def test_a_malformed_command_is_an_error(changed):
    with pytest.raises(ConfigurationError):
        load(commands={"prs": {"command": ["gh"], **changed}})
