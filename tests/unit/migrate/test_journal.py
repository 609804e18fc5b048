"""The journal, the backup and the digests: what is on disk, and what of it counts after a kill."""

from __future__ import annotations

import math
import os
import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._redaction.digest import Digester
from strongroom.errors import MigrationError, NewerFormatError
from strongroom.migrate._ledger.backup import Backup
from strongroom.migrate._ledger.journal import Journal, JournalEntry, RunProgress, first_line, progress_in, steps_in
from strongroom.migrate._ledger.plan_digests import NO_RECORD, PlanDigests, digest_record
from strongroom.migrate._plans.plan import PlannedItem, PlannedState
from strongroom.secret import same
from support.descriptors import open_descriptors

ENTRY = JournalEntry(b"d" * 32, b"b" * 32, 3, 17)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "journal"
    file.write_bytes(first_line("run"))
    return file


def written(file, lines):
    journal = Journal(file, "run")
    lines(journal)
    journal.sync()
    journal.close()
    return file.read_bytes()


def entries(file):
    journal = Journal(file, "run")
    journal.close()
    return journal.entries


def test_what_was_synced_is_there_again(file):
    def lines(journal):
        journal.intend(0, ENTRY)
        journal.intend(1, JournalEntry(b"e" * 32, None, None, None))
        journal.intend(2, ENTRY)
        journal.done(1, "v7")
        journal.done(2, 4)
        journal.undone(2)

    written(file, lines)
    assert entries(file) == {0: ENTRY, 1: JournalEntry(b"e" * 32, None, None, None, done=True, version="v7")}


def test_what_was_made_of_labels_is_kept_when_the_item_is_begun_anew(file):
    """The data may have to be written again, after somebody else's; the labels were written by this run already."""
    written(file, lambda journal: (journal.intend(0, ENTRY), journal.label(0, 40), journal.intend(0, ENTRY)))
    assert entries(file)[0].labels == 40
    written(file, lambda journal: journal.label(0, None))
    assert entries(file)[0].labels is None


@pytest.mark.parametrize("torn", [b"", b'{"t": "und'])
def test_a_run_was_undone_while_nothing_was_begun_since(file, torn):
    """A line that is torn is none."""
    assert not progress_in(file).undone
    steps = (
        (lambda journal: (journal.intend(0, ENTRY), journal.intend(1, ENTRY), journal.done(0, 1)), False),
        (lambda journal: journal.undone(1), True),
        (lambda journal: journal.source_deleted(0), True),
        (lambda journal: journal.intend(1, ENTRY), False),
        (lambda journal: journal.undone(1), True),
    )
    for lines, undone in steps:
        file.write_bytes(written(file, lines) + torn)
        assert progress_in(file).undone is undone


def test_progress_counts_each_deleted_source_once(file):
    """A source that was kept in the end is no longer deleted."""

    def lines(journal):
        for index in (0, 1, 2):
            journal.intend(index, ENTRY)
            journal.done(index, 1)
        for index in (0, 1, 1):
            journal.source_deleted(index)
        journal.source_kept(0)

    written(file, lines)
    assert progress_in(file) == RunProgress(done=3, deleted=1, wrote=3)


def test_secret_whose_second_write_was_refused_counts_as_written(file):
    """The first write was confirmed, and undone: there may be something to restore."""
    written(file, lambda journal: (journal.intend(0, ENTRY), journal.refused(0)))
    assert progress_in(file).wrote == 0
    written(file, lambda journal: (journal.intend(0, ENTRY), journal.done(0, 1), journal.undone(0)))
    written(file, lambda journal: (journal.intend(0, ENTRY), journal.refused(0)))
    assert progress_in(file).wrote == 1


ODD = ("null", "[]", "{}", "1e400", "NaN", "-1", "1.5", "true", '"done"', "[" * 100_000)


@pytest.mark.parametrize("line", [
    *(f'{{"t": {odd}, "i": 0}}' for odd in ODD), *(f'{{"t": "done", "i": {odd}, "v": 1}}' for odd in ODD), *ODD,
], ids=lambda line: line[:30])  # fmt: skip
def test_damaged_line_ends_what_is_known_of_a_run_and_no_command(file, line):
    """`status` and `report` show the lines before it. A resumed run names the line."""
    whole = written(file, lambda journal: (journal.intend(0, ENTRY), journal.done(0, 1)))
    known = progress_in(file), list(steps_in(file))
    file.write_bytes(whole + line.encode() + b"\n")
    found = progress_in(file)
    assert (found.wrote, found.fault) == (None, f"{file}, line 4: unrecognized journal entry")
    found = found._replace(wrote=1, fault="")
    assert (found, list(steps_in(file))[:2]) == known
    with pytest.raises(MigrationError, match="line 4: unrecognized journal entry"):
        entries(file)


def test_every_length_of_a_torn_end_is_survived(file):
    """A kill cuts a write anywhere: what is whole counts, and what is written next stands on a line of its own."""
    content = written(file, lambda journal: (journal.intend(0, ENTRY), journal.done(0, 4)))
    first, second = content.index(b"\n") + 1, content.rindex(b"\n", 0, -1) + 1
    for length in range(first, len(content)):
        file.write_bytes(content[:length])
        found = entries(file)
        assert found == ({} if length < second else {0: ENTRY})
        written(file, lambda journal: journal.intend(5, ENTRY))
        assert entries(file) == {**found, 5: ENTRY}


@pytest.mark.parametrize(
    "line", [b"{}\n", b"nonsense\n", b'{"t": "later", "i": 1}\n', b'{"t": "done", "i": 9, "v": 1}\n']
)
def test_a_line_that_is_none_is_refused_and_named(file, line):
    content = written(file, lambda journal: journal.intend(0, ENTRY))
    file.write_bytes(content + line + b"\n" + content.splitlines(keepends=True)[1])
    before = open_descriptors()
    with pytest.raises(MigrationError, match="line 3"):
        Journal(file, "run")
    assert open_descriptors() <= before


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, ": it is missing, so what the run wrote is unknown. Restore it from a backup"),
        (b"", ": it is empty, so what the run wrote is unknown"),
        (first_line("run")[:-1], ": it is empty"),
        (b"{}\n", ", line 1: unrecognized journal entry"),
        (first_line("other"), ": it is the journal of another migration, other"),
        (first_line("run").replace(b": 1", b": 2"), ": it needs a later Strongroom: its format is version 2"),
    ],
)
def test_a_journal_that_does_not_tell_what_its_run_wrote_is_refused(file, content, fault):
    """It was created before the run: a run never began with an empty one."""
    file.unlink() if content is None else file.write_bytes(content)
    found = progress_in(file, "run")
    assert found.fault.startswith(f"{file}{fault}")
    assert found.wrote is None
    with pytest.raises((MigrationError, NewerFormatError), match=re.escape(fault)):
        Journal(file, "run")
    assert (file.read_bytes() if file.exists() else None) == content


def test_after_a_failed_write_nothing_more_is_written(file, monkeypatch):
    """Half a line may stand there: whatever came after it would be unreadable."""
    journal = Journal(file, "run")
    size = file.stat().st_size
    real = os.write

    def write(descriptor, content):
        if os.path.samestat(os.fstat(descriptor), file.stat()):
            raise OSError(28, "No space left on device")
        return real(descriptor, content)

    monkeypatch.setattr(os, "write", write)
    journal.intend(0, ENTRY)
    with pytest.raises(MigrationError, match="No space left"):
        journal.sync()
    monkeypatch.undo()
    with pytest.raises(MigrationError, match="earlier line"):
        journal.sync()
    journal.close()
    assert file.stat().st_size == size


# --- digests ----------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
secrets = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


@given(secrets, secrets)
def test_two_secrets_have_one_digest_when_they_are_the_same(left, right):
    digest = Digester(b"k" * 32).digest
    assert (digest(left) == digest(right)) == same(left, right)


@pytest.mark.parametrize(
    ("left", "right", "one"),
    [
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 0.0}, {"a": -0.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": "x"}, {"a": b"x"}, False),
        ({"a": ["b", "c"]}, {"a": ["bc"]}, False),
        ({"a": [[], []]}, {"a": [[[]]]}, False),
        ({"a": 2**70}, {"a": float(2**70)}, True),
        ({"a": math.pi}, {"a": 3.14159}, False),
    ],
)
def test_numbers_count_by_value_and_types_count(left, right, one):
    digest = Digester(b"k" * 32).digest
    assert (digest(left) == digest(right)) is one
    assert digest(left) != Digester(b"l" * 32).digest(left)


def test_what_is_remembered_of_an_item_is_found_by_its_name(tmp_path):
    """Also if the item has another position in the plan than before."""
    digester = Digester(b"k" * 32)
    items = [PlannedItem("source", str(index), str(index), PlannedState.CREATE) for index in range(4)]
    here, there = [{"value": index} for index in range(4)], [{"value": -index} for index in range(4)]
    records = {i: digest_record(digester, items[i], here[i], None if i == 2 else there[i]) for i in (0, 2, 3)}
    (tmp_path / "plan").write_bytes(b"".join(records.get(index, NO_RECORD) for index in (3, 1, 0, 2)))
    kept = PlanDigests(tmp_path / "plan", digester)
    digest = digester.digest
    for places in ((0, 1, 2, 3), (3, 2, 1, 0), (9, 9, 9, 9)):
        assert kept.get(places[0], items[3]) == (digest(here[3]), digest(there[3]))
        assert kept.get(places[1], items[1]) == (None, None)
        assert kept.get(places[2], items[0]) == (digest(here[0]), digest(there[0]))
        assert kept.get(places[3], items[2]) == (digest(here[2]), None)
    kept.close()


# --- the backup -------------------------------------------------------------------------------------------------------

DATA = {"text": "canary-22", "bytes": b"\0\xff", "nested": {"a": [1.5, None, True]}}


@pytest.fixture
def backup(tmp_path):
    opened = Backup(tmp_path, "run")
    yield opened
    opened.close()


def test_what_was_kept_comes_back_exactly(backup, tmp_path):
    places = [backup.put(path, DATA) for path in ("a", "b")]
    backup.sync()
    backup.close()
    again = Backup(tmp_path, "run")
    assert [again.get(place, path) for place, path in zip(places, ("a", "b"), strict=True)] == [DATA, DATA]
    again.close()
    assert b"canary-22" not in (tmp_path / "backup").read_bytes()
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("backup", "backup.key")} == {0o600}


def test_a_secret_cannot_stand_in_for_another(backup, tmp_path):
    """Neither for another path, nor for another run, nor with a byte changed."""
    place = backup.put("a", DATA)
    backup.sync()
    with pytest.raises(MigrationError, match="damaged or missing"):
        backup.get(place, "b")
    other = Backup(tmp_path, "other run")
    with pytest.raises(MigrationError, match="damaged or missing"):
        other.get(place, "a")
    other.close()
    content = bytearray((tmp_path / "backup").read_bytes())
    content[-1] ^= 1
    (tmp_path / "backup").write_bytes(content)
    with pytest.raises(MigrationError, match="damaged or missing"):
        backup.get(place, "a")


def test_without_its_key_a_backup_is_gone_and_no_new_key_is_made(backup, tmp_path):
    place = backup.put("a", DATA)
    backup.sync()
    (tmp_path / "backup.key").unlink()
    again = Backup(tmp_path, "run")
    with pytest.raises(MigrationError, match="its key is missing"):
        again.get(place, "a")
    assert not (tmp_path / "backup.key").exists()
