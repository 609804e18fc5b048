"""Hooks of gunicorn, in a separate file since gunicorn finds them by their names in its configuration.

In `gunicorn.conf.py`::

    from strongroom.integrations.tls import create_server_context
    from strongroom.integrations.workers.gunicorn import on_starting, tls_hooks

    certfile = __file__  # not read
    post_worker_init, ssl_context = tls_hooks(lambda: create_server_context("tls/shop"))
"""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from strongroom.errors import StoreUnavailableError, StrongroomError
from strongroom.integrations.readiness import wait_or_exit

_BOOT_ERROR = 3
"""The exit code of a worker after which gunicorn ends all workers, instead of starting another one."""
_PAUSE = 2.0
"""Seconds before any other failed worker ends, since gunicorn starts the next one at once."""


def on_starting(_arbiter: object) -> None:
    """Wait until every row of `[secrets]` resolves, before the first worker is forked. After a minute, exit with 1."""
    wait_or_exit()


def tls_hooks(
    create: Callable[[], ssl.SSLContext],
) -> tuple[Callable[[Any], None], Callable[[object, object], ssl.SSLContext]]:
    """Return gunicorn's hooks `post_worker_init` and `ssl_context`. Each worker has a TLS context before it serves.

    A worker whose context cannot be created ends with the message of the error. One of the first workers ends gunicorn
    with 3, unless a store is unavailable. Otherwise gunicorn starts another worker, while the other ones serve.

    Args:
        create: returns a new context, as from `create_server_context`. It is called once in each worker.
    """
    context = cache(create)

    def post_worker_init(worker: Any) -> None:
        try:
            context()
        except (StrongroomError, OSError) as error:
            sys.stderr.write(f"strongroom: {error}\n")
            is_outage = isinstance(error, StoreUnavailableError)
        else:
            return
        if worker.age <= worker.cfg.workers and not is_outage:
            raise SystemExit(_BOOT_ERROR)
        time.sleep(_PAUSE)
        raise SystemExit(1)

    def ssl_context(_config: object, _default: object) -> ssl.SSLContext:
        return context()

    return post_worker_init, ssl_context
