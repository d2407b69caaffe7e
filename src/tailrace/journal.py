"""What a server logs of itself: for people, or one JSON object a line.

The law of this file: a line is one line, whatever is in it; what it is about (`execution_id`) is a
field of its own, also where the one who logs does not know that it runs inside an execution.
"""

import logging
import re
import sys
from typing import Any, TextIO

from pydantic_core import to_json

from tailrace.ambient import speaker
from tailrace.clock import SystemClock, rfc3339

_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LOGGERS = ("tailrace", "uvicorn")


class _Filled(logging.Formatter):
    """What both formats know of a record."""

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        told = dict(getattr(record, "fields", None) or {})
        execution_id = getattr(record, "execution_id", None) or speaker()
        if execution_id is not None:
            told.setdefault("execution_id", execution_id)
        return told


class JsonFormatter(_Filled):
    """`{"ts": …, "level": …, "logger": …, "message": …}`, and the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record down."""
        line: dict[str, Any] = {
            "ts": rfc3339(SystemClock().now()),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= self.fields(record)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return to_json(line, fallback=str).decode()


class TextFormatter(_Filled):
    """`2026-02-18T10:30:00.123456Z warning tailrace: message execution_id=…`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record down."""
        head = f"{rfc3339(SystemClock().now())} {record.levelname.lower()} {record.name}:"
        fields = [f"{name}={value}" for name, value in self.fields(record).items()]
        # A name or a message from outside must not make a line that looks like another record.
        line = _NOT_TEXT.sub(
            "\N{REPLACEMENT CHARACTER}", " ".join([head, record.getMessage(), *fields])
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(log_format: str, *, access: bool, stream: TextIO | None = None) -> None:
    """Let the loggers of a server write to stderr. For the owner of a process, once."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.WARNING)
    if access:
        logging.getLogger("tailrace.access").setLevel(logging.INFO)
