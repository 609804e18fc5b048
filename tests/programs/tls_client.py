"""Clients with mutual TLS whose certificate follows a secret. It writes their results as JSON.

Run it as `python tls_client.py URL SECONDS`. TEST_CLIENT_CA is the file of the server's authority.
"""

import asyncio
import json
import os
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

import aiohttp
import httpx
import requests

from strongroom import SecretsManager
from strongroom.integrations.requests import TLSAdapter
from strongroom.integrations.tls import create_client_context


def with_httpx(url, context):
    return httpx.get(url, verify=context).text


def with_requests(url, context):
    with requests.Session() as session:
        session.mount("https://", TLSAdapter(context))
        return session.get(url, headers={"Connection": "close"}).text


def with_aiohttp(url, context):
    async def get():
        async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as response:
            return await response.text()

    return asyncio.run(get())


def shown_by(url, context):
    """The certificate that the server shows."""
    address = urlsplit(url)
    with (
        socket.create_connection((address.hostname, address.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.getpeercert(binary_form=True)


def main(url, seconds):
    """Connect all the time, each client with a new connection for each request."""
    done, failures, certificates = 0, [], set()
    with SecretsManager() as manager:
        context = create_client_context("tls/client", server_ca=os.environ["TEST_CLIENT_CA"], manager=manager)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for get in (with_httpx, with_requests, with_aiohttp):
                try:
                    done += get(url, context) == "ok"
                except (OSError, httpx.HTTPError, aiohttp.ClientError, ssl.SSLError) as error:
                    failures.append(f"{get.__name__}: {type(error).__name__}: {error}")
            certificates.add(shown_by(url, context))
    return {"done": done, "failures": failures, "certificates": len(certificates)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], float(sys.argv[2]))))
