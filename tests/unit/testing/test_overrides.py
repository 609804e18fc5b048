"""`override`: secrets for the tests of an application."""

import asyncio
import threading
import time
import traceback
import unittest
from contextlib import suppress
from pathlib import Path

import pytest

import strongroom
from strongroom import (
    ConfigurationError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretsManager,
    StoreUnavailableError,
    aget_secret,
    get_api_key,
    get_database_url,
    get_secret,
    list_secrets,
    set_secret,
)
from strongroom.errors import InvalidDataError, InvalidPathError, StoreError, UnsupportedOperationError
from strongroom.store import time_limit
from strongroom.store.memory import open_memory
from strongroom.testing import SimulatedFailure, Slow, override

pytest_plugins = ["pytester"]

URL = {"url": "sqlite://"}


def test_contents_answer_and_nothing_else_does(monkeypatch):
    """Every function reads the contents. Any other path is missing, even if the environment has it."""
    monkeypatch.setenv("JWT_SECRET_KEY", "real")
    with override({"database/connection": URL, "api-keys/openai#key": "test", "api-keys/openai#limit": 5}):
        assert get_secret("database/connection") == URL
        assert get_database_url() == "sqlite://"
        assert get_api_key("openai") == "test"
        assert get_secret("api-keys/openai", "limit", as_=int) == 5
        assert list_secrets() == ["api-keys/", "database/"]
        with pytest.raises(SecretNotFoundError):
            get_secret("auth/jwt", "secret")
        with pytest.raises(SecretNotFoundError):
            get_secret("database/connection", "password")


@pytest.mark.parametrize("contents", ["database/connection", None, [("a/b", URL)], len])
def test_contents_that_are_no_mapping_are_refused(contents):
    """The message shows the shape, and no contents. `@override` without contents passes the function."""
    with pytest.raises(TypeError) as caught:
        override(contents)
    shape = '{"database/connection": {"url": "…"}}'
    assert str(caught.value) == f"override takes a mapping, such as {shape}, not {type(contents).__name__}"


@pytest.mark.parametrize("path", [3, None, ("a", "b")])
def test_path_of_another_type_is_refused(path):
    with pytest.raises(InvalidPathError, match=f"a path is a string, not {type(path).__name__}"):
        override({path: URL})


@pytest.mark.parametrize(
    "file",
    [
        '[secrets]\nJWT_SECRET_KEY = { at = "auth/jwt#secret", default = "from the file" }\n',
        "[environments.dev]\nchain = ['env']\n[environments.prod]\nproduction = true\nchain = ['env']\n",
        "this is not TOML",
    ],
    ids=["defaults", "environments", "broken"],
)
def test_configuration_of_the_folder_answers_nothing(monkeypatch, file):
    """The configuration file's defaults and environments and all variables are ignored."""
    Path("strongroom.toml").write_text(file, "utf-8")
    monkeypatch.setenv("STRONGROOM_TIMEOUT", "no number")
    with override({"app": {"key": "v"}, "late": Slow(0.01, {"key": "w"})}) as manager:
        assert [get_secret("app", "key"), get_secret("late", "key")] == ["v", "w"]
        assert manager.resolve("app").store == "override"
        with pytest.raises(SecretNotFoundError):
            get_secret("auth/jwt", "secret")


def test_what_was_set_is_seen_and_then_gone():
    """The code under test may set and delete. The next block does not see it."""
    with override({"app": {"user": "u", "password": "old"}}) as manager:
        set_secret("app", {"password": "new"})
        set_secret("fresh", {"key": "v"})
        assert manager.get_secret("app") == {"user": "u", "password": "new"}
        assert get_secret("fresh", "key") == "v"
        strongroom.delete_secret("fresh")
        with pytest.raises(SecretNotFoundError):
            get_secret("fresh")
    with override({}), pytest.raises(SecretNotFoundError):
        get_secret("app")


def test_the_url_of_an_overridden_secret_follows_a_new_password():
    with override({"database/connection": {"url": "postgresql://u:old@db/n", "password": "old"}}):
        set_secret("database/connection", {"password": "new"})
        assert strongroom.get_database_url() == "postgresql://u:new@db/n"


def test_one_override_is_used_again_and_within_itself():
    """Each block starts with the contents and is independent of the others."""
    contents = {"app": {"key": "v"}}
    ready = override({**contents, "late": Slow(0.01, contents["app"])})
    contents["app"]["key"] = "changed after it was made"
    for _ in range(2):
        with ready as outer:
            set_secret("app", {"key": "written", "more": "w"})
            with ready as inner:
                assert get_secret("app") == get_secret("late") == {"key": "v"}
            assert get_secret("app", "key") == "written"
        for manager in (outer, inner):
            with pytest.raises(strongroom.errors.StoreError):
                manager.get_secret("app")
    assert strongroom.set_default_manager(None) is None


def test_blocks_nest_and_restore_even_after_an_error():
    """The end of a block restores the previous manager and closes its own."""
    outside = strongroom.SecretsManager(chain=[open_memory(secrets={"app": {"key": "outside"}})])
    before = strongroom.set_default_manager(outside)
    try:
        with override({"app": {"key": "outer"}}) as outer:
            with suppress(ZeroDivisionError), override({"app": {"key": "inner"}}) as inner:
                assert get_secret("app", "key") == "inner"
                raise ZeroDivisionError
            assert get_secret("app", "key") == "outer"
        assert get_secret("app", "key") == "outside"
        for manager in (outer, inner):
            with pytest.raises(strongroom.errors.StoreError):
                manager.get_secret("app", "key")
    finally:
        strongroom.set_default_manager(before)
        outside.close()


@pytest.mark.parametrize("ends", [("first", "second"), ("second", "first")])
def test_blocks_may_overlap(ends):
    """Of two tasks, the one that began first may end first. It ends its own block, and no read finds a closed one."""
    own = SecretsManager(chain=[open_memory(secrets={"app": {"key": "outside"}})])
    before = strongroom.set_default_manager(own)
    try:
        blocks = {name: override({"app": {"key": name}}) for name in ("first", "second")}
        managers = {name: block.__enter__() for name, block in blocks.items()}
        assert get_secret("app", "key") == own.get_secret("app", "key") == "second"
        blocks[ends[0]].__exit__(None, None, None)
        assert get_secret("app", "key") == own.get_secret("app", "key") == ends[1]
        assert strongroom.default_manager() is managers[ends[1]]
        blocks[ends[1]].__exit__(None, None, None)
        assert get_secret("app", "key") == own.get_secret("app", "key") == "outside"
        assert strongroom.default_manager() is own
    finally:
        strongroom.set_default_manager(before)
        own.close()


def test_calls_of_one_decorated_function_may_overlap():
    """Each call keeps its block until it ends itself: the end of another call takes nothing from it."""

    @override({"app": {"key": "v"}})
    async def call(begun, end):
        set_secret("app", {"key": f"written by {asyncio.current_task().get_name()}"})
        begun.set()
        await end.wait()
        return await aget_secret("app", "key")

    async def overlap():
        begun, ended = asyncio.Event(), asyncio.Event()
        earlier = asyncio.create_task(call(asyncio.Event(), begun))
        await asyncio.sleep(0)
        later = asyncio.create_task(call(begun, ended), name="later")
        await earlier
        ended.set()
        return await later

    assert asyncio.run(overlap()) == "written by later"
    assert strongroom.set_default_manager(None) is None


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (SimulatedFailure.MISSING, SecretNotFoundError),
        (SimulatedFailure.DENIED, PermissionDeniedError),
        (SimulatedFailure.UNAVAILABLE, StoreUnavailableError),
    ],
)
def test_failures_are_to_order(failure, error):
    """A simulated failure has the class of the real one, each time, and affects no other path."""
    with override({"app": failure, "other": {"key": "v"}}):
        for _ in range(3):
            with pytest.raises(error, match="app"):
                get_secret("app", "key")
            assert get_secret("other", "key") == "v"


@pytest.mark.parametrize(
    ("failure", "answers"), [(SimulatedFailure.MISSING, True), (SimulatedFailure.UNAVAILABLE, False)]
)
def test_default_answers_an_absence_only(failure, answers):
    """A default answers an absence but not an outage."""
    with override({"app": failure}):
        if answers:
            assert get_secret("app", "key", default="d") == "d"
        else:
            with pytest.raises(StoreUnavailableError):
                get_secret("app", "key", default="d")


@pytest.mark.parametrize(
    ("failure", "error"),
    [(SimulatedFailure.DENIED, PermissionDeniedError), (SimulatedFailure.UNAVAILABLE, StoreUnavailableError)],
)
def test_failures_are_of_writes_and_lists_too(failure, error):
    """A simulated failure also fails writes, deletes and lists."""
    with override({"folder/app": failure, "beside/it": {"key": "v"}}):
        assert list_secrets("beside") == ["it"]
        with pytest.raises(error):
            list_secrets("folder")
        with pytest.raises(error):
            set_secret("folder/app", {"key": "v"})


def test_what_is_refused_is_shown_in_no_frame():
    """The `repr` of an override shows no value."""
    late = Slow(1, {"key": "canary-93e1"})
    contents = {"late": late, "app": {"key": "canary-93e1", "odd": object()}, "other#key": "canary-93e1"}
    with pytest.raises(InvalidDataError) as caught:
        override(contents)
    below = caught.value.__traceback__.tb_next
    report = traceback.TracebackException(InvalidDataError, caught.value, below, capture_locals=True)
    assert "canary-93e1" not in "".join(report.format())


def test_missing_can_be_written():
    """A secret that is simulated as missing can be set."""
    with override({"app": SimulatedFailure.MISSING}):
        set_secret("app", {"key": "v"})
        assert get_secret("app", "key") == "v"


def test_slow_takes_its_time_and_holds_up_no_event_loop():
    """Other tasks run while a slow secret is awaited."""

    async def read() -> tuple[str, int]:
        slow = asyncio.ensure_future(aget_secret("app", "key"))
        turns = 0
        while not slow.done():
            await asyncio.sleep(0 if turns < 10 else 0.01)
            turns += 1
        return await slow, turns

    with override({"app": Slow(0.3, {"key": "late"}), "other": {"key": "v"}}):
        assert get_secret("other", "key") == "v"
        began = time.monotonic()
        value, turns = asyncio.run(read())
        assert time.monotonic() - began >= 0.3
        assert value == "late"
        assert turns > 10
        assert list_secrets() == ["app", "other"]


def test_slower_than_the_call_is_unavailable():
    """A secret that takes longer than the call is an outage at the deadline."""
    with override({"app": Slow(60, {"key": "never"})}), time_limit(0.1):
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"takes 60 s|in time"):
            get_secret("app", "key")
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "change",
    [
        lambda: set_secret("app", {"key": "new"}),
        lambda: set_secret("app", {"key": "new"}, replace=True),
        lambda: strongroom.delete_secret("app"),
    ],
    ids=["set", "replace", "delete"],
)
def test_slow_can_not_be_changed(change):
    """A slow secret cannot be written: it would no longer be slow."""
    with override({"app": Slow(0.01, {"key": "late"})}):
        with pytest.raises(UnsupportedOperationError, match="a slow secret cannot be"):
            change()
        assert get_secret("app", "key") == "late"


def test_threads_of_the_block_read_it():
    """The override applies to the process, including threads of the code under test."""
    found = []
    with override({"app": {"key": "v"}}):
        thread = threading.Thread(target=lambda: found.append(get_secret("app", "key")))
        thread.start()
        thread.join()
    assert found == ["v"]


@pytest.mark.parametrize(
    ("contents", "error"),
    [
        ({"a//b": URL}, InvalidPathError),
        ({"a#": "v"}, InvalidPathError),
        ({"a": "text"}, InvalidDataError),
        ({"a": {}}, InvalidDataError),
        ({"a": Slow(1, {"key": object()})}, InvalidDataError),
        ({"a#key": SimulatedFailure.DENIED}, InvalidDataError),
        ({"a": SimulatedFailure.DENIED, "a#key": "v"}, InvalidDataError),
    ],
)
def test_contents_that_no_store_could_hold_are_refused(contents, error):
    """Invalid contents are refused when the override is created."""
    with pytest.raises(error):
        override(contents)


APPLICATION_TESTS = """
import pytest
from strongroom import SecretNotFoundError, get_secret, set_default_manager
from strongroom.testing import SimulatedFailure

def test_overrides(strongroom_override):
    strongroom_override({"app": {"key": "first"}})
    assert get_secret("app", "key") == "first"
    strongroom_override({"app": SimulatedFailure.MISSING})
    with pytest.raises(SecretNotFoundError):
        get_secret("app", "key")

def test_restores():
    assert set_default_manager(None) is None
"""


def test_fixture_lasts_until_the_end_of_the_test(pytester):
    """The fixture of the pytest plugin overrides for one test, may be called again, and restores."""
    pytester.makepyfile(APPLICATION_TESTS)
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=2)


class TestOwnManagers:
    """Managers that the application creates itself."""

    def test_one_from_before_answers_from_the_contents_and_then_itself_again(self):
        with SecretsManager(chain=[open_memory(secrets={"a/b": {"k": "own"}})]) as application:
            assert application.get_secret("a/b", "k") == "own"
            with override({"a/b#k": "outer"}):
                assert application.get_secret("a/b", "k") == "outer"
                with override({"a/b#k": "inner"}):
                    assert asyncio.run(application.aget_secret("a/b", "k")) == "inner"
                assert application.get_secrets(["a/b"])["a/b"] == {"k": "outer"}
                application.set_secret("a/b", {"k": "written"})
                assert get_secret("a/b", "k") == "written"
            assert application.get_secret("a/b", "k") == "own"

    def test_one_that_is_made_and_closed_in_the_block(self):
        with override({"a/b#k": "test"}) as answering:
            with SecretsManager(chain=["env"]) as application:
                assert application.get_secret("a/b", "k") == "test"
            assert answering.get_secret("a/b", "k") == "test"

    def test_one_that_is_made_in_the_block_needs_no_settings_of_the_machine(self):
        """Such as credentials, which a machine for tests may lack. Outside of the block, they are missing."""
        chain = [{"store": "json", "file": {"env": "FILE_OF_SECRETS"}}]
        with override({"a/b#k": "test"}), SecretsManager(chain=chain) as application:
            assert application.get_secret("a/b", "k") == "test"
        with pytest.raises(ConfigurationError, match="FILE_OF_SECRETS"):
            SecretsManager(chain=chain)

    def test_one_that_is_closed_in_the_block_stays_closed(self):
        application = SecretsManager(chain=[open_memory(secrets={"a/b": {"k": "own"}})])
        with override({"a/b#k": "test"}):
            application.close()
        with pytest.raises(StoreError, match="closed"):
            application.get_secret("a/b", "k")

    def test_declared_types_of_the_application_still_count(self):
        rows = {"SIZE": {"at": "pool#size", "type": "int"}}
        application = SecretsManager.from_config({"chain": ["env"], "secrets": rows})
        with application, override({"pool#size": "5"}):
            assert application.get_secret("pool") == {"size": 5}


class TestDecorator:
    def test_a_function_is_a_block(self):
        @override({"a/b#k": "test"})
        def read(default: str = "none") -> str:
            """Reads."""
            return get_secret("a/b", "k", default=default)

        assert (read(), read("x"), read.__name__, read.__doc__) == ("test", "test", "read", "Reads.")
        with override({}):
            assert get_secret("a/b", "k", default="gone") == "gone"

    def test_an_asynchronous_function_is_a_block_until_it_ends(self):
        @override({"a/b#k": "test"})
        async def read() -> str:
            await asyncio.sleep(0)
            return await aget_secret("a/b", "k")

        assert asyncio.run(read()) == "test"

    def test_a_generator_or_a_class_without_tests_is_refused(self):
        def values():
            yield get_secret("a/b", "k")

        for wrong in (values, str):
            with pytest.raises(TypeError, match="use a with statement"):
                override({})(wrong)

    def test_each_test_of_a_class_is_a_block(self):
        """It does not see what another test has written."""

        class Base:
            def test_inherited(self):
                return get_secret("a/b", "k")

        @override({"a/b#k": "first"})
        class Decorated(Base):
            def test_write(self):
                set_secret("a/b", {"k": "other"})
                return get_secret("a/b", "k")

            async def test_later(self):
                return await aget_secret("a/b", "k")

            def helper(self):
                return get_secret("a/b", "k", default="none")

        made = Decorated()
        assert (made.test_write(), asyncio.run(made.test_later()), made.test_inherited()) == ("other", "first", "first")
        with override({}):
            assert made.helper() == "none"

    def test_a_test_case_of_unittest_is_a_block_with_its_set_up(self):
        @override({"a/b#k": "test"})
        class Case(unittest.IsolatedAsyncioTestCase):
            def setUp(self):
                self.key = get_secret("a/b", "k")

            async def test_it(self):
                assert (self.key, await aget_secret("a/b", "k")) == ("test", "test")

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
        assert (result.testsRun, result.errors, result.failures) == (1, [], [])

    def test_a_test_of_pytest_keeps_its_fixtures(self, pytester):
        pytester.makepyfile(
            test_app="""
            from strongroom import get_secret
            from strongroom.testing import override

            @override({"a/b#k": "test"})
            def test_it(tmp_path):
                assert tmp_path.exists() and get_secret("a/b", "k") == "test"
            """
        )
        pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
