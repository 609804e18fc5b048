"""A folder of files keeps the contract. A file's contents are a value, and nothing is ever written."""

import pytest

from strongroom.testing import NON_TEXT_CASES, StoreContract
from strongroom_env.files import open_files


class TestFiles(StoreContract):
    """A file name has no slash and no backslash, and names that start with two dots belong to Kubernetes."""

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
        """The folder is a link out of the root, which the store does not follow."""
        (tmp_path / "elsewhere" / "app").mkdir(parents=True)
        (tmp_path / "elsewhere" / "app" / "user").write_text("somebody else's")
        root.mkdir()
        (root / "contract").symlink_to(tmp_path / "elsewhere")
        return open_files(root=root)

    @pytest.fixture
    def unreachable(self, root):
        """The root folder does not exist."""
        return open_files(root=root)
