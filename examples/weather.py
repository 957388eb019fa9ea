"""From slow answers to an alert: `python -m examples.weather` starts weather jobs and judges the p95.

Each job's history says how long its provider took to answer (`elapsed_ms`). Exit status 0: the 95th
percentile is within the threshold; 1: it is over it, raise the alert; 2: the app did not do as it should.
The app asks for a function key in Azure: set FUNCTIONS_KEY.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx

FORECAST = {"latitude": 52.52, "longitude": 13.41, "current": ["temperature_2m"], "hourly": []}
PATIENCE = 60.0
"""Seconds to wait for a job's end: an answer that does not come is asked for again by the app."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.weather", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--threshold", type=float, default=1000, metavar="MS", help="for the p95")
    parser.add_argument("--url", default="http://127.0.0.1:7071", help="where the app is")
    given = parser.parse_args(arguments)
    if given.jobs < 1:
        parser.error("--jobs must be 1 or more")
    headers = {"x-functions-key": key} if (key := os.environ.get("FUNCTIONS_KEY")) else {}
    try:
        with httpx.Client(base_url=given.url, headers=headers, timeout=30) as client:
            measured = [elapsed(run(client)) for _ in range(given.jobs)]
    except (httpx.HTTPError, TimeoutError) as error:
        print(f"no verdict: {error}", file=sys.stderr)
        return 2
    p50, p95 = percentile(measured, 50), percentile(measured, 95)
    print(f"{given.jobs} jobs: p50 {p50:.0f} ms, p95 {p95:.0f} ms, threshold {given.threshold:.0f} ms")
    if p95 > given.threshold:
        print("ALERT: the weather provider is slow")
        return 1
    print("ok")
    return 0


def run(client: httpx.Client) -> dict[str, Any]:
    """Start a job and wait for its end; raises httpx.HTTPError, or TimeoutError after 60 s."""
    started = client.post("/api/jobs/weather", json={"input": FORECAST}).raise_for_status()
    last = time.monotonic() + PATIENCE
    while time.monotonic() < last:
        answer = client.get(f"/api/jobs/{started.json()['id']}").raise_for_status()
        job: dict[str, Any] = answer.json()
        if job["status"] not in {"accepted", "running", "ambiguous"}:
            return job
        time.sleep(float(answer.headers.get("retry-after", 1)))
    raise TimeoutError(f"a job did not end within {PATIENCE:.0f} s")


def elapsed(job: dict[str, Any]) -> float:
    """Read the milliseconds that the provider took.

    Where a start was given up on or put off, the time that matters has no number. Such a job counts as slower
    than any: left out, it would make the slowest provider look the fastest.
    """
    events = {entry["event"]: entry["elapsed_ms"] for entry in job["history"]}
    if "start.answered" not in events or events.keys() & {"start.lost", "start.put_off"}:
        return math.inf
    return float(events["start.answered"])


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the least value that this share of all values does not exceed (nearest rank)."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


if __name__ == "__main__":
    sys.exit(main())
