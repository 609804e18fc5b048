"""Every file store keeps the contract, in plain text and encrypted.

The formats share one store: the default run has that of JSON, and `tests/unit/files` the codecs of all.
"""

import errno
import os

import pyrage
import pytest

from strongroom._files.plugin import open_csv, open_dotenv, open_json, open_kubernetes, open_yaml
from strongroom.formats.variables import EnvironmentMapping
from strongroom.testing import CASES, NON_TEXT_CASES, StoreContract

PARTS = ("contract/app", "contract/apple", "contract/ap", "contract/other", "contract", "contract/app/below", "top")
KEYS = (
    "user",
    "password",
    "port",
    "name",
    "host",
    "own",
    "turn",
    "copy",
    "old",
    "number",
    "inner",
    "key",
    "two",
    "sub",
)


class FileContract(StoreContract):
    """Shared by the file stores. A file has no pages, and a pipe without a writer is an outage."""

    page_size = many = 20  # each write writes the whole file
    capabilities = frozenset({"listable", "writable", "bulk", "probed", "local"})

    @pytest.fixture
    def file(self, tmp_path):
        return tmp_path / "secrets.file"

    @pytest.fixture
    def options(self):
        return {}

    @pytest.fixture
    def opening(self, file, options):
        return lambda: type(self).opener(file=file, **options)

    @pytest.fixture
    def store(self, opening):
        return opening()

    @pytest.fixture
    def denied(self, file, opening, monkeypatch):
        """Simulate the kernel's denial: no file mode stops root, who may run the tests."""
        file.touch(0o600)
        opened = os.open

        def refuse(path, *rest, **more):
            if path == file:
                raise PermissionError(errno.EACCES, "Permission denied")
            return opened(path, *rest, **more)

        monkeypatch.setattr(os, "open", refuse)
        return opening()

    @pytest.fixture
    def unreachable(self, file, opening):
        os.mkfifo(file)
        return opening()


class TestJson(FileContract):
    opener = staticmethod(open_json)


@pytest.mark.long
class TestYaml(FileContract):
    opener = staticmethod(open_yaml)


@pytest.mark.long
class TestCsv(FileContract):
    opener = staticmethod(open_csv)


@pytest.mark.long
class TestKubernetes(FileContract):
    """Kubernetes allows only some characters in a key."""

    opener = staticmethod(open_kubernetes)
    cannot_hold = frozenset(
        {"key with a space", "keys with marks", "key with a slash", "key with a backslash", "unicode key"}
    )

    @pytest.fixture
    def options(self):
        return {"namespace": "prod"}


@pytest.mark.long
class TestEncrypted(FileContract):
    """A file that is encrypted to an age identity."""

    opener = staticmethod(open_json)

    @pytest.fixture
    def options(self, tmp_path):
        key = pyrage.x25519.Identity.generate()
        identity = tmp_path / "identity"
        identity.touch(0o600)
        identity.write_text(f"# created for a test\n{key}\n")
        return {"identity": identity, "encrypt_to": [str(key.to_public())]}


@pytest.mark.long
class TestDotenv(FileContract):
    """Text under the variable names of a mapping. Readers of the file would take an empty value for a missing one."""

    opener = staticmethod(open_dotenv)
    cannot_hold = NON_TEXT_CASES | {"empty", "nul", "lines", "shell"}

    @pytest.fixture
    def options(self):
        places = {
            *((path, key) for path in PARTS for key in KEYS),
            *((f"contract/{number:05}", key) for number in range(self.page_size + 1) for key in KEYS),
            *((f"contract/name-{number:05}", "key") for number in range(self.page_size + 1)),
            *((f"contract/thread-{number}", key) for number in range(8) for key in KEYS),
            *((path, key) for path in ("contract/one", "contract/two", "contract/sub/a") for key in KEYS),
            *((path, key) for path in ("contract/sub/b/c", "contractor") for key in KEYS),
            *((path, key) for path in ("contract/App/one", "contract/app/two") for key in KEYS),
            *((path, key) for path in ("contract/su", "contract/subway", "contract/sub-2/x") for key in KEYS),
            *((case.path, key) for case in CASES for key in case.data),
        }
        return {"mapping": EnvironmentMapping({f"V{n}": place for n, place in enumerate(sorted(places))})}
