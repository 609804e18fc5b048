"""hvac's API classes as builders of requests: hvac knows the paths and bodies of Vault's API, `Session` sends them.

Importing this module does not import hvac: the first call of `requests` does.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

from strongroom.secret import SensitiveStr
from strongroom.store import fails_fast
from strongroom_vault.http.messages import HttpRequest
from strongroom_vault.http.read_after_write import FORWARD, INCONSISTENT, INDEX

_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # `json.dumps` would make one for each body


class ApiRequest(NamedTuple):
    """One request to Vault's API.

    Attributes:
        method: the HTTP method; LIST is one.
        target: path and query, percent-encoded, from `/v1/` on.
        content: the body's JSON object.
        wrap_ttl: a duration such as `2m`: the reply comes in a response-wrapping token that lives so long.
        creates: makes a credential, which is nothing to read back if the reply is lost. Some engines want a POST.
    """

    method: str
    target: str
    content: Mapping[str, Any] | None = None
    wrap_ttl: str | None = None
    creates: bool = False

    @property
    def changes(self) -> bool:
        """True for a write, a delete or a login."""
        return self.method in _CHANGES and not self.creates

    def over_http(
        self,
        namespace: str | None,
        token: SensitiveStr | None,
        *,
        state: str | None = None,
        idempotent: bool = False,
        batched: bool = False,
    ) -> HttpRequest:
        """Return the HTTP request. No frame that an error can pass through keeps the body in a variable.

        Args:
            namespace: the namespace's path; None or `""` for the root.
            token: the token to send.
            state: the state of the cluster from which a node must answer.
            idempotent: repeat it when its outcome is unknown, although it is a change.
            batched: it is one of many.
        """
        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        if self.wrap_ttl:
            headers["X-Vault-Wrap-TTL"] = self.wrap_ttl
        if state is not None:
            headers[INDEX], headers[INCONSISTENT] = state, FORWARD
        return HttpRequest(
            self.method,
            self.target,
            headers,
            None if self.content is None else _ENCODER.encode(self.content).encode(),
            changes=self.changes and not idempotent,
            creates=self.creates,
            batched=batched,
            patient=not fails_fast(),
        )


class API(Protocol):
    """One of hvac's API classes, which ships no types: each method builds a request."""

    def __getattr__(self, name: str) -> Callable[..., ApiRequest]: ...


class RequestAdapter:
    """The adapter of hvac's API classes: each call returns its request, and nothing is sent.

    hvac's own adapters raise errors that hold the reply's body, follow redirects with the token, read netrc and proxy
    variables, and have no total deadline.

    Args:
        keep_nulls: keep the keys of a body whose value is None. hvac sends None for most arguments that were left out.
    """

    def __init__(self, *, keep_nulls: bool = False) -> None:
        self._keep_nulls = keep_nulls
        self.get = partial(self.request, "GET")
        self.post = partial(self.request, "POST")
        self.put = partial(self.request, "PUT")
        self.delete = partial(self.request, "DELETE")
        self.list = partial(self.request, "LIST")
        # hvac's certificate login insists on these two settings. TLS is the driver's.
        self._kwargs = {"verify": True, "cert": True}

    def request(self, method: str, url: str, **kwargs: Any) -> ApiRequest:
        """Return the request; `url` is the path from `/v1/` on, percent-encoded by hvac."""
        params, content = kwargs.get("params"), kwargs.get("json")
        if content is not None and not self._keep_nulls:
            content = {key: value for key, value in content.items() if value is not None}
        # Vault treats PUT as POST. One method for both keeps the rules about repeated requests short.
        method = "POST" if method == "PUT" else method
        return ApiRequest(method, f"{url}?{urlencode(params)}" if params else url, content, kwargs.get("wrap_ttl"))

    def login(self, url: str, use_token: bool = True, **kwargs: Any) -> ApiRequest:  # noqa: ARG002, FBT001, FBT002  # hvac's signature
        return self.request("POST", url, **kwargs)


class Requests:
    """hvac's API classes of engines, auth methods, tokens, and of everything below `sys`."""

    def __init__(self) -> None:
        from hvac import api  # type: ignore[import-untyped]  # hvac ships no types

        hvac: Any = api
        adapter: Any = RequestAdapter()
        # The body of a KV version 1 write is the secret itself, in which None is a value.
        verbatim: Any = RequestAdapter(keep_nulls=True)
        self.kv1: API = hvac.secrets_engines.KvV1(verbatim)
        self.kv2: API = hvac.secrets_engines.KvV2(adapter)
        self.database: API = hvac.secrets_engines.Database(adapter)
        self.approle: API = hvac.auth_methods.AppRole(adapter)
        self.kubernetes: API = hvac.auth_methods.Kubernetes(adapter)
        self.jwt: API = hvac.auth_methods.JWT(adapter)
        self.cert: API = hvac.auth_methods.Cert(adapter)
        self.token: API = hvac.auth_methods.Token(adapter)
        self.system: API = hvac.system_backend.SystemBackend(adapter)


@cache
def requests() -> Requests:
    """Return hvac's API classes, made once."""
    return Requests()
