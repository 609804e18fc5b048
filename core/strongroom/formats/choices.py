"""The nearest of the known names to one that is not known. A file for backends too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

_LEAST_LIKENESS = 0.7
"""That of a misspelled word. difflib's own limit, 0.6, takes `headers` for `adress`."""


def nearest(name: object, known: Iterable[str], synonyms: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """Return the known name that was probably meant, or None. It is one of `known`, never the given text.

    Args:
        name: the unknown name; None for anything but text.
        known: the known names.
        synonyms: words that others use for a known name, each with that name.
    """
    import difflib

    if not isinstance(name, str):
        return None
    meant = {**synonyms, **{each: each for each in known}}
    near = difflib.get_close_matches(name.lower(), meant, n=1, cutoff=_LEAST_LIKENESS)
    return meant[near[0]] if near else None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name, such as `; did you mean "approle"?`, or an empty string."""
    near = nearest(name, known)
    return "" if near is None else f'; did you mean "{near}"?'
