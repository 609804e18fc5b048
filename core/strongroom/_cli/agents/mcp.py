"""`strongroom mcp`."""

from __future__ import annotations

import os

import click

from strongroom._cli.options import Invocation, current
from strongroom._cli.process.shell_credentials import passed_to_agents
from strongroom._manager import SecretsManager
from strongroom.errors import ConfigurationError


@click.command("mcp")
@current
def mcp_command(invocation: Invocation) -> None:
    """Serve tools for an agent on stdin and stdout, with the Model Context Protocol.

    The tools list the names of secrets, describe one (its keys, their types, its age), send an HTTP request under
    [agents.rules], and run a command of [agents.commands]. No tool returns a value.

    This is a convenience, not a boundary, if the agent starts it: that agent runs as your user, and could read
    secrets itself. See `strongroom agent run --sandbox`.

    Example: claude mcp add strongroom -- strongroom mcp
    """
    config = invocation.load_trusted()
    try:
        from strongroom.agents import mcp
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
    else:
        with SecretsManager.from_config(config) as secrets:
            mcp.serve(secrets, passed_to_agents(os.environ, config))
        return
    raise ConfigurationError(f'strongroom mcp needs {missing}, which is not installed: pip install "strongroom[mcp]"')
