"""What `strongroom` exports: every function, and every class that a public call returns, raises or holds."""

from __future__ import annotations

import inspect
import pickle
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom
from strongroom import errors

SETTINGS = {strongroom.Config}
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
    namespace = {name: getattr(strongroom, name) for name in strongroom.__all__}
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
def test_what_a_public_call_returns_is_public(function):
    returned = reachable(our_classes(hints(function).get("return")))
    assert {kind.__name__ for kind in returned if getattr(strongroom, kind.__name__, None) is not kind} == set()


@each_public_call
def test_what_a_public_call_raises_is_public(function):
    raised = re.findall(r"\b[A-Z]\w+Error\b", inspect.getdoc(function) or "")
    assert set(raised) <= {*strongroom.__all__, "TypeError", "ValueError"}


def test_every_error_is_public():
    """An application can name every class that an `except` may need."""
    tree = {kind.__name__ for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert tree - set(strongroom.__all__) == set()


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
    assert types == {"Value", "Version"}
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
