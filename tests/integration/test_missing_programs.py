"""On a machine without a program of Debian, its tests are skipped with the program's name."""

import pytest

from support.services.database_servers import running_mariadb, running_redis
from support.services.passwordstore import password_store
from support.services.secret_service import secret_service


@pytest.mark.parametrize(
    ("running", "programs"),
    [
        (running_redis, ["redis-server"]),
        (running_mariadb, ["mariadbd", "mariadb-install-db"]),
        (password_store, ["pass", "gpg", "gpgconf"]),
        (secret_service, ["dbus-daemon", "gnome-keyring-daemon"]),
    ],
)
def test_a_missing_program_is_the_reason_of_the_skip(tmp_path, monkeypatch, running, programs):
    """Each program that the server needs, before anything is started."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for program in programs:
        with pytest.raises(pytest.skip.Exception, match=f"^{program} is not installed$"), running():
            raise AssertionError("it runs")
        (tmp_path / program).touch(mode=0o755)
