"""`integrations.workers.celery`: no secret is an argument or a result of a task."""

import logging
import secrets

import pytest
from celery import Celery, chain, signals
from kombu.exceptions import EncodeError

from strongroom.integrations.workers.celery import connect_signals
from strongroom.secret import SensitiveBytes, SensitiveDict, SensitiveStr

CANARY = "canary-5b21"
SECRET = SensitiveStr(CANARY)


@pytest.fixture
def app(monkeypatch):
    """An application with a broker in memory, whose signals are connected."""
    for signal in ("before_task_publish", "worker_init", "worker_process_shutdown", "worker_shutdown"):
        monkeypatch.setattr(getattr(signals, signal), "receivers", [])
        monkeypatch.setattr(getattr(signals, signal), "sender_receivers_cache", {})
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = secrets.token_hex(4)  # the queues of this broker are those of the process

    @app.task(name="charge", shared=False)
    def charge(*args, **kwargs):
        return args[0] if args else None

    connect_signals(timeout=0)
    yield app
    app.close()


class Worker:
    """The sender of a worker's signal."""

    def __init__(self, app):
        self.app = app


def sent(app):
    """Return the number of messages in the queue."""
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(app.conf.task_default_queue)
        return queue.qsize()


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((SECRET,), {}),
        ((), {"password": SECRET}),
        (([{"deep": (SECRET,)}],), {}),
        ((SensitiveDict({"password": CANARY}),), {}),
        ((SensitiveBytes(CANARY.encode()),), {}),
    ],
    ids=["positional", "keyword", "nested", "whole secret", "bytes"],
)
def test_a_task_with_a_secret_argument_is_not_sent(app, args, kwargs, serializer, protocol, caplog):
    """Celery would write it into `argsrepr`, the broker and the worker's log, since no type can hide text from it."""
    app.conf.task_protocol = protocol
    caplog.set_level(logging.DEBUG)
    for send in (
        lambda: app.tasks["charge"].apply_async(args, kwargs, serializer=serializer),
        lambda: app.send_task("charge", args, kwargs, serializer=serializer),
        lambda: chain(app.signature("charge"), app.signature("charge", args, kwargs)).apply_async(
            serializer=serializer
        ),
    ):
        with pytest.raises(EncodeError) as caught:
            send()
        assert str(caught.value) == "Task charge: an argument is a secret. Pass its path, and read it in the task"
        frames = traceback_locals(caught.value)
        assert CANARY not in caplog.text + frames
    assert sent(app) == 0


def traceback_locals(error):
    """Return the headers of the message in the frames of an error, as a traceback with local variables shows them."""
    shown, trace = "", error.__traceback__
    while trace is not None:
        shown += repr(trace.tb_frame.f_locals.get("headers2", ""))
        trace = trace.tb_next
    return shown


def test_other_arguments_are_sent(app):
    app.tasks["charge"].delay("api-keys/payments", order=7, items=[{"a": (1, None)}])
    assert sent(app) == 1


def test_a_task_whose_result_is_a_secret_fails(app):
    """It would stand in the result backend, and in the worker's log if results are ignored."""
    signals.worker_init.send(sender=Worker(app))
    charge = app.tasks["charge"]
    assert charge.apply(["order 7"]).get() == "order 7"
    for secret in (SECRET, [SECRET], {"a": SECRET}):
        result = charge.apply([secret])
        assert result.state == "FAILURE"
        with pytest.raises(TypeError, match="Task charge: its result is a secret"):
            result.get()
        assert CANARY not in result.traceback
    assert charge(SECRET) == CANARY  # a direct call stays in the process
