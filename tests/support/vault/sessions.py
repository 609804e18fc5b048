"""The session of a store of Vault, for tests of tokens and nodes."""

from __future__ import annotations


def session_of(store):
    """Return the session of a store, guarded or not. No public name leads to it: an application has no use for one."""
    return getattr(store, "_store", store)._session


def token_of(store):
    """Return the token in use."""
    return str(session_of(store).active_token.token)
