"""The policy of one request: retries, redirects, the deadline. Without a server, and without waiting."""

import dataclasses
import math
from itertools import count, repeat

import pytest

from strongroom.errors import SecretTooLargeError, StoreUnavailableError, WriteOutcomeUnknownError
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.address import Address
from strongroom_vault.http.messages import NO_FREE_CONNECTION, FaultKind, HttpFault, HttpRequest, Reply, SendStep, Wait
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.request_policy import exchange, first_attempt

ONE, TWO, THREE = (Address.parse(f"https://{name}:8200") for name in ("one", "two", "three"))
ALL = (ONE, TWO, THREE)
PLAIN = Address.parse("http://one:8200")
READ = HttpRequest("GET", "/v1/secret/data/app", {"X-Vault-Token": "t"})
WRITE = HttpRequest("POST", "/v1/secret/data/app", {"X-Vault-Token": "t"}, b"{}", changes=True)
LOGIN = HttpRequest("POST", "/v1/auth/approle/login", {})
CREATE = HttpRequest("GET", "/v1/database/creds/app", {}, creates=True)
OK = Reply(200, {}, b"{}")
PAUSE = 0.125
"""Between 0.05 and 0.2 s, with the jitter of these tests."""


class Run:
    """Runs an exchange against prepared answers, and keeps what it asked for. A wait takes its time from `left`.

    `answers` are answers in order, or a function of the address and the seconds since the beginning.
    """

    begins_apart = False
    """The first attempt is made before there is a generator."""

    def __init__(self, request, answers, *, addresses=(ONE,), left=10.0):
        self.asked, self.probed, self.waits, self.shares, self.left, self.reply = [], [], [], [], left, None
        cluster = addresses
        if not isinstance(cluster, Cluster):
            cluster = Cluster(addresses, clock=lambda: left - self.left)
        following = None if callable(answers) else iter(answers)
        answer = answers if following is None else lambda *_: next(following)

        def send(step):
            if step.request is request:
                self.asked.append(step.address)
                self.shares.append(round(step.timeout, 3))
            else:
                self.probed.append(step.address)
                assert "X-Vault-Token" not in step.request.headers
            came = answer(step.address, left - self.left)
            if isinstance(came, HttpFault) and came.reason == "hangs":
                came = After(math.inf, came)
            return self._pass(step, came, send) if isinstance(came, After) else came

        try:
            begun = first_attempt(request, cluster, lambda: self.left, send) if self.begins_apart else None
            if isinstance(begun, Reply):
                self.reply = begun
                return
            steps = exchange(request, cluster, lambda: self.left, lambda: 0.5, begun)
            step = next(steps)
            while True:
                if isinstance(step, SendStep):
                    step = steps.send(send(step))
                else:
                    assert isinstance(step, Wait)
                    self.waits.append(step.seconds)
                    self.left -= step.seconds
                    step = steps.send(None)
        except StopIteration as done:
            self.reply = done.value
        finally:
            self.took = left - self.left

    def _pass(self, step, came, send):
        """Let the time of a request pass, with the checks of the server, and return the result."""
        self.left -= min(came.queued, step.timeout)
        step.waited = min(came.queued, step.timeout)
        if came.queued > step.timeout:
            return NO_FREE_CONNECTION
        ends = self.left - min(step.timeout, step.total - step.waited)
        until, checked = max(ends, self.left - came.seconds), None
        while self.left > until:
            try:
                check = Wait(math.inf) if step.liveness is None else step.liveness.send(checked)
            except StopIteration:
                return HANGS
            checked = send(check) if isinstance(check, SendStep) else None
            if isinstance(check, Wait):
                self.left -= min(check.seconds, self.left - until)
        return HANGS if until == ends else came.result


@dataclasses.dataclass
class After:
    """A result that comes some seconds after the request was sent. Before, it waited for a free connection."""

    seconds: float
    result: object
    queued: float = 0.0


class Failed(Run):
    """The same for an exchange that must end in an error, which it keeps."""

    def __init__(self, *args, error=VaultConnectionError, **options):
        with pytest.raises(error) as caught:
            super().__init__(*args, **options)
        self.error = caught.value


@pytest.fixture(autouse=True, params=[False, True], ids=["generator", "first-attempt-apart"])
def _both_ways(request, monkeypatch):
    """Whether a request begins with `first_attempt` or with the generator changes nothing."""
    monkeypatch.setattr(Run, "begins_apart", request.param)


VAULTS_OWN = b'{"errors": []}'
"""The body of a refusal by Vault."""


def status(code, body=VAULTS_OWN, **headers):
    return Reply(code, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def fault(kind):
    return HttpFault(kind, "because")


def hasty(request):
    """The same request where something else can answer."""
    return dataclasses.replace(request, patient=False)


REFUSED, RESET, HANGS = fault(FaultKind.UNREACHABLE), fault(FaultKind.LOST), HttpFault(FaultKind.LOST, "hangs")


@pytest.mark.parametrize("code", [200, 204, 400, 403, 404, 501])
def test_a_final_reply_to_the_first_attempt_needs_no_generator(code):
    cluster = Cluster(ALL)
    assert first_attempt(WRITE, cluster, lambda: 10.0, lambda _: status(code)).status == code
    assert cluster.answers == (code < 500)


@pytest.mark.parametrize("options", [{"timeout": 5.0}, {"headers": {"X-Tenant": "a"}}])
def test_an_option_that_changes_a_request_is_left_to_the_generator(options):
    assert first_attempt(READ, Cluster(ALL, **options), lambda: 10.0, None) is None


def test_a_request_takes_no_longer_than_was_configured():
    """In total, retries and all, and never longer than its caller has."""
    left = [10.0]
    steps = exchange(READ, Cluster(ALL[:1], timeout=2.0), lambda: left[0])
    step = next(steps)
    assert isinstance(step, SendStep)
    assert step.timeout == 2.0
    left[0] -= 1.96
    with pytest.raises(StopIteration) as ended:  # no time for a pause
        steps.send(Reply(503, {}, b""))
    assert ended.value.value.status == 503
    step = next(exchange(READ, Cluster(ALL[:1], timeout=20.0), lambda: 1.5))
    assert isinstance(step, SendStep)
    assert step.timeout == 1.5


@pytest.mark.parametrize("code", [200, 204, 403, 404, 405, 413, 501])
def test_an_answer_is_returned_at_once(code):
    """What means something is the reply, be it a refusal; a server without a key will have none after a retry."""
    run = Run(READ, [status(code)])
    assert (run.reply.status, run.waits) == (code, [])


@pytest.mark.parametrize("code", [412, 472, 473, 500, 502, 503, 504])
def test_a_read_is_repeated_until_its_time_is_over(code):
    """With short pauses. The last reply stands."""
    run = Run(READ, repeat(status(code)))
    assert run.reply.status == code
    assert set(run.waits) == {PAUSE}
    assert 9.5 < run.took < 10
    assert Run(READ, [status(code), status(code), OK]).reply is OK


@pytest.mark.parametrize(("code", "body"), [
    (412, b""), (429, b""), (472, b""), (473, b""), (503, b'{"errors":["Vault is sealed"]}'),
])  # fmt: skip
def test_a_write_that_was_not_applied_is_sent_again(code, body):
    """These say that the server did nothing."""
    assert Run(WRITE, [status(code, body), OK]).reply is OK


@pytest.mark.parametrize("code", [400, 500, 502, 503, 504])
def test_a_write_that_may_have_been_applied_is_not(code):
    """ "leadership lost while committing" is a 500, and the write may be there; so it may behind a gateway's 503."""
    run = Run(WRITE, [status(code, VAULTS_OWN if code == 400 else b"")])
    assert (run.reply.status, run.waits) == (code, [])


@pytest.mark.parametrize("code", [401, 403, 404, 405])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"message": "no Route matched with those values"}',
        b'{"errors": [{"title": "no route"}]}',
    ],
)
def test_refusal_of_a_gateway_is_an_outage(code, body):
    """It says nothing about the secret or the token, nor whether a change was applied. So it is not a reply.

    The next request tries another node first.
    """
    cluster = Cluster((ONE, TWO))
    run = Failed(READ, [status(code, body)], addresses=cluster, error=StoreUnavailableError)
    assert "https://one:8200, https://two:8200 answered something that is not Vault's API" in str(run.error)
    assert (run.error.path_only, cluster.order(reads=True)) == (False, (TWO, ONE))
    Failed(LOGIN, [status(code, body)], error=StoreUnavailableError)
    Failed(WRITE, [status(code, body)], error=WriteOutcomeUnknownError)


def test_refusal_with_data_is_vaults_own():
    """A deleted version is 404 with its metadata; so is a path of the other version of the engine, with a warning."""
    warned = status(404, b'{"request_id": "1", "data": null, "warnings": ["Invalid path"]}')
    assert Run(READ, [warned]).reply is warned


def test_retry_after_is_honoured():
    """The server says when, and rounds it down, so that our own pause comes on top."""
    assert Run(READ, [status(429, retry_after="7"), OK]).waits == [8.25]
    assert Run(READ, [status(503, retry_after="0"), OK]).waits == [1.25]


def test_a_node_that_limits_its_rate_is_left_alone_while_others_are_tried():
    """They have limits of their own, or may be back sooner."""

    def answer(node, seconds):
        return status(429, retry_after="2") if node == ONE else REFUSED if seconds < 1.5 else OK

    run = Run(READ, answer, addresses=(ONE, TWO))
    assert (run.reply, run.asked.count(ONE)) == (OK, 1)
    assert 1.5 <= run.took < 1.5 + 2 * PAUSE


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "soon", "٣"])
def test_retry_after_in_another_form_is_our_own_pause(header):
    """Vault sends seconds."""
    assert Run(READ, [status(429, retry_after=header), OK]).waits == [1.25]


def test_a_wait_beyond_the_deadline_is_not_begun():
    """The reply comes now, so that the chain has its time for the fallback."""
    run = Run(READ, [status(429, retry_after="7")], left=3.0)
    assert (run.reply.status, run.waits) == (429, [])


def test_no_time_left_sends_nothing():
    """A request that cannot be answered in time would still spend a rate limit."""
    with pytest.raises(VaultConnectionError, match="no time"):
        Run(READ, [], left=0.0)


# --- an outage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [READ, WRITE, LOGIN], ids=["read", "write", "login"])
@pytest.mark.parametrize("addresses", [ALL, (ONE,)], ids=["three nodes", "one"])
def test_nodes_that_all_refuse_for_a_second_are_down(request_, addresses):
    """None of them is about to lead."""
    run = Failed(request_, repeat(REFUSED), addresses=addresses)
    assert 1.0 <= run.took <= 1.2


def test_where_something_else_can_answer_nobody_waits_for_nodes_that_refuse():
    """Each is tried once, and the chain has its fallback."""
    run = Failed(hasty(READ), repeat(REFUSED), addresses=ALL)
    assert (run.asked, run.took) == (list(ALL), 0.0)
    assert "https://three:8200: because" in str(run.error)


@pytest.mark.parametrize("addresses", [ALL, (ONE,)], ids=["three nodes", "one"])
@pytest.mark.parametrize("request_", [READ, hasty(READ)], ids=["patient", "hasty"])
def test_nodes_that_all_hang_for_three_seconds_are_down(request_, addresses):
    """They were asked before if they are alive; several only by a patient request."""
    left = 3.0 if addresses is ALL and not request_.patient else 10.0
    run = Failed(request_, repeat(HANGS), addresses=addresses, left=left)
    assert 2.85 <= run.took <= 3.1
    assert sorted(run.probed, key=str) == (sorted(addresses, key=str) if left == 10.0 else [])


def slow(seconds, probe=OK, queued=0.0):
    """Answers of a server that takes so long for a request, and answers each probe with `probe`."""
    requests = []

    def answer(*_):
        requests.append(1)
        return After(seconds, OK, queued) if len(requests) == 1 else probe

    return answer


LISTING = HttpRequest("LIST", "/v1/secret/metadata/", {})


@pytest.mark.parametrize("request_", [READ, hasty(READ), LISTING, LOGIN, CREATE, WRITE])
def test_the_only_node_is_waited_for_while_it_is_alive(request_):
    """It gets the request once, and is asked now and then, on another connection, if it is alive."""
    run = Run(request_, slow(11.0), left=20.0)
    assert (run.reply, run.asked, run.took) == (OK, [ONE], 11.0)
    assert run.probed == [ONE] * 4


@pytest.mark.parametrize("request_", [READ, hasty(READ), LISTING, LOGIN, CREATE, WRITE])
def test_the_only_node_is_given_up_when_it_answers_no_probe(request_):
    """It has three seconds in all, and the request is not repeated."""
    run = Failed(request_, slow(11.0, HANGS), left=20.0, error=StoreUnavailableError)
    assert (run.asked, run.took) == ([ONE], pytest.approx(3.0))
    assert isinstance(run.error, WriteOutcomeUnknownError) == request_.changes


def test_the_only_node_may_stop_being_alive():
    """Each silence of three seconds has a probe."""
    probes = iter([OK, OK, HANGS])
    answer = slow(math.inf)
    run = Failed(READ, lambda *about: next(probes) if answer(*about) is OK else HANGS, left=20.0)
    assert (run.asked, run.probed, run.took) == ([ONE], [ONE] * 3, pytest.approx(8.0))


def test_a_node_that_is_alive_and_too_slow_is_named_so():
    """The hint is about the time, and not about the address."""
    run = Failed(READ, slow(math.inf), left=5.0)
    assert (run.asked, run.took) == ([ONE], 5.0)
    assert "Vault is too slow for all requests" in str(run.error)
    assert "raise the timeout" in str(run.error)


def test_replies_to_other_requests_show_that_the_only_node_is_alive():
    """A busy server gets no probes on top of its requests."""
    cluster = Cluster((ONE,))
    checks = next(exchange(READ, cluster, lambda: 20.0)).liveness
    for _ in range(3):
        assert isinstance(next(checks), Wait)
        cluster.heard(ONE)
    assert isinstance(next(checks), Wait)
    assert isinstance(next(checks), SendStep)


def test_one_of_many_waiting_requests_probes_for_all():
    """A slow server gets one request for each caller, and one probe."""
    moments = [0.0]
    cluster = Cluster((ONE,), clock=lambda: moments[0])
    waiting = [next(exchange(READ, cluster, lambda: 20.0)).liveness for _ in range(3)]
    assert {type(next(checks)) for checks in waiting} == {Wait}
    asked = [next(checks) for checks in waiting]
    assert [type(step) for step in asked] == [SendStep, Wait, Wait]
    assert isinstance(waiting[0].send(OK), Wait)
    assert {type(next(checks)) for checks in waiting[1:]} == {Wait}
    moments[0] += 3.0
    asked = [next(checks) for checks in waiting]
    assert [type(step) for step in asked] == [SendStep, Wait, Wait]
    for checks in waiting:
        with pytest.raises(StopIteration):
            checks.send(HANGS if checks is waiting[0] else None)


def test_a_probe_has_more_time_on_a_slow_network():
    """It opens a connection, with several round trips."""
    cluster = Cluster((ONE,))
    for fastest, share in ((0.01, 0.5), (0.15, 0.9), (5.0, 1.0)):
        cluster.fastest = fastest
        checks = next(exchange(READ, cluster, lambda: 20.0)).liveness
        assert next(checks).seconds == 3.0 - share
        assert next(checks).timeout == pytest.approx(share)
        cluster.heard(ONE)
        cluster = Cluster((ONE,))


@pytest.mark.parametrize("request_", [READ, hasty(READ), WRITE])
def test_the_wait_for_a_free_connection_is_no_silence_of_the_node(request_):
    """Other requests of this process have all connections."""
    run = Run(request_, slow(1.0, queued=10.0), left=20.0)
    assert (run.reply, run.asked, run.probed, run.took) == (OK, [ONE], [], 11.0)
    cluster = Cluster((ONE,))

    def busy(*_):
        cluster.answers += 1  # the server answers other requests
        return After(1.0, OK, queued=60.0)

    run = Failed(request_, busy, addresses=cluster, left=20.0)
    assert "no connection was free in time" in str(run.error)
    assert (run.error.conclusive, run.error.path_only) == (False, False)
    assert run.took > 19.0


@pytest.mark.parametrize(("queued", "conclusive"), [(1.5, False), (0.5, True)])
def test_a_node_that_had_little_of_the_time_is_not_out(queued, conclusive):
    """The wait for a free connection had the rest."""
    run = Failed(READ, lambda *_: After(10.0, OK, queued), left=2.0)
    assert (run.took, run.error.conclusive) == (2.0, conclusive)


@pytest.mark.parametrize("request_", [READ, hasty(READ), WRITE])
def test_a_node_without_a_free_connection_is_neither_silent_nor_out(request_):
    """The next one is tried, which may have one, until the time is over."""
    cluster = Cluster(ALL)
    run = Run(request_, [*repeat(NO_FREE_CONNECTION, 7), OK], addresses=cluster)
    assert (run.reply, run.asked[:3], len(run.asked)) == (OK, list(ALL), 8)
    assert not any(map(cluster.is_silent, ALL))
    assert cluster.order(reads=request_.reads)[0] == TWO
    run = Failed(request_, repeat(NO_FREE_CONNECTION), addresses=ALL)
    assert not run.error.conclusive
    assert run.took > 9.0


def test_a_cluster_that_answers_others_is_not_out():
    """A secret that was written just before the leader died waits for the next leader; others are read meanwhile."""
    cluster, others = Cluster(ALL), []

    def answer(node, seconds):
        if others:
            cluster.answered(THREE, reads=True)
        return HANGS

    assert not Failed(hasty(READ), answer, addresses=cluster, left=3.0).error.path_only
    others.append("a read of another thread")
    assert Failed(hasty(READ), answer, addresses=cluster, left=3.0).error.path_only
    with pytest.raises(WriteOutcomeUnknownError) as caught:
        Run(WRITE, answer, addresses=cluster)
    assert not caught.value.path_only


def test_a_node_that_is_alive_ends_the_doubt():
    """A standby forwards a request to a leader that hangs, and hangs too, until another node leads."""

    class Forwarding(Run):
        """Two nodes hang unless they are asked if they are alive."""

        def __init__(self, request):
            def answer(node, seconds):
                is_probe = len(self.probed) > self.seen
                self.seen = len(self.probed)
                return OK if seconds >= 5 or (is_probe and node != ONE) else HANGS

            self.seen = 0
            super().__init__(request, answer, addresses=ALL)

    for request in (READ, LOGIN):
        run = Forwarding(request)
        assert run.reply is OK
        assert 5 <= run.took < 10
        assert {TWO, THREE} & set(run.probed)


def test_a_node_that_was_just_restarted_answers_in_time():
    """Nobody listens for half a second."""
    run = Run(READ, lambda _, seconds: REFUSED if seconds < 0.5 else OK, addresses=ALL)
    assert run.reply is OK
    assert run.took < 0.5 + 2 * PAUSE


def test_a_slow_cluster_gets_more_time_in_the_second_round():
    """Each node takes more than 0.4 s for an answer."""
    run = Run(READ, [HANGS, HANGS, HANGS, OK], addresses=ALL)
    assert run.shares == [0.4, 0.4, 0.4, 0.8]


def test_next_node_is_asked_when_one_cannot_be_reached():
    """Nothing was sent, so that this is safe for writes too."""
    for request in (READ, WRITE):
        assert Run(request, [REFUSED, OK], addresses=(ONE, TWO)).asked == [ONE, TWO]


def test_a_read_that_was_lost_is_sent_again_at_once():
    """The server may have closed an idle connection just before it was used. It is found out once."""
    run = Run(READ, [RESET, OK])
    assert (run.reply, run.waits) == (OK, [])
    run = Failed(hasty(READ), repeat(RESET))
    assert (len(run.asked), run.waits) == (2, [])


def test_a_write_that_was_lost_is_never_sent_again():
    """It may have been applied, and the message says so."""
    with pytest.raises(WriteOutcomeUnknownError, match="may or may not"):
        Run(WRITE, [RESET], addresses=(ONE, TWO))
    with pytest.raises(WriteOutcomeUnknownError):
        Run(WRITE, [fault(FaultKind.TOO_LARGE)])


@pytest.mark.parametrize(("kind", "error"), [
    (FaultKind.UNTRUSTED, VaultConnectionError),
    (FaultKind.NO_TLS, VaultConnectionError),
    (FaultKind.TOO_LARGE, SecretTooLargeError),
])  # fmt: skip
def test_what_no_retry_mends_is_final(kind, error):
    """A certificate is not better the second time; and no other node is shown the token."""
    with pytest.raises(error):
        Run(READ, [fault(kind)], addresses=(ONE, TWO))


# --- several nodes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [412, 429, 472, 473, 500, 502, 503, 504])
def test_a_read_goes_to_the_next_node_at_once(code):
    """Sealed, a standby, over its limit, broken: the next one may be well. When all were tried comes a pause."""
    run = Run(READ, [status(code, retry_after="7"), OK], addresses=(ONE, TWO))
    assert (run.asked, run.waits, run.reply) == ([ONE, TWO], [], OK)
    run = Run(READ, [*repeat(status(code), 3), OK], addresses=ALL)
    assert (sorted(run.asked[:3], key=str), len(run.waits)) == (sorted(ALL, key=str), 1)


def test_a_mount_that_is_being_made_is_asked_again_where_it_is():
    """The other nodes may not know it yet, and would call it a wrong configuration. So may a name be that is wrong."""
    run = Run(READ, [status(400), OK], addresses=(ONE, TWO))
    assert (run.asked, run.waits) == ([ONE, ONE], [1.25])
    run = Run(READ, repeat(status(400)), addresses=(ONE, TWO))
    assert (run.asked, run.waits, run.reply.status) == ([ONE, ONE, ONE], [1.25, 1.25], 400)


def test_what_the_server_refuses_of_its_own_api_is_not_asked_again():
    """It is no mount that may be starting: 400 is how it says that there is no such mount."""
    run = Run(HttpRequest("GET", "/v1/sys/mounts/secret", {}), [status(400)], addresses=(ONE, TWO))
    assert (run.asked, run.reply.status) == ([ONE], 400)


def test_a_refused_login_is_not_sent_again():
    """It is a POST that may be sent again where its answer was lost. A refusal is an answer."""
    run = Run(LOGIN, [status(400)], addresses=(ONE, TWO))
    assert (run.asked, run.reply.status) == ([ONE], 400)


def test_a_database_that_makes_no_credential_is_not_asked_many_times():
    """Each node would ask the same database. An election is waited out all the same."""
    run = Run(CREATE, repeat(status(500)), addresses=ALL)
    assert len(run.asked) == 8
    assert set(run.waits) == {1.25}
    run = Run(CREATE, lambda _, seconds: status(500) if seconds < 6 else OK, addresses=ALL)
    assert run.reply is OK


def test_a_node_that_hangs_costs_a_read_little():
    """0.4 s, and 0.2 s while it is known to be silent; a change has two seconds."""
    cluster = Cluster(ALL)
    run = Run(READ, [HANGS, OK], addresses=cluster)
    assert (run.asked, run.shares) == ([ONE, TWO], [0.4, 0.4])
    run = Run(READ, [REFUSED, REFUSED, status(500), OK], addresses=cluster)
    assert run.asked[2] == ONE
    cluster.lost(ONE, silent=True)
    cluster.answered(ONE, reads=True)
    assert Run(READ, [HANGS, OK], addresses=cluster).shares[0] == 0.2
    assert Run(WRITE, [OK], addresses=ALL).shares == [2.0]


def test_after_a_silent_round_the_node_that_fell_silent_last_is_asked_first():
    """It may only be slow, while the others are dead, or hold requests during an election."""
    moments = count(step=0.01)
    run = Run(READ, [HANGS, HANGS, HANGS, OK], addresses=Cluster(ALL, clock=lambda: next(moments)))
    assert run.asked == [ONE, TWO, THREE, THREE]


def test_a_share_is_several_times_the_fastest_answer():
    """A new TLS connection to another continent takes longer than 0.4 s."""
    cluster = Cluster(ALL)
    cluster.answered(ONE, reads=True, seconds=0.15)
    for _ in range(2):
        cluster.answered(ONE, reads=True, seconds=5.0)
    assert 0.15 < cluster.fastest < 0.2
    cluster.answered(ONE, reads=True, seconds=0.15)
    assert Run(READ, [OK], addresses=cluster).shares == [0.9]


def test_replies_of_a_batch_may_be_late():
    """Its driver is idle while the caller works."""
    assert Run(dataclasses.replace(READ, batched=True), [OK], addresses=ALL).shares == [2.0]


def test_a_node_of_its_own_gets_all_the_time():
    """There is nobody else to ask. A change leaves some of it to find out whether it was made."""
    assert Run(READ, [OK], left=2.0).shares == [2.0]
    assert Run(WRITE, [OK], left=2.0).shares == [1.5]
    listing = HttpRequest("LIST", "/v1/secret/metadata/", {})
    assert Run(listing, [OK], left=10.0).shares == [10.0]
    assert Run(listing, [REFUSED, REFUSED, OK], addresses=ALL, left=10.0).shares[-1] == 10.0


def test_the_node_that_answered_last_is_asked_first():
    """A dead first node costs one request its attempt, and not each. Reads and changes have separate orders."""
    cluster = Cluster(ALL)
    assert Run(READ, [status(503), OK], addresses=cluster).asked == [ONE, TWO]
    assert Run(READ, [OK], addresses=cluster).asked == [TWO]
    assert Run(WRITE, [OK], addresses=cluster).asked == [ONE]
    assert Run(READ, [REFUSED, OK], addresses=cluster).asked == [TWO, THREE]
    assert cluster.order(reads=False) == (ONE, THREE, TWO)
    assert cluster.addresses == (ONE, TWO, THREE)


def test_the_leader_is_remembered_and_forgotten():
    """By its answer to a change, or by a redirect; a failure of a change says nothing about reads."""
    cluster = Cluster(ALL)
    assert Run(WRITE, [status(307, location="https://three:8200/"), OK], addresses=cluster).asked == [ONE, THREE]
    assert Run(WRITE, [status(500)], addresses=cluster).asked == [THREE]
    assert Run(WRITE, [OK], addresses=cluster).asked == [ONE]
    assert Run(READ, [OK], addresses=cluster).asked == [ONE]


def test_a_node_that_lost_a_write_is_not_asked_first_what_became_of_it():
    """It is down or hangs, and the answer is elsewhere. It gets no other change while it is silent."""
    cluster = Cluster((ONE, TWO))
    with pytest.raises(WriteOutcomeUnknownError):
        Run(WRITE, [HANGS], addresses=cluster)
    assert Run(READ, [OK], addresses=cluster).asked == [TWO]
    to_one = status(307, location="https://one:8200/")
    assert Run(WRITE, [to_one, to_one, OK], addresses=cluster).asked == [TWO, TWO, TWO]


def test_a_silent_node_gets_a_change_again_when_it_answers_or_after_some_seconds():
    seconds = [0.0]
    cluster = Cluster((ONE, TWO), clock=lambda: seconds[0])
    cluster.lost(ONE, silent=True)
    assert cluster.is_silent(ONE)
    cluster.heard(ONE)
    assert not cluster.is_silent(ONE)
    cluster.lost(ONE, silent=True)
    seconds[0] = 5.0
    assert not cluster.is_silent(ONE)


def test_a_number_of_retries_can_be_configured():
    """As VAULT_MAX_RETRIES has it."""
    run = Run(READ, [status(503)], addresses=Cluster((ONE, TWO), retries=0))
    assert (run.asked, run.shares) == ([ONE], [10.0])
    run = Run(READ, repeat(status(503)), addresses=Cluster((ONE, TWO), retries=2))
    assert len(run.asked) == 3


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_redirect_to_a_configured_address_is_followed(request_):
    """A standby that does not forward names the active node."""
    run = Run(request_, [status(307, location="https://two:8200/v1/elsewhere?x"), OK], addresses=(ONE, TWO))
    assert (run.asked, run.reply) == ([ONE, TWO], OK)


def test_where_a_redirect_led_is_asked_first():
    """A standby that does not forward would redirect each request."""
    cluster = Cluster((ONE, TWO, THREE))
    assert Run(READ, [status(307, location="https://three:8200/"), OK], addresses=cluster).asked == [ONE, THREE]
    assert Run(READ, [OK], addresses=cluster).asked == [THREE]


def test_redirect_is_followed_once():
    """Two nodes that name each other have no leader now: they are asked again later, and not for ever."""
    to_two, to_one = (status(307, location=f"https://{name}:8200/") for name in ("two", "one"))
    run = Run(READ, [to_two, to_one, OK], addresses=(ONE, TWO))
    assert (run.asked, run.waits) == ([ONE, TWO, ONE], [PAUSE])
    run = Failed(
        READ, lambda node, _: to_two if node == ONE else to_one, addresses=(ONE, TWO), error=StoreUnavailableError
    )
    assert "redirects too: the cluster has no leader" in str(run.error)
    assert 9.5 < run.took <= 10


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_redirect_to_a_leader_that_is_gone_is_waited_out(request_):
    """The others redirect to it until one of them is elected."""
    gone = status(307, location="https://one:8200/")

    def answer(node, seconds):
        return REFUSED if node == ONE else gone if seconds < 4 else OK

    for addresses in (ALL, (TWO, ONE, THREE)):
        run = Run(request_, answer, addresses=addresses)
        assert run.reply is OK
        assert 4 <= run.took < 4.2
    run = Failed(request_, lambda node, _: REFUSED if node == ONE else gone, addresses=ALL, error=StoreUnavailableError)
    assert "redirects to https://one:8200, which cannot be reached: the cluster has no leader" in str(run.error)


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_a_node_that_redirects_to_itself_is_asked_again(request_):
    """A leader that was paused does so for three seconds at least (measured on OpenBao 2.7.2)."""
    itself = status(307, location="https://one:8200/v1/secret/data/app")
    run = Run(request_, lambda _, seconds: itself if seconds < 3 else OK)
    assert run.reply is OK
    assert 3 <= run.took < 3.2
    assert Run(request_, [itself, OK], addresses=(ONE, TWO)).asked == [ONE, TWO]
    run = Failed(request_, repeat(itself), error=StoreUnavailableError)
    assert "which is itself" in str(run.error)
    with pytest.raises(StoreUnavailableError, match="which is itself"):
        Run(request_, [status(302, location="https://one:8200/")])


def test_redirects_can_be_refused_altogether():
    """As VAULT_DISABLE_REDIRECTS has it."""
    with pytest.raises(StoreUnavailableError, match="not followed"):
        Run(READ, [status(307, location="https://two:8200/")], addresses=Cluster((ONE, TWO), redirects=False))


@pytest.mark.parametrize("location", [
    "https://evil:8200/v1/secret/data/app", "https://one:8201/", "https://one.evil:8200/", "//evil:8200/",
    "https://one:8200@evil/", "ftp://one:8200/", "https://[", "https://one:x/", "",
])  # fmt: skip
def test_redirect_elsewhere_is_refused(location):
    """The token does not follow to an address that nobody configured."""
    run = Failed(READ, repeat(status(307, location=location)), error=StoreUnavailableError)
    assert "redirects to" in str(run.error)
    assert set(run.asked) == {ONE}


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_node_that_redirects_elsewhere_cannot_answer_now(request_):
    """A leader that has just stepped down names the next one for a moment; then it answers, or another node does."""
    away = status(307, location="https://new:8200/v1/secret/data/app")
    run = Run(request_, [away, OK])
    assert (run.asked, run.waits, run.reply) == ([ONE, ONE], [PAUSE], OK)
    cluster = Cluster((ONE, TWO))
    run = Run(request_, [away, OK], addresses=cluster)
    assert (run.asked, run.waits, run.reply) == ([ONE, TWO], [], OK)
    assert cluster.order(reads=request_.reads) == (TWO, ONE)
    with pytest.raises(StoreUnavailableError, match="https://new:8200, which is not one of the configured addresses"):
        Run(request_, repeat(away))


def test_redirect_elsewhere_where_a_redirect_led_is_waited_out():
    """It is followed once, and to a configured address alone."""
    to_two, away = status(307, location="https://two:8200/"), status(307, location="https://new:8200/")
    run = Run(READ, [to_two, away, OK], addresses=(ONE, TWO))
    assert (run.asked, run.waits, run.reply) == ([ONE, TWO, ONE], [PAUSE], OK)


@pytest.mark.parametrize("code", [301, 302, 303, 308])
def test_redirect_elsewhere_that_is_no_standbys_is_final(code):
    """A standby answers 307. Others are a proxy's, which will do the same again."""
    with pytest.raises(StoreUnavailableError, match="not one of the configured addresses"):
        Run(READ, [status(code, location="https://sso/login")])


def test_redirect_never_leaves_tls():
    """Not even to a configured address."""
    with pytest.raises(StoreUnavailableError, match="no TLS"):
        Run(READ, [status(307, location="http://one:8200/")], addresses=(ONE, PLAIN))


@pytest.mark.parametrize("code", [301, 302, 303])
def test_redirect_that_would_turn_a_write_into_a_read_is_refused(code):
    """A write that became a GET would look done."""
    with pytest.raises(StoreUnavailableError, match="into a read"):
        Run(WRITE, [status(code, location="https://two:8200/")], addresses=(ONE, TWO))


def test_nothing_secret_is_in_the_reprs():
    """Frames hold requests and replies while errors pass."""
    request = HttpRequest("POST", "/v1/x", {"X-Vault-Token": "canary"}, b"canary")
    assert "canary" not in repr(SendStep(request, ONE, 1.0))
    assert "canary" not in repr(Reply(200, {"x": "canary"}, b"canary"))


def test_a_change_that_was_redirected_may_have_been_applied():
    """A standby redirects also if its leader was lost after it had forwarded the change."""
    to_two, gone = status(307, location="https://two:8200/"), status(307, location="https://new:8200/")
    assert Run(WRITE, [to_two, status(400)], addresses=(ONE, TWO)).reply.repeats
    assert not Run(WRITE, [status(400)], addresses=(ONE, TWO)).reply.repeats
    assert Run(WRITE, [to_two, OK], addresses=(ONE, TWO)).reply is OK
    with pytest.raises(WriteOutcomeUnknownError, match="not one of the configured addresses"):
        Run(WRITE, repeat(gone))
    assert not Run(READ, [to_two, status(404)], addresses=(ONE, TWO)).reply.repeats
