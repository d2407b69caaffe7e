"""How long it takes until the live page shows what one came for: from an empty cache, on loopback.

    python -m benchmarks.page [ROUNDS]

Chromium, headless; measured in the page, from the beginning of its loading to the first row of the
list, or the first node of an execution's graph. One JSON line: milliseconds.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

COMMAND = str(Path(sys.executable).with_name("tailrace"))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SEEN = "[role=row][data-execution], [data-node]"
WATCH = f"""
new MutationObserver(() => {{
  if (!window.seenAt && document.querySelector("{SEEN}")) window.seenAt = performance.now();
}}).observe(document, {{ childList: true, subtree: true }});
"""


def _seen(context: BrowserContext, url: str) -> float:
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(SEEN)
    return float(page.evaluate("window.seenAt"))


def measure(url: str, execution_id: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round; each begins with an empty cache."""
    paths = {"list": "/ui/", "execution": f"/ui/executions/{execution_id}"}
    found: dict[str, list[float]] = {name: [] for name in paths}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS, headless=True
        )
        for _ in range(rounds):
            for name, path in paths.items():
                context = browser.new_context()
                context.add_init_script(WATCH)
                found[name].append(_seen(context, url + path))
                context.close()
        browser.close()
    return found


def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"TAILRACE_STORE": f"sqlite:///{folder}/log.db"}
        ran = subprocess.run(
            [COMMAND, "run", "etl", "--json"], env=env, check=True, capture_output=True, text=True
        )
        execution_id = json.loads(ran.stdout.splitlines()[0])["execution_id"]
        server = subprocess.Popen(
            [COMMAND, "serve", "etl", "--port", "0"], env=env, stderr=subprocess.PIPE, text=True
        )
        try:
            assert server.stderr is not None
            url = re.search(r"http://\S+", server.stderr.readline())
            assert url is not None
            found = measure(url[0], execution_id, rounds)
        finally:
            server.terminate()
            server.communicate()
    told = {
        name: {"median": round(statistics.median(each)), "max": round(max(each))}
        for name, each in found.items()
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
