"""`strongroom trust`: record the content of files that were found in the working directory."""

from __future__ import annotations

from pathlib import Path

import click

from strongroom._cli.terminal import output
from strongroom._config.discovery import CONFIG_FILE_NAME, DOTENV_NAME, MAX_FILE_SIZE
from strongroom._config.trust import ownership_fault, record_of, record_text
from strongroom.errors import ConfigurationError
from strongroom.files import private
from strongroom.files.bounded import read_bytes


@click.command("trust")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--revoke", is_flag=True, help="Forget the recorded content.")
def trust_command(files: tuple[Path, ...], *, revoke: bool) -> None:
    """Trust FILES, or ./strongroom.toml and ./.env, with their present content.

    Whoever wrote the folder could otherwise send your secrets elsewhere. Before this command, commands that write,
    run, export, inject and rotate stop, and other commands use no address, credential or TLS setting of files in the
    working directory. A changed file has to be trusted again. Files named by --config or STRONGROOM_CONFIG, and
    folders in STRONGROOM_TRUSTED_PATHS, need no trust.

    Example: strongroom trust
    """
    named = files or tuple(path for path in (Path(CONFIG_FILE_NAME), Path(DOTENV_NAME)) if path.is_file())
    if not named:
        raise ConfigurationError(f"There is no ./{CONFIG_FILE_NAME} and no ./{DOTENV_NAME} here to trust")
    for file in named:
        if revoke:
            record_of(file).unlink(missing_ok=True)
        else:
            trust_file(file)
        output.say(f"{'revoked the trust in' if revoke else 'trusted'} {file}")


def trust_file(file: Path) -> None:
    """Record the present content of a file as trusted.

    Raises:
        ConfigurationError: the file cannot be read, belongs to another user, or can be written by others; or the record
            cannot be written.
    """
    with private.faults_as(ConfigurationError, file):
        content, status = read_bytes(file, MAX_FILE_SIZE)
    if len(content) > MAX_FILE_SIZE:
        raise ConfigurationError(f"{file}: it is larger than {MAX_FILE_SIZE:,} bytes")
    if fault := ownership_fault(file, status):
        raise ConfigurationError(f"{file}: {fault}")
    place = record_of(file)
    with private.faults_as(ConfigurationError, place.parent):
        private.replace(private.make_folder(place.parent) / place.name, record_text(file, content))
