"""Every rotator keeps the contract, on a real server where there is one."""

import json
import secrets
import sys

import pytest

from strongroom.errors import InvalidDataError
from strongroom.secret import SensitiveDict
from strongroom.testing import RotatorContract, silent_server
from strongroom_rotators.command import open_command
from strongroom_rotators.generated import open_password, open_token
from strongroom_rotators.jwt_key import open_jwt_key
from strongroom_rotators.mysql import open_mysql
from strongroom_rotators.postgres import open_postgres
from strongroom_rotators.redis_acl import open_redis_acl
from support.plugins.broken_rotators import GoodRotator, WrongRotator


@pytest.fixture
def silent():
    with silent_server() as address:
        yield address


def user_of(server, *, create):
    """A new user with a password, as a secret."""
    user, password = f"app_{secrets.token_hex(4)}", secrets.token_hex(8)
    create(user, password)
    return {"user": user, "password": password, "host": "127.0.0.1", "port": server.port}


def admin_reader(user, password):
    """A function that reads the secret of an administrator, and no other."""
    return {"database/admin": SensitiveDict(user=user, password=password)}.__getitem__


class TestTheRotatorOfTheUnitTests(WrongRotator):
    """It keeps the contract, so that each class made of it is broken in one way."""

    Rotator = GoodRotator


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


class Postgres(RotatorContract):
    @pytest.fixture
    def current(self, postgres):
        return user_of(postgres, create=lambda user, word: postgres.run(f"CREATE ROLE {user} LOGIN PASSWORD '{word}'"))

    @pytest.fixture
    def accepted(self, postgres):
        return lambda secret: postgres.lets_in(secret["user"], secret["password"])

    @pytest.fixture
    def read(self, postgres):
        return admin_reader("postgres", postgres.password)


class TestPostgresOwnPassword(Postgres):
    one_credential = True

    @pytest.fixture
    def rotator(self):
        return open_postgres()

    @pytest.fixture
    def unreachable(self, silent, current):
        return open_postgres(), {**current, "host": silent[0], "port": silent[1]}


@pytest.mark.long
class TestPostgresByAdministrator(Postgres):
    one_credential = True
    impossible = frozenset({"unreachable"})  # as with the user's own password

    @pytest.fixture
    def rotator(self):
        return open_postgres(admin="database/admin")


class TestPostgresTwoUsers(Postgres):
    @pytest.fixture
    def rotator(self, current, postgres):
        postgres.run(f"CREATE ROLE {current['user']}_2 LOGIN PASSWORD 'another'")
        return open_postgres(users=[current["user"], f"{current['user']}_2"], admin="database/admin")

    @pytest.fixture
    def unreachable(self, silent, rotator, current):
        return rotator, {**current, "host": silent[0], "port": silent[1]}


@pytest.mark.long
class TestPostgresUrl(Postgres):
    """The secret is a URL alone, whose password needs quoting."""

    one_credential = True
    impossible = frozenset({"unreachable"})  # as with the user's own password

    @pytest.fixture
    def rotator(self):
        return open_postgres(admin="database/admin")

    @pytest.fixture
    def current(self, postgres):
        user = f"app_{secrets.token_hex(4)}"
        postgres.run(f"CREATE ROLE {user} LOGIN PASSWORD 'a/b@c:d%'")
        return {"url": f"postgresql://{user}:a%2Fb%40c%3Ad%25@127.0.0.1:{postgres.port}/postgres"}

    @pytest.fixture
    def accepted(self, postgres):
        import psycopg

        def accepted(secret):
            try:
                psycopg.connect(str(secret["url"])).close()
            except psycopg.OperationalError:
                return False
            return True

        return accepted


# --- MariaDB ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
class TestMariaDB(RotatorContract):
    one_credential = True  # with two users the old one works on, which the tests of PostgreSQL check

    @pytest.fixture(params=["own password", "two users"])
    def rotator(self, request, current, mariadb):
        if request.param == "own password":
            return open_mysql()
        mariadb.run("CREATE USER %s@'%%' IDENTIFIED BY 'another'", f"{current['user']}_2")
        return open_mysql(users=[current["user"], f"{current['user']}_2"], admin="database/admin")

    @pytest.fixture
    def current(self, mariadb):
        return user_of(
            mariadb, create=lambda user, word: mariadb.run("CREATE USER %s@'%%' IDENTIFIED BY %s", user, word)
        )

    @pytest.fixture
    def accepted(self, mariadb):
        return lambda secret: mariadb.lets_in(secret["user"], secret["password"])

    @pytest.fixture
    def read(self, mariadb):
        return admin_reader("admin", mariadb.password)

    @pytest.fixture
    def unreachable(self, silent, current):
        return open_mysql(), {**current, "host": silent[0], "port": silent[1]}


# --- Redis ------------------------------------------------------------------------------------------------------------


class Redis(RotatorContract):
    @pytest.fixture
    def current(self, redis_server):
        def create(user, word):
            redis_server.client().execute_command("ACL", "SETUSER", user, "on", f">{word}", "~*", "+@all")

        return user_of(redis_server, create=create)

    @pytest.fixture
    def accepted(self, redis_server):
        return lambda secret: redis_server.lets_in(secret["user"], secret["password"])


class TestRedisOwnPassword(Redis):
    @pytest.fixture
    def rotator(self):
        return open_redis_acl()

    @pytest.fixture
    def unreachable(self, silent, current):
        return open_redis_acl(), {**current, "host": silent[0], "port": silent[1]}


@pytest.mark.long
class TestRedisByAdministrator(Redis):
    impossible = frozenset({"unreachable"})  # as with the user's own password

    @pytest.fixture
    def rotator(self):
        return open_redis_acl(admin="database/admin")

    @pytest.fixture
    def read(self, redis_server):
        password = secrets.token_hex(8)
        name = f"admin_{secrets.token_hex(4)}"
        redis_server.client().execute_command("ACL", "SETUSER", name, "on", f">{password}", "+acl|setuser", "+ping")
        return admin_reader(name, password)


# --- without a service ------------------------------------------------------------------------------------------------


class TestPassword(RotatorContract):
    local = True

    @pytest.fixture
    def rotator(self):
        return open_password(previous_key="previous_password")

    @pytest.fixture
    def current(self):
        return {"password": "first-password", "user": "app"}


class TestToken(RotatorContract):
    local = True

    @pytest.fixture
    def rotator(self):
        return open_token(prefix="acme_")

    @pytest.fixture
    def current(self):
        return {"token": "acme_first"}


class TestJwtKey(RotatorContract):
    local = True

    @pytest.fixture(params=["HS256", "EdDSA"])
    def algorithm(self, request):
        return request.param

    @pytest.fixture
    def rotator(self, algorithm):
        return open_jwt_key(algorithm=algorithm)

    @pytest.fixture
    def current(self, algorithm):
        return dict(open_jwt_key(algorithm=algorithm).create(SensitiveDict()))


# --- programs ---------------------------------------------------------------------------------------------------------

PROGRAM = """
import json, pathlib, sys
file, step = pathlib.Path(sys.argv[1]), sys.argv[2]
document = json.load(sys.stdin)
assert document["step"] == step
accepted = set(json.loads(file.read_text()))
if step == "create":
    import secrets
    print(json.dumps({"password": secrets.token_hex(16)}))
elif step == "apply":
    accepted.add(document["new"]["password"])
elif step == "revoke":
    accepted.discard(document["old"]["password"])
elif document["new"]["password"] not in accepted:
    print(document, file=sys.stderr)
    sys.exit(10)
file.write_text(json.dumps(sorted(accepted)))
"""


class TestCommand(RotatorContract):
    @pytest.fixture
    def file(self, tmp_path):
        file = tmp_path / "accepted.json"
        file.write_text('["first-password"]')
        (tmp_path / "program.py").write_text(PROGRAM)
        return file

    @pytest.fixture
    def rotator(self, file):
        steps = ("create", "apply", "prove", "revoke")
        programs = {step: [sys.executable, str(file.with_name("program.py")), str(file), step] for step in steps}
        return open_command(**programs)

    @pytest.fixture
    def current(self):
        return {"user": "app", "password": "first-password"}

    @pytest.fixture
    def accepted(self, file):
        return lambda secret: secret["password"] in json.loads(file.read_text())

    @pytest.fixture
    def unreachable(self, current):
        return open_command(apply=["sleep", "60"], prove=["sleep", "60"]), current

    def test_a_name_that_the_program_repeats_is_refused(self, current):
        """One of the two values would be stored, and the service may have the other."""
        twice = 'print(\'{"password": "canary-1", "password": "canary-2"}\')'
        rotator = open_command(create=[sys.executable, "-c", twice], apply=["true"], prove=["true"])
        with pytest.raises(InvalidDataError, match="JSON object: the name 'password' appears twice") as caught:
            rotator.create(current)
        assert "canary" not in str(caught.value)
