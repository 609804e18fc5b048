"""`strongroom agent run` with curl: the worker holds a placeholder, and the upstream gets the value."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.agents.upstream import Answer
from support.agents.workers import VALUE, rule, strongroom
from support.programs import require

require("curl")


def curl(url, *more):
    return ["sh", "-c", 'exec curl -sS -H "Authorization: Bearer $OPENAI_API_KEY" "$@"', "curl", url, *more]


def test_upstream_gets_the_value_and_the_worker_does_not(agent_run, upstream):
    done = agent_run(*curl(f"{upstream.origin}/v1/models"))
    assert done.returncode == 0, done.stderr
    assert upstream.requests[0].header("authorization") == f"Bearer {VALUE}"
    assert "authorization: Bearer sk-proj-" in done.stdout.lower().replace("bearer", "Bearer")
    assert VALUE not in done.stdout + done.stderr


def test_environment_has_no_value(agent_run):
    done = agent_run("env")
    assert VALUE not in done.stdout
    assert "OPENAI_API_KEY=sk-proj-" in done.stdout


def test_a_value_that_the_shell_has_is_named_without_a_sandbox(agent_run):
    """A worker of the same user can read the environment of the shell, but not out of the sandbox."""
    readable = "strongroom: The command can read COPY, OPENAI_API_KEY in the environment of your shell. "
    readable += "Run it with --sandbox\n"
    withheld = "strongroom: Withheld from the command: COPY. --keep NAME passes one on, but not COPY: "
    withheld += "the value of a rule\n"
    environ = {"COPY": f"https://robot:{VALUE}@api.example.com"}
    for keep in ([], ["--keep", "COPY"]):
        done = agent_run("env", environ=environ, options=["--quiet", *keep])
        assert done.stderr == readable + withheld
        assert "COPY=" not in done.stdout
    assert agent_run("true", environ=environ, options=["--quiet", "--sandbox"]).stderr == withheld


def test_credentials_of_the_shell_are_withheld_and_named(agent_run):
    environ = {"GITHUB_TOKEN": "of the shell", "SSH_AUTH_SOCK": "/run/agent", "VAULT_TOKEN": "hvs.token", "LANG": "C"}
    done = agent_run("env", environ=environ)
    assert {name for name in environ if f"{name}={environ[name]}" in done.stdout} == {"LANG"}
    told = "Withheld from the command: GITHUB_TOKEN, SSH_AUTH_SOCK, VAULT_TOKEN. --keep NAME passes one on\n"
    assert told in done.stderr
    kept = agent_run("env", environ=environ, options=["--keep", "SSH_AUTH_SOCK", "--keep", "VAULT_TOKEN"])
    assert "SSH_AUTH_SOCK=/run/agent" in kept.stdout
    assert "VAULT_TOKEN=hvs.token" in kept.stdout
    assert "GITHUB_TOKEN" not in kept.stdout


def test_a_variable_of_a_row_of_secrets_is_withheld(operator_of):
    """It holds the value of the row, if the shell has it."""
    operator = operator_of(rule(["api.example.com"]) + '[secrets]\nDB_PASSWORD = "database/app#password"\n')
    done = operator.run("env", environ={"DB_PASSWORD": "of the shell"})
    assert "DB_PASSWORD" not in done.stdout
    assert "Withheld from the command: DB_PASSWORD." in done.stderr


SHELL = """
import os
pid, found = os.getppid(), []
while pid > 1:
    try:
        found.append(open(f"/proc/{pid}/environ", "rb").read())
    except OSError:
        found.append(b"refused")
    pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
print(b"canary" in b"".join(found), found[1] == b"refused")
"""


@pytest.mark.parametrize("options", [[], ["--sandbox"]], ids=["without", "sandbox"])
def test_only_in_the_sandbox_the_shell_keeps_its_environment(operator, options):
    """As the page says: from inside, the environment of the shell outside cannot be read."""
    command = operator.command("run", *options, "--", sys.executable, "-c", SHELL)
    line = ["sh", "-c", '"$@"; exit $?', "sh", *command]
    done = subprocess.run(line, env=operator.environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == (["False", "True"] if options else ["True", "False"]), done.stderr


def test_exit_code_of_the_command_is_that_of_agent_run(agent_run):
    assert agent_run("sh", "-c", "exit 7").returncode == 7
    assert agent_run("sh", "-c", "kill -9 $$").returncode == 137
    assert agent_run("./nothing").returncode == 127


def test_command_is_not_started_if_a_secret_is_missing(operator, tmp_path):
    file = tmp_path / "other.toml"
    file.write_text(operator.config.read_text().replace("api-keys/openai", "api-keys/missing"))
    command = strongroom("--config", file, "agent", "run", "--", "echo", "started")
    done = subprocess.run(command, check=False, env=operator.environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr


def test_untrusted_configuration_is_refused(operator, tmp_path):
    (tmp_path / "strongroom.toml").write_text(operator.config.read_text())
    command = strongroom("agent", "run", "--", "echo", "started")
    done = subprocess.run(command, check=False, cwd=tmp_path, env=operator.environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, ""), done.stderr


def test_streamed_answer_of_curl_is_whole(agent_run, upstream):
    upstream.answer = lambda request: Answer(body=[b"x" * 100_000] * 20)
    done = agent_run(*curl(upstream.origin, "-o", "/dev/null", "-w", "%{size_download} %{http_version}"))
    assert done.stdout == "2000000 1.1", done.stderr


def test_sandbox_leaves_no_way_but_the_proxy(agent_run, upstream):
    done = agent_run(*curl(upstream.origin), options=["--sandbox"])
    assert (done.returncode, upstream.requests[0].header("authorization")) == (0, f"Bearer {VALUE}"), done.stderr
    direct = agent_run(*curl(upstream.origin, "--noproxy", "*"), options=["--sandbox"])
    assert direct.returncode != 0
    assert len(upstream.requests) == 1


def test_sandbox_of_a_missing_command_ends_with_its_code(agent_run):
    assert agent_run("./nothing", options=["--sandbox"]).returncode == 127
