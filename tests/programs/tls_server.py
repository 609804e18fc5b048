"""A web server with mutual TLS whose certificate follows a secret; also the configuration file of gunicorn.

Run it as `python tls_server.py PORT`, or as `gunicorn -c tls_server.py tls_server:wsgi`. TEST_CLIENT_CA is the file of
the clients' authority.
"""

import os
import sys

from strongroom.integrations.tls import create_server_context
from strongroom.integrations.workers.gunicorn import tls_hooks

certfile = __file__  # gunicorn serves TLS if there is one, and asks a hook for the context of each connection


def context():
    """The context of this process. Each connection is a full handshake, so an expired client is refused."""
    context = create_server_context("tls/server", client_ca=os.environ["TEST_CLIENT_CA"])
    context.num_tickets = 0
    return context


post_worker_init, ssl_context = tls_hooks(context)


def wsgi(_environ, start_response):
    """Answer as WSGI."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


async def asgi(_scope, _receive, send):
    """Answer as ASGI."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(asgi, port=int(sys.argv[1]), ssl_context_factory=ssl_context, log_level="warning", lifespan="off")
