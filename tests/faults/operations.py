"""What an application asks of a store: six operations, one of them in two forms, each with a client of its own."""

import contextlib
import logging
import secrets
from typing import ClassVar

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import StoreError, WriteOutcomeUnknownError
from strongroom.store.deadline import boot_time
from strongroom_vault.auth.approle import AppRole
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.plugin import open_vault
from strongroom_vault.session.session import Session
from support.vault.sessions import session_of

CANARY = f"canary-{secrets.token_hex(8)}"
"""The beginning of each value that is stored, and of each token and secret_id that can be given a name."""

ANSWER, RENEWED, REPLACED, WARNED = "the answer", "renewed", "a new token", "a warning"


class Operation:
    """One operation of one client, whose secrets, token and role are its own.

    Args:
        site: the cluster, and where and how the client is to find it.
    """

    name: ClassVar[str]
    auth: ClassVar[str | None] = None
    """How its client authenticates, where that is no matter of the fault."""

    def __init__(self, site):
        self.site = site
        self.options = site.options(self.name, self.auth)
        self.folder = f"{site.folder}/{self.name}"
        self.path = f"{self.folder}/app"
        self.value = self.new_value()
        self.version = site.cluster.put(self.path, self.value)

    def new_value(self):
        return {"value": f"{CANARY}-{secrets.token_hex(4)}"}

    def open(self):
        """Opens the client, before the fault strikes. Every node has what the cluster was given."""
        self.front = GuardedStore(open_vault(**self.options), "vault")

    @property
    def session(self):
        """What sends the client's requests; None for a client that has not logged in."""
        return self.front and session_of(self.front)

    @property
    def token(self):
        """The token in use; None for a client that has not logged in."""
        return self.session and self.session.active_token.token

    def ask_first(self, url):
        """From now on the client asks this node first, as if that had answered last."""
        if not self.session:
            return
        cluster = self.session.cluster
        for address in [address for address in cluster.addresses if str(address) == url]:
            for reads in (True, False):
                cluster.answered(address, reads=reads)

    def change(self):
        """Writes what `run` is to find, by the same client."""

    def run(self):
        """What it comes to in words. Raises what the application gets, and asserts that no answer is a wrong one."""
        raise NotImplementedError

    def check(self):
        """Asserts that the cluster holds what it should."""

    def close(self):
        self.front.close()

    def owns(self, method, target):
        """Whether this request is what the operation is about."""
        return f"/{self.name}/" in f"{target}/"


class Read(Operation):
    name = "read"

    def change(self):
        self.value = self.new_value()
        self.front.write(self.path, self.value)

    def run(self):
        assert self.front.read(self.path).data == self.value
        return ANSWER


class Write(Operation):
    """A write over whatever is there."""

    name = "write"

    def __init__(self, site):
        super().__init__(site)
        self.possible = [self.value]
        self.most = self.version

    def run(self):
        value = self.new_value()
        try:
            self.version = self.write(value)
        except WriteOutcomeUnknownError:
            self.possible.append(value)
            self.most += 1
            raise
        self.possible = [value]
        self.most += 1
        return ANSWER

    def write(self, value):
        return self.front.write(self.path, value)

    def check(self):
        """What was acknowledged is there, or a write in doubt in its place; what failed is not; none is twice."""
        stored = self.site.cluster.call("GET", f"secret/data/{self.path}")["data"]
        found, version = stored["data"], stored["metadata"]["version"]
        assert found in self.possible, "an acknowledged write is lost, or one that failed was made"
        assert self.version <= version <= self.most, "a version is lost, or a write was made twice"
        self.possible, self.version, self.most = [found], version, version

    def owns(self, method, target):
        return method == "POST" and super().owns(method, target)


class CheckedWrite(Write):
    """A write under check-and-set."""

    name = "write_if"

    def write(self, value):
        in_doubt = len(self.possible) > 1
        return self.front.write_if(self.path, value, self.front.read(self.path).version if in_doubt else self.version)


class List(Operation):
    name = "list"

    def __init__(self, site):
        super().__init__(site)
        self.names = {"app"}

    def change(self):
        new = f"app-{len(self.names)}"
        self.front.write(f"{self.folder}/{new}", self.value)
        self.names.add(new)

    def run(self):
        assert set(self.front.list_entries(self.folder)) == self.names
        return ANSWER


class Bulk(Operation):
    """A few secrets at once, all of which end alike."""

    name = "bulk"

    def __init__(self, site):
        super().__init__(site)
        self.values = {f"{self.folder}/{number}": self.new_value() for number in range(5)}
        for path, value in self.values.items():
            site.cluster.put(path, value)

    def change(self):
        self.values = {path: self.new_value() for path in self.values}
        assert not [error for _, error in self.front.write_many(self.values.items()) if isinstance(error, StoreError)]

    def run(self):
        outcomes = dict(self.front.read_many(self.values))
        assert outcomes.keys() == self.values.keys()
        failed = {path: outcome for path, outcome in outcomes.items() if isinstance(outcome, StoreError)}
        assert all(outcomes[path].data == self.values[path] for path in outcomes.keys() - failed.keys())
        if failed:
            assert len({type(error) for error in failed.values()}) == 1
            raise next(iter(failed.values()))
        return ANSWER


class Login(Operation):
    """The opening of a store that logs in."""

    name = "login"
    auth = "approle"
    front = None

    def open(self):
        """Nothing: `run` does."""

    def run(self):
        self.close()
        self.front = GuardedStore(open_vault(**self.options), "vault")
        return ANSWER

    def close(self):
        if self.front is not None:
            self.front.close()
            self.front = None


class Renew(Operation):
    """What is due for a token: a renewal, which no caller waits for. It ends in words, and in a warning if it fails."""

    name = "renew"
    auth = "approle"
    session = None

    def open(self):
        options = self.options
        addresses = [Address.parse(url) for url in options["url"]]
        given = {name: value for name, value in options["auth"].items() if name != "method"}
        self.later = 0.0
        self.session = Session(
            new_driver(addresses, TLSSettings(options["ca_cert"])),
            Cluster(addresses),
            AppRole(**given),
            namespace=None,
            mount="secret",
            clock=lambda: boot_time() + self.later,
        )
        self.session.renewer.stop(0)  # it is done by `run`, when that is due and not later
        assert self.session.request(ApiRequest("GET", f"/v1/secret/data/{self.path}")).status == 200

    def run(self):
        session, turn = self.session, self.session.renewal.turn
        held, lease = session.active_token, session.active_token.lease
        self.later += turn(session.send)  # until the renewal is due
        with warnings_of_this_store() as warned:
            turn(session.send)
            turn(session.send)  # a login, if the renewal was refused
        if session.active_token is not held:
            return REPLACED
        if held.lease is not lease and held.lease.renewable:
            return RENEWED
        assert warned, "a renewal failed without a word"
        return WARNED

    def close(self):
        self.session.close()

    def owns(self, method, target):
        return target.endswith("/auth/token/renew-self")


@contextlib.contextmanager
def warnings_of_this_store():
    """What the store's logger warns of meanwhile, whatever its level."""
    logger, found = logging.getLogger("strongroom.vault"), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = found.append
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


OPERATIONS = {operation.name: operation for operation in (Read, Write, CheckedWrite, Login, Renew, List, Bulk)}
