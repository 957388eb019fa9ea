"""Whatever fails, dies, comes late or twice: nothing is lost, and each job has one outcome."""

import asyncio
import logging
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import pytest

from tests.simulation import bus
from tests.simulation.broken import BROKEN, broken
from tests.simulation.loop import VirtualLoop
from tests.simulation.plans import PLANS
from tests.simulation.world import Violation, World

SEEDS = 2400
CHUNK = 100
HUNT = 4000
"""In how many seeds each broken variant has to be found; which one finds it is the same each time."""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("services"), "propagate", False)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_is_lost_and_each_job_has_one_outcome(first: int) -> None:
    for seed in range(first, first + CHUNK):
        World(seed).run()


def test_a_run_does_something_under_every_plan() -> None:
    worlds = [World(seed).run() for seed in range(100)]
    assert {world.plan.name for world in worlds} == {plan.name for plan in PLANS}
    assert {world.plan.name for world in worlds if world.watch.outcomes} == {plan.name for plan in PLANS}
    ends = {job.status.value for world in worlds for job in world.watch.rows.values()}
    assert ends == {"succeeded", "failed", "canceled", "expired"}


def fingerprints() -> str:
    return "\n".join(World(seed).run().fingerprint() for seed in range(20))


def test_a_seed_plays_the_same_run_again_also_in_another_process() -> None:
    here = fingerprints()
    assert here == fingerprints()
    program = "from tests.simulation.test_simulation import fingerprints; print(fingerprints())"
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here


def test_duplicates_have_to_be_known_for_longer_than_an_outage_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "WINDOW", 300.0)

    def search() -> None:
        for seed in range(HUNT):
            World(seed).run()

    with pytest.raises(Violation, match="an outcome is on the topic twice"):
        search()


def test_virtual_time_jumps_to_the_next_timer_and_wakes_in_its_order() -> None:
    loop, woken = VirtualLoop(), []

    async def wake(after: float) -> None:
        await asyncio.sleep(after)
        woken.append((after, loop.time()))

    async def all_of_them() -> None:
        await asyncio.gather(wake(86_400), wake(0.5), wake(3))

    loop.run_until_complete(all_of_them())
    loop.end()
    assert woken == [(0.5, 0.5), (3, 3.0), (86_400, 86_400.0)]


def test_a_run_in_which_everything_waits_for_ever_says_so() -> None:
    loop = VirtualLoop()
    with pytest.raises(RuntimeError, match="everything waits"):
        loop.run_until_complete(loop.create_future())
    loop.end()


def hunt(name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(HUNT), "--broken", name]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@cache
def hunts() -> dict[str, Future[subprocess.CompletedProcess[str]]]:
    """Begin all hunts, as many at a time as there are processors."""
    pool = ThreadPoolExecutor(os.cpu_count())
    return {one.name: pool.submit(hunt, one.name) for one in BROKEN}


@pytest.mark.timeout(600)  # the first waits for its turn
@pytest.mark.parametrize("name", [one.name for one in BROKEN])
def test_the_simulator_finds_what_is_broken(name: str) -> None:
    ended = hunts()[name].result()
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "all of it: make simulate SEED=" in ended.stdout


def test_a_broken_variant_whose_text_is_gone_says_so() -> None:
    change = broken("x", "jobs", "there is no such line", "")
    with pytest.raises(LookupError, match="0 times"):
        change.applied("some other line")
