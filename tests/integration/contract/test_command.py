"""Command stores keep the contract: programs that keep a folder of files, and the real `pass`."""

import pytest

from strongroom.testing import StoreContract
from strongroom_local.command.plugin import open_command

CAPABILITIES = frozenset({"listable", "writable", "probed"})

READ = '[ -f "$2/$1,f" ] || exit 66; exec cat "$2/$1,f"'
LIST = 'cd "$2" && find . -type f | sed "s/^..//; s/,f$//"'
WRITE = 'mkdir -p "$(dirname "$2/$1")" && cat > "$2/new" && mv "$2/new" "$2/$1,f"'
DELETE = '[ -f "$2/$1,f" ] || exit 66; exec rm "$2/$1,f"'


def programs(**scripts):
    """A command line of a shell for each script."""
    return {name: ["sh", "-c", script, "sh", "<path>", "<location>"] for name, script in scripts.items()}


def failing(script):
    """A store whose programs all do the same."""
    return open_command(**programs(read=script, list=script, write=script, delete=script))


class TestCommand(StoreContract):
    """Whole secrets in JSON, so that every value survives."""

    capabilities = CAPABILITIES
    page_size = 2
    many = 8  # each write is a process

    @pytest.fixture
    def store(self, tmp_path):
        return open_command(**programs(read=READ, list=LIST, write=WRITE, delete=DELETE), location=str(tmp_path))

    @pytest.fixture
    def denied(self):
        return failing("exit 77")

    @pytest.fixture
    def unreachable(self):
        """The program never ends, and neither does its child."""
        return failing("sleep 600")


@pytest.mark.long
class TestPass(StoreContract):
    """A store of `pass`. Nothing denies access to all of it, and its program always ends."""

    capabilities = CAPABILITIES
    impossible = frozenset({"denied", "unreachable"})
    page_size = 2
    many = 8  # each write is a process

    @pytest.fixture
    def store(self, gpg_home, tmp_path):
        return open_command(profile="pass", location=str(gpg_home.init(tmp_path / "store")))
