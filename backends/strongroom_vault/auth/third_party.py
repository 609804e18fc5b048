"""Methods of other distributions: their faults and their time are contained, and their answers are checked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from strongroom.errors import StoreUnavailableError
from strongroom.extensions import Extension
from strongroom.secret import SensitiveDict, SensitiveStr, conceal
from strongroom.store import in_daemon, remaining
from strongroom_vault.auth import Auth, Grant, Send
from strongroom_vault.auth.token import is_token
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.messages import Reply


def contain(extension: Extension, options: Mapping[str, Any]) -> Auth:
    """Open a method of another distribution.

    Args:
        extension: the method.
        options: its options. They are kept to find their values in the text of an error.

    Raises:
        StrongroomError: an error of the method itself, such as a ConfigurationError.
        PluginError: a package that it needs is not installed.
        StoreError: it raised anything else, or returned an object without `login`.
    """
    given = SensitiveDict(options)  # a frame that is printed shows no value

    def build() -> Any:  # an object of another distribution
        method = extension.target(**given)
        if not callable(getattr(method, "login", None)):
            raise extension.wrong_answer(extension.name, method, "an object with login()")
        return method

    method = extension.call(build, given)
    static = getattr(method, "repeatable", True) is False  # a method that does not say so is asked again
    return (ContainedStaticAuth if static else ContainedAuth)(extension, method, given)


class ContainedAuth:
    """A method of another distribution, as an `Auth`."""

    repeatable: ClassVar[bool] = True

    def __init__(self, extension: Extension, method: Any, options: SensitiveDict) -> None:
        self._extension = extension
        self._method = method
        self._options = options

    def __repr__(self) -> str:
        return f"the authentication method {self._extension.name} of {self._extension.distribution}"

    def login(self, send: Send) -> Grant:
        """Return the method's grant, within `remaining()`.

        Raises:
            StrongroomError: the method's own error.
            StoreUnavailableError: it did not answer in time.
            StoreError: it raised anything else, or returned no grant with a token.
        """
        sent: list[object] = []

        def recorded(request: ApiRequest, **details: Any) -> Reply:
            sent.append(conceal(request.content))
            return send(request, **details)

        def log_in() -> Grant:
            grant = self._method.login(recorded)
            if not isinstance(grant, Grant):
                raise self._extension.wrong_answer("login", grant, "Grant")
            if not isinstance(grant.token, SensitiveStr) or not is_token(grant.token):
                raise self._extension.wrong_answer("login", grant, "Grant with a SensitiveStr that is a token")
            return grant

        # The session waits for nobody else's code longer than its caller has time.
        call = partial(self._extension.call, log_in, self._options, sent)
        future = in_daemon(call, f"login with {self._extension.name}")
        try:
            return future.result(remaining())
        except TimeoutError:
            pass
        raise StoreUnavailableError(reason=f"{self!r} did not answer in time")


class ContainedStaticAuth(ContainedAuth):
    """A method whose second login gives the same token."""

    repeatable: ClassVar[bool] = False
