"""Workers of Celery that start when their secrets are there, and leave no token alive when they end.

::

    app = Celery("shop")
    connect_signals()
"""

from __future__ import annotations

from celery.signals import worker_init, worker_process_shutdown, worker_shutdown

from strongroom.integrations.readiness import wait_or_exit
from strongroom.secrets_manager import close


def connect_signals(*, timeout: float = 60.0) -> None:
    """Connect to the signals of this process's worker. A process that only sends tasks never emits them.

    The worker waits for the required secrets before its pool starts, and exits with 1 after `timeout` seconds. A child
    of the pool ends without the exit hooks of Python, so the default manager is closed by a signal.
    """

    def wait(**_: object) -> None:
        wait_or_exit(timeout=timeout)

    def end(**_: object) -> None:
        close()

    worker_init.connect(wait, weak=False)
    worker_process_shutdown.connect(end, weak=False)
    worker_shutdown.connect(end, weak=False)
