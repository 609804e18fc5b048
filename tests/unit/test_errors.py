"""The error tree: one line that says what happened, to which path, in which store, and what to do next."""

import ast
import pickle
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from strongroom import errors
from strongroom.errors import (
    Answer,
    Attempt,
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StrongroomError)]
STORE_KINDS = [kind for kind in KINDS if issubclass(kind, StoreError)]


def test_tree_is_the_one_that_the_docstring_draws():
    """Each class is in the drawing, below its own base."""
    drawn = errors.__doc__
    for kind in KINDS:
        assert kind.__name__ in drawn
        level = sum(issubclass(base, StrongroomError) for base in kind.__mro__) - 1
        line = next(line for line in drawn.splitlines() if kind.__name__ in line)
        assert line.startswith("    " + "│   " * (level - 1)) or level == 0


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_message_is_one_line_with_all_that_is_known(kind):
    """Summary, path, store, reason and hint, in this order."""
    message = str(kind("a/b", "it is so", store="vault", hint="Do this"))
    assert message == f"{kind.summary}: a/b (store vault: it is so). Do this"
    assert str(kind("a/b", hint="")) == f"{kind.summary}: a/b"
    assert str(kind(hint="")) == kind.summary
    assert repr(kind("a/b", hint="")) == f"{kind.__name__}('{kind.summary}: a/b')"


def test_messages_that_the_guide_promises():
    """Applications and operators search for these words."""
    assert str(SecretNotFoundError("api-keys/service")) == "Secret not found: api-keys/service"
    assert str(AuthenticationError()).startswith("Failed to authenticate with ")


def test_class_has_a_hint_of_its_own():
    """A denial and an outage say what to do where the backend does not."""
    assert "Grant access" in str(PermissionDeniedError("a"))
    assert "can be reached" in str(StoreUnavailableError("a"))


@pytest.mark.parametrize("path", ["a\nb", "a\r\nb", "\x1b[31m", "\u202e", "", "x" * 5000, "\ud800"], ids=ascii)
def test_path_cannot_forge_a_message(path):
    """Odd characters are escaped and a long path is cut."""
    message = str(SecretNotFoundError(path))
    assert message.isprintable()
    assert len(message) < 4_200


def test_total_miss_keeps_each_links_answer():
    """The message names them all, in the order in which they were asked, each with its reason."""
    answers = (Attempt("vault", Answer.NOT_FOUND), Attempt("env", Answer.NOT_FOUND, "A_B is not set"))
    error = SecretNotFoundError("a/b", attempts=answers)
    assert str(error) == "Secret not found: a/b (vault: not found; env: A_B is not set)"


def test_twin_is_equal_and_separate():
    """An error that is raised again in another thread has its own traceback, and may have another path."""
    answers = (Attempt("vault", Answer.UNAVAILABLE),)
    error = StoreUnavailableError("a", "refused", store="vault", attempts=answers)
    try:
        raise error
    except StoreUnavailableError as raised:
        twin = raised.copy(path="b")
    assert (twin.path, twin.reason, twin.store, twin.attempts) == ("b", "refused", "vault", error.attempts)
    assert type(twin) is StoreUnavailableError
    assert twin.__traceback__ is None
    assert error.copy().path == "a"
    assert error.path == "a"


def changes_of_errors(source: str) -> Iterator[int]:
    """The lines that assign to an attribute of an error, other than in a class of its own."""
    for node in ast.walk(ast.parse(source)):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) else ():
            for each in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(each, ast.Attribute) and each.attr in FIELDS:
                    owner = ast.unparse(each.value)
                    if owner != "self" and not owner.endswith(".data"):  # of a message of mitmproxy
                        yield node.lineno


FIELDS = {"attempts", "checks", "conclusive", "hint", "path", "path_only", "reason", "report", "store"}


@pytest.mark.parametrize(
    "package",
    ["strongroom", "strongroom_aws", "strongroom_env", "strongroom_google", "strongroom_local", "strongroom_vault"],
)
def test_no_error_is_changed_after_it_was_made(package):
    """One that is raised to two callers, or shown twice, says the same each time."""
    assert list(changes_of_errors("failure.hint += more")) == [1]
    (root,) = find_spec(package).submodule_search_locations
    files = sorted(Path(root).rglob("*.py"))
    assert [f"{file}:{line}" for file in files for line in changes_of_errors(file.read_text("utf-8"))] == []


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_error_survives_pickling(kind):
    """A process pool hands it back as what it was."""
    error = kind("a/b", "it is so", store="vault", hint="Do this")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.path, back.reason, back.store) == (str(error), "a/b", "it is so", "vault")
