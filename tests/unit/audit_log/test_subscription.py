"""The audit log of a process: a record for each read, change and step, and none without a value or a change."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from strongroom import (
    ConfigurationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretsManager,
    StoreUnavailableError,
    events,
)
from strongroom._config import discovery
from strongroom.audit_log import reason
from strongroom.audit_log.log_file import Hasher
from strongroom.audit_log.verification import verify
from strongroom.errors import AuditError, WriteOutcomeUnknownError
from strongroom.rotate import reports
from strongroom.secret import SensitiveStr
from strongroom.store.memory import MemoryStore
from support.clock import Clock
from support.scenarios import migrations
from support.stores import RemoteStore

CANARY = "s3cret-4711"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def store() -> RemoteStore:
    return RemoteStore({"app": {"key": CANARY}})


@pytest.fixture
def manager(store: RemoteStore, file: Path) -> Iterator[SecretsManager]:
    with SecretsManager(chain=[store, MemoryStore()], audit=file) as manager:
        yield manager


def records(file: Path) -> list[dict[str, Any]]:
    """Return the fields of each record of an intact log without a value."""
    assert verify(file, Hasher()).ok
    assert CANARY not in file.read_text()
    return [json.loads(line) for line in file.read_text().splitlines()]


def told(file: Path, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(record.get(name) for name in names) for record in records(file)]


def test_each_kind_of_read_has_a_record(manager, store, file):
    """With the store, the link and the outcome, wherever the answer is from."""
    clock = Clock.of(manager)
    manager.get_secret("app", "key")
    manager.get_secret("app", "key")
    manager.get_secret("app")
    manager.get_secrets(["app"])
    asyncio.run(manager.aget_secret("app", "key"))
    manager.get_secret("absent", default=None)
    store.fault = PermissionDeniedError()
    with pytest.raises(PermissionDeniedError):
        manager.get_secret("secret/of/others")
    clock.move(400)
    store.fault = StoreUnavailableError()
    manager.get_secret("app", "key")
    with pytest.raises(StoreUnavailableError):
        manager.get_secret("other")
    found = told(file, "event", "outcome", "path", "key", "store", "link")
    assert found == [
        ("read", "read", "app", "key", "remote", 1),
        ("read", "hit", "app", "key", "remote", 1),
        ("read", "hit", "app", None, "remote", 1),
        ("read", "hit", "app", None, "remote", 1),
        ("read", "hit", "app", "key", "remote", 1),
        ("read", "absent", "absent", None, "remote", 1),
        ("read", "absent", "absent", None, "memory", 2),
        ("read", "denied", "secret/of/others", None, "remote", 1),
        ("read", "stale", "app", "key", "remote", 1),
        ("read", "unavailable", "other", None, "remote", 1),
        ("read", "absent", "other", None, "memory", 2),
    ]


def test_a_record_names_the_process_and_the_reason(store, file):
    """The inner of two reasons counts, also in another thread of the call."""
    settings = {"file": str(file), "application": "billing"}
    with SecretsManager(chain=[store], audit=settings) as manager, reason("outer"):
        with reason("ticket 4711"):
            asyncio.run(manager.aget_secret("app"))
        manager.get_secret("app")
    found = told(file, "user", "host", "pid", "program", "application", "reason")
    user = next((entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == os.geteuid()), str(os.geteuid()))
    process = (user, socket.gethostname(), os.getpid())
    assert [(*each[:3], *each[4:]) for each in found] == [
        (*process, "billing", "ticket 4711"),
        (*process, "billing", "outer"),
    ]
    assert [record["seq"] for record in records(file)] == [1, 2]


@pytest.mark.parametrize("text", ["", "x" * 501])
def test_a_reason_has_a_length(text):
    with pytest.raises(ValueError, match="1 to 500 characters"), reason(text):
        pass


@pytest.mark.parametrize("text", [None, b"x", SensitiveStr(CANARY)])
def test_a_reason_is_text_without_a_secret(text):
    with pytest.raises(TypeError, match="a reason is text without secrets"), reason(text):
        pass


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (None, "written"),
        (ConflictError(), "conflict"),
        (PermissionDeniedError(), "denied"),
        (StoreUnavailableError(), "unavailable"),
        (WriteOutcomeUnknownError(), "unknown"),
    ],
)
def test_a_change_has_a_record_before_and_after_it(manager, store, file, fault, outcome):
    store.fault = fault
    with pytest.raises(type(fault)) if fault else nullcontext():
        manager.set_secret("app", {"key": CANARY}, store="remote", replace=True)
    assert told(file, "event", "outcome", "action", "path", "store") == [
        ("write", "started", "write", "app", "remote"),
        ("write", outcome, "write", "app", "remote"),
    ]


def test_each_kind_of_change_has_its_name(file):
    with SecretsManager(chain=[MemoryStore()], audit=str(file)) as manager:
        manager.set_secret("app", {"key": CANARY})
        manager.versions.read("app", 1)
        manager.versions.rollback("app", 1)
        manager.delete_secret("app")
        manager.versions.undelete("app", 2)
        manager.versions.destroy("app", 1)
        manager.versions.set_metadata("app", {"owner": "team"})
    changes = [
        (action, outcome) for event, action, outcome in told(file, "event", "action", "outcome") if event == "write"
    ]
    names = ["write", "rollback", "delete", "undelete", "destroy", "label"]
    assert changes == [(name, outcome) for name in names for outcome in ("started", "written")]
    assert ("read", "version") in told(file, "event", "action")


def test_the_steps_of_rotations_and_migrations_have_records(manager, file, tmp_path):
    source, target = MemoryStore(), MemoryStore()
    source.write("app", {"key": CANARY})
    options = {"stores": {"from": source, "to": target}, "state_folder": tmp_path}
    migrations.apply(migrations.plan("from", "to", **options), **options)
    reports.record("promote", "app", store="remote", link=2, seconds=0.25)
    assert told(file, "event", "outcome", "action", "path", "store", "link") == [
        ("migration", "started", "apply", None, "to", None),
        ("migration", "done", "apply", "app", "to", None),
        ("rotation", "done", "promote", "app", "remote", 2),
    ]
    [(begun,), (applied,), (promoted,)] = told(file, "seconds")
    assert (begun, applied >= 0, promoted) == (None, True, 0.25)


def test_no_read_and_no_change_happens_without_a_record(manager, store, file):
    """Cached ones too. A default is for an absence alone. When the cause is gone, calls go on."""
    manager.get_secret("app", "key")
    file.chmod(0o620)
    calls = [
        lambda: manager.get_secret("app", "key"),
        lambda: manager.get_secret("app", "key", default=None),
        lambda: manager.get_secrets(["app"], strict=True),
        lambda: asyncio.run(manager.aget_secret("app", "key")),
        lambda: manager.versions.read("app", 1),
        lambda: manager.set_secret("app", {"key": "new"}, store="remote"),
        lambda: manager.delete_secret("app", store="remote"),
    ]
    for call in calls:
        with pytest.raises(AuditError, match="cannot be written: others may write to it: run chmod go-w"):
            call()
    batch = manager.get_secrets(["app"])
    assert (dict(batch), type(batch.errors["app"])) == ({}, AuditError)
    file.chmod(0o600)
    assert manager.get_secret("app", "key") == CANARY
    assert store.read("app").version == 1
    assert len(records(file)) == 2


def test_an_explanation_records_each_store(manager, file):
    """It asks the stores behind the one that answers too. Without a record it has no answer."""
    manager.explain("app", "key")
    assert told(file, "outcome", "store", "link") == [("read", "remote", 1), ("absent", "memory", 2)]
    file.chmod(0o620)
    with pytest.raises(AuditError):
        manager.explain("app", "key")


def test_no_migration_begins_without_a_record(manager, file, tmp_path):
    source, target = MemoryStore(), MemoryStore()
    source.write("app", {"key": CANARY})
    options = {"stores": {"from": source, "to": target}, "state_folder": tmp_path}
    plan = migrations.plan("from", "to", **options)
    file.touch()
    file.chmod(0o620)
    with pytest.raises(AuditError):
        migrations.apply(plan, **options)
    with pytest.raises(SecretNotFoundError):
        target.read("app")


def test_the_result_of_a_change_is_not_raised(manager, store, file, caplog):
    """It was made. The next record says how many are missing."""
    write = store.write

    def lock(*arguments: Any) -> Any:
        file.chmod(0o620)
        return write(*arguments)

    store.write = lock
    manager.set_secret("app", {"key": "new"}, store="remote", replace=True)
    assert [record.message for record in caplog.records if record.name == "strongroom.audit_log"] == [
        f"The audit log {file} cannot be written: others may write to it: run chmod go-w. Records are missing"
    ]
    file.chmod(0o600)
    manager.get_secret("app", "key")
    assert told(file, "event", "outcome", "lost") == [
        ("write", "started", None),
        ("log", "gap", 1),
        ("read", "read", None),
    ]
    assert verify(file, Hasher()).lost == 1


def test_a_warning_is_enough_if_that_is_configured(store, file, caplog):
    """One for each time that the log fails, and one when it works again."""
    caplog.set_level(logging.WARNING, "strongroom.audit_log")
    with SecretsManager(chain=[store], audit={"file": str(file), "on_failure": "warn"}) as manager:
        manager.get_secret("app", "key")
        file.chmod(0o620)
        for _ in range(3):
            assert manager.get_secret("app", "key") == CANARY
        file.chmod(0o600)
        manager.get_secret("app", "key")
    assert [record.message.rpartition(" cannot ")[2].partition(":")[0] for record in caplog.records] == [
        "be written",
        f"The audit log {file} can be written again",
    ]
    assert told(file, "outcome", "lost") == [("read", None), ("gap", 3), ("hit", None)]


def test_the_managers_of_a_process_share_a_log(store, file):
    """While one with a log is open, the reads of the others are recorded, once each."""
    other = SecretsManager(chain=[store])
    first, second = (SecretsManager(chain=[store], audit=file) for _ in range(2))
    other.get_secret("app", "key")
    first.close()
    first.close()
    other.get_secret("app", "key")
    second.close()
    other.get_secret("app", "key")
    assert [record["outcome"] for record in records(file)] == ["read", "hit"]
    other.close()


def test_a_manager_that_is_dropped_ends_its_log(store, file):
    gc.collect()  # what other tests have dropped
    before = dict(events.auditors)
    manager = SecretsManager(chain=[store], audit=file)
    assert len(events.auditors) == len(before) + 1
    del manager
    gc.collect()
    assert events.auditors == before


def test_a_key_is_created_and_must_be_private(store, file, tmp_path):
    key = tmp_path / "key"
    settings = {"file": str(file), "key_file": str(key)}
    with SecretsManager(chain=[store], audit=settings) as manager:
        manager.get_secret("app")
    assert (key.stat().st_mode & 0o777, len(key.read_bytes())) == (0o600, 32)
    assert verify(file, Hasher(key.read_bytes())).ok
    assert not verify(file, Hasher()).ok
    key.chmod(0o640)
    with SecretsManager(chain=[store], audit=settings) as manager, pytest.raises(AuditError, match="run chmod 600"):
        manager.get_secret("app")


def test_a_variable_and_a_file_turn_it_on(tmp_path, monkeypatch):
    """A relative path in a file is below its folder. The argument wins, then the variable."""
    config = tmp_path / "strongroom.toml"
    config.write_text('chain = ["memory"]\n[audit]\nfile = "log"\nkey_file = "key"\nsync = "never"\n')
    loaded = discovery.load(config_file=config).audit
    assert (loaded.file, loaded.key_file, loaded.sync) == (tmp_path / "log", tmp_path / "key", "never")
    monkeypatch.setenv("STRONGROOM_AUDIT_FILE", "/var/log/x")
    assert discovery.load(config_file=config).audit.file == Path("/var/log/x")
    assert discovery.load(config_file=config, audit="y").audit.file == Path("y")
    assert (
        discovery.load(config_file=config).settings["audit.file"].origin
        == "the environment variable STRONGROOM_AUDIT_FILE"
    )
    settings = discovery.load(config_file=config, audit={"sync": "always"}).settings
    assert settings["audit.sync"].origin == "the argument audit: sync"
    assert settings["audit.file"].origin == "the environment variable STRONGROOM_AUDIT_FILE"


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"fil": "x"}, "unknown key"),
        ({"on_failure": "ignore"}, 'must be one of "fail", "warn", not a string'),
        ({"on_failure": "wran"}, r'must be one of "fail", "warn"; did you mean "warn"\?'),
        ({"sync": "sometimes"}, 'must be one of "changes", "always", "never"'),
        ({"max_size": 100}, "65536 or more"),
        (7, "must be a file"),
        ("", "must be a file"),
    ],
)
def test_a_wrong_setting_is_refused(settings, fault):
    with pytest.raises(ConfigurationError, match=fault):
        SecretsManager(chain=["memory"], audit=settings)
