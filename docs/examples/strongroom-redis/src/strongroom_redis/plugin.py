"""The opener of the store. It imports redis when it is called: `strongroom stores` reads this module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from strongroom.errors import ConfigurationError
from strongroom.store import Option, checked_by
from strongroom_redis.store import RedisStore


def check_redis(
    *,
    url: str,
    ca_cert: Path | None = None,
    client_cert: Path | None = None,
    client_key: Path | None = None,
    max_versions: int = 10,
    timeout: float = 5.0,
    **_: Any,  # the other options have no rule
) -> None:
    """Check the options without connecting.

    Raises:
        ConfigurationError: one of them is wrong. The message begins with its name.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise ConfigurationError("url: it must be like rediss://redis.example:6379/0")
    given = {"ca_cert": ca_cert, "client_cert": client_cert, "client_key": client_key}
    for name, file in given.items():
        if file is not None and parts.scheme != "rediss":
            raise ConfigurationError(f"{name}: it needs a `url` that begins with rediss://")
    if max_versions < 1:
        raise ConfigurationError("max_versions: it must be 1 or more")
    if timeout <= 0:
        raise ConfigurationError("timeout: it must be above zero")


@checked_by(check_redis)
def open_redis(
    *,
    url: Annotated[str, Option("the server's address", address=True, tls_schemes=("rediss",))],
    username: Annotated[str | None, Option("the user of the ACL", sent_to="url")] = None,
    password: Annotated[str | None, Option("its password", ("REDIS_PASSWORD",), secret=True, sent_to="url")] = None,
    ca_cert: Annotated[Path | None, Option("trusted authorities, a PEM file", verifies="url")] = None,
    client_cert: Annotated[Path | None, Option("the client certificate, a PEM file", sent_to="url")] = None,
    client_key: Annotated[Path | None, Option("the key of client_cert, a PEM file", sent_to="url")] = None,
    prefix: Annotated[str, Option("beginning of all keys", location=True)] = "strongroom:",
    max_versions: Annotated[int, Option("how many versions of a secret are kept")] = 10,
    timeout: Annotated[float, Option("seconds for one operation of a connection")] = 5.0,
) -> RedisStore:
    """Open the store. It connects at the first call."""
    check_redis(
        url=url,
        ca_cert=ca_cert,
        client_cert=client_cert,
        client_key=client_key,
        max_versions=max_versions,
        timeout=timeout,
    )
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    tls: dict[str, Any] = {}
    if url.startswith("rediss:"):
        files = {"ssl_ca_certs": ca_cert, "ssl_certfile": client_cert, "ssl_keyfile": client_key}
        tls = {name: str(file) for name, file in files.items() if file is not None}
        tls |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    client = Redis.from_url(
        url,
        username=username,
        password=password,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),  # redis-py would repeat a write whose reply was lost
        protocol=2,
        **tls,
    )
    return RedisStore(client, prefix, max_versions)
