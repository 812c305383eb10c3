"""What the Python peers share: how samples are taken, and how figures are printed."""

import json
import sys
import time

WORK = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


def figure(row, unit, p50, p99):
    print(json.dumps({"row": row, "unit": unit, "p50": p50, "p99": p99}), flush=True)


def times(row, samples):
    samples = sorted(seconds * 1e6 for seconds in samples)
    figure(row, "us", samples[len(samples) // 2], samples[min(len(samples) * 99 // 100, len(samples) - 1)])


def rate(row, calls, seconds):
    figure(row, "per s", calls / seconds, calls / seconds)


def warm_ups(calls):
    return min(calls, 100) // 10 + 1


def spin():
    while True:
        pass


def echo(data):
    return data


now = time.perf_counter
