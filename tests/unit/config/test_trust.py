"""Trust in found files: ownership, and recorded content."""

import os
from pathlib import Path

import pytest

from strongroom._config.trust import TRUSTED_PATHS, is_file_trusted, ownership_fault, record_of, record_text

CONTENT = b'[stores.vault]\nurl = "https://vault.example"\n'


@pytest.fixture
def file(tmp_path) -> Path:
    """A configuration file that is ours."""
    path = tmp_path / "strongroom.toml"
    path.write_bytes(CONTENT)
    path.chmod(0o644)
    return path


@pytest.fixture
def recorded(file) -> Path:
    """The record of its content."""
    record = record_of(file)
    record.parent.mkdir(0o700, parents=True)
    record.write_bytes(record_text(file, CONTENT))
    record.chmod(0o600)
    return record


def test_a_file_of_ours_is_safe(file):
    assert ownership_fault(file, file.stat()) == ""


def test_a_file_of_root_is_safe(file):
    status = list(file.stat())
    status[4] = 0
    assert ownership_fault(file, os.stat_result(status)) == ""


def test_a_file_of_another_user_is_not(file):
    status = list(file.stat())
    status[4] = os.geteuid() + 1
    assert "belongs to user" in ownership_fault(file, os.stat_result(status))


@pytest.mark.parametrize("mode", [0o646, 0o666, 0o602])
def test_a_file_that_others_may_write_is_not(file, mode):
    file.chmod(mode)
    assert "others may write" in ownership_fault(file, file.stat())


def test_a_file_that_a_shared_group_may_write_is_not(file, monkeypatch):
    file.chmod(0o664)
    monkeypatch.setattr("strongroom._config.trust._is_private_group", lambda group: False)
    assert "others may write" in ownership_fault(file, file.stat())


def test_a_link_out_of_the_folder_is_not(file, tmp_path):
    link = tmp_path / "inner" / "strongroom.toml"
    link.parent.mkdir()
    link.symlink_to(file)
    assert "symbolic link" in ownership_fault(link, link.stat())


def test_a_link_within_the_folder_is_safe(file):
    link = file.with_name("link.toml")
    link.symlink_to(file)
    assert ownership_fault(link, link.stat()) == ""


def test_nothing_is_trusted_at_first(file):
    assert not is_file_trusted(file, CONTENT, {})


@pytest.mark.usefixtures("recorded")
def test_recorded_content_is_trusted_and_changed_content_is_not(file):
    assert is_file_trusted(file, CONTENT, {})
    assert not is_file_trusted(file, CONTENT + b"#", {})


@pytest.mark.usefixtures("recorded")
def test_the_same_content_elsewhere_is_not_trusted(file, tmp_path):
    other = tmp_path / "other" / "strongroom.toml"
    other.parent.mkdir()
    other.write_bytes(CONTENT)
    assert not is_file_trusted(other, CONTENT, {})


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_record_that_others_may_write_does_not_count(file, recorded, mode):
    recorded.chmod(mode)
    assert not is_file_trusted(file, CONTENT, {})


def test_a_record_that_is_a_link_does_not_count(file, recorded):
    real = recorded.rename(recorded.with_name("real"))
    recorded.symlink_to(real)
    assert not is_file_trusted(file, CONTENT, {})


def test_trusted_paths_cover_the_folders_below_them(file, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    assert is_file_trusted(file, b"changed", {TRUSTED_PATHS: f"{elsewhere}:{tmp_path}"})
    assert is_file_trusted(tmp_path / "a" / "b" / "strongroom.toml", b"", {TRUSTED_PATHS: str(tmp_path)})
    assert not is_file_trusted(file, CONTENT, {TRUSTED_PATHS: str(elsewhere)})


@pytest.mark.parametrize("paths", ["", ":", ".", "relative"])
def test_a_relative_folder_is_never_trusted(file, monkeypatch, paths):
    """Otherwise `.` would trust every folder."""
    monkeypatch.chdir(file.parent)
    assert not is_file_trusted(file, CONTENT, {TRUSTED_PATHS: paths})


def test_a_record_in_a_folder_that_others_may_enter_does_not_count(file, recorded):
    """It may have been placed there: a checkout of a hostile repository belongs to this user, too."""
    recorded.parent.chmod(0o755)
    assert not is_file_trusted(file, CONTENT, {})


def test_a_path_that_is_not_utf8_can_be_recorded(tmp_path):
    assert record_text(tmp_path / os.fsdecode(b"\xff") / "strongroom.toml", CONTENT).endswith(
        b"/\xff/strongroom.toml\n"
    )


def test_links_in_a_circle_are_not_trusted(file, tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    assert not is_file_trusted(file, CONTENT, {TRUSTED_PATHS: str(tmp_path / "circle")})


def test_a_file_that_was_replaced_while_it_was_read_is_not_safe(file):
    """Such as a link that became a file after it was opened."""
    status = file.stat()
    file.rename(file.with_name("old"))
    file.write_bytes(CONTENT)
    assert "replaced" in ownership_fault(file, status)
