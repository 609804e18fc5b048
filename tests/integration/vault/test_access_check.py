"""`strongroom doctor` on what an application needs of a Vault store: its policies, and the server's certificate."""

import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import CheckState
from strongroom.store import required_paths
from strongroom.store.deadline import require_paths
from strongroom_vault.http.tls import check_certificates
from support.command_line import Caller
from support.vault.engines import open_engine

NOW = datetime(2026, 5, 1, tzinfo=UTC)

CONFIGURATION = """
chain = [{ store = "vault", paths = ["database/*"] }, { store = "env" }]
[secrets]
DATABASE_URL = "database/connection#url"
DB_POOL_SIZE = "database/pool#size"
OPENAI_API_KEY = "api-keys/openai#key"
[stores.vault]
"""


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


@pytest.fixture
def doctor(capsys, monkeypatch, openbao, kv2):
    """What doctor says of a store whose token has these rules, of which the paths begin below the mount."""
    command = Caller(capsys)

    def examine(rules, **more):
        token = openbao.issue_token({f"{kv2}/{path}": names for path, names in rules.items()} | more.pop("also", {}))
        Path("strongroom.toml").write_text(f'{CONFIGURATION}mount = "{kv2}"\n')
        monkeypatch.setenv("VAULT_ADDR", openbao.url)
        monkeypatch.setenv("VAULT_TOKEN", token)
        done = command("doctor", "--json")
        (store,) = (each for each in json.loads(done.out)["stores"] if each["store"] == "vault")
        return done.code, {check["name"]: check for check in store["checks"]}

    return examine


ASKING = {"sys/capabilities-self": ["update"]}


def test_policies_that_allow_what_is_needed_are_well(doctor, openbao, kv2):
    """Those rows alone that the chain asks the store for; nothing is read for it."""
    code, checks = doctor({"data/database/*": ["read"]}, also=ASKING)
    assert code == 0
    assert checks["permitted"]["state"] == "ok"
    assert "2 paths" in checks["permitted"]["detail"]
    assert not openbao.requests(f"{kv2}/data/database/connection")


def test_a_policy_that_is_missing_for_one_secret_is_a_warning(doctor, kv2):
    """Which one, and what prints the policy: another store may have it, or a default stand in."""
    code, checks = doctor({"data/database/connection": ["read"]}, also=ASKING)
    assert code == 0
    assert checks["permitted"]["state"] == "warning"
    assert f"{kv2}/data/database/pool" in checks["permitted"]["detail"]
    assert "strongroom vault policy" in checks["permitted"]["hint"]


def test_policies_that_allow_nothing_of_it_are_a_denial(doctor):
    """4: no read that the application makes would be answered."""
    code, checks = doctor({"data/other": ["read"]}, also=ASKING)
    assert code == 4
    assert checks["permitted"]["state"] == "failed"
    assert "and 1 more" in checks["permitted"]["detail"]


def test_a_token_that_may_not_ask_says_so(doctor):
    """It is no fault: reads are allowed by other policies than asking."""
    code, checks = doctor({"data/database/*": ["read"]})
    assert code == 0
    assert checks["permitted"]["state"] == "ok"
    assert "not known" in checks["permitted"]["detail"]


def test_what_is_needed_is_known_within_a_block_alone():
    """A probe that nobody told has nothing to look at."""
    with require_paths(["a"]):
        with require_paths(["b"]):
            assert required_paths() == ("b",)
        assert required_paths() == ("a",)
    assert required_paths() == ()


# --- the certificate --------------------------------------------------------------------------------------------------


def certificate(begins, ends):
    """One for so long, in DER form."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begins).not_valid_after(ends)
    return builder.sign(key, hashes.SHA256()).public_bytes(encoding=serialization.Encoding.DER)


def life(before, left):
    """A certificate that began so long before now, and has so long left."""
    return {"https://vault:8200": certificate(NOW - before, NOW + left)}


@pytest.mark.parametrize(
    ("before", "left", "state"),
    [
        (timedelta(days=60), timedelta(days=30), CheckState.OK),
        (timedelta(days=350), timedelta(days=15), CheckState.OK),
        (timedelta(days=350), timedelta(days=13), CheckState.WARNING),
        (timedelta(hours=12), timedelta(hours=12), CheckState.OK),
        (timedelta(hours=21), timedelta(hours=3), CheckState.WARNING),
        (timedelta(days=90), -timedelta(hours=1), CheckState.WARNING),
    ],
)
def test_a_certificate_is_worth_a_warning_before_it_ends(before, left, state):
    """Two weeks, or a fifth of its life where that is less: one for a day is made anew every day."""
    check = check_certificates(life(before, left), NOW)
    assert check.state is state
    assert bool(check.hint) is (state is CheckState.WARNING)


def test_of_several_the_one_that_ends_first_counts():
    """And is named; what cannot be read hides no other."""
    far, near = NOW + timedelta(days=300), NOW + timedelta(days=2)
    found = {"a": certificate(NOW, far), "b": certificate(NOW - timedelta(days=300), near), "c": b"\x30"}
    check = check_certificates(found, NOW)
    assert check.state is CheckState.WARNING
    assert "of b" in check.detail
    assert check_certificates({"c": b"\x30"}, NOW).state is CheckState.OK


@pytest.mark.parametrize(("days", "state"), [(200, CheckState.OK), (2, CheckState.WARNING)])
def test_the_certificate_of_the_server_is_looked_at(start_server, answered, tmp_path, days, state):
    """The one that the connection was made with."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=days)).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = start_server(context)
    state_of_server = {"initialized": True, "sealed": False, "standby": False, "version": "1.0.0"}
    server.answers[:] = [answered(200, state_of_server), answered(200, {"data": {"ttl": 0}})]
    front = GuardedStore(open_engine(2, url=server.url, token="t", ca_cert=tmp_path / "ca.pem"), "vault")
    (check,) = (each for each in front.probe().checks if each.name == "certificate")
    front.close()
    assert check.state is state


def test_without_tls_there_is_no_certificate(openbao, kv2):
    """Nor a check of one."""
    front = GuardedStore(open_engine(2, url=openbao.url, token=openbao.token, mount=kv2), "vault")
    assert "certificate" not in {check.name for check in front.probe().checks}
    front.close()
