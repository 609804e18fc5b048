"""Private files and folders: their modes, their owner, and replacement by one writer at a time."""

import os
import stat
import threading

import pytest

from strongroom.files import private


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_modes_do_not_depend_on_the_umask(tmp_path, umask):
    """Files are 0600; a created folder and its created parents are 0700."""
    folder = private.make_folder(tmp_path / "state" / "strongroom" / "runs")
    assert [mode(part) for part in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3
    private.create(folder / "created", [b"x"])
    private.replace(folder / "replaced", b"x")
    private.read_or_create_key(folder / "key")
    os.close(private.open_file(folder / "opened", os.O_RDWR | os.O_CREAT))
    assert {name.name: mode(name) for name in folder.iterdir()} == dict.fromkeys(
        ("created", "replaced", "key", "opened"), 0o600
    )


def test_a_folder_that_others_have_access_to_is_refused(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    with pytest.raises(OSError, match="chmod 700"):
        private.make_folder(folder)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(OSError, match="not a folder of this user"):
        private.make_folder(link)


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    folder = private.make_folder(tmp_path / "folder")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(OSError, match="not a folder of this user"):
        private.make_folder(folder)


def test_a_key_is_created_once_and_a_link_is_not_followed(tmp_path):
    key = private.read_or_create_key(tmp_path / "key")
    assert len(key) == private.KEY_SIZE
    assert private.read_or_create_key(tmp_path / "key") == key
    (tmp_path / "link").symlink_to(tmp_path / "key")
    with pytest.raises(OSError, match="symbolic link"):
        private.read_or_create_key(tmp_path / "link")
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(OSError, match="not a key"):
        private.read_or_create_key(tmp_path / "short")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "link", "short"]


@pytest.mark.parametrize(("before", "after", "widened"), [(0o644, 0o600, True), (0o400, 0o400, False)], ids=oct)
def test_a_mode_is_narrowed_and_never_widened(tmp_path, before, after, widened):
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(before)
    with private.prepare(file) as replacement:
        assert file.read_text() == "old"
        replacement.commit(b"new")
        assert replacement.widened is widened
    assert file.read_text() == "new"
    assert mode(file) == after


def test_a_replacement_that_is_not_committed_leaves_no_trace(tmp_path):
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(KeyError), private.prepare(file):
        raise KeyError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_a_link_is_followed_only_by_prepare(tmp_path):
    """A person names the file of `prepare`; a store's file is refused where it is a link."""
    (tmp_path / "target").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("target")
    with pytest.raises(private.SymbolicLinkError):
        private.replace(link, b"new")
    with private.prepare(link) as replacement:
        replacement.commit(b"new")
    assert link.is_symlink()
    assert (tmp_path / "target").read_text() == "new"


@pytest.mark.parametrize("folder_mode", [0o1777, 0o777])
def test_a_file_that_another_user_has_laid_out_gets_no_secret(tmp_path, monkeypatch, folder_mode):
    """Where everybody can create files, root would give the new file to whoever waits for it."""
    file = tmp_path / "app.env"
    file.touch(0o600)
    tmp_path.chmod(folder_mode)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="another user, in a folder where everybody can create files"):
        private.replace(file, b"secret")
    assert [(name.name, name.read_bytes()) for name in tmp_path.iterdir()] == [("app.env", b"")]


def test_prepare_refuses_the_file_of_another_user(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("old")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="another user"), private.prepare(file):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_writer_at_a_time(tmp_path):
    """Another one waits for the lock of the folder, and no longer than it was told to."""
    file = tmp_path / "file"
    with private.prepare(file) as replacement:
        with pytest.raises(TimeoutError, match="another process"):
            private.replace(file, b"second", 0.01)
        waiting = threading.Thread(target=private.replace, args=(file, b"third"))
        waiting.start()
        replacement.commit(b"first")
        assert file.read_text() == "first"
    waiting.join()
    assert file.read_text() == "third"


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    (tmp_path / ".file.0123456789abcdef.tmp").write_text("half")
    (tmp_path / ".other.0123456789abcdef.tmp").write_text("half")
    private.replace(tmp_path / "file", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.0123456789abcdef.tmp", "file"]


def test_a_file_that_only_looks_like_a_leftover_stays(tmp_path):
    """It belongs to the user, or to another file."""
    for name in (".file.mine.tmp", ".file.json.0123456789abcdef.tmp"):
        (tmp_path / name).write_text("x")
    private.replace(tmp_path / "file", b"new")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_cannot_be_written_is_not_left_in_part(tmp_path):
    """Otherwise the next attempt finds that it exists already."""

    def pieces():
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        private.create(tmp_path / "file", pieces())
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_not_read(tmp_path):
    """Opening it would wait for a writer."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        private.read(tmp_path / "pipe")
