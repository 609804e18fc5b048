"""Undo of a rotation that is done: the credential of the version before it comes back by the steps of a rotation."""

import pytest

from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    PermissionDeniedError,
    RotationError,
    UnfinishedRotationError,
    UnsupportedOperationError,
)
from strongroom.rotate.state import RotationStep
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
)


@pytest.fixture(params=[True, False], ids=["two credentials", "one credential"])
def rotating(request):
    """A secret whose rotation is done."""
    rotating = Rotating(two=request.param)
    rotating.transaction().rotate()
    return rotating


def test_the_former_credential_alone_works_again(rotating):
    """The due date stays, and a second undo does not bring the newer credential back."""
    rotated = rotating.time.now
    rotating.time.move(days=1)
    state = rotating.transaction(grace=3600).undo()
    assert (state.step, state.last_success, state.failures) == (RotationStep.UNDONE, rotated, 0)
    assert rotating.secret == FIRST
    assert rotating.service.accepted == {FIRST["password"]}
    assert rotating.pending is None
    with pytest.raises(UnsupportedOperationError, match="no rotation is under way"):
        rotating.transaction().undo()


def test_it_goes_back_by_one_rotation_and_keeps_other_keys(rotating):
    former = rotating.secret["password"]
    rotating.transaction().rotate()
    rotating.store.write(PATH, {**rotating.secret, "host": "elsewhere.example"})
    rotating.transaction().undo()
    assert rotating.secret == {**FIRST, "password": former, "host": "elsewhere.example"}
    assert rotating.service.accepted == {former}


def test_keys_that_revoke_has_dropped_do_not_come_back():
    rotating = Rotating()
    rotator = open_password(previous_key="previous")
    rotating.transaction(rotator=rotator).rotate()
    rotating.transaction(rotator=rotator).undo()
    assert rotating.secret == FIRST


def test_a_service_that_refuses_a_former_credential_keeps_the_new_one(rotating):
    """As one whose policy forbids to use a password again."""
    secret = rotating.secret
    rotating.rotator.faults["apply"] = PermissionDeniedError(None, "the password was used before")
    with pytest.raises(RotationError, match="The stored credential works, and the one before does not") as caught:
        rotating.transaction().undo()
    assert caught.value.step == "apply"
    assert "run: strongroom rotate database/app" in str(caught.value)
    assert rotating.secret == secret
    assert rotating.service.accepted == {secret["password"]}
    rotating.rotator.faults.clear()
    assert rotating.transaction().rotate().step is RotationStep.DONE


@pytest.mark.parametrize("again", ["resume", "undo"])
def test_an_undo_that_changed_nothing_goes_on(rotating, again):
    """As if the administrator's secret has no login."""
    rotating.rotator.faults["apply"] = ConfigurationError("no login")
    with pytest.raises(UnfinishedRotationError, match="strongroom rotate resume database/app"):
        rotating.transaction().undo()
    rotating.rotator.faults.clear()
    assert getattr(rotating.transaction(), again)().step is RotationStep.UNDONE
    assert rotating.secret == FIRST


@killed_at_each_write
def test_an_undo_that_is_killed_can_be_repeated_or_resumed(two, write, after, finish):
    """At each write, before and after it: a stored credential works, and the former one at the end."""
    store = KillableStore()
    rotating = Rotating(two=two, store=store)
    rotating.transaction().rotate()
    store.arm(write, after=after)
    with pytest.raises(Killed):
        rotating.transaction().undo()
    store.left = None
    assert rotating.works()
    rotating.time.move(minutes=10)
    begun = write > 1 or after
    if begun and not (write == WRITES and after):
        assert getattr(rotating.transaction(), finish)().step is RotationStep.UNDONE
        assert rotating.secret == FIRST
    assert rotating.pending is None
    assert rotating.service.accepted == {rotating.secret["password"]}


@pytest.mark.parametrize(("name", "last"), [("resume", RotationStep.UNDONE), ("rotate", RotationStep.PROMOTED)])
def test_an_undo_that_another_process_has_left_waits_for_no_grace_time_and_is_no_rotation(rotating, name, last):
    newer = rotating.secret["password"]
    rotating.rotator.faults["revoke"] = OUTAGE
    with pytest.raises(UnfinishedRotationError, match="strongroom rotate resume database/app"):
        rotating.transaction(grace=3600).undo()
    rotating.rotator.faults.clear()
    assert getattr(rotating.transaction(grace=3600), name)().step is last
    assert newer not in rotating.service.accepted
    assert (rotating.secret == FIRST) is (name == "resume")


def test_a_rotation_is_made_after_an_undo_that_was_killed_at_its_first_step():
    store = KillableStore()
    rotating = Rotating(store=store)
    rotating.transaction().rotate()
    newer = rotating.secret["password"]
    store.arm(1, after=True)
    with pytest.raises(Killed):
        rotating.transaction().undo()
    store.left = None
    rotating.time.move(minutes=10)
    assert rotating.transaction().rotate().step is RotationStep.DONE
    assert rotating.secret["password"] not in {newer, FIRST["password"]}


def test_without_the_version_before_it_nothing_is_changed(rotating):
    secret = rotating.secret
    rotating.store.destroy(PATH, 1)
    with pytest.raises(UnsupportedOperationError, match="version 1 of the secret, with the old credential, is gone"):
        rotating.transaction().undo()
    assert rotating.secret == secret
    assert rotating.service.accepted == {secret["password"]}


def test_a_store_that_keeps_no_versions_cannot_bring_it_back():
    class Checked:
        """The methods of a store with check-and-set, and no more."""

        def __init__(self):
            kept = MemoryStore()
            self.read, self.write, self.delete, self.close = kept.read, kept.write, kept.delete, kept.close
            self.write_if, self.list_entries = kept.write_if, kept.list_entries

    rotating = Rotating(store=Checked())
    rotating.transaction().rotate()
    with pytest.raises(UnsupportedOperationError, match="it keeps no versions, so the old credential is gone"):
        rotating.transaction().undo()
    assert rotating.works()


def test_a_key_that_the_rotation_has_added_has_no_former_value(rotating):
    """As after a change of the configured key: the other keys are those of an earlier rotation."""
    rotating.transaction(rotator=open_password(key="token")).rotate()
    before = rotating.secret
    reason = "there is no value from before the last rotation, which has added token"
    with pytest.raises(UnsupportedOperationError, match=reason):
        rotating.transaction(rotator=open_password(key="token")).undo()
    assert rotating.secret == before


def test_a_secret_that_has_the_former_credential_is_left_alone(rotating):
    """Somebody has brought it back by hand."""
    rotating.store.write(PATH, FIRST)
    with pytest.raises(UnsupportedOperationError, match="from before the last rotation already"):
        rotating.transaction().undo()


def test_another_rotator_does_not_undo_it(rotating):
    with pytest.raises(ConflictError, match="'service' made the last rotation"):
        rotating.transaction(plugin="another").undo()
