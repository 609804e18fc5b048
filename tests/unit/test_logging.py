"""Logs without values: the filter of `logging` and the processor of structlog."""

from __future__ import annotations

import base64
import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator

import pytest
import structlog

from strongroom import SecretsManager
from strongroom.logging import RedactingFilter, RedactingProcessor, masked
from strongroom.store.memory import open_memory
from support.scenarios.redaction import forget_values

VALUE = "canary-for-logs-91ab"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Neither the values of other tests are masked, nor those of these tests in others."""
    forget_values()
    yield
    forget_values()


@pytest.fixture
def value() -> str:
    """A value that this process has read, after the filter was made."""
    RedactingFilter()
    with SecretsManager(
        chain=[open_memory(secrets={"a/b": {"k": VALUE, "n": {"in": ["canary-nested-77"]}}})]
    ) as secrets:
        return secrets.get_secret("a/b", "k").reveal()


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """Everything that a handler with the filter has written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    handler.setFormatter(logging.Formatter("%(message)s %(token)s", defaults={"token": ""}))
    logger = logging.getLogger("application")
    logger.addHandler(handler)
    yield stream.getvalue
    logger.removeHandler(handler)


def log() -> logging.Logger:
    return logging.getLogger("application")


def test_message_arguments_and_fields_are_masked(value, logged):
    log().warning("one %s", value)
    log().warning(f"two {value}")
    log().warning("three %(x)s", {"x": {"list": [value]}})
    log().warning("four", extra={"token": [value, 5]})
    log().warning("five %s", base64.b64encode(f"user:{value}".encode()).decode())
    log().warning("six canary-nested-77")
    text = logged()
    assert "canary" not in text
    assert base64.b64encode(value.encode()).decode()[4:20] not in text
    assert text.count("[redacted]") == 6
    assert "[5]" not in text


def test_a_traceback_is_masked_and_stays_whole(value, logged):
    try:
        int(f"refused {value}")
    except ValueError:
        log().exception("failed", stack_info=True)
    text = logged()
    assert "canary" not in text
    assert "base 10: 'refused [redacted]'" in text
    assert "Traceback (most recent call last)" in text


def test_other_records_pass_unchanged(value, logged):
    log().warning("plain %s %d", "text", 5)
    assert logged() == "plain text 5 \n"


def test_arguments_that_do_not_fit_are_masked_too(value):
    """The handler prints them with its error."""
    record = logging.makeLogRecord({"msg": "%d", "args": (value,)})
    assert RedactingFilter().filter(record)
    assert record.args == ("[redacted]",)


def test_a_value_that_is_read_by_key_is_masked(logged, monkeypatch):
    """The environment has no whole secret here."""
    monkeypatch.setenv("SOME_THING_KEY", "canary-by-key-5512")
    with SecretsManager(chain=["env"]) as secrets:
        secrets.get_secret("some/thing", "key")
    log().warning("canary-by-key-5512")
    assert "canary" not in logged()


def test_a_configuration_of_logging_names_the_filter(value, tmp_path):
    file = tmp_path / "app.log"
    before = logging.getLogger().handlers[:]
    logging.config.dictConfig(
        {
            "version": 1,
            "incremental": False,
            "disable_existing_loggers": False,
            "filters": {"redact": {"()": "strongroom.logging.RedactingFilter"}},
            "handlers": {"file": {"class": "logging.FileHandler", "filename": str(file), "filters": ["redact"]}},
            "loggers": {"configured": {"handlers": ["file"], "propagate": False}},
        }
    )
    try:
        logging.getLogger("configured").warning("x %s", value)
    finally:
        for handler in logging.getLogger("configured").handlers[:]:
            logging.getLogger("configured").removeHandler(handler)
            handler.close()
        logging.getLogger().handlers[:] = before
    assert file.read_text("utf-8") == "x [redacted]\n"


class Client:
    """An object that prints a value: with `repr`, or only with `str`."""

    def __init__(self, text: str, *, shows: bool) -> None:
        self._text, self._shows = text, shows

    def __repr__(self) -> str:
        return f"Client({self._text})" if self._shows else "Client()"

    def __str__(self) -> str:
        return f"client of {self._text}"


def test_a_number_is_masked_in_a_message_and_in_a_field():
    """A formatter of JSON prints the fields."""
    RedactingFilter()
    with SecretsManager(chain=[open_memory(secrets={"a/b": {"pin": 847261, "port": 5432}})]) as secrets:
        secrets.get_secret("a/b")
    fields = {"pin": 847261, "port": 5432, "nested": [847261, 847261.0, 5432.5]}
    record = logging.makeLogRecord({"msg": "pin %d of %d", "args": (847261, 5432), **fields})
    assert RedactingFilter().filter(record)
    assert record.getMessage() == "pin [redacted] of 5432"
    assert [vars(record)[name] for name in fields] == ["[redacted]", 5432, ["[redacted]", "[redacted].0", 5432.5]]
    event = RedactingProcessor()(None, "info", {"event": "x", "pin": 847261, "port": 5432})
    assert event == {"event": "x", "pin": "[redacted]", "port": 5432}


def test_an_object_that_would_print_a_value_is_masked(value):
    """An exception as a field, for one. Others stay the objects that they are."""
    harmless = Client("nobody", shows=True)
    found = masked([ValueError(value), Client(value, shows=True), Client(value, shows=False), harmless, 5, None])
    assert found == ["ValueError('[redacted]')", "Client([redacted])", "client of [redacted]", harmless, 5, None]


@pytest.mark.parametrize("exc_info", [True, "error", "tuple"])
def test_structlog_masks_an_exception_that_the_renderer_formats(value, exc_info):
    """As the renderer of a console does."""
    stream = io.StringIO()
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    logger = structlog.wrap_logger(structlog.PrintLogger(stream), processors=[RedactingProcessor(), renderer])
    for text in (value, "nothing secret"):
        try:
            int(text)
        except ValueError as error:
            given = {"error": error, "tuple": (type(error), error, error.__traceback__)}.get(exc_info, True)
            logger.exception("failed", exc_info=given)
    assert "canary" not in stream.getvalue()
    assert "base 10: '[redacted]'" in stream.getvalue()
    assert "base 10: 'nothing secret'" in stream.getvalue()


def test_structlog_masks_the_event_and_its_fields(value):
    stream = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[structlog.processors.format_exc_info, RedactingProcessor(), structlog.processors.JSONRenderer()],
    )
    try:
        int(value)
    except ValueError:
        event = f"failed {value}"
        logger.exception(event, token=value, nested={"list": [f"x{value}"]}, count=5)
    event = json.loads(stream.getvalue())
    assert "canary" not in stream.getvalue()
    assert event["event"] == "failed [redacted]"
    assert (event["token"], event["nested"], event["count"]) == ("[redacted]", {"list": ["x[redacted]"]}, 5)
    assert "base 10: '[redacted]'" in event["exception"]
