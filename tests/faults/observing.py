"""What is watched while operations run: what is asked of servers, what is said, and whether the machine was busy."""

import contextlib
import logging
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

from strongroom_vault.http.messages import FaultKind, HttpFault
from strongroom_vault.http.request_policy import exchange, first_attempt
from strongroom_vault.session import session

_TICK = 0.01
_STARVED = 0.2
_HERE = str(Path(__file__).parent)


class Requests:
    """Every request that may have reached a server: as the client's policy sends it, and as a proxy has received it.

    A redirect that is followed is part of the request that met it, and a refused connection is none.
    """

    def __init__(self, monkeypatch):
        self.sent, self._proxy = [], None
        monkeypatch.setattr(session, "exchange", self._watched)
        monkeypatch.setattr(session, "first_attempt", self._watched_attempt)

    def _watched_attempt(self, request, cluster, remaining, send):
        def watched(step):
            came = send(step)
            self._note(request, came)
            return came

        return first_attempt(request, cluster, remaining, watched)

    def _note(self, request, came):
        reached = not (isinstance(came, HttpFault) and came.kind is FaultKind.UNREACHABLE)
        if came is not None and reached and not 300 <= getattr(came, "status", 0) < 400:
            self.sent.append((request.method, request.target, request.headers.get("X-Vault-Token")))

    def _watched(self, request, *rest, **options):
        steps, came = exchange(request, *rest, **options), None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as done:  # also before the first step
                return done.value
            came = yield step
            self._note(request, came)

    def forget(self, proxy):
        """Begins anew, with what this proxy receives; None for none."""
        self.sent.clear()
        self._proxy = proxy
        if proxy is not None:
            proxy.forget()

    def most(self, owns):
        """How often one and the same request of this operation was made, at most."""
        received = self._proxy.requests if self._proxy is not None else ()
        seen = Counter((one.method, one.target, one.headers.get("x-vault-token")) for one in received)
        counts = [*Counter(self.sent).items(), *seen.items()]
        return max((count for (method, target, _), count in counts if owns(method, target)), default=0)


@contextlib.contextmanager
def everything_logged():
    """What all loggers say meanwhile, at every level, with all that their records hold."""
    root, lines = logging.getLogger(), []
    handler, level = logging.Handler(), root.level
    handler.emit = lambda record: lines.append(f"{handler.format(record)} {vars(record)}")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def shown(error):
    """All that an error shows: its text, its attributes, its contexts, and the locals of our frames on its way."""
    parts, seen = [], error
    while seen is not None:
        parts += [str(seen), repr(seen), repr(seen.args), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    return "".join([*parts, *traceback.TracebackException(type(error), error, trace, capture_locals=True).format()])


class Starvation:
    """Whether this process was kept from running meanwhile: a thread that only sleeps woke much too late."""

    def __init__(self):
        self._worst = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __bool__(self):
        return self._worst > _STARVED

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _watch(self):
        before = time.monotonic()
        while not self._done.wait(_TICK):
            at = time.monotonic()
            self._worst, before = max(self._worst, at - before - _TICK), at
