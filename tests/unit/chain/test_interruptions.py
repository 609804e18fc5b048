"""An exception of a signal handler at every line of a read, and forks during a first read."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress

import pytest

from strongroom._chain import cache as cache_module
from strongroom._chain import cached_store as cached_store_module
from strongroom._chain import connection as connection_module
from strongroom._chain import link as link_module
from strongroom._chain.cache import Flight, MemoryCache
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.secret import Secret
from strongroom.store import Traits
from support.clock import LONG, Clock
from support.signals import handling, signalled_at

SOURCES = frozenset(
    str(module.__file__) for module in (cache_module, cached_store_module, link_module, connection_module)
)
MOST_LINES = 2000

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")


def test_an_interrupt_at_any_line_of_a_read_is_raised_as_itself() -> None:
    """Ctrl-C just after the answer too; no flight is left that the next reader would wait for."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    for line in range(1, MOST_LINES):
        cache = MemoryCache("vault", CacheConfig(max_entries=2), clock=Clock())
        interrupted = False
        with handling(interrupt):
            try:
                inside = signalled_at(
                    line,
                    SOURCES,
                    lambda: cache.fetch("a", lambda: Secret(path="a", data={"k": "v"})),  # noqa: B023
                )
            except KeyboardInterrupt:
                inside = interrupted = True
        assert cache.flights == {}
        assert cache.text("a", "k") is None or cache.current("a") is not None
        assert cache.fetch("a", lambda: Secret(path="a", data={"k": "w"}), fresh=True).data == {"k": "w"}
        assert cache.text("a", "k") == "w"
        if not inside:
            return
        assert interrupted
    pytest.fail("the read has no end")


class Store:
    """Has a secret at each path."""

    traits = Traits()

    def read(self, path: str) -> Secret:
        return Secret(path=path, data={"k": "v"})

    def close(self) -> None:
        pass


def test_an_interrupted_batch_leaves_no_flight() -> None:
    """At any line: the threads that joined it would wait for nothing."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    for line in range(1, MOST_LINES):
        link = Link(LinkConfig("vault"), Store, CacheConfig())
        inside = True
        with handling(interrupt), suppress(KeyboardInterrupt):
            inside = signalled_at(line, SOURCES, lambda: link.read_many(["a", "b"]))  # noqa: B023
        assert link.cache.flights == {}, line
        if not inside:
            return
    pytest.fail("the batch has no end")


# --- forks ------------------------------------------------------------------------------------------------------------

FORK = """
    import os, signal, threading

    from strongroom._chain.chain import Chain
    from strongroom._chain.link import Link
    from strongroom._config import CacheConfig, LinkConfig
    from strongroom.secret import Secret
    from strongroom.store import Traits

    reading, go = threading.Event(), threading.Event()

    class Store:
        traits = Traits()

        def read(self, path):
            reading.set()
            assert go.wait(60)
            return Secret(path=path, data={"k": "v"})

        def close(self):
            pass

    chain = Chain([Link(LinkConfig("v"), Store, CacheConfig())])
    first = threading.Thread(target=chain.resolve, args=("a", "k"))
    first.start()
    assert reading.wait(60)
    pid = os.fork()
    if pid == 0:
        signal.alarm(50)  # ends a child that hangs
        go = threading.Event()
        go.set()
        chain.reset()
        os._exit(0 if chain.resolve("a", "k").value == "v" else 1)
    print(first.is_alive(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    go.set()
    first.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_fork_while_a_thread_waits_for_its_first_answer_waits_for_nothing() -> None:
    """Neither in the parent nor in the child, which reads by itself."""
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK)], check=True, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.strip() == "True 0", ran.stderr


def test_a_signal_during_a_wait_for_another_thread_does_not_end_it() -> None:
    """The handler runs, and the reader still gets the answer of the read that it joined."""
    cache = MemoryCache("vault", CacheConfig(), clock=Clock())
    begun, go, handled = threading.Event(), threading.Event(), threading.Event()

    def load() -> Secret:
        begun.set()
        assert go.wait(LONG)
        return Secret(path="a", data={"k": "v"})

    def send() -> None:
        flight = cache.join_or_lead("a", Flight())
        while flight is not None and not flight._condition._waiters:  # type: ignore[attr-defined]
            pass  # nothing public tells that a thread waits
        while not handled.wait(0.01):  # a signal just before the thread blocks is handled after the next one
            signal.pthread_kill(main, signal.SIGUSR1)
        go.set()

    main = threading.get_ident()
    leader = threading.Thread(target=cache.fetch, args=("a", load))
    leader.start()
    assert begun.wait(LONG)
    sender = threading.Thread(target=send)
    with handling(handled.set):
        sender.start()
        assert cache.fetch("a", load).data == {"k": "v"}
    sender.join()
    leader.join()
