"""The weather example: a slow third party becomes an alert."""

import asyncio
import math
import os
import subprocess
import sys
from typing import Any

import httpx
import pytest

from dev.process import ROOT
from dev.stack import Stack
from examples.weather import elapsed, percentile
from examples.weather import run as run_job
from tests.stack.conftest import Client


async def run(url: str, *more: str, key: str = "") -> tuple[int, str]:
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "examples.weather", "--url", url, *more],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "FUNCTIONS_KEY": key},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


async def test_slow_answers_turn_ok_into_an_alert(client: Client) -> None:
    status, said = await run(client.stack.functions_url, "--jobs", "5", "--threshold", "2000")
    assert (status, said.splitlines()[-1]) == (0, "ok")
    await client.turn(provider="weather", delay=2.5, times=1)
    status, said = await run(client.stack.functions_url, "--jobs", "5", "--threshold", "2000")
    assert (status, said.splitlines()[-1]) == (1, "ALERT: the weather provider is slow")
    assert client.stack.log("functions").read_text("utf-8").count("start.answered") == 10


async def test_answers_that_do_not_come_in_time_are_an_alert_too(client: Client) -> None:
    await client.turn(provider="weather", hang=True, times=1)
    status, said = await run(client.stack.functions_url, "--jobs", "1")
    assert status == 1
    assert said.startswith("1 jobs: p50 inf ms, p95 inf ms, threshold 1000 ms\n")


async def test_the_app_is_shown_its_key(stack: Stack) -> None:
    stack.running["functions"].stop()
    stack.settings["DEV_HOST_KEY"] = "made-up"
    stack.start("functions")
    status, said = await run(stack.functions_url, "--jobs", "1")
    assert (status, "401" in said) == (2, True)
    status, _ = await run(stack.functions_url, "--jobs", "1", "--threshold", "60000", key="made-up")
    assert status == 0


async def test_no_jobs_are_no_verdict() -> None:
    status, said = await run("http://127.0.0.1:1", "--jobs", "0")
    assert (status, "--jobs must be 1 or more" in said) == (2, True)


def test_a_job_that_waits_for_its_turn_is_asked_for_until_it_has_ended() -> None:
    told = iter(["accepted", "running", "succeeded", "never asked for"])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"id": "job_1"})
        assert request.url.path == "/api/jobs/job_1"
        return httpx.Response(200, json={"status": next(told)}, headers={"retry-after": "0"})

    with httpx.Client(base_url="http://app.example", transport=httpx.MockTransport(answer)) as client:
        assert run_job(client) == {"status": "succeeded"}


async def test_without_the_app_there_is_no_verdict() -> None:
    status, said = await run("http://127.0.0.1:1", "--jobs", "1")
    assert (status, said.startswith("no verdict: ")) == (2, True)


@pytest.mark.parametrize(
    ("count", "percent", "found"),
    [(1, 95, 1), (19, 95, 19), (20, 95, 19), (20, 50, 10), (21, 50, 11), (100, 95, 95)],
)
def test_a_percentile_is_one_of_the_values(count: int, percent: int, found: int) -> None:
    assert percentile(list(range(count, 0, -1)), percent) == found


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([("start.answered", 80), ("settled", None)], 80),
        ([("start.lost", None), ("start.answered", 80)], math.inf),
        ([("start.put_off", None), ("start.answered", 80)], math.inf),
        ([("accepted", None)], math.inf),
    ],
    ids=["answered", "lost first", "put off first", "never"],
)
def test_an_answer_that_did_not_come_in_time_is_slower_than_any(
    events: list[tuple[str, int | None]], found: float
) -> None:
    history: list[dict[str, Any]] = [{"event": event, "elapsed_ms": taken} for event, taken in events]
    assert elapsed({"history": history}) == found
