"""A hook of gunicorn, in a separate file since gunicorn finds it by its name in the configuration.

In `gunicorn.conf.py`::

    from strongroom.integrations.workers.gunicorn import on_starting
"""

from __future__ import annotations

from strongroom.integrations.readiness import wait_or_exit


def on_starting(_arbiter: object) -> None:
    """Wait until every row of `[secrets]` resolves, before the first worker is forked. After a minute, exit with 1."""
    wait_or_exit()
