"""Tailrace inside a program: run a flow, follow it, report code of your own.

python examples/scripts/in_process.py
"""

import asyncio

from tailrace import Event, Run, Settings, Tailrace, TailraceError, __version__, flow, node


@node(effects="pure")
async def divide(a: int, b: int) -> float:
    """One step."""
    return a / b


@flow
def division(a: int, b: int) -> object:
    """A flow of one step."""
    return divide(a, b)


async def show(run: Run) -> None:
    """Print a run's events, then how it ended."""
    event: Event
    async for event in run.follow():
        print(event.id, event.type)
    try:
        print("output:", await run)
    except TailraceError as error:
        print("error:", error.code, error)


async def main() -> None:
    """Run a flow well and badly, and a block of one's own."""
    print("tailrace", __version__)
    async with Tailrace("memory:", flows=[division], settings=Settings(lease_s=30)) as tailrace:
        await show(await tailrace.start(division, a=1, b=4))
        await show(await tailrace.start(division, a=1, b=0))
        async with tailrace.execution("import") as reported:
            reported.log("starting")
            async with reported.node("fetch"):
                reported.progress(0.5)
        await show(reported.run)


if __name__ == "__main__":
    asyncio.run(main())
