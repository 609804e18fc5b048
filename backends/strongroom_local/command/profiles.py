"""Command lines, exit codes and environment variables of the programs that have a profile.

Only `pass` is tested against the program itself. The other profiles follow the documentation of their programs.
"""

from __future__ import annotations

import shlex
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
        found_by: further fields of such an object by which the program finds a secret, such as its id.
        ignores_case: the program finds a secret by a path in upper or lower case.
        withheld: placeholders that the program shows for contents and names, and the answer that each means.
        fails_empty: a listing without a secret may be a failure, since the program shows it so.
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
    found_by: tuple[str, ...] = ()
    ignores_case: bool = False
    withheld: Mapping[str, Answer] = field(default_factory=dict)
    fails_empty: bool = False
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


# The other programs end with 1 for each of their failures, and print the reason on standard error. Only the exit code
# leaves this script, since the reason may hold a value.
_HEARD = """
{ error=$("$@" 2>&1 >&3 3>&-); } 3>&1
code=$?
case $error in
%s
esac
exit $code
"""
_SAID: Mapping[int, Answer] = {77: "denied", 69: "unavailable"}
_CODES = {answer: code for code, answer in _SAID.items()}


def _heard(words: Mapping[str, Answer], *command: str) -> tuple[str, ...]:
    """Return a command line that ends with the exit code of the first of these words that the program says."""
    cases = "\n".join(f"*{shlex.quote(text)}*) exit {_CODES[answer]} ;;" for text, answer in words.items())
    return ("sh", "-c", _HEARD % cases, "sh", *command)


_OP: Mapping[str, Answer] = {
    # "[ERROR] 2025/01/04 14:41:14 (401) Unauthorized: You aren't authorized to perform this action." and the same with
    # (403) Forbidden, as users of the 1Password CLI 2 report them. A rate limit is "(429) Too Many Requests: You've
    # reached the maximum number of this type of requests": https://github.com/zcutlip/pyonepassword/issues/137
    "(401) Unauthorized": "denied",
    "(403) Forbidden": "denied",
}
_BW: Mapping[str, Answer] = {
    # An item that fails to decrypt is left out of a listing, and logged:
    # https://github.com/bitwarden/clients/blob/main/libs/common/src/vault/services/cipher.service.ts
    "decrypt": "unavailable",
}
_DOPPLER: Mapping[str, Answer] = {
    # "Doppler Error: " and the messages of the API: https://github.com/DopplerHQ/cli/blob/master/pkg/http/http.go
    # A revoked token: https://github.com/DopplerHQ/vscode/issues/31 (of the same API). A token of another config or
    # project, and the same for one that does not exist: "This token does not have access to requested config 'x'".
    "Invalid Auth token": "denied",
    "Invalid Service token": "denied",
    "This token does not have access to": "denied",
}
_INFISICAL: Mapping[str, Answer] = {
    # "… Unsuccessful response [GET URL] [status-code=403] …", and a warning with exit code 0, when it shows a copy:
    # https://github.com/Infisical/cli/blob/main/packages/api/errors.go and packages/util/secrets.go
    "[status-code=401]": "denied",
    "[status-code=403]": "denied",
    "serving secrets from last successful fetch": "unavailable",
}


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
        # by "its name or ID": https://developer.1password.com/docs/cli/reference/management-commands/document/
        read=_heard(_OP, "op", "document", "get", "<path>", "--vault", "<location>"),
        list=_heard(_OP, "op", "document", "list", "--vault", "<location>", "--format", "json"),
        write=_heard(_OP, "op", "document", "edit", "<path>", "-", "--vault", "<location>"),
        create=_heard(_OP, "op", "document", "create", "-", "--title", "<path>", "--vault", "<location>"),
        delete=_heard(_OP, "op", "document", "delete", "<path>", "--vault", "<location>"),
        exit_codes=_SAID,
        name_field="title",
        found_by=("id",),
        ignores_case=True,
        variables=("OP_ACCOUNT", "OP_CONNECT_HOST", "OP_CONFIG_DIR", "XDG_CONFIG_HOME"),
        credentials=("OP_SERVICE_ACCOUNT_TOKEN", "OP_CONNECT_TOKEN"),
        location="the vault",
    ),
    "bw": Profile(  # `bw get` searches, and may return another item: so the name is compared
        program="bw",
        read=("bw", "list", "items", "--search", "<path>", "--nointeraction"),
        list=_heard(_BW, "bw", "list", "items", "--nointeraction"),
        exit_codes=_SAID,
        name_field="name",
        value_field="notes",
        withheld={"[error: cannot decrypt]": "unavailable"},  # cipher.service.spec.ts, beside the file above
        fails_empty=True,  # `getAllDecryptedUsingSdk` in that file returns no items if it fails
        variables=("BITWARDENCLI_APPDATA_DIR", "XDG_CONFIG_HOME", "NODE_EXTRA_CA_CERTS"),
        credentials=("BW_SESSION",),
    ),
    "doppler": Profile(
        program="doppler",
        read=_heard(_DOPPLER, "doppler", "secrets", "get", "<path>", "--plain", "--config", "<location>"),
        list=_heard(_DOPPLER, "doppler", "secrets", "--only-names", "--json", "--config", "<location>"),
        write=_heard(
            _DOPPLER, *("doppler", "secrets", "set", "<path>", "--no-interactive", "--silent", "--config", "<location>")
        ),
        delete=_heard(
            _DOPPLER, *("doppler", "secrets", "delete", "<path>", "--yes", "--silent", "--config", "<location>")
        ),
        exit_codes=_SAID,
        name_field="*",
        names="[A-Z_][A-Z0-9_]*",
        variables=("DOPPLER_PROJECT", "DOPPLER_API_HOST", "DOPPLER_CONFIG_DIR"),
        credentials=("DOPPLER_TOKEN",),
        location="the config",
    ),
    "infisical": Profile(  # `infisical secrets get` ends with 0 for an absent secret; `set` takes values in arguments
        program="infisical",
        read=_heard(_INFISICAL, "infisical", "export", "--format=json", "--env", "<location>"),
        list=_heard(_INFISICAL, "infisical", "export", "--format=json", "--env", "<location>"),
        exit_codes=_SAID,
        name_field="key",
        value_field="value",
        # of a secret that this identity may list and not read: infisical.com/docs, "viewSecretValue"
        withheld={"<hidden-by-infisical>": "denied"},
        variables=("INFISICAL_API_URL", "INFISICAL_DOMAIN", "INFISICAL_PROJECT_ID"),
        credentials=("INFISICAL_TOKEN",),
        location="the environment",
    ),
}
"""Profiles by the name of their program. The option `profile` names one."""
