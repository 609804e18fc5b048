"""Configuration of programs beside the application: workers of agents, and those that ask a credential helper."""

from collections.abc import Mapping
from typing import NamedTuple

DEFAULT_PLACES = ("header:authorization",)
"""The places of the placeholder of a rule that names none."""


class RuleConfig(NamedTuple):
    """A rule of `[agents.rules]`: which requests of a worker carry a secret that the worker does not have.

    Attributes:
        name: the name of its table.
        path: the path of the secret; empty for a rule that allows requests without one.
        key: its key; empty for a rule that signs, which needs the whole secret.
        variable: the variable of the worker that holds the placeholder; empty for a rule without one.
        hosts: host names in lower case; `*.` before one stands for every name below it, and `:PORT` after one for a
            port other than that of the scheme.
        methods: the allowed methods; empty for every method.
        paths: patterns of allowed paths, in which `*` stands for any text; empty for every path.
        where: the places of a placeholder in a request: `header:NAME`, `query:NAME` or `body:FIELD`; `query` for the
            whole query.
        sign: `aws4` to sign each request with the keys of the secret, instead of replacing a placeholder.
    """

    name: str
    path: str
    key: str
    variable: str
    hosts: tuple[str, ...]
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    where: tuple[str, ...] = DEFAULT_PLACES
    sign: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that the worker gets."""
        return AWS_VARIABLES if self.sign else (self.variable,) if self.path else ()


AWS_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""The variables of a rule that signs requests to AWS."""


class CommandConfig(NamedTuple):
    """A command of `[agents.commands]`, which an agent may run as it stands.

    Attributes:
        name: the name of its table.
        command: the program and its arguments.
        description: its purpose, in a sentence for the agent.
        secrets: the path and key for each variable of the command.
    """

    name: str
    command: tuple[str, ...]
    description: str
    secrets: Mapping[str, tuple[str, str]]


class AgentsConfig(NamedTuple):
    """The table `[agents]`: rules and commands by name."""

    rules: Mapping[str, RuleConfig] = {}
    commands: Mapping[str, CommandConfig] = {}


class Place(NamedTuple):
    """The place of a service for which a program wants a credential.

    Attributes:
        scheme: such as `https`.
        host: the host's name or address, in lower case.
        port: its port, also if it is that of the scheme.
        path: the path without slashes around it, or the empty text.
    """

    scheme: str
    host: str
    port: int
    path: str = ""


class HelperConfig(NamedTuple):
    """One row of `[helpers]`: the credential for a service that a program names by its host.

    Attributes:
        name: its key in the table.
        place: the service.
        path: the path of the secret.
        key: the key of the password or token.
        username: the name of the user; None if the secret has it, under the key `username`.
        origin: the place of the row, for messages.
        found_file: as in `Setting`. Helpers do not read such a file.
    """

    name: str
    place: Place
    path: str
    key: str = "password"
    username: str | None = None
    origin: str = ""
    found_file: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the secret that a helper reads."""
        return (self.key,) if self.username is not None else ("username", self.key)
