"""Trust in configuration files that were found in the working directory rather than named by somebody.

Two rules apply to such a file. It must belong to this user or to root, must not be writable by others, and must not
be a link out of its folder (`ownership_fault`). And the command line uses its addresses, credentials and TLS settings
only after `strongroom trust` has recorded its content (`is_trusted`), as direnv and mise do. A record names the file
and the SHA-256 of its content, so that a changed file has to be trusted again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.bounded_file import read_bytes
from strongroom.errors import ConfigurationError

if TYPE_CHECKING:
    from strongroom.config import Config

# Compiled at first use: most commands never ask.
_DANGEROUS = (
    # shells, editors and pagers
    r"PATH|HOME|SHELL|IFS|ENV|BASH_.*|SHELLOPTS|BASHOPTS|PS4|PROMPT_COMMAND|ZDOTDIR|FPATH|CDPATH|TMPDIR|XDG_.*"
    r"|(.*_)?(EDITOR|VISUAL|PAGER|ASKPASS|BROWSER)|LESS.*|MORE|MAN(PAGER|OPT|ROFFOPT)"
    r"|(VIM|EX)INIT|(MY)?VIM(RC|RUNTIME)?|FZF_.*|HISTFILE|FCEDIT|INPUTRC|TERM(INFO.*|CAP)|SCREENRC|TMUX_.*|STARSHIP_.*|DIRENV_.*"
    # loaders and interpreters
    r"|LD_.*|DYLD_.*|GCONV_PATH|LOCPATH|GLIBC_TUNABLES|OPENSSL_.*|PYTHON.*|PERL.*|RUBY.*|GEM_.*|BUNDLE_.*|LUA_.*|R_(PROFILE|ENVIRON|HOME|LIBS).*|PHPRC"
    r"|PHP_INI_SCAN_DIR|NODE_(OPTIONS|PATH|EXTRA_CA_CERTS|TLS_.*|REPL_.*)|DENO_.*|BUN_.*|(.*_)?JAVA_(TOOL_)?OPT(ION)?S|JAVA_HOME|CLASSPATH|ERL_.*|ELIXIR_.*"
    r"|DOTNET_.*|CORECLR_.*|COR_.*|LIBPATH|SHLIB_PATH|NLSPATH|AWK(LIB)?PATH|GUILE_.*|TCL(LIBPATH|_.*)|PYENV_.*|RBENV_.*|ASDF_.*|NVM_.*|VOLTA_.*|MISE_.*"
    r"|GTK_.*|GIO_.*|GST_.*|QT_.*|MAGICK_.*|ELECTRON_.*|KRB5_.*|SASL_PATH|MALLOC_TRACE"
    # build tools and clients, which run what their configuration names
    r"|GIT_.*|SSH_.*|HGRCPATH|[CR]VS_RSH|RSYNC_.*|TAR_OPTIONS|MAKEFLAGS|MAKEFILES|CC|CXX|(MAVEN|GRADLE|SBT)_OPTS|GO(FLAGS|PROXY|ENV)"
    r"|CARGO_.*|RUST.*|PIP_.*|UV_.*|POETRY_.*|CONDA_.*|NPM_.*|YARN_.*|PNPM_.*|ANSIBLE_.*|TF_CLI_.*|GUNICORN_CMD_ARGS"
    r"|DOCKER_(HOST|CONFIG|CONTEXT|CERT_PATH|TLS.*)|KUBECONFIG|AWS_(CONFIG_FILE|CA_BUNDLE|(DEFAULT_)?PROFILE|DATA_PATH|ENDPOINT_URL.*)|PSQLRC|PGSYSCONFDIR|PGSERVICEFILE"
    r"|AWS_EC2_METADATA_.*|BOTO_CONFIG|CLOUDSDK_.*|AZURE_CONFIG_DIR|HELM_.*|KUBECTL_.*|NIX_.*|(SYSTEM_)?WGETRC|GNUPGHOME|PASSWORD_STORE_.*"
    r"|SOPS_AGE_KEY_CMD|COMPOSER_.*|MAVEN_ARGS|M2_HOME|ANT_.*|GRADLE_.*|MIX_.*|HEX_.*|MYSQL_HOME|GCC_EXEC_PREFIX|(COMPILER|LIBRARY)_PATH|(C|C_INCLUDE_|CPLUS_INCLUDE_)PATH|PKG_CONFIG.*"
    r"|PUPPETEER_EXECUTABLE_PATH|ESBUILD_BINARY_PATH"
    # proxies and authorities
    r"|(HTTPS?|ALL|NO|FTP)_PROXY|SSL.*|CURL_.*|REQUESTS_CA_BUNDLE|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS"
)

TRUSTED_PATHS = "STRONGROOM_TRUSTED_PATHS"
"""Folders, separated by colons, in which every found file is trusted: for containers and CI."""


_LARGEST_RECORD = 1 << 16
"""Bytes of a record: a digest and a path."""


class FoundFiles:
    """The rules for files that were found in the working directory, applied while they are read.

    Args:
        environ: the process's variables.
        require_trust: fill `untrusted`.

    Attributes:
        untrusted: the names, as messages show them, of files whose content was not recorded.
    """

    def __init__(self, environ: Mapping[str, str], *, require_trust: bool = False) -> None:
        self._environ = environ
        self._require_trust = require_trust
        self.untrusted: set[str] = set()

    def inspect(self, file: Path, shown: str) -> Callable[[os.stat_result, bytes], str]:
        """Return a function that takes the file's status and content, and returns why it must not be read."""

        def inspect(status: os.stat_result, content: bytes) -> str:
            if in_trusted_path(file, self._environ):
                return ""
            if self._require_trust and not is_trusted(file, content, self._environ):
                self.untrusted.add(shown)
            return ownership_fault(file, status)

        return inspect


def is_dangerous_name(variable: str) -> bool:
    """Return True if a program would run code, or trust a server, that the variable's value names."""
    return re.fullmatch(_DANGEROUS, variable, re.IGNORECASE) is not None


def require_trusted_origin(config: Config, setting: str, reason: str) -> None:
    """Raise ConfigurationError if a file that is not trusted gives the setting; `reason` names its effect."""
    origin = config.origins.get(setting, "")
    for file in config.untrusted:
        if origin.startswith(f"{file}:"):
            raise not_trusted(file, reason)


def not_trusted(file: str, reason: str) -> ConfigurationError:
    """Return the error of a found file that the command line must not use before `strongroom trust`."""
    return ConfigurationError(f"{file} is not trusted: {reason}. Review the file, then run: strongroom trust {file}")


def ownership_fault(file: Path, status: os.stat_result) -> str:
    """Return why a found file is not safe to read, or the empty string.

    Args:
        file: its path, as it was found.
        status: the status of the opened file, so that it cannot be replaced between the check and the read.
    """
    if fault := writer_fault(status):
        return fault
    real = Path(os.path.realpath(file))
    if real.parent != _folder(file):
        return "it is a symbolic link out of its folder"
    try:
        now = os.lstat(real)
    except OSError:
        now = None
    if now is None or not os.path.samestat(now, status):
        return "it was replaced while it was read"
    return ""


def writer_fault(status: os.stat_result, _: bytes = b"") -> str:
    """Return why others than the user and root may have written a file, or the empty string."""
    if status.st_uid not in {os.geteuid(), 0}:
        return f"it belongs to user {status.st_uid}, not to you or root"
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid)):
        return "others may write to it: run chmod go-w"
    return ""


def is_trusted(file: Path, content: bytes, environ: Mapping[str, str]) -> bool:
    """Return True if the folder is in STRONGROOM_TRUSTED_PATHS, or this content of the file was recorded."""
    return in_trusted_path(file, environ) or _recorded(file) == _digest(content)


def in_trusted_path(file: Path, environ: Mapping[str, str]) -> bool:
    """Return True if the file lies in or below a folder of STRONGROOM_TRUSTED_PATHS."""
    folder = _folder(file)
    trusted = (Path(path) for path in environ.get(TRUSTED_PATHS, "").split(os.pathsep))
    return any(path.is_absolute() and folder.is_relative_to(os.path.realpath(path)) for path in trusted)


def record_of(file: Path) -> Path:
    """Return the path of the file in which the trusted content of a configuration file is recorded."""
    import hashlib

    from platformdirs import user_state_path

    name = hashlib.sha256(os.fsencode(_absolute(file))).hexdigest()
    return user_state_path("strongroom") / "trusted" / name


def record_text(file: Path, content: bytes) -> bytes:
    """Return the record that makes this content of the file trusted: its digest, and the path for a reader."""
    return f"{_digest(content)}  ".encode() + os.fsencode(_absolute(file)) + b"\n"


def _recorded(file: Path) -> str:
    """Return the recorded digest. A record that somebody else could have written or placed does not count."""
    record = record_of(file)
    try:
        folder = os.lstat(record.parent)
        if not stat.S_ISDIR(folder.st_mode) or folder.st_uid != os.geteuid() or folder.st_mode & 0o077:
            return ""
        content, status = read_bytes(record, _LARGEST_RECORD, follow_links=False)
    except OSError:
        return ""
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        return ""
    return content.partition(b" ")[0].decode("ascii", "replace")


def _absolute(file: Path) -> Path:
    return _folder(file) / file.name


def _folder(file: Path) -> Path:
    # Not `Path.resolve`, which raises RuntimeError for links in a circle.
    return Path(os.path.realpath(file.parent))


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def _is_private_group(group: int) -> bool:
    """Return True for the group that many systems make for each user, so that a umask of 002 is harmless."""
    import grp
    import pwd

    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and set(entry.gr_mem) <= {user.pw_name}
