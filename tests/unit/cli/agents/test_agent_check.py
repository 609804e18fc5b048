"""`strongroom agent check`."""

from __future__ import annotations

import json

import pytest

from strongroom._cli.exit_codes import ExitCode

HEADER = "the header authorization"
RULES = """
chain = ["env"]
[agents.rules.openai]
preset = "openai"
secret = "api-keys/openai#key"
[agents.rules.reader]
secret = "api-keys/reader#key"
variable = "READER_KEY"
hosts = ["api.openai.com"]
methods = ["GET"]
[agents.rules.queue]
preset = "aws"
secret = "cloud/queue"
hosts = ["sqs.eu-west-1.amazonaws.com"]
[agents.rules.pypi]
hosts = ["pypi.org"]
"""


@pytest.fixture
def check(command, tmp_path):
    """Runs the command. No store has a value, and the extra `agents` may be missing."""
    (tmp_path / "rules.toml").write_text(RULES)
    return lambda *arguments: command("--config", str(tmp_path / "rules.toml"), "agent", "check", *arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "lines"),
    [
        (
            ("POST", "https://api.openai.com/v1/responses"),
            ExitCode.DONE,
            [
                f"allowed by openai: sends api-keys/openai#key for the placeholder of OPENAI_API_KEY in {HEADER}",
                "no secret of reader: The rule reader allows GET, not POST",
            ],
        ),
        (
            ("PUT", "https://api.openai.com/v1/responses"),
            ExitCode.DENIED,
            [
                "refused: The rule reader allows GET, not PUT",
                "no secret of openai: The rule openai allows GET, POST, DELETE, not PUT",
            ],
        ),
        (
            ("POST", "https://sqs.eu-west-1.amazonaws.com/"),
            ExitCode.DONE,
            ["allowed by queue: signs the request with cloud/queue"],
        ),
        (("GET", "https://pypi.org/simple/"), ExitCode.DONE, ["allowed by pypi: sends no secret"]),
        (
            ("GET", "https://example.com/"),
            ExitCode.DONE,
            ["allowed: no rule names this host, so the request passes unread, without a secret"],
        ),
        (
            ("GET", "https://example.com/", "--only-rules"),
            ExitCode.DENIED,
            ["refused: No rule names example.com, and other hosts are refused (--only-rules)"],
        ),
    ],
)
def test_it_says_what_would_be_sent_where(check, arguments, code, lines):
    done = check(*arguments)
    assert (done.code, done.out.decode().splitlines(), done.err) == (code, lines, "")


def test_its_document_has_the_rules(check):
    done = check("GET", "https://api.openai.com/v1/models", "--json")
    document = json.loads(done.out)
    assert [rule["rule"] for rule in document["allowing"]] == ["openai", "reader"]
    assert document["allowing"][0] == {
        "rule": "openai",
        "secret": "api-keys/openai#key",
        "variables": ["OPENAI_API_KEY"],
        "where": ["header:authorization"],
        "sign": "",
    }
    assert (document["allowed"], document["reason"], document["read"]) == (True, "", True)


def test_another_url_is_a_usage_error(check):
    done = check("GET", "example.com")
    assert done.code == ExitCode.USAGE
    assert "such as https://api.example.com/v1/items" in done.err
