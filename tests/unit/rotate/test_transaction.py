"""The transaction on a memory store: what each step leaves, what a failure undoes, and who may go on."""

import logging
from contextlib import suppress

import pytest

from strongroom._manager import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    RotationError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnfinishedRotationError,
    UnsupportedOperationError,
)
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.state import KEY, LEASE, SKEW, RotationStep, parse_document, pending_path
from strongroom.store.memory import MemoryStore
from strongroom_rotators.generated import open_password
from support.scenarios.rotating import (
    FIRST,
    OUTAGE,
    PATH,
    WRITES,
    KillableStore,
    Killed,
    Rotating,
    killed_at_each_write,
    process_killed,
)


@pytest.fixture(params=[True, False], ids=["two credentials", "one credential"])
def rotating(request):
    return Rotating(two=request.param)


def test_a_rotation_replaces_the_credential_and_ends_the_old_one(rotating):
    state = rotating.transaction().rotate()
    assert state.step is RotationStep.DONE
    assert rotating.secret["password"] != FIRST["password"]
    assert {key: rotating.secret[key] for key in ("username", "host")} == {"username": "app", "host": "db.example"}
    assert rotating.service.accepted == {rotating.secret["password"]}
    assert rotating.pending is None
    assert state.last_success == rotating.time.now


def test_a_second_rotation_starts_from_the_first(rotating):
    rotating.transaction().rotate()
    before = rotating.secret["password"]
    rotating.transaction().rotate()
    assert rotating.secret["password"] != before
    assert rotating.service.accepted == {rotating.secret["password"]}


def test_the_state_of_a_finished_rotation_holds_no_value(rotating):
    rotating.transaction().rotate()
    assert set(rotating.document) == {KEY}
    assert rotating.secret["password"].reveal() not in str(rotating.document)
    assert "first-password" not in str({key: str(value) for key, value in rotating.document[KEY].items()})


@pytest.mark.parametrize("step", ["apply", "prove"])
@pytest.mark.parametrize(
    "fault",
    [OUTAGE, PermissionDeniedError(None, "no right"), ValueError("first-password")],
    ids=lambda f: type(f).__name__,
)
def test_a_step_that_fails_is_undone_and_the_error_names_it(rotating, step, fault):
    """The old credential works, the next command is in the message, and nothing of a plugin's own error is."""
    transaction = rotating.transaction()
    rotating.rotator.faults[step] = fault
    original = rotating.rotator.called

    def heal(method):  # the service is well again when the undo comes
        try:
            original(method)
        finally:
            if method == step:
                rotating.rotator.faults.clear()

    rotating.rotator.called = heal
    with pytest.raises(RotationError) as caught:
        transaction.rotate()
    assert not isinstance(caught.value, UnfinishedRotationError)
    assert caught.value.step == step
    assert f"at step {step}" in str(caught.value)
    assert "strongroom rotate database/app" in str(caught.value)
    assert "first-password" not in str(caught.value)
    assert rotating.secret == FIRST
    assert rotating.service.accepted == {FIRST["password"]}
    assert rotating.pending is None
    rotating.transaction().rotate()
    assert rotating.service.accepted == {rotating.secret["password"]}


def test_an_undo_that_fails_too_can_be_repeated(rotating):
    rotating.rotator.faults.update(apply=OUTAGE, prove=OUTAGE)
    with pytest.raises(UnfinishedRotationError, match="strongroom rotate undo database/app"):
        rotating.transaction().rotate()
    assert rotating.works()
    rotating.rotator.faults.clear()
    assert rotating.transaction().undo().step is RotationStep.UNDONE
    assert rotating.secret == FIRST
    assert rotating.service.accepted == {FIRST["password"]}


def test_a_rotation_is_made_after_the_undo_that_another_process_has_left(rotating):
    rotating.rotator.faults.update(apply=OUTAGE, prove=OUTAGE)
    with pytest.raises(UnfinishedRotationError):
        rotating.transaction().rotate()
    rotating.rotator.faults.clear()
    assert rotating.transaction().rotate().step is RotationStep.DONE
    assert rotating.secret != FIRST
    assert rotating.service.accepted == {rotating.secret["password"]}


def test_a_revocation_that_fails_is_resumed(rotating):
    rotating.rotator.faults["revoke"] = OUTAGE
    with pytest.raises(UnfinishedRotationError, match="strongroom rotate resume database/app"):
        rotating.transaction().rotate()
    assert rotating.service.lets_in(rotating.secret)
    rotating.rotator.faults.clear()
    assert rotating.transaction().resume().step is RotationStep.DONE
    assert rotating.service.accepted == {rotating.secret["password"]}


@killed_at_each_write
def test_a_killed_process_leaves_what_another_one_can_finish_or_undo(two, write, after, finish):
    """At each write, before and after it: a stored credential works, and the end is clean."""
    store = KillableStore()
    rotating = Rotating(two=two, store=store)
    store.arm(write, after=after)
    with pytest.raises(Killed):
        rotating.transaction().rotate()
    store.left = None
    assert rotating.works()
    rotating.time.move(minutes=10)
    other = rotating.transaction()
    begun = write > 1 or after
    done = write == WRITES and after
    if not begun or (done and finish == "resume"):
        with pytest.raises(UnsupportedOperationError, match="no rotation is under way"):
            getattr(other, finish)()
    else:
        assert getattr(other, finish)().step is (RotationStep.DONE if finish == "resume" else RotationStep.UNDONE)
        assert rotating.pending is None
    assert rotating.service.accepted == {rotating.secret["password"]}
    if finish == "undo" and begun:
        assert rotating.secret == FIRST


def test_an_undo_restores_the_secret_after_its_previous_key_was_dropped():
    """The process was killed between the end of `revoke` and the record of it."""
    store = KillableStore()
    rotating = Rotating(store=store)
    rotator = open_password(previous_key="previous")
    store.arm(7, after=False)
    with pytest.raises(Killed):
        rotating.transaction(rotator=rotator).rotate()
    store.left = None
    assert "previous" not in rotating.secret
    assert rotating.transaction(rotator=rotator).undo(take_over=True).step is RotationStep.UNDONE
    assert rotating.secret == FIRST


def test_a_process_that_slept_in_revoke_repairs_what_it_has_broken():
    """The credential that it ends is in use again, since two users take turns."""
    rotating = Rotating()
    original = rotating.rotator.revoke

    def revoke(credentials):
        rotating.rotator.revoke = original
        rotating.time.move(minutes=10)
        rotating.transaction().resume()
        rotating.store.write(PATH, FIRST)  # what a later rotation would do
        rotating.service.accepted = {FIRST["password"]}
        return original(credentials)

    rotating.rotator.revoke = revoke
    with pytest.raises(ConflictError, match="taken the rotation over"):
        rotating.transaction().rotate()
    assert rotating.service.lets_in(rotating.secret)


@pytest.mark.parametrize("begun", range(1, WRITES), ids=lambda write: f"killed after write {write}")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 5))
@pytest.mark.parametrize("two", [True, False], ids=["two credentials", "one credential"])
def test_a_killed_undo_leaves_a_stored_credential_that_works(two, write, after, begun):
    """Also with one credential, which the undo changes back before or after it writes the secret."""
    store = KillableStore()
    rotating = Rotating(two=two, store=store)
    store.arm(begun, after=True)
    with pytest.raises(Killed):
        rotating.transaction().rotate()
    store.left = None
    store.arm(write, after=after)
    with suppress(Killed):
        rotating.transaction().undo(take_over=True)
    store.left = None
    assert rotating.works()
    if rotating.pending is not None:
        rotating.transaction().undo(take_over=True)
    assert rotating.secret == FIRST
    assert rotating.service.accepted == {FIRST["password"]}


def test_nobody_takes_a_rotation_over_before_the_lease_has_ended(rotating):
    rotating.rotator.after["apply"] = lambda: (_ for _ in ()).throw(Killed)
    with process_killed():
        rotating.transaction().rotate()
    for name in ("rotate", "resume", "undo"):
        with pytest.raises(ConflictError, match=r"is rotating it.*--take-over"):
            getattr(rotating.transaction(), name)()
    rotating.time.now += LEASE + SKEW
    with pytest.raises(ConflictError):
        rotating.transaction().resume()
    rotating.time.move(seconds=1)
    assert rotating.transaction().rotate().step is RotationStep.DONE
    assert rotating.service.accepted == {rotating.secret["password"]}


def test_an_operator_can_take_over_at_once(rotating):
    rotating.rotator.after["apply"] = lambda: (_ for _ in ()).throw(Killed)
    with process_killed():
        rotating.transaction().rotate()
    assert rotating.transaction().undo(take_over=True).step is RotationStep.UNDONE
    assert rotating.service.accepted == {FIRST["password"]}


def test_an_interrupt_gives_the_lease_up(rotating):
    rotating.rotator.after["apply"] = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        rotating.transaction().rotate()
    assert rotating.transaction().resume().step is RotationStep.DONE


@pytest.mark.parametrize("ending", ["resume", "undo"])
def test_a_process_that_slept_in_apply_repairs_what_it_has_broken(ending):
    """Another one has finished or undone the rotation meanwhile: the credential that is stored works in the end."""
    rotating = Rotating(two=False)

    def meanwhile():
        rotating.time.move(minutes=10)
        getattr(rotating.transaction(), ending)()
        if ending == "undo":  # the statement of the sleeper arrives only now
            rotating.service.accepted = {rotating.rotator.sleeper}

    original = rotating.rotator.apply

    def apply(credentials):
        rotating.rotator.sleeper = credentials.new["password"].reveal()
        rotating.rotator.apply = original
        original(credentials)
        meanwhile()

    rotating.rotator.apply = apply
    with pytest.raises(ConflictError, match="taken the rotation over"):
        rotating.transaction().rotate()
    assert rotating.service.accepted == {rotating.secret["password"]}


def test_two_processes_that_begin_at_once_make_one_rotation(rotating):
    first, second = rotating.transaction(), rotating.transaction()
    created = rotating.rotator.create

    def create(current):
        rotating.rotator.create = created
        second.rotate()
        return created(current)

    rotating.rotator.create = create
    with pytest.raises(ConflictError, match="another process has just begun"):
        first.rotate()
    assert rotating.rotator.calls.count("apply") == 1
    assert rotating.service.accepted == {rotating.secret["password"]}


def test_the_old_credential_stays_valid_for_the_grace_time():
    rotating = Rotating()
    assert rotating.transaction(grace=3600).rotate().step is RotationStep.PROMOTED
    assert rotating.service.accepted == {FIRST["password"], rotating.secret["password"]}
    with pytest.raises(ConflictError, match=r"grace time of the last rotation ends 2026-01-01T01:00:00.*resume --now"):
        rotating.transaction(grace=3600).rotate()
    assert rotating.transaction(grace=3600).resume().step is RotationStep.PROMOTED
    rotating.time.move(hours=1)
    assert rotating.transaction(grace=3600).resume().step is RotationStep.DONE
    assert rotating.service.accepted == {rotating.secret["password"]}


def test_the_grace_time_can_be_cut_short_and_undone():
    rotating = Rotating()
    rotating.transaction(grace=3600).rotate()
    assert rotating.transaction(grace=3600).resume(revoke_now=True).step is RotationStep.DONE
    before = rotating.secret
    rotating.transaction(grace=3600).rotate()
    assert rotating.transaction(grace=3600).undo().step is RotationStep.UNDONE
    assert rotating.secret == before
    assert rotating.service.accepted == {before["password"]}


def test_a_failed_rotation_keeps_the_date_of_one_that_was_undone(rotating):
    """The record of the new attempt takes it over, and an attempt that was never promoted does not count."""
    rotated = rotating.time.now
    rotating.transaction(grace=3600).rotate()
    rotating.transaction(grace=3600).undo()
    rotating.time.move(days=1)
    rotating.rotator.faults["apply"] = ConfigurationError("nothing was changed")
    with pytest.raises(RotationError):
        rotating.transaction(grace=3600).rotate()
    state = parse_document(rotating.document, PATH)
    assert (state.step, state.last, state.failures) == (RotationStep.UNDONE, rotated, 1)


def test_other_keys_that_change_meanwhile_are_kept(rotating):
    rotating.rotator.after["apply"] = lambda: rotating.store.write(PATH, {**FIRST, "host": "new.example"})
    rotating.transaction().rotate()
    assert rotating.secret["host"] == "new.example"
    assert rotating.service.accepted == {rotating.secret["password"]}


def test_the_url_of_the_secret_follows_a_new_password(rotating):
    """The rotator only returns a password. Its undo restores the URL."""
    before = {**FIRST, "url": f"postgresql://app:{FIRST['password']}@db.example/app"}
    rotating.store.write(PATH, before)
    rotating.transaction().rotate()
    assert rotating.secret["url"] == f"postgresql://app:{rotating.secret['password']}@db.example/app"
    assert rotating.secret["password"] != FIRST["password"]
    rotating.service.accepted.add(FIRST["password"])
    rotating.transaction().undo()
    assert rotating.secret == before


def test_somebody_elses_credential_wins(rotating):
    """It is what the store says, so it has to work; the rotation is undone."""
    rotating.rotator.after["apply"] = lambda: rotating.store.write(PATH, {**FIRST, "password": "by-hand-and-long"})
    with pytest.raises(RotationError, match="somebody has changed password"):
        rotating.transaction().rotate()
    assert rotating.secret["password"] == "by-hand-and-long"
    assert "by-hand-and-long" in rotating.service.accepted


def test_a_store_that_fails_in_the_middle_says_how_to_go_on(rotating):
    def fail(*_):
        raise StoreUnavailableError(None, "connection refused")

    rotating.rotator.after["apply"] = lambda: setattr(rotating.store, "write_if", fail)
    with pytest.raises(UnfinishedRotationError, match="strongroom rotate resume database/app"):
        rotating.transaction().rotate()
    del rotating.store.write_if
    assert rotating.works()
    rotating.time.move(minutes=10)
    assert rotating.transaction().resume().step is RotationStep.DONE


def test_there_is_nothing_to_resume_or_undo(rotating):
    for name in ("resume", "undo"):
        with pytest.raises(UnsupportedOperationError, match="no rotation is under way"):
            getattr(rotating.transaction(), name)()


def test_a_missing_secret_is_not_rotated(rotating):
    rotating.store.delete(PATH)
    with pytest.raises(SecretNotFoundError):
        rotating.transaction().rotate()
    assert rotating.rotator.calls == []


def test_a_store_without_check_and_set_is_refused():
    class Unchecked:
        """The methods of a store that can be written, and no more."""

        def __init__(self):
            kept = MemoryStore()
            self.read, self.write, self.delete, self.close = kept.read, kept.write, kept.delete, kept.close

    rotating = Rotating(store=Unchecked())
    with pytest.raises(UnsupportedOperationError, match="check-and-set"):
        rotating.transaction()
    assert rotating.secret == FIRST


def test_a_store_that_can_only_be_read_is_refused():
    rotating = Rotating()

    class ReadOnly:
        read = staticmethod(rotating.store.read)
        close = staticmethod(rotating.store.close)

    rotating.manager = SecretsManager(chain=[ReadOnly()])
    with pytest.raises(UnsupportedOperationError, match="no store of the chain can be written"):
        rotating.transaction()


def test_a_record_of_a_newer_release_is_named_as_such(rotating):
    """To move the secret, as with somebody else's, would lose the pending credential."""
    newer = {KEY: {"format": 99, "state": "later"}}
    rotating.store.write(pending_path(PATH), newer)
    with pytest.raises(
        StoreError, match=r"its format is version 99, and this release reads up to 1\)\. Upgrade strongroom here"
    ):
        rotating.transaction().rotate()
    assert rotating.document == newer
    assert rotating.secret == FIRST


def test_a_secret_at_the_reserved_path_is_left_alone(rotating):
    rotating.store.write(pending_path(PATH), {"mine": "kept"})
    with pytest.raises(Exception, match="not the state of a rotation"):
        rotating.transaction().rotate()
    assert rotating.document == {"mine": "kept"}
    assert rotating.secret == FIRST


def test_a_rotation_of_another_rotator_is_left_alone(rotating):
    rotating.transaction(grace=60).rotate()
    with pytest.raises(ConflictError, match="'service' made the last rotation"):
        rotating.transaction(plugin="another").resume()


def test_a_rotator_that_changes_nothing_is_refused(rotating):
    rotating.rotator.create = lambda current: {}
    with pytest.raises(InvalidDataError, match="changes no key"):
        rotating.transaction().rotate()
    with pytest.raises(SecretNotFoundError):
        Ledger(parts_of(rotating.manager).chain, pending_path(PATH)).secret()


def test_a_wrong_configuration_leaves_no_unfinished_rotation(rotating):
    """Such as an authority that did not sign the server's certificate: nothing was changed, and no undo can connect."""
    calls = []

    def apply(credentials):
        calls.append(credentials)
        raise ConfigurationError("The server's certificate cannot be verified")

    rotating.rotator.apply = apply
    with pytest.raises(RotationError, match=r"step apply \(The server's certificate cannot be verified"):
        rotating.transaction().rotate()
    assert len(calls) == 1
    del rotating.rotator.apply
    rotating.transaction().rotate()


def test_a_rotation_that_another_process_began_is_undone_whatever_its_apply_raises(rotating):
    """An earlier `apply` may have arrived."""
    rotating.rotator.apply = lambda credentials: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        rotating.transaction().rotate()

    def apply(credentials):
        raise ConfigurationError("wrong")

    rotating.rotator.apply = apply
    with pytest.raises(UnfinishedRotationError):
        rotating.transaction().resume(take_over=True)


def test_each_step_is_an_audit_event_without_a_value(rotating, caplog):
    caplog.set_level(logging.DEBUG)
    rotating.transaction().rotate()
    records = [record for record in caplog.records if record.name == "strongroom.audit"]
    assert [record.event for record in records] == [
        f"rotation.{step}" for step in ("create", "apply", "prove", "promote", "revoke")
    ]
    assert {record.secret_path for record in records} == {PATH}
    assert len({record.rotation_id for record in records}) == 1
    assert {record.outcome for record in records} == {"done"}
    shown = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert FIRST["password"] not in shown
    assert rotating.secret["password"].reveal() not in shown


def test_a_failed_step_is_an_audit_event_with_its_reason(rotating, caplog):
    caplog.set_level(logging.INFO, "strongroom.audit")
    rotating.rotator.faults["revoke"] = OUTAGE
    with pytest.raises(UnfinishedRotationError):
        rotating.transaction().rotate()
    last = caplog.records[-1]
    assert (last.event, last.outcome, last.error) == ("rotation.revoke", "failed", "StoreUnavailableError")
    assert "does not answer" in last.reason


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_failure_before_a_rotation_has_begun_is_an_audit_event_without_an_id(rotating, caplog, earlier):
    """Nor does it have the ID of the rotation before it."""
    for _ in range(earlier):
        rotating.transaction().rotate()
    caplog.set_level(logging.INFO, "strongroom.audit")
    rotating.rotator.faults["create"] = OUTAGE
    with pytest.raises(StoreUnavailableError):
        rotating.transaction().rotate()
    assert [(record.event, record.outcome, record.rotation_id) for record in caplog.records] == [
        ("rotation.create", "failed", "")
    ]


def test_secret_that_the_rotator_reads_is_read_before_anything_is_stored(rotating):
    """Also before the undo of a rotation that is done."""
    rotating.rotator.reads = ("database/admin",)
    with pytest.raises(SecretNotFoundError, match="database/admin"):
        rotating.transaction().rotate()
    assert rotating.rotator.calls == []
    assert list(rotating.store.list_entries(f"{PATH}/rotation")) == []
    rotating.store.write("database/admin", {"password": "p"})
    done = rotating.transaction().rotate()
    assert done.step is RotationStep.DONE
    rotating.store.delete("database/admin")
    with pytest.raises(SecretNotFoundError, match="database/admin"):
        rotating.transaction().undo()
    assert not parse_document(rotating.document, pending_path(PATH)).unfinished


def test_failed_step_names_the_other_secret_that_it_could_not_read(rotating):
    """Such as that of an administrator, which was deleted during the rotation."""
    rotating.rotator.faults["apply"] = SecretNotFoundError("database/admin", "no store of the chain has it")
    with pytest.raises(UnfinishedRotationError, match="service: database/admin: no store of the chain has it"):
        rotating.transaction().rotate()


def test_failed_step_names_the_key_that_the_other_secret_lacks_and_those_that_exist(rotating):
    rotating.store.write("database/admin", {"user": "canary-1", "host": "canary-2"})

    def apply(credentials):
        credentials.read("database/admin")["password"]

    rotating.rotator.apply = apply
    reason = r"database/admin: it has no key 'password'\. Its keys are user, host\)"
    with pytest.raises(UnfinishedRotationError, match=reason) as caught:
        rotating.transaction().rotate()
    assert "canary" not in str(caught.value)
