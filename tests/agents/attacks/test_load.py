"""Many requests and long bodies: the memory of the proxy stays below a bound.

TEST_AGENTS_LONG=1 makes them 10,000 requests and 1 GB.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import httpx
import pytest

from support.agents.upstream import Answer
from support.agents.workers import VALUE

IS_LONG = os.environ.get("TEST_AGENTS_LONG") == "1"
REQUESTS = 10_000 if IS_LONG else 200
MEBIBYTES = 1024 if IS_LONG else 20
PART = b"x" * (1 << 20)
BOUND = 32 << 20
"""The most by which the memory of the proxy may grow, in bytes."""

pytestmark = pytest.mark.timeout(1800 if IS_LONG else 300)


@pytest.fixture
def client(door, upstream):
    with httpx.Client(proxy=door.url, verify=door.tls, timeout=120) as made:
        made.headers["authorization"] = f"Bearer {door.placeholder}"
        upstream.answer = lambda _: Answer(body=b"ok")
        made.post(upstream.origin, content=[PART] * 8)  # what is allocated once
        yield made


@pytest.fixture(autouse=True)
def grown(request, door, client):
    """Fail if the memory of the proxy has grown by more than the bound; print how much it was."""
    before, began = peak(door), time.monotonic()
    yield
    more = peak(door) - before
    print(f"{request.node.name}: {more / 1e6:.1f} MB more, {time.monotonic() - began:.1f} s")  # noqa: T201
    assert more < BOUND


def peak(door):
    status = Path(f"/proc/{door.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def test_many_requests(client, upstream):
    for _ in range(REQUESTS):
        assert client.get(f"{upstream.origin}/v1/x").status_code == 200
        assert upstream.requests.pop().header("authorization") == f"Bearer {VALUE}"
        upstream.requests.clear()


def test_long_body(client, upstream):
    assert client.post(upstream.origin, content=(PART for _ in range(MEBIBYTES))).status_code == 200
    assert upstream.requests[-1].size == MEBIBYTES << 20


def test_long_answer(client, upstream):
    upstream.answer = lambda _: Answer(body=(PART for _ in range(MEBIBYTES)))
    with client.stream("GET", upstream.origin) as answer:
        assert sum(map(len, answer.iter_raw())) == MEBIBYTES << 20


def test_refused_body(door, client, upstream):
    upstream.requests.clear()
    url = f"{upstream.origin}/?key={door.placeholder}"
    assert client.post(url, content=(PART for _ in range(MEBIBYTES))).status_code == 403
    assert upstream.requests == []
