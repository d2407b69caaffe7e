"""`tailrace doctor`: what the checks found, for people and for programs.

The law of this file: findings go to stdout as they are made, what is waited for to stderr; each
has a sign and a word, never colour alone.
"""

import sys

from rich.text import Text

from tailrace.cli import render
from tailrace.cli.options import DONE, FAILED, print_json
from tailrace.client.doctor import examine
from tailrace.client.verdicts import DOCUMENT, Finding, Level

_SIGNS: dict[Level, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "note": ("·", "yellow"),
    "problem": ("✗", "red"),
}


async def check(url: str, idle_s: float, token: str | None, *, as_json: bool) -> int:
    """Examine the way to a server, print what is found, and return the exit status."""
    console, problems = render.console(), 0

    def report(finding: Finding) -> None:
        nonlocal problems
        problems += finding.level == "problem"
        if as_json:
            print_json(finding.to_dict())
        else:
            console.print(_text(finding))

    def progress(doing: str) -> None:
        print(f"tailrace: {doing} …", file=sys.stderr, flush=True)

    await examine(url, idle_s=idle_s, token=token, report=report, progress=progress)
    if not problems:
        print("tailrace: nothing on the way breaks streams", file=sys.stderr)
        return DONE
    found = "1 problem" if problems == 1 else f"{problems} problems"
    print(f"tailrace: {found}; {DOCUMENT} shows whole configurations", file=sys.stderr)
    return FAILED


def _text(finding: Finding) -> Text:
    sign, style = _SIGNS[finding.level]
    text = Text.assemble((f"{sign} {finding.level:<8}", style), (f"{finding.code:<24}", "bold"))
    text.append(finding.measured)
    if finding.advice and finding.level != "ok":
        text.append(f"\n  → {finding.advice}", style="dim")
    return text
