"""The base class of both layouts of Parameter Store, and the text of a parameter for one value, without loss."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from strongroom.encoding import from_json, to_json
from strongroom.errors import ConflictError, InvalidDataError, PermissionDeniedError
from strongroom.formats.strict_json import read_json
from strongroom.paths import entries_below
from strongroom.secret import SensitiveStr, Value
from strongroom.store import Health
from strongroom.store.one_value import as_json, size_of
from strongroom_aws.errors import malformed
from strongroom_aws.limits import MAX_STANDARD, below, check_parameter_name
from strongroom_aws.service import Service, health, listed, pages

PAGE = 10
"""Parameters in one request that reads or deletes."""

_DESCRIBED = 50
_OWN_KEY = "alias/aws/ssm"
_WRAPPED = "strongroom:value"
_OPENING = f'{{"{_WRAPPED}":'
# A parameter refuses `{{`, a reference to another one, and may change control characters.
_NOT_PLAIN = re.compile(r"\{\{|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Parameter(NamedTuple):
    """A parameter with its value, decrypted if requested."""

    name: str
    value: str
    version: int
    modified: datetime | None


class Standing(NamedTuple):
    """The attributes of a parameter beside its value. A write keeps its key and tier; a migration carries none."""

    kms_key: str | None
    tier: str
    has_policies: bool
    is_secure: bool


class Parameters(ABC):
    """Secrets in Parameter Store.

    Args:
        service: reaches Systems Manager.
        prefix: the prefix of every path, `""` or `like/this`.
        kms_key: the key for writes; None keeps the key of the parameter, or uses `alias/aws/ssm`.
    """

    def __init__(self, service: Service, prefix: str, kms_key: str | None) -> None:
        self._service = service
        self._prefix = prefix
        self._kms_key = kms_key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._prefix!r})"

    @abstractmethod
    def walk(self, prefix: str) -> Iterator[str]:
        """Yield the path of every secret below `prefix`."""

    def list_entries(self, prefix: str) -> Iterator[str]:
        yield from entries_below(self.walk(prefix), prefix)

    def probe(self) -> Health:
        """Return whether Systems Manager answers, and the identity in AWS."""
        return health(self._service, "describe_parameters", "Parameter Store")

    def close(self) -> None:
        self._service.close()

    # --- for the layouts ----------------------------------------------------------------------------------------------

    def _name(self, path: str) -> str:
        return check_parameter_name(f"/{below(self._prefix, path)}", path)

    def _folder(self, prefix: str) -> str:
        """Return the name of a folder, with a slash at the end."""
        folder = below(self._prefix, prefix)
        return f"{check_parameter_name(f'/{folder}', prefix)}/" if folder else "/"

    def _in_folder(self, folder: str, path: str | None, *, deep: bool, decrypted: bool) -> Iterator[Parameter]:
        """Yield the parameters in a folder, ten a request."""
        asked = {"Path": folder.rstrip("/") or "/", "Recursive": deep, "WithDecryption": decrypted}
        for page in pages(self._service.call, "get_parameters_by_path", path, MaxResults=PAGE, **asked):
            for parameter in parameters_in(page, path):
                if parameter.name.startswith(folder):
                    yield parameter

    def _described(self, path: str, key: str, value: str) -> dict[str, Standing]:
        """Return the attributes of the parameters in a folder (`Path`) or of one (`Name`), by name.

        Only this request returns their KMS keys, and a write without a key would switch to the default key.
        """
        only = {"Key": key, "Values": [value], **({"Option": "OneLevel"} if key == "Path" else {})}
        found: dict[str, Standing] = {}
        for page in pages(
            self._service.call, "describe_parameters", path, MaxResults=_DESCRIBED, ParameterFilters=[only]
        ):
            for entry in listed(page, "Parameters", path):
                tier, policies = str(entry.get("Tier", "Standard")), bool(entry.get("Policies"))
                found[str(entry.get("Name"))] = Standing(
                    entry.get("KeyId"), tier, policies, entry.get("Type") == "SecureString"
                )
        return found

    def _standing(self, path: str, key: str, value: str) -> dict[str, Standing]:
        """Return `_described`; nothing if that is denied and a key is configured."""
        try:
            return self._described(path, key, value)
        except PermissionDeniedError as error:
            if self._kms_key is not None:
                return {}
            failure = error
        hint = (
            "Allow ssm:DescribeParameters, which returns the KMS key of a parameter, or set the option `kms_key`, for "
            "example to `alias/aws/ssm`"
        )
        raise failure.copy(hint=hint)

    def _cautions(self, path: str, key: str, value: str) -> list[str]:
        """Return the attributes that a copy would lack."""
        try:
            found = self._described(path, key, value).values()
        except PermissionDeniedError:
            return ["its KMS key and policies are unknown: DescribeParameters is denied"]
        cautions = []
        if any(standing.kms_key not in {None, "", _OWN_KEY} for standing in found):
            cautions.append("its KMS key is not carried")
        if any(standing.has_policies for standing in found):
            cautions.append("its parameter policies are not carried, and may let it expire")
        return cautions

    def _put(self, path: str, name: str, text: str, standing: Standing | None) -> int:
        """Write one parameter, always encrypted; return its version."""
        tier = "Advanced" if size_of(text) > MAX_STANDARD else standing.tier if standing else "Standard"
        asked: dict[str, Any] = {"Name": name, "Value": text, "Type": "SecureString", "Overwrite": True, "Tier": tier}
        key = self._kms_key or (standing.kms_key if standing else None)
        if key is not None:
            asked["KeyId"] = key
        answer = self._service.call("put_parameter", path, changes=True, **asked)
        version = answer.get("Version")
        if not isinstance(version, int):
            raise malformed(path)
        return version


def check_secure(name: str, standing: Standing | None, path: str) -> None:
    """Refuse to overwrite an unencrypted parameter, since AWS cannot change its type.

    Raises:
        ConflictError: it is a String or a StringList.
    """
    if standing is not None and not standing.is_secure:
        hint = "Delete it, and write it again"
        raise ConflictError(path, f"{name} is not a SecureString, and AWS cannot change its type", hint=hint)


def parameters_in(page: Mapping[str, Any], path: str | None) -> list[Parameter]:
    """Return the parameters in a reply.

    Raises:
        StoreUnavailableError: the reply is malformed.
    """
    return [parameter(entry, path) for entry in listed(page, "Parameters", path)]


def parameter(entry: object, path: str | None) -> Parameter:
    """Return one parameter from its entry in a reply.

    Raises:
        StoreUnavailableError: the entry is malformed.
    """
    if isinstance(entry, Mapping):
        name, value, version = entry.get("Name"), entry.get("Value"), entry.get("Version")
        modified = entry.get("LastModifiedDate")
        if isinstance(name, str) and isinstance(value, str) and isinstance(version, int):
            return Parameter(name, value, version, modified if isinstance(modified, datetime) else None)
    raise malformed(path)


def wrap(value: Value) -> SensitiveStr:
    """Return one key's value as the text of a parameter: plain text, or `{"strongroom:value":…}`.

    Text is wrapped if a parameter cannot hold it: empty text, text with `{{` or control characters, and text that looks
    wrapped.
    """
    if isinstance(value, str) and value and not value.startswith(_OPENING) and not _NOT_PLAIN.search(value):
        return SensitiveStr(value)
    return without_references(as_json({_WRAPPED: to_json(value)}))


def unwrap(text: str) -> Value:
    """Return the value that `wrap` encoded. Other text is returned unchanged."""
    if text.startswith(_OPENING):
        try:
            content = read_json(text)
        except InvalidDataError:
            return SensitiveStr(text)
        if isinstance(content, dict) and set(content) == {_WRAPPED}:
            return from_json(content[_WRAPPED])
    return SensitiveStr(text)


def without_references(text: str) -> SensitiveStr:
    """Escape `{{` in JSON, which Parameter Store refuses; it occurs only in strings."""
    return SensitiveStr(text.replace("{{", "{\\u007b"))
