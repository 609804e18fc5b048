"""A fork, a thread, an exit: each process has clients of its own, and nothing keeps it from leaving."""

import subprocess
import sys

import pytest

from strongroom.testing import silent_server
from support.forks import forked

pytestmark = pytest.mark.long


def test_child_of_a_fork_makes_its_own_client(aws, clients):
    """It shares no connection with its parent, who goes on."""
    store = aws.open_secrets()
    store.write("app", {"k": "v"})
    store.read("app")
    read, made = forked(lambda: (dict(store.read("app").data), len(clients)))
    assert (read, made) == ({"k": "v"}, 2)
    assert dict(store.read("app").data) == {"k": "v"}
    assert len(clients) == 1


def test_hung_call_does_not_keep_the_process(aws):
    """What was given up is left behind."""
    with silent_server() as (host, port):
        program = (
            "from strongroom.errors import StoreUnavailableError\n"
            "from strongroom.store import time_limit\n"
            "from strongroom_aws import service\n"
            "from strongroom_aws.plugin import open_secrets_manager\n"
            "service.READ_TIMEOUT = 600.0  # after which it would end by itself\n"
            f"store = open_secrets_manager(endpoint_url='http://{host}:{port}')\n"
            "try:\n"
            "    with time_limit(0.2): store.read('app')\n"
            "except StoreUnavailableError: print('given up', flush=True)\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "given up\n"
            process.wait(60)
    assert process.returncode == 0


def test_closed_store_can_be_closed_again(aws):
    for store in (aws.open_secrets(), aws.open_parameters(), aws.open_parameters("secrets")):
        store.close()
        store.close()


def test_importing_the_plugin_loads_no_sdk():
    """Not before a store is opened; then `pip install` is named where it is missing."""
    program = (
        "import sys, strongroom_aws.plugin as opening\n"
        "assert not {'boto3', 'botocore'} & sys.modules.keys()\n"
        "sys.modules['boto3'] = None\n"
        "try: opening.open_secrets_manager()\n"
        "except ImportError as error: print(error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "boto3\n"
