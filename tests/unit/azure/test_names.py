"""Paths and names of Key Vault: one path for each name, and one name for each path."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidPathError
from strongroom_azure.names import check_name, name_of, path_of

NAMES = st.text("ab0-x2d5f", min_size=1, max_size=20) | st.from_regex(
    r"(-x[0-9a-f]{1,7}-|--|[a-z0-9-]){1,6}", fullmatch=True
)
PATHS = st.text("ab0-x2d5f/_A.Z ü🗝", min_size=1, max_size=20) | st.text(min_size=1, max_size=20)


@given(PATHS.filter(str.isprintable))
def test_path_is_read_back_from_its_name(path):
    name = name_of(path)
    assert re.fullmatch("[a-z0-9-]+", name)
    assert path_of(name) == path


@given(NAMES)
def test_every_name_is_that_of_its_path(name):
    """So no name that another program chose is out of reach, unless its path is invalid."""
    assert name_of(path_of(name)) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("stripe-api-key", "stripe-api-key"),
        ("database/connection", "database--connection"),
        ("db_password", "db-x5f-password"),
        ("DB", "-x44--x42-"),
        ("a-/b", "a-x2d---b"),
        ("a--b", "a-x2d--b"),
        ("a-x5f-b", "a-x2d-x5f-b"),
        ("a-x61-b", "a-x61-b"),
        ("🗝", "-x1f5dd-"),
    ],
)
def test_name_of_path(path, name):
    assert (name_of(path), path_of(name)) == (name, path)


def test_names_differ_by_case_in_no_way():
    """Key Vault finds `DbPassword` as `dbpassword`, which is its path. The path `DbPassword` is another secret's."""
    assert path_of("DbPassword") == "dbpassword"
    assert name_of("DbPassword") != "dbpassword"


def test_too_long_name_is_refused_with_its_length():
    assert len(check_name("a" * 119, "folder")) == 127
    with pytest.raises(InvalidPathError, match="128 characters, the most is 127"):
        check_name("a" * 120, "folder")
