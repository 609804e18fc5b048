"""TOML of the configuration and of mapping files: parsing of a file that a stranger may have written, and quoting."""

from __future__ import annotations

import re

from strongroom._config.document import BARE_KEY
from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveDict, protect_data

MAX_DOTS = 100
"""The longest dotted key. The parser's time grows with the square of it."""

# Compiled at first use: most processes read no file.
_DOTTED = rf"""(?<![A-Za-z0-9_.-])(?:(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_DOTS + 1}}}"""

_REPEATED = r"(Cannot (declare|overwrite|redefine|mutate)|Duplicate) "
"""The beginning of the parser's message for a repeated table or key."""

_POSITION = r"\(at (line \d+, column \d+|end of document)\)"


def toml_key(name: str) -> str:
    """Return a name as a key of TOML, quoted if it must be."""
    return name if re.fullmatch(BARE_KEY, name) else toml_string(name)


def toml_string(text: str) -> str:
    """Return text as a string of TOML, which is one of JSON with DEL escaped: https://toml.io/en/v1.0.0#string"""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def parse_toml(text: str, source: str) -> SensitiveDict:
    """Parse a TOML document.

    Raises:
        ConfigurationError: names `source` and the position, and shows no content.
    """
    import tomllib

    if dotted := re.search(_DOTTED, text):
        line = text.count("\n", 0, dotted.start()) + 1
        del text, dotted
        raise ConfigurationError(f"{source}, line {line}: a key with more than {MAX_DOTS} dots")
    fault = ""
    reason = "it is not TOML"
    floats: list[object] = []

    def number(digits: str) -> object:
        floats.append(_number(digits))
        return floats[-1]

    try:
        tree = tomllib.loads(str(text), parse_float=number)
        if not floats:
            return protect_data(tree)
        from strongroom.strict_json import TOO_PRECISE, inexact_key

        if (key := inexact_key(tree)) is None:
            return protect_data(tree)
        fault, reason = f"key {key!r}", TOO_PRECISE
        del tree
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and that of a number of too many digits
        position = re.search(_POSITION, str(error))
        fault = position[1] if position else "somewhere"
        if re.match(_REPEATED, str(error)):
            reason = "a table or a key stands there for the second time"
    # Outside the `except`, and without the parser's message: either may hold content of the file.
    del text
    floats.clear()
    raise ConfigurationError(f"{source}, {fault}: {reason}")


def _number(digits: str) -> object:
    """Return the float that these digits denote, or a mark that no float does."""
    if digits.lstrip("+-") in {"inf", "nan"}:
        return float(digits)
    from strongroom.strict_json import float_or_mark

    return float_or_mark(digits)
