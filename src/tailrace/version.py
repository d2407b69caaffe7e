"""The version, from the package's metadata: written once, in pyproject.toml."""

from importlib.metadata import version

__version__ = version("tailrace")
