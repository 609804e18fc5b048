"""Limits of Key Vault, which are checked before a request. Pure.

Sources: https://learn.microsoft.com/azure/key-vault/secrets/about-secrets and
https://learn.microsoft.com/rest/api/keyvault/secrets/set-secret.
"""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.errors import InvalidDataError, SecretTooLargeError
from strongroom.store.folding import size_of

LARGEST = 25_600
"""The largest value, in bytes."""

_MAX_TAGS = 15
_MAX_TAG = 512


def check_size(content: str, path: str) -> None:
    """Check the size of a value.

    Raises:
        SecretTooLargeError: it is larger than `LARGEST`.
    """
    if (size := size_of(content)) > LARGEST:
        raise SecretTooLargeError(path, f"its form in Key Vault takes {size:,} bytes, the most is {LARGEST:,}")


def check_tags(labels: Mapping[str, str], path: str) -> dict[str, str]:
    """Return the labels as tags.

    Raises:
        InvalidDataError: names the label and the rule, never the text of a label.
    """
    if len(labels) > _MAX_TAGS:
        raise InvalidDataError(path, f"{len(labels)} labels, Key Vault takes {_MAX_TAGS} tags")
    for name, text in labels.items():
        if not 0 < len(name) <= _MAX_TAG or len(text) > _MAX_TAG:
            rule = f"a tag has a name of 1 to {_MAX_TAG} characters, and a text of up to {_MAX_TAG}"
            raise InvalidDataError(path, f"label {name!r} cannot be a tag: {rule}")
    return dict(labels)
