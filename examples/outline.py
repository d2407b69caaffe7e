"""Builds a structured output step by step: watchers see it grow as JSON Patches.

tailrace run outline --stream
"""

from pydantic import BaseModel

from tailrace import agent, partial_output, step, tool_call

TEXT = """# Tides
The sea rises and falls twice a day.
## Moon
The moon pulls the water towards itself.
The far side bulges too.
## Sun
The sun pulls with half the moon's force.
"""


class Section(BaseModel):
    """A heading, and what is below it."""

    title: str
    words: int = 0


class Outline(BaseModel):
    """What a text is about."""

    sections: list[Section] = []


@agent
async def outline(text: str = TEXT) -> Outline:
    """Read a Markdown text and outline it, section by section."""
    made = Outline()
    async with step("read"):
        with tool_call("split", {"characters": len(text)}) as call:
            call.output = lines = text.splitlines()
    for line in lines:
        if line.startswith("#"):
            made.sections.append(Section(title=line.lstrip("# ")))
        elif made.sections:
            made.sections[-1].words += len(line.split())
        partial_output(made)  # what has changed becomes `structured.delta`
    return made
