"""The package `strongroom.testing`: its names, its imports, and the equality of values."""

import socket
import subprocess
import sys
import time

import pytest

from strongroom import testing
from strongroom.secret import same
from strongroom.testing import CASES, NON_TEXT_CASES, StoreContract, silent_server


def test_names_are_there_and_are_not_modules():
    """Each name is its object, regardless of earlier imports."""
    for name in testing.__all__:
        assert not isinstance(getattr(testing, name), type(sys))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing


@pytest.mark.parametrize(
    ("code", "left_alone"),
    [
        ("from strongroom.testing import override; override({})", ["pytest", "hvac", "requests"]),
        (
            "import strongroom.testing.pytest_plugin",
            ["strongroom.testing.overrides", "strongroom.testing.store_contract", "hvac"],
        ),
    ],
)
def test_imports_no_more_than_it_needs(code, left_alone):
    """`override` works without pytest, and the pytest plugin imports almost nothing."""
    check = f"import sys; {code}; print([name for name in {left_alone!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_contract_says_which_extra_brings_what_it_needs():
    """Without pytest, the error names the extra to install."""
    check = "import sys; sys.modules['pytest'] = None; from strongroom.testing import StoreContract"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    words = 'StoreContract needs pytest, which is not installed: pip install "strongroom[testing]"'
    assert run.stderr.splitlines()[-1].endswith(words)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (1, 1.0, True),
        (-0.0, 0, True),
        (True, 1, False),
        (False, 0, False),
        (None, "", False),
        ("1", 1, False),
        ("a", b"a", False),
        ("é", "e\u0301", False),
        ([1, [True]], (1, [True]), True),
        ([1], [1, 2], False),
        ({"k": 1}, {"k": True}, False),
        ({"k": 1}, {"j": 1}, False),
        ({}, [], False),
        ("", [], False),
    ],
)
def test_a_value_survived_when_its_type_did_too(left, right, expected):
    """Numbers are equal by value, everything else by type and value."""
    assert same(left, right) is expected
    assert same(right, left) is expected


def test_hard_inputs_have_names_of_their_own():
    """Each case has a unique name."""
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(names) > NON_TEXT_CASES


def test_silent_server_takes_connections_and_says_nothing():
    """A connection is accepted at once and never answered."""
    with silent_server() as place, socket.create_connection(place, timeout=1) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.settimeout(0.1)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert time.monotonic() - began >= 0.1


def test_contract_has_the_tests_of_its_declared_capabilities():
    """Stores that declare a capability have its tests, even if a base class does not declare it."""

    class ReadOnly(StoreContract):
        pass

    class Writable(ReadOnly):
        capabilities = frozenset({"writable"})

    class Final(Writable):
        capabilities = frozenset({"writable", "versioned", "final_deletes"})

    class Own(ReadOnly):
        def test_write_copies(self):
            pass

    assert ReadOnly.test_write_copies is None
    assert Writable.test_write_copies is StoreContract.__mro__[2].test_write_copies
    assert Own.test_write_copies is vars(Own)["test_write_copies"]
    assert Final.test_labels_belong_to_a_secret is None
    assert callable(Final.test_final_delete_takes_everything_along)
