"""A folder of files keeps the contract: what is in a file is the value, and nothing is ever written."""

import pytest

from strongroom.testing import NON_TEXT_CASES, StoreContract
from strongroom_env.files import open_files


class TestFiles(StoreContract):
    """A file name is a part of a path: no slash, no backslash; one that starts with two dots is Kubernetes' own."""

    capabilities = frozenset({"listable", "probed", "local"})
    cannot_hold = NON_TEXT_CASES | {"key with a slash", "key with a backslash", "path with dots"}

    @pytest.fixture
    def root(self, tmp_path):
        return tmp_path / "secrets"

    @pytest.fixture
    def holding(self, root):
        def fill(contents):
            root.mkdir()
            for path, data in contents.items():
                folder = root / path
                folder.mkdir(parents=True, exist_ok=True)
                for key, text in data.items():
                    (folder / key).write_text(text, newline="")
            return open_files(root=root)

        return fill

    @pytest.fixture
    def denied(self, root, tmp_path):
        """The folder is a link out of the root, which no store follows."""
        (tmp_path / "elsewhere" / "app").mkdir(parents=True)
        (tmp_path / "elsewhere" / "app" / "user").write_text("somebody else's")
        root.mkdir()
        (root / "contract").symlink_to(tmp_path / "elsewhere")
        return open_files(root=root)

    @pytest.fixture
    def unreachable(self, root):
        """Nothing is mounted where the secrets should be."""
        return open_files(root=root)
