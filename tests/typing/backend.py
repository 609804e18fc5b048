"""Type checks for the author of a store: each protocol accepts a class that does not inherit it. Nothing here runs."""

from collections.abc import Iterable, Iterator, Mapping

from strongroom import Secret, SecretsManager, Value
from strongroom.errors import SecretNotFoundError, StoreError
from strongroom.migrate.spi import Exporter, Failure, Importer, MigrationHints, MigrationOutcome
from strongroom.secret import Version
from strongroom.store import (
    CheckedStore,
    Health,
    KeyedStore,
    ListableStore,
    ProbedStore,
    SecretStore,
    Traits,
    WritableStore,
    remaining,
)


class ReadOnly:
    def read(self, path: str) -> Secret:
        if remaining() <= 0:
            raise SecretNotFoundError(path, "the reason")
        return Secret(path=path, data={"key": "value", "nested": {"list": [1, b"two"]}})

    def close(self) -> None: ...


class Full(ReadOnly):
    traits = Traits(local=True)

    def read_key(self, path: str, key: str) -> Value:
        return self.read(path).data[key]

    def list_entries(self, prefix: str) -> Iterator[str]:
        yield f"{prefix}/"

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        return len(data)

    def delete(self, path: str) -> None: ...

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> str:
        return f"{expected}"

    def probe(self) -> Health:
        return Health(ok=True)


read_only: SecretStore = ReadOnly()
keyed: KeyedStore = Full()
listable: ListableStore = Full()
writable: WritableStore = Full()
checked: CheckedStore = Full()
probed: ProbedStore = Full()


class Hinting(Full):
    def vet(self, path: str, data: Mapping[str, Value]) -> None: ...

    def vet_many(self, items: Iterable[tuple[str, Mapping[str, Value]]]) -> Iterator[tuple[str, StoreError | None]]:
        for path, _ in items:
            yield path, None

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None: ...

    def cautions(self, path: str) -> list[str]:
        return [path]

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> int:
        return len(form)

    def walk_labels(self, prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
        yield prefix, {}


hints: MigrationHints = Hinting()


class Both:
    def items(self) -> Iterator[Secret | Failure]:
        yield Secret("a", {"key": "value"})
        yield Failure("b", SecretNotFoundError("b"), unmapped=True)

    def write(self, secrets: Iterable[Secret]) -> Iterator[MigrationOutcome]:
        return (MigrationOutcome(secret.path) for secret in secrets)

    def close(self) -> None: ...


importer: Importer = Both()
exporter: Exporter = Both()

SecretsManager(chain=[ReadOnly(), Full()])
