"""What an application gets of each operation under each fault: the right answer, or the right error in time.

A row of the matrix is a fault. All operations meet it at once, each in a thread, on a real cluster: the test of each
cell then checks the result of its operation. docs/explanation/clusters.md shows the matrix, as the last run found it.
"""

import contextlib
import difflib
import itertools
import os
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trustme

from faults.observing import Requests, Starvation, everything_logged, shown
from faults.operations import ANSWER, CANARY, OPERATIONS, RENEWED, REPLACED, WARNED
from strongroom.errors import StrongroomError
from strongroom.store import time_limit
from support.vault import faults
from support.vault.proxy import FaultProxy

DEADLINE = 6.0
"""Seconds that an operation has: enough for three attempts and the longest pauses between them."""

ELECTION_DEADLINE = 10.0
"""The same where a leader is lost: what a call has by default, and more than an election takes."""

LATE = 0.5
"""How much later than its deadline an operation may end, in seconds."""

LEAST_PAUSE = 0.05
"""Seconds between two attempts at one node."""

RECOVERY = 5.0
"""Within so many seconds of a leader's death, and of the end of any other fault, there are answers again."""

ELECTION = 3.0
"""Seconds in which nodes that are given time by the machine elect another leader: 2.1 to 2.6 were measured."""

BACK = "secret/data/matrix/back"

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "_faults.md"
"""The table in the documentation."""

CONNECTION, UNSURE, DOWN = "VaultConnectionError", "WriteOutcomeUnknownError", "StoreUnavailableError"
BAD_TOKEN, DENIED, TOO_LARGE = "VaultAuthenticationError", "PermissionDeniedError", "SecretTooLargeError"


def every(outcome, **others):
    """The outcome of every operation but those that are named. What fails fails a renewal with a warning alone."""
    renewal = RENEWED if outcome == ANSWER else WARNED
    return dict.fromkeys(OPERATIONS, outcome) | {"renew": renewal} | others


def outage(error):
    """Every operation ends with this error. A write under check-and-set may have been made; any other reads first."""
    return every(error, write_if=UNSURE)


def cut(error):
    """Every operation ends with this error. A request may have left on the connection that was cut before."""
    return every(error, write_if=f"{error} or {UNSURE}")


@dataclass(frozen=True)
class Row:
    """A fault.

    Attributes:
        fault: in words, as the documentation has them.
        strike: brings it about on a `Site`, after every client has been opened.
        gets: what each operation ends with: words, or the class of an error; "A or B" where both are right.
        auth: how clients authenticate, those aside that are about logging in.
        token: what else is said of tokens when they are made.
        role: what else is said of AppRole's roles.
        deadline: how many seconds an operation has.
        attempts: how often one request may be made; None for as often as its time and the pauses allow.
        lasts: nothing ends it: a token that has been revoked stays so.
        survived: there are answers again while it lasts.
        recovery: within how many seconds.
    """

    fault: str
    strike: object = field(repr=False)
    gets: dict = field(repr=False)
    auth: str = "token"
    token: dict = field(default_factory=dict, repr=False)
    role: dict = field(default_factory=dict, repr=False)
    deadline: float = DEADLINE
    attempts: int | None = None
    lasts: bool = False
    survived: bool = False
    recovery: float = RECOVERY

    def __str__(self):
        return self.fault

    def admits(self, cell):
        """Whether a cell came to what it should: to just that, or to a kind of it where several outcomes are right."""
        first, *others = self.gets[cell.name].split(" or ")
        return cell.outcome == first or (bool(others) and {cell.outcome, *cell.kinds} & {first, *others})


# --- faults of the network, and of what stands in between -------------------------------------------------------------


def by_proxy(fault):
    """The only address that clients have is that of a proxy, which does this to every request."""
    return lambda site, _: site.proxy.fault(fault)


@contextlib.contextmanager
def no_connections(site, _):
    site.proxy.stop_accepting()
    yield
    site.proxy.heal()


@contextlib.contextmanager
def another_authority(site, _):
    """The certificate is replaced by one of an authority that clients do not trust."""
    trustme.CA().issue_cert("127.0.0.1").configure_cert(site.context)
    site.proxy.cut()
    yield
    site.certificate.configure_cert(site.context)
    site.proxy.cut()


NETWORK = [
    Row("connect timeout", no_connections, cut(CONNECTION), deadline=1),
    Row("hang", by_proxy(faults.hang(forward=True)), outage(CONNECTION), deadline=1),
    Row("drip, a byte at a time", by_proxy(faults.drip()), outage(CONNECTION), deadline=1),
    Row("reset before the body", by_proxy(faults.reset()), outage(CONNECTION)),
    Row("reset before the body, after the server has acted", by_proxy(faults.reset(forward=True)), outage(CONNECTION)),
    Row("reset within the body", by_proxy(faults.reset_within_body()), outage(CONNECTION)),
    Row("truncated body", by_proxy(faults.truncated()), outage(CONNECTION)),
    Row("wrong CA", another_authority, cut(CONNECTION), attempts=2),
    Row("HTML with status 200", by_proxy(faults.html(forward=True)), outage(DOWN)),
    Row("wrong JSON", by_proxy(faults.wrong_json(forward=True)), outage(DOWN)),
    Row("307 to another host", by_proxy(faults.redirect("https://vault.example:8200")), outage(DOWN)),
    Row("412", by_proxy(faults.status(412)), every(DOWN)),
    Row("429 with Retry-After", by_proxy(faults.status(429, retry_after=1)), every(DOWN)),
    Row("429 without Retry-After", by_proxy(faults.status(429)), every(DOWN)),
    Row("472", by_proxy(faults.status(472)), every(DOWN)),
    Row("473", by_proxy(faults.status(473)), every(DOWN)),
    Row("502", by_proxy(faults.html(502, forward=True)), outage(DOWN)),
    Row("504", by_proxy(faults.html(504, forward=True)), outage(DOWN)),
    # A login that is refused is not repeated for five seconds.
    Row("300 MB", by_proxy(faults.huge()), outage(TOO_LARGE), recovery=2 * RECOVERY),
    Row("an echo of the token", by_proxy(faults.echo()), every("StoreError", login=BAD_TOKEN)),
]  # fmt: skip


# --- faults of the credential -----------------------------------------------------------------------------------------


def refused(site, token):
    """Returns when no node accepts this token any more."""
    for node in site.cluster.nodes:
        while node.status("GET", "sys/internal/ui/mounts/secret", token=token) != 403:
            time.sleep(0.05)


def tokens_in_question(site, operations):
    """Those of the clients that are about nothing but their token, or of all where all of them log in."""
    concerned = [one for one in operations if one.auth is None or site.auth == "approle"]
    return [one.token for one in concerned if one.token is not None]


@contextlib.contextmanager
def expired(site, operations):
    for token in tokens_in_question(site, operations):
        refused(site, token)
    yield


@contextlib.contextmanager
def revoked(site, operations):
    time.sleep(0.6)  # a client that has just logged in does not do so again within half a second
    for token in tokens_in_question(site, operations):
        site.cluster.call("POST", "auth/token/revoke", {"token": token})
        refused(site, token)
    yield


@contextlib.contextmanager
def used_up(site, operations):
    """Each secret_id was good for one login, which all clients have had but the one that is to log in."""
    login = next(one for one in operations if one.token is None).options["auth"]
    site.cluster.call("POST", f"auth/{login['mount']}/login", {name: login[name] for name in ("role_id", "secret_id")})
    with revoked(site, operations):
        yield


@contextlib.contextmanager
def forbidden(site, _):
    site.cluster.write_policy({"secret/data/elsewhere": ["read"]}, name="matrix")
    site.cluster.wait_for_standbys()
    yield
    site.cluster.write_policy(POLICY, name="matrix")
    site.cluster.wait_for_standbys()


POLICY = {"secret/*": ["create", "read", "update", "list"], "auth/token/renew-self": ["update"]}

ONLY_THE_TOKEN = {"login": ANSWER, "renew": RENEWED}
"""What is over is a token that was given to the client: those that log in have another."""

CREDENTIAL = [
    Row("token expired", expired, every(BAD_TOKEN, **ONLY_THE_TOKEN), token={"ttl": "4s", "renewable": False},
        lasts=True),
    Row("token revoked", revoked, every(BAD_TOKEN, **ONLY_THE_TOKEN), lasts=True),
    Row("token of a login revoked", revoked, every(ANSWER, renew=REPLACED), auth="approle"),
    Row("max_ttl reached", expired, every(ANSWER, renew=REPLACED), auth="approle",
        role={"token_ttl": "3s", "token_max_ttl": "3s"}),
    Row("secret_id used up", used_up, every(BAD_TOKEN), auth="approle", role={"secret_id_num_uses": 1}, lasts=True),
    Row("forbidden", forbidden, every(DENIED, login=ANSWER, renew=REPLACED), lasts=True),
]  # fmt: skip


# --- faults of the cluster --------------------------------------------------------------------------------------------


def rate_limit(retry_after):
    """The limit is reached at every node, and lasts for two seconds."""

    @contextlib.contextmanager
    def strike(site, _):
        call = site.cluster.call
        call("POST", "sys/quotas/config", {"enable_rate_limit_response_headers": retry_after})
        for number, path in enumerate(("secret/", "auth/login/", "auth/token/")):
            call("POST", f"sys/quotas/rate-limit/q{number}", {"path": path, "rate": 50, "interval": "2s"})
        site.cluster.wait_for_standbys()
        for node in site.cluster.nodes:
            for target in ("secret/data/none", "auth/login/login", "auth/token/lookup-self"):
                while node.status("GET", target, token="none") != 429:
                    pass
        yield
        for number in range(3):
            call("DELETE", f"sys/quotas/rate-limit/q{number}")

    return strike


@contextlib.contextmanager
def standby_behind(site, operations):
    """Clients ask a standby: ten times, what they have just written is what they read."""
    standby = site.cluster.standbys()[0]
    for operation in operations:
        operation.ask_first(standby.url)
        for _ in range(10):
            operation.change()
            operation.run()
    yield


def to_leader(blow):
    @contextlib.contextmanager
    def strike(site, _):
        getattr(site.cluster, blow)(site.cluster.leader())
        yield

    return strike


@contextlib.contextmanager
def step_down(site, _):
    site.cluster.step_down()
    yield


@contextlib.contextmanager
def quorum_lost(site, _):
    """The leader and a standby are killed: the other standby is alone."""
    for node in (site.cluster.leader(), site.cluster.standbys()[0]):
        site.cluster.kill(node)
    yield


@contextlib.contextmanager
def sealed(site, _):
    for node in [*site.cluster.standbys(), site.cluster.leader()]:
        site.cluster.seal(node)
    yield


CLUSTER = [
    Row("rate limit with Retry-After", rate_limit(retry_after=True), every(ANSWER), deadline=10),
    Row("rate limit without Retry-After", rate_limit(retry_after=False), every(ANSWER), deadline=10),
    Row("standby behind", standby_behind, every(ANSWER), deadline=10),
    Row("step-down", step_down, every(ANSWER), deadline=ELECTION_DEADLINE, survived=True, recovery=ELECTION_DEADLINE),
    Row("leader killed", to_leader("kill"), every(ANSWER), deadline=ELECTION_DEADLINE, survived=True,
        recovery=ELECTION_DEADLINE),
    Row("leader stopped", to_leader("pause"), every(ANSWER), deadline=ELECTION_DEADLINE, survived=True,
        recovery=ELECTION_DEADLINE),
    Row("quorum lost", quorum_lost,
        every(ANSWER, write=f"{DOWN} or {UNSURE}", write_if=f"{DOWN} or {UNSURE}", login=DOWN, renew=WARNED)),
    Row("sealed", sealed, every(DOWN)),
]  # fmt: skip


# --- how a row is carried out -----------------------------------------------------------------------------------------


class Site:
    """Where a row is carried out: what stands there, and how clients are to find it and to prove themselves."""

    def __init__(self, cluster, row, number):
        self.cluster = cluster
        self.folder = f"matrix/{number}"
        self.auth = row.auth
        self.proxy = self.ca_cert = None
        self.urls = [node.url for node in (cluster.leader(), *cluster.standbys())]
        self._token, self._role = row.token, row.role

    def stand_behind(self, stack, authority, ca_cert):
        """Clients find nothing but a proxy in front of the leader, and speak TLS to it."""
        self.context, self.certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), authority.issue_cert("127.0.0.1")
        self.certificate.configure_cert(self.context)
        self.context.num_tickets = 0  # a client that resumes a session sees no certificate
        self.proxy = stack.enter_context(FaultProxy(self.cluster.leader().url, context=self.context))
        self.urls, self.ca_cert = [self.proxy.url], ca_cert

    def options(self, name, auth=None):
        """The options of the client of that operation, with a credential of its own."""
        issue = self.issue_token if (auth or self.auth) == "token" else self.issue_role
        return {"url": self.urls, "ca_cert": self.ca_cert, "auth": issue(name)}

    def issue_token(self, name):
        token = f"{CANARY}-{name}-{time.monotonic_ns()}"
        self.cluster.call("POST", "auth/token/create", {"id": token, "policies": ["matrix"], **self._token})
        return {"method": "token", "token": token}

    def issue_role(self, name):
        role = f"auth/{name}/role/app"
        terms = {"token_policies": ["matrix"], "token_no_default_policy": True, "secret_id_num_uses": 0}
        terms |= {"token_ttl": "1h", "token_max_ttl": "24h"}
        self.cluster.call("POST", role, terms | self._role)
        role_id = self.cluster.call("GET", f"{role}/role-id")["data"]["role_id"]
        secret_id = f"{CANARY}-{name}-{time.monotonic_ns()}"
        self.cluster.call("POST", f"{role}/custom-secret-id", {"secret_id": secret_id})
        return {"method": "approle", "mount": name, "role_id": role_id, "secret_id": secret_id}


@dataclass
class Cell:
    """What came of one operation under one fault.

    Attributes:
        operation: it.
        outcome: what it ended with, in words.
        took: after how many seconds.
        said: all that its error shows.
        kinds: the names of the error's classes.
        attempts: how often one of its requests was made.
        wrong: what was wrong with an answer, or with what the cluster holds afterwards.
        recovered: after how many seconds there was an answer again, from when that could be; None where there was none.
    """

    operation: object = field(repr=False)
    outcome: str
    took: float
    said: str = field(repr=False)
    kinds: tuple = field(default=(), repr=False)
    attempts: int = 0
    wrong: str = ""
    recovered: float | None = None

    def check(self):
        """Looks whether the cluster holds what it should."""
        try:
            self.operation.check()
        except AssertionError as error:
            self.wrong = str(error)

    @property
    def name(self):
        return self.operation.name

    @property
    def answered(self):
        return self.outcome in {ANSWER, RENEWED, REPLACED}


@dataclass
class Ran:
    """A row that was carried out.

    Attributes:
        row: it.
        cells: its cells, by the names of their operations.
        log: all that was logged.
        canaries: what must be in nothing that is shown.
        back: after how many seconds the cluster was back by itself, where that had lost its leader.
    """

    row: Row
    cells: dict
    log: str = field(repr=False)
    canaries: set = field(repr=False)
    back: float

    @property
    def as_it_should(self):
        return all(self.in_time(cell) and self.row.admits(cell) for cell in self.cells.values())

    def in_time(self, cell):
        """Whether the cell ended and recovered in time."""
        recovered = self.row.lasts or (cell.recovered is not None and cell.recovered <= self.row.recovery)
        return cell.took <= self.row.deadline + LATE and recovered


def attempt(operation, deadline):
    """What an operation comes to within its deadline."""
    began, said, kinds = time.monotonic(), "", ()
    try:
        with time_limit(deadline):
            outcome = operation.run()
    except AssertionError as error:
        return Cell(operation, "a wrong answer", time.monotonic() - began, "", wrong=str(error))
    except StrongroomError as error:
        took, said = time.monotonic() - began, shown(error)
        outcome, *kinds = (kind.__name__ for kind in type(error).__mro__)
    else:
        took = time.monotonic() - began
    return Cell(operation, outcome, took, said, tuple(kinds))


def recover(cell, since):
    """Repeats the operation until it gives its answer."""
    while cell.recovered is None and time.monotonic() < since + 4 * RECOVERY:
        again = attempt(cell.operation, ELECTION_DEADLINE)
        if again.answered:
            cell.recovered = time.monotonic() - since


def cluster_back(site, since):
    """After how many seconds the cluster takes a write again, asked past every client."""
    while True:
        for node in site.cluster.nodes:
            with contextlib.suppress(OSError):
                if node.answers and node.status("POST", BACK, {"data": {}}, token=site.cluster.token) == 200:
                    return time.monotonic() - since
        time.sleep(0.05)


def carry_out(row, site, requests, names=tuple(OPERATIONS)):
    """Lets these operations meet the fault at once."""
    with (
        everything_logged() as log,
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(len(OPERATIONS) + 1) as threads,
    ):
        operations = [OPERATIONS[name](site) for name in names]
        site.cluster.wait_for_standbys()
        for operation in operations:
            operation.open()
            stack.callback(operation.close)
        canaries = {CANARY, *(one.token for one in operations if one.token is not None)}
        with row.strike(site, operations):
            since = time.monotonic()
            requests.forget(site.proxy)
            back = threads.submit(cluster_back, site, since) if row.survived else None
            cells = list(threads.map(partial(attempt, deadline=row.deadline), operations))
            for cell in cells:
                cell.attempts = requests.most(cell.operation.owns)
            if row.survived:
                for cell in cells:
                    cell.recovered = cell.took if cell.answered else None
                list(threads.map(partial(recover, since=since), cells))
        site.cluster.heal()
        for cell in cells:
            cell.check()
        if not row.lasts and not row.survived:
            list(threads.map(partial(recover, since=time.monotonic()), cells))
            for cell in cells:
                cell.check()
        canaries |= {one.token for one in operations if one.token is not None}
    return Ran(row, {cell.name: cell for cell in cells}, "\n".join(log), canaries, back.result() if back else 0.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority, and the file of it that clients trust."""
    file, ca = tmp_path_factory.mktemp("ca") / "ca.pem", trustme.CA()
    ca.cert_pem.write_to_path(str(file))
    return ca, file


@pytest.fixture(scope="module")
def prepared(standing_cluster):
    """The cluster, where each operation's role can be made, and its policy is there."""
    for name in OPERATIONS:
        standing_cluster.call("POST", f"sys/auth/{name}", {"type": "approle"})
    standing_cluster.write_policy(POLICY, name="matrix")
    return standing_cluster


ROWS = [*NETWORK, *CREDENTIAL, *CLUSTER]


@pytest.fixture(scope="module", params=ROWS, ids=str)
def ran(request, prepared, authority):
    """A row that was carried out with libcurl."""
    return run(request.param, prepared, authority, "curl", tuple(OPERATIONS))


@pytest.fixture(scope="module", params=NETWORK[:: 4 if "TEST_FAULTS_SHORT" in os.environ else 1], ids=str)
def ran_by_urllib3(request, prepared, authority):
    """A row of the network that was carried out with the other driver, by one operation of each kind."""
    return run(request.param, prepared, authority, "urllib3", ("read", "write", "bulk"))


def run(row, prepared, authority, driver, names):
    """Carry a row out; once more, where it went wrong on a machine that kept us or a node from running."""
    for again in (False, True):
        prepared.heal()
        with contextlib.ExitStack() as stack:
            monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
            if driver != "curl":
                monkeypatch.setitem(sys.modules, "strongroom_vault.http.drivers.curl_driver", None)
            site = Site(prepared, row, f"{driver}-{ROWS.index(row)}-{again:d}")
            if row in NETWORK:
                site.stand_behind(stack, *authority)
            with Starvation() as starved:
                ran = carry_out(row, site, Requests(monkeypatch), names)
        if ran.as_it_should or not (starved or ran.back > ELECTION):
            break
    return ran


@pytest.fixture(scope="module")
def found():
    """The rows that were carried out until now, by their faults."""
    return {}


@pytest.mark.parametrize("name", OPERATIONS)
def test_cell(ran, found, name):
    """The right answer or the right error, in time, in few attempts, with no secret in it; and then answers again."""
    found[ran.row.fault] = ran
    examine(ran, ran.cells[name])


def test_row_of_the_other_driver(ran_by_urllib3):
    """It comes to the same answers and errors, and logs no secret."""
    for cell in ran_by_urllib3.cells.values():
        examine(ran_by_urllib3, cell)
    assert "urllib3" in ran_by_urllib3.log
    assert not [canary for canary in ran_by_urllib3.canaries if canary in ran_by_urllib3.log]


def examine(ran, cell):
    row, nodes = ran.row, 1 if ran.row in NETWORK else 3
    assert not cell.wrong
    assert row.admits(cell)
    assert ran.in_time(cell)
    assert cell.attempts <= (row.attempts or nodes * (2 + cell.took / LEAST_PAUSE))
    assert not [canary for canary in ran.canaries if canary in cell.said]


def test_log(ran):
    """No logger says a secret, our own or another's, at any level."""
    assert not [canary for canary in ran.canaries if canary in ran.log]


def test_the_documentation_shows_what_was_found(found, tmp_path):
    """The table in the documentation is the one that this run makes."""
    if len(found) < len(ROWS):
        pytest.skip("not every row was run")
    table = "\n".join(page(found))
    (tmp_path / PAGE.name).write_text(table, "utf-8")
    kept = PAGE.read_text("utf-8") if PAGE.exists() else ""
    difference = "\n".join(difflib.unified_diff(kept.splitlines(), table.splitlines(), lineterm="", n=0))
    assert not difference, f"{difference}\n\ncp {tmp_path / PAGE.name} {PAGE}"


def page(found):
    """The lines of the table: each outcome that was found, or all where several are right.

    Faults with the same outcomes share a line.
    """
    for title, rows in (("Network", NETWORK), ("Credential", CREDENTIAL), ("Cluster", CLUSTER)):
        yield from (f"### {title}", "", f"| fault | {' | '.join(OPERATIONS)} |", "| --- " * (len(OPERATIONS) + 1) + "|")
        for outcomes, alike in itertools.groupby(rows, lambda row: shown_outcomes(row, found)):
            yield f"| {'; '.join(row.fault for row in alike)} | {' | '.join(outcomes)} |"
        yield ""


def shown_outcomes(row, found):
    cells = found[row.fault].cells
    return tuple(row.gets[name] if " or " in row.gets[name] else cells[name].outcome for name in OPERATIONS)
