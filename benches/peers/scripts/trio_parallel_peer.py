"""trio-parallel: trusted Python functions, in other processes."""

import operator

import trio
import trio_parallel
from measure import WORK, echo, now, rate, spin, times, warm_ups


async def timed(calls, call):
    for _ in range(warm_ups(calls)):
        await call()
    samples = []
    for _ in range(calls):
        start = now()
        await call()
        samples.append(now() - start)
    return samples


async def main():
    start = now()
    assert await trio_parallel.run_sync(operator.add, 1, 2) == 3
    times("first_call", [now() - start])

    async def add():
        assert await trio_parallel.run_sync(operator.add, 1, 2) == 3

    times("warm", await timed(WORK["small"], add))
    for size, count in WORK["echoes"]:
        data = bytes(size)

        async def round_trip():
            assert len(await trio_parallel.run_sync(echo, data)) == size

        times(f"echo_{size >> 20}m", await timed(count, round_trip))

    start = now()
    free = trio.CapacityLimiter(WORK["in_flight"])
    workers = trio.CapacityLimiter(WORK["workers"])

    async def one():
        async with free:
            assert await trio_parallel.run_sync(operator.add, 1, 2, limiter=workers) == 3

    async with trio.open_nursery() as nursery:
        for _ in range(WORK["burst"]):
            nursery.start_soon(one)
    rate("burst", WORK["burst"], now() - start)

    after = WORK["stop_after_ms"] / 1000

    async def stop():
        with trio.move_on_after(after):
            await trio_parallel.run_sync(spin, kill_on_cancel=True)
        await add()

    times("stop", [seconds - after for seconds in await timed(WORK["stops"], stop)])


if __name__ == "__main__":
    trio.run(main)
