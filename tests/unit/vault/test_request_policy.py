"""The policy of one request: retries, redirects, the deadline. Without a server, and without waiting."""

import pytest

from strongroom.errors import SecretTooLargeError, StoreUnavailableError, WriteOutcomeUnknownError
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.address import Address
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.request_policy import Fault, FaultKind, Reply, Request, Send, Wait, exchange

ONE, TWO, THREE = (Address.parse(f"https://{name}:8200") for name in ("one", "two", "three"))
PLAIN = Address.parse("http://one:8200")
READ = Request("GET", "/v1/secret/data/app", {"X-Vault-Token": "t"})
WRITE = Request("POST", "/v1/secret/data/app", {"X-Vault-Token": "t"}, b"{}", changes=True)
OK = Reply(200, {}, b"{}")


class Run:
    """Runs an exchange against prepared answers, and keeps what it asked for. A wait takes its time from `left`."""

    def __init__(self, request, answers, *, addresses=(ONE,), left=10.0):
        self.asked, self.waits, self.shares, self.left, self.reply = [], [], [], left, None
        steps = exchange(request, addresses, lambda: self.left, lambda: 0.5)
        answers = iter(answers)
        step = next(steps)
        try:
            while True:
                if isinstance(step, Send):
                    assert step.request is request
                    self.asked.append(step.address)
                    self.shares.append(step.timeout)
                    answer = next(answers)
                    if isinstance(answer, Fault) and answer.reason == "hangs":
                        self.left -= step.timeout
                    step = steps.send(answer)
                else:
                    assert isinstance(step, Wait)
                    self.waits.append(step.seconds)
                    self.left -= step.seconds
                    step = steps.send(None)
        except StopIteration as done:
            self.reply = done.value


def status(code, body=b"", **headers):
    return Reply(code, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def fault(kind):
    return Fault(kind, "because")


@pytest.mark.parametrize("code", [200, 204, 403, 404, 405, 413, 501])
def test_an_answer_is_returned_at_once(code):
    """What means something is the reply, be it a refusal; a server without a key will have none after a retry."""
    run = Run(READ, [status(code)])
    assert (run.reply.status, run.waits) == (code, [])


@pytest.mark.parametrize("code", [400, 412, 429, 472, 473, 500, 502, 503, 504])
def test_a_read_is_asked_again_twice(code):
    """As Vault's own client does, after 1.0 to 1.5 s and then twice that; the last reply stands."""
    run = Run(READ, [status(code)] * 3)
    assert (run.reply.status, run.waits) == (code, [1.25, 2.5])
    assert Run(READ, [status(code), OK]).reply is OK


@pytest.mark.parametrize(("code", "body"), [
    (412, b""), (429, b""), (472, b""), (473, b""), (503, b'{"errors":["Vault is sealed"]}'),
])  # fmt: skip
def test_a_write_that_was_not_applied_is_sent_again(code, body):
    """These say that the server did nothing."""
    assert Run(WRITE, [status(code, body), OK]).reply is OK


@pytest.mark.parametrize("code", [400, 500, 502, 503, 504])
def test_a_write_that_may_have_been_applied_is_not(code):
    """ "leadership lost while committing" is a 500, and the write may be there; so it may behind a gateway's 503."""
    run = Run(WRITE, [status(code)])
    assert (run.reply.status, run.waits) == (code, [])


def test_retry_after_is_honoured():
    """The server says when, and rounds it down, so that our own pause comes on top."""
    assert Run(READ, [status(429, retry_after="7"), OK]).waits == [8.25]
    assert Run(READ, [status(429, retry_after="0"), OK]).waits == [1.25]


def test_retry_after_is_honoured_at_the_node_that_said_so():
    """The others have limits of their own. One attempt is kept for it."""
    limited = status(429, retry_after="2")
    run = Run(READ, [limited, limited, OK], addresses=(ONE, TWO, THREE))
    assert (run.asked, run.waits, run.reply) == ([ONE, TWO, TWO], [3.25], OK)


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "soon", "٣"])
def test_retry_after_in_another_form_is_our_own_pause(header):
    """Vault sends seconds."""
    assert Run(READ, [status(429, retry_after=header), OK]).waits == [1.25]


def test_a_wait_beyond_the_deadline_is_not_begun():
    """The reply comes now, so that the chain has its time for the fallback."""
    run = Run(READ, [status(429, retry_after="7")], left=3.0)
    assert (run.reply.status, run.waits) == (429, [])


def test_a_pause_of_our_own_is_cut_to_leave_one_more_attempt():
    """An election takes longer than a link with its three seconds would otherwise wait."""
    assert Run(READ, [status(500)] * 3, left=3.0).waits == [1.25, 1.25]
    assert Run(READ, [status(500)], left=1.0).waits == []


def test_no_time_left_sends_nothing():
    """A request that cannot be answered in time would still spend a rate limit."""
    with pytest.raises(VaultConnectionError, match="no time"):
        Run(READ, [], left=0.0)


def test_unreachable_is_an_outage_at_once():
    """A refused connection is known at once, and the chain has its fallback."""
    with pytest.raises(VaultConnectionError, match="https://one:8200: because"):
        Run(READ, [fault(FaultKind.UNREACHABLE)])


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_next_node_is_asked_when_one_cannot_be_reached(request_):
    """Nothing was sent, so that this is safe for writes too; each node is tried once."""
    run = Run(request_, [fault(FaultKind.UNREACHABLE), OK], addresses=(ONE, TWO))
    assert run.asked == [ONE, TWO]
    with pytest.raises(VaultConnectionError, match="two"):
        Run(request_, [fault(FaultKind.UNREACHABLE)] * 2, addresses=(ONE, TWO))


def test_a_read_that_was_lost_is_sent_again_at_once():
    """The server may have closed an idle connection just before it was used. Three times are enough."""
    run = Run(READ, [fault(FaultKind.LOST), OK])
    assert (run.reply, run.waits) == (OK, [])
    with pytest.raises(VaultConnectionError):
        Run(READ, [fault(FaultKind.LOST)] * 3)


def test_a_write_that_was_lost_is_never_sent_again():
    """It may have been applied, and the message says so."""
    with pytest.raises(WriteOutcomeUnknownError, match="may or may not"):
        Run(WRITE, [fault(FaultKind.LOST)], addresses=(ONE, TWO))
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
    """Sealed, a standby, over its limit, broken: the next one may be well. Before the last attempt comes a pause."""
    run = Run(READ, [status(code, retry_after="7"), OK], addresses=(ONE, TWO))
    assert (run.asked, run.waits, run.reply) == ([ONE, TWO], [], OK)
    run = Run(READ, [status(code)] * 3, addresses=(ONE, TWO))
    assert (run.asked, run.waits, run.reply.status) == ([ONE, TWO, ONE], [2.5], code)
    run = Run(READ, [status(code)] * 3, addresses=(ONE, TWO, THREE))
    assert (run.asked, run.waits) == ([ONE, TWO, THREE], [2.5])


def test_a_mount_that_is_being_made_is_asked_again_where_it_is():
    """The other nodes may not know it yet, and would call it a wrong configuration."""
    run = Run(READ, [status(400), OK], addresses=(ONE, TWO))
    assert (run.asked, run.waits) == ([ONE, ONE], [1.25])


def test_what_the_server_refuses_of_its_own_api_is_not_asked_again():
    """It is no mount that may be starting: 400 is how it says that there is no such mount."""
    run = Run(Request("GET", "/v1/sys/mounts/secret", {}), [status(400)], addresses=(ONE, TWO))
    assert (run.asked, run.reply.status) == ([ONE], 400)


def test_a_refused_login_is_not_sent_again():
    """It is a POST that may be sent again where its answer was lost. A refusal is an answer."""
    run = Run(Request("POST", "/v1/auth/approle/login", {}), [status(400)], addresses=(ONE, TWO))
    assert (run.asked, run.reply.status) == ([ONE], 400)


def test_a_node_that_hangs_gets_half_of_the_time():
    """Then the next one gets half of the rest, and the last one all of it."""
    hangs = Fault(FaultKind.LOST, "hangs")
    run = Run(READ, [hangs, hangs, OK], addresses=(ONE, TWO, THREE), left=4.0)
    assert (run.asked, run.shares, run.reply) == ([ONE, TWO, THREE], [2.0, 1.0, 1.0], OK)
    run = Run(READ, [Fault(FaultKind.UNREACHABLE, "hangs"), OK], addresses=(ONE, TWO), left=4.0)
    assert run.shares == [2.0, 2.0]


def test_a_node_of_its_own_gets_all_the_time():
    """There is nobody else to ask. A change leaves some of it to find out whether it was made."""
    assert Run(READ, [OK], left=4.0).shares == [4.0]
    assert Run(WRITE, [OK], left=4.0).shares == [3.0]


def test_the_node_that_answered_last_is_asked_first():
    """A dead first node costs one request its attempt, and not each."""
    cluster = Cluster((ONE, TWO, THREE))
    assert Run(READ, [fault(FaultKind.UNREACHABLE), OK], addresses=cluster).asked == [ONE, TWO]
    assert Run(WRITE, [OK], addresses=cluster).asked == [TWO]
    assert Run(READ, [status(503), OK], addresses=cluster).asked == [TWO, THREE]
    assert Run(READ, [OK], addresses=cluster).asked == [THREE]
    assert list(cluster) == [ONE, TWO, THREE]


def test_a_node_that_lost_a_write_is_not_asked_first_what_became_of_it():
    """It is down or hangs, and the answer is elsewhere."""
    cluster = Cluster((ONE, TWO))
    with pytest.raises(WriteOutcomeUnknownError):
        Run(WRITE, [fault(FaultKind.LOST)], addresses=cluster)
    assert Run(READ, [OK], addresses=cluster).asked == [TWO]


def test_a_number_of_retries_can_be_configured():
    """As VAULT_MAX_RETRIES has it."""
    run = Run(READ, [status(503)], addresses=Cluster((ONE, TWO), retries=0))
    assert (run.asked, run.shares) == ([ONE], [10.0])


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
    assert (run.asked, run.waits) == ([ONE, TWO, ONE], [1.25])
    with pytest.raises(StoreUnavailableError, match="redirects too: the cluster has no leader"):
        Run(READ, [to_two, to_one] * 3, addresses=(ONE, TWO))


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_redirect_to_a_leader_that_is_gone_is_waited_out(request_):
    """The others redirect to it until one of them is elected: they know no better, so that they are not asked."""
    gone = status(307, location="https://one:8200/")
    run = Run(request_, [fault(FaultKind.UNREACHABLE), gone, gone, OK], addresses=(ONE, TWO, THREE))
    assert (run.asked, run.waits, run.reply) == ([ONE, TWO, TWO, TWO], [1.25, 2.5], OK)
    run = Run(request_, [gone, fault(FaultKind.UNREACHABLE), OK], addresses=Cluster((TWO, ONE, THREE)))
    assert (run.asked, run.waits, run.reply) == ([TWO, ONE, TWO], [1.25], OK)


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
    with pytest.raises(StoreUnavailableError, match="redirects to"):
        Run(READ, [status(307, location=location)] * 3)


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_node_that_redirects_elsewhere_cannot_answer_now(request_):
    """A leader that has just stepped down names the next one for a moment; then it answers, or another node does."""
    away = status(307, location="https://new:8200/v1/secret/data/app")
    run = Run(request_, [away, OK])
    assert (run.asked, run.waits, run.reply) == ([ONE, ONE], [1.25], OK)
    cluster = Cluster((ONE, TWO))
    run = Run(request_, [away, OK], addresses=cluster)
    assert (run.asked, run.waits, run.reply) == ([ONE, TWO], [], OK)
    assert cluster.order == (TWO, ONE)
    with pytest.raises(StoreUnavailableError, match="https://new:8200, which is not one of the configured addresses"):
        Run(request_, [away] * 3)


def test_redirect_elsewhere_where_a_redirect_led_is_waited_out():
    """It is followed once, and to a configured address alone."""
    to_two, away = status(307, location="https://two:8200/"), status(307, location="https://new:8200/")
    run = Run(READ, [to_two, away, OK], addresses=(ONE, TWO))
    assert (run.asked, run.waits, run.reply) == ([ONE, TWO, ONE], [1.25], OK)


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
    request = Request("POST", "/v1/x", {"X-Vault-Token": "canary"}, b"canary")
    assert "canary" not in repr(Send(request, ONE, 1.0))
    assert "canary" not in repr(Reply(200, {"x": "canary"}, b"canary"))
