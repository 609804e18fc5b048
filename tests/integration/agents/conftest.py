"""An API behind TLS, and a chain whose configuration has a rule for it."""

from support.agent_fixtures import api, authority, context, manager, other, trust  # noqa: F401  # fixtures
