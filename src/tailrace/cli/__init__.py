"""The `tailrace` command: the only reader of the environment, the only writer to a terminal."""

from tailrace.cli.main import main

__all__ = ["main"]
