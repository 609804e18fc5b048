"""The policy of one request: retries, redirects, the deadline. Without a server, and without waiting."""

import pytest

from strongroom.errors import SecretTooLargeError, StoreUnavailableError
from strongroom_vault.address import Address
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.exchange import Fault, FaultKind, Reply, Request, Send, Wait, exchange

ONE, TWO = Address.parse("https://one:8200"), Address.parse("https://two:8200")
PLAIN = Address.parse("http://one:8200")
READ = Request("GET", "/v1/secret/data/app", {"X-Vault-Token": "t"})
WRITE = Request("POST", "/v1/secret/data/app", {"X-Vault-Token": "t"}, b"{}", changes=True)
OK = Reply(200, {}, b"{}")


class Run:
    """Runs an exchange against prepared answers, and keeps what it asked for. A wait takes its time from `left`."""

    def __init__(self, request, answers, *, addresses=(ONE,), left=10.0):
        self.asked, self.waits, self.left = [], [], left
        steps = exchange(request, addresses, lambda: self.left, lambda: 0.5)
        answers = iter(answers)
        step = next(steps)
        try:
            while True:
                if isinstance(step, Send):
                    assert step.request is request
                    self.asked.append(step.address)
                    step = steps.send(next(answers))
                else:
                    assert isinstance(step, Wait)
                    self.waits.append(step.seconds)
                    self.left -= step.seconds
                    step = steps.send(None)
        except StopIteration as done:
            self.reply = done.value


def status(code, **headers):
    return Reply(code, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


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


@pytest.mark.parametrize("code", [412, 429, 472, 473])
def test_a_write_that_was_not_applied_is_sent_again(code):
    """These statuses say that the server did nothing."""
    assert Run(WRITE, [status(code), OK]).reply is OK


@pytest.mark.parametrize("code", [400, 500, 502, 503, 504])
def test_a_write_that_may_have_been_applied_is_not(code):
    """ "leadership lost while committing" is a 500, and the write may be there."""
    run = Run(WRITE, [status(code)])
    assert (run.reply.status, run.waits) == (code, [])


def test_retry_after_is_honoured():
    """The server says when; its word outranks our own pause."""
    assert Run(READ, [status(429, retry_after="7"), OK]).waits == [7.0]


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


def test_a_read_that_was_lost_is_sent_again_once():
    """The server may have closed an idle connection just before it was used."""
    assert Run(READ, [fault(FaultKind.LOST), OK]).reply is OK
    with pytest.raises(VaultConnectionError):
        Run(READ, [fault(FaultKind.LOST)] * 2)


def test_a_write_that_was_lost_is_never_sent_again():
    """It may have been applied, and the message says so."""
    with pytest.raises(VaultConnectionError, match="may or may not"):
        Run(WRITE, [fault(FaultKind.LOST)])


@pytest.mark.parametrize(("kind", "error"), [
    (FaultKind.UNTRUSTED, VaultConnectionError),
    (FaultKind.TOO_LARGE, SecretTooLargeError),
])  # fmt: skip
def test_what_no_retry_mends_is_final(kind, error):
    """A certificate is not better the second time; and no other node is shown the token."""
    with pytest.raises(error):
        Run(READ, [fault(kind)], addresses=(ONE, TWO))


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_redirect_to_a_configured_address_is_followed(request_):
    """A standby that does not forward names the active node."""
    run = Run(request_, [status(307, location="https://two:8200/v1/elsewhere?x"), OK], addresses=(ONE, TWO))
    assert (run.asked, run.reply) == ([ONE, TWO], OK)


def test_redirect_is_followed_once():
    """Two nodes that name each other would go on for ever."""
    hops = [status(307, location="https://two:8200/"), status(307, location="https://one:8200/")]
    with pytest.raises(StoreUnavailableError, match="second redirect"):
        Run(READ, hops, addresses=(ONE, TWO))


@pytest.mark.parametrize("location", [
    "https://evil:8200/v1/secret/data/app", "https://one:8201/", "https://one.evil:8200/", "//evil:8200/",
    "https://one:8200@evil/", "ftp://one:8200/", "https://[", "https://one:x/", "",
])  # fmt: skip
def test_redirect_elsewhere_is_refused(location):
    """The token does not follow to an address that nobody configured."""
    with pytest.raises(StoreUnavailableError, match="redirects to"):
        Run(READ, [status(307, location=location)])


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
