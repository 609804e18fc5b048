"""Hosts and paths that programs may read in two ways, and the requests that a rule allows."""

from __future__ import annotations

import string
from ipaddress import IPv6Address
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._config import RuleConfig
from strongroom.agents._rules.policy import covers, fits_path, named_ports, refusal_of
from strongroom.agents._rules.request import Refusal, RequestHead, check_head, normalize_host, normalize_path


def rule(*hosts: str, methods: tuple[str, ...] = (), paths: tuple[str, ...] = ()) -> RuleConfig:
    return RuleConfig("api", "api", "key", "API_KEY", hosts or ("api.example.com",), methods, paths)


def head(*headers: tuple[str, str], method: str = "GET", path: str = "/", query: str = "") -> RequestHead:
    return RequestHead(method, "https", "api.example.com", 443, path, query, headers)


# --- hosts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("příklad.cz", "xn--pklad-zsa96e.cz"),
        ("XN--pklad-zsa96e.CZ", "xn--pklad-zsa96e.cz"),
        ("my_host.example.com", "my_host.example.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("[::FFFF:127.0.0.1]", IPv6Address("::ffff:127.0.0.1").compressed),  # in dotted form since Python 3.13
        ("localhost", "localhost"),
    ],
)
def test_a_host_has_one_form(given, host):
    assert normalize_host(given) == host


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.0x1",
            "1.2.3.4.5",
            "256.0.0.1",
        ),
        *(
            "127.0.0.1.0",
            "127.000.000.001",
            "[::1",
            "::1]",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "[127.0.0.1]x",
            "::g",
        ),
        *(
            "api.example.com..",
            ".example.com",
            "api..example.com",
            "-a.example.com",
            "a-.example.com",
            "a" * 64 + ".com",
        ),
        *(
            "api%2eexample.com",
            "api.example.com%00",
            "api.example.com@evil.com",
            "api.example.com/",
            "api.example.com:1",
        ),
        *("api.example.com\0", "api.example.com\r\n", " api.example.com", "api.example.com\t", "api\\.example.com", ""),
        *("faß.de", "ａｐｉ.example.com", "api。example.com", "api\u200b.example.com", "ⅷ.com", "\ud800.com"),
    ],
)
def test_a_host_that_programs_read_in_different_ways_is_refused(host):
    with pytest.raises(Refusal, match="host") as refused:
        normalize_host(host)
    assert refused.value.status == 400


@given(st.text(max_size=30) | st.text("0123456789abcdefx.:[]%", max_size=20))
def test_a_normalized_host_is_its_own_normal_form(host):
    try:
        once = normalize_host(host)
    except Refusal:
        return
    assert normalize_host(once) == once
    assert set(once) <= set(string.ascii_lowercase + string.digits + "-_.:")


@pytest.mark.parametrize(
    ("pattern", "host", "port", "covered"),
    [
        ("api.example.com", "api.example.com", 443, True),
        ("api.example.com", "api.example.com", 8443, False),
        ("api.example.com", "evil-api.example.com", 443, False),
        ("api.example.com", "api.example.com.evil.com", 443, False),
        ("api.example.com:8443", "api.example.com", 8443, True),
        ("api.example.com:8443", "api.example.com", 443, False),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "evilexample.com", 443, False),
        ("*.example.com:8443", "a.example.com", 8443, True),
        ("[::1]:8443", "::1", 8443, True),
        ("[::1]", "::1", 443, True),
        ("127.0.0.1:80", "127.0.0.1", 80, True),
    ],
)
def test_a_rule_covers_the_hosts_that_it_names(pattern, host, port, covered):
    assert covers(rule(pattern), host, port) is covered


def test_only_a_name_without_a_wildcard_may_have_a_private_address():
    rules = [rule("*.example.com", "internal.test:8443")]
    assert named_ports(rules, "internal.test", exactly=True) == {8443}
    assert named_ports(rules, "a.example.com", exactly=True) == set()


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/", "/"),
        ("/v1/chat", "/v1/chat"),
        ("/v1/chat/", "/v1/chat/"),
        ("/v1/%63hat", "/v1/chat"),
        ("/v1/a%2Fb", "/v1/a%2Fb"),
        ("/v1/a%2fb", "/v1/a%2Fb"),
        ("/v1/100%25", "/v1/100%"),
        ("/v1/%C5%BE", "/v1/ž"),
        ("/v1/...", "/v1/..."),
        ("/v1/.well-known", "/v1/.well-known"),
        ("/v1/a%20b", "/v1/a b"),
    ],
)
def test_a_path_has_one_form(given, path):
    assert normalize_path(given) == path


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/../admin", "/v1/./a", "/..", "/v1/..", "/v1/%2e%2e/admin", "/v1/%2E./admin", "/v1/.%2e", "/v1/%2e"),
        *("/v1/%252e%252e/admin", "/v1/%25252e", "/v1/%2541", "/v1/..;/admin", "/v1/..;x=1/admin", "/v1/%2e%2e%3b/a"),
        *(
            "/v1/a%2F..%2Fadmin",
            "/v1/a%2f%2e%2e",
            "//admin",
            "/v1//admin",
            "/v1\\admin",
            "/v1/%5cadmin",
            "/v1/..%5cadmin",
        ),
        *("/v1/%00", "/v1/a%0d%0ab", "/v1/%7f", "/v1/%ff", "/v1/%c0%ae%c0%ae", "/v1/%e2%80%ae", "v1", "", "*", "/a#b"),
    ],
)
def test_a_path_that_programs_read_in_different_ways_is_refused(path):
    with pytest.raises(Refusal, match="ambiguous") as refused:
        normalize_path(path)
    assert refused.value.status == 400


_SEGMENT = st.text(string.ascii_letters + "ž .-_~!@$,=", min_size=1, max_size=6).filter(
    lambda text: text not in {".", ".."}
)


@given(st.lists(_SEGMENT, min_size=1, max_size=4), st.data())
def test_escapes_do_not_change_what_a_path_means(segments, data):
    """However its characters are escaped, a path has the form in which nothing is escaped."""
    plain = "/" + "/".join(segments)
    escaped = "".join(
        character
        if character == "/"
        else "".join(f"%{byte:02x}" for byte in character.encode())
        if data.draw(st.booleans())
        else quote(character)
        for character in plain
    )
    assert normalize_path(escaped) == plain


@given(st.text("/.%25eEfF\\;a", max_size=12))
def test_no_accepted_path_has_dot_segments_however_often_it_is_decoded(path):
    from urllib.parse import unquote

    try:
        normalize_path("/" + path)
    except Refusal:
        return
    for _ in range(4):
        path = unquote(path)
        assert not {".", ".."} & {part.partition(";")[0] for part in path.replace("\\", "/").split("/")}


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/v1/*", "/v1/chat/x", True),
        ("/v1/*", "/v1", False),
        ("/v1/*", "/v10/chat", False),
        ("/v1/chat", "/v1/chat", True),
        ("/v1/chat", "/v1/chats", False),
        ("/v1/chat", "/x/v1/chat", False),
        ("/repos/*/issues", "/repos/a/b/issues", True),
        ("/v1.0/x", "/v1a0/x", False),
        ("*", "/anything", True),
    ],
)
def test_a_star_stands_for_any_text(pattern, path, fits):
    assert fits_path(pattern, path) is fits


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_rule_allows_its_methods_and_paths():
    allowing = rule(methods=("POST",), paths=("/v1/*",))
    assert refusal_of(allowing, head(method="POST", path="/v1/chat")) is None
    assert refusal_of(allowing, head(method="POST", path="/%76%31/chat")) is None
    for method, path, reason in [
        ("GET", "/v1/chat", "allows POST, not GET"),
        ("post", "/v1/chat", "allows POST, not post"),
        ("POST", "/v2/chat", "allows the paths /v1/*"),
        ("POST", "/v1/../v2", "ambiguous"),
    ]:
        assert reason in refusal_of(allowing, head(method=method, path=path)).reason


@pytest.mark.parametrize(
    "name", ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X_HTTP_Method_Override"]
)
def test_a_header_that_replaces_the_method_counts(name):
    asked = head((name, "delete"), method="POST")
    assert "allows POST, not DELETE" in refusal_of(rule(methods=("POST",)), asked).reason
    assert refusal_of(rule(methods=("POST", "DELETE")), asked) is None
    assert refusal_of(rule(), asked) is None


@pytest.mark.parametrize(
    "query",
    [
        *("_method=delete", "a=1&_method=DELETE", "a=1;%5Fmethod=DELETE", ".method=DELETE", "X-HTTP-Method=DELETE"),
        *("+_method=DELETE", "a=1&%20_method=DELETE", "_method%00x=DELETE"),
    ],
)
def test_a_parameter_that_replaces_the_method_counts(query):
    asked = head(method="POST", query=query)
    assert "allows POST, not DELETE" in refusal_of(rule(methods=("POST",)), asked).reason
    assert refusal_of(rule(methods=("POST", "DELETE")), asked) is None
    assert refusal_of(rule(), asked) is None


@pytest.mark.parametrize(
    ("methods", "query", "reason"),
    [
        (("DELETE",), "_method=DELETE", "allows DELETE, not POST"),
        (("GET",), "_method=DELETE", "allows GET, not POST"),
        (("POST", "GET"), "_method=GET&_method=DELETE&_method=POST", "allows POST, GET, not DELETE"),
        (("POST", "GET"), "_method=", "allows POST, GET, not an empty method"),
        (("POST", "GET"), "_method=%20", "allows POST, GET, not an empty method"),
    ],
)
def test_a_refusal_names_a_method_that_the_rule_does_not_allow(methods, query, reason):
    found = refusal_of(rule(methods=methods), head(method="POST", query=query))
    assert found.reason.endswith(reason)


def test_a_rule_without_paths_allows_an_ambiguous_one():
    assert refusal_of(rule(), head(path="/bucket//key/../x")) is None


@pytest.mark.parametrize("host", ["api.example.com", "API.example.com.", "api.example.com:443"])
def test_a_host_header_may_name_the_host_in_each_form(host):
    check_head(head(("Host", host)))


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (head(("Host", "evil.com")), "another host"),
        (head(("host", "api.example.com:8443")), "another host"),
        (head(("Host", "api.example.com"))._replace(port=8443), "another host"),
        (head(("Host", "api.example.com@evil.com")), "neither a name"),
        (head(("Host", "evil.com, api.example.com")), "neither a name"),
        (head(("Host", "")), "another host"),
        (head(("Host", "api.example.com"), ("HOST", "api.example.com")), "two Host headers"),
        (head(("X", "a\r\n b")), "line break"),
        (head(("X", "a\nB: c")), "line break"),
        (head(("X", "a\0")), "line break"),
        (head(("X Y", "a")), "line break"),
        (head(("X:", "a")), "line break"),
        (head(("", "a")), "line break"),
        (head((" folded", "a")), "line break"),
        (head(method="GET /x"), "method"),
        (head(path="https://evil.com/"), "escaped"),
        (head(path="/a b"), "escaped"),
        (head(path="/a\r\nX: y"), "escaped"),
        (head(path="/ž"), "escaped"),
        (head(query="a b"), "escaped"),
        (head(query="a\0"), "escaped"),
    ],
)
def test_a_malformed_head_is_refused(hostile, reason):
    with pytest.raises(Refusal) as refused:
        check_head(hostile)
    assert refused.value.status == 400
    assert reason in refused.value.reason
    assert str(refused.value) == refused.value.reason
    assert refused.value.content.decode() == f"{refused.value.reason}\n"


def test_the_repr_of_a_head_shows_no_header_and_no_query():
    shown = repr(head(("Authorization", "Bearer s3cret"), query="key=s3cret"))
    assert "s3cret" not in shown
    assert "api.example.com" in shown
