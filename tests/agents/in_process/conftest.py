"""An API behind TLS, and a chain whose configuration has a rule for it. The tests need SDKs: `nox -s agents`."""

from importlib.util import find_spec

from support.agent_fixtures import api, authority, context, manager, other, trust  # noqa: F401  # fixtures

if not all(map(find_spec, ("anthropic", "langchain_openai", "mcp", "openai"))):
    collect_ignore_glob = ["*"]
