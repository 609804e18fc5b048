"""Workers of Celery that start when their secrets are there, and leave no token alive when they end.

::

    app = Celery("shop")
    connect_signals()

No secret is sent to a broker or a result backend either: Celery writes the arguments and the result of a task in plain
text into its messages and the worker's log.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import Any, NoReturn

from celery.signals import before_task_publish, worker_init, worker_process_shutdown, worker_shutdown

from strongroom.integrations.readiness import wait_or_exit
from strongroom.secret import REDACTED, SensitiveBytes, SensitiveDict, SensitiveList, SensitiveStr
from strongroom.secrets_manager import close

_SECRET = SensitiveStr | SensitiveBytes | SensitiveList | SensitiveDict


def connect_signals(*, timeout: float = 60.0) -> None:
    """Connect to the signals of this process. In one that only sends tasks, only secret arguments matter.

    The worker waits for the required secrets before its pool starts, and exits with 1 after `timeout` seconds. A child
    of the pool ends without the exit hooks of Python, so the default manager is closed by a signal.

    A task with a secret among its arguments is not sent: `kombu.exceptions.EncodeError` names the task. A task whose
    result is a secret fails with a TypeError. Both are about values of Strongroom's types, not about text made of them.
    """

    def start(sender: Any, **_: object) -> None:
        wait_or_exit(timeout=timeout)
        for task in sender.app.tasks.values() if sender is not None else ():
            _refuse_secret_result(task)

    def end(**_: object) -> None:
        close()

    before_task_publish.connect(_refuse_secret_arguments, weak=False)
    worker_init.connect(start, weak=False)
    worker_process_shutdown.connect(end, weak=False)
    worker_shutdown.connect(end, weak=False)


def _refuse_secret_arguments(sender: str, body: Any, headers: dict[str, Any], **_: object) -> None:
    """Make a message with a secret one that no serializer encodes: Celery ignores the exceptions of a signal."""
    if _has_secret(body):
        fields = body if isinstance(body, dict) else body[-1]  # of the first and the second version of the protocol
        fields["refused"] = _Refusal(f"Task {sender}: an argument is a secret. Pass its path, and read it in the task")
        headers |= {"argsrepr": REDACTED, "kwargsrepr": REDACTED}  # a traceback may show local variables


class _Refusal:
    """A part of a message that raises TypeError when the message is encoded."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __repr__(self) -> str:
        return self._reason

    def __json__(self) -> NoReturn:
        raise TypeError(self._reason)

    def __reduce__(self) -> NoReturn:
        raise TypeError(self._reason)


def _refuse_secret_result(task: Any) -> None:
    """Let the task fail if its result is a secret, unless a function of the application calls it directly."""
    run = task.run

    @wraps(run)
    def checked(*args: Any, **kwargs: Any) -> Any:
        result = run(*args, **kwargs)
        if task.request.called_directly or not _has_secret(result):
            return result
        del result
        raise TypeError(f"Task {task.name}: its result is a secret. Return its path, and read it where it is needed")

    task.run = checked


def _has_secret(value: object) -> bool:
    if isinstance(value, _SECRET):
        return True
    if isinstance(value, Mapping):
        return any(map(_has_secret, value)) or any(map(_has_secret, value.values()))
    return isinstance(value, list | tuple | set | frozenset) and any(map(_has_secret, value))
