"""A session: the placeholders of one worker, and its requests from the head to the status of the answer.

Every door takes the same steps: `AgentSession.begin` with the head of a request returns an `Exchange`; the exchange
then gets the body, the head and the body of the answer, and the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from strongroom._config import AgentsConfig, RuleConfig
from strongroom._config.trust import not_trusted
from strongroom._credentials import AwsCredential
from strongroom._manager import SecretsManager
from strongroom.agents._rules.learning import Observed, observe
from strongroom.agents._rules.placeholders import RuleValues
from strongroom.agents._rules.policy import allowing_rules, covers, override_methods
from strongroom.agents._rules.redaction import Redactor
from strongroom.agents._rules.request import Refusal, RequestHead, check_head, form_pairs
from strongroom.agents._rules.signing import needs_payload, sign_aws4
from strongroom.agents._rules.substitution import (
    body_fields,
    body_format,
    may_be_form,
    placeholders_in,
    replace_head,
    replace_in,
    stands_in,
)
from strongroom.errors import AuditError, ConfigurationError
from strongroom.events import Event, EventKind, Use, emit, emit_to_auditors
from strongroom.store.deadline import boot_time

MAX_BODY = 1 << 23
"""The most bytes of a request's body that a door buffers."""

MAX_OBSERVED = 10_000
"""The most different requests that a session keeps to learn from."""

FOLDED = "The answer has a header of several lines, in which a secret could not be found"
"""Why an answer is refused: programs join the lines in different ways."""

COMPRESSED = (
    "The host compressed its answer although it was asked not to, so no secret could be found in it: let the host send "
    "it without Content-Encoding"
)
"""The refusal of an answer with a content coding."""

_LOOK = 30.0
"""Seconds between two looks at the clock: a wait does not count the time in which the machine is suspended."""

_LONGEST, _LONGEST_REASON = (259, 20, 1000), 500
"""The most characters of a host, a method and a path in an event, and of a reason."""

_DESCRIBE_BODY = (
    *("accept-ranges", "content-digest", "content-encoding", "content-length", "content-md5", "digest", "repr-digest"),
    "x-amz-checksum-",
)
"""How headers of an answer begin that are wrong once its body is redacted, or tell how well it is compressed. An ETag
stays: it is a name of the content, which a later request may repeat."""

Headers = tuple[tuple[str, str], ...]


class AgentSession:
    """The placeholders of one worker.

    Each secret is read once at the start, for the form of its placeholder, and again for each request that carries it:
    the caches of the chain answer most of these reads, and a rotated value is used as soon as the chain has it.

    Args:
        secrets: the manager that reads the values.
        config: the rules.
        learns: keep which requests are sent, and let those to hosts pass that no rule names. Such a session may have no
            rule.

    Attributes:
        observed: the requests that were sent, if it learns; otherwise None.

    Raises:
        ConfigurationError: the configuration lacks rules, or has files that are not trusted.
        StrongroomError: a secret cannot be read, or a value is too short.
    """

    def __init__(self, secrets: SecretsManager, config: AgentsConfig, *, learns: bool = False) -> None:
        self.observed: set[Observed] | None = set() if learns else None
        if secrets.config.untrusted:
            raise not_trusted(secrets.config.untrusted, "the rules for agents decide where secrets are sent")
        self._secrets = secrets
        self._values = self._read(config, None)

    def replace_rules(self, config: AgentsConfig) -> None:
        """Take other rules for new requests. A rule that stays keeps its placeholder, which the worker has already.

        After an error, the rules are those from before. It raises what the constructor raises.
        """
        self._values = self._read(config, self._values)

    def _read(self, config: AgentsConfig, before: RuleValues | None) -> RuleValues:
        if not config.rules and self.observed is None:
            raise ConfigurationError("The configuration has no rule for agents: add a table [agents.rules.NAME]")
        return RuleValues(self._secrets, config.rules.values(), before)

    @property
    def rules(self) -> tuple[RuleConfig, ...]:
        """The rules."""
        return tuple(self._values.rules.values())

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the worker, with placeholders."""
        return dict(self._values.environment)

    def placeholder(self, rule: str) -> str:
        """Return the placeholder of a rule with a secret; that of the access key, if it signs."""
        return self._values.placeholders[rule][0]

    def covers(self, host: str, port: int) -> bool:
        """Return True if a rule names this host, so that a door must look into its requests."""
        return any(covers(rule, host, port) for rule in self.rules)

    def redactor(self) -> Redactor:
        """Return a redactor of all values that the session has read."""
        return self._values.redactor(self._values.rules)

    def begin(self, head: RequestHead) -> Exchange:
        """Check a request to a host of a rule, and read the values that it needs.

        This may ask a store, and blocks: on an event loop, call it in a thread.

        Raises:
            Refusal: no rule allows the request, the chain has no value for it (502, with the chain's message), or the
                use cannot be recorded (502).
        """
        return Exchange(self, self._values, head)

    def observe(self, head: RequestHead, rules: Iterable[str] = ()) -> None:
        """Keep that a request is sent with the secrets of these rules, if the session learns."""
        if self.observed is not None and len(self.observed) < MAX_OBSERVED:
            self.observed |= observe(head, rules)

    def record_refusal(self, refusal: Refusal, host: str, method: str, path: str = "") -> None:
        """Emit the event of a request or a connection that a door refused before `begin`. This may block.

        Args:
            refusal: the refusal.
            host: the host that the worker named, in any form, with its port unless that is 443.
            method: the method of the request; CONNECT for a tunnel.
            path: the path, without query.
        """
        emit(_event((host, method, path), "refused", None, refusal.status, refusal.reason))


class SessionEnd:
    """The end of a session: a time of the clock, or an earlier moment at which its seconds have passed.

    So a clock that is set back does not make a session longer, and neither does a machine that is suspended.

    Args:
        seconds: how long the session lasts, from now; None if the worker decides.

    Attributes:
        at: the end by the clock, or None.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.at = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
        self._passed = boot_time() + (seconds or 0)

    def left(self) -> float:
        """Return the seconds to the next look at the clock, so that a suspended machine counts; 0 after the end."""
        if self.at is None:
            return _LOOK
        by_clock, passed = (self.at - datetime.now(UTC)).total_seconds(), self._passed - boot_time()
        return max(0.0, min(by_clock, passed, _LOOK))

    def refusal(self) -> Refusal:
        """Return the refusal of a request after the end."""
        return Refusal(403, f"The session ended at {self.at:%Y-%m-%d %H:%M} UTC")


class Exchange:
    """One allowed request and its answer.

    Attributes:
        head: the head to send, with values, and without what `_narrowed` removes.
        needs_body: the whole body is needed before the head is sent: pass it to `replace_body`. Doors read at most
            `MAX_BODY` bytes of it, and call `refuse_long_body` for a longer one. Otherwise the body passes unchanged,
            part by part.
    """

    def __init__(self, session: AgentSession, values: RuleValues, head: RequestHead) -> None:
        self._session = session
        self._values = values
        self._asked = head
        self._event = partial(_event, (head.authority, head.method, head.path))
        self._began = time.monotonic()
        self._used: dict[str, RuleConfig] = {}
        self._refused: Refusal | None = None  # of the body by the door, or of the answer
        with self._recorded_refusals():
            check_head(head)
            self._covering = [rule for rule in values.rules.values() if covers(rule, head.host, head.port)]
            self._redacted = [rule.name for rule in self._covering]
            self._is_searched = not values.redactor(self._redacted).is_empty
            # A host that gets no secret gets placeholders as they are, as if nobody looked into the request.
            gets_secrets = any(rule.path for rule in self._covering)
            self._found = found = placeholders_in(head, values.known) if gets_secrets else {}
            allowing = self._allowing()
            self._signs = next((rule for rule in found.values() if rule.sign), None)
            replaced = {
                placeholder: (rule, values.current(rule)[0]) for placeholder, rule in found.items() if not rule.sign
            }
            narrowed = _narrowed(head, self._covering) if self._is_searched else head
            if (signs := self._signs) is not None and narrowed.header("range") != head.header("range"):
                reason = "Another rule has a key for this host, so it must answer whole. Give the rules other hosts"
                raise Refusal(403, reason, signs.name)  # clients of S3 would write the whole in the place of a part
            self.head = replace_head(narrowed.without("te", "sec-websocket-extensions"), replaced)
            format_ = body_format(head)
            self._bodies = [rule for rule in allowing if format_ and body_fields(rule)]
            counts_methods = session.observed is not None or any(rule.methods for rule in self._covering)
            has_method = counts_methods and may_be_form(head)
            self.needs_body = bool(self._bodies or has_method or (self._signs and needs_payload(head)))
            length = head.header("content-length")
            if self.needs_body and length.isdecimal() and int(length) > MAX_BODY:
                raise self.refuse_long_body()
            self._record_start(rule for rule, _ in replaced.values())
            if not self.needs_body:
                self._finish(b"")

    def replace_body(self, body: bytes) -> bytes:
        """Return the body to send; `head` is final after it: its Content-Length, and a signature.

        Raises:
            Refusal: a placeholder in the body is not allowed, the chain has no value for it, or the use cannot be
                recorded.
        """
        format_, replaced = body_format(self._asked), body
        with self._recorded_refusals():
            if may_be_form(self._asked) and (methods := override_methods(form_pairs(body.decode("latin-1")))):
                named = tuple(("x-http-method-override", method) for method in methods)
                self._asked = self._asked._replace(headers=self._asked.headers + named)
                allowing = self._allowing()
                self._bodies = [rule for rule in self._bodies if rule in allowing]
            for rule in self._bodies:
                placeholder = self._values.placeholders[rule.name][0]
                if stands_in(replaced, format_, placeholder, rule):
                    replaced = replace_in(replaced, format_, placeholder, self._values.current(rule)[0])
                    self._record_start([rule])
            if replaced != body and self.head.header("content-length"):
                self.head = self.head.with_header("content-length", str(len(replaced)))
            self._finish(replaced)
        return replaced

    def _allowing(self) -> list[RuleConfig]:
        """Return the rules that allow the request. While a session learns, a host needs none."""
        if self._session.observed is not None and not self._covering:
            return []
        return allowing_rules(self._covering, self._found.values(), self._asked)

    def refuse(self, refusal: Refusal) -> Refusal:
        """Return the refusal by which the door answers, in the place of `replace_body`. `end` records it."""
        self._refused = refusal
        return refusal

    def refuse_long_body(self) -> Refusal:
        """Return the refusal of a body that is needed and has more than `MAX_BODY` bytes. `end` records it."""
        if self._signs and needs_payload(self._asked):
            why = "its signature needs its hash. Send the header X-Amz-Content-Sha256"
        elif not self._asked.header("content-type"):
            why = "without a Content-Type it is searched as a form. Name its type"
        elif self._bodies:
            why = "the rule allows a secret in it, so that it is searched. Send a shorter one"
        else:
            why = "a form is searched for a field that changes the method. Send a shorter one"
        return self.refuse(Refusal(413, f"The body has more than {MAX_BODY >> 20} MiB, and {why}"))

    def _finish(self, body: bytes) -> None:
        """Sign the request, and keep that it is sent."""
        if self._signs is not None:
            credential = AwsCredential(*self._values.current(self._signs))
            self.head = sign_aws4(self.head, self._values.placeholders[self._signs.name][0], credential, body)
            self._record_start([self._signs])
        self._session.observe(self._asked, self._used)

    def has_body(self, status: int) -> bool:
        """Return True if an answer of this status can have a body. The beginning of a websocket, 101, has none."""
        return self._asked.method != "HEAD" and status >= 200 and status not in {204, 304}

    def answer(self, status: int, headers: Headers) -> Headers:
        """Return the headers of the answer for the worker: redacted, and without those that its body no longer fits.

        Args:
            status: the status of the answer.
            headers: names and values, decoded as Latin-1.

        Raises:
            Refusal: 502, a secret in the answer could not be found: its body is compressed or has a transfer coding, or
                a header is folded.
        """
        redactor = self._redactor = self._values.redactor(self._redacted)
        has_body = self.has_body(status)
        is_compressed = self._is_searched and _joined(headers, "content-encoding") not in {"", "identity"}
        if reason := COMPRESSED if is_compressed and has_body else _fault(headers):
            raise self.refuse(Refusal(502, reason))
        if is_compressed or (self._is_searched and has_body):
            headers = tuple(header for header in headers if not header[0].lower().startswith(_DESCRIBE_BODY))

        def redact(text: str) -> str:
            return redactor.whole(text.encode("latin-1")).decode("latin-1")

        everything = "\n".join(map(": ".join, headers))
        if redact(everything) == everything:  # one search for all of them
            return headers
        return tuple((redact(name), redact(value)) for name, value in headers)

    def check_joined(self, headers: Headers) -> None:
        """Check the headers of an answer whose parser has joined folded lines: a value may be cut by blanks.

        Raises:
            Refusal: 502.
        """
        if self._redactor.finds_cut("\n".join(map(": ".join, headers)).encode("latin-1")):
            raise self.refuse(Refusal(502, FOLDED))

    def feed(self, content: bytes) -> bytes:
        """Return a part of the answer's body, redacted. May return b""."""
        return self._redactor.feed(content)

    def finish(self) -> bytes:
        """Return the rest of the answer's body."""
        return self._redactor.end()

    def message(self, content: bytes) -> bytes:
        """Return a whole message of the answer, such as one of a websocket, redacted."""
        return self._values.redactor(self._redacted).whole(content)

    def end(self, status: int) -> None:
        """Emit the event and the audit record of each use, and of a refused answer: once.

        A request that was refused before it was sent is no use: its refusal is the only event.

        Args:
            status: the status of the answer; 0 if none came.
        """
        if self._refused is not None:
            self._record_refusal(self._refused)
        (used, self._used), self._refused = (self._used, {}), None
        seconds = time.monotonic() - self._began
        for rule in used.values():
            emit(self._event(str(status) if status else "failed", rule, status)._replace(seconds=seconds))

    # --- events -------------------------------------------------------------------------------------------------------

    def _record_start(self, rules: Iterable[RuleConfig]) -> None:
        for rule in rules:
            if rule.name not in self._used:
                emit_to_auditors(self._event("started", rule))
                self._used[rule.name] = rule

    @contextmanager
    def _recorded_refusals(self) -> Iterator[None]:
        try:
            yield
        except Refusal as found:
            refusal = found
        except AuditError:  # the audit log warns of the refusal, which it cannot record either
            refusal = Refusal(502, "The use of a secret cannot be recorded")
        else:
            return
        self._record_refusal(refusal)
        raise refusal

    def _record_refusal(self, refusal: Refusal) -> None:
        """Emit the event of a request that is not sent. In an audit log, it ends each use that has started."""
        used, self._used = list(self._used.values()), {}
        named = self._values.rules.get(refusal.rule) or next(iter(used), None)
        emit(self._event("refused", named, refusal.status, refusal.reason))
        for rule in used:
            if rule is not named:
                emit_to_auditors(self._event("refused", rule, refusal.status, refusal.reason))


def _event(
    request: tuple[str, str, str], outcome: str, rule: RuleConfig | None = None, status: int = 0, reason: str = ""
) -> Event:
    """Return the event of a request, given by its host, method and path, which may be long."""
    name, path, key = (rule.name, rule.path, rule.key) if rule else ("", "", "")
    host, method, request_path = (text[:most] for text, most in zip(request, _LONGEST, strict=True))
    use = Use(name, host, method, request_path, status, reason[:_LONGEST_REASON])
    return Event(EventKind.USE, "", path, outcome=outcome, key=key, use=use)


def _fault(headers: Headers) -> str:
    """Return why the headers of an answer are refused, or the empty string."""
    if any("\n" in text or "\r" in text for _, text in headers):  # obsolete, and a value may be cut by it
        return FOLDED
    if _joined(headers, "transfer-encoding") not in {"", "chunked"}:
        return "The answer has a transfer coding other than chunked"
    if _joined(headers, "sec-websocket-extensions"):  # the request offered none
        return "The answer has an extension of the websocket, for which the request did not ask"
    return ""


def _joined(headers: Headers, name: str) -> str:
    return ", ".join(value for own, value in headers if own.lower() == name).strip().lower()


def _narrowed(head: RequestHead, rules: Iterable[RuleConfig]) -> RequestHead:
    """Return the head of a request to a host of these rules whose answer can be searched: uncompressed, and whole.

    The proxy decompresses no answer: a decoder would parse hostile content in the process that holds the values, and
    need a limit for bombs. The lengths of compressed parts would tell a worker whether its text repeats a part of one.

    A host that only gets signatures may answer in parts: it has no key to repeat, and clients of S3 download large
    objects in parts.
    """
    head = head.with_header("accept-encoding", "identity")
    gets_values = any(rule.path and not rule.sign for rule in rules)
    return head.without("range", "if-range") if gets_values else head
