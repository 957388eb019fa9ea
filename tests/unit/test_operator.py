"""What an operator finishes by hand: kept deliveries, orphans, and which dead letters are meant."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from services.adapters.memory import ManualClock, MemoryBus
from services.errors import AnswerLost, NotUnderstood, OperatorError, Unavailable
from services.kept import kept_names
from services.models import Callback, DeadLetter, Delivery, Message, Status
from services.operator import BindOrphans, Bound, Like, ReplayDeliveries, ReviveDeadLetters
from tests.unit.conftest import NOW, World, read_work, said

ACCOUNT = "https://hooks.example/api/webhooks/account"
DONE = {"id": "x_1", "state": "done", "result": {"words": 3}}


def stumble(_: Delivery) -> tuple[Callback, ...]:
    raise KeyError("planted")


def read_with(world: World, read: Callable[[Delivery], tuple[Callback, ...]], name: str = "account") -> None:
    provider = replace(world.receive.providers[name], read=read)
    world.receive.providers[name] = provider  # type: ignore[index] # a dict


async def kept(world: World) -> list[str]:
    return list(await world.payloads.names("deliveries/", 100))


async def listed(world: World, **options: Any) -> list[str]:
    return [name async for name, _ in ReplayDeliveries(receive=world.receive).find(**options)]


async def replay(world: World, name: str) -> tuple[Callback, ...]:
    return await world.receive.replay(await ReplayDeliveries(receive=world.receive).load(name))


class TestReplay:
    async def test_of_what_nobody_understood_is_what_would_have_been_published_then(
        self, world: World
    ) -> None:
        twin = World()
        for one in (world, twin):
            await one.start()
        await twin.deliver(DONE)
        read_with(world, stumble, "acme")
        await world.deliver(DONE)
        assert [m.subject for m in world.bus.published] == ["callback.unrecognised"]
        read_with(world, read_work, "acme")
        world.clock.advance(timedelta(days=3))
        world.vault.versions["acme-signing-secret"] = ("whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LTAx",)
        [name] = await kept(world)
        [callback] = await replay(world, name)
        job_id = callback.job_id
        assert job_id is not None
        [_, published], [then] = world.bus.published, twin.bus.published
        assert published.message_id == then.message_id
        assert json.loads(published.body)["data"] == json.loads(then.body)["data"]
        await world.advance(published)
        assert (await world.job(job_id)).status is Status.SUCCEEDED

    async def test_of_what_was_understood_is_the_same_message_again(self, world: World) -> None:
        object.__setattr__(world.receive, "keep_all", True)
        await world.deliver(DONE, address=ACCOUNT)
        [name] = await kept(world)
        await replay(world, name)
        await replay(world, name)
        assert [m.subject for m in world.bus.published] == ["callback.received"]
        assert await kept(world) == [name]

    @pytest.mark.parametrize("body", [b"not json", {"state": 5}], ids=["text", "odd"])
    async def test_of_what_is_still_not_understood_says_so_and_publishes_nothing(
        self, world: World, body: object
    ) -> None:
        await world.deliver(body, address=ACCOUNT)
        [name] = await kept(world)
        before = list(world.bus.published)
        with pytest.raises(NotUnderstood):
            await replay(world, name)
        assert world.bus.published == before
        assert await kept(world) == [name]

    async def test_that_our_reading_stumbles_over_is_not_understood(self, world: World) -> None:
        await world.deliver(b"not json", address=ACCOUNT)
        read_with(world, stumble)
        [name] = await kept(world)
        with pytest.raises(NotUnderstood, match=r"^reading it failed: see the log$"):
            await replay(world, name)

    async def test_of_a_delivery_that_names_another_job_than_its_address_is_refused_again(
        self, world: World
    ) -> None:
        await world.start()
        await world.deliver({**DONE, "job": "job_other"})
        [name] = await kept(world)
        with pytest.raises(NotUnderstood, match="names another job than its address is for"):
            await replay(world, name)

    async def test_of_a_provider_that_is_gone_names_it(self, world: World) -> None:
        await world.deliver(b"not json", address=ACCOUNT)
        [name] = await kept(world)
        del world.receive.providers["account"]  # type: ignore[attr-defined] # a dict
        with pytest.raises(OperatorError, match=r"^account is not in PROVIDERS"):
            await replay(world, name)

    async def test_with_the_bus_away_is_spooled(self, world: World) -> None:
        object.__setattr__(world.receive, "keep_all", True)
        world.bus.available = False
        await world.deliver(DONE, address=ACCOUNT)
        [name] = await kept(world)
        await replay(world, name)
        world.bus.available = True
        await world.outbox.drain()
        assert [m.subject for m in world.bus.published] == ["callback.received"]

    @pytest.mark.parametrize(
        ("name", "match"),
        [
            ("deliveries/2026-03-01/nothing.json", "^there is no deliveries/2026-03-01/nothing.json"),
            ("deliveries/../x", "^there is no "),
            ("", "^there is no "),
            ("orphans/o.json", "^there is no orphans/o.json"),
            ("deliveries/2026-03-01/odd.json", "odd.json is not a kept delivery$"),
            ("deliveries/2026-03-01/naive.json", "naive.json is not a kept delivery$"),
            ("deliveries/2026-03-01/job.json", "job.json is not a kept delivery$"),
        ],
        ids=["none", "no name", "empty", "elsewhere", "odd", "a time without a zone", "an odd job"],
    )
    async def test_of_another_name_is_refused(self, world: World, name: str, match: str) -> None:
        document: dict[str, object] = {
            "provider": "account",
            "job_id": None,
            "method": "POST",
            "headers": {},
            "body": "",
        }
        whole = {**document, "received_at": "2026-03-01T12:00:00+00:00"}
        for where, what in {
            "orphans/o.json": whole,
            "deliveries/2026-03-01/odd.json": [],
            "deliveries/2026-03-01/naive.json": {**whole, "received_at": "2026-03-01T12:00:00"},
            "deliveries/2026-03-01/job.json": {**whole, "job_id": "../x"},
        }.items():
            await world.payloads.put(where, json.dumps(what).encode())
        with pytest.raises(OperatorError, match=match):
            await replay(world, name)


class TestList:
    async def test_has_every_day_that_is_kept_and_only_the_provider_that_is_asked_for(
        self, world: World
    ) -> None:
        await world.deliver(b"first", address=ACCOUNT)
        world.clock.advance(timedelta(days=2))
        await world.deliver(b"second", address=ACCOUNT)
        await world.start()
        await world.deliver(b"third")
        first, *others = await kept(world)
        assert await listed(world) == [first, *others]
        assert await listed(world, since=date(2026, 3, 2)) == others
        assert len(others) == 2
        assert len(await listed(world, provider="account")) == 2
        assert len(await listed(world, provider="acme", since=date(2026, 3, 3))) == 1
        assert await listed(world, since=date(2026, 3, 4)) == []
        world.clock.advance(timedelta(days=29))
        assert await listed(world, since=date(1, 1, 1)) == others

    async def test_passes_by_what_cannot_be_read(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        await world.deliver(b"first", address=ACCOUNT)
        await world.payloads.put("deliveries/2026-03-01/delivery-0.json", b"")
        assert len(await listed(world)) == 1
        assert "delivery.unreadable" in caplog.messages

    async def test_has_more_than_a_store_lists_at_once(self, world: World) -> None:
        prefix = "deliveries/2026-03-01/delivery-"
        names = [f"{prefix}{number:04x}.json" for number in range(0, 0x4000, 7)]
        for name in [*names, "deliveries/2026-03-02/delivery-0.json"]:
            await world.payloads.put(name, b"")
        found = [name async for name in kept_names(world.payloads, date(2026, 3, 1))]
        assert found == names


class TestOrphans:
    async def orphan(self, world: World, body: dict[str, Any], address: str = ACCOUNT) -> str:
        """Deliver what is nobody's, and wait until it is kept."""
        await world.deliver(body, address=address, event=f"evt_{len(world.bus.published)}")
        await world.advance(world.events("callback")[-1])
        await world.run_until(world.clock.now() + timedelta(minutes=5))
        return (await world.payloads.names("orphans/", 10))[-1]

    async def test_are_listed_with_what_they_say_and_why_they_are_nobodys(self, world: World) -> None:
        name = await self.orphan(world, {"id": "x_9", "state": "done"})
        [orphan] = [one async for one in BindOrphans(jobs=world.jobs).find(10)]
        assert (orphan.name, orphan.called.provider, orphan.reason) == (
            name,
            "account",
            "no job here has this id",
        )
        assert orphan.called.callback.external_id == "x_9"

    async def test_that_cannot_be_read_are_passed_by(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        await world.payloads.put("orphans/a/b.json", b"[]")
        assert [one async for one in BindOrphans(jobs=world.jobs).find(10)] == []
        assert "orphan.unreadable" in caplog.messages

    async def test_settle_the_job_that_they_are_given_to_and_are_gone_then(self, world: World) -> None:
        name = await self.orphan(world, {**DONE, "id": "x_9"})
        world.answers = [AnswerLost("cut")]
        job_id = said(await world.start(provider="account"))["id"]
        bound = await BindOrphans(jobs=world.jobs).bind(name, job_id)
        assert bound == Bound(before=Status.AMBIGUOUS, after=Status.SUCCEEDED, notices=[])
        assert (await world.job(job_id)).external_id == "x_9"
        assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]
        assert await world.payloads.names("orphans/", 10) == []

    async def test_of_a_job_that_has_ended_otherwise_are_its_late_result(self, world: World) -> None:
        job_id = said(await world.start(provider="account"))["id"]
        name = await self.orphan(world, {"state": "done", "result": {"words": 3}})
        world.clock.advance(timedelta(hours=1))
        await world.run_until(world.clock.now() + timedelta(minutes=1))
        bound = await BindOrphans(jobs=world.jobs).bind(name, job_id)
        assert (bound.before, bound.after, bound.notices) == ("expired", "expired", ["job.late_result"])
        assert world.bus.published[-1].subject == "job.late_result"
        assert await world.payloads.names("orphans/", 10) == []

    @pytest.mark.parametrize(
        ("provider", "body", "reason"),
        [
            ("acme", {"state": "done"}, "the job is another provider's"),
            ("account", {"id": "x_2", "state": "done"}, "the provider's id is another job's"),
        ],
        ids=["another provider", "another id"],
    )
    async def test_that_are_not_the_jobs_stay_and_nothing_is_told(
        self, world: World, provider: str, body: dict[str, Any], reason: str
    ) -> None:
        job_id = said(await world.start(provider=provider))["id"]
        name = await self.orphan(world, body)
        before, job = list(world.bus.published), await world.job(job_id)
        with pytest.raises(OperatorError, match=f"is not for {job_id}: {reason}$"):
            await BindOrphans(jobs=world.jobs).bind(name, job_id)
        assert world.bus.published == before
        assert await world.job(job_id) == job
        assert await world.payloads.names("orphans/", 10) == [name]

    async def test_stay_when_the_job_cannot_be_told_and_settle_it_the_next_time(self, world: World) -> None:
        job_id = said(await world.start(provider="account"))["id"]
        name = await self.orphan(world, {"state": "done"})

        class Cut(type(world.store)):  # type: ignore[misc] # the store of this world
            async def save(self, *_: object) -> Any:
                raise Unavailable("away")

        store, world.jobs.store.__class__ = world.store.__class__, Cut
        with pytest.raises(Unavailable):
            await BindOrphans(jobs=world.jobs).bind(name, job_id)
        assert await world.payloads.names("orphans/", 10) == [name]
        world.jobs.store.__class__ = store
        await BindOrphans(jobs=world.jobs).bind(name, job_id)
        assert (await world.job(job_id)).status is Status.SUCCEEDED

    async def test_are_given_to_no_job_whose_name_can_be_none_and_the_store_is_not_asked(
        self, world: World
    ) -> None:
        name = await self.orphan(world, {"id": "x_9", "state": "done"})
        world.store.available = False
        with pytest.raises(OperatorError, match=r"^there is no job a/b$"):
            await BindOrphans(jobs=world.jobs).bind(name, "a/b")

    @pytest.mark.parametrize(
        ("name", "job", "match"),
        [
            ("orphans/none.json", "job_1", r"^there is no orphans/none\.json"),
            ("orphans/../x", "job_1", "^there is no "),
            ("deliveries/2026-03-01/d.json", "job_1", "^there is no "),
            ("orphans/odd.json", "job_1", r"^orphans/odd\.json is not a kept callback$"),
            ("orphans/deep.json", "job_1", r"^orphans/deep\.json is not a kept callback$"),
            ("orphans/whole.json", "job_1", "^there is no job job_1$"),
            ("orphans/whole.json", "../x", "^there is no job "),
        ],
        ids=["none", "no name", "elsewhere", "odd", "deep", "no job", "no job's name"],
    )
    async def test_and_jobs_that_are_not_there_are_named(
        self, world: World, name: str, job: str, match: str
    ) -> None:
        name_of_one = await self.orphan(world, {"id": "x_9", "state": "done"})
        whole = await world.payloads.get(name_of_one) or b""
        for where in ("orphans/whole.json", "deliveries/2026-03-01/d.json"):
            await world.payloads.put(where, whole)
        await world.payloads.put("orphans/odd.json", b"{}")
        await world.payloads.put("orphans/deep.json", b"[" * 100_000)
        with pytest.raises(OperatorError, match=match):
            await BindOrphans(jobs=world.jobs).bind(name, job)
        assert len(await world.payloads.names("orphans/", 10)) == 4


def letter(**changes: Any) -> DeadLetter:
    message = Message(
        message_id="tick-7",
        subject="job.tick",
        session_id="job_7",
        correlation_id="job_7",
        content_type="",
        body=b'{"tick": 4}',
    )
    whole = DeadLetter(
        sequence_number=1, enqueued_at=NOW, reason="MaxDelivery", description="ten times", message=message
    )
    return replace(whole, **changes)


@pytest.mark.parametrize(
    ("like", "meant"),
    [
        (Like(), True),
        (Like(reason="Delivery"), True),
        (Like(reason="ten"), True),
        (Like(reason="TTL"), False),
        (Like(subject="job.tick"), True),
        (Like(subject="job"), False),
        (Like(contains="job_7"), True),
        (Like(contains="tick-7"), True),
        (Like(contains='"tick": 4'), True),
        (Like(contains="job_8"), False),
        (Like(reason="ten", subject="job.tick", contains="job_8"), False),
        (Like(reason="TTL", subject="job.tick", contains="job_7"), False),
    ],
    ids=str,
)
def test_a_letter_is_meant_if_all_that_is_said_holds(like: Like, meant: bool) -> None:
    assert like(letter()) is meant


class NoLetters:
    """Dead-letter queues in which nothing lies; what is asked of them is noted."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def peek(self, entity: str) -> AsyncGenerator[DeadLetter]:
        self.asked.append(entity)
        return
        yield

    async def take(self, *_: object) -> int:
        raise AssertionError("there is nothing to take")


def revive(letters: NoLetters) -> ReviveDeadLetters:
    return ReviveDeadLetters(
        letters=letters,
        bus=MemoryBus(),
        clock=ManualClock(NOW),
        topic="job-events",
        queue="job-inbox",
        replayable=("job-inbox", "job-events/inbox"),
    )


class OneLetter(NoLetters):
    """A dead-letter queue with one letter, which is larger than it may be."""

    huge = letter(message=replace(letter().message, body=b"x" * 256 * 1024))

    async def peek(self, entity: str) -> AsyncGenerator[DeadLetter]:  # noqa: ARG002 the port's signature
        yield self.huge

    async def take(self, *arguments: Any) -> int:
        await arguments[2](self.huge)
        return 1


async def test_a_letter_that_is_too_large_to_be_sent_again_is_named() -> None:
    with pytest.raises(OperatorError, match=r"^tick-7 is too large to be sent again$"):
        await revive(OneLetter()).replay("job-inbox", Like(), 10, lambda _: None)


async def test_nothing_is_received_where_nothing_is_meant() -> None:
    letters = NoLetters()
    assert await revive(letters).replay("job-inbox", Like(), 10, lambda _: None) == 0
    assert letters.asked == ["job-inbox"]


@pytest.mark.parametrize(
    "entity", ["", "job-events", "job-events/", "job-events/a/b", "other", "other/inbox"]
)
async def test_what_is_no_entity_of_ours_is_neither_listed_nor_replayed(entity: str) -> None:
    letters = NoLetters()
    with pytest.raises(OperatorError, match=r"can be replayed$"):
        await revive(letters).replay(entity, Like(), 10, lambda _: None)
    async with aclosing(revive(letters).find(entity, Like())) as found:
        with pytest.raises(OperatorError, match=r"is neither job-inbox nor job-events/SUBSCRIPTION$"):
            await anext(found)
    assert letters.asked == []
