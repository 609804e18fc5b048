"""A manager with one secret, and with rules for an agent that must not see it."""

from __future__ import annotations

from strongroom import SecretsManager

PATH = "api-keys/openai"
VALUE = 'sk-canary/"7f3a+91&=0123456789'
"""The value, which JSON, a URL and HTML escape."""


def manager_with_rule(*hosts, value=VALUE, commands=None, **rule):
    """A manager of a store in memory, with the rule `openai` for these hosts, which may use X-Key too."""
    about = {"secret": f"{PATH}#key", "variable": "OPENAI_API_KEY", "hosts": list(hosts)}
    about |= {"where": ["header:authorization", "header:x-api-key", "header:x-key"]} | rule
    return SecretsManager.from_config(
        {
            "chain": ["memory"],
            "stores": {"memory": {"secrets": {PATH: {"key": value}}}},
            "agents": {"rules": {"openai": about} if hosts else {}, "commands": commands or {}},
        }
    )
