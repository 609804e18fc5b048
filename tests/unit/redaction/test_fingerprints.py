"""Keyed fingerprints: the forms in which a value is found, and the text that is never masked."""

from __future__ import annotations

import base64
import html
import json
import pickle
import re
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._redaction.fingerprints import Fingerprints

VALUE = 'p@ss w/ord "q" žluť\n-end'


def known(*values: str | bytes, binary: bool = False) -> Fingerprints:
    made = Fingerprints(binary=binary)
    for value in values:
        made.add(value, "db#password")
    return made


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("plain", VALUE),
        ("json", json.dumps(VALUE)[1:-1]),
        ("json", json.dumps(VALUE, ensure_ascii=False)[1:-1]),
        ("json", json.dumps(json.dumps(VALUE))[3:-3]),
        ("url", quote(VALUE, safe="")),
        ("url", quote(VALUE)),
        ("url", quote_plus(VALUE)),
        ("url", re.sub("%..", lambda found: found[0].lower(), quote(VALUE, safe=""))),
        ("html", html.escape(VALUE)),
        ("base64", base64.b64encode(VALUE.encode()).decode()),
        ("base64", base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("=")),
    ],
)
def test_a_value_is_found_in_each_form(form, text):
    match, *others = known(VALUE).find(f"<{text}>")
    assert others == []
    assert (match.form, match.name) == (form, "db#password")
    assert match.start == 1
    assert match.end >= len(text) - 1  # the last character of base64 depends on the next byte
    assert known(VALUE, binary=True).mask(f"<{text}>".encode().decode("latin-1")).startswith("<[redacted]")


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("value", ["canary-4711", "žluť-4711"])
def test_a_value_in_utf_16_is_found(value, encoding, binary):
    """PowerShell and Java write it, with a byte order mark or without."""
    content = f"user\n{value}\nend".encode(encoding)
    text = content.decode("latin-1") if binary else content.decode("utf-8", "surrogateescape")
    fingerprints = known(value, binary=binary)
    assert [match.form for match in fingerprints.find(text)] == ["utf-16"]
    masked = fingerprints.mask(text, "").encode("latin-1" if binary else "utf-8", "surrogateescape")
    assert masked == "user\n\nend".encode(encoding)


@pytest.mark.parametrize("binary", [False, True])
def test_a_value_with_color_codes_inside_is_found(binary):
    """As `grep --color` and test runners print a part of a line. Codes around it stay."""
    text = "a \x1b[31mcan\x1b[01;31m\x1b[Kary\x1b[m\x1b[K-4711\x1b[0m b canary-4711 c"
    assert known("canary-4711", binary=binary).mask(text) == "a \x1b[31m[redacted]\x1b[0m b [redacted] c"
    assert known("canary-4711", binary=binary).mask("\x1b[31mother\x1b[0m") == "\x1b[31mother\x1b[0m"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("json", r"p\/s<&>'\"=+~ \u017e\ud83d\udd11"),  # PHP: json_encode
        ("json", r"p\/s<&>'\"=+~ ž🔑"),  # PHP: JSON_UNESCAPED_UNICODE
        ("json", r"p\/s\u003C\u0026\u003E\u0027\u0022=+~ \u017e\ud83d\udd11"),  # Symfony
        ("json", r"p/s\u003c\u0026\u003e'\"=+~ ž🔑"),  # Go
        ("json", r"p/s\u003c\u0026\u003e\u0027\"\u003d+~ ž🔑"),  # Gson
        ("json", r"p/s\u003C\u0026\u003E\u0027\u0022=\u002B~ \u017E\uD83D\uDD11"),  # .NET
        ("json", r"p/s\u003C\u0026\u003E'\"=+~ \u017e\ud83d\udd11"),  # Django: json_script
        ("url", "p%2fs%3c%26%3e%27%22%3d%2b~%20%c5%be%f0%9f%94%91"),  # .NET, nginx
        ("url", "p%2Fs%3C%26%3E'%22%3D%2B~%20%C5%BE%F0%9F%94%91"),  # JavaScript: encodeURIComponent
        ("url", "p/s%3C&%3E'%22=+~%20%C5%BE%F0%9F%94%91"),  # JavaScript: encodeURI
        ("url", "p%2Fs%3C%26%3E%27%22%3D%2B%7E+%C5%BE%F0%9F%94%91"),  # a form in a browser
        ("html", "p/s&lt;&amp;&gt;&#x27;&quot;=+~ ž🔑"),  # Python: html.escape
        ("html", "p/s&lt;&amp;&gt;&#x27;&quot;=+~ &#382;&#128273;"),  # Python: html.escape in ASCII
        ("html", "p/s&lt;&amp;&gt;&#39;&#34;=+~ ž🔑"),  # Jinja
        ("html", "p/s&lt;&amp;&gt;&#39;&#34;=&#43;~ ž🔑"),  # templates of Go
        ("html", "p/s&lt;&amp;&gt;&#039;&quot;=+~ ž🔑"),  # PHP: htmlspecialchars
        ("html", "p/s&lt;&amp;&gt;&apos;&quot;=+~ &#382;&#128273;"),  # XML in ASCII
        ("html", "p/s&lt;&amp;&gt;'\"=+~ ž🔑"),  # the text of XML
        ("html", "p/s&lt;&amp;&gt;&#x27;&quot;&#x3D;+~ ž🔑"),  # Handlebars
        ("html", "p/s&lt;&amp;&gt;&#x27;&quot;=&#x2B;~ &#x17E;&#x1F511;"),  # .NET
        ("html", "p&#x2F;s&lt;&amp;&gt;&#x27;&quot;=+~ ž🔑"),  # Tera
        ("html", "p/s&#60;&#38;&#62;&#39;&#34;=+~ ž🔑"),  # Askama
        ("html", "p&#x2f;s&#x3c;&#x26;&#x3e;&#x27;&#x22;&#x3d;&#x2b;~ &#x17e;&#x1f511;"),  # all, in hex
        ("html", "p&#x002F;s&#x003C;&#x0026;&#x003E;&#x0027;&#x0022;&#x003D;&#x002B;~ ž🔑"),  # with leading zeros
    ],
)
@pytest.mark.parametrize("binary", [False, True])
def test_a_value_is_found_as_each_common_writer_escapes_it(form, text, binary):
    """The texts are what these writers print, written down: most of them are not in Python."""
    written = text.encode().decode("latin-1") if binary else text
    (match,) = known("p/s<&>'\"=+~ ž🔑", binary=binary).find(f"<{written}>")
    assert (match.start, match.end, match.form) == (1, len(written) + 1, form)


@given(
    st.text(string.printable, min_size=8, max_size=40).filter(str.strip), st.binary(max_size=7), st.binary(max_size=7)
)
def test_a_value_is_found_in_longer_base64(value, before, after):
    value = f"v{value}v"
    text = base64.b64encode(before + value.encode() + after).decode()
    assert "[redacted]" in known(value).mask(text)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\n    ", "\\n"])
@pytest.mark.parametrize("width", [64, 76])
def test_a_value_over_the_end_of_a_base64_line_is_found(width, line_end):
    """As in mail, PEM files, manifests, and the JSON of such texts: wherever in the lines it begins."""
    for value in ("canary-real-value-77", "long" * 99):
        made = known(value)
        for offset in range(99):
            encoded = base64.b64encode(b"x" * offset + value.encode() + b"y" * 99).decode()
            text = line_end.join(encoded[start : start + width] for start in range(0, len(encoded), width))
            (match,) = made.find(f"<{text}>")
            assert match.form == "base64"
            assert len(text) - (match.end - match.start) < len(encoded) - len(value) * 4 // 3 + 99


def test_words_at_the_ends_of_lines_are_no_base64():
    text = "internationalization-of\nmonth"
    assert known("of month", "nationalization-ofmonth").mask(text) is text


def test_masking_leaves_the_rest_and_replaces_each_occurrence():
    masked = known("hunter2", "hunter2-long").mask("a hunter2 b hunter2-long c hunter22 d")
    assert masked == "a [redacted] b [redacted] c [redacted]2 d"
    text = "nothing"
    assert known("hunter2").mask(text) is text


def test_each_long_line_of_a_text_is_a_value():
    lines = ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0B", "short"]
    masked = known("\n".join(lines)).mask("x MIIEvQIBADANBgkqhkiG9w0B y short")
    assert masked == "x [redacted] y short"


@pytest.mark.parametrize("value", ["", "abc", "true", "None", "5432", "12.5", "65535", "-12345", "123.45"])
def test_what_stands_in_every_log_is_no_value(value):
    assert known(value).mask(f"port {value} ok") == f"port {value} ok"


@pytest.mark.parametrize("number", [5432, 65535, -1, 0.5, True, None])
def test_a_short_number_is_no_value(number):
    made = Fingerprints()
    made.add_all({"n": number})
    text = json.dumps(number)
    assert made.mask(text) is text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (847261, "847261"),
        (-847261, "-847261"),
        (4_000_123_412_341_234, "4000123412341234"),
        (84.7261, "84.7261"),
        (847261.0, "847261.0"),
        (847261.0, "847261"),
        ([{"pin": 847261}], "847261"),
        ("847261", "847261"),
        (847261, base64.b64encode(b"847261").decode()),
    ],
)
def test_a_number_of_six_digits_is_a_value(number, text):
    made = Fingerprints()
    made.add_all({"n": number}, "card")
    assert made.mask(f"pin={text};") == "pin=[redacted];"


@pytest.mark.parametrize("value", [847261, "847261"])
def test_a_short_number_within_a_longer_one_is_no_value(value):
    """The time of a log would hold it by chance. A number of eight digits is found there too."""
    made = Fingerprints()
    made.add_all({"pin": value, "account": 84726155})
    assert made.mask("at 1847261 847261000 x847261y") == "at 1847261 847261000 x[redacted]y"
    assert made.mask("184726155") == "1[redacted]"


def test_bytes_are_a_value():
    assert known(b"hunter2\xff").mask(base64.b64encode(b"hunter2\xff").decode()).startswith("[redacted]")
    assert known(b"hunter2\xff", binary=True).mask("hunter2\xff!") == "[redacted]!"


def test_all_text_in_a_secret_is_known_by_its_path_and_key():
    made = Fingerprints()
    made.add_all({"a": {"b": ["nested-value"]}, "n": 5, "none": None}, "app/x")
    (match,) = made.find("nested-value")
    assert match.name == "app/x#a"


def test_it_holds_no_readable_value():
    made = known("hunter2-hunter2")
    content = pickle.dumps(vars(made))
    assert b"hunter2" not in content
    assert "hunter2" not in repr(made)
