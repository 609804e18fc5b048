"""Command lines, exit codes and environment variables of the programs that have a profile.

Only `pass` is tested against the program itself. The other profiles follow the documentation of their programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Answer: TypeAlias = Literal["absent", "denied", "unavailable"]

SYSEXITS: Mapping[int, Answer] = {66: "absent", 69: "unavailable", 75: "unavailable", 77: "denied"}
"""Exit codes of `sysexits.h`: EX_NOINPUT, EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Everything that a command store knows of its program.

    An argument `<path>` is replaced by the secret's path, and `<location>` by the option. No other text is replaced: a
    path inside a script would be a part of the script.

    Attributes:
        program: its name.
        read: writes the secret to standard output.
        list: writes the paths of all secrets, one for each line, or separated by NUL.
        write: reads the secret from standard input, and replaces it.
        create: as `write`, for a secret that does not exist; if the program has another command for that.
        delete: deletes the secret.
        exit_codes: what an exit code other than 0 means. If no code means "absent", the listing decides.
        name_field: the output of `list` is a JSON array, and this field of each object is a path.
        value_field: the output of `read` is such an array too, and this field is the secret.
        names: the regular expression of the paths that the program allows; empty if it allows all.
        variables: environment variables that the program inherits.
        credentials: those which hold credentials. `strongroom run` withholds them from its command.
        location: what the option `location` is, if the program needs it.
    """

    program: str
    read: tuple[str, ...]
    list: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    exit_codes: Mapping[int, Answer] = field(default_factory=dict)
    name_field: str = ""
    value_field: str = ""
    names: str = ""
    variables: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    location: str = ""

    @property
    def lists_absence(self) -> bool:
        """Whether the listing decides that a secret is absent, since no exit code does."""
        return bool(self.list) and not self.value_field and "absent" not in self.exit_codes.values()


_AGENT = ("GNUPGHOME", "GPG_TTY", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
"""Variables by which gpg finds its keys and its agent."""

# `pass` ends with 1 for each of its failures, and prints a folder as a tree, with exit code 0. So the script looks
# at the file first. A folder that may not be searched hides the file, which is a denial.
_ROOT = """
if [ -n "$2" ]; then export PASSWORD_STORE_DIR="$2"; fi
root=${PASSWORD_STORE_DIR:-$HOME/.password-store}
[ -f "$root/.gpg-id" ] || exit 69
"""
_EXISTS = """
if [ ! -f "$root/$1.gpg" ]; then
  folder=$root/$1
  while [ "$folder" != "$root" ]; do
    folder=${folder%/*}
    [ ! -d "$folder" ] || [ -x "$folder" ] || exit 77
  done
  exit 66
fi
"""
_EACH_NAME = """
cd "$root" && exec find -L . -name .git -prune -o -type f -name '*.gpg' -exec sh -c '
for file; do file=${file#./}; printf "%s\\0" "${file%.gpg}"; done' sh {} +
"""


def _pass(script: str) -> tuple[str, ...]:
    return ("sh", "-c", _ROOT + script, "sh", "<path>", "<location>")


PROFILES: Mapping[str, Profile] = {
    "pass": Profile(
        program="pass",
        read=_pass(_EXISTS + 'exec pass show -- "$1"'),
        list=_pass(_EACH_NAME),
        write=_pass('exec pass insert --multiline --force -- "$1"'),
        delete=_pass(_EXISTS + 'exec pass rm --force -- "$1"'),
        exit_codes={**SYSEXITS, 2: "denied"},  # gpg cannot decrypt: it has no secret key, or the key is locked
        variables=(*_AGENT, "PASSWORD_STORE_DIR", "PASSWORD_STORE_KEY", "PASSWORD_STORE_GPG_OPTS", "SSH_AUTH_SOCK"),
    ),
    "gopass": Profile(
        program="gopass",
        read=("gopass", "show", "--noparsing", "--nosync", "--", "<path>"),
        list=("gopass", "ls", "--flat"),
        write=("gopass", "insert", "--multiline", "--force", "--", "<path>"),
        delete=("gopass", "rm", "--force", "--", "<path>"),
        # https://github.com/gopasspw/gopass/blob/master/internal/action/exit/errors.go
        exit_codes={6: "unavailable", 7: "unavailable", 8: "unavailable", 10: "absent", 11: "denied", 12: "denied"},
        variables=(*_AGENT, "GOPASS_HOMEDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "SSH_AUTH_SOCK"),
        credentials=("GOPASS_AGE_PASSWORD",),
    ),
    "op": Profile(  # a document holds any text exactly; an item has fields of fixed kinds
        program="op",
        read=("op", "document", "get", "<path>", "--vault", "<location>"),
        list=("op", "document", "list", "--vault", "<location>", "--format", "json"),
        write=("op", "document", "edit", "<path>", "-", "--vault", "<location>"),
        create=("op", "document", "create", "-", "--title", "<path>", "--vault", "<location>"),
        delete=("op", "document", "delete", "<path>", "--vault", "<location>"),
        name_field="title",
        variables=("OP_ACCOUNT", "OP_CONNECT_HOST", "OP_CONFIG_DIR", "XDG_CONFIG_HOME"),
        credentials=("OP_SERVICE_ACCOUNT_TOKEN", "OP_CONNECT_TOKEN"),
        location="the vault",
    ),
    "bw": Profile(  # `bw get` searches, and may return another item: so the name is compared
        program="bw",
        read=("bw", "list", "items", "--search", "<path>", "--nointeraction"),
        list=("bw", "list", "items", "--nointeraction"),
        name_field="name",
        value_field="notes",
        variables=("BITWARDENCLI_APPDATA_DIR", "XDG_CONFIG_HOME", "NODE_EXTRA_CA_CERTS"),
        credentials=("BW_SESSION",),
    ),
    "doppler": Profile(
        program="doppler",
        read=("doppler", "secrets", "get", "<path>", "--plain", "--config", "<location>"),
        list=("doppler", "secrets", "--only-names", "--json", "--config", "<location>"),
        write=("doppler", "secrets", "set", "<path>", "--no-interactive", "--silent", "--config", "<location>"),
        delete=("doppler", "secrets", "delete", "<path>", "--yes", "--silent", "--config", "<location>"),
        name_field="*",
        names="[A-Z_][A-Z0-9_]*",
        variables=("DOPPLER_PROJECT", "DOPPLER_API_HOST", "DOPPLER_CONFIG_DIR"),
        credentials=("DOPPLER_TOKEN",),
        location="the config",
    ),
    "infisical": Profile(  # `infisical secrets get` ends with 0 for an absent secret; `set` takes values in arguments
        program="infisical",
        read=("infisical", "export", "--format=json", "--silent", "--env", "<location>"),
        list=("infisical", "export", "--format=json", "--silent", "--env", "<location>"),
        name_field="key",
        value_field="value",
        variables=("INFISICAL_API_URL", "INFISICAL_DOMAIN", "INFISICAL_PROJECT_ID"),
        credentials=("INFISICAL_TOKEN",),
        location="the environment",
    ),
}
"""Profiles by the name of their program. The option `profile` names one."""
