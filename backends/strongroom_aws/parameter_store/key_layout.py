"""Parameter Store with one parameter for each key, below the secret's path, as chamber and most tools write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from strongroom.errors import InvalidDataError, InvalidPathError, SecretNotFoundError, StoreError
from strongroom.secret import Secret, SensitiveDict, SensitiveStr, Value
from strongroom.store import Traits
from strongroom.store.concurrency import map_concurrently
from strongroom.store.one_value import VALUE
from strongroom_aws.limits import MAX_ADVANCED, check_parameter_name, check_size
from strongroom_aws.parameter_store.base import (
    PAGE,
    Parameter,
    Parameters,
    Standing,
    check_secure,
    parameters_in,
    unwrap,
    wrap,
)
from strongroom_aws.service import CREDENTIAL_VARIABLES, in_groups


class ParameterKeys(Parameters):
    """Secrets in Parameter Store, each a folder of parameters: `/app/db/password` is the key `password` of `app/db`.

    Other tools read and write the same parameters. A write sends a request for each key, and a delete removes ten at a
    time, so a concurrent reader may see new and old keys together.

    A parameter directly below the prefix is the key `value` of the secret of its name, and keeps its place in a write.
    """

    traits = Traits(piecewise=True, honors_deadline=True, disk_cache=True, credential_variables=CREDENTIAL_VARIABLES)

    def read(self, path: str) -> Secret:
        """Return all keys of the secret, decrypted.

        Raises:
            InvalidDataError: two parameters are the key `value`.
        """
        found = self._keys(path, decrypted=True)
        if (flat := self._flat(path, decrypted=True)) is not None:
            if VALUE in found:
                reason = f"{flat.name} and {found[VALUE].name} are both its key {VALUE!r}"
                raise InvalidDataError(path, reason, hint="Remove one of them")
            found[VALUE] = flat
        if not found:
            raise self._absent(path)
        data = SensitiveDict((key, unwrap(parameter.value)) for key, parameter in found.items())
        modified = [parameter.modified for parameter in found.values() if parameter.modified is not None]
        return Secret(path, data, created=max(modified, default=None))

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield the path of every secret below `prefix`, ten parameters a request."""
        start, seen = len(self._folder("")), {""}
        for found in self._in_folder(self._folder(prefix), prefix or None, deep=True, decrypted=False):
            folder, _, key = found.name[start:].rpartition("/")
            path = folder or key
            # A parameter directly in the requested folder is a key of that secret.
            if path not in seen and path != prefix:
                seen.add(path)
                yield path

    def write(self, path: str, data: Mapping[str, Value]) -> None:
        """Write a SecureString for each key, then remove the parameters of removed keys.

        The key `value` is written to the parameter directly below the prefix if there is one.

        Raises:
            InvalidPathError: a key cannot be the last part of a parameter's name.
            SecretTooLargeError: a value takes more than 8 KiB.
            ConflictError: a parameter that it would overwrite is not a SecureString.
        """
        texts, standing, flat = self._change(path, data)

        def put(item: tuple[str, SensitiveStr]) -> StoreError | None:
            name, text = item
            try:
                self._put(path, name, text, standing.get(name))
            except StoreError as error:
                return error
            return None

        failures = [failure for _, failure in map_concurrently(put, texts.items()) if failure is not None]
        if failures:
            failure = failures[0]
            others = f"{len(failures)} of its {len(texts)} keys were not written, and the others were"
            raise failure.copy(reason=f"{failure.reason}; {others}")
        self._delete(path, [name for name in self._names(path, flat) if name not in texts])

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Check all names and sizes, and that existing parameters are SecureStrings."""
        self._change(path, data)

    def cautions(self, path: str) -> Sequence[str]:
        """Return cautions about KMS keys and policies of its parameters."""
        found = self._cautions(path, "Path", self._name(path))
        if "/" not in path:
            found += self._cautions(path, "Name", self._name(path))
        return list(dict.fromkeys(found))

    def delete(self, path: str) -> None:
        """Delete every parameter of the secret for good, ten a request."""
        if not (names := self._names(path, self._flat(path, decrypted=False))):
            raise self._absent(path)
        self._delete(path, names)

    # ------------------------------------------------------------------------------------------------------------------

    def _change(
        self, path: str, data: Mapping[str, Value]
    ) -> tuple[dict[str, SensitiveStr], dict[str, Standing], Parameter | None]:
        """Return the parameters of a write that Parameter Store will accept.

        Returns:
            The new texts and the attributes of existing parameters, by name, and the one that is not in a folder.
        """
        texts = self._texts(path, data)
        flat = self._flat(path, decrypted=False)
        standing = self._standing(path, "Path", self._name(path))
        if flat is not None and VALUE in data:
            texts[flat.name] = texts.pop(self._key_name(path, VALUE))
            standing |= self._standing(path, "Name", flat.name)
        for name in texts:
            check_secure(name, standing.get(name), path)
        return texts, standing, flat

    def _texts(self, path: str, data: Mapping[str, Value]) -> dict[str, SensitiveStr]:
        """Return the new text of each parameter, by name."""
        texts = {self._key_name(path, key): wrap(value) for key, value in data.items()}
        for name, text in texts.items():
            check_size(text, MAX_ADVANCED, path, f"key {name.rpartition('/')[2]!r}")
        return texts

    def _absent(self, path: str) -> SecretNotFoundError:
        return SecretNotFoundError(path, f"no parameter is directly below {self._name(path)}")

    def _key_name(self, path: str, key: str) -> str:
        if "/" in key:
            raise InvalidPathError(path, f"key {key!r}: a slash would turn it into a folder")
        return check_parameter_name(f"{self._name(path)}/{key}", path)

    def _keys(self, path: str, *, decrypted: bool) -> dict[str, Parameter]:
        """Return the parameters directly below the secret's path, by key."""
        folder = f"{self._name(path)}/"
        found = self._in_folder(folder, path, deep=False, decrypted=decrypted)
        keyed = ((parameter.name[len(folder) :], parameter) for parameter in found)
        return {key: parameter for key, parameter in keyed if key and "/" not in key}

    def _flat(self, path: str, *, decrypted: bool) -> Parameter | None:
        """Return the parameter with the name of the secret; below a folder it would be a key of another secret."""
        if "/" in path:
            return None
        answer = self._service.call("get_parameters", path, Names=[self._name(path)], WithDecryption=decrypted)
        return next(iter(parameters_in(answer, path)), None)

    def _names(self, path: str, flat: Parameter | None) -> list[str]:
        """Return the name of every parameter of the secret, including `flat`."""
        names = [parameter.name for parameter in self._keys(path, decrypted=False).values()]
        return names if flat is None else [*names, flat.name]

    def _delete(self, path: str, names: list[str]) -> None:
        for group in in_groups(names, PAGE):
            answer = self._service.call("delete_parameters", path, changes=True, Names=group)
            # A parameter that was deleted meanwhile is reported as invalid; it is gone too.
            gone = {*answer.get("DeletedParameters", ()), *answer.get("InvalidParameters", ())}
            if not gone >= set(group):
                raise StoreError(path, f"{len(set(group) - gone)} of its parameters were not deleted", hint="Try again")
