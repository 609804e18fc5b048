"""Each order of two processes on one rotation, where the first is killed and its last change arrives at any later time.

The change is a statement of the service or a write of the store that was sent: the process is killed before the answer,
and the change is made before any later step of the second process, after all of them, or never.
"""

import hashlib
import itertools
from contextlib import contextmanager
from datetime import timedelta

import pytest

from strongroom._manager import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.errors import AuthenticationError, ConflictError, RotationError, SecretNotFoundError, StrongroomError
from strongroom.rotate.guard import GuardedRotator
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.state import RotationStep, pending_path, pending_secret
from strongroom.rotate.transaction import Transaction
from strongroom.secret import SensitiveDict
from strongroom.store import Traits
from strongroom.store.memory import MemoryStore
from strongroom_rotators.database_user import DatabaseUserRotator
from strongroom_rotators.redis_acl import RedisAclRotator
from support.scenarios.rotating import FIRST, PATH, Killed, Time

ADMIN = SensitiveDict(user="admin", password="of-the-administrator")


class World:
    """A store, a service, and the process that works now. Each of its steps goes through `pass_point`."""

    def __init__(self, kind):
        self.store = WatchedStore(self)
        self.server = RedisServer(self) if kind == "redis" else PasswordServer(self)
        self.time = Time()
        self.rotator = self.server.rotator(kind)
        self.rotator.traits = Traits(honors_deadline=True)  # so that no thread is needed
        self.manager = SecretsManager(chain=[self.store])
        self.late = None
        self.kill_at = 0
        self.deliver_at = 0
        self.steps = 0
        self.dead = False
        self.settled = False
        self.broken = []
        self.proofs = set()
        MemoryStore.write_if(self.store, PATH, FIRST, None)

    def run(self, command, *, grace=0, **options):
        """Let a new process run one command of the rotation, and return the state."""
        self.proofs = set()
        transaction = Transaction(
            Ledger(parts_of(self.manager).chain, PATH),
            GuardedRotator(self.rotator, "service", PATH),
            grace=timedelta(seconds=grace),
            read={"admin": ADMIN}.__getitem__,
            clock=self.time,
        )
        return getattr(transaction, command)(**options)

    def killed(self, command, change, **options):
        """Let a process run a command and die as it has sent its change of this number; False if it makes fewer."""
        self.kill_at = change
        try:
            self.run(command, **options)
        except Killed:
            return True
        finally:
            self.kill_at, self.dead = 0, False
        return False

    # --- what the processes pass --------------------------------------------------------------------------------------

    def pass_point(self):
        """Begin a step. The late change may come before it."""
        if self.dead:
            raise Killed
        self.steps += 1
        if self.late and self.steps == self.deliver_at:
            self.deliver()

    def change(self, make, lock=None):
        """Make a change of the process, unless it is killed as it has sent it.

        A server makes the changes under one lock in their order, so that the late one comes before.
        """
        self.pass_point()
        if self.kill_at:
            self.kill_at -= 1
            if not self.kill_at:
                self.late, self.dead, self.steps = (make, lock), True, 0
                raise Killed
        if lock and self.late and self.late[1] == lock:
            self.settled = True
            self.deliver()
        made = make()
        self.check()
        return made

    def deliver(self):
        """Make the late change."""
        (make, _), self.late = self.late, None
        try:
            make()
        except ConflictError:  # of a write: it fails at any later time too
            self.settled = True
        except StrongroomError:
            pass
        self.check()

    # --- what must hold -----------------------------------------------------------------------------------------------

    def stored(self):
        """The secret, and the pending secret."""
        found = dict(MemoryStore.read_many(self.store, [PATH, pending_path(PATH)]))
        secret, record = found[PATH].data, found[pending_path(PATH)]
        return secret, None if isinstance(record, SecretNotFoundError) else pending_secret(record.data)

    def check(self):
        """At this moment a stored credential works. An error raised here would be contained as one of the plugin."""
        if not any(self.server.lets_in(secret) for secret in self.stored() if secret):
            self.broken.append("no stored credential works")


class WatchedStore(MemoryStore):
    """A store whose requests are steps of the process."""

    def __init__(self, world):
        super().__init__()
        self.world = world

    def read(self, path):
        self.world.pass_point()
        return super().read(path)

    def write_if(self, path, data, expected):
        if path == pending_path(PATH) and pending_secret(data) is None:
            secret = self.world.stored()[0]
            if secret["password"].reveal() not in self.world.proofs:
                self.world.broken.append("the pending value is dropped without a proof")
        write = super().write_if
        return self.world.change(lambda: write(path, data, expected))


class PasswordServer:
    """A database server: each user has one password, and changes of one user's are made in their order."""

    def __init__(self, world):
        self.world = world
        self.passwords = {"app": FIRST["password"], "other": "unused-password", "admin": str(ADMIN["password"])}

    def rotator(self, kind):
        options = {"user_key": None, "password_key": "password", "length": 32}
        users = ["app", "other"] if kind == "two users" else None
        return DatabaseUserRotator(self, users=users, admin=None if kind == "own" else "admin", **options)

    @contextmanager
    def connect(self, secret, login):
        self.world.pass_point()
        if self.passwords[login.user] != login.password:
            raise AuthenticationError(None, "the server refuses the login")
        self.world.proofs.add(login.password.reveal())
        yield login.user

    def set_password(self, connection, login, *, own):
        self.world.proofs.discard(login.password.reveal())
        change = {login.user: login.password.reveal()}
        self.world.change(lambda: self.passwords.update(change), login.user)

    def lets_in(self, secret):
        return self.passwords[secret["username"]] == secret["password"]


class RedisServer:
    """A Redis: its user has any number of passwords, and a late command may come after any other."""

    def __init__(self, world):
        self.world = world
        self.hashes = {digest(FIRST["password"])}

    def rotator(self, kind):
        return RedisAclRotator(self, save=False, admin=None, user_key=None, password_key="password", length=32)

    @contextmanager
    def connect(self, secret, login):
        self.world.pass_point()
        if digest(login.password) not in self.hashes:
            raise AuthenticationError(None, "the server refuses the login")
        self.world.proofs.add(login.password.reveal())
        yield self

    def execute_command(self, *words):
        *_, user = words[:3]
        assert user == "app"
        self.world.change(lambda: self._set(words[3:]))

    def _set(self, rules):
        """Apply all rules, or none."""
        hashes = set(self.hashes)
        for rule in rules:
            if rule[0] == "!" and rule[1:] not in hashes:
                raise StrongroomError("the password does not exist")
            hashes = hashes | {rule[1:]} if rule[0] == "#" else hashes - {rule[1:]}
        self.hashes = hashes

    def lets_in(self, secret):
        return digest(secret["password"]) in self.hashes


def digest(password):
    return hashlib.sha256(str(password).encode()).hexdigest()


def rotated(world):
    """A rotation before is done."""
    world.run("rotate")


def in_grace(world):
    """A rotation is promoted, and its grace time has not ended."""
    world.run("rotate", grace=3600)


FIRST_PROCESS = {
    "rotate": ("rotate", {}, lambda _: None),
    "undo in the grace time": ("undo", {"grace": 3600}, in_grace),
    "undo when done": ("undo", {}, rotated),
}
"""The command of the first process, with its options, and what has happened before."""

KINDS = ["own", "admin", "two users", "redis"]
"""The kinds of credentials: one user that changes its own password, or an administrator; two users; Redis."""

SECOND = [("rotate",), ("resume", "undo"), ("undo", "rotate")]
"""The commands of the second process."""


def go_on(world, commands, arrival):
    """Let a second process work, and a third one finish what is left. The late change comes before a step, or never."""
    world.deliver_at = arrival
    world.time.move(minutes=10)
    failures = []
    for command in commands:
        try:
            world.run(command, **({} if command == "rotate" else {"take_over": True}))
        except StrongroomError as error:
            failures.append(error)
    steps = world.steps
    if arrival and world.late:
        world.deliver()
    assert not world.broken
    if world.stored()[1] is not None:
        failures.append(None)
        assert world.run("resume", take_over=True).step in {RotationStep.DONE, RotationStep.UNDONE}
    secret, pending = world.stored()
    assert world.server.lets_in(secret)
    assert pending is None
    if arrival <= 1:
        assert not any(isinstance(failure, RotationError) for failure in failures), "it could not go on"
    return steps


def cases():
    """All scenarios: the plainest of each kind of credential, and the others, which take long."""
    for kind, first, commands in itertools.product(KINDS, FIRST_PROCESS, SECOND):
        plain = first == "rotate" and commands == ("rotate",)
        name = f"{kind}-{first}-{' and '.join(commands)}"
        yield pytest.param(kind, first, commands, id=name, marks=() if plain else pytest.mark.long)


@pytest.mark.parametrize(("kind", "first", "commands"), list(cases()))
def test_a_stored_credential_works_whenever_the_change_of_a_killed_process_arrives(kind, first, commands):
    command, options, prepare = FIRST_PROCESS[first]
    for change in itertools.count(1):
        arrival, steps = 0, 0  # 0 is never; the last one is after all steps
        while arrival <= steps + 1:
            world = World(kind)
            prepare(world)
            if not world.killed(command, change, **options):
                assert change > 4, "the kills have missed most of the changes"
                return
            steps = go_on(world, commands, arrival)
            if world.settled:  # a later arrival makes no difference
                break
            arrival += 1
