"""An adapter of requests for a TLS context, whose authorities alone decide which servers are trusted.

::

    import requests
    from strongroom.integrations.requests import TLSAdapter
    from strongroom.integrations.tls import create_client_context

    session = requests.Session()
    session.mount("https://", TLSAdapter(create_client_context("tls/shop", server_ca="authority.pem")))

An adapter that only passes `ssl_context` on to urllib3 would let requests load its bundle of public authorities into
the context, also for every other client that has the same one.
"""

from __future__ import annotations

import ssl
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter


class TLSAdapter(HTTPAdapter):
    """Sends requests over connections of one TLS context, and adds no authorities to it.

    It needs requests 2.32.3 or later. `verify` of a session, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE have no effect.

    Args:
        context: as from `create_client_context`. Other clients can share it.
        options: those of `HTTPAdapter`.
    """

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        self._context = context
        super().__init__(**options)

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """Return the host of a request, and the context as its only setting of TLS, also inside of a proxy's tunnel."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002
        """Load no authorities.

        Raises:
            ValueError: `verify` is False, or `cert` is given. The context decides about both, for each of its clients.
        """
        if verify is False:
            raise ValueError("verify=False: the context of the adapter verifies servers. Use another session")
        if cert:
            raise ValueError("cert: the context of the adapter has the client's certificate. Leave the option out")
