"""The cache after a suspend, during which `time.monotonic` stops: ages and leases have gone on."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

HEAD = """
    import time

    asleep = 0.0
    clock_gettime = time.clock_gettime
    time.clock_gettime = lambda clock: clock_gettime(clock) + asleep

    from strongroom import SecretsManager
    from strongroom.errors import StoreUnavailableError
    from strongroom.secret import Secret
    from strongroom.store import Traits

    class Store:
        traits = Traits()
        ttl = fault = None
        reads = 0

        def read(self, path):
            if self.fault:
                raise StoreUnavailableError(path, "refused")
            self.reads += 1
            return Secret(path=path, data={"url": f"read {self.reads}"}, ttl=self.ttl)

        def close(self):
            pass

    store = Store()
    secrets = SecretsManager(chain=[store])
"""


def run(body: str) -> str:
    script = textwrap.dedent(HEAD) + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="CLOCK_BOOTTIME")
def test_a_cached_secret_is_not_current_after_eight_hours_of_suspend() -> None:
    """Neither as text, which the manager serves by itself, nor as a whole secret."""
    assert (
        run("""
        secrets.get_secret("db", "url")
        asleep = 8 * 3600.0
        print(secrets.get_secret("db", "url").reveal(), secrets.resolve("db").value["url"].reveal())
    """)
        == "read 2 read 2"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="CLOCK_BOOTTIME")
@pytest.mark.parametrize(("hours", "answer"), [(0.5, "stale"), (8, "refused")])
def test_a_secret_past_its_lease_or_max_stale_is_refused_after_a_suspend(hours: float, answer: str) -> None:
    """The store cannot be reached yet, as is usual just after a suspend."""
    assert (
        run(f"""
        secrets.get_secret("db", "url")
        store.fault, asleep = True, {hours} * 3600.0
        try:
            print("stale" if secrets.resolve("db", "url").stale else "current")
        except StoreUnavailableError:
            print("refused")
    """)
        == answer
    )


@pytest.mark.skipif(sys.platform != "linux", reason="CLOCK_BOOTTIME")
def test_a_lease_that_ended_in_a_suspend_is_not_served_stale() -> None:
    """It ended before `max_stale` did."""
    assert (
        run("""
        store.ttl = 600.0
        secrets.get_secret("db", "url")
        store.fault, asleep = True, 900.0
        try:
            print("stale" if secrets.resolve("db", "url").stale else "current")
        except StoreUnavailableError:
            print("refused")
    """)
        == "refused"
    )
