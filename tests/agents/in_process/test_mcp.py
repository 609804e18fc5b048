"""The server of the Model Context Protocol, with the client of the official SDK."""

import asyncio
import json
import os
import ssl
import sys
from urllib.parse import quote

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from strongroom.agents import mcp
from support.clock import LONG
from support.scenarios.agent_rules import PATH, VALUE, manager_with_rule

PROGRAM = [sys.executable, "-c"]


def command(*program, **secrets):
    return {"command": [*PROGRAM, *program], "secrets": secrets}


@pytest.fixture
def tools(trust):
    """Makes tools for a manager."""
    opened = []

    def make(secrets, **options):
        transport = httpx2.HTTPTransport(verify=ssl.create_default_context(cafile=trust))
        opened.append(mcp.Tools(secrets, {"HOME": "/nowhere"}, transport=transport, **options))
        return opened[-1]

    yield make
    for made in opened:
        made.close()


def call(tools, tool, /, **arguments):
    """The text of a call's result, and whether it is an error."""

    async def run():
        async with Client(mcp.server(tools)) as client:
            return await client.call_tool(tool, arguments)

    result = asyncio.run(run())
    (content,) = result.content
    return content.text, result.is_error


def done(tools, tool, /, **arguments):
    text, failed = call(tools, tool, **arguments)
    assert not failed, text
    return text


def refused(tools, tool, /, **arguments):
    text, failed = call(tools, tool, **arguments)
    assert failed, text
    return text.removeprefix(f"Error executing tool {tool}: ")


def test_there_is_no_tool_that_returns_a_value(tools):
    async def run():
        async with Client(mcp.server(tools(manager_with_rule("api.example")))) as client:
            return await client.list_tools()

    found = {tool.name: tool for tool in asyncio.run(run()).tools}
    assert set(found) == {"list_secrets", "describe_secret", "list_rules", "http_request", "run_command"}
    assert all(tool.description for tool in found.values())


def test_names_are_listed_by_folder(tools):
    secrets = manager_with_rule("api.example")
    assert json.loads(done(tools(secrets), "list_secrets")) == {"names": ["api-keys/"]}
    assert json.loads(done(tools(secrets), "list_secrets", folder="api-keys")) == {"names": ["openai"]}


def test_a_long_list_comes_in_pages(tools):
    secrets = manager_with_rule("api.example")
    for number in range(mcp.PAGE + 1):
        secrets.set_secret(f"many/{number:04}", {"key": VALUE})
    made = tools(secrets)
    first = json.loads(done(made, "list_secrets", folder="many"))
    assert first["names"][0] == "0000"
    assert len(first["names"]) == mcp.PAGE
    assert first["more"] == "1 more: call list_secrets with after=0199"
    assert json.loads(done(made, "list_secrets", folder="many", after="0199")) == {"names": ["0200"]}


def test_a_description_has_no_value(tools):
    secrets = manager_with_rule("api.example")
    secrets.set_secret("mixed", {"text": VALUE, "number": 40123, "flag": True, "nothing": None, "list": [VALUE]})
    text = done(tools(secrets), "describe_secret", path="mixed")
    described = json.loads(text)
    assert described["keys"] == {
        "text": "text", "number": "number", "flag": "boolean", "nothing": "null", "list": "list",
    }  # fmt: skip
    assert described["store"] == "memory"
    assert described["written"].endswith("ago")
    assert VALUE not in text
    assert "40123" not in text


def test_a_missing_secret_is_told_in_the_words_of_the_chain(tools):
    text = refused(tools(manager_with_rule("api.example")), "describe_secret", path="missing")
    assert text.startswith("Secret not found: missing")


def test_rules_are_listed_with_placeholders_and_commands_with_their_purpose(tools):
    commands = {"deploy": command("pass") | {"description": "Deploy the site"}}
    made = tools(manager_with_rule("api.example", methods=["POST"], commands=commands))
    listed = json.loads(done(made, "list_rules"))
    rule = listed["rules"]["openai"]
    assert rule["placeholder"].startswith("sk-")
    assert (rule["hosts"], rule["methods"], rule["paths"]) == (["api.example"], ["POST"], "any")
    assert listed["commands"] == {"deploy": "Deploy the site"}


def test_a_request_carries_the_value_and_its_answer_the_placeholder(tools, api, manager):
    made = tools(manager())
    placeholder = json.loads(done(made, "list_rules"))["rules"]["openai"]["placeholder"]
    headers = {"Authorization": f"Bearer {placeholder}"}
    text = done(made, "http_request", url=f"{api.url}/v1", method="POST", headers=headers, body="hello")
    ((line, received, body),) = api.requests
    assert (line, received["Authorization"], body) == ("POST /v1 HTTP/1.1", f"Bearer {VALUE}", b"hello")
    head, _, echo = text.partition("\n\n")
    assert head.startswith("HTTP 200\n")
    assert f"x-echo: Bearer {placeholder}" in head
    assert dict(json.loads(echo)["headers"])["Authorization"] == f"Bearer {placeholder}"


def test_a_request_that_the_rule_does_not_allow_is_answered_with_the_reason(tools, api, manager):
    text = done(tools(manager(methods=["GET"])), "http_request", url=f"{api.url}/", method="DELETE")
    assert text.startswith("HTTP 403\n")
    assert text.endswith("The rule openai allows GET, not DELETE\n")
    assert api.requests == []


@pytest.mark.parametrize("address", ["{other}/", "http://127.0.0.1:1/", "file:///etc/passwd", "https://u:p@{name}/"])
def test_a_host_without_a_rule_is_refused(tools, api, other, manager, address):
    """The tool is not a way into the network of the machine."""
    url = address.format(other=other.url, name=other.host)
    assert refused(tools(manager()), "http_request", url=url) == "No rule names this host. Call list_rules"
    assert other.requests == []


def test_a_failure_of_the_network_names_the_host_and_the_reason(tools, manager, api):
    made = tools(manager())
    api.shutdown()
    api.server_close()
    text = refused(made, "http_request", url=f"{api.url}/v1?q=1")
    assert text == f"{api.host.partition(':')[0]}: The request failed with ConnectError: Connection refused"


def test_a_host_of_a_rule_needs_tls(tools, api, manager):
    text = refused(tools(manager()), "http_request", url=f"http://{api.host}/")
    assert text == "A rule names localhost: send this request with https"


def test_an_address_that_is_malformed_is_refused(tools, api, manager):
    text = refused(tools(manager()), "http_request", url="https://[")
    assert text == "The host is neither a name nor an address in its usual form"


def test_a_long_answer_is_cut(tools, api, manager):
    body = "x" * 300_000
    text = done(tools(manager()), "http_request", url=f"{api.url}/", method="POST", body=body)
    assert text.endswith("xxx\n[cut after 64 KiB]")
    assert len(text) < mcp.LONGEST_OUTPUT + 2000


def test_a_command_gets_its_secrets_and_its_output_none(tools):
    """In every form that the redaction of logs knows; from stderr too. The exit code is told."""
    program = (
        "import os, sys, json, base64, urllib.parse as u; key = os.environ['KEY'];"
        "print('plain', key, 'json', json.dumps(key), 'url', u.quote(key, safe=''));"
        "print('base64', base64.b64encode(key.encode()).decode(), file=sys.stderr); sys.exit(3)"
    )
    made = tools(manager_with_rule(commands={"show": command(program, KEY=f"{PATH}#key")}))
    text = done(made, "run_command", name="show")
    assert text.splitlines()[0] == "exit code 3"
    assert text.count("[redacted]") == 4
    for form in (VALUE, json.dumps(VALUE)[1:-1], quote(VALUE, safe="")):
        assert form not in text


def test_the_secret_of_another_command_is_masked_before_that_command_has_run(tools):
    """As in a variable that the chain reads, which every command inherits. A secret that is missing stops no other."""
    commands = {"deploy": command("pass", KEY=f"{PATH}#key"), "broken": command("pass", KEY="missing#key")}
    made = tools(manager_with_rule(commands=commands | {"show": command(f"print({VALUE!r})")}))
    assert done(made, "run_command", name="show") == "exit code 0\n[redacted]\n"


def test_a_value_across_the_end_of_a_cut_output_is_redacted(tools):
    program = f"import os; print('x' * {mcp.LONGEST_OUTPUT - 5} + os.environ['KEY'] + 'y' * 500_000)"
    made = tools(manager_with_rule(commands={"show": command(program, KEY=f"{PATH}#key")}))
    text = done(made, "run_command", name="show")
    assert text.endswith("x[redacted]\n[cut after 64 KiB]")
    assert VALUE[:5] not in text


def test_a_command_gets_the_given_environment_and_no_input(tools):
    program = "import os, sys; print(sorted(os.environ.keys() - {'LC_CTYPE'}), repr(sys.stdin.read()))"
    made = tools(manager_with_rule(commands={"show": command(program, KEY=f"{PATH}#key")}))
    assert done(made, "run_command", name="show") == "exit code 0\n['HOME', 'KEY'] ''\n"


def test_a_command_that_takes_too_long_is_killed_with_its_children(tools, tmp_path):
    """The last process that holds the pipe open is gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = f"import os, time; os.open({str(pipe)!r}, os.O_WRONLY); os.fork(); time.sleep(1000)"
    made = tools(manager_with_rule(commands={"wait": command(program)}), time_limit=0.5)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    assert done(made, "run_command", name="wait") == "killed after 0.5 s\n"
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_only_a_command_of_the_configuration_runs(tools):
    made = tools(manager_with_rule(commands={"show": command("pass")}))
    assert refused(made, "run_command", name="sh -c env") == "There is no command sh -c env. Call list_rules"


def test_a_command_that_is_missing_is_told(tools):
    made = tools(manager_with_rule(commands={"show": {"command": ["/no/such/program"]}}))
    assert refused(made, "run_command", name="show") == "Cannot run /no/such/program: No such file or directory"


def test_a_command_whose_secret_is_missing_does_not_run(tools, tmp_path):
    program = f"open({str(tmp_path / 'ran')!r}, 'w')"
    made = tools(manager_with_rule(commands={"show": command(program, KEY="missing#key")}))
    assert refused(made, "run_command", name="show").startswith("Secret not found: missing")
    assert not (tmp_path / "ran").exists()


def test_an_unexpected_failure_tells_only_its_class(tools, monkeypatch, caplog):
    """Neither the agent nor the log of the server gets its text."""

    def fail(*_):
        raise ValueError(VALUE)

    secrets = manager_with_rule("api.example")
    made = tools(secrets)
    monkeypatch.setattr(secrets, "list_secrets", fail)
    with caplog.at_level("DEBUG"):
        assert refused(made, "list_secrets") == "Unexpected failure: ValueError"
    assert VALUE not in caplog.text


CONFIG = """\
chain = ["memory"]
[stores.memory.secrets."{path}"]
key = {value}
[agents.rules.openai]
secret = "{path}#key"
variable = "OPENAI_API_KEY"
hosts = ["{host}"]
where = ["header:x-key"]
[agents.commands.show]
command = ["sh", "-c", "echo $KEY; echo $VAULT_TOKEN; echo stray >&1"]
secrets = {{ KEY = "{path}#key" }}
"""


@pytest.fixture
def configuration(tmp_path, api):
    file = tmp_path / "strongroom.toml"
    file.write_text(CONFIG.format(path=PATH, value=json.dumps(VALUE), host=api.host))
    return file


def test_the_command_serves_over_stdio(configuration, api, trust, tmp_path):
    """With the client of the SDK, as a host such as an editor starts it. Its stderr has no value."""
    log = tmp_path / "stderr"
    server = StdioServerParameters(
        command=sys.executable,
        args=["-c", "from strongroom._cli.main import main; main()", "--config", str(configuration), "mcp"],
        env={"SSL_CERT_FILE": str(trust), "VAULT_TOKEN": "canary-token"},
        cwd=tmp_path,
    )

    async def run():
        with log.open("w") as stderr:
            async with Client(stdio_client(server, errlog=stderr)) as client:
                tools = await client.list_tools()
                rules = await client.call_tool("list_rules", {})
                placeholder = json.loads(rules.content[0].text)["rules"]["openai"]["placeholder"]
                asked = {"url": f"{api.url}/", "headers": {"X-Key": placeholder}}
                answer = await client.call_tool("http_request", asked)
                shown = await client.call_tool("run_command", {"name": "show"})
                missing = await client.call_tool("describe_secret", {"path": "missing"})
                return tools, answer, shown, missing

    tools, answer, shown, missing = asyncio.run(asyncio.wait_for(run(), LONG))
    assert len(tools.tools) == 5
    assert api.requests[0][1]["X-Key"] == VALUE
    assert VALUE not in answer.content[0].text
    assert shown.content[0].text == "exit code 0\n[redacted]\n\nstray\n"
    assert missing.is_error
    assert VALUE not in log.read_text()
