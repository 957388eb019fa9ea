"""Processes that die, and parts that fail, between any two lines: what is left is always enough."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from services.errors import AnswerLost, NotSent, Unavailable, VersionConflict
from services.messages import TickRead, read_inbox, tick_message
from services.models import HttpAnswer, HttpRequest, Job, Message, Status, Version
from tests.unit.conftest import NOW, World, answer, request, said


class Died(BaseException):
    """The process was killed here."""


def dies(monkeypatch: pytest.MonkeyPatch, part: object, method: str, *, after: bool) -> None:
    """Let a method kill the process once, before or after it has acted."""
    real: Callable[..., Awaitable[Any]] = getattr(part, method)

    async def fatal(*args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(part, method, real)
        if after:
            await real(*args, **kwargs)
        raise Died

    monkeypatch.setattr(part, method, fatal)


async def waiting_ticks(world: World) -> list[Message]:
    return [message for _, message in world.bus.scheduled.values()]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("part", "method"),
    [("bus", "schedule"), ("store", "create"), ("sender", "send"), ("store", "link"), ("store", "save")],
)
async def test_a_start_that_dies_leaves_a_job_that_ends_or_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, part: str, method: str, after: bool
) -> None:
    dies(monkeypatch, getattr(world, part), method, after=after)
    with pytest.raises(Died):
        await world.start(idempotency_key="k")
    await world.run_until(NOW + timedelta(hours=2))
    assert world.bus.scheduled == {}
    assert len(world.outcomes()) == len(world.store._rows)
    assert len(world.sender.requests) <= 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("part", "method"),
    [("store", "load"), ("store", "save"), ("bus", "publish"), ("bus", "cancel")],
)
async def test_a_callback_whose_handler_dies_settles_once_when_it_comes_again(
    world: World, monkeypatch: pytest.MonkeyPatch, part: str, method: str, after: bool
) -> None:
    job_id = said(await world.start())["id"]
    await world.deliver({"id": "x_1", "state": "done"})
    [message] = world.events("callback")
    dies(monkeypatch, getattr(world, part), method, after=after)
    with pytest.raises(Died):
        await world.advance(message)
    await world.advance(message)
    job = await world.job(job_id)
    assert (job.status, job.published, len(world.outcomes())) == (Status.SUCCEEDED, True, 1)
    await world.run_until(NOW + timedelta(hours=2))
    assert len(world.outcomes()) == 1


async def test_the_mark_of_a_start_is_saved_before_it_is_sent(world: World) -> None:
    marks: list[Any] = []

    async def look(*_: object, **__: object) -> HttpAnswer:
        [job_id] = world.store._rows
        marks.append((await world.job(job_id)).attempt_since)
        return answer({"id": "x_1"})

    world.sender.send = look  # type: ignore[method-assign] # looks at the row while the start is under way
    await world.start(prefer="respond-async")
    await world.run_until(NOW + timedelta(seconds=1))
    assert marks == [NOW + timedelta(seconds=1)]


async def test_two_equal_ticks_at_one_moment_send_one_start(world: World) -> None:
    await world.start(prefer="respond-async")
    [(_, tick)] = world.bus.scheduled.values()
    await asyncio.gather(world.advance(tick), world.advance(tick))
    assert len(world.sender.requests) == 1


async def test_progress_that_comes_before_the_start_answer_leaves_a_tick_waiting(world: World) -> None:
    send = world.sender.send

    async def progress_first(*args: Any, **kwargs: Any) -> HttpAnswer:
        result = await send(*args, **kwargs)
        await world.deliver({"id": "x_1", "state": "busy"})
        await world.forward()
        return result

    world.sender.send = progress_first  # type: ignore[method-assign] # the provider is faster than its answer
    await world.start()
    assert len(await waiting_ticks(world)) == 1
    await world.run_until(NOW + timedelta(hours=2))
    assert [subject for subject, _ in world.outcomes()] == ["job.expired"]


async def test_progress_while_a_later_start_is_put_off_leaves_a_tick_waiting(world: World) -> None:
    world.answers = [AnswerLost()]
    await world.start(provider="account")
    send = world.sender.send

    async def progress_then_fail(*args: Any, **kwargs: Any) -> HttpAnswer:
        [job_id] = world.store._rows
        await world.deliver({"job": job_id, "id": "x_1", "state": "busy"})
        await world.forward()
        await send(*args, **kwargs)
        raise NotSent

    world.sender.send = progress_then_fail  # type: ignore[method-assign] # the first request had arrived
    await world.run_until(NOW + timedelta(seconds=30))
    assert len(await waiting_ticks(world)) == 1
    await world.run_until(NOW + timedelta(hours=2))
    assert [subject for subject, _ in world.outcomes()] == ["job.expired"]


async def test_two_who_decide_on_one_state_of_a_row_leave_a_tick_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.answers = [AnswerLost()]
    job_id = said(await world.start())["id"]
    tick = tick_message(await world.job(job_id), (await world.job(job_id)).tick, NOW, b"again!")
    save = world.store.save

    async def in_turn(job: Job, version: Version) -> Version:
        await asyncio.sleep(0)
        return await save(job, version)

    monkeypatch.setattr(world.store, "save", in_turn)
    await asyncio.gather(world.advance(tick), world.advance(tick))
    await world.run_until(NOW + timedelta(hours=2))
    assert [subject for subject, _ in world.outcomes()] == ["job.expired"]


async def test_a_start_with_a_short_deadline_that_dies_expires_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies(monkeypatch, world.sender, "send", after=False)
    with pytest.raises(Died):
        await world.start({"input": {"text": "a"}, "deadline_seconds": 2})
    await world.run_until(NOW + timedelta(seconds=2))
    assert [subject for subject, _ in world.outcomes()] == ["job.expired"]


async def test_two_starts_with_one_key_in_one_millisecond_leave_one_tick_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, turns = world.store.create, [asyncio.Event(), asyncio.Event()]
    order = iter((1, 0))  # who schedules first creates last

    async def in_turn(job: Job) -> Version:
        mine = next(order)
        if mine == 1:
            await turns[0].wait()
        try:
            return await create(job)
        finally:
            turns[0].set()

    monkeypatch.setattr(world.store, "create", in_turn)
    answers = await asyncio.gather(
        *(world.start(idempotency_key="k", prefer="respond-async") for _ in range(2))
    )
    assert sorted(one.status for one in answers) == [200, 202]
    assert len(await waiting_ticks(world)) == 1
    await world.run_until(NOW + timedelta(seconds=5))
    assert (await world.job(said(answers[0])["id"])).status is Status.RUNNING


async def test_a_tick_whose_number_was_scheduled_and_never_noted_is_followed_by_the_next_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.answers = [answer({}, 503)] * 3
    job_id = said(await world.start())["id"]
    job = await world.job(job_id)
    ahead = tick_message(job, job.tick + 1, NOW, b"never noted")
    await world.advance(ahead)
    assert (await world.job(job_id)).tick == job.tick + 2


async def test_the_tick_that_wakes_a_job_is_not_cancelled_by_its_own_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[int] = []

    async def cancel(sequence_number: int) -> None:
        cancelled.append(sequence_number)

    world.answers = [answer({}, 503)]
    await world.start()
    monkeypatch.setattr(world.bus, "cancel", cancel)
    await world.run_until(NOW + timedelta(seconds=20))
    assert cancelled == []


async def test_an_outcome_that_cannot_be_published_keeps_its_tick(world: World) -> None:
    await world.start()
    [tick] = await waiting_ticks(world)
    await world.deliver({"state": "done"})
    publish = world.bus.publish

    async def away(_: Message) -> None:
        raise Unavailable("the bus")

    world.bus.publish = away  # type: ignore[method-assign,assignment] # sends fail, schedules do not
    world.payloads.available = False
    await world.forward()
    assert tick in await waiting_ticks(world)
    world.bus.publish = publish  # type: ignore[method-assign] # back again
    world.payloads.available = True
    await world.run_until(NOW + timedelta(minutes=1))
    assert len(world.outcomes()) == 1
    assert world.bus.scheduled == {}


async def test_a_callback_after_the_duplicate_window_publishes_no_second_outcome(world: World) -> None:
    await world.start()
    await world.deliver({"state": "done"})
    await world.forward()
    world.bus._seen_by_topic.clear()
    await world.forward()
    assert len(world.outcomes()) == 1


async def test_who_loses_the_race_to_settle_publishes_nothing(world: World) -> None:
    job_id = said(await world.start())["id"]
    await world.deliver({"state": "done"})
    save = world.store.save

    async def slower_than_a_cancel(job: Job, version: Version) -> Version:
        world.store.save = save  # type: ignore[method-assign] # only the first save is slow
        await world.api.cancel_job(request("DELETE", "j"), job_id)
        return await save(job, version)

    world.store.save = slower_than_a_cancel  # type: ignore[method-assign] # a cancel comes in between
    await world.forward()
    assert [subject for subject, _ in world.outcomes()] == ["job.canceled"]
    assert [m.subject for m in world.events("notice")] == ["job.late_result"]


async def test_a_conflict_while_noting_that_it_is_published_is_noted_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = said(await world.start())["id"]
    await world.deliver({"state": "done"})
    save = world.store.save

    async def conflicts_once(job: Job, version: Version) -> Version:
        if job.published:
            monkeypatch.setattr(world.store, "save", save)
            raise VersionConflict(job.id)
        return await save(job, version)

    monkeypatch.setattr(world.store, "save", conflicts_once)
    await world.forward()
    assert (await world.job(job_id)).published


async def test_the_external_id_can_be_found_before_the_row_says_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies(monkeypatch, world.store, "save", after=False)
    with pytest.raises(Died):
        await world.start()
    assert await world.store.find("acme", "x_1") is not None


async def test_two_that_settle_at_once_with_large_results_write_two_documents(world: World) -> None:
    object.__setattr__(world.receive, "max_bytes", 1_000_000)
    await world.start()
    large = {"state": "done", "result": {"words": 1, "text": "a" * 200_000}}
    await world.deliver(large)
    put = world.payloads.put

    async def and_let_time_pass(name: str, data: bytes) -> str:
        world.clock.advance(timedelta(milliseconds=5))
        await asyncio.sleep(0)
        return await put(name, data)

    world.payloads.put = and_let_time_pass  # type: ignore[method-assign] # time passes between the two
    [message] = world.events("callback")
    await asyncio.gather(world.advance(message), world.advance(message))
    assert len(await world.payloads.names("events/outcome-", 10)) == 2
    [outcome] = world.events("outcome")
    assert json.loads(outcome.body)["dataref"].startswith("memory:///events/outcome-")


async def test_a_start_whose_row_is_too_late_for_its_tick_is_not_begun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = world.bus.schedule

    async def slow(*args: Any) -> int:
        world.clock.advance(timedelta(seconds=21))
        return await schedule(*args)

    monkeypatch.setattr(world.bus, "schedule", slow)
    assert (await world.start()).status == 503
    assert world.store._rows == {}


async def test_a_row_that_was_written_although_the_answer_was_lost_is_the_callers_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = world.store.create

    async def answer_lost(job: Job) -> Version:
        await create(job)
        raise Unavailable("the store")

    monkeypatch.setattr(world.store, "create", answer_lost)
    started = await world.start()
    assert (started.status, said(started)["status"]) == (202, "running")
    assert len(world.sender.requests) == 1


async def test_the_loser_of_two_starts_with_one_key_takes_its_tick_back(world: World) -> None:
    await asyncio.gather(*(world.start(idempotency_key="k") for _ in range(5)))
    assert len(await waiting_ticks(world)) == 1


async def test_the_first_look_comes_when_a_start_has_certainly_been_noted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies(monkeypatch, world.sender, "send", after=True)
    with pytest.raises(Died):
        await world.start()
    assert [at for at, _ in world.bus.scheduled.values()] == [NOW + timedelta(seconds=33)]


async def test_a_job_of_a_provider_that_is_no_longer_set_up_waits_until_it_is(world: World) -> None:
    await world.start()
    await world.deliver({"state": "done"})
    providers = dict(world.jobs.attempt.providers)
    object.__setattr__(world.jobs.attempt, "providers", {})
    await world.forward()
    assert NOW + timedelta(minutes=5) in [at for at, _ in world.bus.scheduled.values()]
    object.__setattr__(world.jobs.attempt, "providers", providers)
    await world.run_until(NOW + timedelta(minutes=5))
    assert len(world.outcomes()) == 1


async def test_a_bug_of_ours_puts_the_message_back_and_logs_no_payload(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await world.start()
    await world.deliver({"state": "done"})

    async def stumble(_: str) -> None:
        raise KeyError("planted-" * 2)

    monkeypatch.setattr(world.store, "load", stumble)
    await world.forward()
    assert len(await waiting_ticks(world)) == 2
    assert "planted-planted-" not in "".join(str(vars(record)) for record in caplog.records)
    [(_, put_back)] = [one for one in world.bus.scheduled.values() if "~1" in one[1].message_id]
    worn = replace(put_back, properties={**put_back.properties, "put_off": 300})
    with pytest.raises(KeyError):
        await world.advance(worn)


async def test_what_is_put_back_again_waits_longer(world: World) -> None:
    world.store.available = False
    await world.start()
    world.bus.scheduled.clear()
    await world.deliver({"id": "x_1", "state": "done"}, address="https://hooks.example/api/webhooks/account")
    await world.forward()
    waits = []
    for _ in range(8):
        [(number, (at, message))] = world.bus.scheduled.items()
        waits.append(at - world.clock.now())
        world.clock.advance(at - world.clock.now())
        world.bus.scheduled.pop(number)
        await world.advance(message)
    assert waits[0] == timedelta(seconds=5), "as long as the store asked for, at least"
    assert waits[7] == timedelta(seconds=128)


async def test_a_row_that_comes_a_minute_after_its_tick_is_still_woken(world: World) -> None:
    await world.start(prefer="respond-async")
    [row] = world.store._rows.items()
    world.store._rows.clear()
    await world.run_until(NOW + timedelta(seconds=60))
    world.store._rows.update([row])
    await world.run_until(NOW + timedelta(seconds=120))
    assert (await world.job(row[0])).status is Status.RUNNING


async def test_a_message_that_nobody_can_read_is_raised_on_and_logged_with_the_reason(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    garbage = Message(
        message_id="m", subject="x", session_id="s", correlation_id="c", content_type="", body=b"\xff"
    )
    with pytest.raises(Exception, match="not JSON"):
        await world.advance(garbage)
    assert [vars(one)["reason"] for one in caplog.records if one.message == "inbox.poison"] == [
        "the body is not JSON"
    ]


MINUTE = timedelta(minutes=1)
AWAY = "away"
PORTS = {
    "store": ("load", "save", "link", "find"),
    "bus": ("publish", "schedule", "cancel"),
    "payloads": ("put", "get"),
    "vault": ("fetch",),
    "sender": ("send",),
}


@dataclass(frozen=True, kw_only=True)
class Life:
    """What a provider does with a job: what it answers to polls from when on, and the callbacks it sends."""

    provider: str = "asked"
    answers: tuple[tuple[timedelta, HttpAnswer], ...]
    callbacks: tuple[tuple[timedelta, dict[str, str]], ...] = ()
    ends: frozenset[str]


BUSY, DONE, DOWN = answer({"state": "busy"}), answer({"state": "done"}), answer({}, 503)
AT_ONCE = timedelta(0)
CHANGED = {"id": "x_1", "state": "changed"}
SUCCEEDED = frozenset({"job.succeeded"})
LIVES = {
    "no callback comes": Life(answers=((AT_ONCE, BUSY), (20 * MINUTE, DONE)), ends=SUCCEEDED),
    "there are no callbacks": Life(
        provider="polled", answers=((AT_ONCE, BUSY), (MINUTE, DONE)), ends=SUCCEEDED
    ),
    "it never ends": Life(answers=((AT_ONCE, BUSY),), ends=frozenset({"job.expired"})),
    "nobody answers": Life(answers=((AT_ONCE, DOWN),), ends=frozenset({"job.expired"})),
    "a thin callback": Life(answers=((AT_ONCE, DONE),), callbacks=((MINUTE, CHANGED),), ends=SUCCEEDED),
    "a thin callback of progress": Life(
        answers=((AT_ONCE, BUSY), (2 * MINUTE, DONE)),
        callbacks=((MINUTE, CHANGED), (2 * MINUTE, CHANGED)),
        ends=SUCCEEDED,
    ),
    "a thin callback, and nobody answers": Life(
        answers=((AT_ONCE, DOWN), (2 * MINUTE, DONE)), callbacks=((MINUTE, CHANGED),), ends=SUCCEEDED
    ),
    "a callback and a poll that disagree": Life(
        answers=((AT_ONCE, DONE),),
        callbacks=((10 * MINUTE, {"id": "x_1", "state": "error"}),),
        ends=frozenset({"job.succeeded", "job.failed"}),
    ),
    "an access token": Life(provider="guarded", answers=((12 * MINUTE, DONE),), ends=SUCCEEDED),
}


class Ordeal:
    """Lets one call of a port fail, or kill the process, and lives a job to its end all the same."""

    def __init__(self, life: Life, *, number: int, after: bool, trouble: str) -> None:
        self.life, self.world = life, World()
        self.number, self.after, self.trouble = number, after, trouble
        self.calls = itertools.count()
        self.met = False
        self.forwarded = 0
        self.world.sender._answer = self.answer

    def answer(self, request: HttpRequest) -> HttpAnswer:
        if request.url.endswith("/token"):
            return answer({"access_token": "t", "expires_in": 300})
        if request.method == "POST":
            return answer({"id": "x_1"}, 201)
        since = self.world.clock.now() - NOW
        return [said for at, said in ((AT_ONCE, BUSY), *self.life.answers) if at <= since][-1]

    def watch(self) -> None:
        for part, methods in PORTS.items():
            for method in methods:
                owner = getattr(self.world, part)
                setattr(owner, method, self.watched(part, getattr(owner, method)))

    def watched(self, part: str, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            mine = next(self.calls) == self.number
            if mine and not self.after:
                self.fail(part)
            result = await real(*args, **kwargs)
            if mine and self.after:
                self.fail(part)
            return result

        return call

    def fail(self, part: str) -> None:
        self.met = True
        if self.trouble != AWAY:
            raise Died
        if part == "sender":
            raise AnswerLost if self.after else NotSent
        raise Unavailable(part)

    async def until_done(self, act: Callable[[], Awaitable[Any]]) -> None:
        """Repeat what the process died of, as the bus or the sender does."""
        try:
            result = await act()
        except Died:
            result = await act()
        if getattr(result, "status", 200) == 503:
            await act()

    async def forward(self) -> None:
        callbacks = self.world.events("callback")
        while self.forwarded < len(callbacks):
            message = callbacks[self.forwarded]
            self.forwarded += 1
            await self.handle(message)

    async def handle(self, message: Message) -> None:
        await self.until_done(partial(self.world.advance, message))
        ticks = [read_inbox(one) for _, one in self.world.bus.scheduled.values()]
        [(document, _)] = self.world.store._rows.values()
        job = json.loads(document)
        live = [one for one in ticks if isinstance(one, TickRead) and one.number >= job["tick"]]
        if not job["published"]:
            assert live, "no tick waits for an open job"
            assert self.met or len(live) == 1

    async def run(self) -> None:
        await self.world.start(provider=self.life.provider)
        address = self.world.callback_address()
        self.watch()
        pending = list(self.life.callbacks)
        end = NOW + timedelta(hours=3)
        while True:
            due = [at for at, _ in self.world.bus.scheduled.values()]
            due += [NOW + at for at, _ in pending]
            if not due or min(due) > end:
                break
            self.world.clock.advance(max(min(due) - self.world.clock.now(), AT_ONCE))
            while pending and NOW + pending[0][0] <= self.world.clock.now():
                body, event = pending.pop(0)[1], f"evt_{len(pending)}"
                deliver = partial(self.world.deliver, body, address=address, event=event)
                await self.until_done(deliver)
            await self.forward()
            for message in self.world.bus.take_due(self.world.clock.now()):
                await self.handle(message)
            await self.until_done(self.world.outbox.drain)


@pytest.mark.parametrize("trouble", ["dies", AWAY])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES.keys())
async def test_whichever_call_fails_there_is_one_outcome_and_till_then_a_tick(
    life: Life, after: bool, trouble: str
) -> None:
    for number in itertools.count():
        ordeal = Ordeal(life, number=number, after=after, trouble=trouble)
        await ordeal.run()
        outcomes = [subject for subject, _ in ordeal.world.outcomes()]
        assert len(outcomes) == 1, f"call {number}"
        assert outcomes[0] in life.ends, f"call {number}"
        assert ordeal.world.bus.scheduled == {}, f"call {number}"
        if not ordeal.met:
            assert number > 5
            break
