"""Each deliberately broken store and plugin fails the test of the contract that is about its fault."""

import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from strongroom.testing import (
    ExporterContract,
    ImporterContract,
    PluginContract,
    RotatorContract,
    ServiceContract,
    StoreContract,
)
from support.plugins import (
    broken_logins,
    broken_migration_plugins,
    broken_plugins,
    broken_rotators,
    broken_services,
    broken_stores,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # the first test waits for the tests of all classes

TESTS = Path(__file__).parents[2]
WRONG = [
    *broken_stores.WRONG,
    *broken_services.WRONG,
    *broken_logins.WRONG,
    *broken_migration_plugins.WRONG,
    *broken_plugins.WRONG,
]

LEAST = {
    StoreContract: 80,
    ServiceContract: 25,
    ImporterContract: 20,
    ExporterContract: 20,
    PluginContract: 15,
    RotatorContract: 15,
}
"""How many broken plugins of each kind there are at least, by the contract of the kind."""


def test_a_hundred_broken_plugins_name_the_test_that_catches_them():
    """Of each kind. `tests/integration/rotate/test_rotators.py` runs those that are rotators."""
    wrong = [*WRONG, *broken_rotators.WRONG]
    kinds = Counter(next(base for base in contract.__mro__ if base in LEAST) for contract in wrong)
    assert sum(kinds.values()) >= 100
    assert all(kinds[kind] >= least for kind, least in LEAST.items()), kinds
    for contract in wrong:
        assert callable(getattr(contract, contract.caught_by.partition("[")[0])), contract.__name__
        assert contract.caught_with, contract.__name__


@pytest.fixture(scope="module")
def caught(request, tmp_path_factory) -> dict[tuple[str, str], list[str]]:
    """Run the contracts of the selected classes. Return (class, test) -> the messages of its failures."""
    folder = tmp_path_factory.mktemp("teeth")
    items = [item for item in request.session.items if "caught" in getattr(item, "fixturenames", ())]
    wrong = [item.callspec.params["contract"] for item in items]
    imports = [f"from {contract.__module__} import {contract.__name__}\n" for contract in wrong]
    (folder / "test_wrong.py").write_text("".join(imports))
    (folder / "pytest.ini").write_text(f"[pytest]\npython_classes = *\npythonpath = {shlex.quote(str(TESTS))}\n")
    tests = [f"test_wrong.py::{contract.__name__}::{contract.caught_by}" for contract in wrong]
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    return {
        (case.attrib["classname"].rpartition(".")[2], case.attrib["name"]): [
            child.attrib["message"] for child in case if child.tag in {"failure", "error"}
        ]
        for case in ET.parse(report).iter("testcase")
    }


@pytest.mark.parametrize("contract", WRONG, ids=lambda contract: contract.__name__)
def test_wrong_store_is_caught(caught, contract):
    """A store with this fault fails this test, or the parameters of it that are about the fault."""
    messages = [
        message
        for (name, test), found in caught.items()
        if name == contract.__name__ and test.partition("[")[0] == contract.caught_by.partition("[")[0]
        for message in found
    ]
    assert messages, f"the contract did not notice {contract.__name__}"
    assert not [message for message in messages if contract.caught_with not in message]
