"""A provider in trouble is let rest, rate limits are kept by all instances, other providers do not notice."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from services.adapters.memory import ManualClock, MemoryJobStore
from services.errors import AnswerLost, NotSent, Unavailable, VersionConflict
from services.lifecycle import Answered, Held, Lost, PutOff, Refused, Trouble
from services.models import Failure, HttpAnswer, HttpRequest, Job, Pace, Status, Version
from services.pace import Paces, ask_turn, note_trouble
from services.providers.base import RateLimit, Started
from tests.unit.conftest import ACME, NOW, WORK, World, answer, answer_by_itself, said
from tests.unit.test_lifecycle import job

SECOND = timedelta(seconds=1)
FAILURE = Failure(code="provider_unavailable", message="the provider answered 503")
LIMITED = PutOff(failure=FAILURE, trouble=Trouble.LIMITED)
FAILING = PutOff(failure=FAILURE, trouble=Trouble.FAILING)
TAKEN = Answered(started=Started(), elapsed=SECOND)
TOO_MANY = answer({}, 429)
BROKEN = answer({}, 503)


def ask(pace: Pace, now: datetime, **given: object) -> tuple[Pace, Held | None]:
    usual: dict[str, object] = {"limit": None, "turn_at": None, "trial": 33 * SECOND, "chance": 0.5}
    return ask_turn(pace, now, **{**usual, **given})  # type: ignore[arg-type] # fields by name


class TestRest:
    def test_a_provider_that_is_well_is_sent_every_start(self) -> None:
        assert ask(Pace(), NOW) == (Pace(), None)
        assert ask(Pace(troubles=2), NOW) == (Pace(troubles=2), None)

    def test_one_429_is_believed(self) -> None:
        pace = note_trouble(Pace(), NOW, Trouble.LIMITED, None, 0.5)
        assert pace == Pace(troubles=1, rests_until=NOW + 1.5 * SECOND)

    def test_other_failures_are_believed_when_there_are_three_in_a_row(self) -> None:
        pace = Pace()
        for troubles in (1, 2):
            pace = note_trouble(pace, NOW, Trouble.FAILING, None, 0.5)
            assert pace == Pace(troubles=troubles)
        pace = note_trouble(pace, NOW, Trouble.FAILING, None, 0.5)
        assert pace == Pace(troubles=3, rests_until=NOW + 6 * SECOND)

    @pytest.mark.parametrize(
        ("trouble", "asked", "rests"),
        [(Trouble.LIMITED, 90, 90), (Trouble.FAILING, 90, 90), (Trouble.LIMITED, 86_400, 3600)],
        ids=["429", "503", "for a day"],
    )
    def test_what_the_provider_asks_for_is_granted_up_to_an_hour(
        self, trouble: Trouble, asked: int, rests: int
    ) -> None:
        pace = note_trouble(Pace(), NOW, trouble, asked * SECOND, 0.0)
        assert pace.rests_until == NOW + rests * SECOND

    def test_starts_wait_until_the_rest_is_over_and_do_not_come_back_all_at_once(self) -> None:
        pace = Pace(troubles=3, rests_until=NOW + 20 * SECOND)
        waits = {ask(pace, NOW, chance=chance)[1] for chance in (0.0, 0.5, 0.9)}
        assert waits == {
            Held(until=NOW + seconds * SECOND, reason="the provider is given rest")
            for seconds in (20, 30, 38)
        }
        long = Pace(troubles=9, rests_until=NOW + 3600 * SECOND)
        assert ask(long, NOW, chance=0.5)[1] == Held(
            until=NOW + 3630 * SECOND, reason="the provider is given rest"
        )

    def test_after_the_rest_one_start_tries_and_the_others_look_again_soon(self) -> None:
        rested = NOW + 20 * SECOND
        pace, held = ask(Pace(troubles=3, rests_until=rested), rested)
        assert held is None
        assert pace == Pace(troubles=3, rests_until=rested, trial_until=rested + 33 * SECOND)
        later = rested + 32 * SECOND
        assert ask(pace, later) == (
            pace, Held(until=later + 5 * SECOND, reason="another start tries the provider"),
        )  # fmt: skip

    def test_a_trial_that_nobody_hears_of_again_is_followed_by_another(self) -> None:
        trial = Pace(troubles=3, rests_until=NOW, trial_until=NOW + 33 * SECOND)
        pace, held = ask(trial, NOW + 33 * SECOND)
        assert (held, pace.trial_until) == (None, NOW + 66 * SECOND)

    def test_a_trial_that_fails_is_followed_by_a_longer_rest_up_to_five_minutes(self) -> None:
        pace, now, rests = Pace(), NOW, []
        for _ in range(12):
            pace = note_trouble(pace, now, Trouble.LIMITED, None, 1.0)
            assert pace.rests_until is not None
            rests.append((pace.rests_until - now).total_seconds())
            now = pace.rests_until
            pace, held = ask(pace, now)
            assert held is None
        assert rests == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]

    def test_failures_of_starts_that_were_already_out_do_not_make_the_rest_longer(self) -> None:
        resting = note_trouble(Pace(), NOW, Trouble.LIMITED, None, 1.0)
        assert note_trouble(resting, NOW + SECOND, Trouble.FAILING, None, 1.0) == resting
        asked = note_trouble(resting, NOW + SECOND, Trouble.LIMITED, 9 * SECOND, 1.0)
        assert asked == replace(resting, rests_until=NOW + 10 * SECOND)


class TestRateLimit:
    LIMIT = RateLimit(starts=2, per=SECOND)

    def test_starts_get_turns_one_after_the_other(self) -> None:
        pace, turns = Pace(), []
        for _ in range(4):
            pace, held = ask(pace, NOW, limit=self.LIMIT)
            turns.append(held.turn_at if held else None)
        assert turns == [None, NOW + 0.5 * SECOND, NOW + SECOND, NOW + 1.5 * SECOND]

    def test_a_tenth_of_the_limit_may_go_at_once_and_no_more_however_long_it_was_quiet(self) -> None:
        limit = RateLimit(starts=30, per=SECOND)
        pace, gone = Pace(next_at=NOW - timedelta(days=1)), 0
        for _ in range(10):
            pace, held = ask(pace, NOW, limit=limit)
            gone += held is None
        assert gone == 3

    def test_a_start_that_comes_at_its_turn_uses_no_other(self) -> None:
        pace, held = ask(Pace(next_at=NOW + SECOND), NOW, limit=self.LIMIT)
        assert held is not None
        for late in (0, 4.9):
            assert ask(pace, NOW + SECOND * (1 + late), limit=self.LIMIT, turn_at=held.turn_at) == (
                pace,
                None,
            )

    @pytest.mark.parametrize("late", [-0.1, 5], ids=["too early", "too late"])
    def test_a_turn_that_is_not_now_is_asked_for_anew(self, late: float) -> None:
        pace = Pace(next_at=NOW + 10 * SECOND)
        changed, held = ask(pace, NOW + late * SECOND, limit=self.LIMIT, turn_at=NOW)
        assert held == Held(
            until=NOW + 10 * SECOND, turn_at=NOW + 10 * SECOND, reason="the provider's rate limit"
        )
        assert changed.next_at == NOW + 10.5 * SECOND

    def test_a_rest_takes_up_no_turns(self) -> None:
        pace = Pace(rests_until=NOW + SECOND, troubles=1, next_at=NOW)
        assert ask(pace, NOW, limit=self.LIMIT)[0] == pace

    @pytest.mark.parametrize(("starts", "seconds"), [(0, 1), (-1, 1), (1, 0), (1, -1)])
    def test_a_limit_of_nothing_cannot_be(self, starts: int, seconds: int) -> None:
        with pytest.raises(ValueError, match="at least one start in some time"):
            RateLimit(starts=starts, per=seconds * SECOND)


class TestPaces:
    def paces(self, store: MemoryJobStore, clock: ManualClock) -> Paces:
        return Paces(store=store, clock=clock, chance=lambda: 0.5)

    async def test_what_one_instance_learns_holds_for_all(self) -> None:
        store, clock = MemoryJobStore(), ManualClock(NOW)
        one, other = self.paces(store, clock), self.paces(store, clock)
        await one.heed("acme", LIMITED)
        assert await one.hold(ACME, WORK, job()) is not None
        assert await other.hold(ACME, WORK, job()) is not None
        assert await other.hold(replace(ACME, name="other"), WORK, job()) is None

    async def test_an_instance_that_read_before_learns_within_a_second(self) -> None:
        store, clock = MemoryJobStore(), ManualClock(NOW)
        one, other = self.paces(store, clock), self.paces(store, clock)
        assert await other.hold(ACME, WORK, job()) is None
        await one.heed("acme", PutOff(failure=FAILURE, trouble=Trouble.LIMITED, retry_after=60 * SECOND))
        assert await other.hold(ACME, WORK, job()) is None
        clock.advance(SECOND)
        assert await other.hold(ACME, WORK, job()) is not None

    async def test_of_many_instances_one_sends_the_trial(self) -> None:
        store, clock = MemoryJobStore(), ManualClock(NOW)
        await self.paces(store, clock).heed("acme", LIMITED)
        clock.advance(2 * SECOND)
        holds = [await self.paces(store, clock).hold(ACME, WORK, job()) for _ in range(10)]
        assert holds.count(None) == 1

    @pytest.mark.parametrize("happened", [TAKEN, Refused(failure=FAILURE)], ids=["taken", "refused"])
    async def test_a_provider_that_answers_is_well(self, happened: Answered | Refused) -> None:
        store, clock = MemoryJobStore(), ManualClock(NOW)
        await store.save_pace("acme", Pace(troubles=5, rests_until=NOW, trial_until=NOW, next_at=NOW), None)
        await self.paces(store, clock).heed("acme", happened)
        known = await store.load_pace("acme")
        assert known is not None
        assert known[0] == Pace(next_at=NOW)

    @pytest.mark.parametrize(
        "happened",
        [PutOff(failure=FAILURE), Lost(failure=FAILURE), PutOff(failure=FAILURE, counts=False)],
        ids=["in use", "unreadable", "ours to mend"],
    )
    async def test_what_says_nothing_of_its_health_changes_nothing(self, happened: PutOff | Lost) -> None:
        store = MemoryJobStore()
        for _ in range(5):
            await self.paces(store, ManualClock(NOW)).heed("acme", happened)
        assert await store.load_pace("acme") is None

    async def test_a_provider_that_is_well_costs_no_write_and_one_read_a_second(self) -> None:
        class CountingStore(MemoryJobStore):
            reads = 0

            async def load_pace(self, provider: str) -> tuple[Pace, Version] | None:
                self.reads += 1
                return await super().load_pace(provider)

        store, clock = CountingStore(), ManualClock(NOW)
        paces = self.paces(store, clock)
        for _ in range(100):
            assert await paces.hold(ACME, WORK, job()) is None
            await paces.heed("acme", TAKEN)
        assert (store.reads, await store.load_pace("acme")) == (1, None)

    async def test_a_store_that_is_away_holds_up_the_start_and_not_its_answer(self) -> None:
        store = MemoryJobStore()
        store.available = False
        paces = self.paces(store, ManualClock(NOW))
        await paces.heed("acme", LIMITED)
        with pytest.raises(Unavailable):
            await paces.hold(ACME, WORK, job())

    async def test_starts_of_one_instance_take_turns_at_the_store(self) -> None:
        class Slow(MemoryJobStore):
            async def save_pace(self, provider: str, pace: Pace, version: Version | None) -> Version:
                await asyncio.sleep(0.05)
                return await super().save_pace(provider, pace, version)

        limited = replace(ACME, rate_limit=RateLimit(starts=10, per=SECOND))
        paces = self.paces(Slow(), ManualClock(NOW))
        holds = await asyncio.gather(*(paces.hold(limited, WORK, job(turn_at=None)) for _ in range(25)))
        assert len({held.turn_at for held in holds if held}) == 24

    async def test_a_start_that_always_comes_second_asks_again_later(self) -> None:
        class Contended(MemoryJobStore):
            async def save_pace(self, provider: str, pace: Pace, version: Version | None) -> Version:
                raise VersionConflict(provider, pace, version)

        limited = replace(ACME, rate_limit=RateLimit(starts=10, per=SECOND))
        paces = self.paces(Contended(), ManualClock(NOW))
        assert await paces.hold(limited, WORK, job()) == Held(
            until=NOW + 2 * SECOND, reason="too many starts at once"
        )
        await paces.heed("acme", LIMITED)

    async def test_a_start_does_not_wait_for_its_turn_at_the_store_for_ever(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("services.pace.PATIENCE", timedelta(0))
        paces = self.paces(MemoryJobStore(), ManualClock(NOW))
        paces._locks["acme"] = asyncio.Lock()
        await paces._locks["acme"].acquire()
        limited = replace(ACME, rate_limit=RateLimit(starts=10, per=SECOND))
        with pytest.raises(Unavailable, match="takes too long"):
            await paces.hold(limited, WORK, job())


def provider_that(world: World, says: HttpAnswer | Exception) -> list[HttpRequest]:
    """Have acme answer every start like this; returns its starts, and leaves other providers alone."""
    starts: list[HttpRequest] = []

    def reply(request: HttpRequest) -> HttpAnswer | Exception:
        if json.loads(request.body)["callback"].split("/")[5] != "acme":
            return answer_by_itself(request)
        starts.append(request)
        return says

    world.sender._answer = reply
    return starts


@pytest.mark.parametrize(
    ("says", "most"),
    [(TOO_MANY, 1), (BROKEN, 3), (NotSent(), 3)],
    ids=["429", "503", "unreachable"],
)
async def test_starts_of_a_provider_in_trouble_wait_and_others_do_not_notice(
    world: World, says: HttpAnswer | Exception, most: int
) -> None:
    starts = provider_that(world, says)
    for _ in range(10):
        assert said(await world.start())["status"] == "accepted"
    assert len(starts) == most
    assert said(await world.start(provider="unsigned"))["status"] == "running"


async def test_a_start_that_waits_uses_up_no_attempts_and_says_so_in_one_line(world: World) -> None:
    provider_that(world, answer({}, 429, retry_after="600"))
    await world.start()
    job_id = said(await world.start())["id"]
    for minutes in (11, 26, 41):
        _, version = await world.store.load_pace("acme") or (None, None)
        resting = Pace(troubles=1, rests_until=NOW + timedelta(minutes=minutes + 15))
        await world.store.save_pace("acme", resting, version)
        await world.run_until(NOW + timedelta(minutes=minutes))
    job = await world.job(job_id)
    assert (job.status, job.attempts) == (Status.ACCEPTED, 0)
    assert [(entry.event, entry.detail) for entry in job.history] == [
        ("accepted", None),
        ("start.held", "the provider is given rest"),
    ]
    assert job.history[1].at > NOW + timedelta(minutes=25)


async def test_when_the_provider_is_well_again_every_job_is_started_once(world: World) -> None:
    provider_that(world, BROKEN)
    ids = [said(await world.start())["id"] for _ in range(20)]
    await world.run_until(NOW + timedelta(minutes=3))
    starts = provider_that(world, answer({"id": "x_1"}, 201))
    await world.run_until(NOW + timedelta(minutes=20))
    assert {(await world.job(job_id)).status for job_id in ids} <= {Status.RUNNING, Status.FAILED}
    running = [job_id for job_id in ids if (await world.job(job_id)).status is Status.RUNNING]
    assert len(starts) == len(running) >= 15


async def test_while_it_is_in_trouble_it_is_sent_one_start_at_a_time_and_fewer_and_fewer(
    world: World,
) -> None:
    starts = provider_that(world, TOO_MANY)
    for _ in range(30):
        await world.start()
    counts = []
    for minutes in (1, 2, 4, 8, 16):
        before = len(starts)
        await world.run_until(NOW + timedelta(minutes=minutes))
        counts.append(len(starts) - before)
    assert counts[0] <= 6
    assert sum(counts) <= 16


async def test_an_answer_that_is_lost_is_trouble_too(world: World) -> None:
    starts = provider_that(world, AnswerLost())
    for _ in range(6):
        await world.start()
    assert len(starts) == 3


async def test_a_held_start_still_ends_at_its_deadline(world: World) -> None:
    provider_that(world, answer({}, 429, retry_after="3600"))
    await world.start()
    held = said(await world.start({"input": {"text": "hello"}, "deadline_seconds": 60}))
    await world.run_until(NOW + timedelta(minutes=3))
    assert (await world.job(held["id"])).status is Status.EXPIRED


async def test_a_rate_limit_spaces_starts_out_and_loses_none(world: World) -> None:
    limited = replace(ACME, rate_limit=RateLimit(starts=60, per=timedelta(minutes=1)))
    world.jobs.attempt.providers["acme"] = limited  # type: ignore[index] # the registry of this world is a dict
    moments: list[datetime] = []

    def reply(request: HttpRequest) -> HttpAnswer:
        moments.append(world.clock.now())
        return answer_by_itself(request)

    world.sender._answer = reply
    for _ in range(30):
        await world.start()
    assert len(moments) == 6
    await world.run_until(NOW + timedelta(minutes=2))
    assert moments[6:] == [NOW + n * SECOND for n in range(1, 25)]


async def test_a_start_that_is_held_while_its_job_moves_on_is_decided_anew(world: World) -> None:
    class Overtaken(MemoryJobStore):
        overtaken = False

        async def save(self, job: Job, version: Version) -> Version:
            if job.history[-1].event == "start.held" and not self.overtaken:
                self.overtaken = True
                stored = await self.load(job.id)
                assert stored is not None
                await super().save(replace(stored.job, status=Status.RUNNING), version)
            return await super().save(job, version)

    world.store = Overtaken()
    world.__post_init__()
    provider_that(world, answer({}, 429, retry_after="600"))
    await world.start()
    job_id = said(await world.start(prefer="respond-async"))["id"]
    await world.run_until(NOW + timedelta(minutes=5))
    job = await world.job(job_id)
    assert (job.status, job.tick_at) == (Status.RUNNING, job.deadline_at)
    await world.run_until(NOW + timedelta(hours=2))
    assert (await world.job(job_id)).status is Status.EXPIRED
