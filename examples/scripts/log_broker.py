"""Log lines by id inside a program: threads publish, tasks subscribe, and nothing secret is kept.

python examples/scripts/log_broker.py
"""

import asyncio

from tailrace import LogBroker, Redactor, Tailrace


def build(broker: LogBroker) -> None:
    """Some work in a thread, which says how far it is."""
    for number in range(1, 4):
        broker.publish("build-7", f"compiling {number} of 3", source="stdout")
    broker.publish("build-7", "login with hunter22", source="stderr", level="warning")
    broker.close("build-7")


async def main() -> None:
    """Follow a build while it runs, and once more when it has ended."""
    redactor = Redactor(secrets=["hunter22"])
    async with Tailrace("memory:", redactor=redactor) as tailrace:
        broker = LogBroker(tailrace)
        async with broker.subscribe("build-7") as lines, asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(build, broker))
            async for line in lines:
                print("live:", line)
        async with broker.subscribe("build-7", replay=True) as every:
            print("kept:", len([line async for line in every]), "lines")


if __name__ == "__main__":
    asyncio.run(main())
