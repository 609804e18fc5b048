"""The part of YAML that corresponds to JSON, restricted to content that every YAML reader understands alike.

Scalars that YAML 1.1 and 1.2 read differently are refused, with the advice to quote them: `no` and `on` (booleans to
one, text to the other), `0644`, `1_000` and `1:30` (numbers), and dates. Aliases, tags of programming languages and
repeated names are refused too, and so are the tag `!` and a `?` that touches a name.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from strongroom._files.codec import Contents, as_text, check_marks, check_numbers, checked
from strongroom.errors import InvalidDataError
from strongroom.formats.strict_json import TOO_DEEP, TOO_PRECISE, float_or_mark, inexact_key
from strongroom.secret import MAX_DEPTH, SensitiveDict, SensitiveStr, protect

# libyaml's classes are ten times as fast; PyYAML has them if it was built with libyaml.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

MAX_MARKS = 200_000
"""The most commas, colons and line ends of a document. A node takes some five microseconds."""

_MOST_LEVELS = 200
"""The most levels of a document that are composed, by recursion: more than any secret has."""

_DIRECTIVES = re.compile(r"(?:^%[^\n]*\n){101}", re.MULTILINE)
"""The parser's time grows with the square of their number."""

_TAG = "tag:yaml.org,2002:"
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?")
# Text to YAML 1.1, numbers to 1.2's core schema: https://yaml.org/spec/1.2.2/#1032-tag-resolution
_NUMBER_TO_SOME = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+")
_WORDS_TO_SOME = frozenset({"y", "Y", "n", "N"})
_NAME = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z_][a-z0-9_./-]*", re.IGNORECASE | re.ASCII)
"""Names that every reader takes for text without quotes."""


def represent(tree: object) -> Node:
    """Return a node for the tree, with text between double quotes and without anchors."""
    if isinstance(tree, Mapping):
        fields = [(_named(name), represent(value)) for name, value in tree.items()]
        return MappingNode(f"{_TAG}map", fields, flow_style=not tree)
    if isinstance(tree, list | tuple):
        return SequenceNode(f"{_TAG}seq", [represent(item) for item in tree], flow_style=not tree)
    if isinstance(tree, str):
        return _quoted(tree)
    if isinstance(tree, bytes):
        return ScalarNode(f"{_TAG}binary", base64.b64encode(tree).decode("ascii"), style='"')
    if tree is None or isinstance(tree, bool):
        return ScalarNode(f"{_TAG}{'null' if tree is None else 'bool'}", json.dumps(tree))
    number = repr(tree)
    if isinstance(tree, float) and "." not in number:
        number = number.replace("e", ".0e")  # YAML 1.1 reads a number without a point as text
    return ScalarNode(f"{_TAG}{'float' if isinstance(tree, float) else 'int'}", number)


def _quoted(text: str) -> ScalarNode:
    return ScalarNode(f"{_TAG}str", str(text), style='"')


def _named(name: str) -> ScalarNode:
    return ScalarNode(f"{_TAG}str", str(name), style=None if _NAME.fullmatch(name) else '"')


def serialize(documents: list[Node]) -> bytes:
    """Return these documents as UTF-8 text."""
    text = yaml.serialize_all(
        documents, Dumper=_Dumper, allow_unicode=True, width=1 << 30, explicit_start=len(documents) > 1 or None
    )
    return str(text).encode()


def compose(text: str) -> Iterator[Node]:
    """Return the root node of each document; skip empty ones.

    Raises:
        InvalidDataError: it is not YAML. Names the line.
    """
    check_marks(text, ",:\n\r", MAX_MARKS)
    fault = ""
    if _DIRECTIVES.search(text):
        del text
        raise InvalidDataError(None, "too many directives: lines that begin with %")
    try:
        content = text.encode()
        if not (fault := _fault(text, content)):
            nodes = list(yaml.compose_all(content, Loader=_Loader))
            yield from (node for node in nodes if not _is_null(node))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        fault = f"line {mark.line + 1}: it is not YAML" if mark else "it is not YAML"
    except (yaml.YAMLError, UnicodeError, ValueError):
        fault = "it is not YAML: is a control character in it?"
    except RecursionError:
        fault = TOO_DEEP
    # Outside the `except`: the parser's error quotes the text.
    del text
    if fault:
        raise InvalidDataError(None, fault)


def _fault(text: str, content: bytes) -> str:
    """Return why the text cannot be composed without a loss, or an empty string.

    More levels than may be composed crash PyYAML before 6.0.4. It takes `! 12`, which is text in YAML 1.2, for a
    number, and the `?` of `{ ?name: … }` for an indicator, which it is only before a space.
    """
    levels = 0
    for event in yaml.parse(content, Loader=_Loader):
        levels += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if levels > _MOST_LEVELS:
            return TOO_DEEP
        if isinstance(event, NodeEvent) and event.start_mark is not None:
            mark = event.start_mark
            if getattr(event, "tag", None) == "!":
                return f"line {mark.line + 1}: readers of YAML differ on the tag '!': write text between quotes"
            if text[mark.index - 1 : mark.index] == "?":
                return f"line {mark.line + 1}: readers of YAML differ on a '?' before a name: write it between quotes"
    return ""


def tree_of(node: Node) -> Any:  # JSON's types and bytes
    """Convert a node to JSON's types and bytes.

    Raises:
        InvalidDataError: the node is ambiguous. Names its line.
    """
    tree = _Reader().read(node, 2 * MAX_DEPTH + 3)
    if not isinstance(tree, dict) and inexact_key(tree) is not None:
        raise _refused(node, TOO_PRECISE)
    return tree


def pairs(node: Node) -> list[tuple[str, Node]]:
    """Return the names and nodes of a mapping.

    Raises:
        InvalidDataError: it is not a mapping, or a name is not text or repeated.
    """
    if not isinstance(node, MappingNode):
        raise _refused(node, "it is not a mapping")
    found: dict[str, Node] = {}
    for key, value in node.value:
        if (text := _text(key)) is None:
            raise _refused(key, "a name must be text: write it between quotes")
        name = str(text)
        if name in found:
            raise _refused(key, f"the name {name!r} appears twice")
        found[name] = value
    return list(found.items())


class _Reader:
    """Converts one document and refuses aliases: a few lines of nested aliases can expand to gigabytes."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def read(self, node: Node, depth: int) -> Any:
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if depth == 0:
            raise _refused(node, TOO_DEEP)
        if id(node) in self._seen:
            raise _refused(node, "an alias refers to it: write it out in both places")
        self._seen.add(id(node))
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.read(item, depth - 1) for item in node.value]
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return SensitiveDict(self._pair(name, value, depth - 1) for name, value in pairs(node))
        raise _refused(node, "its tag is not one of JSON's types")

    def _pair(self, name: str, node: Node, depth: int) -> tuple[str, Any]:
        value = self.read(node, depth)
        if not isinstance(value, dict) and inexact_key(value) is not None:
            raise _refused(node, f"key {name!r}: {TOO_PRECISE}")
        return name, value


def _scalar(node: ScalarNode) -> Any:  # any of JSON's scalars
    text, tag = node.value, node.tag.removeprefix(_TAG)
    if (exact := _text(node)) is not None:
        return exact
    if tag == "null":
        return None
    if tag == "bool" and text in _TRUE | _FALSE:
        return text in _TRUE
    if tag == "int" and _INTEGER.fullmatch(text):
        try:
            return int(text)
        except ValueError:
            pass
    if tag == "float" and _FLOAT.fullmatch(text):
        return float_or_mark(text)
    if tag == "binary":
        try:
            return protect(base64.b64decode("".join(text.split()), validate=True))
        except ValueError:
            pass
    raise _refused(node, "readers of YAML differ on what it is: write text between quotes, or the number in decimal")


def _text(node: Node) -> SensitiveStr | None:
    """Return the text of a scalar that every reader takes for text, otherwise None."""
    if not isinstance(node, ScalarNode) or node.tag != f"{_TAG}str":
        return None
    plain = not node.style
    if plain and (_NUMBER_TO_SOME.fullmatch(node.value) or node.value in _WORDS_TO_SOME):
        return None
    return SensitiveStr(node.value)


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == f"{_TAG}null"


def _refused(node: Node, why: str) -> InvalidDataError:
    return InvalidDataError(None, f"line {node.start_mark.line + 1}: {why}")


class YamlCodec:
    """The format `yaml`. It holds every value. A rewrite drops comments."""

    name = "YAML"
    keeps_more = False

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """Return the secrets of the single document; an empty one has none."""
        documents = list(compose(as_text(content)))
        if len(documents) > 1:
            raise InvalidDataError(None, "it is more than one document")
        secrets: dict[str, SensitiveDict] = {}
        for path, node in pairs(documents[0]) if documents else ():
            data = tree_of(node)
            if not isinstance(data, Mapping):
                raise InvalidDataError(path, "it is not a mapping of keys")
            secrets[path] = checked(path, data)
        return secrets

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Write block style, with every text between double quotes."""
        del before
        return serialize([represent(contents)])

    vet = staticmethod(check_numbers)
