"""Work with a secret that the worker never sees: rules, placeholders, and the doors that replace them.

In the process, a framework holds placeholders, and its HTTP client sends the values:

    session = open_session()
    client = httpx.Client(transport=httpx_transport(session))
    client.get("https://api.example.com/", headers={"X-Key": session.placeholder("example")})

This protects against disclosure by prompts, tools and the logs of a framework. It is not a boundary against code in the
process, which can ask the chain itself: see `strongroom agent run --sandbox` for that.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.agents.clients.exchanges import open_session as open_session
    from strongroom.agents.clients.httpx_transports import async_httpx2_transport as async_httpx2_transport
    from strongroom.agents.clients.httpx_transports import async_httpx_transport as async_httpx_transport
    from strongroom.agents.clients.httpx_transports import httpx2_transport as httpx2_transport
    from strongroom.agents.clients.httpx_transports import httpx_transport as httpx_transport
    from strongroom.agents.clients.requests_adapter import requests_adapter as requests_adapter
    from strongroom.agents.session import AgentSession as AgentSession
else:
    from strongroom._lazy_names import lazy_names

    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "strongroom.agents.clients.httpx_transports": (
                "async_httpx2_transport async_httpx_transport httpx2_transport httpx_transport"
            ),
            "strongroom.agents.clients.requests_adapter": "requests_adapter",
            "strongroom.agents.clients.exchanges": "open_session",
            "strongroom.agents.session": "AgentSession",
        },
    )
