"""hvac's API classes as makers of requests: hvac knows the paths and bodies of Vault's API, and we how to send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from hvac.adapters import Adapter  # type: ignore[import-untyped]  # hvac ships no types
from hvac.api.secrets_engines import KvV1, KvV2  # type: ignore[import-untyped]  # hvac ships no types

from strongroom_vault.http.sender import Ask


class AskingAdapter(Adapter):  # type: ignore[misc]  # hvac ships no types
    """Answers each request of hvac's with what would be asked, and sends nothing.

    hvac's own adapters raise what holds the reply's body, follow redirects with the token, read netrc and proxy
    variables, and know no total deadline. Nothing of them runs here: not even their constructor, which opens a session.
    """

    def __init__(self) -> None:  # the base class's would make a requests.Session
        pass

    def close(self) -> None:
        """Nothing is open."""

    def get_login_token(self, response: object) -> str:  # noqa: ARG002  # hvac's signature
        """There is none: logins are not asked for through hvac."""
        return ""

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002  # hvac's signature; its API classes send none
        raise_exception: bool = True,  # noqa: ARG002, FBT001, FBT002  # hvac's signature
        **kwargs: Any,
    ) -> Ask:
        """One request of an API class: `url` is the path from `/v1/` on, percent-encoded by hvac, once."""
        params = kwargs.get("params")
        return Ask(method.upper(), f"{url}?{urlencode(params)}" if params else url, kwargs.get("json"))


def kv_v1() -> Any:
    """The requests of KV version 1, by hvac."""
    return KvV1(AskingAdapter())


def kv_v2() -> Any:
    """The requests of KV version 2, by hvac."""
    return KvV2(AskingAdapter())
