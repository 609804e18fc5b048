"""The contract of an authentication method, as a class of tests. It needs pytest, and no server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from strongroom.errors import AuthenticationError, ConfigurationError, StoreUnavailableError, StrongroomError
from strongroom.secret import REDACTED, SensitiveStr
from strongroom.store import in_daemon
from strongroom.testing import CANARY, PluginContract
from strongroom_vault.auth import Auth, Grant
from strongroom_vault.auth.methods import GROUP, read_auth
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.messages import Reply

_TOKEN = f"hvs.{CANARY}"
_GRANTED = {"auth": {"client_token": _TOKEN, "lease_duration": 3600, "renewable": True, "token_type": "service"}}
_MALFORMED = (b"", b"not JSON", b"[]", b"null", b"{}", b'{"auth": null}', b'{"auth": {"client_token": 5}}')


class ScriptedSend:
    """Stands in for a server: it answers each login as told, and keeps the requests. See `strongroom_vault.auth.Send`.

    Args:
        status: the status of each reply.
        body: the body of each reply; text or bytes that no server would send are allowed.
        outage: raise this instead of an answer.
    """

    def __init__(self, status: int = 200, body: Any = _GRANTED, outage: StoreUnavailableError | None = None) -> None:
        self._status = status
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._outage = outage
        self.requests: list[ApiRequest] = []
        self.namespaces: list[str | None] = []

    def __call__(
        self,
        request: ApiRequest,
        *,
        namespace: str | None = None,
        token: SensitiveStr | None = None,  # noqa: ARG002  # the protocol's signature
        idempotent: bool = False,  # noqa: ARG002  # the protocol's signature
    ) -> Reply:
        """Return the reply. A GET asks whether the method is mounted, and it is."""
        self.requests.append(request)
        self.namespaces.append(namespace)
        if self._outage is not None:
            raise self._outage
        if request.method == "GET":
            return Reply(405, {}, b"{}")
        return Reply(self._status, {}, self._body)


class AuthContract(PluginContract):
    """Check each sentence of `strongroom_vault.auth.Auth` that says *must*, without a server.

    Subclass it in a test module of the plugin's distribution, which must be installed. Put `CANARY` of
    `strongroom.testing` into each credential: no message, log record or `repr` may show it::

        class TestMyMethod(AuthContract):
            plugin = "ldap"

            @pytest.fixture
            def options(self, tmp_path):
                (tmp_path / "password").write_text(CANARY)
                return {"username": "app", "password_file": str(tmp_path / "password")}
    """

    group = GROUP

    # A method has no check, no version of the store protocol, and no types but text and paths.
    test_options_can_be_read = None  # type: ignore[assignment]  # pytest collects no None
    test_protocol_is_the_declared_one = None  # type: ignore[assignment]
    test_declared_options_exist = None  # type: ignore[assignment]
    test_check_takes_the_options_of_the_opener = None  # type: ignore[assignment]
    test_check_and_opener_refuse_the_same = None  # type: ignore[assignment]

    namespaced: ClassVar[bool] = True
    """Whether the method has the option `namespace`."""

    @pytest.fixture
    def options(self) -> Mapping[str, str]:  # type: ignore[override]  # a fixture, since options name files
        """Return the options of the table `auth`, without `method`."""
        pytest.fail("override the fixture `options`")

    @pytest.fixture
    def auth(self, options: Mapping[str, str]) -> Auth:
        """Return the method, read from a table as a store reads it."""
        return read_auth({"method": self.plugin, **options})

    def test_login_returns_the_token_of_the_reply(self, auth: Auth) -> None:
        """A login sends a request below `auth/`, and returns the token and its life."""
        send = ScriptedSend()
        grant = auth.login(send)
        assert isinstance(grant, Grant)
        assert isinstance(grant.token, SensitiveStr), "the token is not a SensitiveStr"
        assert str(grant.token) == _TOKEN, "the token is not that of the reply"
        assert grant.ttl == 3600
        assert any(request.target.startswith("/v1/auth/") for request in send.requests), "no request below /v1/auth/"

    def test_second_login_reads_the_credential_anew(self, auth: Auth) -> None:
        """A login can be repeated, unless the method says that it gives the same token."""
        send = ScriptedSend()
        assert isinstance(auth.repeatable, bool)
        first, second = auth.login(send), auth.login(send)
        assert first == second

    def test_credential_is_in_no_representation(self, auth: Auth, options: Mapping[str, str]) -> None:
        """Neither the method nor its grant shows a credential."""
        assert any(CANARY in str(value) for value in options.values()) or _files_hold_canary(options), (
            "no option, and no file that an option names, holds CANARY: the contract would find no leak"
        )
        assert CANARY not in f"{auth!r} {auth}"
        assert CANARY not in repr(auth.login(ScriptedSend()))

    @pytest.mark.parametrize("status", [400, 403])
    def test_refused_login_is_an_authentication_error(self, auth: Auth, status: int) -> None:
        """The server does not accept the credentials."""
        with _fails(AuthenticationError):
            auth.login(ScriptedSend(status, {"errors": [f"invalid {CANARY}"]}))

    def test_missing_mount_is_a_configuration_error(self, auth: Auth) -> None:
        """The server has no method at the mount."""
        with _fails(ConfigurationError):
            auth.login(ScriptedSend(404, {"errors": []}))

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_failing_server_is_an_outage(self, auth: Auth, status: int) -> None:
        """A later login may succeed."""
        with _fails(StoreUnavailableError):
            auth.login(ScriptedSend(status, {"errors": [CANARY]}))

    def test_outage_passes_through(self, auth: Auth) -> None:
        """What `send` raises is raised."""
        with _fails(StoreUnavailableError):
            auth.login(ScriptedSend(outage=StoreUnavailableError(reason="connection refused")))

    @pytest.mark.parametrize("body", _MALFORMED, ids=str)
    def test_malformed_reply_is_no_grant(self, auth: Auth, body: bytes) -> None:
        """A proxy may answer with 200 and anything. It is an outage, and no bug of the method."""
        with _fails(StoreUnavailableError):
            auth.login(ScriptedSend(200, body))

    def test_unknown_option_is_refused(self, options: Mapping[str, str]) -> None:
        """A misspelled option is an error that names it."""
        with _fails(ConfigurationError) as caught:
            read_auth({"method": self.plugin, **options, "no_such_option": "x"})
        assert "no_such_option" in str(caught.value)

    def test_namespace_is_that_of_the_option(self, options: Mapping[str, str]) -> None:
        """Without the option it is the store's, which `send` adds."""
        if not self.namespaced:
            pytest.skip("the method has no option `namespace`")
        for given, expected in (({}, None), ({"namespace": "team/"}, "team"), ({"namespace": "/"}, "")):
            send = ScriptedSend()
            read_auth({"method": self.plugin, **options, **given}).login(send)
            assert set(send.namespaces) == {expected}

    def test_mount_is_that_of_the_option(self, options: Mapping[str, str]) -> None:
        """A server may have the method at another mount path."""
        try:
            auth = read_auth({"method": self.plugin, **options, "mount": "else/where"})
        except ConfigurationError:
            pytest.skip("the method has no option `mount`")
        send = ScriptedSend()
        auth.login(send)
        assert all(request.target.startswith("/v1/auth/else/where/") for request in send.requests), "another mount"

    def test_logins_may_run_in_several_threads(self, auth: Auth) -> None:
        """Each returns its grant."""
        logins: list[Future[Grant]] = [in_daemon(lambda: auth.login(ScriptedSend()), "login") for _ in range(8)]
        assert {str(login.result(self.longest_test).token) for login in logins} == {_TOKEN}


def _files_hold_canary(options: Mapping[str, str]) -> bool:
    files = (Path(value) for value in options.values() if value.startswith("/"))
    return any(file.is_file() and CANARY in file.read_text("utf-8") for file in files)


@contextmanager
def _fails(kind: type[StrongroomError]) -> Iterator[pytest.ExceptionInfo[StrongroomError]]:
    """Assert that the block raises an error of this class, and that neither it nor its causes show a credential.

    A credential that Strongroom has replaced in the text is a fault too.
    """
    with pytest.raises(kind) as caught:
        yield caught
    assert REDACTED not in str(caught.value), f"{kind.__name__} shows a credential"
    seen: BaseException | None = caught.value
    while seen is not None:
        assert CANARY not in f"{seen} {seen!r} {vars(seen)!r}", f"{type(seen).__name__} shows a credential"
        seen = seen.__cause__ or seen.__context__
