"""The build hook: wheels and sdists have the live page in them, an editable install beside its source.

The law of this file: it calls web/build.py, or says why not. With TAILRACE_SKIP_UI=1 it does
nothing, and the server then says at `/ui/` how to get the page.
"""

import os
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):  # type: ignore[type-arg] # of a configuration that it has not
    """Builds the live page where the sources of it are."""

    PLUGIN_NAME = "custom"

    def _builder(self) -> dict[str, Any] | None:
        """web/build.py, if there is something to do."""
        path = Path(self.root) / "web" / "build.py"
        if os.environ.get("TAILRACE_SKIP_UI") == "1" or not path.is_file():
            return None
        builder = runpy.run_path(str(path))
        return None if builder["is_fresh"]() else builder

    def dependencies(self) -> list[str]:
        """Node.js, where the machine has none."""
        builder = self._builder()
        needed = builder is not None and not builder["machine_has_node"]()
        return [builder["NODE_WHEEL"]] if builder is not None and needed else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it, before anything is packed."""
        if (builder := self._builder()) is not None:
            self.app.display_info("Building the live page (npm) …")
            try:
                builder["build"]()
            except builder["BuildError"] as error:
                self.app.abort(str(error))
