"""A server of the Model Context Protocol, by which an agent works with secrets whose values it never gets.

It is a convenience, not a boundary, if the agent starts it itself: that agent runs as the same user, and could ask
the chain. No tool returns a value. A tool that fails tells the agent why in a message of ours: the text of any other
exception could hold a value, so only its class is told.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import subprocess
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from functools import wraps
from typing import IO, Any

import httpx2
from mcp.server.mcpserver import MCPServer  # pyright: ignore[reportMissingImports]
from mcp.server.mcpserver.exceptions import ToolError  # pyright: ignore[reportMissingImports]
from mcp_types import ToolAnnotations  # pyright: ignore[reportMissingImports]

from strongroom import __version__
from strongroom._config import CommandConfig
from strongroom._manager import SecretsManager
from strongroom._manager.manager import resolve_keys
from strongroom._redaction.fingerprints import Fingerprints
from strongroom.agents._rules.request import DEFAULT_PORTS, Refusal, RequestHead, normalize_host
from strongroom.agents.session import AgentSession, Exchange
from strongroom.errors import StrongroomError
from strongroom.formats.durations import format_duration
from strongroom.secret import kind, observe
from strongroom.store.program import kill

PAGE = 200
"""Names in one answer of `list_secrets`."""

LONGEST_OUTPUT = 1 << 16
"""Bytes of an answer's body, or of a command's output, that the agent gets."""

_MOST_READ = LONGEST_OUTPUT + (1 << 16)
"""Bytes that are read, so that a value is found that begins before the end."""

_TIME_LIMIT = 300.0
"""Seconds after which a command is killed, and the body of an answer is cut."""

_REQUEST_TIMEOUT = httpx2.Timeout(60.0).as_dict()
"""Seconds to wait for a connection, and for each part of a request and of its answer."""

_LAST_OUTPUT = 10.0
"""Seconds to wait for the end of a command's output, which a process that it left behind may hold open."""

_INSTRUCTIONS = """\
Work with secrets whose values you never get. list_rules returns the rules and commands that you may use. A rule has a \
placeholder: put it where the API expects the key, such as `Authorization: Bearer PLACEHOLDER`, in a call of \
http_request. The value takes its place on the way to the hosts of the rule, and answers have the placeholder back."""


def serve(secrets: SecretsManager, environment: Mapping[str, str]) -> None:
    """Serve on stdin and stdout until stdin ends. Other output of this process to stdout goes to stderr.

    Args:
        secrets: the chain, and the rules and commands of its configuration.
        environment: the environment of commands, beside their secrets.

    Raises:
        StrongroomError: a secret of a rule cannot be read.
    """
    with closing(Tools(secrets, environment)) as tools:
        server(tools).run("stdio")


def server(tools: Tools) -> MCPServer[Any]:
    """Return a server of these tools."""
    made: MCPServer[Any] = MCPServer("strongroom", instructions=_INSTRUCTIONS)
    names: tuple[Callable[..., str], ...] = (tools.list_secrets, tools.describe_secret, tools.list_rules)
    uses: tuple[Callable[..., str], ...] = (tools.http_request, tools.run_command)
    for tool in (*names, *uses):
        made.add_tool(_closed(tool), annotations=ToolAnnotations(read_only_hint=tool in names), structured_output=False)
    return made


def _closed(tool: Callable[..., str]) -> Callable[..., str]:
    """Return a tool that raises nothing but ToolError, without a cause whose frames hold values."""

    @wraps(tool)
    def call(**arguments: Any) -> str:
        try:
            return tool(**arguments)
        except (StrongroomError, ToolError) as error:
            fault = str(error)
        except Refusal as refusal:
            fault = refusal.reason
        except Exception as error:  # noqa: BLE001  # its message may hold a value
            fault = f"Unexpected failure: {type(error).__name__}"
        raise ToolError(fault)

    return call


class Tools:
    """The tools. The agent reads their docstrings.

    Args:
        secrets: see `serve`.
        environment: see `serve`.
        transport: sends the requests; by default `httpx2.HTTPTransport()`.
        time_limit: seconds after which a command is killed, and the body of an answer is cut.
    """

    def __init__(
        self,
        secrets: SecretsManager,
        environment: Mapping[str, str],
        *,
        transport: httpx2.BaseTransport | None = None,
        time_limit: float = _TIME_LIMIT,
    ) -> None:
        self._known = Fingerprints(binary=True)
        observe(lambda path, data: self._known.add_all(data, path))  # every value that this process reads from now on
        self._secrets = secrets
        self._environment = environment
        self._time_limit = time_limit
        agents = secrets.config.agents
        self._rules, self._commands = agents.rules, agents.commands
        self._session = AgentSession(secrets, agents) if self._rules else None
        self._transport = transport or httpx2.HTTPTransport()
        logging.getLogger("httpcore2").setLevel(logging.CRITICAL + 1)  # its records have headers, and so values

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def list_secrets(self, folder: str = "", after: str = "") -> str:
        """List the names of secrets and folders directly below a folder; folders end in a slash.

        Args:
            folder: such as `database`; empty for the top.
            after: the last name of the previous answer, if that has `more`.
        """
        names = sorted(self._secrets.list_secrets(folder))
        rest = names[bisect_right(names, after) :] if after else names
        found: dict[str, Any] = {"names": rest[:PAGE]}
        if len(rest) > PAGE:
            found["more"] = f"{len(rest) - PAGE} more: call list_secrets with after={rest[PAGE - 1]}"
        return _json(found)

    def describe_secret(self, path: str) -> str:
        """Describe a secret: its keys and their types, its store, its version and when that was written. No value.

        Args:
            path: such as `database/connection`.
        """
        explanation = self._secrets.explain(path)
        if explanation.error is not None:
            raise explanation.error
        served = explanation.served
        if served is None or not isinstance(served.value, Mapping):
            raise ToolError("No store of the chain has it")
        found: dict[str, Any] = {"path": path, "store": served.attempt.store}
        found["keys"] = {key: kind(value) for key, value in served.value.items()}
        if served.version is not None:
            found["version"] = served.version
        if served.created is not None and served.created.tzinfo is not None:
            age = max((datetime.now(UTC) - served.created).total_seconds(), 0)
            found["written"] = f"{format_duration(round(age))} ago"
        return _json(found)

    def list_rules(self) -> str:
        """List the rules with their placeholders for http_request, and the commands for run_command."""
        rules = {
            rule.name: {
                "hosts": rule.hosts,
                "methods": rule.methods or "any",
                "paths": rule.paths or "any",
                **({"placeholder": self._session.placeholder(rule.name), "where": rule.where} if rule.path else {}),
            }
            for rule in self._rules.values()
            if self._session is not None and not rule.sign
        }
        commands = {command.name: command.description for command in self._commands.values()}
        return _json({"rules": rules, "commands": commands})

    def http_request(self, url: str, method: str = "GET", headers: dict[str, str] | None = None, body: str = "") -> str:
        """Send an HTTP request to a host of a rule. Redirects are not followed.

        Args:
            url: such as `https://api.example.com/v1/items`.
            method: such as `POST`.
            headers: the headers, with the placeholder of the rule where the API expects the key.
            body: the body.
        """
        # Some APIs refuse a request without a User-Agent.
        sent = httpx2.Headers({"User-Agent": f"strongroom/{__version__}", "Accept-Encoding": "identity"})
        sent.update(headers)
        for framing in ("Content-Length", "Transfer-Encoding"):  # a wrong one would hide another request in the body
            sent.pop(framing, None)
        try:
            request = httpx2.Request(method, url, headers=sent, content=body)
        except (httpx2.InvalidURL, UnicodeError):
            raise ToolError("The URL is malformed, or a header has characters other than those of ASCII") from None
        exchange, status = self._begin(request), 0
        try:
            with closing(self._transport.handle_request(_with_values(exchange, request.content))) as response:
                status = response.status_code
                received = exchange.answer(status, _decoded(response.headers))
                exchange.check_joined(received)
                content = self._read_body(exchange, response)
        except httpx2.TransportError as error:
            raise ToolError(f"{exchange.head.authority}: {_failure_text(error)}") from None
        finally:
            exchange.end(status)
        shown = [f"HTTP {status}", *(f"{name}: {value}" for name, value in received)]
        return "\n".join((*shown, "", self._masked(content, response.encoding or "utf-8")))

    def _begin(self, request: httpx2.Request) -> Exchange:
        """Begin the exchange of a request to a host of a rule.

        Raises:
            ToolError: no rule names the host.
            Refusal: the host is malformed, the request would be sent without TLS, or no rule allows it.
        """
        url = request.url
        host = normalize_host(url.raw_host.decode("ascii")) if url.scheme in DEFAULT_PORTS else ""
        port = url.port or DEFAULT_PORTS["https"]
        if self._session is None or not self._session.covers(host, port):
            raise ToolError(f"No rule names {url.host or url.scheme} with the port {port}. Call list_rules")
        if url.scheme != "https":
            raise Refusal(403, f"A rule names {host}: send this request with https")
        if url.userinfo:
            raise Refusal(400, "Put the user and the placeholder into the header Authorization, not into the URL")
        path, _, query = url.raw_path.decode("ascii").partition("?")
        head = RequestHead(request.method, url.scheme, host, port, path, query, _decoded(request.headers))
        return self._session.begin(head)

    def _read_body(self, exchange: Exchange, response: httpx2.Response) -> bytes:
        """Return the redacted body of an answer, up to the limits of its size and of time."""
        content, deadline = bytearray(), time.monotonic() + self._time_limit
        for part in response.iter_raw():
            content += exchange.feed(part)
            if len(content) > _MOST_READ or time.monotonic() > deadline:
                break
        else:
            content += exchange.finish()
        return bytes(content)

    def run_command(self, name: str) -> str:
        """Run a command of list_rules, whose arguments are fixed, and return its exit code and output.

        Args:
            name: the name of the command.
        """
        if (command := self._commands.get(name)) is None:
            raise ToolError(f"There is no command {name[:100]}. Call list_rules")
        self._read_others(command)
        secrets = {variable: self._secrets.get_secret(*place) for variable, place in command.secrets.items()}
        try:
            process = subprocess.Popen(  # noqa: S603  # the command of a trusted configuration
                command.command,
                env={**self._environment, **secrets},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"Cannot run {command.command[0]}: {error.strerror}") from None
        return self._finished(process)

    def _read_others(self, command: CommandConfig) -> None:
        """Read the secrets of the other commands, which a variable may hold, so that they are known in the output."""
        every = {place for other in self._commands.values() for place in other.secrets.values()}
        resolve_keys(self._secrets, every - {*command.secrets.values()}, allow_dynamic=True)

    def _finished(self, process: subprocess.Popen[bytes]) -> str:
        """Return the result of a command, after it has ended. The output of processes that it left is dropped.

        `run_program` would end the command at the limit of the output, and the processes that it left behind.
        """
        content, stream = bytearray(), process.stdout
        assert stream is not None, "it is a pipe"  # noqa: S101
        reader = threading.Thread(target=_read, args=(stream, content), daemon=True)
        reader.start()
        try:
            ended = f"exit code {process.wait(self._time_limit)}"
        except subprocess.TimeoutExpired:
            ended = f"killed after {format_duration(self._time_limit)}"
            kill(process)
            process.wait()
        reader.join(_LAST_OUTPUT)
        return f"{ended}\n{self._masked(bytes(content))}"

    def _masked(self, content: bytes, encoding: str = "utf-8") -> str:
        """Return an output as text, cut after `LONGEST_OUTPUT`, with the known values masked."""
        text, end = content.decode("latin-1"), LONGEST_OUTPUT
        for match in self._known.find(text):
            if match.start >= end:
                break
            end = max(end, match.end)
        masked = self._known.mask(text[:end]).encode("latin-1").decode(encoding, "replace")
        return f"{masked}\n[cut after {LONGEST_OUTPUT >> 10} KiB]" if len(text) > end else masked


def _with_values(exchange: Exchange, body: bytes) -> httpx2.Request:
    """Return the request to send. Its target is exactly the one that was checked: httpx2 would normalize a URL."""
    content = exchange.replace_body(body) if exchange.needs_body else body
    head = exchange.head
    return httpx2.Request(
        head.method,
        f"{head.scheme}://{head.authority}",
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers],
        content=content,
        extensions={"target": head.target.encode("ascii"), "timeout": _REQUEST_TIMEOUT},
    )


def _decoded(headers: httpx2.Headers) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw)


def _failure_text(error: httpx2.TransportError) -> str:
    """Return our own text for a failure: its class, and the reason of the system or of OpenSSL if there is one.

    The text of the library may show the request, which has values, or the answer in a form in which none is found.
    """
    text, cause = f"The request failed with {type(error).__name__}", error.__cause__
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            # The numbers of OpenSSL and of the resolver are not those of the system, whose text could have an address.
            own = isinstance(cause, ssl.SSLError | socket.gaierror)
            return f"{text}: {cause.strerror if own else os.strerror(cause.errno)}"
        # The pool of httpcore2 drops the cause of an exception, which has it as its argument too.
        cause = cause.__cause__ or next((each for each in cause.args if isinstance(each, BaseException)), None)
    return text


def _read(stream: IO[bytes], content: bytearray) -> None:
    """Add the output of a command to `content`, and drop the rest."""
    with stream:
        while part := os.read(stream.fileno(), 1 << 16):
            content += part[: max(_MOST_READ - len(content), 0)]


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1)
