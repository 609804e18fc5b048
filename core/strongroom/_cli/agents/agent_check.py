"""`strongroom agent check`."""

from __future__ import annotations

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.terminal import output
from strongroom._config import RuleConfig


@click.command("check")
@click.argument("method")
@click.argument("url")
@click.option("--only-rules", is_flag=True, help="Refuse every host that no rule names, as `agent run` does with it.")
@json_option()
@current
def check_command(invocation: Invocation, method: str, url: str, *, only_rules: bool, as_json: bool) -> None:
    """Say which rule allows a worker a request with METHOD to URL, and which secret is sent where.

    No store is asked, and no request is sent. The exit code is 4 if the request would be refused.

    Example: strongroom agent check POST https://api.openai.com/v1/responses
    """
    from strongroom.agents._rules.policy import verdict

    rules = tuple(invocation.load_trusted().agents.rules.values())
    try:
        found = verdict(rules, method, url, only_rules=only_rules)
    except ValueError:
        raise click.UsageError("URL must be one of https or http, such as https://api.example.com/v1/items") from None
    if as_json:
        allowing = [
            {
                "rule": rule.name,
                "secret": _secret(rule),
                "variables": rule.variables,
                "where": rule.where if rule.variable else (),
                "sign": rule.sign,
            }
            for rule in found.allowing
        ]
        denying = [{"rule": name, "reason": reason} for name, reason in found.denying]
        fields = {"allowed": not found.refusal, "reason": found.refusal, "read": found.is_read}
        output.write_document({**fields, "allowing": allowing, "denying": denying})
    elif found.is_read:
        lines = [f"allowed by {rule.name}: {_effect(rule)}" for rule in found.allowing]
        others = (f"no secret of {name}: {reason}" for name, reason in found.denying if reason != found.refusal)
        output.write_lines([*([f"refused: {found.refusal}"] if found.refusal else lines), *others])
    else:
        output.write_lines(["allowed: no rule names this host, so the request passes unread, without a secret"])
    click.get_current_context().exit(ExitCode.DENIED if found.refusal else ExitCode.DONE)


def _secret(rule: RuleConfig) -> str:
    return f"{rule.path}#{rule.key}" if rule.key else rule.path


def _effect(rule: RuleConfig) -> str:
    from strongroom.agents._rules.substitution import shown_places

    if not rule.path:
        return "sends no secret"
    if rule.sign:
        return f"signs the request with {_secret(rule)}"
    return f"sends {_secret(rule)} for the placeholder of {rule.variable} in {shown_places(rule.where)}"
