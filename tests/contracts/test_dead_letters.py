"""DeadLetters: what lies in the emulator's dead-letter queues is read, sent again once, or left alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.amqp import AmqpAnnotatedMessage

from dev.servicebus import process as emulators
from dev.servicebus.faults import Fault
from services.adapters import deadletters
from services.adapters.clock import SystemClock
from services.adapters.deadletters import ServiceBusDeadLetters
from services.adapters.servicebus import ServiceBusBus
from services.errors import OperatorError, Unavailable
from services.models import DeadLetter, Message
from services.operator import Like, ReviveDeadLetters

ENTITIES = Path(__file__).parents[2] / "dev" / "entities.json"
QUEUE, DEAD_QUEUE = "job-inbox", "job-inbox/$DeadLetterQueue"
LOCK_SECONDS = 10
BRISK: dict[str, Any] = {"socket_timeout": 0.02, "keep_alive": 0}  # or each closing takes a second


@dataclass(frozen=True)
class World:
    """A bus, and whoever lets letters die on it."""

    emulator: emulators.Running
    client: ServiceBusClient
    letters: ServiceBusDeadLetters
    revive: ReviveDeadLetters

    async def bury(self, *messages: ServiceBusMessage, reason: str = "odd", description: str = "") -> None:
        async with self.client.get_queue_sender(QUEUE, **BRISK) as sender:
            for start in range(0, len(messages), 100):
                await sender.send_messages(list(messages[start : start + 100]))
        left = len(messages)
        async with self.client.get_queue_receiver(QUEUE) as receiver:
            while left:
                for received in await receiver.receive_messages(50, max_wait_time=20):
                    await receiver.dead_letter_message(received, reason=reason, error_description=description)
                    left -= 1

    async def kill_next(self) -> None:
        async with self.client.get_queue_receiver(QUEUE) as receiver:
            [received] = await receiver.receive_messages(1, max_wait_time=20)
            await receiver.dead_letter_message(received)

    async def queued(self) -> list[ServiceBusReceivedMessage]:
        async with self.client.get_queue_receiver(QUEUE) as receiver:
            return await receiver.peek_messages(250)

    async def received(self) -> list[ServiceBusReceivedMessage]:
        """Receive dead letters as another tool does: all that are not locked."""
        dead = ServiceBusSubQueue.DEAD_LETTER
        async with self.client.get_queue_receiver(QUEUE, sub_queue=dead) as receiver:
            return await receiver.receive_messages(250, max_wait_time=5)

    async def dead(self, entity: str = QUEUE) -> list[str]:
        async with aclosing(self.letters.peek(entity)) as letters:
            return [letter.message.message_id async for letter in letters]


class BriskClient(ServiceBusClient):
    def get_queue_receiver(self, queue_name: str, **options: Any) -> ServiceBusReceiver:
        return super().get_queue_receiver(queue_name, **{**BRISK, **options})

    def get_subscription_receiver(
        self, topic_name: str, subscription_name: str, **options: Any
    ) -> ServiceBusReceiver:
        return super().get_subscription_receiver(topic_name, subscription_name, **{**BRISK, **options})


def connector(emulator: emulators.Running) -> Callable[[], ServiceBusClient]:
    return lambda: BriskClient.from_connection_string(emulator.connection_string, retry_total=0)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[emulators.Running]:
    """The project's entities, but for short locks, and a queue that `inbox` cannot forward all to."""
    config = json.loads(ENTITIES.read_text())
    [namespace] = config["UserConfig"]["Namespaces"]
    namespace["Queues"][0]["Properties"]["LockDuration"] = f"PT{LOCK_SECONDS}S"
    namespace["Queues"].append({"Name": "by-session", "Properties": {"RequiresSession": True}})
    namespace["Topics"][0]["Subscriptions"][0]["Properties"]["ForwardTo"] = "by-session"
    path = tmp_path / "entities.json"
    path.write_text(json.dumps(config))
    with emulators.start(path) as running:
        yield running


@pytest.fixture
async def world(emulator: emulators.Running) -> AsyncIterator[World]:
    bus = ServiceBusBus(connector(emulator), queue_budget=timedelta(seconds=30))
    letters = ServiceBusDeadLetters(connector(emulator), patience=timedelta(seconds=LOCK_SECONDS + 4))
    revive = ReviveDeadLetters(
        letters=letters,
        bus=bus,
        clock=SystemClock(),
        topic="job-events",
        queue=QUEUE,
        replayable=(QUEUE, "job-events/inbox"),
    )
    async with connector(emulator)() as client:
        yield World(emulator, client, letters, revive)
    await bus.close()


def letter(name: str, body: bytes = b"{}", **options: Any) -> ServiceBusMessage:
    return ServiceBusMessage(body, message_id=name, **options)


def ids(received: list[ServiceBusReceivedMessage]) -> list[str | None]:
    return [one.message_id for one in received]


async def ignore(_: DeadLetter) -> None: ...


def anything(_: DeadLetter) -> bool:
    return True


async def test_a_dead_letter_is_the_message_that_it_was_with_the_reason_beside_it(world: World) -> None:
    await world.bury(
        letter(
            "tick-1",
            b'{"tick": 1}',
            subject="job.tick",
            session_id="job_1",
            correlation_id="job_1",
            content_type="application/json",
            application_properties={"kind": "tick", "copies": 2},
        ),
        reason="MaxDeliveryCountExceeded",
        description="ten times",
    )
    async with aclosing(world.letters.peek(QUEUE)) as letters:
        [found] = [one async for one in letters]
    assert (found.sequence_number, found.reason, found.description) == (
        1,
        "MaxDeliveryCountExceeded",
        "ten times",
    )
    assert abs(found.enqueued_at - datetime.now(UTC)) < timedelta(minutes=2)
    assert found.message == Message(
        message_id="tick-1",
        subject="job.tick",
        session_id="job_1",
        correlation_id="job_1",
        content_type="application/json",
        body=b'{"tick": 1}',
        properties={"kind": "tick", "copies": 2},
    )


async def test_a_letter_that_somebody_else_sent_needs_no_names_and_no_bytes(world: World) -> None:
    async with world.client.get_queue_sender(QUEUE, **BRISK) as sender:
        await sender.send_messages(AmqpAnnotatedMessage(value_body="text"))
    await world.kill_next()
    async with aclosing(world.letters.peek(QUEUE)) as letters:
        [found] = [one async for one in letters]
    assert (found.message.body, found.message.subject, found.reason) == (b"text", "", "")
    assert found.message.correlation_id == found.message.session_id == found.message.message_id


async def test_all_are_listed_in_order_and_none_is_locked_or_counted_as_delivered(world: World) -> None:
    names = [f"m{number}" for number in range(120)]
    await world.bury(*map(letter, names))
    before = [one.delivery_count for one in await world.received()]
    await asyncio.sleep(LOCK_SECONDS + 1)
    assert await world.dead() == names
    again = await world.received()
    assert ids(again) == names
    assert {one.delivery_count for one in again} == {(before[0] or 0) + 1}


async def test_what_a_subscription_could_not_forward_is_sent_to_the_queue(world: World) -> None:
    async with world.client.get_topic_sender("job-events", **BRISK) as sender:
        await sender.send_messages(letter("c1", application_properties={"kind": "callback"}))
    assert await world.dead("job-events/inbox") == ["c1"]
    assert await world.revive.replay("job-events/inbox", Like(), 10, lambda _: None) == 0
    assert ids(await world.queued()) == ["c1~1"]
    assert await world.dead("job-events/inbox") == []


async def test_only_what_is_wanted_is_taken_and_the_others_are_there_for_everybody_at_once(
    world: World,
) -> None:
    await world.bury(*(letter(f"m{number}") for number in range(70)))
    used: list[str] = []

    async def use(one: DeadLetter) -> None:
        used.append(one.message.message_id)

    def wanted(one: DeadLetter) -> bool:
        return one.message.message_id in {"m3", "m60"}

    assert await world.letters.take(QUEUE, wanted, use, 2) == 2
    assert used == ["m3", "m60"]
    assert ids(await world.received()) == [f"m{number}" for number in range(70) if number not in {3, 60}]


async def test_no_more_are_taken_than_asked_for(world: World) -> None:
    await world.bury(*map(letter, ("a", "b", "c")))
    assert await world.letters.take(QUEUE, anything, ignore, 2) == 2
    assert ids(await world.received()) == ["c"]


async def test_a_letter_that_could_not_be_used_stays_and_is_there_for_everybody_at_once(world: World) -> None:
    await world.bury(*map(letter, ("a", "b", "c")))

    async def use(one: DeadLetter) -> None:
        if one.message.message_id == "b":
            raise Unavailable("the service bus cannot be reached")

    with pytest.raises(Unavailable):
        await world.letters.take(QUEUE, anything, use, 3)
    assert ids(await world.received()) == ["b", "c"]


async def test_what_went_wrong_is_told_even_if_the_letters_cannot_be_given_back(world: World) -> None:
    await world.bury(letter("a"))

    async def use(_: DeadLetter) -> None:
        raise OperatorError("the first error")

    with (
        world.emulator.faults(Fault(fault="refuse", address=DEAD_QUEUE, on=["settle"])),
        pytest.raises(OperatorError, match=r"^the first error$"),
    ):
        await world.letters.take(QUEUE, anything, use, 1)


async def test_letters_whose_locks_run_out_do_not_come_for_ever(world: World) -> None:
    await world.bury(*map(letter, ("a", "b")))
    async with asyncio.timeout(60):
        assert await world.letters.take(QUEUE, lambda _: False, ignore, 1) == 0


async def test_letters_that_another_has_locked_are_not_waited_for_long(world: World) -> None:
    await world.bury(letter("a"))
    brief = ServiceBusDeadLetters(connector(world.emulator), patience=timedelta(seconds=2))
    dead = ServiceBusSubQueue.DEAD_LETTER
    async with world.client.get_queue_receiver(QUEUE, sub_queue=dead) as receiver:
        assert ids(await receiver.receive_messages(1, max_wait_time=20)) == ["a"]
        assert await brief.take(QUEUE, anything, ignore, 1) == 0


async def test_no_more_letters_are_kept_in_memory_than_the_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadletters, "_HELD", 60)
    await world.bury(*(letter(f"m{number}") for number in range(110)))
    assert await world.letters.take(QUEUE, lambda one: one.message.message_id == "m109", ignore, 1) == 1
    at_once = ids(await world.received())
    assert at_once == [f"m{number}" for number in range(60)], "the locks of the others run out by themselves"


async def test_so_many_that_are_not_wanted_are_passed_by_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadletters, "_PASSED", 50)
    await world.bury(*(letter(f"m{number}") for number in range(60)))
    assert await world.letters.take(QUEUE, lambda one: one.message.message_id == "m59", ignore, 1) == 0


@pytest.mark.parametrize("entity", ["job-events/nothing", "nothing"])
async def test_a_queue_that_is_not_there_is_named(world: World, entity: str) -> None:
    with pytest.raises(Unavailable, match=f"^the dead-letter queue of {entity} cannot be reached$"):
        await world.dead(entity)
    with pytest.raises(Unavailable, match=f"^the dead-letter queue of {entity} cannot be reached$"):
        await world.letters.take(entity, anything, ignore, 1)


async def test_a_bus_that_is_away_is_unavailable(world: World) -> None:
    world.emulator.kill()
    with pytest.raises(Unavailable):
        await world.dead()
    with pytest.raises(Unavailable):
        await world.letters.take(QUEUE, anything, ignore, 1)


class TestReplay:
    async def test_sends_a_copy_whose_tries_are_before_it(self, world: World) -> None:
        counts = {"copies": 300, "put_off": 290, "missed": 3, "kind": "tick"}
        await world.bury(letter("t~300", b'{"tick": 1}', application_properties=counts, subject="job.tick"))
        sent: list[str] = []
        left = await world.revive.replay(QUEUE, Like(), 10, lambda one: sent.append(one.message.message_id))
        assert (left, sent, await world.dead()) == (0, ["t~300"], [])
        [copy] = await world.queued()
        assert (copy.message_id, copy.subject, b"".join(copy.body)) == ("t~301", "job.tick", b'{"tick": 1}')
        assert copy.application_properties == {
            b"copies": 301,
            b"replays": 1,
            b"kind": b"tick",
        }

    async def test_that_is_cut_short_after_the_copy_was_sent_sends_none_more(self, world: World) -> None:
        await world.bury(letter("a"))

        def cut(_: DeadLetter) -> None:
            raise RuntimeError("killed")

        with pytest.raises(RuntimeError):
            await world.revive.replay(QUEUE, Like(), 10, cut)
        assert (ids(await world.queued()), await world.dead()) == (["a~1"], ["a"])
        assert await world.revive.replay(QUEUE, Like(), 10, lambda _: None) == 0
        assert (ids(await world.queued()), await world.dead()) == (["a~1"], [])

    async def test_whose_letter_cannot_be_removed_says_so_and_works_the_next_time(self, world: World) -> None:
        await world.bury(letter("a"))
        with (
            world.emulator.faults(Fault(fault="refuse", address=DEAD_QUEUE, on=["settle"], times=1)),
            pytest.raises(Unavailable, match=r"^the dead-letter queue of job-inbox cannot be reached$"),
        ):
            await world.revive.replay(QUEUE, Like(), 10, lambda _: None)
        assert await world.revive.replay(QUEUE, Like(), 10, lambda _: None) == 0
        assert (ids(await world.queued()), await world.dead()) == (["a~1"], [])

    async def test_that_cannot_send_leaves_the_letter(self, world: World) -> None:
        await world.bury(letter("a"))
        with (
            world.emulator.faults(Fault(fault="refuse", address=QUEUE, on=["request"])),
            pytest.raises(Unavailable, match=r"^the service bus cannot be reached$"),
        ):
            await world.revive.replay(QUEUE, Like(), 10, lambda _: None)
        assert (ids(await world.queued()), await world.dead()) == ([], ["a"])

    async def test_of_a_copy_that_died_as_well_is_another_copy(self, world: World) -> None:
        await world.bury(letter("a"))
        await world.revive.replay(QUEUE, Like(), 10, lambda _: None)
        await world.kill_next()
        await world.revive.replay(QUEUE, Like(), 10, lambda _: None)
        assert ids(await world.queued()) == ["a~2"]

    async def test_does_not_send_again_what_comes_back_while_it_is_at_work(self, world: World) -> None:
        await world.bury(letter("a"), letter("b"))
        found = await world.dead()
        assert found == ["a", "b"]

        class Coming(ServiceBusDeadLetters):
            async def take(self, entity: str, wanted: Any, use: Any, most: int) -> int:
                await world.bury(letter("late"))
                return await super().take(entity, wanted, use, most + 1)

        revive = replace(
            world.revive,
            letters=Coming(connector(world.emulator), patience=timedelta(seconds=2)),
        )
        await revive.replay(QUEUE, Like(), 10, lambda _: None)
        assert (sorted(filter(None, ids(await world.queued()))), await world.dead()) == (
            ["a~1", "b~1"],
            ["late"],
        )

    async def test_stops_at_the_limit_and_says_how_many_it_did_not_reach(self, world: World) -> None:
        await world.bury(*map(letter, ("a", "b", "c")))
        assert await world.revive.replay(QUEUE, Like(), 0, lambda _: None) == 0
        assert await world.revive.replay(QUEUE, Like(contains="c"), 5, lambda _: None) == 0
        assert await world.dead() == ["a", "b"]
        brief = ServiceBusDeadLetters(connector(world.emulator), patience=timedelta(seconds=2))
        dead = ServiceBusSubQueue.DEAD_LETTER
        async with world.client.get_queue_receiver(QUEUE, sub_queue=dead) as receiver:
            await receiver.receive_messages(1, max_wait_time=20)
            assert await replace(world.revive, letters=brief).replay(QUEUE, Like(), 5, lambda _: None) == 1
        assert ids(await world.queued()) == ["c~1", "b~1"]

    async def test_of_a_consumers_own_letters_is_refused_and_their_list_is_not(self, world: World) -> None:
        async with world.client.get_topic_sender("job-events", **BRISK) as sender:
            await sender.send_messages(letter("o1", application_properties={"kind": "outcome"}))
        async with world.client.get_subscription_receiver("job-events", "outcomes") as receiver:
            [received] = await receiver.receive_messages(1, max_wait_time=20)
            await receiver.dead_letter_message(received, reason="not for us")
        async with aclosing(world.revive.find("job-events/outcomes", Like())) as letters:
            assert [one.message.message_id async for one in letters] == ["o1"]
        with pytest.raises(OperatorError, match="would go to all subscriptions"):
            await world.revive.replay("job-events/outcomes", Like(), 10, lambda _: None)
        assert await world.dead("job-events/outcomes") == ["o1"]
