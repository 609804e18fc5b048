"""The server of the Model Context Protocol, with the client of the official SDK."""

import asyncio
import json
import os
import re
import socket
import ssl
import sys
from urllib.parse import quote

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.server.mcpserver.exceptions import ToolError

from strongroom import events
from strongroom.agents import mcp
from strongroom.errors import AuditError
from support.agents.upstream import Answer
from support.clock import LONG
from support.scenarios.agent_rules import PATH, VALUE, manager_with_rule
from support.scenarios.exposure import shown_by

PROGRAM = [sys.executable, "-c"]


def command(*program, **secrets):
    return {"command": [*PROGRAM, *program], "secrets": secrets}


@pytest.fixture
def manager(upstream):
    """Makes a manager with a rule for the upstream."""
    opened = []

    def make(**rule):
        opened.append(manager_with_rule(f"localhost:{upstream.port}", **rule))
        return opened[-1]

    yield make
    for secrets in opened:
        secrets.close()


@pytest.fixture
def uses():
    """The events of uses and refusals."""
    found = []
    stop = events.listen(lambda event: found.append(event) if event.use else None)
    yield found
    stop()


@pytest.fixture
def tools(upstream_file):
    """Makes tools for a manager."""
    opened = []

    def make(secrets, **options):
        transport = httpx2.HTTPTransport(verify=ssl.create_default_context(cafile=upstream_file))
        opened.append(mcp.Tools(secrets, {"HOME": "/nowhere"}, **{"transport": transport} | options))
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


# --- requests ---------------------------------------------------------------------------------------------------------


def placeholder_of(made):
    return json.loads(done(made, "list_rules"))["rules"]["openai"]["placeholder"]


def test_a_request_carries_the_value_and_its_answer_the_placeholder(tools, upstream, manager, uses):
    """In its body, and in each of its headers."""
    cookies = [("Set-Cookie", f"key={VALUE}"), ("Set-Cookie", "b=2")]
    upstream.answer = lambda request: Answer(201, cookies, f"echo {request.header('authorization')}".encode())
    made = tools(manager())
    placeholder = placeholder_of(made)
    headers = {"Authorization": f"Bearer {placeholder}"}
    text = done(made, "http_request", url=f"{upstream.origin}/v1", method="post", headers=headers, body="hello")
    (request,) = upstream.requests
    assert (request.method, request.target, request.body) == ("POST", "/v1", b"hello")
    assert (request.header("authorization"), request.header("host")) == (f"Bearer {VALUE}", upstream.origin[8:])
    assert request.header("user-agent").startswith("strongroom/")
    head, _, body = text.partition("\n\n")
    assert head.lower().splitlines()[:3] == ["http 201", f"set-cookie: key={placeholder}".lower(), "set-cookie: b=2"]
    assert body == f"echo Bearer {placeholder}"
    assert [(event.use.status, event.outcome) for event in uses] == [(201, "201")]


def test_the_agent_chooses_the_headers(tools, upstream, manager):
    given = {"user-agent": "mine/1", "Accept": "application/json"}
    done(tools(manager()), "http_request", url=f"{upstream.origin}/", headers=given)
    (request,) = upstream.requests
    assert (request.header("user-agent"), request.header("accept")) == ("mine/1", "application/json")


def test_the_agent_does_not_choose_the_length_of_the_body(tools, upstream, manager):
    """A server could take the rest of the body for another request."""
    given = {"Content-Length": "2", "transfer-encoding": "chunked"}
    done(tools(manager()), "http_request", url=f"{upstream.origin}/", method="POST", headers=given, body="hello")
    (request,) = upstream.requests
    assert (request.header("content-length"), request.header("transfer-encoding")) == ("5", "")
    assert request.body == b"hello"


def test_a_placeholder_in_a_field_of_the_body_is_replaced(tools, upstream, manager):
    made = tools(manager(where=["body:key"]))
    asked = {"method": "POST", "headers": {"Content-Type": "application/json"}}
    body = json.dumps({"key": placeholder_of(made), "text": "hello"})
    text = done(made, "http_request", url=f"{upstream.origin}/v1", body=body, **asked)
    (request,) = upstream.requests
    assert json.loads(request.body) == {"key": VALUE, "text": "hello"}
    assert json.dumps(VALUE)[1:-1] not in text


def test_a_body_that_is_too_large_to_look_into_is_refused(tools, upstream, manager):
    asked = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": "x" * ((8 << 20) + 1)}
    text = refused(tools(manager(where=["body:key"])), "http_request", url=f"{upstream.origin}/v1", **asked)
    assert text.startswith("The body has more than 8 MiB, and the rule allows a secret in it")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("address", "target"),
    [("/v1/%61?b=1&c", "/v1/%61?b=1&c"), ("/v1/a b?c d#e", "/v1/a%20b?c%20d"), ("/v1/x/../y", "/v1/y")],
)
def test_the_target_is_sent_as_it_was_checked(address, target, tools, upstream, manager):
    done(tools(manager(paths=["/v1/*"])), "http_request", url=upstream.origin + address)
    assert [request.target for request in upstream.requests] == [target]


def test_a_redirect_is_not_followed(tools, upstream, manager):
    upstream.answer = lambda _: Answer(307, [("Location", "/elsewhere")])
    text = done(tools(manager()), "http_request", url=f"{upstream.origin}/")
    assert text.startswith("HTTP 307\n")
    assert "location: /elsewhere" in text.lower()
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://{host}/v1", "The rule openai allows GET, not DELETE"),
        ("http://{host}/", "A rule names localhost: send this request with https"),
        ("https://me:you@{host}/", "Put the user and the placeholder into the header Authorization, not into the URL"),
        ("https://[", "The host is neither a name nor an address in its usual form"),
        ("https://{host}x/", "The URL is malformed"),
    ],
)
def test_a_request_that_is_refused_is_not_sent_and_the_agent_gets_the_reason(url, reason, tools, upstream, manager):
    made = tools(manager(methods=["GET"]))
    text = refused(made, "http_request", url=url.format(host=upstream.origin[8:]), method="DELETE")
    assert text.startswith(reason)
    assert upstream.requests == []


def test_another_name_in_the_host_header_is_refused(tools, upstream, manager):
    text = refused(tools(manager()), "http_request", url=f"{upstream.origin}/", headers={"Host": "other.example"})
    assert text == f"The Host header names another host than the connection: {upstream.origin[8:]}"
    assert upstream.requests == []


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:{port}/", "http://127.0.0.1:1/", "file:///etc/passwd", "https://u:p@127.0.0.1:{port}/"]
)
def test_a_host_without_a_rule_is_refused(url, tools, upstream, manager):
    """The tool is not a way into the network of the machine."""
    text = refused(tools(manager()), "http_request", url=url.format(port=upstream.port))
    assert re.fullmatch(r"No rule names (127\.0\.0\.1|file) with the port [0-9]+\. Call list_rules", text)
    assert upstream.requests == []


def test_a_server_without_rules_sends_no_request(tools):
    text = refused(tools(manager_with_rule()), "http_request", url="https://api.example/")
    assert text == "No rule names api.example with the port 443. Call list_rules"


def test_a_secret_that_the_chain_does_not_have_is_told_in_its_words(tools, upstream, manager):
    secrets = manager()
    made = tools(secrets)
    headers = {"X-Key": placeholder_of(made)}
    secrets.delete_secret(PATH)
    text = refused(made, "http_request", url=f"{upstream.origin}/", headers=headers)
    assert text.startswith(f"Secret not found: {PATH} (memory: its newest version is deleted)")
    assert upstream.requests == []


@pytest.mark.parametrize("where", ["header:x-key", "body:key"])
def test_a_use_that_cannot_be_recorded_is_refused_without_detail(where, tools, upstream, manager):
    def refuse(event):
        if event.outcome == "started":
            raise AuditError("canary")

    made = tools(manager(where=[where]))
    placeholder = placeholder_of(made)
    headers = {"X-Key": placeholder} if where == "header:x-key" else {"Content-Type": "application/json"}
    stop = events.audit(refuse)
    try:
        body = json.dumps({"key": placeholder})
        text = refused(made, "http_request", url=f"{upstream.origin}/", method="POST", headers=headers, body=body)
    finally:
        stop()
    assert text == "The use of a secret cannot be recorded"
    assert upstream.requests == []


def test_a_long_answer_is_cut(tools, upstream, manager, uses):
    """Its end never comes, and is not waited for. A value that begins before the cut is redacted."""
    begin = b"x" * (mcp.LONGEST_OUTPUT - 5)

    async def parts():
        yield begin + VALUE.encode() + b"y" * 1_000_000
        await asyncio.Event().wait()

    upstream.answer = lambda _: Answer(200, [], parts())
    made = tools(manager())
    placeholder = placeholder_of(made)
    text = done(made, "http_request", url=f"{upstream.origin}/", headers={"X-Key": placeholder})
    assert text.partition("\n\n")[2] == f"{begin.decode()}{placeholder[:5]}\n[cut after 64 KiB]"
    assert [event.use.status for event in uses] == [200]


def test_an_answer_that_takes_too_long_is_cut(tools, upstream, manager):
    """Its end never comes. With a limit of 0 seconds, it is cut after its first part."""

    async def parts():
        yield b"the beginning" * 100
        await asyncio.Event().wait()

    upstream.answer = lambda _: Answer(200, [], parts())
    text = done(tools(manager(), time_limit=0), "http_request", url=f"{upstream.origin}/")
    assert text.partition("\n\n")[2].startswith("the beginning")


FAILURES = {
    "no answer": (b"", "RemoteProtocolError", 0),
    "a malformed answer": (b"HTTP/1.1 200 OK\r\nX Y: {value}\r\n\r\n", "RemoteProtocolError", 0),
    "a malformed status": (b"{value}\r\n\r\n", "RemoteProtocolError", 0),
    "an answer that is cut": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{value}", "RemoteProtocolError", 200),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_names_the_host_and_shows_no_value(name, tools, upstream, manager, uses, caplog, capfd):
    """Neither of the request nor of the answer; not in a log, nor in the frames on its way. The use has ended."""
    raw, kind, status = FAILURES[name]
    upstream.answer = lambda _: Answer(raw=raw.replace(b"{value}", VALUE.encode()))
    caplog.set_level("DEBUG")
    made = tools(manager(where=["query", "header:x-key"]))
    placeholder = placeholder_of(made)
    asked = {"url": f"{upstream.origin}/?key={placeholder}", "headers": {"X-Key": placeholder}}
    assert refused(made, "http_request", **asked) == f"localhost:{upstream.port}: The request failed with {kind}"
    with pytest.raises(ToolError) as caught:
        asyncio.run(mcp.server(made).call_tool("http_request", asked))
    shown = "".join((shown_by(caught.value, __file__), caplog.text, *capfd.readouterr()))
    assert VALUE not in shown
    assert quote(VALUE, safe="") not in shown
    assert [(event.use.rule, event.use.status) for event in uses] == [("openai", status)] * 2
    assert {request.target for request in upstream.requests} == {f"/?key={quote(VALUE, safe='')}"}


def test_an_answer_that_is_refused_shows_no_value(tools, upstream, manager, uses):
    """Its body has an encoding in which a value could not be found."""
    upstream.answer = lambda _: Answer(200, [("Content-Encoding", "compress")], VALUE.encode())
    made = tools(manager())
    text = refused(made, "http_request", url=f"{upstream.origin}/", headers={"X-Key": placeholder_of(made)})
    assert text == uses[-1].use.reason
    assert [(event.outcome, event.use.status) for event in uses] == [("refused", 502)]
    assert VALUE not in text


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b" \r\n  ", b"\t\r\n \r\n "])
def test_an_answer_with_a_value_that_a_header_folds_is_refused(fold, tools, upstream, manager):
    """The proxy sees the fold itself; h11 puts a blank in its place."""
    folded = VALUE[:9].encode() + fold + VALUE[9:].encode()
    upstream.answer = lambda _: Answer(raw=b"HTTP/1.1 200 OK\r\nX-A: " + folded + b"\r\nContent-Length: 0\r\n\r\n")
    text, is_error = call(tools(manager()), "http_request", url=upstream.origin)
    assert is_error
    assert VALUE[9:] not in text
    assert "header of several lines" in text


def test_a_connection_that_is_refused_is_told_with_the_reason_of_the_system(tools):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nothing listens
        host = f"localhost:{bound.getsockname()[1]}"
        with manager_with_rule(host) as secrets:
            text = refused(tools(secrets), "http_request", url=f"https://{host}/v1?q=1")
    assert text == f"{host}: The request failed with ConnectError: Connection refused"


def test_a_certificate_that_is_not_trusted_is_told_with_the_reason_of_openssl(tools, upstream, manager):
    made = tools(manager(), transport=httpx2.HTTPTransport(verify=ssl.create_default_context()))
    text = refused(made, "http_request", url=f"{upstream.origin}/")
    assert text.startswith(
        f"localhost:{upstream.port}: The request failed with ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED]"
    )
    assert upstream.requests == []


def test_no_log_of_the_libraries_below_shows_a_value(tools, upstream, manager, caplog):
    """At DEBUG, with the query of a request and the headers of an answer."""
    upstream.answer = lambda _: Answer(200, [("X-Echo", VALUE)], VALUE.encode())
    caplog.set_level("DEBUG")
    made = tools(manager(where=["query", "header:x-key"]))
    url = f"{upstream.origin}/?key={placeholder_of(made)}"
    done(made, "http_request", url=url, headers={"X-Key": placeholder_of(made)})
    assert quote(VALUE, safe="") in upstream.requests[0].target
    assert VALUE not in caplog.text
    assert quote(VALUE, safe="") not in caplog.text


# --- commands ---------------------------------------------------------------------------------------------------------


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
def configuration(tmp_path, upstream):
    file = tmp_path / "strongroom.toml"
    file.write_text(CONFIG.format(path=PATH, value=json.dumps(VALUE), host=f"localhost:{upstream.port}"))
    return file


def test_the_command_serves_over_stdio(configuration, upstream, upstream_file, tmp_path):
    """With the client of the SDK, as a host such as an editor starts it. Its stderr has no value."""
    log = tmp_path / "stderr"
    server = StdioServerParameters(
        command=sys.executable,
        args=["-c", "from strongroom._cli.main import main; main()", "--config", str(configuration), "mcp"],
        env={"SSL_CERT_FILE": str(upstream_file), "VAULT_TOKEN": "canary-token"},
        cwd=tmp_path,
    )

    async def run():
        with log.open("w") as stderr:
            async with Client(stdio_client(server, errlog=stderr)) as client:
                tools = await client.list_tools()
                rules = await client.call_tool("list_rules", {})
                placeholder = json.loads(rules.content[0].text)["rules"]["openai"]["placeholder"]
                asked = {"url": f"{upstream.origin}/", "headers": {"X-Key": placeholder}}
                answer = await client.call_tool("http_request", asked)
                shown = await client.call_tool("run_command", {"name": "show"})
                missing = await client.call_tool("describe_secret", {"path": "missing"})
                return tools, answer, shown, missing

    tools, answer, shown, missing = asyncio.run(asyncio.wait_for(run(), LONG))
    assert len(tools.tools) == 5
    assert upstream.requests[0].header("x-key") == VALUE
    assert VALUE not in answer.content[0].text
    assert shown.content[0].text == "exit code 0\n[redacted]\n\nstray\n"
    assert missing.is_error
    assert VALUE not in log.read_text()
