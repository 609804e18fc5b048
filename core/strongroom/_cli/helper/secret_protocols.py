"""The protocols of programs whose settings name the secret: key commands, AWS, kubectl and OpenClaw. Pure.

Sources:
    https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-sourcing-external.html
    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
    https://docs.openclaw.ai/gateway/secrets
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from strongroom._chain.answer import Resolution, answer_of
from strongroom._cli.helper.text import as_json, as_utc, line_of, request_object, text_of
from strongroom.errors import InvalidDataError, StrongroomError
from strongroom.paths import parse_reference

KUBECTL_VARIABLE = "KUBERNETES_EXEC_INFO"
"""The variable with the request. kubectl sets it."""

_KUBECTL_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")

_MOST_IDS = 512
_ID = r"[A-Za-z0-9][A-Za-z0-9._:/#-]{0,255}"


def token_document(found: Resolution, now: datetime) -> bytes:
    """Return a token as OAuth 2.0 has it: of one that ends, `expires_in` is in seconds.

    Hermes reads the document. Claude Code (`apiKeyHelper`) and Codex (`auth.command`) read the bare token.

    Raises:
        InvalidDataError: the token is not one line of text.
    """
    fields: dict[str, object] = {"access_token": line_of(found), "token_type": "Bearer"}
    if found.ends is not None:
        fields |= {"expires_in": max(0, int((found.ends - now).total_seconds())), "expiry": as_utc(found.ends)}
    return as_json(fields)


def aws_document(found: Resolution) -> bytes:
    """Return the credential of a whole secret. Without `Expiration`, the program asks once.

    Raises:
        InvalidDataError: the secret lacks the access key or the secret key.
    """
    from strongroom._credentials.aws import read_aws_credential

    credential = read_aws_credential(found.path, found.value if isinstance(found.value, Mapping) else {})
    document: dict[str, object] = {
        "Version": 1,
        "AccessKeyId": credential.access_key.reveal(),
        "SecretAccessKey": credential.secret_key.reveal(),
    }
    if credential.token:
        document["SessionToken"] = credential.token.reveal()
    if found.ends is not None:
        document["Expiration"] = as_utc(found.ends)
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
        from strongroom._credentials.certificate import CERTIFICATE, CHAIN, PRIVATE_KEY, read_pem

        data = found.value if isinstance(found.value, Mapping) else {}
        chain = read_pem(found.path, data, CHAIN, required=False)
        status = {
            "clientCertificateData": f"{read_pem(found.path, data, CERTIFICATE).rstrip()}\n{chain}",
            "clientKeyData": read_pem(found.path, data, PRIVATE_KEY),
        }
    if found.ends is not None:
        status["expirationTimestamp"] = as_utc(found.ends)
    return as_json({"apiVersion": version, "kind": "ExecCredential", "status": status})


def openclaw_ids(content: bytes) -> list[str]:
    """Return the ids that a request of version 1 asks for.

    Raises:
        InvalidDataError: the request is malformed, or of another version of the protocol.
    """
    request = request_object(content)
    if request.get("protocolVersion") != 1:
        raise InvalidDataError(None, "the request is not one of an OpenClaw exec provider, protocolVersion 1")
    ids = request.get("ids")
    if not isinstance(ids, list) or len(ids) > _MOST_IDS or not all(isinstance(name, str) for name in ids):
        raise InvalidDataError(None, f"`ids` of the request is not a list of at most {_MOST_IDS} texts")
    return ids


def openclaw_place(name: str) -> tuple[str, str]:
    """Return the path and key of an id, which is `PATH#KEY`.

    Raises:
        InvalidDataError: it is not the id of a key.
        InvalidPathError: the path or the key can never name a secret.
    """
    path, key = parse_reference(name) if re.fullmatch(_ID, name) else ("", None)
    if key is None:
        raise InvalidDataError(None, "the id is not PATH#KEY")
    return path, key


def openclaw_document(found: Mapping[str, Resolution | StrongroomError]) -> bytes:
    """Return the values, and the errors of the ids that have none.

    The code of an error tells a confirmed absence from a denial and an outage. OpenClaw shows NOT_FOUND alone.
    """
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
    return {"code": answer_of(error).name, "message": str(error)}
