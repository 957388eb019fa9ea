"""What Microsoft's own SDK sees of the emulator, async and blocking, over a real socket."""

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import (
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
)
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusError,
)

from tests.servicebus.conftest import Bus, on_both_sdks

Fresh = Callable[[str], str]
DEAD = {"sub_queue": ServiceBusSubQueue.DEAD_LETTER}


def body(message: Any) -> bytes:
    return b"".join(message.body)


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def until(when: datetime) -> None:
    """Let the time come at which something has ended."""
    while datetime.now(UTC) < when:
        await asyncio.sleep(0.05)


async def bodies(receiver: Any, count: int, wait: float = 10) -> list[bytes]:
    return [body(one) for one in await receiver.receive_messages(count, wait)]


@on_both_sdks
async def test_a_message_arrives_with_everything_that_was_sent(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    sent = ServiceBusMessage(
        b"\x00\xff bytes",
        message_id="m1",
        correlation_id="c1",
        session_id="s1",
        reply_to="r1",
        reply_to_session_id="rs1",
        to="t1",
        subject="subject",
        content_type="application/json",
        time_to_live=timedelta(minutes=10),
        application_properties={"text": "é", "number": 7, "real": 1.5, "yes": True, "id": uuid.UUID(int=5)},
    )
    before = datetime.now(UTC)
    await bus.sender(queue).send_messages(sent)
    receiver = bus.receiver(queue)
    [got] = await receiver.receive_messages(1, 10)
    assert body(got) == b"\x00\xff bytes"
    assert (got.message_id, got.correlation_id, got.session_id) == ("m1", "c1", "s1")
    assert (got.reply_to, got.reply_to_session_id, got.to) == ("r1", "rs1", "t1")
    assert (got.subject, got.content_type) == ("subject", "application/json")
    assert got.time_to_live == timedelta(minutes=10)
    assert got.application_properties == {
        b"text": "é".encode(),
        b"number": 7,
        b"real": 1.5,
        b"yes": True,
        b"id": uuid.UUID(int=5),
    }
    assert (got.delivery_count, got.sequence_number, got.enqueued_sequence_number) == (0, 1, 0)
    assert before - timedelta(seconds=1) < got.enqueued_time_utc < datetime.now(UTC) + timedelta(seconds=1)
    assert timedelta(seconds=50) < got.locked_until_utc - datetime.now(UTC) < timedelta(seconds=61)
    assert isinstance(got.lock_token, uuid.UUID)
    await receiver.complete_message(got)
    assert await receiver.peek_messages(10) == []


@pytest.mark.parametrize(
    ("kind", "content"),
    [("value_body", {"a": [1, None]}), ("sequence_body", [[1, 2], ["x"]]), ("data_body", [b"one", b"two"])],
    ids=["value", "sequence", "several data sections"],
)
@on_both_sdks
async def test_bodies_of_every_type_arrive_as_they_were_sent(
    bus: Bus, fresh: Fresh, kind: str, content: Any
) -> None:
    queue = fresh("plain")
    await bus.sender(queue).send_messages(AmqpAnnotatedMessage(**{kind: content}))
    [got] = await bus.receiver(queue).receive_messages(1, 10)
    assert (
        got.body_type
        == {
            "value_body": AmqpMessageBodyType.VALUE,
            "sequence_body": AmqpMessageBodyType.SEQUENCE,
            "data_body": AmqpMessageBodyType.DATA,
        }[kind]
    )
    expected = {
        "value_body": {b"a": [1, None]},
        "sequence_body": [[1, 2], [b"x"]],
        "data_body": [b"one", b"two"],
    }
    assert (got.body if kind == "value_body" else list(got.body)) == expected[kind]


@on_both_sdks
async def test_abandoned_messages_come_again_and_end_in_the_dead_letter_queue(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("short")
    await bus.sender(queue).send_messages(ServiceBusMessage("poison"))
    receiver, dead = bus.receiver(queue), bus.receiver(queue, **DEAD)
    for count in (0, 1):
        [got] = await receiver.receive_messages(1, 10)
        assert got.delivery_count == count
        await receiver.abandon_message(got)
    [letter] = await dead.receive_messages(1, 10)
    assert letter.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert letter.dead_letter_error_description == "Message could not be consumed after 2 delivery attempts."
    assert body(letter) == b"poison"
    await dead.complete_message(letter)
    assert await receiver.peek_messages(1) == []


@on_both_sdks
async def test_dead_letters_carry_the_reason_and_keep_what_was_sent(bus: Bus, fresh: Fresh) -> None:
    name = f"{fresh('topic')}/all"
    await bus.sender(name.partition("/")[0]).send_messages(
        ServiceBusMessage("bad", application_properties={"n": 1})
    )
    receiver, dead = bus.receiver(name), bus.receiver(name, **DEAD)
    [got] = await receiver.receive_messages(1, 10)
    await receiver.dead_letter_message(got, reason="no use", error_description="at all")
    [letter] = await dead.receive_messages(1, 10)
    assert (letter.dead_letter_reason, letter.dead_letter_error_description) == ("no use", "at all")
    assert letter.application_properties[b"n"] == 1
    assert letter.sequence_number == got.sequence_number
    assert letter.dead_letter_source is None


@on_both_sdks
async def test_a_lock_that_ends_is_lost_and_the_message_comes_again(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("short")
    await bus.sender(queue).send_messages(ServiceBusMessage("x"))
    receiver, other = bus.receiver(queue), bus.receiver(queue)
    [got] = await receiver.receive_messages(1, 10)
    [again] = await other.receive_messages(1, 5)
    assert again.delivery_count == 1
    got._expiry = soon(60)  # so that the SDK asks the broker
    with pytest.raises(MessageLockLostError):
        await receiver.complete_message(got)
    got._settled = False
    with pytest.raises(MessageLockLostError):
        await receiver.renew_message_lock(got)
    await other.complete_message(again)


@on_both_sdks
async def test_a_renewed_lock_lasts_longer(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("lasting")
    await bus.sender(queue).send_messages(ServiceBusMessage("x"))
    receiver = bus.receiver(queue)
    [got] = await receiver.receive_messages(1, 10)
    first = got.locked_until_utc
    await until(first - timedelta(seconds=1.5))
    assert await receiver.renew_message_lock(got) > first + timedelta(seconds=1)
    await until(first + timedelta(milliseconds=50))
    await receiver.complete_message(got)
    assert await receiver.peek_messages(1) == []


@on_both_sdks
async def test_receive_and_delete_leaves_nothing(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    await bus.sender(queue).send_messages([ServiceBusMessage(b"1"), ServiceBusMessage(b"2")])
    receiver = bus.receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    assert await bodies(receiver, 2) == [b"1", b"2"]
    assert await receiver.peek_messages(10) == []


@on_both_sdks
async def test_a_deferred_message_is_received_by_its_number_only(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    await bus.sender(queue).send_messages(ServiceBusMessage(b"later"))
    receiver = bus.receiver(queue)
    [got] = await receiver.receive_messages(1, 10)
    await receiver.defer_message(got)
    assert await receiver.receive_messages(1, 0.5) == []
    [seen] = await receiver.peek_messages(1, sequence_number=1)
    assert seen.state == ServiceBusMessageState.DEFERRED
    [back] = await receiver.receive_deferred_messages(got.sequence_number)
    assert body(back) == b"later"
    await receiver.complete_message(back)
    with pytest.raises(MessageNotFoundError):
        await receiver.receive_deferred_messages(got.sequence_number)


@pytest.mark.parametrize("how", ["request", "annotation"])
@on_both_sdks
async def test_a_scheduled_message_waits_until_it_is_due(bus: Bus, fresh: Fresh, how: str) -> None:
    queue = fresh("plain")
    sender, receiver = bus.sender(queue), bus.receiver(queue)
    when = soon(2.5)
    if how == "request":
        assert await sender.schedule_messages([ServiceBusMessage(b"tick")], when) == [1]
    else:
        await sender.send_messages(ServiceBusMessage(b"tick", scheduled_enqueue_time_utc=when))
    [seen] = await receiver.peek_messages(1)
    assert seen.state == ServiceBusMessageState.SCHEDULED
    [got] = await receiver.receive_messages(1, 6)
    assert datetime.now(UTC) >= when - timedelta(milliseconds=5)
    assert (body(got), got.sequence_number) == (b"tick", 2)


@on_both_sdks
async def test_a_canceled_message_never_comes(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    sender, receiver = bus.sender(queue), bus.receiver(queue)
    messages = [ServiceBusMessage(b"canceled"), ServiceBusMessage(b"kept")]
    canceled, _ = await sender.schedule_messages(messages, soon(1.5))
    await sender.cancel_scheduled_messages(canceled)
    with pytest.raises(MessageNotFoundError):
        await sender.cancel_scheduled_messages(canceled)
    assert await bodies(receiver, 2, 5) == [b"kept"]


@on_both_sdks
async def test_a_message_id_seen_before_is_dropped_without_a_word(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("once")
    sender = bus.sender(queue)
    await sender.send_messages(ServiceBusMessage(b"first", message_id="a"))
    await sender.send_messages(ServiceBusMessage(b"second", message_id="a"))
    await sender.send_messages(
        [ServiceBusMessage(b"x", message_id="a"), ServiceBusMessage(b"b", message_id="b")]
    )
    await sender.schedule_messages(ServiceBusMessage(b"late", message_id="b"), soon(0))
    assert await bodies(bus.receiver(queue), 5) == [b"first", b"b"]


@on_both_sdks
async def test_a_subscription_takes_what_its_rules_match_once(bus: Bus, fresh: Fresh) -> None:
    topic = fresh("topic")
    await bus.sender(topic).send_messages(
        [
            ServiceBusMessage(b"both", subject="news", application_properties={"colour": "red"}),
            ServiceBusMessage(b"news", subject="news"),
            ServiceBusMessage(b"Red", application_properties={"colour": "Red"}),
        ]
    )
    found = await asyncio.gather(
        *(bodies(bus.receiver(f"{topic}/{name}"), 5) for name in ("all", "red", "either"))
    )
    assert found == [[b"both", b"news", b"Red"], [b"both"], [b"both", b"news"]]


@on_both_sdks
async def test_a_subscription_forwards_to_a_queue_that_drops_duplicates(bus: Bus, fresh: Fresh) -> None:
    topic = fresh("topic")
    target = topic.replace("topic", "target")
    sender = bus.sender(topic)
    for content in (b"first", b"second"):
        await sender.send_messages(
            ServiceBusMessage(content, message_id="same", application_properties={"forward": True, "n": 3})
        )
    [got] = await bus.receiver(target).receive_messages(5, 3)
    assert (body(got), got.message_id) == (b"first", "same")
    assert got.application_properties == {b"forward": True, b"n": 3}
    assert got.enqueued_sequence_number == 1


@on_both_sdks
async def test_dead_letters_are_forwarded_with_their_source(bus: Bus, fresh: Fresh) -> None:
    topic = fresh("topic")
    await bus.sender(topic).send_messages(ServiceBusMessage(b"x"))
    receiver = bus.receiver(f"{topic}/buried")
    [got] = await receiver.receive_messages(1, 10)
    await receiver.dead_letter_message(got, reason="why")
    [letter] = await bus.receiver(topic.replace("topic", "graves")).receive_messages(1, 10)
    assert letter.dead_letter_source == f"{topic}/Subscriptions/buried"
    assert letter.dead_letter_reason == "why"


@on_both_sdks
async def test_an_expired_message_is_dead_lettered_where_that_is_asked_for(bus: Bus, fresh: Fresh) -> None:
    mortal, plain = fresh("mortal"), fresh("plain")
    await bus.sender(mortal).send_messages(ServiceBusMessage(b"x", time_to_live=timedelta(hours=1)))
    await bus.sender(plain).send_messages(ServiceBusMessage(b"x", time_to_live=timedelta(seconds=1)))
    [letter] = await bus.receiver(mortal, **DEAD).receive_messages(1, 5)
    assert letter.dead_letter_reason == "TTLExpiredException"
    assert letter.dead_letter_error_description == "The message expired and was dead lettered."
    deadline = time.monotonic() + 5
    receiver = bus.receiver(plain)
    while await receiver.peek_messages(1, sequence_number=1):
        assert time.monotonic() < deadline, "the message should have expired"
        await asyncio.sleep(0.1)
    assert await bus.receiver(plain, **DEAD).peek_messages(1) == []


@on_both_sdks
async def test_a_message_has_at_most_256_kilobytes(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    sender = bus.sender(queue)
    await sender.send_messages(ServiceBusMessage(b"x" * 262_000))
    with pytest.raises(MessageSizeExceededError):
        await sender.send_messages(ServiceBusMessage(b"x" * 262_144))
    batch = await sender.create_message_batch()
    assert batch.max_size_in_bytes == 262_144
    [got] = await bus.receiver(queue).receive_messages(1, 10)
    assert len(body(got)) == 262_000


@on_both_sdks
async def test_a_batch_is_taken_whole_or_not_at_all(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    sender = bus.sender(queue)
    good = [ServiceBusMessage(b"%d" % number) for number in range(300)]
    await sender.send_messages(good)
    bad = AmqpAnnotatedMessage(data_body=b"2", properties={"message_id": "x" * 129})
    with pytest.raises(ServiceBusError):
        await sender.send_messages([ServiceBusMessage(b"1"), bad])
    receiver = bus.receiver(queue)
    found: list[bytes] = []
    while len(found) < 300:
        found += await bodies(receiver, 300)
    assert found == [b"%d" % number for number in range(300)]


@on_both_sdks
async def test_names_make_no_difference_between_cases(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    await bus.sender(queue.upper()).send_messages(ServiceBusMessage(b"x"))
    assert await bodies(bus.receiver(queue.title()), 1) == [b"x"]


@on_both_sdks
async def test_an_unknown_address_is_refused(bus: Bus) -> None:
    # At the token already, as in Azure: https://github.com/Azure/azure-service-bus/issues/304
    with pytest.raises((ServiceBusAuthenticationError, MessagingEntityNotFoundError)):
        await bus.sender("nowhere").send_messages(ServiceBusMessage(b"x"))


@on_both_sdks
async def test_what_azure_does_not_allow_is_refused(bus: Bus, fresh: Fresh) -> None:
    topic = fresh("topic")
    with pytest.raises(ServiceBusError, match="amqp:not-allowed"):
        await bus.receiver(f"{topic}/onward").receive_messages(1, 10)
    with pytest.raises(ServiceBusError, match="amqp:not-allowed"):
        await bus.receiver(fresh("plain"), session_id="s").receive_messages(1, 10)


@on_both_sdks
async def test_competing_receivers_share_the_messages(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    await bus.sender(queue).send_messages([ServiceBusMessage(b"%d" % number) for number in range(40)])

    async def take() -> list[bytes]:
        receiver = bus.receiver(queue)
        found = []
        while got := await receiver.receive_messages(5, 3):
            for one in got:
                await receiver.complete_message(one)
            found += [body(one) for one in got]
        return found

    shares = await asyncio.gather(*(take() for _ in range(4)))
    assert sorted(int(one) for share in shares for one in share) == list(range(40))


@on_both_sdks
async def test_a_closed_receiver_gives_back_what_nobody_saw(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    await bus.sender(queue).send_messages([ServiceBusMessage(b"1"), ServiceBusMessage(b"2")])
    first = bus.receiver(queue, prefetch_count=10)
    [_] = await first.receive_messages(1, 10)
    await first.close()
    [got] = await bus.receiver(queue).receive_messages(2, 3)
    assert (body(got), got.delivery_count) == (b"2", 0)
