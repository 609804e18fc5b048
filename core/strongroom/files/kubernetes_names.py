"""Which name a Secret of Kubernetes has for a path. Pure."""

from __future__ import annotations

import hashlib
import re

MAX_NAME = 253
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MARK = 8


def is_name(text: str) -> bool:
    """Whether it can name a Secret: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def name_of(path: str) -> str:
    """The path itself where it can be a name; else what of it can, and a mark that no other path shares.

    The path stands in an annotation, so that it can be read back from there.
    """
    if is_name(path):
        return path
    mark = hashlib.sha256(path.encode()).hexdigest()[:_MARK]
    slug = re.sub(r"[^a-z0-9]+", "-", path.lower())[: MAX_NAME - _MARK - 1].strip("-")
    return f"{slug or 'secret'}-{mark}"
