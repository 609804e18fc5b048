"""The contract of authentication methods: each broken method fails the test that is about its fault."""

import textwrap

import pytest

from strongroom.errors import StrongroomError
from strongroom.testing import CANARY
from strongroom_vault.auth.methods import GROUP, read_auth
from strongroom_vault.testing import AuthContract
from support.search_path import search_path

__all__ = ["search_path"]

pytestmark = pytest.mark.vault

METHOD = """
    from strongroom.errors import StoreUnavailableError
    from strongroom.secret import SensitiveStr
    from strongroom_vault.auth import Grant
    from strongroom_vault.auth.login import log_in
    from strongroom_vault.errors import VaultAuthenticationError
    from strongroom_vault.http.hvac_adapter import ApiRequest
    from strongroom_vault.responses import document

    class Method:
        repeatable = True

        def __init__(self, *, password: str, namespace: str | None = None, mount: str = "corp") -> None:
            self.password, self.namespace, self.mount, self.logins = password, namespace, mount, 0

        def request(self, target=None):
            return ApiRequest("POST", target or f"/v1/auth/{self.mount}/login", {"password": self.password})

        def sound(self, send, namespace=..., target=None):
            namespace = self.namespace if namespace is ... else namespace
            return log_in(send, self.request(target), mount=self.mount, namespace=namespace,
                          credentials="the password", hint="Check it")

        def login(self, send):
"""
SOUND = "return self.sound(send)"

TESTS = {
    "token": lambda contract, auth, _: contract.test_login_returns_the_token_of_the_reply(auth),
    "again": lambda contract, auth, _: contract.test_second_login_reads_the_credential_anew(auth),
    "shown": lambda contract, auth, options: contract.test_credential_is_in_no_representation(auth, options),
    "refused": lambda contract, auth, _: contract.test_refused_login_is_an_authentication_error(auth, 400),
    "mount": lambda contract, auth, _: contract.test_missing_mount_is_a_configuration_error(auth),
    "server": lambda contract, auth, _: contract.test_failing_server_is_an_outage(auth, 503),
    "outage": lambda contract, auth, _: contract.test_outage_passes_through(auth),
    "malformed": lambda contract, auth, _: contract.test_malformed_reply_is_no_grant(auth, b"not JSON"),
    "namespace": lambda contract, _, options: contract.test_namespace_is_that_of_the_option(options),
    "mounted": lambda contract, _, options: contract.test_mount_is_that_of_the_option(options),
    "unknown": lambda contract, _, options: contract.test_unknown_option_is_refused(options),
    "threads": lambda contract, auth, _: contract.test_logins_may_run_in_several_threads(auth),
}

BROKEN = {
    "a plain token": ("token", "self.sound(send); return Grant('hvs.plain', 3600)"),
    "no life of the token": ("token", "return Grant(self.sound(send).token)"),
    "another token": ("token", "self.sound(send); return Grant(SensitiveStr('hvs.other'), 3600)"),
    "a request elsewhere": ("token", "return self.sound(send, target='/v1/sys/login')"),
    "nothing": ("token", "self.sound(send)"),
    "one login only": ("again", "self.logins += 1; return self.sound(send) if self.logins == 1 else 1 / 0"),
    "a denial as an outage": (
        "refused",
        "reply = send(self.request())\nif reply.status == 400: raise StoreUnavailableError(reason='no')",
    ),
    "the password in a message": (
        "refused",
        (
            "try: return self.sound(send)\n"
            "except VaultAuthenticationError: raise VaultAuthenticationError(reason=f'not {self.password}') from None"
        ),
    ),
    "the server's message": (
        "server",
        "reply = send(self.request())\nraise StoreUnavailableError(reason=reply.body.decode())",
    ),
    "a missing mount as a denial": ("mount", "send(self.request()); raise VaultAuthenticationError()"),
    "an outage as a denial": (
        "outage",
        "try: return self.sound(send)\nexcept StoreUnavailableError: raise VaultAuthenticationError() from None",
    ),
    "an error of the server as a grant": ("server", "send(self.request()); return Grant(SensitiveStr('hvs.x'))"),
    "a reply that is trusted": (
        "malformed",
        "reply = document(send(self.request()))\nreturn Grant(SensitiveStr(reply['auth']['client_token']))",
    ),
    "no namespace": ("namespace", "return self.sound(send, namespace=None)"),
    "no mount": ("mounted", "return self.sound(send, target='/v1/auth/corp/login')"),
    "an exit": ("threads", "raise SystemExit(0)"),
}


class Contract(AuthContract):
    """The methods of the contract, called one by one. It is not collected: its name does not begin with Test."""

    plugin = "corp"


@pytest.fixture
def fails(search_path):
    """A function: the tests of the contract that a method with this body of `login` fails."""

    def run(body: str) -> set[str]:
        source = textwrap.dedent(METHOD) + textwrap.indent(body, " " * 8) + "\n"
        search_path.install("corp-auth", {"corp": "corp_auth:Method"}, modules={"corp_auth": source}, group=GROUP)
        options, found = {"password": f"{CANARY}-password"}, set()
        for name, test in TESTS.items():
            try:
                test(Contract(), read_auth({"method": "corp", **options}), options)
            except (AssertionError, pytest.fail.Exception, StrongroomError):
                found.add(name)
        return found

    return run


def test_sound_method_passes(fails):
    """Every test."""
    assert fails(SOUND) == set()


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_method_fails_the_test_that_is_about_its_fault(fails, fault):
    """Other tests may fail with it."""
    name, body = BROKEN[fault]
    assert name in fails(body)
