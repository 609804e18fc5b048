"""Programs that read and write in an unusual order."""

import os
import select
import sys

import pytest

from strongroom.store import time_limit
from strongroom.store.program import run_program
from support.clock import LONG

LARGE = 1 << 20


def run(source, content=b""):
    with time_limit(30):
        return run_program([sys.executable, "-c", source], content, variables={}, limit=2 * LARGE)


def test_a_program_that_closes_its_output_first_gets_its_whole_input():
    """Unread input would be lost, and the outcome of the write would be unknown."""
    source = "import os, sys; os.close(1); sys.exit(len(sys.stdin.buffer.read()) >> 20)"
    assert run(source, b"x" * (7 * LARGE)) == (7, b"")


def test_a_program_that_reads_nothing_ends():
    assert run("print('done')", b"x" * LARGE) == (0, b"done\n")
    assert run("import os; os.close(0); print('done')", b"x" * LARGE) == (0, b"done\n")


def test_a_program_that_echoes_more_than_a_pipe_holds_does_not_deadlock():
    source = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    assert run(source, b"x" * LARGE) == (0, b"x" * LARGE)


def test_child_that_holds_the_output_of_an_ended_program_is_killed_in_time(tmp_path):
    """The output has no end while a child could write more. The other end of the FIFO closes when the child is gone."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with time_limit(0.5), pytest.raises(TimeoutError):
            run_program(["sh", "-c", f"exec 9>'{fifo}'; sleep 600 &"], b"", variables={})
        assert select.select([reader], [], [], LONG)[0]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)
