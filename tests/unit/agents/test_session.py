"""A session: the requests of a worker from the head to the status of the answer, and the records of them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator

import pytest

from strongroom import ConfigurationError, PermissionDeniedError, SecretsManager
from strongroom._config import AgentsConfig, RuleConfig
from strongroom.agents._rules.learning import learned_rules
from strongroom.agents._rules.request import Refusal, RequestHead
from strongroom.agents.session import COMPRESSED, MAX_BODY, AgentSession, Exchange
from strongroom.errors import AuditError, InvalidDataError, StoreUnavailableError
from strongroom.events import Event, audit, listen
from support.stores import RemoteStore

VALUE = "sk-s3cret-4711-abcdefghij/+k"
AWS = {"access_key": "AKIAREALREALREALREAL", "secret_key": "real/secret+key0123456789", "security_token": "tok" * 20}
HOST = "api.example.com"


@pytest.fixture
def store() -> RemoteStore:
    return RemoteStore(
        {
            "api-keys/openai": {"key": VALUE, "short": "1234567", "padded": " 1234567\n"},
            "aws": AWS,
            "other": {"key": "o" * 30},
        }
    )


@pytest.fixture
def secrets(store: RemoteStore) -> Iterator[SecretsManager]:
    with SecretsManager(chain=[store], cache_ttl=0) as manager:
        yield manager


@pytest.fixture
def events() -> Iterator[list[Event]]:
    """The events of uses, as an audit log gets them."""
    seen: list[Event] = []
    end = audit(lambda event: seen.append(event) if event.use else None)
    yield seen
    end()


def rule(name: str = "openai", *, secret: str = "api-keys/openai#key", **options: object) -> RuleConfig:
    path, _, key = secret.partition("#")
    made = RuleConfig(name, path, key, f"{name.upper()}_KEY", (HOST,))
    return made._replace(**{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()})


def session(secrets: SecretsManager, *rules: RuleConfig) -> AgentSession:
    return AgentSession(secrets, AgentsConfig({each.name: each for each in rules or (rule(),)}))


def head(
    *headers: tuple[str, str], method: str = "POST", host: str = HOST, path: str = "/v1/chat", query: str = ""
) -> RequestHead:
    return RequestHead(method, "https", host, 443, path, query, headers)


def bearer(its: AgentSession, name: str = "openai", **options: str) -> RequestHead:
    return head(("Host", HOST), ("Authorization", f"Bearer {its.placeholder(name)}"), **options)


def answer(exchange: Exchange, *parts: bytes) -> bytes:
    exchange.answer(200, ())
    return b"".join((*map(exchange.feed, parts), exchange.finish()))


# --- placeholders -----------------------------------------------------------------------------------------------------


def test_a_worker_has_a_placeholder_of_the_form_and_length_of_the_value(secrets):
    first, second = session(secrets), session(secrets)
    (placeholder,) = first.environment.values()
    assert list(first.environment) == ["OPENAI_KEY"]
    assert placeholder.startswith("sk-")
    assert len(placeholder) == len(VALUE)
    assert placeholder == first.placeholder("openai") != second.placeholder("openai")
    assert VALUE[3:] not in placeholder


@pytest.mark.parametrize(
    ("rules", "error", "reason"),
    [
        ({}, ConfigurationError, "no rule for agents"),
        ({"a": rule(secret="api-keys/openai#short")}, InvalidDataError, "at least 8 characters"),
        (
            {"a": rule(secret="api-keys/openai#padded")},
            InvalidDataError,
            "at least 8 characters, without the white space",
        ),
        ({"a": rule(secret="aws", sign="aws4")._replace(path="other")}, InvalidDataError, "access_key"),
    ],
)
def test_a_session_without_usable_rules_does_not_begin(secrets, rules, error, reason):
    with pytest.raises(error, match=reason):
        AgentSession(secrets, AgentsConfig(rules))


def test_rules_of_a_file_that_is_not_trusted_are_refused(secrets, monkeypatch):
    object.__setattr__(secrets.config, "untrusted", ("./strongroom.toml",))
    with pytest.raises(ConfigurationError, match=r"not trusted: the rules for agents decide where secrets are sent"):
        session(secrets)


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_carries_the_value_and_the_answer_the_placeholder(secrets):
    its = session(secrets)
    asked = bearer(its)
    exchange = its.begin(asked)
    assert exchange.head.header("authorization") == f"Bearer {VALUE}"
    assert asked.header("authorization") == f"Bearer {its.placeholder('openai')}"
    assert not exchange.needs_body
    held = its.placeholder("openai")
    sent = (
        ("Location", f"/?key={VALUE.replace('/', '%2F').replace('+', '%2B')}"),
        ("Set-Cookie", VALUE),
        ("X-" + VALUE, "é"),
    )
    assert exchange.answer(200, sent) == (("Location", f"/?key={held}"), ("Set-Cookie", held), ("X-" + held, "é"))
    assert exchange.feed(f"data: {VALUE[:9]}".encode()) == b""
    assert exchange.feed(f"{VALUE[9:]}\ns".encode()) == f"data: {held}\n".encode()
    assert exchange.finish() == b"s"
    assert exchange.message(VALUE.encode()) == held.encode()


def test_a_value_goes_into_basic_authentication_and_the_query(secrets):
    its = session(secrets, rule(where=["header:authorization", "query"]))
    held = its.placeholder("openai")
    basic = b64encode(f"user:{held}".encode()).decode()
    sent = its.begin(head(("Authorization", f"Basic {basic}"), query=f"key={held}")).head
    assert b64decode(sent.header("authorization").split()[1]) == f"user:{VALUE}".encode()
    assert sent.query == "key=sk-s3cret-4711-abcdefghij%2F%2Bk"


def test_a_value_goes_into_a_field_of_the_body(secrets, events):
    its = session(secrets, rule(where=["body:token"]), rule("other", secret="other#key", where=["body:token"]))
    for kind, body, sent in [
        ("application/json", '{"token": "%s"}', f'{{"token": "{VALUE}"}}'),
        ("application/x-www-form-urlencoded", "token=%s", "token=sk-s3cret-4711-abcdefghij%2F%2Bk"),
    ]:
        content = (body % its.placeholder("openai")).encode()
        exchange = its.begin(head(("Content-Type", kind), ("Content-Length", str(len(content)))))
        assert exchange.needs_body
        assert events == []
        assert exchange.replace_body(content) == sent.encode()
        assert exchange.head.header("content-length") == str(len(sent))
        exchange.end(200)
        assert [event.outcome for event in events] == ["started", "200"]
        events.clear()
    assert its.begin(head(("Content-Type", "application/json"))).replace_body(b"{}") == b"{}"
    assert not its.begin(head(("Content-Type", "text/plain"))).needs_body


def test_a_body_passes_where_no_rule_for_it_allows_the_request(secrets):
    """So that a large upload to another path of the host is not held."""
    its = session(secrets, rule(where=["body:token"], paths=["/oauth/*"]), rule("other", secret="other#key"))
    assert not its.begin(head(("Content-Type", "application/json"))).needs_body
    assert its.begin(head(("Content-Type", "application/json"), path="/oauth/token")).needs_body


@pytest.mark.parametrize(
    "body",
    [
        b"_method=DELETE",
        b"\xff=1&%5Fmethod=delete",
        b"a=b;_method=DELETE",
        b"a=1&+_method=DELETE",
        b"_method%00=DELETE",
        b'{"x":"&_method=DELETE&"}',
    ],
)
def test_a_field_that_replaces_the_method_counts(secrets, events, body):
    form = head(("Content-Type", "application/x-www-form-urlencoded"), method="POST")
    exchange = session(secrets, rule(methods=["POST"])).begin(form)
    with pytest.raises(Refusal, match="allows POST, not DELETE"):
        exchange.replace_body(body)
    assert [event.outcome for event in events] == ["refused"]
    assert session(secrets, rule(methods=["POST", "DELETE"])).begin(form).replace_body(body) == body
    assert not session(secrets, rule()).begin(form).needs_body


def test_a_field_replaces_no_method_of_a_rule_for_another(secrets):
    """So that the body's secret stays with the requests of its own rule."""
    its = session(
        secrets,
        rule(where=["body:token"], methods=["POST"]),
        rule("other", secret="other#key", methods=["POST", "DELETE"]),
    )
    form = head(("Content-Type", "application/x-www-form-urlencoded"), method="POST")
    body = f"_method=DELETE&token={its.placeholder('openai')}".encode()
    assert its.begin(form).replace_body(body) == body


def test_a_body_that_is_too_large_is_refused_by_its_length(secrets, events):
    its = session(secrets, rule(where=["body:token"]))
    kind = ("Content-Type", "application/json")
    with pytest.raises(Refusal) as refused:
        its.begin(head(kind, ("Content-Length", str(MAX_BODY + 1))))
    assert (refused.value.status, [event.outcome for event in events]) == (413, ["refused"])
    its.begin(head(kind, ("Content-Length", str(MAX_BODY))))
    its.begin(head(("Content-Type", "text/plain"), ("Content-Length", str(MAX_BODY + 1))))


@pytest.mark.parametrize(
    ("headers", "options", "reason"),
    [
        ((), {"methods": ["POST"]}, "without a Content-Type it is searched as a form. Name its type"),
        ((), {"where": ["body:token"]}, "without a Content-Type it is searched as a form. Name its type"),
        (
            (("Content-Type", "application/x-www-form-urlencoded"),),
            {"methods": ["POST"]},
            "a form is searched for a field that changes the method. Send a shorter one",
        ),
        (
            (("Content-Type", "application/json"),),
            {"where": ["body:token"]},
            "the rule allows a secret in it, so that it is searched. Send a shorter one",
        ),
    ],
)
def test_the_refusal_of_a_long_body_names_the_cause_and_the_remedy(secrets, headers, options, reason):
    its = session(secrets, rule(**options))
    expected = f"The body has more than 8 MiB, and {reason}"
    with pytest.raises(Refusal) as refused:
        its.begin(head(("Content-Length", str(MAX_BODY + 1)), *headers))
    assert refused.value.reason == its.begin(head(*headers)).refuse_long_body().reason == expected


def test_a_refused_body_is_recorded(secrets, events):
    its = session(secrets, rule(where=["body:token"]))
    exchange = its.begin(head(("Content-Type", "application/json")))
    with pytest.raises(Refusal, match="field token"):
        exchange.replace_body(f'{{"other": "{its.placeholder("openai")}"}}'.encode())
    exchange.end(0)
    assert [(event.outcome, event.use.rule) for event in events] == [("refused", "openai")]


@pytest.mark.parametrize("reason", ["a method in the form", "a store", "too long"])
def test_a_request_that_is_refused_after_its_head_is_no_use(secrets, store, events, reason):
    """The record of its start is closed by the refusal."""
    its = session(secrets, rule(methods=["POST"], where=["header:authorization", "body:token"]))
    listened: list[Event] = []
    stop = listen(listened.append)
    exchange = its.begin(bearer(its).with_header("content-type", "application/x-www-form-urlencoded"))
    body = b"_method=DELETE" if reason == "a method in the form" else f"token={its.placeholder('openai')}".encode()
    if reason == "a store":
        store.fault = StoreUnavailableError("down")
    if reason == "too long":
        exchange.refuse_long_body()
    else:
        with pytest.raises(Refusal):
            exchange.replace_body(body)
    exchange.end(0)
    stop()
    assert [event.outcome for event in events] == ["started", "refused"]
    assert [(event.outcome, event.use.rule) for event in listened if event.use] == [("refused", "openai")]


NARROWED = (("Range", "bytes=0-5"), ("If-Range", "x"), ("Accept-Encoding", "gzip, *"), ("Accept-Encoding", "br"))


def test_the_whole_answer_is_asked_for_uncompressed(secrets):
    its = session(secrets)
    for headers in (NARROWED, ()):
        assert its.begin(head(*headers)).head.headers == (("accept-encoding", "identity"),)


def test_a_part_is_asked_for_where_the_host_only_gets_signatures(secrets, store):
    """Clients of S3 write a whole answer in the place of each part that they asked for."""
    store.write("cloud/deploy", {"access_key": "AKIA0123456789ABCDEF", "secret_key": "s" * 40})
    signing = rule("deploy", secret="cloud/deploy#", sign="aws4")
    expected = (*NARROWED[:2], ("accept-encoding", "identity"))
    assert session(secrets, signing).begin(head(*NARROWED)).head.headers == expected
    both = session(secrets, signing, rule())
    assert both.begin(head(*NARROWED)).head.headers == expected[2:]
    key = both.placeholder("deploy")
    signature = f"AWS4-HMAC-SHA256 Credential={key}/20260101/r/s/aws4_request, SignedHeaders=host, Signature={'0' * 64}"
    with pytest.raises(Refusal, match="must answer whole"):
        both.begin(head(*NARROWED, ("Authorization", signature)))


def test_an_extension_of_a_websocket_is_not_asked_for(secrets):
    offered = head(("Sec-WebSocket-Extensions", "permessage-deflate"), ("Upgrade", "websocket"))
    exchange = session(secrets).begin(offered)
    assert exchange.head.header("sec-websocket-extensions") == ""
    assert exchange.head.header("upgrade") == "websocket"
    with pytest.raises(Refusal, match="extension of the websocket") as refused:
        exchange.answer(101, (("Sec-WebSocket-Extensions", "permessage-deflate"),))
    assert refused.value.status == 502


@pytest.mark.parametrize("learns", [False, True])
def test_nothing_is_narrowed_where_no_secret_is_looked_for(secrets, learns):
    """Such as a mirror of packages, which may send its compressed files with a Content-Encoding."""
    free = rule("free", secret="", hosts=["free.example.com"])
    its = AgentSession(secrets, AgentsConfig({"openai": rule()} | ({} if learns else {"free": free})), learns=learns)
    exchange = its.begin(head(*NARROWED, host="free.example.com"))
    assert exchange.head.headers == NARROWED
    headers = (("Content-Encoding", "gzip"), ("Content-Length", "4"))
    assert exchange.answer(206, headers) == headers
    assert exchange.feed(b"\x1f\x8b\n\0") + exchange.finish() == b"\x1f\x8b\n\0"


def test_a_rule_that_loses_its_secret_still_takes_it_out_of_answers(secrets):
    its = session(secrets)
    its.replace_rules(AgentsConfig({"openai": rule(secret="")}))
    exchange = its.begin(head())
    assert exchange.head.header("accept-encoding") == "identity"
    assert VALUE.encode() not in answer(exchange, VALUE.encode())


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (
            {"host": "other.example.com"},
            r"The placeholder of the rule openai is for api.example.com, not for other.example.com",
        ),
        ({"path": "/v2"}, r"allows the paths /v1/\*"),
        ({"method": "GET"}, "allows POST, not GET"),
    ],
)
def test_a_placeholder_works_where_its_rule_allows_it(secrets, events, asked, reason):
    others = rule("other", secret="other#key", hosts=[HOST, "other.example.com"], where=["header:x-api-key"])
    its = session(secrets, rule(paths=["/v1/*"], methods=["POST"]), others)
    held = head(("Authorization", its.placeholder("openai")), **asked)
    with pytest.raises(Refusal, match=reason) as refused:
        its.begin(held)
    assert refused.value.status == 403
    ((kind, _, path, *_, use),) = events
    assert (kind, path) == ("use", "api-keys/openai")
    assert use == ("openai", held.host, held.method, held.path, 403, refused.value.reason)
    its.begin(head(("X-Api-Key", its.placeholder("other")), **asked))


@pytest.mark.parametrize("place", ["header", "query"])
def test_a_host_that_gets_no_secret_gets_the_placeholder_as_it_is(secrets, events, place):
    """As without a rule. So a rule that was learned from such a request allows it."""
    free = rule("free", secret="", hosts=["free.example.com"], methods=["POST"])
    its = session(secrets, rule(), free)
    placeholder = its.placeholder("openai")
    asked = head(("X-Key", placeholder)) if place == "header" else head(query=f"key={placeholder}")
    exchange = its.begin(asked._replace(host="free.example.com"))
    assert (exchange.head.headers, exchange.head.query) == (asked.headers, asked.query)
    assert events == []
    with pytest.raises(Refusal, match="The rule free allows POST, not GET"):
        its.begin(asked._replace(host="free.example.com", method="GET"))


def test_the_learned_rules_allow_a_form_that_replaces_the_method(secrets):
    form = head(("Content-Type", "application/x-www-form-urlencoded"))
    before = AgentSession(secrets, AgentsConfig({"openai": rule()}), learns=True)
    for host in (HOST, "free.example.com"):
        before.begin(form._replace(host=host)).replace_body(b"_method=delete")
    assert before.observed is not None
    its = session(secrets, *learned_rules(before.observed, []))
    for host in (HOST, "free.example.com"):
        assert its.begin(form._replace(host=host)).replace_body(b"_method=delete") == b"_method=delete"


def test_without_a_placeholder_a_rule_of_the_host_allows_the_request(secrets, events):
    its = session(secrets, rule(paths=["/v1/*"]), rule("other", secret="other#key", paths=["/v2/*"]))
    for path in ("/v1/x", "/v2/x"):
        assert its.begin(head(path=path)).head.target == path
    assert events == []
    for asked in (
        head(path="/v3"),
        head(host="unnamed.example.com"),
        head(("Host", "evil.com")),
        head(path="/v1/%2e%2e"),
    ):
        with pytest.raises(Refusal):
            its.begin(asked)
    assert [event.outcome for event in events] == ["refused"] * 4


def test_a_session_covers_the_hosts_of_its_rules(secrets):
    its = session(secrets, rule(), rule("other", secret="other#key", hosts=["*.example.org:8443"]))
    assert its.covers(HOST, 443)
    assert its.covers("a.example.org", 8443)
    assert not its.covers("a.example.org", 443)


# --- the chain --------------------------------------------------------------------------------------------------------


def test_a_rotated_value_is_used_and_the_old_one_is_still_redacted(secrets, store):
    its = session(secrets)
    store.write("api-keys/openai", {"key": "sk-rotated-0815"})
    exchange = its.begin(bearer(its))
    assert exchange.head.header("authorization") == "Bearer sk-rotated-0815"
    held = its.placeholder("openai").encode()
    assert answer(exchange, f"{VALUE} sk-rotated-0815".encode()) == held + b" " + held


def test_an_answer_has_no_value_of_another_rule_of_the_host(secrets):
    its = session(secrets, rule(), rule("other", secret="other#key", hosts=["*.example.com"]))
    assert answer(its.begin(head()), b"o" * 30) == its.placeholder("other").encode()


def test_a_value_of_another_host_is_not_looked_for(secrets):
    """That host never got it, so an answer that has it confirms a guess of the worker."""
    its = session(secrets, rule(), rule("other", secret="other#key", hosts=["other.example.com"]))
    exchange = its.begin(head())
    assert answer(exchange, b"o" * 30) == exchange.message(b"o" * 30) == b"o" * 30
    assert exchange.answer(200, (("x", "o" * 30),)) == (("x", "o" * 30),)
    assert its.redactor().whole(b"o" * 30) == its.placeholder("other").encode()


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "identity", "chunked, chunked"])
def test_a_transfer_coding_other_than_chunked_is_refused(secrets, coding):
    exchange = session(secrets).begin(head())
    with pytest.raises(Refusal, match="transfer coding") as refused:
        exchange.answer(200, (("Transfer-Encoding", coding),))
    assert refused.value.status == 502
    assert exchange.answer(200, (("Transfer-Encoding", "Chunked"),)) == (("Transfer-Encoding", "Chunked"),)


@pytest.mark.parametrize("asked", ["gzip", "trailers, deflate;q=0.5", "trailers"])
def test_no_transfer_coding_is_asked_for(secrets, asked):
    assert session(secrets).begin(head(("TE", asked))).head.header("te") == ""


def test_a_door_records_its_own_refusals(secrets, events):
    session(secrets).record_refusal(Refusal(403, "No" * 999), "h" * 999, "CONNECT" * 9, "/" * 9999)
    ((*_, outcome, _, _, use),) = events
    assert (outcome, use) == ("refused", ("", "h" * 259, ("CONNECT" * 9)[:20], "/" * 1000, 403, "No" * 250))


def test_an_event_has_no_method_of_any_length(secrets, events):
    its = session(secrets)
    with pytest.raises(Refusal):
        its.begin(head(method="X" * 50_000, host="unnamed.example.com"))
    its.begin(bearer(its)._replace(method="X" * 50_000)).end(200)
    assert [event.use.method for event in events] == ["X" * 20] * 3


def test_rules_that_stay_keep_their_placeholders_and_exchanges_keep_their_rules(secrets, store):
    its = session(secrets, rule(where=["body:token"]), rule("other", secret="other#key"))
    before = its.environment
    asked = head(("Content-Type", "application/json"))
    exchange = its.begin(asked)
    narrowed, new = rule(paths=["/v2"]), rule("new", secret="other#key", hosts=["new.example.com"])
    its.replace_rules(AgentsConfig({"openai": narrowed, "new": new}))
    assert its.environment == {"OPENAI_KEY": before["OPENAI_KEY"], "NEW_KEY": its.placeholder("new")}
    assert its.placeholder("new") != before["OTHER_KEY"]
    body = '{"token": "%s"}'
    assert exchange.replace_body((body % before["OPENAI_KEY"]).encode()) == (body % VALUE).encode()
    with pytest.raises(Refusal, match="allows the paths /v2"):
        its.begin(bearer(its))
    assert its.covers("new.example.com", 443)
    store.write("api-keys/openai", {"key": "another-value-4711"})
    assert its.begin(bearer(its, path="/v2")).message(VALUE.encode()) == before["OPENAI_KEY"].encode()


@pytest.mark.parametrize("rules", [{}, {"openai": rule(secret="api-keys/openai#short")}], ids=["none", "short"])
def test_faulty_rules_do_not_replace_others(secrets, rules):
    its = session(secrets)
    before = its.environment
    with pytest.raises((ConfigurationError, InvalidDataError)):
        its.replace_rules(AgentsConfig(rules))
    assert its.environment == before
    its.begin(bearer(its))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (PermissionDeniedError("api-keys/openai", reason="HTTP 403"), "Permission denied"),
        (StoreUnavailableError("api-keys/openai", reason="no route"), "no route"),
    ],
)
def test_the_worker_reads_why_the_chain_has_no_value(secrets, store, fault, reason):
    its = session(secrets)
    store.fault = fault
    with pytest.raises(Refusal, match=reason) as refused:
        its.begin(bearer(its))
    assert refused.value.status == 502
    assert "api-keys/openai" in refused.value.reason
    its.begin(head())


def test_a_value_that_became_too_short_is_refused(secrets, store):
    its = session(secrets)
    store.write("api-keys/openai", {"key": "1234567"})
    with pytest.raises(Refusal, match="at least 8 characters") as refused:
        its.begin(bearer(its))
    assert refused.value.status == 502


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encodings",
    [
        *(["gzip"], ["x-gzip"], ["GZIP"], [" \tgZip "], ["deflate"], ["br"], ["zstd"], ["aws-chunked"], ["unknown"]),
        *(["identity, gzip"], ["gzip, identity"], ["identity", "gzip"], ["", "gzip"], [",gzip"], ["gzip;q=0"], [VALUE]),
    ],
)
def test_a_compressed_answer_is_refused_and_its_encoding_not_quoted(secrets, encodings):
    exchange = session(secrets).begin(head())
    with pytest.raises(Refusal) as refused:
        exchange.answer(200, tuple(("Content-Encoding", encoding) for encoding in encodings))
    assert (refused.value.status, refused.value.reason) == (502, COMPRESSED)


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_an_answer_loses_the_headers_that_describe_its_body(secrets, encoding):
    its = session(secrets)
    described = ["Content-Length", "Content-MD5", "Digest", "Repr-Digest", "x-amz-checksum-crc32", "Accept-Ranges"]
    headers = (*((name, "1") for name in described), ("Content-Encoding", encoding), ("ETag", "x"))
    assert its.begin(head()).answer(200, headers) == (("ETag", "x"),)


BODILESS = pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 101)])


@BODILESS
def test_an_answer_without_a_body_keeps_them(secrets, method, status):
    exchange = session(secrets).begin(head(method=method))
    headers = (("Content-Length", "10"), ("Content-Encoding", "identity"))
    assert exchange.answer(status, headers) == headers
    assert exchange.finish() == b""


@BODILESS
def test_an_answer_without_a_body_does_not_tell_how_well_one_is_compressed(secrets, method, status):
    """A worker could otherwise confirm a guess by the length that HEAD tells of a compressed answer."""
    exchange = session(secrets).begin(head(method=method))
    headers = (("Content-Length", "10"), ("Content-Encoding", "gzip"), ("ETag", "x"))
    assert exchange.answer(status, headers) == (("ETag", "x"),)


@pytest.mark.parametrize("value", ["0123456789abcdef", "Bearer 0123456789", "0123 \t 456789"])
@pytest.mark.parametrize("blank", [" ", "  ", "\t "])
def test_a_value_that_a_fold_cuts_is_found_in_joined_headers(store, secrets, value, blank):
    """A parser that joins lines puts a blank in the place of each fold. A value may have blanks too."""
    store.write("folded", {"key": value})
    exchange = session(secrets, rule(secret="folded#key")).begin(head())
    for cut in range(1, len(value)):
        joined = (("X-A", "1"), ("X-B", f"is {value[:cut]}{blank}{value[cut:]}"))
        exchange.answer(200, joined)
        with pytest.raises(Refusal, match="header of several lines"):
            exchange.check_joined(joined)
    exchange.check_joined((("X-A", value[:6]), ("X-B", value[6:])))


# --- AWS --------------------------------------------------------------------------------------------------------------


def aws(its: AgentSession, **options: str) -> RequestHead:
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={its.placeholder('aws')}/20261129/eu-west-1/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
    )
    return head(("Authorization", authorization), ("X-Amz-Date", "20261129T120000Z"), **options)


@pytest.fixture
def signing(secrets: SecretsManager) -> AgentSession:
    return session(secrets, rule("aws", secret="aws", sign="aws4"))


def test_a_request_to_aws_is_signed_with_the_real_keys(signing, events):
    environment = signing.environment
    assert set(environment) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert environment["AWS_ACCESS_KEY_ID"].startswith("AKIA")
    exchange = signing.begin(aws(signing))
    assert exchange.needs_body
    assert exchange.replace_body(b"content") == b"content"
    assert f"Credential={AWS['access_key']}/20261129/" in exchange.head.header("authorization")
    assert exchange.head.header("x-amz-security-token") == AWS["security_token"]
    exchange.end(200)
    assert [(event.outcome, event.path, event.key) for event in events] == [("started", "aws", ""), ("200", "aws", "")]
    redacted = answer(exchange, " ".join(AWS.values()).encode()).decode().split()
    assert redacted[:2] == list(environment.values())
    assert AWS["security_token"] not in redacted


def test_a_hash_of_the_body_makes_the_body_pass(signing):
    asked = aws(signing).with_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    exchange = signing.begin(asked)
    assert not exchange.needs_body
    assert AWS["access_key"] in exchange.head.header("authorization")


def test_a_long_body_without_a_hash_is_refused_with_the_name_of_its_header(signing):
    with pytest.raises(Refusal, match=r"needs its hash.* X-Amz-Content-Sha256"):
        signing.begin(aws(signing).with_header("content-length", str(MAX_BODY + 1)))


def test_other_signatures_of_aws_are_refused(signing):
    held = signing.placeholder("aws")
    for asked in (
        head(query=f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={held}%2F20261129"),
        head(("Authorization", f"AWS4-ECDSA-P256-SHA256 Credential={held}/20261129/s3/aws4_request")),
        head(("Authorization", f"Bearer {held}")),
    ):
        with pytest.raises(Refusal, match="allowed in a signature of Version 4"):
            signing.begin(asked)


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_use_is_recorded_before_the_value_leaves_and_once_after_the_answer(secrets, events):
    its = session(secrets)
    exchange = its.begin(bearer(its, query="a=1"))
    ((_, store, path, *_, outcome, _, key, use),) = events
    assert (store, path, key, outcome) == ("", "api-keys/openai", "key", "started")
    assert use == ("openai", HOST, "POST", "/v1/chat", 0, "")
    exchange.end(429)
    exchange.end(200)
    assert [(event.outcome, event.use.status) for event in events[1:]] == [("429", 429)]
    assert events[1].seconds >= 0
    its.begin(bearer(its)).end(0)
    assert events[-1].outcome == "failed"
    assert VALUE not in repr(events)


@pytest.mark.parametrize(
    "field",
    [
        ("Content-Encoding", "gzip"),
        ("Transfer-Encoding", "gzip, chunked"),
        ("X-Key", f"{VALUE[:5]}\r\n {VALUE[5:]}"),
    ],
)
def test_an_answer_that_cannot_be_searched_is_recorded_as_a_refusal(secrets, events, field):
    its = session(secrets)
    for asked, rules in ((bearer(its), ["openai"]), (head(), [""])):
        exchange = its.begin(asked)
        with pytest.raises(Refusal):
            exchange.answer(200, (field,))
        exchange.end(200)
        exchange.end(200)
        ended = [event for event in events if event.outcome != "started"]
        assert [(event.outcome, event.use.rule, event.use.status) for event in ended] == [
            ("refused", name, 502) for name in rules
        ]
        events.clear()


def test_no_value_leaves_without_a_record(secrets):
    its = session(secrets)

    def fail(event: Event) -> None:
        if event.outcome == "started":
            raise AuditError("the log is full")

    end = audit(fail)
    try:
        with pytest.raises(Refusal, match="cannot be recorded") as refused:
            its.begin(bearer(its))
    finally:
        end()
    assert refused.value.status == 502


def test_the_audit_log_has_the_request_and_no_value(store, tmp_path):
    file = tmp_path / "log.jsonl"
    with SecretsManager(chain=[store], audit=file) as manager:
        its = session(manager)
        its.begin(bearer(its, query="q=1")).end(200)
        with pytest.raises(Refusal):
            its.begin(head(("X-Key", its.placeholder("openai"))))
    text = file.read_text()
    uses = [record for line in text.splitlines() if (record := json.loads(line))["event"] == "use"]
    fields = ("outcome", "rule", "path", "key", "method", "request_host", "request_path", "status")
    common = ("openai", "api-keys/openai", "key", "POST")
    assert [tuple(record.get(field) for field in fields) for record in uses] == [
        ("started", *common, HOST, "/v1/chat", None),
        ("200", *common, HOST, "/v1/chat", 200),
        ("refused", *common, HOST, "/v1/chat", 403),
    ]
    assert VALUE not in text
    assert its.placeholder("openai") not in text


def test_a_log_that_fails_between_the_read_and_the_use_stops_the_use(store, tmp_path):
    file = tmp_path / "log.jsonl"
    with SecretsManager(chain=[store], audit=file) as manager:
        its = session(manager)

        def fill(event: Event) -> None:
            if event.use is None:
                file.unlink()
                file.mkdir()

        end = audit(fill)
        try:
            with pytest.raises(Refusal, match="cannot be recorded"):
                its.begin(bearer(its))
        finally:
            end()


def test_a_full_audit_log_stops_uses_and_not_answers(store, tmp_path, caplog):
    file = tmp_path / "log.jsonl"
    with SecretsManager(chain=[store], audit=file) as manager:
        its = session(manager)
        exchange = its.begin(bearer(its))
        file.unlink()
        file.mkdir()
        exchange.end(200)
        assert "cannot be written" in caplog.text
        with pytest.raises(Refusal, match="cannot be recorded"):
            its.begin(bearer(its))


def test_metrics_count_uses(secrets):
    prometheus = pytest.importorskip("strongroom.integrations.metrics.prometheus")
    collector = prometheus.StrongroomCollector()
    its = session(secrets)
    its.begin(bearer(its)).end(200)
    with pytest.raises(Refusal):
        its.begin(head(host="other.example.com"))
    collector.close()
    (counted,) = (metric for metric in collector.collect() if metric.name == "strongroom_events")
    uses = [sample.labels["outcome"] for sample in counted.samples if sample.labels["kind"] == "use"]
    assert sorted(uses) == ["200", "refused"]


def test_a_session_that_learns_keeps_a_bounded_number_of_requests(secrets, monkeypatch):
    """A worker chooses the paths."""
    monkeypatch.setattr("strongroom.agents.session.MAX_OBSERVED", 3)
    its = AgentSession(secrets, AgentsConfig({"openai": rule()}), learns=True)
    for number in range(9):
        its.begin(bearer(its, method="GET", path=f"/{number}")).end(200)
    assert {one.path for one in its.observed} == {"/0", "/1", "/2"}
