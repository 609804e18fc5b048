"""The variables of `run --env-file`: references become rows of `[secrets]`, other values stay as they are written.

A separate module, since `run` imports it with that option only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from strongroom._config import Config, SecretConfig
from strongroom._manager.references import SCHEME, references_in, whole
from strongroom.errors import ConfigurationError, InvalidPathError
from strongroom.files.bounded import read_text
from strongroom.formats.dotenv import MAX_SIZE, log_once, parse_dotenv
from strongroom.secret import SensitiveDict


class EnvFiles(NamedTuple):
    """The variables of some files; of duplicates, the last.

    Attributes:
        rows: variables whose value is one reference.
        texts: the other variables: text, in which there may be references.
    """

    rows: Mapping[str, SecretConfig]
    texts: SensitiveDict

    def laid_over(self, config: Config) -> Config:
        """Return the configuration with these rows in the place of its rows of the same name."""
        kept = {variable: row for variable, row in config.secrets.items() if variable not in self.texts}
        return replace(config, secrets={**kept, **self.rows})


def read_env_files(files: Sequence[Path]) -> EnvFiles:
    """Read the files, later ones over earlier ones.

    Raises:
        ConfigurationError: a file cannot be read, or a reference is malformed. Names the variable, and shows no value.
    """
    rows: dict[str, SecretConfig] = {}
    texts = SensitiveDict()
    for file in files:
        for variable, text in _values(file).items():
            if not isinstance(text, str):
                continue  # a name without a value
            reference = _reference(file, variable, text)
            rows.pop(variable, None)
            texts.pop(variable, None)
            if reference is None:
                texts[variable] = text
            else:
                rows[variable] = SecretConfig(*reference, origin=f"{file}: {variable}")
    return EnvFiles(rows, texts)


def _values(file: Path) -> SensitiveDict:
    """Return the values, without a warning about the mode: a file of references may be read by everybody."""
    found = parse_dotenv(read_text(file, "--env-file", MAX_SIZE), file)
    for note in found.notes:
        log_once(file, note)
    return found.values


def _reference(file: Path, variable: str, text: str) -> tuple[str, str] | None:
    try:
        if (reference := whole(text)) is None and SCHEME in text:
            list(references_in(text))
    except InvalidPathError:
        pass
    else:
        return reference
    raise ConfigurationError(f"--env-file {file}: {variable}: {SCHEME} is not followed by PATH#KEY")
