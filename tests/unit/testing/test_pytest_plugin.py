"""The pytest plugin: a failed assertion shows no secret."""

pytest_plugins = ["pytester"]

COMPARED = """
from dataclasses import dataclass, field
from typing import NamedTuple

from strongroom import Secret
from strongroom.secret import protect_data

TEXT = "canary-2c8e"
DATA = protect_data({"text": TEXT, "bytes": TEXT.encode(), "list": [TEXT, 271828], "number": 271828})

@dataclass
class Settings:
    password: str
    parent: "Settings | None" = field(default=None, compare=False)

class Attribute(NamedTuple):
    name: str
    eq: bool

class Attributes:  # as attrs makes them
    __attrs_attrs__ = [Attribute("password", True), Attribute("other", False)]

    def __init__(self, password):
        self.password = password

    def __eq__(self, other):
        return self.password == other.password

class Row(NamedTuple):
    settings: Settings

SETTINGS = Settings(DATA["text"])
SETTINGS.parent = SETTINGS
OTHER = Settings("other")

PAIRS = [
    (DATA["text"], "other"),
    (DATA["bytes"], b"other"),
    (DATA["list"], ["other"]),
    (DATA, {"number": 1}),
    ([DATA], [{"number": 1}]),
    ({"app": DATA}, {"app": {"number": 1}}),
    (Secret("app", DATA), Secret("app", {"number": 1})),
    (SETTINGS, OTHER),
    (Row(SETTINGS), Row(OTHER)),
    (Attributes(DATA["text"]), Attributes("other")),
]
"""

APPLICATION_TESTS = """
import pytest
from compared import DATA, PAIRS

@pytest.mark.parametrize("number", range(10))
def test_equal(number):
    left, right = PAIRS[number]
    assert left == right

@pytest.mark.parametrize("number", range(10))
def test_equal_the_other_way_round(number):
    right, left = PAIRS[number]
    assert left == right

def test_not_in():
    assert "2c8e" not in DATA["text"]
"""


def test_failed_assertion_shows_no_value(pytester):
    """No comparison shows a value, in either order and at any verbosity, unlike pytest's own explanation."""
    pytester.makepyfile(compared=COMPARED, test_app=APPLICATION_TESTS)
    for details in ("-q", "-vv"):
        run = pytester.runpytest_subprocess(details, "--showlocals")
        run.assert_outcomes(failed=21)
        run.stdout.fnmatch_lines("E*(the difference is not shown: one side holds a secret)")
        printed = run.stdout.str()
        assert not [value for value in ("canary", "271828", "c, a, n") if value in printed]


def test_assertion_about_anything_else_is_explained(pytester):
    """A comparison without secrets has pytest's own explanation."""
    pytester.makepyfile("def test_plain(): assert 'plain one' == 'plain two'")
    pytester.runpytest_subprocess("-q").stdout.fnmatch_lines(["E*- plain two", "E*+ plain one"])
