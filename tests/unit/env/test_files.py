"""A folder of files as a store: where a secret is, what it holds, and that nothing leads out of the root."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store import KeyedStore, ListableStore, WritableStore
from strongroom_env import folder
from strongroom_env.files import open_files
from strongroom_env.folder import MAX_SIZE
from support.descriptors import open_descriptors

CANARY = "canary-3e88f1"


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "secrets"
    place.mkdir()
    return place


@pytest.fixture
def store(root):
    return open_files(root=root)


def put(root, name, content="x"):
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


class Volume:
    """A folder that is filled as the kubelet fills one: new files beside the old, then one link turned."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self.generation = 0

    def publish(self, files: dict[str, str]) -> None:
        self.generation += 1
        old = (self.root / "..data").resolve() if self.generation > 1 else None
        new = self.root / f"..2024_{self.generation}"
        for name, content in files.items():
            put(new, name, content)
        (self.root / "..data_tmp").symlink_to(new.name)
        (self.root / "..data_tmp").replace(self.root / "..data")
        for name in {name.partition("/")[0] for name in files}:
            if not (self.root / name).is_symlink():
                (self.root / name).symlink_to(f"..data/{name}")
        if old is not None:
            for place in sorted(old.rglob("*"), reverse=True):
                place.rmdir() if place.is_dir() else place.unlink()
            old.rmdir()


def test_capabilities(store):
    """It is listed, always asked, read whole, and cannot be written to."""
    assert isinstance(store, ListableStore)
    assert store.traits.local
    assert not isinstance(store, KeyedStore)
    assert not isinstance(store, WritableStore)


class TestWhere:
    def test_a_folder_is_a_secret(self, store, root):
        """Each file of a folder is a key of its secret; folders in it are other secrets."""
        put(root, "database/connection/user", "app")
        put(root, "database/connection/.dockerconfigjson", "{}")
        put(root, "database/connection/replica/user", "other")
        assert store.read("database/connection").data == {".dockerconfigjson": "{}", "user": "app"}
        assert store.read("database/connection/replica").data == {"user": "other"}

    def test_a_file_in_the_root_is_a_secret(self, store, root):
        """A file directly in the root is a secret with the key `value`."""
        put(root, "db_password", CANARY)
        assert store.read("db_password").data == {"value": CANARY}

    def test_a_file_has_one_place(self, store, root):
        """A file in a folder is a key, and no secret of its own."""
        put(root, "database/password")
        for path in ("database/password", "database/password/value", "database/none", "none"):
            with pytest.raises(SecretNotFoundError):
                store.read(path)

    def test_a_folder_without_files(self, store, root):
        """A folder that has only folders, or nothing, is no secret."""
        put(root, "a/b/c")
        (root / "empty").mkdir()
        for path in ("a", "empty"):
            with pytest.raises(SecretNotFoundError):
                store.read(path)

    @pytest.mark.parametrize("name", ["x" * 300, "a" * 200 + "/" + "b" * 200])
    def test_longer_than_a_file_system_allows(self, store, name):
        """A name that no file can have is absent."""
        with pytest.raises(SecretNotFoundError):
            store.read(name)

    def test_relative_root(self, root, monkeypatch):
        """A relative root is that of the working directory at opening."""
        put(root, "a", "1")
        monkeypatch.chdir(root.parent)
        store = open_files(root=Path("secrets"))
        monkeypatch.chdir("/")
        assert store.read("a").data == {"value": "1"}


class TestContent:
    @pytest.mark.parametrize("content", ["", "\n", "a\n", "a\r\n", " a ", "é\0😀", b"\xff\xfe", b"\xef\xbb\xbfa"])
    def test_exact(self, store, root, content):
        """The content is the value: text to the last newline, and what is not UTF-8 as bytes."""
        put(root, "a/b", content)
        wanted = content
        if isinstance(content, bytes) and content.startswith(b"\xef"):
            wanted = content.decode()
        assert store.read("a").data == {"b": wanted}

    @pytest.mark.parametrize(
        ("content", "value"),
        [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), ("a", "a"), (b"\xff\n", b"\xff\n")],
    )
    def test_strip_newline(self, root, content, value):
        """With `strip_newline` one line end is left out of a text, and bytes stay."""
        put(root, "a", content)
        assert open_files(root=root, strip_newline=True).read("a").data == {"value": value}

    def test_cap(self, store, root):
        """The files of one secret hold 1 MiB together, to the byte."""
        put(root, "a/x", b"x" * (MAX_SIZE - 3))
        put(root, "a/y", b"xyz")
        assert len(store.read("a").data) == 2
        put(root, "a/z", b"x")
        with pytest.raises(SecretTooLargeError):
            store.read("a")
        put(root, "flat", b"x" * (MAX_SIZE + 1))
        with pytest.raises(SecretTooLargeError):
            store.read("flat")

    @pytest.mark.parametrize("name", ["pipe", "a/pipe"])
    def test_special_files(self, store, root, name):
        """A pipe is refused at once, and is in no listing."""
        put(root, "a/x")
        os.mkfifo(root / name)
        with pytest.raises(InvalidDataError, match="neither a file nor a folder"):
            store.read(name.partition("/")[0])
        assert list(store.list_entries("")) == ["a"]

    def test_odd_name(self, store, root):
        """A file whose name can be no part of a path is an error that names it, escaped, not a shorter answer."""
        put(root, "a/b\nc")
        for call in (lambda: store.read("a"), lambda: list(store.list_entries(""))):
            with pytest.raises(InvalidPathError, match=r"'b\\nc'"):
                call()


class TestListing:
    def test_secrets_and_folders(self, store, root):
        """A folder with files is a secret, one with folders is a folder, one with both is both."""
        for name in ("flat", "a/key", "b/c/key", "d/key", "d/e/key", "..hidden/key"):
            put(root, name)
        assert list(store.list_entries("")) == ["a", "b/", "d", "d/", "flat"]
        assert list(store.list_entries("d")) == ["e"]
        assert list(GuardedStore(store, "files").walk()) == ["a", "d", "flat", "d/e", "b/c"]

    @pytest.mark.parametrize("prefix", ["none", "flat", "a/key", "..hidden"])
    def test_nothing_below(self, store, root, prefix):
        """What is no folder, or is hidden, has nothing below it."""
        for name in ("flat", "a/key", "..hidden/x/key"):
            put(root, name)
        assert list(store.list_entries(prefix)) == []

    def test_loop(self, store, root):
        """A link back to a folder above is an error instead of a listing without end."""
        put(root, "a/b/key")
        (root / "a/b/again").symlink_to("../../a")
        with pytest.raises(StoreError, match="leads back"):
            list(GuardedStore(store, "files").walk())
        assert store.read("a/b").data == {"key": "x"}


class TestLinks:
    def test_inside(self, store, root):
        """Links to files and folders inside the root are followed."""
        put(root, "real/key", "1")
        (root / "alias").symlink_to("real")
        (root / "real/same").symlink_to(root / "real/key")
        assert store.read("alias").data == {"key": "1", "same": "1"}
        assert "alias" in list(store.list_entries(""))

    @pytest.mark.parametrize("link", ["flat", "a/key", "folder"])
    def test_outside(self, store, root, tmp_path, link):
        """A link out of the root is denied, in reads and in listings: also to a sibling whose name begins alike."""
        outside = put(tmp_path, "secrets-of-others/file", CANARY)
        put(root, "a/other")
        (root / link).symlink_to(outside.parent if link == "folder" else outside)
        path = link.partition("/")[0]
        for call in (lambda: store.read(path), lambda: list(store.list_entries(""))):
            with pytest.raises(PermissionDeniedError, match="leads out of the root") as caught:
                call()
            assert CANARY not in str(caught.value)

    def test_through_a_folder_outside(self, store, root, tmp_path):
        """A path through a link that leaves the root is denied, though it would name a file."""
        put(tmp_path, "out/deep/file", CANARY)
        (root / "a").symlink_to(tmp_path / "out")
        with pytest.raises(PermissionDeniedError):
            store.read("a/deep")

    def test_swapped_for_a_link_while_it_is_read(self, store, root, tmp_path, monkeypatch):
        """A folder that becomes a link out of the root after it was checked is not followed."""
        put(tmp_path, "out/key", CANARY)
        put(root, "a/key", "mine")
        content = folder.Folder.content

        def swapping(self, place, limit):
            if not (root / "a").is_symlink():
                (root / "a").rename(root / "b")
                (root / "a").symlink_to(tmp_path / "out")
            return content(self, place, limit)

        monkeypatch.setattr(folder.Folder, "content", swapping)
        with pytest.raises(PermissionDeniedError):
            store.read("a")

    @pytest.mark.parametrize("target", ["nowhere", "a"])
    def test_nowhere(self, store, root, target):
        """A link that leads nowhere, or to itself, is unavailable: what belongs there is unknown."""
        (root / "a").symlink_to(target)
        (root / "b").mkdir()
        (root / "b/key").symlink_to(target)
        for path in ("a", "a/x", "b"):
            with pytest.raises(StoreUnavailableError):
                store.read(path)
        with pytest.raises(StoreUnavailableError):
            list(store.list_entries(""))


class TestKubernetes:
    def test_volume(self, store, root):
        """A mounted volume shows its files and folders once, and nothing that starts with `..`."""
        Volume(root / "db").publish({"user": "app", "tls/crt": "pem"})
        assert store.read("db").data == {"user": "app"}
        assert store.read("db/tls").data == {"crt": "pem"}
        assert list(GuardedStore(store, "files").walk()) == ["db", "db/tls"]
        for path in ("db/..data", "db/..2024_1", "..data"):
            with pytest.raises(SecretNotFoundError):
                store.read(path)

    def test_volume_as_root(self, store, root):
        """Where the root itself is the volume, each of its files is a secret."""
        Volume(root).publish({"password": "1", "tls/crt": "pem"})
        assert list(store.list_entries("")) == ["password", "tls"]
        assert store.read("password").data == {"value": "1"}

    def test_swap_between_two_files(self, store, root, monkeypatch):
        """A volume that is replaced between two files of a read gives all of the new one, never a mixture."""
        volume = Volume(root / "db")
        volume.publish({"password": "old", "user": "old"})
        content = folder.Folder.content

        def swapping(self, place, limit):
            found = content(self, place, limit)
            if volume.generation == 1:
                volume.publish({"password": "new", "user": "new"})
            return found

        monkeypatch.setattr(folder.Folder, "content", swapping)
        assert store.read("db").data == {"password": "new", "user": "new"}

    def test_emptied_before_it_is_listed(self, store, root, monkeypatch):
        """An old folder that is emptied between its opening and its listing is not taken for an absence."""
        volume = Volume(root / "db")
        volume.publish({"password": "old"})
        opened = folder.Folder._opened  # no public call ends between the opening and the listing

        @contextmanager
        def swapping(self, place):
            with opened(self, place) as descriptor:
                if place == ("db", "..2024_1") and volume.generation == 1:
                    volume.publish({"password": "new"})
                yield descriptor

        monkeypatch.setattr(folder.Folder, "_opened", swapping)
        assert store.read("db").data == {"password": "new"}

    def test_swaps_under_readers(self, store, root):
        """Readers beside a volume that is replaced all the time see one moment in each read, and no absence."""
        volume = Volume(root / "db")
        volume.publish({"password": "0", "user": "0"})
        done = threading.Event()
        wrong: list[object] = []
        reads = []

        def read():
            while not done.is_set():
                try:
                    data = store.read("db").data
                except StoreUnavailableError:
                    continue  # five swaps in one read: it says that it does not know
                except StoreError as error:
                    wrong.append(error)
                    continue
                reads.append(1)
                if len(set(data.values())) != 1 or len(data) != 2:
                    wrong.append(dict(data))

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        number = 0
        while number < 150 or not reads:
            number += 1
            volume.publish({"password": str(number), "user": str(number)})
            time.sleep(0.01 * (number > 150))  # a busy machine has not let any reader read
        done.set()
        for reader in readers:
            reader.join()
        assert wrong == []
        assert reads


class TestFailures:
    def test_no_root(self, tmp_path):
        """A root that is not there is unavailable, in reads and listings: the mount may be late."""
        store = open_files(root=tmp_path / "late")
        for call in (lambda: store.read("a"), lambda: list(store.list_entries(""))):
            with pytest.raises(StoreUnavailableError, match=r"there is no .*late\). Check that it is mounted"):
                call()
        put(tmp_path, "late/a", "1")
        assert store.read("a").data == {"value": "1"}

    def test_root_is_a_file(self, root):
        """A root that is a file is a mistake in the configuration, named."""
        with pytest.raises(ConfigurationError, match="not a folder"):
            open_files(root=put(root, "file")).read("a")

    @pytest.mark.parametrize("closed", ["", "a", "a/key", "flat"])
    def test_denied(self, guarded, ordinary_user, closed):
        """A root, folder or file that may not be read is denied, and not absent."""
        put(guarded, "a/key", CANARY)
        put(guarded, "flat", CANARY)
        (guarded / closed).chmod(0)
        store = open_files(root=guarded)
        with ordinary_user():
            with pytest.raises(PermissionDeniedError, match="may not be read"):
                store.read("flat" if closed == "flat" else "a")
            if closed in {"", "a"}:
                with pytest.raises(PermissionDeniedError):
                    list(store.list_entries(""))
        guarded.chmod(0o755)

    def test_nothing_stays_open(self, store, root, tmp_path):
        """No read, listing or failure leaves a descriptor open."""
        put(root, "a/key")
        put(root, "a/b/key")
        (root / "out").symlink_to(tmp_path)
        (root / "c").mkdir()
        os.mkfifo(root / "c/pipe")
        before = open_descriptors()
        for _ in range(3):
            store.read("a")
            list(store.list_entries("a"))
            for path in ("out", "c", "none"):
                with pytest.raises(StoreError):
                    store.read(path)
        assert open_descriptors() <= before

    def test_no_value_is_shown(self, store, root):
        """Neither the store nor what it returned or raised shows a value."""
        put(root, "a/key", CANARY)
        os.mkfifo(root / "a/pipe")
        with pytest.raises(InvalidDataError) as caught:
            store.read("a")
        (root / "a/pipe").unlink()
        assert CANARY not in "".join([repr(store), str(caught.value), repr(store.read("a"))])
