"""Timer triggers of the local host."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from dev.host.process import start
from dev.host.timers import ScheduleError, parse_schedule

APP = Path(__file__).parent / "apps" / "clock.py"


@pytest.mark.parametrize(
    ("schedule", "now", "following"),
    [
        ("0 * * * * *", "2026-11-23T11:00:00", "2026-11-23T11:01:00"),
        ("*/2 * * * * *", "2026-11-23T11:00:01", "2026-11-23T11:00:02"),
        ("30 5 11 * * *", "2026-11-23T11:05:30", "2026-11-24T11:05:30"),
        ("0 0 9 * * 1-5", "2026-11-27T10:00:00", "2026-11-30T09:00:00"),
        ("0 0 0 13 * 5", "2026-11-23T00:00:00", "2027-08-13T00:00:00"),
        ("*/5 * * * *", "2026-11-23T11:01:30", "2026-11-23T11:05:00"),
        ("00:00:30", "2026-11-23T11:00:10", "2026-11-23T11:00:40"),
    ],
    ids=[
        "each minute",
        "each second second",
        "daily",
        "weekdays",
        "day of month and weekday must both fit",
        "five fields are without seconds",
        "a time span",
    ],
)
def test_the_next_time(schedule: str, now: str, following: str) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert parse_schedule(schedule)(moment) == datetime.fromisoformat(following).replace(tzinfo=UTC)


@pytest.mark.parametrize("schedule", ["", "now", "* * * *", "99 * * * * *", "0 0 0 0 0 0 0", "00:00:00"])
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ScheduleError):
        parse_schedule(schedule)


async def test_a_timer_runs_at_startup_and_by_its_schedule_and_outlives_a_failure(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.touch()
    host = start(APP, log=tmp_path / "log", env={"RUNS": str(runs)})
    try:
        while len(runs.read_text().splitlines()) < 3:
            await asyncio.sleep(0.01)
    finally:
        host.stop()
    said = [json.loads(line) for line in runs.read_text().splitlines()]
    assert {run["past_due"] for run in said} == {False}
    assert [datetime.fromisoformat(run["at"]).second % 2 for run in said[1:]] == [0] * len(said[1:])
    assert "invocation failed function=at_start" in host.log.read_text()


async def test_a_timer_never_runs_beside_itself_and_the_stop_waits_for_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.touch()
    host = start(APP, log=tmp_path / "log", env={"RUNS": str(runs)})
    async with httpx.AsyncClient(base_url=host.url) as client:
        seen = 0
        while seen < 3:
            answer = (await client.get("/together")).json()
            assert answer["most"] <= 1
            seen = answer["ended"]
            await asyncio.sleep(0.01)
        while not (answer := (await client.get("/together")).json())["running"]:
            await asyncio.sleep(0.01)
    await asyncio.to_thread(host.stop)
    assert host.process.returncode == 0
    assert host.log.read_text().count("long run ended") == answer["ended"] + 1
