"""Deliberately broken plugins, each with the test of `PluginContract` that must catch it."""

from types import SimpleNamespace
from typing import Annotated, ClassVar

import pytest

from strongroom._plugins import COMMANDS
from strongroom.errors import ConfigurationError
from strongroom.store import Option, Traits, checked_by
from strongroom.store.memory import MemoryStore
from strongroom.testing import PluginContract

Region = Annotated[str, Option(help="the region")]


def check_region(*, region="eu"):
    if region == "nowhere":
        raise ConfigurationError("region: there is none of this name")


@checked_by(check_region)
def open_region(*, region: Region = "eu") -> MemoryStore:
    check_region(region=region)
    return MemoryStore()


class WrongPlugin(PluginContract):
    """A broken plugin. The test `caught_by` must fail with the message `caught_with`."""

    plugin = "memory"
    refused: ClassVar = [{"region": "nowhere"}]
    caught_by: ClassVar[str]
    caught_with: ClassVar[str]
    open_: ClassVar = open_region

    @pytest.fixture
    def opener(self):
        return vars(type(self)).get("open_", open_region)


class IsNotInstalled(WrongPlugin):
    plugin = "nowhere-to-be-found"
    caught_by = "test_one_distribution_has_the_name"
    caught_with = "0 distributions have the plugin nowhere-to-be-found"


class IsNoCommand(WrongPlugin):
    group = COMMANDS
    caught_by = "test_options_can_be_read"
    caught_with = "function is not a click command"


class ImportsItsSDK(WrongPlugin):
    plugin = "env"
    lazy = frozenset({"strongroom_env"})
    caught_by = "test_import_is_quick_and_silent"
    caught_with = "the import loads strongroom_env"


class _Imported(WrongPlugin):
    """A plugin whose module has this source."""

    caught_by = "test_import_is_quick_and_silent"
    source: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _module(self, tmp_path, monkeypatch):
        (tmp_path / "corp_store.py").write_text(f"{self.source}\ndef open_corp(): ...\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        point = SimpleNamespace(name="corp", value="corp_store:open_corp", group="strongroom.stores")
        monkeypatch.setattr("strongroom.testing.plugin_contract.entry_point", lambda *_: point)


class PrintsAtImport(_Imported):
    source = "print('welcome')"
    caught_with = "the import printed to stdout"


class StartsAThread(_Imported):
    source = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    caught_with = "the import started a thread"


class CannotBeImported(_Imported):
    source = "raise RuntimeError"
    caught_with = "the import failed"


class ExitsAtImport(_Imported):
    source = "raise SystemExit(3)"
    caught_with = "the import failed"


class HasNoHelp(WrongPlugin):
    caught_by = "test_options_can_be_read"
    caught_with = "no Option(help=…): region"

    def open_(*, region: str = "eu") -> MemoryStore: ...


class TakesPositions(WrongPlugin):
    caught_by = "test_options_can_be_read"
    caught_with = "option region is not keyword-only"

    def open_(region: Region = "eu") -> MemoryStore: ...  # noqa: N805  # a plain function


class HasNoTypes(WrongPlugin):
    caught_by = "test_options_can_be_read"
    caught_with = "option region has no type hint"

    def open_(*, region="eu") -> MemoryStore: ...


class ListsNoCredentialVariable(WrongPlugin):
    """Its distribution lists those of other plugins."""

    caught_by = "test_credential_variables_are_listed"
    caught_with = "not in the entry-point group strongroom.credential_variables: CORP_KEY"

    def open_(*, key: Annotated[str, Option("its key", ("CORP_KEY",), secret=True)] = "") -> MemoryStore: ...


class HidesItsStore(WrongPlugin):
    caught_by = "test_protocol_is_the_declared_one"
    caught_with = "return annotation does not name the store's class"

    def open_(*, region: Region = "eu"): ...


class IsOfTheFuture(WrongPlugin):
    caught_by = "test_protocol_is_the_declared_one"
    caught_with = "needs store protocol 99"

    class Store(MemoryStore):
        traits = Traits(protocol=99)

    def open_(*, region: Region = "eu") -> Store: ...


class IsOfNoVersion(WrongPlugin):
    caught_by = "test_protocol_is_the_declared_one"
    caught_with = "Store is for protocol 0"

    class Store(MemoryStore):
        traits = Traits(protocol=0)

    def open_(*, region: Region = "eu") -> Store: ...


class MisspellsAnOption(WrongPlugin):
    options: ClassVar = {"regoin": "eu"}
    caught_by = "test_declared_options_exist"
    caught_with = "regoin"


class ChecksFewerOptions(WrongPlugin):
    caught_by = "test_check_takes_the_options_of_the_opener"
    caught_with = "got an unexpected keyword argument 'region'"

    @checked_by(lambda: None)
    def open_(*, region: Region = "eu") -> MemoryStore: ...


class ChecksNothingCallable(WrongPlugin):
    caught_by = "test_check_takes_the_options_of_the_opener"
    caught_with = "the opener's check is not callable"

    @checked_by("check")
    def open_(*, region: Region = "eu") -> MemoryStore: ...


class OpensInItsCheck(WrongPlugin):
    caught_by = "test_check_takes_the_options_of_the_opener"
    caught_with = "a check returns nothing"

    @checked_by(lambda *, region="eu": MemoryStore())  # noqa: PLW0108  # with the parameter
    def open_(*, region: Region = "eu") -> MemoryStore: ...


class OpensWhatItsCheckRefuses(WrongPlugin):
    caught_by = "test_check_and_opener_refuse_the_same"
    caught_with = "DID NOT RAISE ConfigurationError"

    @checked_by(check_region)
    def open_(*, region: Region = "eu") -> MemoryStore: ...


class ChecksLessThanItsOpener(WrongPlugin):
    caught_by = "test_check_and_opener_refuse_the_same"
    caught_with = "DID NOT RAISE ConfigurationError"

    @checked_by(lambda *, region="eu": None)
    def open_(*, region: Region = "eu") -> MemoryStore:
        check_region(region=region)


class DoesNotNameTheOption(WrongPlugin):
    caught_by = "test_check_and_opener_refuse_the_same"
    caught_with = "the error does not begin with the name of an option"

    def _check(*, region="eu"):
        raise ConfigurationError(f"there is no {region}")

    @checked_by(_check)
    def open_(*, region: Region = "eu") -> MemoryStore: ...


WRONG = [wrong for base in (WrongPlugin, _Imported) for wrong in base.__subclasses__() if "caught_with" in vars(wrong)]
