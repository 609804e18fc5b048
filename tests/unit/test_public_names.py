"""Names that `strongroom` exports, and the published homes of all classes that its calls return, raise or hold."""

from __future__ import annotations

import inspect
import pickle
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom
import strongroom.rotate
from strongroom import errors, secret, secrets_manager, store

ERRORS = {kind.__name__: kind for kind in vars(errors).values() if inspect.isclass(kind)}
HOMES = {
    "strongroom": {name: getattr(strongroom, name) for name in strongroom.__all__},
    "strongroom.errors": ERRORS,
    "strongroom.rotate": {name: getattr(strongroom.rotate, name) for name in strongroom.rotate.__all__},
    "strongroom.secret": {"Version": secret.Version},
    "strongroom.secrets_manager": {name: getattr(secrets_manager, name) for name in secrets_manager.__all__},
    "strongroom.store": {name: getattr(store, name) for name in store.__all__},
}
"""By published module, its names."""

CAUGHT = {
    "ConfigurationError",
    "ConflictError",
    "PermissionDeniedError",
    "SecretNotFoundError",
    "StoreUnavailableError",
    "StrongroomError",
}
"""The errors that applications catch."""

SETTINGS = {secrets_manager.Config}
"""A configuration's parts are in `strongroom._config`: an application only passes the whole on."""


def public_callables() -> Iterator[tuple[str, object]]:
    for name in strongroom.__all__:
        exported = getattr(strongroom, name)
        if inspect.isfunction(exported):
            yield name, exported
        elif inspect.isclass(exported) and exported not in SETTINGS:
            for method in (name for name in dir(exported) if not name.startswith("_")):
                member = inspect.getattr_static(exported, method)
                function = member.fget if isinstance(member, property) else getattr(exported, method)
                if inspect.isroutine(function) and str(getattr(function, "__module__", "")).startswith("strongroom"):
                    yield f"{name}.{method}", function


CALLS = dict(public_callables())
each_public_call = pytest.mark.parametrize("function", list(CALLS.values()), ids=list(CALLS))


def our_classes(hint: object) -> Iterator[type]:
    """The classes of Strongroom that a type hint mentions."""
    if inspect.isclass(hint) and hint.__module__.partition(".")[0] == "strongroom":
        yield hint
    for argument in typing.get_args(hint):
        if not isinstance(argument, list):
            yield from our_classes(argument)


def hints(annotated: object) -> dict[str, object]:
    """Names that a module imports for its type checker alone have to be public to be found here."""
    namespace = {name: exported for names in HOMES.values() for name, exported in names.items()}
    namespace |= {"Value": object, "Version": object, "Path": Path}  # recursive, and an argument's type
    return typing.get_type_hints(annotated, localns=namespace)


def reachable(start: Iterator[type]) -> set[type]:
    """These classes, and those of their fields, and of their fields' fields."""
    found: set[type] = set()
    waiting = list(start)
    while waiting:
        kind = waiting.pop()
        if kind not in found:
            found.add(kind)
            fields = () if kind in SETTINGS else hints(kind).values()
            waiting.extend(inner for hint in fields for inner in our_classes(hint))
    return found


@each_public_call
def test_what_a_public_call_returns_has_a_published_home(function):
    """For annotations: a record that only methods return is in its module, not in `strongroom`."""
    published = {exported for names in HOMES.values() for exported in names.values() if inspect.isclass(exported)}
    assert reachable(our_classes(hints(function).get("return"))) <= published


@each_public_call
def test_what_a_public_call_raises_is_an_error_of_the_module_of_errors(function):
    raised = re.findall(r"\b[A-Z]\w+Error\b", inspect.getdoc(function) or "")
    assert set(raised) <= {*ERRORS, "TypeError", "ValueError"}


def test_the_errors_that_applications_catch_are_public():
    """All others are caught by their common class, or imported from `strongroom.errors`."""
    assert set(ERRORS) & set(strongroom.__all__) == CAUGHT


def test_a_class_has_one_published_home():
    """But for the errors that applications catch, and the manager, which the user's guide imports from its module."""
    homes: dict[type, list[str]] = {}
    for module, names in HOMES.items():
        for exported in filter(inspect.isclass, names.values()):
            homes.setdefault(exported, []).append(module)
    twice = {kind.__name__ for kind, modules in homes.items() if len(modules) > 1}
    assert twice == {*CAUGHT, "SecretsManager"}


def test_every_name_is_there():
    """The list is part of the interface: it holds functions, each with its asynchronous twin, classes and types."""
    public = {name: getattr(strongroom, name) for name in strongroom.__all__}
    assert set(public) <= set(dir(strongroom))
    functions = {name for name, exported in public.items() if inspect.isfunction(exported)}
    synchronous = {name for name in functions if not inspect.iscoroutinefunction(public[name])}
    assert functions - synchronous == {
        f"a{name}" for name in synchronous - {"default_manager", "invalidate", "set_default_manager"}
    }
    types = {
        name for name, exported in public.items() if not inspect.isfunction(exported) and not inspect.isclass(exported)
    }
    assert types == {"Value"}
    assert len(public) <= 45
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = strongroom.nothing


METHODS = sorted(
    name
    for name in strongroom.__all__
    if inspect.isfunction(getattr(strongroom, name))
    and name not in {"default_manager", "set_default_manager", "close", "aclose"}
)


@pytest.mark.parametrize("name", METHODS)
def test_a_function_has_the_parameters_and_the_help_of_its_method(name):
    """`help(strongroom.get_secret)` tells arguments and errors."""
    function, method = getattr(strongroom, name), getattr(strongroom.SecretsManager, name.removeprefix("a"))
    parameters = list(inspect.signature(method).parameters.values())
    assert list(inspect.signature(function).parameters.values()) == parameters[1:]
    assert inspect.getdoc(function) == inspect.getdoc(method)
    assert (function.__module__, function.__name__, function.__qualname__) == ("strongroom.secrets_manager", name, name)


@pytest.mark.parametrize("name", strongroom.__all__)
def test_a_public_name_can_be_pickled(name):
    """Such as a function that a pool of processes calls."""
    exported = getattr(strongroom, name)
    assert pickle.loads(pickle.dumps(exported)) == exported
