"""A real server whose requests are counted, and whose data may survive a restart."""

import json
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from strongroom_vault.testing import TestVault


def raft_storage(folder: Path, node: str, joins: Iterable[str] = ()) -> str:
    """Return the `storage` block of a server with its data in `folder`, which joins one of these URLs."""
    others = "\n".join(f"retry_join {{ leader_api_addr = {json.dumps(url)} }}" for url in joins)
    return f"""
        storage "raft" {{
          path = {json.dumps(str(folder.absolute()))}
          node_id = {json.dumps(node)}
          performance_multiplier = 1
          {others}
        }}"""


def audit_device(file: Path) -> str:
    """Return the `audit` block of a server that writes one line of JSON for each request and response. OpenBao only."""
    return f"""
        audit "file" "file" {{
          options = {{
            file_path = {json.dumps(str(file.absolute()))}
            mode = "0600"
          }}
        }}"""


class RequestCounts:
    """Numbers of requests in an audit file. Each line is read once, so that a test can poll."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def of(self, path: str, operation: str) -> int:
        """Return the number of requests for exactly this API path and operation."""
        with self._lock, self._file.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):  # the server is still writing it
                    break
                self._read += len(line)
                entry = json.loads(line)
                if entry["type"] == "request":
                    self._counts[entry["request"]["path"], entry["request"]["operation"]] += 1
            return self._counts[path, operation]


class RecordedVault(TestVault):
    """A `TestVault` with an audit device.

    Args:
        audit_file: the file of the device.
    """

    def __init__(self, audit_file: Path) -> None:
        super().__init__()
        self.audit_file = audit_file
        self._counts = RequestCounts(audit_file)

    def _configuration(self, binary: Path, port: int) -> str:
        return super()._configuration(binary, port) + audit_device(self.audit_file)

    def requests(self, path: str, *, operation: str = "read") -> int:
        """Return the number of requests for exactly this API path (`secret/data/app`) and operation.

        An operation is read, list, create, update or delete. The server writes the line before it answers.
        """
        return self._counts.of(path, operation)


class KeptVault(TestVault):
    """A `TestVault` whose data survive `restart`. Its start takes about two seconds longer.

    Args:
        folder: keeps the data.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _storage(self) -> str:
        return raft_storage(self._folder, "dev")
