"""Deliberately broken stores of a service, each with the test of the contract that must catch it."""

from __future__ import annotations

import base64
import logging
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from strongroom.errors import (
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import Secret
from strongroom.store import Health, Option, Traits, fails_fast, remaining
from strongroom.store.calls import Fate, Fault
from strongroom.testing import ServiceContract
from support.search_path import SearchPath
from support.services.local_http import LocalService
from support.services.shelf import PAGE, Client, Shelf, ShelfService, UnsentError

TESTS = Path(__file__).parents[2]


class BrokenContract(ServiceContract):
    """A broken `Store`. The test `caught_by` must fail with the message `caught_with`.

    The function `open_broken` of the same module opens it, and is the plugin `broken`.
    """

    caught_by: ClassVar[str]
    caught_with: ClassVar[str]
    Store: ClassVar[type]
    Service: ClassVar[type[LocalService]]

    @pytest.fixture
    def service(self, monkeypatch, tmp_path):
        SearchPath(tmp_path, monkeypatch).install("broken", {"broken": f"{type(self).__module__}:open_broken"})
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path / "site"), str(TESTS))))
        with broken(self.Service, type(self).__name__) as service:
            yield service


def broken(kind: type[LocalService], name: str) -> LocalService:
    """Return a service whose options open the `Store` of the contract of this name."""

    class Broken(kind):  # type: ignore[valid-type, misc]
        def options(self, address: tuple[str, int] | None = None) -> dict[str, object]:
            return {**super().options(address), "plugin": "broken", "name": name}

    return Broken()


class WrongService(BrokenContract):
    """A broken `Store` of the shelf."""

    page_size = PAGE
    Store: ClassVar[type[Shelf]]
    Service = ShelfService


def open_broken(
    *,
    url: Annotated[str, Option("its address", address=True)],
    token: Annotated[str, Option("the token", secret=True, sent_to="url")],
    name: str,
) -> Shelf:
    return globals()[name].Store(url, token)


def read_as(fate: Fate) -> Any:
    """Return the translation of statuses by a store that takes 503 for something else."""

    def answer(self: Shelf, status: int, content: bytes) -> Any:
        if status == 503:
            raise Fault(StoreUnavailableError(None, "it failed"), fate)
        return Shelf.answer(self, status, content)

    return answer


def lost_as(fate: Fate) -> Any:
    """Return the translation of exceptions by a store that takes a lost connection or a timeout for something else."""

    def fault_of(self: Shelf, error: Exception) -> Fault:
        fault = Shelf.fault_of(self, error)
        return Fault(fault.error, fate) if fault.fate is Fate.FAILED else fault

    return fault_of


# --- silence ----------------------------------------------------------------------------------------------------------


class OverrunsItsDeadline(WrongService):
    caught_by = "test_silent_service_is_an_outage_in_time"
    caught_with = "and had 0.5 s"

    class Store(Shelf):
        traits = Traits(honors_deadline=True)

        def read(self, path):
            try:
                return super().read(path)
            except StoreUnavailableError:
                time.sleep(6)
                raise


class WaitsForItsOwnTimeout(WrongService):
    caught_by = "test_silent_read_ends_soon_after_its_deadline"
    caught_with = "pass `remaining()` to the client"

    class Store(Shelf):
        class Client(Client):
            def connection(self, timeout):
                return super().connection(30.0)


class DoubtsReads(WrongService):
    caught_by = "test_silent_service_is_an_outage_in_time"
    caught_with = "changes nothing"

    class Store(Shelf):
        def read(self, path):
            try:
                return super().read(path)
            except StoreUnavailableError:
                raise WriteOutcomeUnknownError(path) from None


class EndsABatchAtItsFirstOutage(WrongService):
    caught_by = "test_silent_batch_has_an_outage_for_each_item"
    caught_with = "instead of the outage"

    class Store(Shelf):
        def read_many(self, paths):
            for path in paths:
                try:
                    yield path, self.read(path)
                except StoreError as error:
                    yield path, error
                    return


class DeniesAChangeThatMayFollow(WrongService):
    caught_by = "test_change_without_a_reply_is_in_doubt[write]"
    caught_with = "the service may still make it"

    class Store(Shelf):
        traits = Traits(honors_deadline=True)  # else the guard would see to it
        fault_of = lost_as(Fate.ANSWERED)


class StaysDown(WrongService):
    caught_by = "test_service_that_answers_again_is_used_again"
    caught_with = "StoreUnavailableError"

    class Store(Shelf):
        is_down = False

        def read(self, path):
            if self.is_down:
                raise StoreUnavailableError(path)
            try:
                return super().read(path)
            except StoreUnavailableError:
                self.is_down = True
                raise


# --- throttled and failed ---------------------------------------------------------------------------------------------


class AsksOnce(WrongService):
    caught_by = "test_single_fault_of_a_read_is_repeated[patient-failed]"
    caught_with = "it failed"

    class Store(Shelf):
        answer = read_as(Fate.ANSWERED)


class TakesAThrottledReplyForAnOutage(WrongService):
    caught_by = "test_single_fault_of_a_read_is_repeated[hasty-throttled]"
    caught_with = "throttled"

    class Store(Shelf):
        def answer(self, status, content):
            if status == 429 and fails_fast():
                raise Fault(StoreUnavailableError(None, "throttled"))
            return super().answer(status, content)


class TakesALostConnectionForAnOutage(WrongService):
    caught_by = "test_single_fault_of_a_read_is_repeated[hasty-lost]"
    caught_with = "StoreUnavailableError"

    class Store(Shelf):
        fault_of = lost_as(Fate.ANSWERED)


class DoubtsAThrottledChange(WrongService):
    caught_by = "test_throttled_change_is_repeated_and_made_once[write]"
    caught_with = "WriteOutcomeUnknownError"

    class Store(Shelf):
        def answer(self, status, content):
            if status == 429:
                raise Fault(StoreUnavailableError(None, "throttled"), Fate.FAILED)
            return super().answer(status, content)


class DoubtsALastingThrottling(WrongService):
    caught_by = "test_lasting_throttling_is_an_outage_and_no_doubt"
    caught_with = "nothing was carried out"

    class Store(Shelf):
        def write(self, path, data):
            try:
                return super().write(path, data)
            except StoreUnavailableError:
                raise WriteOutcomeUnknownError(path) from None


class IgnoresRetryAfter(WrongService):
    caught_by = "test_pause_that_the_service_asks_for_is_kept"
    caught_with = "it asked again after 0."

    class Store(Shelf):
        class Client(Client):
            def send(self, *request, **headers):
                return *super().send(*request, **headers)[:2], None


class AsksWithoutAPause(WrongService):
    caught_by = "test_lasting_failure_is_an_outage"
    caught_with = "without a pause"

    class Store(Shelf):
        def read(self, path):
            while remaining() > 0.1:
                try:
                    return super().read(path)
                except StoreUnavailableError:
                    pass
            raise StoreUnavailableError(path)

        answer = read_as(Fate.ANSWERED)


class LeavesNoTimeForAFallback(WrongService):
    caught_by = "test_lasting_failure_leaves_time_for_a_fallback"
    caught_with = "and had 10 s"

    class Store(Shelf):
        def read(self, path):
            while remaining() > 1:
                try:
                    return super().read(path)
                except StoreUnavailableError:
                    time.sleep(0.1)
            raise StoreUnavailableError(path)


# --- changes ----------------------------------------------------------------------------------------------------------


class LeavesALostReplyToTheCaller(WrongService):
    caught_by = "test_change_whose_reply_was_lost_is_made_once[write]"
    caught_with = "WriteOutcomeUnknownError"

    class Store(Shelf):
        def call(self, path, method, target="", *, settle=None, **options):
            return super().call(path, method, target, **options)


class RepeatsALostDelete(WrongService):
    caught_by = "test_change_whose_reply_was_lost_is_made_once[delete]"
    caught_with = "SecretNotFoundError"

    class Store(Shelf):
        fault_of = lost_as(Fate.THROTTLED)


class RepeatsALostWrite(WrongService):
    """A write without a condition, as of a service without versions."""

    caught_by = "test_change_whose_reply_was_lost_is_made_once[write]"
    caught_with = "the service carried the change out twice"

    class Store(Shelf):
        fault_of = lost_as(Fate.THROTTLED)

        def write(self, path, data):
            return self.call(path, "PUT", body=dict(data))["version"]


class SwallowsAConflict(WrongService):
    caught_by = "test_change_after_one_of_another_client_tells_the_truth[write]"
    caught_with = "it reports a change that was not made"

    class Store(Shelf):
        def write(self, path, data):
            version = self.version(path) or None
            try:
                return self.write_if(path, data, version)
            except ConflictError:
                return None


class DeniesAChangeThatWasMade(WrongService):
    caught_by = "test_lost_reply_before_a_silence_tells_the_truth[write]"
    caught_with = "it denies a change that was made"

    class Store(Shelf):
        fault_of = lost_as(Fate.ANSWERED)


class ReportsAChangeThatFailed(WrongService):
    caught_by = "test_change_that_failed_tells_the_truth[failed-write]"
    caught_with = "it reports a change that was not made"

    class Store(Shelf):
        def write(self, path, data):
            try:
                return super().write(path, data)
            except StoreUnavailableError:
                return None


class TakesAnOddReplyForSuccess(WrongService):
    caught_by = "test_change_that_failed_tells_the_truth[odd-delete]"
    caught_with = "it reports a change that was not made"

    class Store(Shelf):
        def answer(self, status, content):
            return {} if content.startswith(b"<") else super().answer(status, content)


class DeletesBeforeItWrites(WrongService):
    """As a store of a service that can only create and delete."""

    caught_by = "test_write_that_stops_halfway_loses_nothing[write]"
    caught_with = "has lost the old secret"

    class Store(Shelf):
        def write(self, path, data):
            with suppress(SecretNotFoundError):
                self.delete(path)
            return self.write_if(path, data, None)


class DoubtsAChangeThatWasNotSent(WrongService):
    caught_by = "test_change_that_was_not_sent_was_not_made[delete]"
    caught_with = "nothing was carried out"

    class Store(Shelf):
        def fault_of(self, error):
            return (
                Fault(StoreUnavailableError(None), Fate.FAILED)
                if isinstance(error, UnsentError)
                else super().fault_of(error)
            )


# --- odd replies and pages --------------------------------------------------------------------------------------------


class OddReplyIsAbsent(WrongService):
    caught_by = "test_odd_reply_is_an_outage_and_no_absence"
    caught_with = "SecretNotFoundError"

    class Store(Shelf):
        def read(self, path):
            try:
                return super().read(path)
            except StoreUnavailableError as error:
                raise SecretNotFoundError(path) if error.reason == "another server" else error from None


class PageOfAnotherServerIsAbsent(WrongService):
    caught_by = "test_odd_reply_is_an_outage_and_no_absence[misdirected]"
    caught_with = "SecretNotFoundError"

    class Store(Shelf):
        def answer(self, status, content):
            return super().answer(status, b"{}" if status == 404 else content)


class FollowsARedirect(WrongService):
    caught_by = "test_odd_reply_is_an_outage_and_no_absence[redirected]"
    caught_with = "it sent the request to another server"

    class Store(Shelf):
        class Client(Client):
            def follow(self, location):
                return Client(location, self.token).send("GET", "/")


class TrustsEveryCertificate(WrongService):
    caught_by = "test_server_without_a_trusted_certificate_receives_nothing"
    caught_with = "it does not verify the certificate"

    class Store(Shelf):
        class Client(Client):
            context = ssl._create_unverified_context()


# --- credentials ------------------------------------------------------------------------------------------------------


class RejectedIsAbsent(WrongService):
    caught_by = "test_refused_credentials_are_a_denial[rejected]"
    caught_with = "SecretNotFoundError"

    class Store(Shelf):
        def answer(self, status, content):
            return super().answer(404 if status == 401 else status, b"{}" if status == 401 else content)


class DeniedIsAbsentInABatch(WrongService):
    caught_by = "test_refused_credentials_are_a_denial[denied]"
    caught_with = "SecretNotFoundError"

    class Store(Shelf):
        def read_many(self, paths):
            for path in paths:
                try:
                    yield path, self.read(path)
                except StoreError:
                    yield path, SecretNotFoundError(path)


class TellsTheTokenOfADenial(WrongService):
    caught_by = "test_refused_credentials_are_a_denial[denied]"
    caught_with = "PermissionDeniedError shows a value"

    class Store(Shelf):
        def answer(self, status, content):
            if status == 403:
                raise Fault(PermissionDeniedError(None, f"the token {self.token[:4]}*** has no such permission"))
            return super().answer(status, content)


class LogsItsToken(WrongService):
    caught_by = "test_credentials_are_shown_nowhere"
    caught_with = "a value is in the log of zoo"

    class Store(Shelf):
        def read(self, path):
            logging.getLogger("zoo").debug("GET %s, Bearer %s", path, self.token)
            return super().read(path)


class ShowsItsTokenInItsRepr(WrongService):
    caught_by = "test_credentials_are_shown_nowhere"
    caught_with = "repr() of the store shows a credential"

    class Store(Shelf):
        def __repr__(self):
            return f"Store(token={str(self.token)!r})"


class ShowsItsTokenInItsHealth(WrongService):
    caught_by = "test_credentials_are_shown_nowhere"
    caught_with = "the health shows a credential"

    class Store(Shelf):
        def probe(self):
            return Health(ok=True, facts={"authorization": base64.b64encode(f"app:{self.token}".encode()).decode()})


class HasACredentialThatNobodyRecognizes(WrongService):
    caught_by = "test_credentials_are_shown_nowhere"
    caught_with = "begin token in `options`"
    Store = Shelf

    @pytest.fixture
    def service(self, monkeypatch, tmp_path):
        SearchPath(tmp_path, monkeypatch).install("broken", {"broken": f"{__name__}:open_broken"})
        monkeypatch.setattr(ShelfService, "token", "s.1234567890")
        with broken(ShelfService, type(self).__name__) as service:
            yield service


# --- lists ------------------------------------------------------------------------------------------------------------


class OddReplyIsAnEmptyList(WrongService):
    caught_by = "test_odd_reply_is_an_outage_and_no_absence"
    caught_with = "DID NOT RAISE"

    class Store(Shelf):
        def list_entries(self, prefix):
            try:
                return iter(list(super().list_entries(prefix)))
            except StoreUnavailableError:
                return iter(())


class ListsWhatItHas(WrongService):
    caught_by = "test_failed_page_is_no_shorter_list[failed]"
    caught_with = "DID NOT RAISE"

    class Store(Shelf):
        def names(self) -> Iterator[str]:
            with suppress(StoreUnavailableError):
                yield from super().names()


class ListsTenPages(WrongService):
    caught_by = "test_more_than_ten_pages_are_listed_whole"
    caught_with = "name-00040"

    class Store(Shelf):
        def names(self):
            return islice(super().names(), 10 * PAGE)


class BeginsAListAgain(WrongService):
    caught_by = "test_page_that_failed_once_is_asked_for_again[failed]"
    caught_with = "name-00000"

    class Store(Shelf):
        answer = read_as(Fate.ANSWERED)

        def list_entries(self, prefix):
            for name in self.names():
                yield name.removeprefix(f"{prefix}/")

        def names(self):
            try:
                yield from super().names()
            except StoreUnavailableError:
                yield from super().names()


# --- applications -----------------------------------------------------------------------------------------------------


class LetsAFallbackAnswer(WrongService):
    caught_by = "test_fallback_does_not_answer_for_a_single_fault[throttled]"
    caught_with = "the fallback answered"

    class Store(Shelf):
        def read(self, path):
            try:
                return super().read(path)
            except StoreUnavailableError:
                raise SecretNotFoundError(path) from None

        def answer(self, status, content):
            if status == 429:
                raise Fault(StoreUnavailableError(None, "throttled"))
            return super().answer(status, content)


class KeepsAFallbackFromAnswering(WrongService):
    caught_by = "test_fallback_answers_in_an_outage"
    caught_with = "PermissionDeniedError"

    class Store(Shelf):
        def answer(self, status, content):
            if status == 503:
                raise Fault(PermissionDeniedError(None))
            return super().answer(status, content)


class EscapesTwoPathsAlike(WrongService):
    caught_by = "test_names_stay_apart"
    caught_with = "holds another secret"

    class Store(Shelf):
        def escape(self, path):
            return super().escape(path.replace("/", "--"))


class MeetsTheNamesOfItsOwnEscape(WrongService):
    caught_by = "test_names_stay_apart"
    caught_with = "holds another secret"

    class Store(Shelf):
        def escape(self, path):
            return super().escape(path.replace("/", "_2F"))


class CutsALongName(WrongService):
    caught_by = "test_names_stay_apart"
    caught_with = "holds another secret"

    class Store(Shelf):
        def escape(self, path):
            return super().escape(path)[:256]


class TakesAnOutageForAWrongName(WrongService):
    caught_by = "test_names_stay_apart"
    caught_with = "a path is refused with StoreUnavailableError"

    class Store(Shelf):
        def write_if(self, path, data, expected):
            if len(path) > 256:
                raise StoreUnavailableError(path, "HTTP 400")
            return super().write_if(path, data, expected)


class KeepsAnAbsence(WrongService):
    caught_by = "test_change_of_another_client_is_seen"
    caught_with = "SecretNotFoundError"

    class Store(Shelf):
        def __init__(self, url, token):
            super().__init__(url, token)
            self.absent = set()

        def read(self, path):
            if path in self.absent:
                raise SecretNotFoundError(path)
            try:
                return super().read(path)
            except SecretNotFoundError:
                self.absent.add(path)
                raise


class KeepsWhatNamesASecret(WrongService):
    """As a store that keeps the ID of a secret, which another client has deleted and made anew."""

    caught_by = "test_change_of_another_client_is_seen"
    caught_with = "SecretNotFoundError"

    class Store(Shelf):
        def __init__(self, url, token):
            super().__init__(url, token)
            self.known = set()

        def read(self, path):
            secret = super().read(path)
            self.known.add(path)
            return secret

        def write(self, path, data):
            if path in self.known:
                self.version_of(path)
            return super().write(path, data)

        def version_of(self, path):
            return super().read(path).version


class IgnoresTheExpectedVersion(WrongService):
    caught_by = "test_merges_of_several_writers_keep_every_key"
    caught_with = "assert "

    class Store(Shelf):
        def write_if(self, path, data, expected):
            while True:
                try:
                    return super().write_if(path, data, self.version(path) or None)
                except ConflictError:
                    pass


class ReadsWhatIsLate(WrongService):
    caught_by = "test_late_service_shows_own_writes_and_loses_no_key"
    caught_with = "it has no key"
    Store = Shelf

    @pytest.fixture
    def service(self, monkeypatch, tmp_path):
        SearchPath(tmp_path, monkeypatch).install("broken", {"broken": f"{__name__}:open_broken"})
        monkeypatch.setattr(ShelfService, "is_late", True)
        with broken(ShelfService, type(self).__name__) as service:
            yield service


class KeepsWhatItHasRead(WrongService):
    caught_by = "test_watch_reports_the_change_of_another_program"
    caught_with = "no change was reported"
    longest_test = 90.0

    class Store(Shelf):
        def __init__(self, url, token):
            super().__init__(url, token)
            self.kept = {}

        def read(self, path):
            if path not in self.kept:
                self.kept[path] = super().read(path)
            return self.kept[path]


class StripsValues(WrongService):
    caught_by = "test_migration_there_and_back_changes_nothing"
    caught_with = "changed"

    class Store(Shelf):
        def read(self, path):
            secret = super().read(path)
            data = {key: value.strip() if isinstance(value, str) else value for key, value in secret.data.items()}
            return replace(secret, data=data)


class FailsAMigrationForOneFault(WrongService):
    caught_by = "test_migration_passes_single_faults"
    caught_with = "MigrationError"

    class Store(Shelf):
        def answer(self, status, content):
            if status == 429:
                raise Fault(StoreError(None, "refused"))
            return super().answer(status, content)


class MigratesWhatItDidNotWrite(WrongService):
    caught_by = "test_migration_resumes_after_an_outage"
    caught_with = "DID NOT RAISE"

    class Store(Shelf):
        def write_if(self, path, data, expected):
            try:
                return super().write_if(path, data, expected)
            except StoreUnavailableError:
                return (expected or 0) + 1


class HoldsALockWhileItForks(WrongService):
    caught_by = "test_child_of_a_fork_during_a_call_has_its_own_connection"
    caught_with = "Timeout"  # of the child, which prints its stacks

    class Store(Shelf):
        lock = threading.Lock()

        def read(self, path) -> Secret:
            with self.lock:
                return super().read(path)


class SharesAConnectionOverAFork(WrongService):
    """A client of the module, as a `requests.Session` that each store uses."""

    caught_by = "test_child_of_a_fork_has_its_own_connection"
    caught_with = "they share a connection"

    class Store(Shelf):
        class Client(Client):
            kept = None

            def connection(self, timeout):
                if self.kept is None:
                    type(self).kept = super().connection(timeout)
                    self.kept.close = lambda: None
                    self.kept.connect()
                    self.kept.connect = lambda: None
                self.kept.sock.settimeout(timeout)
                return self.kept


class PrintsItsTokenInAProcess(WrongService):
    caught_by = "test_child_of_a_fork_has_its_own_connection"
    caught_with = "a value was printed to stderr"

    class Store(Shelf):
        def read(self, path):
            sys.stderr.write(f"Bearer {self.token}\n")
            return super().read(path)


class EndsWithItsParent(WrongService):
    caught_by = "test_child_of_a_fork_has_its_own_connection"
    caught_with = "right"

    class Store(Shelf):
        process = os.getpid()

        def read(self, path):
            secret = super().read(path)
            if self.process != os.getpid():
                raise StoreUnavailableError(path, "its connection is the parent's")
            return secret


class KeepsTheProcess(WrongService):
    caught_by = "test_hung_call_does_not_keep_the_process"
    caught_with = "it was not over after 8 seconds"
    longest_test = 8.0

    class Store(Shelf):
        def read(self, path):
            send = Client(f"http://{self.host}", "").send
            thread = threading.Thread(target=send, args=("GET", "/secrets/x"), daemon=False)
            thread.start()
            return super().read(path)

        def __init__(self, url, token):
            super().__init__(url, token)
            self.host = url.partition("//")[2]


WRONG = [wrong for wrong in WrongService.__subclasses__() if "caught_by" in vars(wrong)]
