"""The chain behind a helper: its configuration and its reads.

The program that asks runs in any folder. So the configuration is that of the user, of the machine, or the one that is
named with an absolute path: never `./strongroom.toml` and `./.env`, be they trusted or not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from strongroom._cli.terminal import streams
from strongroom._config import discovery
from strongroom.errors import ConfigurationError, StrongroomError, shown
from strongroom.store.process import ACTIVE_HELPERS

if TYPE_CHECKING:
    from strongroom._chain.answer import Resolution
    from strongroom._config import Config, HelperConfig
    from strongroom._manager import SecretsManager


class Source(NamedTuple):
    """The options that choose the configuration: `--config` and `--environment`."""

    config_file: Path | None = None
    environment: str | None = None


class HelperChain:
    """The chain that answers one call.

    Args:
        source: the options of the command line.
        cached: the cache on disk may answer. A program without `erase` asks again after its key was rejected, and the
            cache would answer with that key. So for such a program it answers in an outage only.
    """

    def __init__(self, source: Source, *, cached: bool) -> None:
        config = discovery.load(config_file=source.config_file, environment=source.environment, use_found=False)
        self._config: Config = replace(config.for_one_read(), cached_in_outages=not cached)
        self._source = source

    def row(self, service: str, username: str | None = None) -> HelperConfig | None:
        """Return the row of `[helpers]` for a host or URL: see `find_row`. No store is opened for this."""
        from strongroom._config.helpers_table import find_row

        return find_row(self._config.helpers, service, username)

    def read(self, path: str, key: str | None = None) -> Resolution:
        """Return one key, or the whole secret.

        Raises:
            StrongroomError: see `SecretsManager.resolve`.
        """
        with self._opened(path) as secrets:
            found = secrets.resolve(path, key, allow_dynamic="lasting")
        _warn_of_outages([found])
        return found

    def read_each(
        self, places: Sequence[tuple[str, str]], name: str
    ) -> Mapping[tuple[str, str], Resolution | StrongroomError]:
        """Return the answer for each path and key. The keys of one path come from one reading.

        Args:
            places: path and key of each.
            name: a name for the read, see `_opened`.
        """
        from strongroom._manager.manager import resolve_keys

        with self._opened(name) as secrets:
            outcomes = resolve_keys(secrets, places, allow_dynamic="lasting")
        _warn_of_outages(found for found in outcomes.values() if not isinstance(found, StrongroomError))
        return outcomes

    def login(self, row: HelperConfig) -> list[Resolution]:
        """Return the answer for each of `row.keys`.

        Raises:
            StrongroomError: one could not be read.
        """
        found: list[Resolution] = []
        for outcome in self.read_each([(row.path, key) for key in row.keys], row.path).values():
            if isinstance(outcome, StrongroomError):
                raise outcome
            found.append(outcome)
        return found

    def forget(self, path: str) -> None:
        """Drop a path from the cache on disk, if there is one."""
        if self._config.cache.disk:
            from strongroom._manager import SecretsManager

            with SecretsManager.from_config(self._config) as secrets:
                secrets.invalidate(path)

    @contextmanager
    def _opened(self, name: str) -> Iterator[SecretsManager]:
        """Open the chain, and announce the read to the programs that its stores start meanwhile.

        A profile of AWS whose `credential_process` is a helper with a store that uses the profile would start helpers
        without end. Each has its own session, so the end of an outer one does not end the inner ones. The announcement
        is an environment variable, which a program loses that clears its environment.

        Args:
            name: the path of the secret, or another name of the read.

        Raises:
            ConfigurationError: such a program has started this helper for the same read.
        """
        from strongroom._manager import SecretsManager  # a host without a row needs none

        before = os.environ.get(ACTIVE_HELPERS, "")
        read = ascii((name, *map(str, self._source)))  # ASCII, and without line ends
        if read in before.split("\n"):
            raise ConfigurationError(
                f"The helper for {shown(name)} calls itself: a store of its chain runs it. Let that store get its "
                "credential elsewhere, such as from a profile of AWS whose credential_process is not this helper"
            )
        os.environ[ACTIVE_HELPERS] = f"{before}\n{read}"
        try:
            with SecretsManager.from_config(self._config) as secrets:
                yield secrets
        finally:
            os.environ[ACTIVE_HELPERS] = before


def _warn_of_outages(answers: Iterable[Resolution]) -> None:
    """Print one warning for each path whose store is unavailable, so that its cache answered."""
    for found in {found.path: found for found in answers if found.stale}.values():
        age = f"the value is {found.age:.0f} s old, from the cache: store {found.store} is unavailable"
        streams.say(f"{shown(found.path)}: {age}", label="warning")
