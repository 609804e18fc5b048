"""The store `keepass` on real files: its content, the safe save, other writers, KeePassXC, and the command line."""

import logging
import os
import stat
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest

from strongroom import SecretsManager
from strongroom.errors import (
    AuthenticationError,
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
)
from strongroom_keepass import database as database_module
from strongroom_keepass.database import Database
from strongroom_keepass.store import open_keepass
from support.command_line import Caller
from support.forks import forked
from support.programs import require
from support.services.keepass import PASSWORD, edit, keepassxc, make_database, make_old_database

pytestmark = pytest.mark.long

CANARY = "hunter2-canary"


@pytest.fixture
def file(tmp_path):
    return make_database(tmp_path / "secrets.kdbx")


@pytest.fixture
def store(file):
    return open_keepass(file=file, password=PASSWORD)


@pytest.fixture
def edited(file):
    """A function that changes the file as another program does, and saves it."""

    def edit_(change):
        opened = edit(file)
        change(opened)
        opened.save()

    return edit_


# --- entries ----------------------------------------------------------------------------------------------------------


def test_keys_are_the_fields_of_an_entry_and_its_attributes(store, edited):
    def change(opened):
        group = opened.add_group(opened.root_group, "Work")
        entry = opened.add_entry(group, "mail", "ann", CANARY, url="https://mail.example", notes="two\nlines")
        entry.set_custom_property("token", "t0k", protect=True)

    edited(change)
    found = store.read("Work/mail").data
    assert found == {
        "username": "ann",
        "password": CANARY,
        "url": "https://mail.example",
        "notes": "two\nlines",
        "token": "t0k",
    }


def test_empty_fields_are_no_keys_but_an_empty_attribute_is_one(store, edited):
    edited(lambda opened: opened.add_entry(opened.root_group, "mail", "", "x").set_custom_property("extra", ""))
    assert store.read("mail").data == {"password": "x", "extra": ""}


def test_an_empty_field_that_strongroom_wrote_is_a_key(store):
    store.write("mail", {"username": "", "password": "", "other": ""})
    assert store.read("mail").data == {"username": "", "password": "", "other": ""}


def test_passwords_and_attributes_are_protected_and_other_fields_are_not(store, file):
    store.write("mail", {"username": "ann", "password": "p", "token": "t"})
    [entry] = edit(file).entries
    assert [entry._is_property_protected(name) for name in ("UserName", "Password", "token")] == [False, True, True]


def test_an_attribute_stays_unprotected_when_it_is_written(store, file, edited):
    edited(lambda opened: opened.add_entry(opened.root_group, "mail", "", "x").set_custom_property("host", "a"))
    store.write("mail", {"host": "b"})
    [entry] = edit(file).entries
    assert entry.custom_properties == {"host": "b"}
    assert not entry.is_custom_property_protected("host")


def test_a_write_keeps_the_tags_and_attachments_of_an_entry(store, file, edited):
    def change(opened):
        entry = opened.add_entry(opened.root_group, "mail", "ann", "old", tags=["blue"])
        entry.add_attachment(opened.add_binary(b"content"), "file.txt")

    edited(change)
    store.write("mail", {"password": "new"})
    opened = edit(file)
    [entry] = opened.entries
    assert (entry.password, entry.username, entry.tags) == ("new", None, ["blue"])
    assert [attachment.data for attachment in entry.attachments] == [b"content"]


def test_two_entries_of_one_path_are_refused_and_not_written(store, file, edited):
    def change(opened):
        opened.add_entry(opened.root_group, "mail", "ann", "a")
        opened.add_entry(opened.root_group, "mail", "bob", "b")

    edited(change)
    before = file.read_bytes()
    for call in (store.read, store.delete, lambda path: store.write(path, {"password": "c"})):
        with pytest.raises(InvalidDataError, match="2 entries have this path"):
            call("mail")
    assert file.read_bytes() == before
    assert "paths of more than one entry: 1" in [check.detail for check in store.probe().checks]


def test_an_attribute_with_the_name_of_a_field_is_refused(store, edited):
    edited(lambda opened: opened.add_entry(opened.root_group, "mail", "", CANARY).set_custom_property("password", "b"))
    with pytest.raises(InvalidDataError, match="two attributes have this name"):
        store.read("mail")


@pytest.mark.parametrize("key", ["Title", "UserName", "Password", "URL", "Notes"])
def test_a_key_with_the_name_of_a_field_is_refused(store, key):
    with pytest.raises(InvalidPathError, match="the name of a field"):
        store.write("mail", {key: "x"})


@pytest.mark.parametrize("value", ["a\0b", "\x1b[31m", "\ufffe", ["\ufffe"], "\ud800"])
def test_a_character_that_xml_cannot_hold_is_refused(store, value):
    with pytest.raises(InvalidDataError, match="a character that KeePass cannot hold"):
        store.write("mail", {"key": value})
    with pytest.raises(SecretNotFoundError):
        store.read("mail")


def test_markup_in_a_name_is_no_query(store):
    """pykeepass would paste it into XPath."""
    path, data = "a\"]|//*['/b'or\"1", {'"]/..|//Value[.="': "x", "password": "p"}
    store.write(path, data)
    assert store.read(path).data == data
    with pytest.raises(SecretNotFoundError):
        store.read('"or"1')


def test_json_that_was_edited_to_something_else_is_refused_without_showing_it(store, file, edited):
    store.write("db", {"port": 5432})
    edited(lambda opened: opened.entries[0].set_custom_property("port", CANARY))
    with pytest.raises(InvalidDataError, match="key 'port'") as caught:
        store.read("db")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_entries_without_a_title_and_in_the_recycle_bin_are_no_secrets(store, edited):
    def change(opened):
        opened.add_entry(opened.root_group, "", "ann", "a")
        opened.trash_entry(opened.add_entry(opened.root_group, "old", "ann", "a"))
        opened.add_entry(opened.root_group, "new", "ann", "a")

    edited(change)
    assert list(store.walk("")) == ["new"]
    with pytest.raises(SecretNotFoundError):
        store.read("Recycle Bin/old")


def test_a_deleted_entry_is_in_the_recycle_bin(store, file):
    store.write("mail", {"password": "p"})
    store.delete("mail")
    assert list(store.walk("")) == []
    assert [entry.path for entry in edit(file).entries] == [["Recycle Bin", "mail"]]


def test_a_deleted_entry_is_removed_if_the_recycle_bin_is_disabled(store, file, edited):
    def disable(opened):
        opened.tree.getroot().find("Meta/RecycleBinEnabled").text = "False"

    edited(disable)
    store.write("mail", {"password": "p"})
    store.delete("mail")
    assert edit(file).entries == []


def test_the_old_states_of_an_entry_are_its_history_up_to_the_limit_of_the_database(store, file, edited):
    def limit(opened):
        opened.tree.getroot().find("Meta/HistoryMaxItems").text = "2"

    edited(limit)
    for number in range(4):
        store.write("mail", {"password": f"p{number}"})
    [entry] = edit(file).entries
    assert entry.password == "p3"
    assert [old.password for old in entry.history] == ["p1", "p2"]


def test_writes_within_a_second_are_different_versions(store):
    versions = [store.write("mail", {"password": "p"}) for _ in range(3)]
    assert len(set(versions)) == 3
    with pytest.raises(ConflictError):
        store.write_if("mail", {"password": "q"}, versions[1])
    assert store.write_if("mail", {"password": "q"}, versions[2])


def test_an_edit_by_another_program_is_another_version(store, edited):
    version = store.write("mail", {"password": "p"})

    def change(opened):
        opened.entries[0].password = "q"
        opened.entries[0].touch(modify=True)
        opened.entries[0].mtime = opened.entries[0].mtime.replace(year=2031)

    edited(change)
    with pytest.raises(ConflictError):
        store.write_if("mail", {"password": "r"}, version)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_write_keeps_the_mode_and_a_symbolic_link(file, tmp_path):
    link = tmp_path / "elsewhere" / "link.kdbx"
    link.parent.mkdir()
    link.symlink_to(file)
    open_keepass(file=link, password=PASSWORD).write("mail", {"password": "p"})
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert open_keepass(file=file, password=PASSWORD).read("mail").data == {"password": "p"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "secrets.kdbx"]


def test_a_file_that_others_could_read_becomes_private(store, file):
    file.chmod(0o644)
    store.write("mail", {"password": "p"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


WRITER = """
import sys
from pathlib import Path
from strongroom_keepass.store import open_keepass
store = open_keepass(file=Path(sys.argv[1]), password=sys.argv[2])
for number in range(int(sys.argv[4])):
    store.write(f"{sys.argv[3]}/{number}", {"password": "p"})
    print(number, flush=True)
"""


def writer(file, name, count):
    program = [sys.executable, "-c", WRITER, str(file), PASSWORD, name, str(count)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True)


def test_processes_that_write_at_once_lose_no_entry(file, store):
    writers = [writer(file, name, 10) for name in ("ann", "bob")]
    for process in writers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert set(store.walk("")) == {f"{name}/{number}" for name in ("ann", "bob") for number in range(10)}


def test_a_killed_writer_leaves_a_whole_file_with_all_that_it_reported(file, store):
    process = writer(file, "ann", 100_000)
    reported = [process.stdout.readline() for _ in range(5)]
    process.kill()
    reported += process.communicate(timeout=60)[0].splitlines()
    assert {f"ann/{int(number)}" for number in reported} <= set(store.walk(""))
    store.write("mail", {"password": "p"})
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_failed_write_leaves_the_old_file(file, store, monkeypatch):
    store.write("mail", {"password": "old"})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreUnavailableError, match="No space left"):
        store.write("mail", {"password": "new"})
    monkeypatch.undo()
    assert store.read("mail").data == {"password": "old"}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_file_of_another_user_is_not_replaced(file, store, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionDeniedError, match="another user"):
        store.write("mail", {"password": "p"})


def test_a_database_of_keepassxcs_command_is_written(tmp_path):
    """It is KDBX 3.1, with a hash of the header. KeePassXC opens the written file."""
    require("keepassxc-cli")
    file = tmp_path / "new.kdbx"
    asked = f"{PASSWORD}\n{PASSWORD}\n"
    create = ["keepassxc-cli", "db-create", "--quiet", "--set-password", "--decryption-time", "100", str(file)]
    subprocess.run(create, input=asked, text=True, check=True, timeout=60, capture_output=True)
    store = open_keepass(file=file, password=PASSWORD)
    assert store.probe().facts["format"] == "3.1"
    store.write("shop/mail", {"username": "ann", "password": "p", "port": 25})
    store.write("shop/mail", {"username": "ann", "password": "q", "port": 25})
    store.write("other", {"password": "r"})
    store.delete("other")
    assert keepassxc(file, "show", "--attributes", "Password", "shop/mail") == "q\n"
    assert store.read("shop/mail").data == {"username": "ann", "password": "q", "port": 25}
    keepassxc(file, "add", "bank", "--username", "bob")
    assert store.read("bank").data == {"username": "bob"}
    with pytest.raises(AuthenticationError):
        open_keepass(file=file, password="a wrong one").read("bank")


def test_an_old_database_without_a_hash_of_its_header_is_written(tmp_path):
    file = make_old_database(tmp_path / "old.kdbx")
    store = open_keepass(file=file, password=PASSWORD)
    store.write("mail", {"username": "ann", "password": "p"})
    assert keepassxc(file, "ls") == "mail\n"


def test_a_missing_file_is_an_outage_and_not_created(tmp_path):
    store = open_keepass(file=tmp_path / "none.kdbx", password=PASSWORD)
    for call in (store.read, lambda path: store.write(path, {"password": "p"})):
        with pytest.raises(StoreUnavailableError, match="there is no"):
            call("mail")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [0, 10, 100, 300, 600])
def test_a_cut_file_is_an_outage(file, store, part):
    store.write("mail", {"password": "p"})
    file.write_bytes(file.read_bytes()[:part])
    with pytest.raises(StoreUnavailableError, match="damaged, or no database"):
        store.read("mail")


def test_a_changed_byte_is_an_outage_or_a_wrong_password(file, store):
    """Each byte is under a checksum; one that takes part in the key looks like a wrong password."""
    content = file.read_bytes()
    for place in range(300, len(content), 97):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises((StoreUnavailableError, AuthenticationError)):
            store.read("mail")


# --- the key ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def derivations(monkeypatch):
    """How often a key was derived, by the arguments of pykeepass."""
    opened, found = database_module.PyKeePass, []

    def count(stream, **options):
        found.append("key" if options.get("transformed_key") else "password")
        return opened(stream, **options)

    monkeypatch.setattr(database_module, "PyKeePass", count)
    return found


def test_a_key_is_derived_once_for_reads_and_writes(store, derivations):
    store.write("mail", {"password": "p"})
    store.read("mail")
    assert derivations == ["password", "key"]


def test_a_key_is_derived_again_after_another_program_saved_and_after_close(store, edited, derivations):
    store.write("mail", {"password": "p"})
    edited(lambda opened: None)  # with a new salt
    derivations.clear()
    store.read("mail")
    assert derivations == ["key", "password"]
    derivations.clear()
    store.close()
    store.read("mail")
    assert derivations == ["password"]


def test_a_key_file_opens_a_database(tmp_path):
    key_file = tmp_path / "key"
    key_file.write_bytes(os.urandom(100))
    file = make_database(tmp_path / "both.kdbx", key_file=key_file)
    open_keepass(file=file, password=PASSWORD, key_file=key_file).write("mail", {"password": "p"})
    with pytest.raises(AuthenticationError):
        open_keepass(file=file, password=PASSWORD).read("mail")
    file = make_database(tmp_path / "alone.kdbx", password=None, key_file=key_file)
    open_keepass(file=file, key_file=key_file).write("mail", {"password": "p"})
    key_file.unlink()
    with pytest.raises(StoreUnavailableError, match="there is no"):
        open_keepass(file=file, key_file=key_file).read("mail")


def test_a_forked_child_reads_and_writes(store):
    store.write("mail", {"password": "p"})
    assert forked(lambda: (store.write("child", {"password": "c"}), list(store.walk("")))[1]) == ["mail", "child"]
    assert store.read("child").data == {"password": "c"}


def test_nothing_shows_a_password_or_a_value(store, file, caplog):
    caplog.set_level(logging.DEBUG)
    store.write("mail", {"password": CANARY, "port": 1})
    caplog.clear()
    store.write("mail", {"password": CANARY, "port": 2})
    store.delete("mail")
    wrong = open_keepass(file=file, password=CANARY)
    with pytest.raises(AuthenticationError) as caught:
        wrong.read("mail")
    records = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    database = Database(file, CANARY, None)
    for text in (records, shown, repr(database), repr(vars(database)), repr(store)):
        assert CANARY not in text
        assert PASSWORD not in text
    assert not [record for record in caplog.records if record.name.startswith("pykeepass")]


# --- KeePassXC --------------------------------------------------------------------------------------------------------


def test_keepassxc_shows_what_strongroom_wrote(store, file):
    for secret in ("old p4ss", "p4ss <&> ключ"):
        store.write("Work/db/main", {"username": "ann", "password": secret, "port": 5432, "empty": ""})
    assert keepassxc(file, "show", "-s", "-a", "password", "Work/db/main") == "p4ss <&> ключ\n"
    assert keepassxc(file, "show", "-s", "-a", "port", "-a", "UserName", "Work/db/main") == "5432\nann\n"
    assert keepassxc(file, "ls", "-R", "-f").split() == ["Work/", "Work/db/", "Work/db/main"]


def test_strongroom_reads_and_keeps_what_keepassxc_wrote(store, file):
    store.write("mine", {"port": 5432, "password": "p"})
    keepassxc(file, "mkdir", "Work")
    keepassxc(file, "add", "-u", "ann", "--url", "https://x.example", "--notes", "n", "-g", "Work/mail")
    found = store.read("Work/mail").data
    assert {key: found[key] for key in ("username", "url", "notes")} == {
        "username": "ann",
        "url": "https://x.example",
        "notes": "n",
    }
    assert keepassxc(file, "show", "-s", "-a", "password", "Work/mail") == f"{found['password']}\n"
    assert store.read("mine").data == {"port": 5432, "password": "p"}  # the plugin data is kept
    assert keepassxc(file, "rm", "mine") == ""
    with pytest.raises(SecretNotFoundError):
        store.read("mine")


# --- the whole --------------------------------------------------------------------------------------------------------


def test_command_line_checks_writes_and_reports(file, capfd, monkeypatch):
    monkeypatch.setenv("KEEPASS_PASSWORD", PASSWORD)
    Path("strongroom.toml").write_text(f'chain = ["keepass"]\n[stores.keepass]\nfile = "{file}"\n', "utf-8")
    call = Caller(capfd)
    assert call("set", "app", "password", piped=f"{CANARY}\n").code == 0
    assert call("get", "app", "password").out == CANARY
    assert call("list").out == "app\n"
    for command in (("doctor",), ("status",)):
        done = call(*command)
        assert (done.code, CANARY in done.out + done.err, PASSWORD in done.out + done.err) == (0, False, False), done
    assert "secrets in" in call("doctor").out
    monkeypatch.setenv("KEEPASS_PASSWORD", "a wrong one")
    done = call("get", "app", "password")
    assert done.code != 0
    assert "the password or the key file is wrong" in done.err


def test_a_watch_reports_an_edit_by_another_program(file, store, edited):
    store.write("app", {"password": "1"})
    arrived = threading.Event()
    stores = {"keepass": {"file": str(file), "password": PASSWORD}}
    with (
        SecretsManager.from_config({"chain": ["keepass"], "stores": stores}) as manager,
        manager.watch(["app"], lambda change: arrived.set(), interval=0.05),
    ):
        edited(lambda opened: setattr(opened.entries[0], "password", "2"))
        assert arrived.wait(60)
        assert manager.get_secret("app", "password") == "2"
