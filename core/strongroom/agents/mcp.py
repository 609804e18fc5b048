"""A server of the Model Context Protocol, by which an agent works with secrets whose values it never gets.

It is a convenience, not a boundary, if the agent starts it itself: that agent runs as the same user, and could ask
the chain. No tool returns a value. A tool that fails tells the agent why in a message of ours: the text of any other
exception could hold a value, so only its class is told.
"""

from __future__ import annotations

import json
import os
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

from strongroom._config import CommandConfig
from strongroom._manager import SecretsManager
from strongroom._manager.manager import resolve_keys
from strongroom._redaction.fingerprints import Fingerprints
from strongroom.agents._rules.request import Refusal
from strongroom.agents.clients.exchanges import covered_head
from strongroom.agents.clients.httpx_transports import httpx2_transport
from strongroom.agents.session import AgentSession
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
        inner = None if self._session is None else httpx2_transport(self._session, transport)
        self._client = httpx2.Client(transport=inner, timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

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
        request = self._client.build_request(method, url, headers=headers, content=body.encode() or None)
        if self._session is None or covered_head(self._session, request.method, str(request.url), ()) is None:
            raise ToolError("No rule names this host. Call list_rules")
        content, deadline = bytearray(), time.monotonic() + self._time_limit
        try:
            with closing(self._client.send(request, stream=True)) as response:
                for part in response.iter_bytes():
                    content += part
                    if len(content) > _MOST_READ or time.monotonic() > deadline:
                        break
        except httpx2.HTTPError as error:  # its text is ours: see `httpx2_transport`
            raise ToolError(f"{request.url.host}: {error}") from None
        shown = [f"HTTP {response.status_code}", *(f"{name}: {value}" for name, value in response.headers.items())]
        return "\n".join((*shown, "", self._masked(bytes(content), response.encoding or "utf-8")))

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


def _read(stream: IO[bytes], content: bytearray) -> None:
    """Add the output of a command to `content`, and drop the rest."""
    with stream:
        while part := os.read(stream.fileno(), 1 << 16):
            content += part[: max(_MOST_READ - len(content), 0)]


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1)
