"""A program of the user's: input and output through pipes, with a deadline, a bounded output and no terminal."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NamedTuple

from strongroom.secret import SensitiveBytes
from strongroom.store.deadline import remaining
from strongroom.store.process import ACTIVE_HELPERS

if TYPE_CHECKING:
    import subprocess  # every process imports this module, and few run a program

INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    ACTIVE_HELPERS,
)
"""Environment variables that a program inherits. Credentials of stores are not among them."""

_CHUNK = 1 << 16


class Finished(NamedTuple):
    """Result of a program: its exit code, negative after a signal, and its output, cut after `limit + 1` bytes."""

    code: int
    output: SensitiveBytes


def run_program(
    program: Sequence[str], content: bytes, *, variables: Mapping[str, str], limit: int = 1 << 20
) -> Finished:
    """Run a program to its end, with `content` on standard input. Its standard error is dropped: it could hold values.

    It has a session of its own. After `remaining()` seconds, or when its output exceeds `limit` bytes, it is killed
    with its children.

    Args:
        program: the program and its arguments.
        content: its input.
        variables: environment variables beside the `INHERITED` ones.
        limit: the most bytes of output.

    Raises:
        TimeoutError: it has not ended in time.
        OSError: it cannot be started, for example on a system without POSIX process groups.
    """
    import subprocess

    if not hasattr(os, "killpg"):
        raise OSError(errno.ENOSYS, "this system lacks the process groups of POSIX")
    content = SensitiveBytes(content)
    deadline = time.monotonic() + remaining()
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    process = subprocess.Popen(  # noqa: S603  # the user's own program
        list(map(str, program)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**environment, **variables},
        bufsize=0,
        start_new_session=True,
    )
    with process:
        try:
            output = _exchange(process, content, limit, deadline)
            if len(output) <= limit:
                process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            output = None
        finally:
            kill(process)
    if output is None:
        raise TimeoutError
    return Finished(process.returncode, output)


def _exchange(process: subprocess.Popen[bytes], content: bytes, limit: int, deadline: float) -> SensitiveBytes:
    """Write the input and read the output at once, so that neither side waits for the other."""
    import selectors
    import subprocess

    source, sink = process.stdout, process.stdin
    assert source is not None  # noqa: S101  # both are pipes
    assert sink is not None  # noqa: S101
    os.set_blocking(sink.fileno(), False)
    output, rest = bytearray(), memoryview(content)
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        selector.register(sink, selectors.EVENT_WRITE)
        while len(output) <= limit and selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in selector.select(left):
                if key.fileobj is source:
                    chunk = os.read(source.fileno(), min(_CHUNK, limit + 1 - len(output)))
                    if not chunk:
                        selector.unregister(source)  # a program may close its output before it reads its input
                    output += chunk
                else:
                    rest = _written(sink, rest)
                    if not rest:
                        selector.unregister(sink)
                        with suppress(BrokenPipeError):
                            sink.close()
    return SensitiveBytes(output)


def _written(sink: IO[bytes], rest: memoryview) -> memoryview:
    """Write a part, and return what is left: nothing if the program reads no more."""
    try:
        return rest[os.write(sink.fileno(), rest[:_CHUNK]) :] if rest else rest
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and its children, unless it has been waited for.

    A child can outlive it and hold its output open. Nothing reaps the program before, so its number is still its own.
    """
    if process.returncode is None:
        import signal

        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
