"""Discovery of the configuration: arguments, variables, strongroom.toml and `./.env`.

Without a named file the first of these counts, and no other is read: `./strongroom.toml`, strongroom/strongroom.toml in
the user's configuration folder, `/etc/strongroom.toml`.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from strongroom._config import DOTENV, Ambient, Config, Rank
from strongroom._config.document import parse_toml
from strongroom._config.file import FileConfig, no_file, read_file
from strongroom._config.precedence import Arguments, build
from strongroom._config.trust import FoundFiles, not_trusted, writer_fault
from strongroom._config.variables import PREFIX, Variables, read_variables
from strongroom.errors import ConfigurationError
from strongroom.files.bounded import read_text
from strongroom.secret import SensitiveDict, SensitiveStr

logger = logging.getLogger("strongroom.secrets_manager")

_GROUPS = ("strongroom.stores", "strongroom.importers", "strongroom.exporters")

CONFIG_FILE_NAME = "strongroom.toml"
SYSTEM_FILE = Path("/etc/strongroom.toml")
DOTENV_NAME = ".env"

MAX_FILE_SIZE = 1 << 20
"""The largest configuration file that is read, in bytes."""


def load(
    *,
    config_file: Path | None = None,
    document: Mapping[str, object] | None = None,
    environment: str | None = None,
    vault_url: str | Sequence[str] | None = None,
    vault_token: str | None = None,
    cache_ttl: float | None = None,
    disk_cache: bool | None = None,
    audit: str | os.PathLike[str] | Mapping[str, object] | None = None,
    enable_fallback: bool = True,
    chain: Sequence[str | Mapping[str, object]] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    require_trust: bool = False,
    use_found: bool = True,
) -> Config:
    """Load the configuration from all sources; the first source in this list counts.

    Args:
        config_file: the file to read, in the place of STRONGROOM_CONFIG and of a found one.
        document: the content of a file, which takes its place.
        environment: the environment to select in it.
        vault_url: the address of every store in the chain whose plugin is "vault".
        vault_token: its token; it takes the place of an `auth` table too.
        cache_ttl: how long a cached secret counts, in seconds.
        disk_cache: share answers with other processes through the cache on disk.
        audit: the file of the audit log, or the table `[audit]`.
        enable_fallback: False leaves the links out whose plugin is "env" or "dotenv".
        chain: the links, in the form that the file has; a table may also have the plugin and options of its store.
        environ: the process's variables; by default those of this process, as they are now.
        folder: the folder to look for strongroom.toml and .env in; by default the working directory.
        require_trust: apply the rules for untrusted files, see `trust`, and fill `Config.untrusted`. The command line
            requires it.
        use_found: False uses nothing of the working directory, for a tool that other programs start in any folder.

    Raises:
        ConfigurationError: names the source, and in a file the table and the key. It shows no value. Or an untrusted
            file would override the configuration of the user or of the machine. Or STRONGROOM_CONFIG names a file
            relative to a working directory that is not used.
    """
    # From here on no frame holds a credential in a type whose repr would show it.
    vault_token = None if vault_token is None else SensitiveStr(vault_token)
    process: dict[str, str] = {
        name: SensitiveStr(value) for name, value in (os.environ if environ is None else environ).items()
    }
    environ = None
    folder = Path() if folder is None else folder
    variables = read_variables(process)
    inspection = FoundFiles(process, require_trust=require_trust)
    if document is not None:
        selected = environment or variables.environment
        file, read = read_file(document, "the argument config", environment=selected), list[Path]()
        is_named = True
    else:
        place = _place(config_file, variables, folder, process, use_found=use_found)
        file, read = _file(environment, variables, place, inspection)
        is_named = place.kind == "named"
    ambient = [Ambient(process)]
    dotenv = [] if file.production or not use_found else _dotenv(folder / DOTENV_NAME, inspection)
    ignores_dotenv = not use_found or (is_named and bool(inspection.untrusted))
    if inspection.untrusted and is_named:
        inspection.untrusted.clear()
        logger.warning("./.env is ignored: it is not trusted. Review it, then run: strongroom trust ./.env")
    elif dotenv:
        ambient += dotenv
        read = [*read, folder / DOTENV_NAME]
    if inspection.untrusted and (installed := _installed(process)):
        raise not_trusted(inspection.untrusted, f"the settings of {installed[0]} would change")
    arguments = Arguments(
        vault_url, vault_token, cache_ttl, disk_cache, enable_fallback, chain, environment or None, audit
    )
    config = replace(
        build(arguments, variables, file, ambient, _plugins),
        untrusted=tuple(inspection.untrusted),
        files=tuple(map(_absolute, read)),
        folder=None if document is not None else _absolute(folder) if use_found else installed_files(process)[0].parent,
        ignored=None if use_found else _ignored(folder),
    )
    if ignores_dotenv:
        config = replace(config, chain=tuple(link for link in config.chain if not _reads_dotenv(config, link.store)))
    logger.debug("%s", config.sources)
    return config


def _ignored(folder: Path) -> Path | None:
    """Return the configuration of a folder that a tool which other programs start does not use, if there is one."""
    file = _absolute(folder / CONFIG_FILE_NAME)
    return file if os.path.lexists(file) else None


def _reads_dotenv(config: Config, store: str) -> bool:
    """Return True for a store that reads `./.env` because no other file was given."""
    about = config.store(store)
    return about.plugin == DOTENV and "file" not in about.options


def _plugins() -> set[str]:
    """Return the names of the installed stores, importers and exporters. None of them is loaded."""
    from importlib.metadata import entry_points

    points = entry_points()
    return {point.name for group in _GROUPS for point in points.select(group=group)}


def load_others(*, config_file: Path | None = None, environment: str | None = None) -> Iterator[Config]:
    """Yield the configuration for each environment that `load` would not select, from the file alone.

    Raises:
        ConfigurationError: the file is wrong.
    """
    variables = read_variables(os.environ)
    place = _place(config_file, variables, Path(), os.environ)
    path, source, found = place.path, place.source, place.kind == "found"
    document: Mapping[str, object] = _document(place, FoundFiles(os.environ)) if os.path.lexists(path) else {}
    selected = environment or variables.environment or document.get("environment")
    named = document.get("environments")
    for name in named if isinstance(named, Mapping) else ():
        if name != selected:
            file = read_file(document, source, environment=str(name), found=found, folder=path.parent.absolute())
            yield build(Arguments(), Variables(), file, ())


def config_environments(config_file: Path | None = None) -> tuple[str, ...]:
    """Return the names of the environments in the file; by default in that of STRONGROOM_CONFIG or `./strongroom.toml`.

    Raises:
        ConfigurationError: the file cannot be read, is not TOML, or is a found file that is not trusted.
    """
    place = _place(config_file, read_variables(os.environ), Path(), os.environ)
    inspection = FoundFiles(os.environ, require_trust=True)
    document = _document(place, inspection)
    if inspection.untrusted:
        raise not_trusted(inspection.untrusted, "none of its environments is used")
    table = document.get("environments")
    return tuple(map(str, table)) if isinstance(table, Mapping) else ()


def expand_config_file(name: str) -> Path:
    """Return the file that STRONGROOM_CONFIG names.

    Raises:
        ConfigurationError: it is below the home folder of an unknown user.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        pass
    raise ConfigurationError(f"The environment variable STRONGROOM_CONFIG: the home folder of {name} is not known")


def _file(
    environment: str | None, variables: Variables, place: "_Place", inspection: FoundFiles
) -> tuple[FileConfig, list[Path]]:
    """Return the settings of the file, and the file if there is one."""
    selected = environment or variables.environment
    # A dangling link is an error, not a missing file.
    if place.kind != "named" and not os.path.lexists(place.path):
        return no_file(place.source, environment=selected), []
    file = read_file(
        _document(place, inspection),
        place.source,
        environment=selected,
        found=place.kind == "found",
        folder=place.path.parent.absolute(),
    )
    return file, [place.path]


def _absolute(path: Path) -> Path:
    """Return the absolute path, or the same one if the working directory was removed."""
    try:
        return path.absolute()
    except OSError:
        return path


class _Place(NamedTuple):
    """A configuration file.

    Attributes:
        path: the file.
        source: its name, for messages.
        kind: how it was chosen: `named` by the user, `found` in the working directory, or `installed` in the
            configuration folder of the user or of the system.
    """

    path: Path
    source: str
    kind: Literal["named", "found", "installed"]


def installed_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the configuration file of the user, if the user has a home folder, and that of the system.

    Either may not exist. The user's lies below XDG_CONFIG_HOME, which is ~/.config by default. A relative one does not
    count, as the specification has it: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    named = Path(environ.get("XDG_CONFIG_HOME", ""))
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111  # Path.expanduser raises without a home
    folder = named if named.is_absolute() else home / ".config"
    users = [folder / "strongroom" / CONFIG_FILE_NAME] if folder.is_absolute() else []  # it has no home: "~" stays
    return (*users, SYSTEM_FILE)


def _place(
    config_file: Path | None,
    variables: Variables,
    folder: Path,
    environ: Mapping[str, str],
    *,
    use_found: bool = True,
) -> _Place:
    """Return the file that was named, or the first that exists: here, of the user, of the system.

    Raises:
        ConfigurationError: see `expand_config_file`; or the folder of a relative name is not used.
    """
    if named := config_file or (expand_config_file(variables.config) if variables.config else None):
        if not (use_found or named.is_absolute()):
            origin = "environment variable STRONGROOM_CONFIG" if config_file is None else "option --config"
            raise ConfigurationError(
                f"The {origin}: {named} is relative to any working directory. Set the absolute path"
            )
        return _Place(named, str(named), "named")
    here = _Place(folder / CONFIG_FILE_NAME, f"./{CONFIG_FILE_NAME}", "found")
    if not use_found:
        here = _Place(file := installed_files(environ)[0], str(file), "installed")
    elif os.path.lexists(here.path):
        return here
    return next((_Place(file, str(file), "installed") for file in _installed(environ)), here)


def _installed(environ: Mapping[str, str]) -> list[Path]:
    """Return those of `installed_files` that exist."""
    return [file for file in installed_files(environ) if os.path.lexists(file)]


def _document(place: _Place, inspection: FoundFiles) -> SensitiveDict:
    inspect = None
    if place.kind == "found":
        inspect = inspection.inspect(place.path, place.source)
    elif place.kind == "installed":
        inspect = writer_fault
    return parse_toml(read_text(place.path, "The configuration", MAX_FILE_SIZE, inspect=inspect), place.source)


def _dotenv(file: Path, inspection: FoundFiles) -> list[Ambient]:
    """Return the variables of `./.env`, if there is one."""
    if not os.path.lexists(file):
        return []
    from strongroom.formats.dotenv import read_dotenv  # most folders have no such file

    shown = f"./{DOTENV_NAME}"
    try:
        values = read_dotenv(file, inspect=inspection.inspect(file, shown)).values
    except (FileNotFoundError, IsADirectoryError):
        return []
    except OSError as error:
        raise ConfigurationError(f"{shown}: {error.strerror or 'it cannot be read'}") from None
    for name in values:
        if name.startswith(PREFIX):
            logger.warning("%s: %s is not read from there: set it in the process", shown, name)
    return [Ambient({name: value for name, value in values.items() if isinstance(value, str)}, Rank.DOTENV, shown)]
