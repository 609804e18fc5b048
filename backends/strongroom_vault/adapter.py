"""hvac's API classes on our session: hvac knows the paths and bodies of Vault's API, and we how to send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from hvac.adapters import Adapter  # type: ignore[import-untyped]  # hvac ships no types
from hvac.api.secrets_engines import KvV1, KvV2  # type: ignore[import-untyped]  # hvac ships no types

from strongroom_vault.answers import document, member
from strongroom_vault.exchange import Reply
from strongroom_vault.session import Session


class SessionAdapter(Adapter):  # type: ignore[misc]  # hvac ships no types
    """Answers each request of hvac's with the whole `Reply`, whatever its status.

    hvac's own adapters raise what holds the reply's body, follow redirects with the token, read netrc and proxy
    variables, and know no total deadline. Nothing of them runs here: not even their constructor, which opens a session.
    """

    def __init__(self, session: Session) -> None:  # the base class's would make a requests.Session
        self._session = session

    def __repr__(self) -> str:
        return f"SessionAdapter({self._session!r})"

    def close(self) -> None:
        """Closes the session."""
        self._session.close()

    def get_login_token(self, response: Reply) -> str:
        """The client token in the reply to a login, empty where there is none."""
        token = (member(document(response), "auth") or {}).get("client_token")
        return token if isinstance(token, str) else ""

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002  # hvac's signature; its API classes send none
        raise_exception: bool = True,  # noqa: ARG002, FBT001, FBT002  # hvac's signature
        **kwargs: Any,
    ) -> Reply:
        """One request of an API class: `url` is the path from `/v1/` on, percent-encoded by hvac, once."""
        params = kwargs.get("params")
        target = f"{url}?{urlencode(params)}" if params else url
        return self._session.request(method.upper(), target, kwargs.get("json"))


def kv_v1(session: Session) -> Any:
    """The API of KV version 1 in hvac, on this session."""
    return KvV1(SessionAdapter(session))


def kv_v2(session: Session) -> Any:
    """The API of KV version 2 in hvac, on this session."""
    return KvV2(SessionAdapter(session))
