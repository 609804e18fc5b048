"""Escaped forms of a text, as the usual writers of JSON, Python literals, URLs, HTML and base64 print it.

One list for everything that finds values: the redaction of logs and of answers, `run --redact` and `scan`. A writer
is one line of a table. A separate file because the tables are long.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, quote_plus


def escaped_forms(text: str) -> Iterator[tuple[str, str]]:
    """Yield every escaped form that differs from the text, with its kind: `json`, `python`, `url` or `html`."""
    if text.isascii() and text.isalnum():
        return  # no writer escapes it
    for kind, forms in (
        ("json", _in_json(text)),
        ("python", iter((repr(text)[1:-1],))),
        ("url", _percent_encoded(text.encode("utf-8", "surrogateescape"))),
        ("html", _html_escaped(text)),
    ):
        yield from ((kind, form) for form in dict.fromkeys(forms) if form != text)


def _in_json(text: str) -> Iterator[str]:
    """Yield the text as each writer prints it, and as the same one prints a JSON document that has it, as text."""
    for writer in _JSON:
        once = writer.escape(_quoted(text))
        yield once
        yield writer.escape(_quoted(once))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def base64_pieces(content: bytes) -> Iterator[str]:
    """Yield the characters of base64 that depend on this content alone, within any longer content.

    They are one text for each of three positions and two alphabets, always in this order.
    """
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * offset + content).decode("ascii")
            yield encoded[-(-offset * 8 // 6) : (offset + len(content)) * 8 // 6]


class _Writer(NamedTuple):
    """Replaces characters, and escapes those outside ASCII.

    Attributes:
        replaced: texts and their replacements. In JSON, the quote is escaped already.
        escape_rest: escapes a character outside ASCII. None leaves it.
    """

    replaced: Mapping[str, str]
    escape_rest: Callable[[str], str] | None = None

    def escape(self, text: str) -> str:
        if self.replaced:
            pattern = "|".join(map(re.escape, self.replaced))
            text = re.sub(pattern, lambda found: self.replaced[found[0]], text)
        if (escape := self.escape_rest) is not None and not text.isascii():
            text = re.sub("[^\0-\x7f]", lambda found: escape(found[0]), text)
        return text


def _lower(character: str) -> str:
    r"""Return `\u017e`, and two of them for a character that UTF-16 writes as a pair."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _upper(character: str) -> str:
    return _lower(character).upper().replace("U", "u")


def _all(characters: str, escape: Callable[[str], str]) -> dict[str, str]:
    return {'\\"' if character == '"' else character: escape(character) for character in characters}


_SLASH = {"/": "\\/"}
_SEPARATORS = "\u2028\u2029"

_JSON = (
    _Writer({}),  # JavaScript
    _Writer({}, _lower),  # Python
    _Writer({}, _upper),  # Jackson, with ESCAPE_NON_ASCII
    _Writer(_SLASH, _lower),  # PHP
    _Writer(_SLASH | _all(_SEPARATORS, _lower)),  # PHP, with JSON_UNESCAPED_UNICODE
    _Writer(_SLASH | _all("<>&'\"", _upper), _lower),  # PHP, as Symfony calls it
    _Writer(_all("<>&" + _SEPARATORS, _lower)),  # Go, Rails
    _Writer(_all("<>&'=" + _SEPARATORS, _lower)),  # Gson
    _Writer(_all("<>&'\"+`", _upper), _upper),  # .NET
    _Writer(_all("<>&", _upper), _lower),  # Django, in a page
)

_TEXT = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_QUOTE, _NUMBERED_QUOTE = {'"': "&quot;"}, {'"': "&#34;"}


def _reference(character: str, form: str = "&#{};") -> str:
    return form.format(ord(character))


def _references(characters: str, form: str) -> dict[str, str]:
    return {character: _reference(character, form) for character in characters}


_PLAIN_HTML = (
    _TEXT,  # the text of XML
    _TEXT | _QUOTE,  # an attribute of XML
    _TEXT | _QUOTE | {"'": "&apos;"},  # XML, PHP
    _TEXT | _QUOTE | {"'": "&#x27;"},  # Python, Django
    _TEXT | _QUOTE | {"'": "&#39;"},  # JavaScript, Ruby, and HttpUtility of .NET
    _TEXT | _QUOTE | {"'": "&#039;"},  # PHP
    _TEXT | _QUOTE | {"'": "&#39;", "/": "&#x2F;", "`": "&#x60;", "=": "&#x3D;"},  # Mustache
    _TEXT | _NUMBERED_QUOTE | {"'": "&#39;"},  # Jinja, Go
    _TEXT | _NUMBERED_QUOTE | {"'": "&#39;", "+": "&#43;"},  # templates of Go
    _references("&<>\"'", "&#{};"),  # Askama
)

_HEX_HTML = (
    ("'`", "xX"),  # Underscore
    ("'/", "xX"),  # Tera
    ("'+", "xX"),  # HtmlEncoder of .NET
    ("'`=", "xX"),  # Handlebars
    ("&<>\"'", ("x", "X", "04X")),  # a writer that names none
    ("&<>\"'+/=`", ("x", "X", "04X")),
)
"""Characters that a writer numbers in hex, and the formats of the number. It names the others of XML."""

_HTML = (
    *(_Writer(replaced, rest) for replaced in _PLAIN_HTML for rest in (None, _reference)),
    *(
        _Writer(_TEXT | _QUOTE | _references(characters, f"&#x{{:{number}}};"), rest)
        for characters, numbers in _HEX_HTML
        for number in numbers
        for rest in (None, partial(_reference, form=f"&#x{{:{number}}};"))
    ),
)

_HTML_ESCAPES = re.compile("[&<>\"'+/=`]|[^\0-\x7f]")


def _html_escaped(text: str) -> Iterator[str]:
    if _HTML_ESCAPES.search(text):
        yield from (writer.escape(text) for writer in _HTML)


_URL: tuple[tuple[Callable[[bytes, str], str], str], ...] = (
    (quote, ""),  # Python, PHP
    (quote, "/"),  # Python: a path
    (quote_plus, ""),  # a form, in Python and Go
    (quote_plus, "*"),  # a form, in browsers and Java
    (quote, "!'()*"),  # JavaScript: encodeURIComponent
    (quote, "!'()*;,/?:@&=+$#"),  # JavaScript: encodeURI
    (quote, "$&+=:@"),  # Go: a part of a path
)


def _percent_encoded(content: bytes) -> Iterator[str]:
    for encode, safe in _URL:
        form = encode(content, safe)
        for upper in (form, form.replace("~", "%7E")):  # forms in browsers, Java and PHP escape it
            yield upper
            yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), upper)
