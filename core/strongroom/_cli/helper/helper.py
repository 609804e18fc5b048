"""`strongroom helper`, for click: its help, and the calls that `program.read_call` leaves to it."""

from __future__ import annotations

import click

from strongroom._cli.helper import program
from strongroom._cli.helper.chain import Source
from strongroom._cli.options import Invocation, complete, current

_PASTE = """\b
Claude Code   settings.json       "apiKeyHelper": "strongroom helper key PATH#KEY"
Codex         config.toml         auth = { command = "strongroom", args = ["helper", "key", "PATH#KEY"] }
AWS           ~/.aws/config       credential_process = strongroom helper aws PATH
kubectl       kubeconfig, exec    command: strongroom, args: [helper, kubectl, PATH#KEY]
OpenClaw      secrets.providers   "source": "exec", "command": "/PATH/TO/strongroom", "args": ["helper", "openclaw"],
                                  "passEnv": ["HOME", "PATH"]
git           git config          credential.https://HOST.helper strongroom
docker        config.json         "credHelpers": { "HOST": "strongroom" }
pip, uv       environment         PYTHON_KEYRING_BACKEND=strongroom.integrations.keyring.StrongroomKeyring
npm           shell               NPM_TOKEN=$(strongroom helper key PATH#KEY)
"""


@click.group("helper", epilog=_PASTE)
def helper_command() -> None:
    """Give a credential to a program that asks a command for it.

    For a program that names only a host, [helpers] of the configuration names the secret. The configuration is that of
    the user or of the machine, or the absolute path in --config or STRONGROOM_CONFIG: never ./strongroom.toml or
    ./.env. An outage or a denial is never answered as an absence.

    Example: strongroom helper key llm/anthropic#key
    """


_reference = click.argument("reference", metavar="PATH#KEY", shell_complete=complete("references"))
_operation = click.argument("operation")


@helper_command.command("key")
@_reference
@click.option("--json", "as_json", is_flag=True, help="Print the JSON object of an OAuth 2.0 token, with its end.")
@current
def key_command(invocation: Invocation, reference: str, *, as_json: bool) -> None:
    """Print a token alone.

    Claude Code takes it as `apiKeyHelper`, Codex as `auth.command`, and a shell as $(strongroom helper key PATH#KEY).

    Example: strongroom helper key llm/anthropic#key
    """
    _answer(invocation, "key", reference, as_json=as_json)


@helper_command.command("aws")
@click.argument("path", shell_complete=complete("paths"))
@current
def aws_command(invocation: Invocation, path: str) -> None:
    """Print AWS credentials, for `credential_process` of a profile.

    The secret has the keys access_key, secret_key and perhaps security_token, or those of AWS's own files.

    Example: strongroom helper aws aws/ci
    """
    _answer(invocation, "aws", path)


@helper_command.command("kubectl")
@click.argument("reference", metavar="PATH[#KEY]", shell_complete=complete("references"))
@current
def kubectl_command(invocation: Invocation, reference: str) -> None:
    """Print an ExecCredential: the token PATH#KEY, or the client certificate and private key at PATH.

    Example: strongroom helper kubectl clusters/prod#token
    """
    _answer(invocation, "kubectl", reference)


@helper_command.command("openclaw")
@current
def openclaw_command(invocation: Invocation) -> None:
    """Answer an exec provider of OpenClaw. Each id is a PATH#KEY.

    Example: strongroom helper openclaw < request.json
    """
    _answer(invocation, "openclaw")


@helper_command.command("git")
@_operation
@current
def git_command(invocation: Invocation, operation: str) -> None:
    r"""Answer git, which calls git-credential-strongroom. OPERATION is get, store or erase.

    The rows of [helpers] name the secrets. Nothing is stored. After git has found a password wrong, the cache on disk
    forgets it.

    Example: printf 'protocol=https\nhost=github.com\n' | strongroom helper git get
    """
    _answer(invocation, "git", operation)


@helper_command.command("docker")
@_operation
@current
def docker_command(invocation: Invocation, operation: str) -> None:
    """Answer docker, which calls docker-credential-strongroom. OPERATION is get, store, erase, list or version.

    The rows of [helpers] name the secrets. Nothing is stored or erased: `docker login` succeeds with the stored login
    alone.

    Example: echo registry.example:5000 | strongroom helper docker get
    """
    _answer(invocation, "docker", operation)


def _answer(invocation: Invocation, name: str, argument: str = "", *, as_json: bool = False) -> None:
    source = Source(invocation.config_file, invocation.environment)
    click.get_current_context().exit(program.run(program.Call(name, argument, as_json, source)))
