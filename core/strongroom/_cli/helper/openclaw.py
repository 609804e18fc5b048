"""The protocol of OpenClaw's exec provider, version 1. Pure.

Source: https://docs.openclaw.ai/gateway/secrets. An id is `PATH#KEY`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from strongroom._chain.answer import Resolution, answer_of
from strongroom._cli.helper.text import as_json, text_of
from strongroom.errors import InvalidDataError, StrongroomError
from strongroom.formats.strict_json import read_json
from strongroom.paths import parse_reference

LONGEST_REQUEST = 1 << 20
"""Bytes that a request may have."""

_MOST_IDS = 512
_ID = r"[A-Za-z0-9][A-Za-z0-9._:/#-]{0,255}"


def read_request(content: bytes) -> list[str]:
    """Return the ids that are asked for.

    Raises:
        InvalidDataError: the request is malformed, or of another version of the protocol.
    """
    try:
        request = read_json(content.decode()) if len(content) <= LONGEST_REQUEST else None
    except (ValueError, InvalidDataError):
        request = None
    if not isinstance(request, dict) or request.get("protocolVersion") != 1:
        raise InvalidDataError(None, "the request is not one of an OpenClaw exec provider, protocolVersion 1")
    ids = request.get("ids")
    if not isinstance(ids, list) or len(ids) > _MOST_IDS or not all(isinstance(name, str) for name in ids):
        raise InvalidDataError(None, f"`ids` of the request is not a list of at most {_MOST_IDS} texts")
    return ids


def place_of(name: str) -> tuple[str, str]:
    """Return the path and key of an id.

    Raises:
        InvalidDataError: it is not the id of a key.
        InvalidPathError: the path or the key can never name a secret.
    """
    path, key = parse_reference(name) if re.fullmatch(_ID, name) else ("", None)
    if key is None:
        raise InvalidDataError(None, "the id is not PATH#KEY")
    return path, key


def answer(found: Mapping[str, Resolution | StrongroomError]) -> bytes:
    """Return the values, and the errors of the ids that have none."""
    values: dict[str, str] = {}
    errors: dict[str, object] = {}
    for name, outcome in found.items():
        try:
            if isinstance(outcome, StrongroomError):
                errors[name] = _described(outcome)
            else:
                values[name] = text_of(outcome)
        except StrongroomError as error:
            errors[name] = _described(error)
    return as_json({"protocolVersion": 1, "values": values, **({"errors": errors} if errors else {})})


def _described(error: StrongroomError) -> Mapping[str, str]:
    """Return an error with a code that tells a confirmed absence from a denial and an outage."""
    return {"code": answer_of(error).name, "message": str(error)}
