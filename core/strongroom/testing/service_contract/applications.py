"""A service's store in applications: fallbacks, names, merges, watches, migrations, processes and forks."""

from __future__ import annotations

import json
import reprlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import InvalidDataError, InvalidPathError, MigrationError, StoreError
from strongroom.migrate import Migrator
from strongroom.secret import Secret, same
from strongroom.secrets_manager import SecretsManager
from strongroom.store import SecretStore
from strongroom.store.memory import MemoryStore
from strongroom.testing.cases import CASES
from strongroom.testing.faulty_services import FaultyService, ServiceFault
from strongroom.testing.service_contract.base import (
    LIMIT,
    NAME,
    PATIENCE,
    Configured,
    Opened,
    ServiceContractBase,
    holds,
    load_config,
    needs,
)
from strongroom.testing.store_contract.base import PATH, absent, secret_data, shows_value

_WRITERS, _KEYS = 3, 4
_LATE = 60.0
"""Seconds: longer than a test."""

_MARKS = ("_", "-", ".", "=", "%", "~", "+", "!", ":", "__", "--", "_x", "-x", "=x", "_u00", "%u00", "x", "0x", "%25")
"""The beginnings of escapes."""

_ALIKE = [
    *("a/b", "a-b", "a--b", "a_b", "a__b", "a.b", "a:b", "a b", "a+b", "a\\b", "a~1b", "a?b", "é", "e\u0301"),
    *("A/b", "a/B", "ab", "aB", "a/b/c", "a--b--c", "a/b--c", "a-/b", "a/-b", "a-/-b", "a_/b", "a/_b", "a---b", "-a"),
    *("a-x41-b", "a---x41-b", "_x41_", "x41", "a_slash_b", "a-slash-b", "a__slash__b", "a_SLASH_b"),
    *(f"a{mark}{code}b" for mark in _MARKS for code in ("2f", "2F", "20")),
    *(f"a{mark}{code}{mark[0]}b" for mark in ("_", "-", "__", "_x", "-x") for code in ("2f", "2F")),
    *(f"{'n' * length}{end}" for length in (64, 128, 240, 256, 512) for end in "ab"),
]
"""Paths that an escape which forgets a character, a case or itself would make one, or a limit of the length."""

_FORKS = """
import faulthandler, json, os, sys, threading
from strongroom import SecretsManager, StoreUnavailableError
from strongroom.store import time_limit

config = json.loads(sys.argv[1])

def read(manager, path="contract/app"):
    return manager.get_secret(path, "own", fresh=True).reveal()

def fork(manager):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(15, exit=True)
        try:
            os.write(writing, read(manager).encode())
        finally:
            os._exit(0)
    os.close(writing)
    return child, reading

def hang(manager):
    try:
        with time_limit(2):
            read(manager)
    except StoreUnavailableError:
        pass

with SecretsManager.from_config(config) as manager:
    print(read(manager), flush=True)
    thread = threading.Thread(target=hang, args=(manager,))
    if sys.argv[2] == "during a call":
        sys.stdin.readline()
        thread.start()
    sys.stdin.readline()
    child, reading = fork(manager)
    if sys.argv[2] == "between calls":
        sys.stdin.readline()
        with time_limit(8):
            print(read(manager, "contract/parent"), flush=True)
    print(os.read(reading, 100).decode(), flush=True)
    os.waitpid(child, 0)
    if thread.ident:
        thread.join()
    print(read(manager), flush=True)
"""
"""It reads, and forks, perhaps while another thread waits for the service. A line of its input begins a step.

Without that thread, the parent reads while its child waits for the service.

A child that hangs prints the stacks of its threads and ends.
"""

_HANGING = """
import json, sys
from strongroom import SecretsManager, StoreUnavailableError
from strongroom.store import time_limit

manager = SecretsManager.from_config(json.loads(sys.argv[1]))
try:
    with time_limit(2):  # the store is imported and opened within it
        manager.get_secret("contract/app", "own")
except StoreUnavailableError:
    print("an outage", flush=True)
"""


class ApplicationContract(ServiceContractBase):
    """The service in a chain, in a migration, and in processes that fork."""

    @pytest.mark.parametrize("fault", ["throttled", "failed", "lost"])
    def test_fallback_does_not_answer_for_a_single_fault(
        self, service: FaultyService, opened: Opened, configured: Configured, fault: ServiceFault
    ) -> None:
        """Its value may be another one."""
        opened({PATH: secret_data(own="right")})
        config = configured(fallback={"plugin": "memory", "secrets": {PATH: {"own": "wrong"}}})
        with SecretsManager.from_config(config) as manager:
            self.meet(service, fault, times=1)
            assert manager.get_secret(PATH, "own") == "right", "the fallback answered"

    def test_fallback_answers_in_an_outage(
        self, service: FaultyService, opened: Opened, configured: Configured
    ) -> None:
        """And the service again, when the outage is over."""
        opened({PATH: secret_data(own="right")})
        config = configured(fallback={"plugin": "memory", "secrets": {PATH: {"own": "fallback"}}})
        with SecretsManager.from_config(config) as manager:
            self.meet(service, "failed")
            assert manager.get_secret(PATH, "own") == "fallback"
        service.heal()
        with SecretsManager.from_config(config) as manager:
            assert manager.get_secret(PATH, "own") == "right"

    def test_names_stay_apart(self, opened: Opened) -> None:
        """Paths that look alike are different secrets, or are refused. Each is listed as it was written."""
        guarded = needs(opened(), "writable")
        outcomes = dict(guarded.write_many((path, secret_data(own=path)) for path in _ALIKE))
        written = [
            path for path, outcome in outcomes.items() if not isinstance(outcome, InvalidPathError | InvalidDataError)
        ]
        assert written, "every path was refused"
        failed = {type(outcomes[path]).__name__ for path in written if isinstance(outcomes[path], StoreError)}
        assert not failed, f"a path is refused with {', '.join(sorted(failed))}, and not as an invalid path"
        wrong = [path for path in written if guarded.read(path).data["own"] != path]
        assert not wrong, f"{', '.join(map(reprlib.repr, wrong))} holds another secret"
        if "listable" in guarded.capabilities:
            assert sorted(guarded.walk()) == sorted(written)
        guarded.delete(written[0])
        assert [path for path in written[1:] if guarded.read(path).data["own"] != path] == []

    def test_change_of_another_client_is_seen(self, opened: Opened) -> None:
        """Another client writes, deletes and writes anew: the store keeps no absence, no value and no ID."""
        guarded = opened()
        absent(guarded.read, PATH)
        other = opened({PATH: secret_data(own="first")})
        holds(guarded, "first")
        opened({PATH: secret_data(own="second")})
        holds(guarded, "second")
        needs(guarded, "writable").write(PATH, secret_data(own="third"))
        other.delete(PATH)
        absent(guarded.read, PATH)
        absent(guarded.delete, PATH)
        other.write(PATH, secret_data(own="fourth"))
        holds(guarded, "fourth")
        guarded.write(PATH, secret_data(own="fifth"))
        holds(other, "fifth")
        other.delete(PATH)
        guarded.write(PATH, secret_data(own="sixth"))
        holds(other, "sixth")
        guarded.delete(PATH)
        absent(other.read, PATH)

    def test_merges_of_several_writers_keep_every_key(self, opened: Opened, configured: Configured) -> None:
        """Under check-and-set, no writer takes back the key of another one."""
        needs(opened({PATH: {"first": "v"}}), "checked")
        config = configured()

        def merge(writer: int) -> None:
            with SecretsManager.from_config(config) as manager:
                for number in range(_KEYS):
                    manager.set_secret(PATH, {f"key-{writer}-{number}": "v"})

        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(merge, range(_WRITERS)))
        assert len(opened().read(PATH).data) == _WRITERS * _KEYS + 1

    def test_late_service_shows_own_writes_and_loses_no_key(
        self, service: FaultyService, opened: Opened, configured: Configured
    ) -> None:
        """An eventually consistent service: a process reads its own writes, and merges keep every key."""
        needs(opened({PATH: {"first": "v"}}), "writable")
        if not service.delay(_LATE):
            pytest.skip("the service is never late")
        config = configured()
        with SecretsManager.from_config(config) as one, SecretsManager.from_config(config) as other:
            for number, manager in enumerate((one, one, other, one)):
                manager.set_secret(PATH, {f"key-{number}": "v"})
                assert manager.get_secret(PATH, f"key-{number}", fresh=True) == "v", "its own write is not there"
        service.delay(0)
        assert len(opened().read(PATH).data) == 5, "a key is lost"

    def test_watch_reports_the_change_of_another_program(self, opened: Opened, configured: Configured) -> None:
        """The next read then returns the new value."""
        guarded = needs(opened({PATH: secret_data(own="old")}), "writable")
        changed = threading.Event()
        with SecretsManager.from_config(configured()) as manager:
            assert manager.get_secret(PATH, "own") == "old"
            with manager.watch([PATH], lambda _: changed.set(), interval=0.05):
                guarded.write(PATH, secret_data(own="new"))
                assert changed.wait(PATIENCE), "no change was reported"
                assert manager.get_secret(PATH, "own") == "new"

    # --- migrations ---------------------------------------------------------------------------------------------------

    def test_migration_there_and_back_changes_nothing(
        self, opened: Opened, configured: Configured, tmp_path: Path
    ) -> None:
        """Every hard input that the store can hold arrives, comes back, and is undone. No other one is changed."""
        needs(opened(), "writable", "listable")
        held = [case for case in CASES if case.name not in self.cannot_hold]
        source, back = MemoryStore(), MemoryStore()
        for number, case in enumerate(CASES):
            named = case.path != CASES[0].path
            source.write(case.path if named else f"contract/value-{number:02}", case.data)
        with _migrating(tmp_path, configured(), source=source, back=back) as migrator:
            with suppress(MigrationError):  # for those that cannot be held
                migrator.apply(migrator.plan("source", NAME))
            assert migrator.apply(migrator.plan(NAME, "back")).ok
            paths = list(GuardedStore(back, "back").walk())
            assert len(paths) == len(held), f"{len(paths)} of {len(held)} secrets came back"
            wrong = [path for path in paths if not same(back.read(path).data, source.read(path).data)]
            assert not wrong, f"{', '.join(wrong)} changed"
            migrator.undo(migrator.runs()[0].name)
        assert list(opened().walk()) == []

    def test_migration_passes_single_faults(
        self, service: FaultyService, opened: Opened, configured: Configured, tmp_path: Path
    ) -> None:
        """A throttled, a failed and a lost reply here and there fail no secret."""
        needs(opened(), "writable", "listable")
        with _migrating(tmp_path, configured(), source=_some()) as migrator:
            plan = migrator.plan("source", NAME)
            if "failed" not in self.impossible:
                service.inject("failed", times=1, only="reads", after=4)
            for number, fault in enumerate(_SAFE_FAULTS):
                if fault not in self.impossible:
                    service.inject(fault, times=1, only="changes", after=number)
            assert migrator.apply(plan).ok
            service.heal()
            assert migrator.verify().ok

    def test_migration_resumes_after_an_outage(
        self, service: FaultyService, opened: Opened, configured: Configured, tmp_path: Path
    ) -> None:
        """Secrets that were written before the outage are not written again, and the others follow."""
        guarded = needs(opened(), "writable", "listable")
        with _migrating(tmp_path, configured(), source=_some()) as migrator:
            plan = migrator.plan("source", NAME)
        self.meet(service, "failed", only="changes", after=3)
        with _migrating(tmp_path, configured(), step=LIMIT, source=_some()) as migrator, pytest.raises(MigrationError):
            migrator.apply(plan)
        service.heal()
        before = {path: found.version for path, found in guarded.read_many(_SOME) if isinstance(found, Secret)}
        with _migrating(tmp_path, configured(), source=_some()) as migrator:
            assert migrator.resume().ok
            assert migrator.verify().ok
        assert sorted(guarded.walk()) == _SOME
        assert {path: guarded.read(path).version for path in before} == before, "a secret was written twice"

    # --- processes ----------------------------------------------------------------------------------------------------

    def test_child_of_a_fork_has_its_own_connection(
        self, service: FaultyService, opened: Opened, configured: Configured
    ) -> None:
        """The parent is answered while its child waits, each gets its own answer, and both processes end."""
        opened({PATH: secret_data(own="right"), "contract/parent": secret_data(own="parent")})
        with _program(_FORKS, configured(), "between calls") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "right\n"
            self.meet(service, "silent", times=1)
            before = service.requests
            print(file=process.stdin, flush=True)
            assert service.wait_for_requests(before + 1, PATIENCE), "the child did not ask the service"
            print(file=process.stdin, flush=True)
            parent = process.stdout.readline()
            service.heal()
            assert parent == "parent\n", "the parent was not answered while its child waited: they share a connection"
            _ends(process, "right\nright\n")

    def test_child_of_a_fork_during_a_call_has_its_own_connection(
        self, service: FaultyService, opened: Opened, configured: Configured
    ) -> None:
        """Another thread of the parent waits for the service, and holds a connection and perhaps locks."""
        opened({PATH: secret_data(own="right")})
        with _program(_FORKS, configured(), "during a call") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "right\n"
            self.meet(service, "silent", times=1)
            before = service.requests
            print(file=process.stdin, flush=True)
            assert service.wait_for_requests(before + 1, PATIENCE), "the service was not asked"
            _ends(process, "right\nright\n", "\n")

    def test_hung_call_does_not_keep_the_process(
        self, service: FaultyService, opened: Opened, configured: Configured
    ) -> None:
        """A process that has given up a call can end."""
        opened({PATH: secret_data()})
        self.meet(service, "silent")
        with _program(_HANGING, configured()) as process:
            _ends(process, "an outage\n")


_SOME = [f"contract/{number:02}" for number in range(8)]
_SAFE_FAULTS: tuple[ServiceFault, ...] = ("throttled", "lost", "throttled")
"""Faults of a change after which a store knows whether it was made."""


def _some() -> MemoryStore:
    store = MemoryStore()
    for path in _SOME:
        store.write(path, secret_data(own=path))
    return store


@contextmanager
def _migrating(
    folder: Path, document: Mapping[str, Any], *, step: float = PATIENCE, **stores: SecretStore
) -> Iterator[Migrator]:
    """Yield a migrator between the service, opened by its configuration, and these stores. `step` is its timeout."""
    config = replace(load_config(document), timeout=step)
    with Migrator(config, stores=stores, state_folder=folder / "migrations") as migrator:
        yield migrator


@contextmanager
def _program(source: str, config: Mapping[str, Any], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program with the configuration as its first argument. End it at the end of the block."""
    command = [sys.executable, "-c", source, json.dumps(config), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603  # ours
        try:
            yield process
        finally:
            process.kill()


def _ends(process: subprocess.Popen[str], printed: str, line: str | None = None) -> None:
    """Assert that a program ends after this line of input, with this rest of its output and no value on stderr."""
    output, errors = process.communicate(line, timeout=PATIENCE)
    assert not shows_value(errors), "a value was printed to stderr"
    assert (output, process.returncode) == (printed, 0), errors
