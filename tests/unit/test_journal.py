"""What a server says of itself: one line each, whatever is in it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from tailrace import journal
from tailrace.ambient import speaking
from tailrace.log.memory import MemoryLog
from tailrace.recorder import Recorder
from tailrace.testing import FakeClock


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (*journal.LOGGERS, "tailrace.access")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


def said(log_format: str, *, access: bool = False) -> io.StringIO:
    stream = io.StringIO()
    journal.configure(log_format, access=access, stream=stream)
    return stream


def test_json_is_one_object_a_line_with_its_fields() -> None:
    stream = said("json")
    logger = logging.getLogger("tailrace.http")
    logger.warning("two\nlines of %s", "text", extra={"execution_id": "X1", "fields": {"n": 1}})
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("failed")
    logger.info("not asked for")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("ts").endswith("Z")
    assert first == {
        "level": "warning",
        "logger": "tailrace.http",
        "message": "two\nlines of text",
        "n": 1,
        "execution_id": "X1",
    }
    assert "ValueError: why" in second["error"]
    assert second["level"] == "error"


def test_text_is_one_line_too() -> None:
    stream = said("text")
    message = "a\n2026 info tailrace: \x1b[31mforged\u2028"
    logging.getLogger("tailrace").warning(message, extra={"execution_id": "X1"})
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(
        "warning tailrace: a\ufffd2026 info tailrace: \ufffd[31mforged\ufffd execution_id=X1"
    )


def test_the_servers_own_library_writes_the_same_way() -> None:
    stream = said("json")
    logging.getLogger("uvicorn.error").error("it broke")
    assert json.loads(stream.getvalue())["logger"] == "uvicorn.error"


def test_the_access_log_is_off_unless_asked_for() -> None:
    access = logging.getLogger("tailrace.access")
    for wanted in (False, True):
        stream = said("text", access=wanted)
        access.info("GET /")
        assert bool(stream.getvalue()) is wanted


async def test_what_is_logged_inside_an_execution_names_it() -> None:
    stream = said("json")
    async with MemoryLog() as log:
        with speaking(Recorder(log, FakeClock(), "X7")):
            logging.getLogger("tailrace.redact").warning("inside")
        logging.getLogger("tailrace.redact").warning("outside")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert inside["execution_id"] == "X7"
    assert "execution_id" not in outside
