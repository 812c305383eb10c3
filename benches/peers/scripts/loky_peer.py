"""loky: trusted Python functions, in other processes. A call that runs cannot be stopped."""

import operator
from concurrent.futures import FIRST_COMPLETED, wait

from loky import get_reusable_executor
from measure import WORK, echo, now, rate, times, warm_ups


def timed(calls, call):
    for _ in range(warm_ups(calls)):
        call()
    samples = []
    for _ in range(calls):
        start = now()
        call()
        samples.append(now() - start)
    return samples


def main():
    start = now()
    executor = get_reusable_executor(max_workers=WORK["workers"])

    def add():
        assert executor.submit(operator.add, 1, 2).result() == 3

    add()
    times("first_call", [now() - start])
    times("warm", timed(WORK["small"], add))
    for size, count in WORK["echoes"]:
        data = bytes(size)

        def round_trip():
            assert len(executor.submit(echo, data).result()) == size

        times(f"echo_{size >> 20}m", timed(count, round_trip))

    start = now()
    under_way = set()
    for _ in range(WORK["burst"]):
        if len(under_way) == WORK["in_flight"]:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            assert all(call.result() == 3 for call in done)
        under_way.add(executor.submit(operator.add, 1, 2))
    assert all(call.result() == 3 for call in under_way)
    rate("burst", WORK["burst"], now() - start)
    executor.shutdown(kill_workers=True)


if __name__ == "__main__":
    main()
