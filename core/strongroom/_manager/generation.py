"""Creation of the required secrets that are missing and have a rule to generate them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from strongroom._chain.chain import Chain
from strongroom._config import Generation, SecretConfig
from strongroom.errors import ConflictError, SecretNotFoundError
from strongroom.rotate.password import PasswordRules, generate
from strongroom.secret import SensitiveDict, SensitiveStr


def generated(rule: Generation) -> SensitiveStr:
    """Return a new value, from the operating system's source of randomness."""
    match rule.kind:
        case "password":
            return generate(PasswordRules(length=rule.length))
        case "hex":
            return SensitiveStr(secrets.token_hex(rule.length))
        case _:
            return SensitiveStr(secrets.token_urlsafe(rule.length))


def generate_missing(chain: Chain, rows: Mapping[str, SecretConfig], store: str | None) -> list[str]:
    """Create each secret that no store has and whose row has a rule, and return its variables.

    Raises:
        StoreError: it is not known whether a secret exists, or it could not be written.
    """
    created: list[str] = []
    for variable, row in rows.items():
        if row.generate is None:
            continue
        try:
            chain.resolve(row.path, row.key, fresh=True)
        except SecretNotFoundError:
            pass
        else:
            continue
        data = SensitiveDict({row.key: generated(row.generate)})
        try:
            chain.write(row.path, data, store=store, create=True)
        except ConflictError:
            chain.resolve(row.path, row.key, fresh=True)  # somebody else has created it; otherwise this tells why
        else:
            created.append(variable)
    return created
