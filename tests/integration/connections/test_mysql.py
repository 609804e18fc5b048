"""SQLAlchemy and Django on a real MariaDB, while the password of their user rotates."""

import secrets
import shutil
import subprocess
import time

import pymysql
import pytest
from django.db.utils import ConnectionHandler
from sqlalchemy import text

from strongroom import set_default_manager
from strongroom.integrations.django import database
from strongroom.integrations.sqlalchemy import create_engine

PATH = "database/connection"
LIMIT = 60.0

pytestmark = pytest.mark.skipif(shutil.which("mariadbd") is None, reason="mariadbd is not installed")


@pytest.fixture(scope="module")
def socket(tmp_path_factory):
    """The socket of a MariaDB server, whose administrator needs no password."""
    home = tmp_path_factory.mktemp("mariadb")
    path, data = home / "socket", home / "data"
    subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={data}",
            "--user=root",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ],
        check=True,
        capture_output=True,
    )
    command = [
        "mariadbd",
        "--no-defaults",
        f"--datadir={data}",
        f"--socket={path}",
        "--skip-networking",
        "--user=root",
        f"--pid-file={home / 'pid'}",
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + LIMIT
        while not path.exists():  # it listens then
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield str(path)
        process.kill()


@pytest.fixture
def account(socket, store):
    return Account(socket, store)


class Account:
    """A user of the server whose password rotates."""

    def __init__(self, socket, store):
        self.name = f"app_{secrets.token_hex(4)}"
        self._admin = pymysql.connect(unix_socket=socket, user="root", autocommit=True)
        self._store = store
        self._socket = socket
        self._run(f"CREATE USER {self.name} IDENTIFIED BY '{secrets.token_hex(8)}'")
        self.rotate()

    def _run(self, statement):
        with self._admin.cursor() as cursor:
            cursor.execute(statement)

    def rotate(self):
        """Give the user a new password in the place of the one it has, and store it."""
        self.password = secrets.token_hex(8)
        self._run(f"SET PASSWORD FOR {self.name} = PASSWORD('{self.password}')")
        url = f"mysql://{self.name}:{self.password}@localhost/information_schema?unix_socket={self._socket}"
        self._store.write(PATH, {"url": url})


def test_a_refused_password_is_read_anew(account, manager):
    """The pool opens its first connection after a rotation that the cache has not seen."""
    engine = create_engine(PATH, manager=manager, drivername="mysql+pymysql")
    account.rotate()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT user()")).scalar_one() == f"{account.name}@localhost"
    engine.dispose()


def test_django_reads_a_refused_password_anew(account, manager, socket):
    """With PyMySQL in the place of mysqlclient, as Django's users install it."""
    pymysql.install_as_MySQLdb()
    before = set_default_manager(manager)
    settings = database(PATH, engine="mysql", OPTIONS={"unix_socket": socket})
    connection = ConnectionHandler({"default": settings})["default"]
    try:
        manager.get_secret(PATH)
        account.rotate()
        with connection.cursor() as cursor:
            cursor.execute("SELECT user()")
            assert cursor.fetchone() == (f"{account.name}@localhost",)
    finally:
        connection.close()
        set_default_manager(before)
