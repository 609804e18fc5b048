"""Hard inputs: names and values on which stores have failed. A store returns each intact, or refuses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from strongroom.secret import Value

CANARY = "c4n4ry-6f1d"
"""The beginning of the secret values that the contract writes. Its first characters occur in no other text.

No message, log record or traceback may show it. Let the credentials of a test's service begin with it, too.
"""


@dataclass(frozen=True)
class Case:
    """One hard input: a secret with unusual data or an unusual path."""

    name: str
    data: Mapping[str, Value]
    path: str = "contract/case"

    def __str__(self) -> str:
        return self.name


def _value(name: str, *values: Value) -> Case:
    return Case(name, {f"key{number}": value for number, value in enumerate(values, start=1)})


_TEXT_VALUES = (
    _value("empty", ""),
    _value("blank", " ", "\t", "\n", "  led and trailed  "),
    _value("lines", "one\ntwo\n", "one\r\ntwo\r\n", "\n\nthree"),
    _value("quotes", "it's", 'say "so"', "`id`", "back\\slash\\n", "'\"'"),
    _value("shell", "${HOME}", "$HOME", "#no comment", "a=b=c", "%s %(x)s {x}", "export A=1", "; rm -rf"),
    _value("markup", "<a href='x'>&amp;</a>", "{{ template }}", "- yaml: [1]", '{"json": true}', "[section]"),
    _value("look-alikes", "5432", "0123", "true", "null", "None", "1e3", "NaN"),
    _value("unicode", "ключ", "🔑", "é", "e\u0301", "\u2028", "\ufeffmark", "\u200f"),
    _value("controls", "\x01\x1b[31m\x7f", "\x85"),
    _value("nul", "a\x00b"),
    _value("64 KiB", "0123456789abcdef" * 4096),
)

_TYPED_VALUES = (
    _value("bytes", b"\x00\xff\xfe not text", b"plain"),
    _value("empty bytes", b""),
    _value("numbers", 0, -1, 5432, 2**53 - 1, 0.1, -2.5e-3, 1e300),
    _value("large integers", 2**53 + 1, -(2**63), 10**30),
    Case("booleans", {"yes": True, "no": False}),
    _value("null", None),
    _value("nested", {"list": [1, "two", None, [True, {}]], "mapping": {"deep": {"deeper": ""}}}, [], {}),
    _value("nested bytes", {"inner": [b"\x00\x01", {"more": b""}]}),
    _value("look-alike of bytes", {"strongroom:bytes": "AAE="}, {"strongroom:bytes": {"strongroom:bytes": "x"}}),
)

_NAMES = (
    Case("key with a space", {"two words": "v"}),
    Case("keys with marks", {"a.b": "1", "a-b": "2", "a#b": "3", "a=b": "4", "a:b": "5", "%2F": "6", "@$&*'\"": "7"}),
    Case("key with a slash", {"a/b": "v"}),
    Case("key with a backslash", {"a\\b": "v"}),
    Case("unicode key", {"ключ": "v", "🔑": "w"}),
    Case("many keys", {f"key{number:03}": str(number) for number in range(110)}),
    Case("keys that differ in case", {"key": "lower", "KEY": "upper", "Key": "mixed"}),
    Case("keys of other formats", {"data": "d", "metadata": "m", "__proto__": "p", "true": "t", "0": "n", ".k": "k"}),
    Case("path with a space", {"key": "v"}, "contract/two words"),
    Case("path with marks", {"key": "v"}, "contract/a?b#c%d&e*f+g@h=i:j"),
    Case("path that is escaped already", {"key": "v"}, "contract/a%2Fb%20c"),
    Case("unicode path", {"key": "v"}, "contract/ключ/🔑"),
    Case("path with dots", {"key": "v"}, "contract/.hidden/..a/b..c/..."),
    Case("path of one segment", {"key": "v"}, "contract"),
    Case("deep path", {"key": "v"}, "contract/" + "/".join("abcdefgh")),
    Case("long segment", {"key": "v"}, "contract/" + "s" * 200),
    Case("path of another tool", {"key": "v"}, "contract/metadata/data"),
)

CASES: Sequence[Case] = (*_TEXT_VALUES, *_TYPED_VALUES, *_NAMES)
"""All hard inputs, in test order."""

NON_TEXT_CASES = frozenset(case.name for case in _TYPED_VALUES)
"""Names of the cases that a store of text cannot hold: bytes, numbers, booleans, null, and nested values."""
