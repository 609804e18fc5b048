"""A rotation that kill -9 ends while the server has its statement: an undo follows what the server does with that."""

import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pymysql
import pytest
import redis
from psycopg import errors

from strongroom._manager import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.errors import StoreUnavailableError, UnfinishedRotationError
from strongroom.rotate import guard
from strongroom.rotate.rotations import Rotations
from strongroom.rotate.spi import CredentialPair
from strongroom.rotate.state import KEY, pending_path
from strongroom.secret import SensitiveDict, SensitiveStr
from strongroom_rotators.database_user import UserLogin
from strongroom_rotators.mysql import wait_for_earlier_changes
from strongroom_rotators.postgres import PostgresServer
from strongroom_rotators.redis_acl import open_redis_acl
from support.scenarios.load import wait_until
from support.scenarios.rotate_settings import BY_ADMIN, OWN_PASSWORD, PATH, TWO_USERS
from support.scenarios.rotating import Killed, Time

pytestmark = pytest.mark.long

ROTATE = "import sys\nfrom strongroom._manager import SecretsManager\n"
ROTATE += "SecretsManager.from_config(sys.argv[1]).rotations.rotate(sys.argv[2])"

SETTINGS = pytest.mark.parametrize("settings", [OWN_PASSWORD, BY_ADMIN, TWO_USERS], ids=["own", "admin", "two users"])


class PostgresLock:
    """A session of somebody else that holds the row of a role.

    Attributes:
        session: the session, in a transaction.
    """

    def __init__(self, there, user):
        self._postgres = there.server
        self.session = self._postgres.connect("postgres", self._postgres.password)
        self.session.execute("BEGIN")
        self.session.execute("SELECT 1 FROM pg_authid WHERE rolname = %s FOR UPDATE", [user])

    def waiting(self):
        """Return the statements that wait for a lock."""
        asked = "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with self._postgres.connect("postgres", self._postgres.password) as connection:
            return connection.execute(asked).fetchall()

    def release(self):
        self.session.close()


class MariaDBLock:
    """A session of somebody else that holds the table of users."""

    def __init__(self, there, user):
        self._socket = there.server.socket
        self._session = pymysql.connect(unix_socket=self._socket, user="root")
        with self._session.cursor() as cursor:
            cursor.execute("LOCK TABLES mysql.global_priv READ")

    def waiting(self):
        """Return the sessions that wait for the table, or for the lock of one that does."""
        asked = "SELECT STATE FROM information_schema.PROCESSLIST WHERE STATE IN ('Waiting for table level lock', "
        with pymysql.connect(unix_socket=self._socket, user="root") as connection, connection.cursor() as cursor:
            cursor.execute(asked + "'User lock')")
            return cursor.fetchall()

    def release(self):
        if self._session.open:
            self._session.close()


@contextmanager
def killed_rotation(there, lock_kind, user):
    """Kill a rotation while its statement waits for a lock, and yield the lock, which still holds."""
    lock = lock_kind(there, user)
    try:
        with subprocess.Popen([sys.executable, "-c", ROTATE, str(there.config), PATH]) as process:
            wait_until(lambda: len(lock.waiting()) == 1)
            process.kill()
        yield lock
    finally:
        lock.release()


def undo_behind(there, lock):
    """Undo while the lock holds, and release it when the undo waits behind the statement of the killed process."""
    with SecretsManager.from_config(there.config) as manager, ThreadPoolExecutor(1) as executor:
        undo = executor.submit(manager.rotations.undo, PATH, take_over=True)
        wait_until(lambda: len(lock.waiting()) == 2 or undo.done())
        lock.release()
        wait_until(lambda: not lock.waiting())
        return undo.result()


def check_undone(there, before):
    """The old credential works and is stored, and the pending one is dropped and does not work."""
    assert there.read(PATH) == before
    assert there.works(before)
    assert set(there.read(pending_path(PATH))) == {KEY}


def sessions_of(postgres, user):
    """Return the sessions of a user."""
    with postgres.connect("postgres", postgres.password) as connection:
        return connection.execute("SELECT pid FROM pg_stat_activity WHERE usename = %s", [user]).fetchall()


@SETTINGS
def test_an_undo_follows_the_statement_of_a_killed_rotation_in_postgresql(configured, settings):
    there = configured(settings)
    before = there.read(PATH)
    with killed_rotation(there, PostgresLock, there.users[settings == TWO_USERS]) as lock:
        pending = there.read(pending_path(PATH))
        assert undo_behind(there, lock).state == "undone"
    check_undone(there, before)
    assert not there.works(pending)


@SETTINGS
def test_an_undo_follows_the_statement_of_a_killed_rotation_in_mariadb(configured_mariadb, settings):
    there = configured_mariadb(settings)
    before = there.read(PATH)
    with killed_rotation(there, MariaDBLock, there.users[settings == TWO_USERS]) as lock:
        pending = there.read(pending_path(PATH))
        assert undo_behind(there, lock).state == "undone"
    check_undone(there, before)
    assert not there.works(pending)


def test_a_rotation_repeats_a_change_that_another_session_has_overtaken(configured):
    """PostgreSQL refuses a change of a row that another session has changed while it waited."""
    there = configured(OWN_PASSWORD)
    lock = PostgresLock(there, there.users[0])
    with (
        SecretsManager.from_config(there.config) as manager,
        ThreadPoolExecutor(1) as executor,
        closing(lock.session),
    ):
        lock.session.execute(f"ALTER ROLE {there.users[0]} CONNECTION LIMIT 50")
        rotation = executor.submit(manager.rotations.rotate, PATH)
        wait_until(lambda: lock.waiting() or rotation.done())
        lock.session.execute("COMMIT")
        assert rotation.result().state == "done"
    assert there.works(there.read(PATH))


def test_a_rotation_in_mariadb_follows_a_change_that_an_earlier_session_has_not_begun(configured_mariadb):
    """The session has the lock by the user's name, and its statement is on the way."""
    there = configured_mariadb(OWN_PASSWORD)
    login = {"host": "127.0.0.1", "port": there.server.port, "user": there.users[0], "password": "first"}
    asked = "SELECT ID FROM information_schema.PROCESSLIST WHERE STATE = 'User lock'"
    with SecretsManager.from_config(there.config) as manager, ThreadPoolExecutor(1) as executor:
        with (
            pymysql.connect(unix_socket=there.server.socket, user="root") as root,
            pymysql.connect(**login) as earlier,
            earlier.cursor() as cursor,
            root.cursor() as watch,
        ):
            wait_for_earlier_changes(cursor, there.users[0])
            rotation = executor.submit(manager.rotations.rotate, PATH)
            wait_until(lambda: watch.execute(asked) or rotation.done())
            cursor.execute("SET PASSWORD = PASSWORD('late-password')")
        assert rotation.result().state == "done"
    assert there.works(there.read(PATH))


def test_an_undo_that_cannot_follow_it_yet_keeps_both_credentials(configured, monkeypatch):
    """The lock holds for longer than a step may take. The next undo repairs it, whichever of them works."""
    there = configured(OWN_PASSWORD)
    before = there.read(PATH)
    with killed_rotation(there, PostgresLock, there.users[0]), SecretsManager.from_config(there.config) as manager:
        with monkeypatch.context() as patches:
            patches.setattr(guard, "STEP_LIMIT", 3.0)
            with pytest.raises(UnfinishedRotationError, match="Both credentials stay stored") as caught:
                manager.rotations.undo(PATH, take_over=True)
        assert "works" not in str(caught.value)
        pending = there.read(pending_path(PATH))
        assert pending["password"] != before["password"]
    there.server.run(f"ALTER ROLE {there.users[0]} PASSWORD '{pending['password']}'")
    with SecretsManager.from_config(there.config) as manager:
        assert manager.rotations.undo(PATH, take_over=True).state == "undone"
    check_undone(there, before)


@pytest.mark.parametrize("fault", [errors.QueryCanceled, errors.LockNotAvailable, errors.InternalError_])
def test_a_lock_is_no_denial(postgres, fault):
    """An undo that is denied the right goes on if the old credential works; one that could not wait does not."""
    server = PostgresServer("127.0.0.1", postgres.port, None, None, None)
    login = UserLogin("postgres", SensitiveStr(postgres.password))
    with pytest.raises(StoreUnavailableError), server.connect({}, login):
        raise fault


class Cursor:
    """A cursor of a MySQL server whose `GET_LOCK` has this answer."""

    def __init__(self, answer):
        self.answer = answer

    def execute(self, statement, values):
        if "GET_LOCK" in statement and isinstance(self.answer, Exception):
            raise self.answer

    def fetchone(self):
        return (self.answer,)


def test_a_change_in_mysql_waits_for_the_lock_if_the_server_has_locks():
    wait_for_earlier_changes(Cursor(1), "app")
    with pytest.raises(StoreUnavailableError, match="has not ended an earlier change of the password of app"):
        wait_for_earlier_changes(Cursor(0), "app")
    wait_for_earlier_changes(Cursor(pymysql.NotSupportedError(1235, "GET_LOCK in cluster")), "app")
    with pytest.raises(pymysql.OperationalError):
        wait_for_earlier_changes(Cursor(pymysql.OperationalError(2013, "lost")), "app")


@pytest.mark.parametrize("command", ["resume", "rotate"])
@pytest.mark.parametrize("working", ["old", "new"])
def test_a_user_that_changes_its_own_password_goes_on_with_either_credential(configured, command, working):
    """The process was killed before or after the server had changed the password."""
    there, time = configured(OWN_PASSWORD), Time(datetime.now(UTC).isoformat())
    before = there.read(PATH)
    with killed_rotation(there, PostgresLock, there.users[0]):
        pending = there.read(pending_path(PATH))
    wait_until(lambda: not sessions_of(there.server, there.users[0]))
    assert there.works(before), "the statement of the killed process was not rolled back"
    if working == "new":
        there.server.run(f"ALTER ROLE {there.users[0]} PASSWORD '{pending['password']}'")
    with SecretsManager.from_config(there.config) as manager:
        if command == "rotate":
            time.move(minutes=10)
            Rotations(parts_of(manager).chain, parts_of(manager).threads, manager.config, clock=time).rotate(PATH)
        else:
            manager.rotations.resume(PATH, take_over=True)
    assert there.read(PATH)["password"] == pending["password"]
    assert there.works(pending)


def test_a_removal_that_reaches_redis_after_an_undo_removes_nothing(redis_server, monkeypatch):
    """The old password is valid again by then."""
    user, admin = f"app_{secrets.token_hex(4)}", redis_server.client()
    admin.execute_command("ACL", "SETUSER", user, "on", ">first-password", "~*", "+@all")
    secret = {"user": user, "host": "127.0.0.1", "port": redis_server.port}
    old, new = (SensitiveDict({**secret, "password": word}) for word in ("first-password", "second-password"))
    rotator = open_redis_acl()
    rotator.apply(CredentialPair(PATH, old=old, new=new))
    original, late = redis.Redis.execute_command, []

    def execute(client, *words, **options):
        if words[:2] == ("ACL", "SETUSER") and words[3].startswith("!"):
            late.append(words)
            raise Killed
        return original(client, *words, **options)

    with monkeypatch.context() as patches:
        patches.setattr(redis.Redis, "execute_command", execute)
        with pytest.raises(Killed):
            rotator.revoke(CredentialPair(PATH, old=old, new=new))
    undo = CredentialPair(PATH, old=new, new=old)
    rotator.apply(undo)
    rotator.revoke(undo)
    with pytest.raises(redis.ResponseError, match="does not exist"):
        admin.execute_command(*late[0])
    assert redis_server.lets_in(user, "first-password")
    assert not redis_server.lets_in(user, "second-password")
