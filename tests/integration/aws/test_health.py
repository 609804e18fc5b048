"""How AWS is, who we are there, and how far its clock is from ours."""

import pytest

from strongroom.errors import AuthenticationError, CheckState, StoreUnavailableError
from strongroom_aws.service import health
from support.vault import faults

pytestmark = pytest.mark.long


def checks(found):
    return {check.name: check for check in found.checks}


@pytest.fixture(params=["secretsmanager", "ssm"])
def store(request, aws):
    return aws.open_secrets() if request.param == "secretsmanager" else aws.open_parameters()


def test_health_says_who_where_and_how_fast(store):
    found = store.probe()
    assert found.ok
    assert found.facts["region"] == "eu-west-1"
    assert found.facts["account"] == "123456789012"
    assert found.facts["identity"].startswith("arn:aws:")
    assert float(found.facts["latency"]) > 0
    assert {check.state for check in found.checks} == {CheckState.OK}
    assert list(checks(found)) == ["reachable", "authenticated", "identity", "clock"]


def test_looking_reads_no_secret(aws):
    """One name at the most, and no value."""
    store = aws.open_secrets()
    store.write("app", {"k": "v"})
    aws.forget()
    store.probe()
    assert aws.asked == ["ListSecrets"]
    parameters = aws.open_parameters()
    aws.forget()
    parameters.probe()
    assert aws.asked == ["DescribeParameters"]


@pytest.mark.parametrize(("ahead", "words"), [(600, "600 s behind"), (-600, "600 s ahead of")])
def test_clock_that_is_off_is_a_warning(aws, ahead, words):
    """AWS refuses signatures that are five minutes off."""
    import time

    store = aws.open_secrets()
    found = health(store.requests.service, "list_secrets", "Secrets Manager", clock=lambda: round(time.time()) + ahead)
    check = checks(found)["clock"]
    assert check.state is CheckState.WARNING
    assert check.detail.split(" ", 2)[2] == words.split(" ", 2)[2] + " this machine's"
    assert abs(float(found.facts["clock_skew"]) + ahead) < 30


def test_listing_that_is_denied_is_a_warning(aws):
    """Whoever may read and not list is well."""
    store = aws.open_secrets()
    aws.refuse("ListSecrets", "AccessDeniedException")
    found = store.probe()
    assert found.ok
    assert checks(found)["listing"].state is CheckState.WARNING


def test_sts_out_of_reach_is_a_warning(aws, monkeypatch):
    """A private network may let nobody but the service be reached."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    found = aws.open_secrets().probe()
    assert found.ok
    assert checks(found)["identity"].state is CheckState.WARNING
    assert "identity" not in found.facts
    assert "clock" in checks(found)


def test_wrong_credentials_and_outages_are_not_well(store, aws):
    aws.refuse("*", "UnrecognizedClientException")
    with pytest.raises(AuthenticationError):
        store.probe()
    aws.fault("*", faults.reset())
    with pytest.raises(StoreUnavailableError):
        store.probe()
