"""A session: the placeholders of one worker, and its requests from the head to the status of the answer.

Every door takes the same steps: `AgentSession.begin` with the head of a request returns an `Exchange`; the exchange
then gets the body, the head and the body of the answer, and the end.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol

from strongroom._config import AgentsConfig, RuleConfig
from strongroom._manager import SecretsManager
from strongroom.agents.placeholders import make_placeholder
from strongroom.agents.redaction import Redactor, forms_of
from strongroom.agents.rules import Refusal, RequestHead, check_request, covers
from strongroom.agents.substitution import placeholders_in, replace_head
from strongroom.errors import ConfigurationError, StrongroomError
from strongroom.events import Event, EventKind, Use, emit, emit_to_auditors

LEAST_LENGTH = 8
"""The shortest value that a rule may have, in characters: a shorter one stands in answers by chance."""


class AgentSession:
    """The placeholders of one worker.

    Each secret is read once at the start, for the form of its placeholder, and again for each request that carries it:
    the caches of the chain answer most of these reads, and a rotated value is used as soon as the chain has it.

    Args:
        secrets: the manager that reads the values.
        config: the rules.

    Raises:
        ConfigurationError: there is no rule, or a value is too short.
        StrongroomError: a secret cannot be read.
    """

    def __init__(self, secrets: SecretsManager, config: AgentsConfig) -> None: ...

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the worker, with placeholders."""

    def placeholder(self, rule: str) -> str:
        """Return the placeholder of a rule."""

    def covers(self, host: str, port: int, scheme: str = "https") -> bool:
        """Return True if a rule names this host, so that a door must look into its requests."""

    def begin(self, head: RequestHead) -> Exchange:
        """Check a request to a host of a rule, and read the values that it needs.

        This may ask a store, and blocks: on an event loop, call it in a thread.

        Raises:
            Refusal: no rule allows the request, or the chain has no value for it (502, with the chain's message).
            AuditError: the use cannot be recorded.
        """


class Exchange:
    """One allowed request and its answer.

    Attributes:
        head: the head to send, with values, `Range` removed and `Accept-Encoding` narrowed.
        needs_body: the whole body is needed before the head is sent: pass it to `replace_body`. Doors read at most
            `MAX_BODY` bytes of it and refuse a longer one with `body_too_large()`. Otherwise the body passes unchanged, part by part.
    """

    head: RequestHead
    needs_body: bool

    def replace_body(self, body: bytes) -> bytes:
        """Return the body to send; `head` is final after it (its Content-Length, or a signature). Raises Refusal."""

    def answer(
        self, status: int, headers: tuple[tuple[str, str], ...], *, has_body: bool = True
    ) -> tuple[tuple[str, str], ...]:
        """Return the headers of the answer for the worker: redacted, without Content-Length and Content-Encoding if
        the body is redacted. Raises Refusal(502) for an encoding that cannot be decoded."""

    def feed(self, content: bytes) -> bytes:
        """Return a part of the answer's body, decoded and redacted. May return b""."""

    def finish(self) -> bytes:
        """Return the rest of the answer's body."""

    def message(self, content: bytes) -> bytes:
        """Return a whole message of the answer, such as one of a websocket, redacted."""

    def end(self, status: int) -> None:
        """Emit the event and the audit record of the use: once, with the status; 0 if no answer came."""
