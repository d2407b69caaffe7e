"""Tailrace: live, durable, resumable execution streaming.

Run workflows, agents and tasks, and let anyone allowed follow them as they happen.

The law of this file: these are the public names. Errors are in `tailrace.errors`, event
payloads in `tailrace.events`, helpers for tests in `tailrace.testing`.
"""

from tailrace.agent import Result, agent, task
from tailrace.ambient import (
    chunk,
    emit,
    flush,
    idempotency_key,
    log,
    partial_output,
    progress,
    step,
    tool_call,
    usage,
)
from tailrace.api import Tailrace
from tailrace.broker import LogBroker
from tailrace.client import Client, SyncClient
from tailrace.errors import TailraceError
from tailrace.events import Event
from tailrace.flow.build import flow
from tailrace.flow.control import after, collect, switch, when
from tailrace.flow.node import node
from tailrace.redact import Redactor
from tailrace.run import Run
from tailrace.settings import Settings
from tailrace.version import __version__

__all__ = [
    "Client",
    "Event",
    "LogBroker",
    "Redactor",
    "Result",
    "Run",
    "Settings",
    "SyncClient",
    "Tailrace",
    "TailraceError",
    "__version__",
    "after",
    "agent",
    "chunk",
    "collect",
    "emit",
    "flow",
    "flush",
    "idempotency_key",
    "log",
    "node",
    "partial_output",
    "progress",
    "step",
    "switch",
    "task",
    "tool_call",
    "usage",
    "when",
]
