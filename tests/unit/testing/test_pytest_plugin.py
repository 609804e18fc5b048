"""The pytest plugin: a failed assertion shows no secret."""

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.long

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


OPENING_CONTRACTS = """
import atexit
from pathlib import Path

import pytest

from strongroom.errors import AuthenticationError, StoreUnavailableError
from strongroom.store.memory import MemoryStore
from strongroom.testing import ExporterContract, RotatorContract, StoreContract

OPEN = []
atexit.register(lambda: Path("open.txt").write_text(" ".join(OPEN)))

class Opened(MemoryStore):
    error = None

    def __init__(self, name):
        super().__init__()
        self.name = name
        OPEN.append(name)

    def read(self, path, *_):
        raise self.error(path)

    list_entries = write = delete = read

    def probe(self):
        raise self.error(None)

    def close(self):
        if self.name in OPEN:
            OPEN.remove(self.name)

class Denied(Opened):
    error = AuthenticationError

class Unreachable(Opened):
    error = StoreUnavailableError

class TestStore(StoreContract):
    capabilities = {"listable", "writable", "probed", "local"}

    @pytest.fixture
    def denied(self):
        return Denied("denied")

    @pytest.fixture(scope="class")
    def unreachable(self):
        yield (store := Unreachable("unreachable"))
        assert store.name not in OPEN, "the service ended before its client"

    @pytest.fixture
    def dripping(self):
        return Unreachable("dripping")

class TestExporter(ExporterContract):
    @pytest.fixture
    def exporter(self):
        return Unreachable("exporter")  # it fails the test, and is closed too

class TestRotator(RotatorContract):
    @pytest.fixture
    def rotator(self):
        return Unreachable("rotator")

    @pytest.fixture
    def current(self):
        return {}

    @pytest.fixture
    def read(self):
        return None

    @pytest.fixture
    def unreachable(self):
        return Unreachable("unreachable rotator"), {}
"""


def test_contract_closes_what_its_fixtures_opened(pytester):
    """For each result of a test, for each scope of the fixture, and before the fixture ends its service."""
    pytester.makepyfile(test_contracts=OPENING_CONTRACTS)
    tests = ["denied", "unreachable", "dripping", "itself_raises", "outcomes_have", "create_returns", "does_not_answer"]
    run = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-k", " or ".join(tests))
    assert run.parseoutcomes()["passed"] > 10
    assert (pytester.path / "open.txt").read_text() == ""
