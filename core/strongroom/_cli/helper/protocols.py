"""The protocols of the programs: their requests, and the answers that they read. Pure.

Sources:
    https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-sourcing-external.html
    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
    https://docs.openclaw.ai/gateway/secrets
    https://git-scm.com/docs/git-credential#IOFMT. git ignores exit codes, and takes an empty answer for an absence.
    https://github.com/docker/docker-credential-helpers. A failure is a message on stdout and exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from strongroom.encoding import as_text
from strongroom.errors import InvalidDataError, StrongroomError

if TYPE_CHECKING:
    from strongroom._chain.answer import Resolution

KUBECTL_VARIABLE = "KUBERNETES_EXEC_INFO"
"""The variable with the request. kubectl sets it."""

_KUBECTL_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")

GIT_FAILED = b"quit=1\n"
"""The answer to an outage or a denial. Without it, git would ask the next helper, or the user."""

_LONGEST_LINE = 65_535
"""Bytes that a line of git may have without its end."""

DOCKER_ABSENT = b"credentials not found in native keychain\n"
"""The sentence that a program takes for an absence. Of any other it says that the helper failed."""


# --- requests and values ----------------------------------------------------------------------------------------------


def request_object(content: bytes) -> Mapping[str, Any]:
    """Return the JSON object that a request is; an empty one if it is malformed."""
    from strongroom.formats.strict_json import read_json  # git's requests are not JSON

    with suppress(ValueError, InvalidDataError):
        document = read_json(content.decode())
        if isinstance(document, dict):
            return document
    return {}


def text_of(found: Resolution) -> str:
    """Return the value of a key as text.

    Raises:
        InvalidDataError: it is null, or bytes.
    """
    value, key = found.value, found.key or ""
    if value is None or isinstance(value, bytes):
        fault = f"key {key!r}: the value is {'null' if value is None else 'bytes'}, and a credential is text"
        del value
        raise InvalidDataError(found.path, fault, store=found.store)
    return as_text(value, found.path, key).reveal()


def line_of(found: Resolution) -> str:
    """Return the value of a key, for a protocol in which each value is one line.

    Raises:
        InvalidDataError: also if it has a control character: a line end would begin another field of the answer.
    """
    text = text_of(found)
    if not _has_control(text):
        return text
    del text
    fault = f"key {found.key!r}: this protocol cannot carry the line end, or other control character, in the value"
    raise InvalidDataError(found.path, fault, store=found.store)


def _has_control(text: str) -> bool:
    """Return True if the text has a control character of ASCII, such as NUL or a line end."""
    return any(character < " " or character == "\x7f" for character in text)


def as_json(document: Mapping[str, object]) -> bytes:
    """Return a document on one line."""
    import json

    return json.dumps(document).encode() + b"\n"


def _as_utc(moment: datetime) -> str:
    """Return a time by RFC 3339, without parts of seconds: not later than the moment."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


# --- programs whose settings name the secret --------------------------------------------------------------------------


def token_document(found: Resolution, now: datetime) -> bytes:
    """Return a token as OAuth 2.0 has it: of one that ends, `expires_in` is in seconds.

    Hermes reads the document. Claude Code (`apiKeyHelper`) and Codex (`auth.command`) read the bare token.

    Raises:
        InvalidDataError: the token is not one line of text.
    """
    fields: dict[str, object] = {"access_token": line_of(found), "token_type": "Bearer"}
    if found.ends is not None:
        fields |= {"expires_in": max(0, int((found.ends - now).total_seconds())), "expiry": _as_utc(found.ends)}
    return as_json(fields)


def aws_document(found: Resolution) -> bytes:
    """Return the credential of a whole secret. Without `Expiration`, the program asks once.

    Raises:
        InvalidDataError: the secret lacks the access key or the secret key.
    """
    from strongroom._credentials import read_aws_credential

    credential = read_aws_credential(found.path, _data_of(found))
    document: dict[str, object] = {
        "Version": 1,
        "AccessKeyId": credential.access_key.reveal(),
        "SecretAccessKey": credential.secret_key.reveal(),
    }
    if credential.token:
        document["SessionToken"] = credential.token.reveal()
    if found.ends is not None:
        document["Expiration"] = _as_utc(found.ends)
    return as_json(document)


def kubectl_version(request: str) -> str:
    """Return the version that the answer must have: that of the request, or v1 without a request.

    Raises:
        InvalidDataError: the request is malformed, or wants another version.
    """
    version = request_object(request.encode()).get("apiVersion") if request else _KUBECTL_VERSIONS[0]
    if version in _KUBECTL_VERSIONS:
        return str(version)
    hint = f"Set apiVersion of the user's exec to {_KUBECTL_VERSIONS[0]}"
    fault = f"{KUBECTL_VARIABLE} asks for none of {', '.join(_KUBECTL_VERSIONS)}"
    raise InvalidDataError(None, fault, hint=hint)


def kubectl_document(found: Resolution, version: str) -> bytes:
    """Return the token that the value of a key is, or the client certificate in a whole secret.

    Raises:
        InvalidDataError: the value is not text, or the secret lacks the certificate or its private key.
    """
    status: dict[str, object]
    if found.key is not None:
        status = {"token": text_of(found)}
    else:
        from strongroom._credentials import CERTIFICATE, CHAIN, PRIVATE_KEY, read_pem

        data = _data_of(found)
        chain = read_pem(found.path, data, CHAIN, required=False)
        status = {
            "clientCertificateData": f"{read_pem(found.path, data, CERTIFICATE).rstrip()}\n{chain}",
            "clientKeyData": read_pem(found.path, data, PRIVATE_KEY),
        }
    if found.ends is not None:
        status["expirationTimestamp"] = _as_utc(found.ends)
    return as_json({"apiVersion": version, "kind": "ExecCredential", "status": status})


def _data_of(found: Resolution) -> Mapping[str, Any]:
    return found.value if isinstance(found.value, Mapping) else {}


def openclaw_places(content: bytes) -> dict[str, tuple[str, str]]:
    """Return the path and key of each id, which is PATH#KEY, in a request of version 1. They are not checked.

    Raises:
        InvalidDataError: the request is malformed, or of another version of the protocol.
    """
    request = request_object(content)
    ids = request.get("ids")
    if request.get("protocolVersion") != 1 or not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
        fault = "the request is not one of an OpenClaw exec provider, protocolVersion 1, with a list of `ids`"
        raise InvalidDataError(None, fault)
    parts = {id_: id_.rpartition("#") for id_ in ids}
    return {id_: (path, key) if mark else (id_, "") for id_, (path, mark, key) in parts.items()}


def openclaw_document(found: Mapping[str, Resolution | StrongroomError]) -> bytes:
    """Return the values, and the errors of the ids that have none.

    The code of an error tells a confirmed absence from a denial and an outage. OpenClaw shows NOT_FOUND alone.
    """
    from strongroom._chain.answer import answer_of

    document: dict[str, object] = {"protocolVersion": 1, "values": (values := dict[str, str]())}
    errors: dict[str, object] = {}
    for name, outcome in found.items():
        try:
            if isinstance(outcome, StrongroomError):
                raise outcome
            values[name] = text_of(outcome)
        except StrongroomError as error:
            errors[name] = {"code": answer_of(error).name, "message": str(error)}
    return as_json(document | ({"errors": errors} if errors else {}))


# --- programs that name a host ----------------------------------------------------------------------------------------


def git_request(lines: Iterable[bytes]) -> tuple[str, str]:
    """Return the URL of the service that git asks about, and its user. A request without one has an empty text.

    Raises:
        InvalidDataError: one of them has a control character.
    """
    fields = dict.fromkeys(("protocol", "host", "path", "username"), "")
    for line in lines:
        name, _, value = line.decode("utf-8", "replace").removesuffix("\n").partition("=")
        if name in fields:
            fields[name] = value
    protocol, host, path, username = fields.values()
    if any(map(_has_control, fields.values())):
        raise InvalidDataError(None, "git's request has a control character")
    return ("" if "/" in host else f"{protocol}://{host}/{path}"), username


def git_answer(username: str, password: str, ends: datetime | None) -> bytes:
    """Return the credential. Neither text has a control character.

    Raises:
        InvalidDataError: a line is too long for git.
    """
    lines = [f"username={username}".encode(), f"password={password}".encode()]
    if ends is not None:
        lines.append(f"password_expiry_utc={int(ends.timestamp())}".encode())
    if any(len(line) > _LONGEST_LINE for line in lines):
        fault = f"a line of git's protocol has at most {_LONGEST_LINE:,} bytes, and the value more"
        raise InvalidDataError(None, fault)
    return b"".join(line + b"\n" for line in lines)
