"""A source of pydantic-settings that reads the fields of a settings class from a chain.

::

    class Settings(BaseSettings):
        database_url: Annotated[SecretStr, FromSecret("database/connection#url")]

        @classmethod
        def settings_customise_sources(cls, settings_cls, **sources):
            return *sources.values(), StrongroomSettingsSource(settings_cls)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource
from pydantic_settings.sources.utils import parse_env_vars

from strongroom._manager import SecretsManager
from strongroom.encoding import as_text
from strongroom.errors import InvalidDataError, SecretNotFoundError
from strongroom.paths import check_path, parse_reference
from strongroom.secret import Value
from strongroom.secrets_manager import default_manager


@dataclass(frozen=True)
class FromSecret:
    """Annotation of a field: the secret that holds its value.

    Args:
        reference: `PATH#KEY`; or `PATH` for the whole secret, which fills a nested model or a dict.

    Raises:
        InvalidPathError: the path or the key can never name a secret.
    """

    reference: str

    def __post_init__(self) -> None:
        parse_reference(self.reference)


class StrongroomSettingsSource(EnvSettingsSource):
    """Values of annotated fields, and of all others from the keys of one secret.

    A secret or key that no store has, or that is null, is left to the next source, or to the field's default. A field
    that an earlier source has set is not read. The fields of nested models can be annotated too. A number or boolean is
    given to pydantic as text, so that it converts to the same type from every store, and no validation error shows it.

    Args:
        settings_cls: the settings class.
        path: a secret whose keys fill the fields of the same name or alias; those of a nested model by a key that holds
            a mapping, or by keys such as `database__host` if `env_nested_delimiter` is `__`.
        manager: None is the default manager of the process.
        env_prefix: prefix of the keys of `path`. That of `model_config` is not used.
        options: further arguments of `EnvSettingsSource`, such as `case_sensitive`.

    Raises:
        InvalidPathError: `path` can never name a secret.
    """

    def __init__(
        self,
        settings_cls: type[BaseModel],
        path: str | None = None,
        *,
        manager: SecretsManager | None = None,
        env_prefix: str = "",
        **options: Any,
    ) -> None:
        self._path = None if path is None else check_path(path)
        self._manager = manager
        self._options = {"env_prefix": env_prefix, **options}
        self._values: dict[str, Any] = {}
        self._models = frozenset({settings_cls})  # and those that contain it: a model may contain itself
        # The base class needs only the fields and the configuration, which a nested model has too.
        model: type[BaseSettings] = settings_cls  # type: ignore[assignment]
        super().__init__(model, **self._options)

    def _load_env_vars(self) -> Mapping[str, Any]:
        return {}  # nothing is read before the call

    def __call__(self) -> dict[str, Any]:
        """Return the values that the chain has, by the names of the fields.

        Raises:
            StoreError: a secret may exist, and a store denied access, did not answer, or failed.
        """
        try:
            self.env_vars = {} if self._path is None else self._keys(self._path)
            self._values = dict(self._annotated())
            return super().__call__()
        finally:
            self.env_vars, self._values = {}, {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value of a field, or None; its key; and whether the value is JSON."""
        value, key, is_complex = super().get_field_value(field, field_name)
        return (self._values[field_name], key, is_complex) if field_name in self._values else (value, key, is_complex)

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the value of text as JSON. A store that keeps types has lists and mappings already."""
        return super().decode_complex_value(field_name, field, value) if isinstance(value, str) else value

    def _keys(self, path: str) -> Mapping[str, Any]:
        data: Mapping[str, Value] = self._read(path, None) or {}
        if not self.case_sensitive and len({key.lower() for key in data}) < len(data):
            raise InvalidDataError(path, "two keys differ only in case", hint="Pass case_sensitive=True")
        texts: dict[str, Any] = {key: _as_variable(value, path, key) for key, value in data.items()}
        return parse_env_vars(texts, self.case_sensitive, self.env_ignore_empty, self.env_parse_none_str)

    def _annotated(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and value of each field that an annotation fills."""
        for name, field in self.settings_cls.model_fields.items():
            given = next((self.current_state[key] for key in _keys_of(name, field) if key in self.current_state), None)
            wanted = next(_annotations(field.annotation, field.metadata), None)
            model = _model(field.annotation)
            path, key = (None, None) if wanted is None else parse_reference(wanted.reference)
            value: Any = None
            if given is not None and not (isinstance(given, dict) and model):
                continue
            if model is not None and key is None:
                if model in self._models or (path is None and not _has_annotations(model)):
                    continue
                nested = StrongroomSettingsSource(model, path, manager=self._manager, **self._options)
                nested._set_current_state(given or {})
                nested._models = self._models | {model}
                value = nested() or None
            elif path is not None:
                value = self._read(path, key)
                value = value if key is None or value is None else _as_variable(value, path, key)
            if value is not None:
                yield name, value

    def _read(self, path: str, key: str | None) -> Any:
        try:
            return (self._manager or default_manager()).resolve(path, key).value
        except SecretNotFoundError:
            return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings_cls.__name__}, path={self._path!r})"


def _as_variable(value: Value, path: str, key: str) -> object:
    """Return text for a number or a boolean, so that all stores give the same. Other values stay."""
    return as_text(value, path, key) if isinstance(value, int | float) else value


def _keys_of(name: str, field: FieldInfo) -> Iterator[str]:
    """Yield the names under which another source may have set a field."""
    yield name
    alias = field.validation_alias
    for choice in alias.choices if isinstance(alias, AliasChoices) else [alias]:
        if isinstance(choice, str):
            yield choice
        elif isinstance(choice, AliasPath) and isinstance(choice.path[0], str):
            yield choice.path[0]


def _annotations(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> Iterator[FromSecret]:
    """Yield the annotations of a field, also those of a member of its union."""
    yield from (item for item in metadata if isinstance(item, FromSecret))
    if get_origin(annotation) is Annotated:
        yield from _annotations(annotation.__origin__, annotation.__metadata__)
    elif get_origin(annotation) in {Union, UnionType}:
        for member in get_args(annotation):
            yield from _annotations(member)


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a field, also that of `Model | None`."""
    if get_origin(annotation) is Annotated:
        return _model(annotation.__origin__)
    if get_origin(annotation) in {Union, UnionType}:
        models = [model for member in get_args(annotation) if (model := _model(member))]
        return models[0] if len(models) == 1 else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _has_annotations(model: type[BaseModel], seen: frozenset[type] = frozenset()) -> bool:
    """Return True if a field of the model, or of a nested model, names a secret."""
    if model in seen:
        return False
    seen |= {model}
    return any(
        next(_annotations(field.annotation, field.metadata), None) is not None
        or ((inner := _model(field.annotation)) is not None and _has_annotations(inner, seen))
        for field in model.model_fields.values()
    )
