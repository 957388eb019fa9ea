"""Sessions as Microsoft's own SDK uses them, async and blocking; what it does not send, proton's client does.

https://learn.microsoft.com/azure/service-bus-messaging/message-sessions
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from azure.servicebus import (
    NEXT_AVAILABLE_SESSION,
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
)
from azure.servicebus.exceptions import (
    MessageNotFoundError,
    OperationTimeoutError,
    ServiceBusError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)
from proton import UNDESCRIBED, Array, Data, Delivery, Message, int32, symbol, timestamp, uint
from proton.reactor import Filter, LinkOption
from proton.utils import LinkDetached

from dev.servicebus.process import Running, start
from tests.servicebus.conftest import Bus, on_both_sdks
from tests.servicebus.test_servicebus_wire import Client

Fresh = Callable[[str], str]
LISTING = {"last-updated-time": timestamp(253_402_300_800_000), "skip": int32(0), "top": int32(10)}
NEXT = {"session_id": NEXT_AVAILABLE_SESSION}


def of(session_id: str, *texts: str, **rest: Any) -> list[ServiceBusMessage]:
    return [ServiceBusMessage(text, session_id=session_id, **rest) for text in texts]


def texts(messages: list[Any]) -> list[str]:
    return [str(one) for one in messages]


def session_of(receiver: Any) -> Any:
    return getattr(receiver, "real", receiver).session


async def call(method: Callable[..., Any], *args: Any) -> Any:
    """Call a method of a session, which blocks with the one SDK and can be awaited with the other."""
    if inspect.iscoroutinefunction(method):
        return await method(*args)
    return await asyncio.to_thread(method, *args)


async def until(when: datetime) -> None:
    """Let the time come at which something has ended."""
    while datetime.now(UTC) <= when:
        await asyncio.sleep(0.05)


@on_both_sdks
async def test_a_session_is_received_in_order_by_the_one_who_holds_it(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    sender = bus.sender(queue)
    await sender.send_messages([*of("a", "1"), *of("b", "2"), *of("a", "3", "4")])
    holder = bus.receiver(queue, session_id="a")
    first = await holder.receive_messages(10, 2)
    assert texts(first) == ["1", "3", "4"]
    assert {one.session_id for one in first} == {"a"}
    left = session_of(holder).locked_until_utc - datetime.now(UTC)
    assert timedelta(seconds=45) < left < timedelta(seconds=61)
    with pytest.raises(SessionCannotBeLockedError, match="'a' cannot be accepted"):
        await bus.receiver(queue, session_id="a").receive_messages(1, 2)
    await sender.send_messages(of("a", "5"))
    assert texts(await holder.receive_messages(10, 2)) == ["5"]
    assert texts(await bus.receiver(queue, session_id="b").receive_messages(10, 2)) == ["2"]


@on_both_sdks
async def test_the_next_available_session_is_one_that_nobody_holds(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    await bus.sender(queue).send_messages([*of("a", "1"), *of("b", "2"), *of("a", "3")])
    one, other = bus.receiver(queue, **NEXT), bus.receiver(queue, **NEXT)
    assert texts(await one.receive_messages(10, 2)) == ["1", "3"]
    assert texts(await other.receive_messages(10, 2)) == ["2"]
    assert (session_of(one).session_id, session_of(other).session_id) == ("a", "b")
    with pytest.raises(OperationTimeoutError):
        await bus.receiver(queue, **NEXT, max_wait_time=1).receive_messages(1)


@on_both_sdks
async def test_a_receiver_waits_for_the_next_session(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    receiver, holder = bus.receiver(queue, **NEXT, max_wait_time=20), bus.receiver(queue, session_id="held")
    await holder.peek_messages(1)
    waiting = asyncio.create_task(receiver.receive_messages(1))
    await bus.sender(queue).send_messages([*of("held", "not this"), *of("new", "this")])
    assert texts(await waiting) == ["this"]
    assert session_of(receiver).session_id == "new"
    another = asyncio.create_task(bus.receiver(queue, **NEXT, max_wait_time=20).receive_messages(1))
    await holder.close()
    assert texts(await another) == ["not this"]


@on_both_sdks
async def test_messages_of_a_session_are_settled_like_any_other(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    await bus.sender(queue).send_messages(of("s", "1", "2", "3"))
    receiver = bus.receiver(queue, session_id="s")
    [first] = await receiver.receive_messages(1, 2)
    await receiver.abandon_message(first)
    [again, second] = await receiver.receive_messages(2, 2)
    assert [(str(one), one.delivery_count) for one in (again, second)] == [("1", 1), ("2", 0)]
    await receiver.complete_message(again)
    await receiver.dead_letter_message(second, reason="why", error_description="so")
    assert texts(await receiver.peek_messages(10)) == ["3"]
    dead = bus.receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    [letter] = await dead.receive_messages(10, 2)
    assert (str(letter), letter.session_id, letter.dead_letter_reason) == ("2", "s", "why")
    await dead.complete_message(letter)


@on_both_sdks
async def test_deferred_messages_are_for_the_holder_of_their_session(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    await bus.sender(queue).send_messages([*of("a", "1"), *of("b", "2")])
    receiver, other = bus.receiver(queue, session_id="a"), bus.receiver(queue, session_id="b")
    [first] = await receiver.receive_messages(1, 2)
    await receiver.defer_message(first)
    with pytest.raises(MessageNotFoundError):
        await other.receive_deferred_messages([first.sequence_number])
    [deferred] = await receiver.receive_deferred_messages([first.sequence_number])
    assert str(deferred) == "1"
    await receiver.complete_message(deferred)
    assert await receiver.peek_messages(10) == []


@on_both_sdks
async def test_peeking_in_a_session_shows_that_session(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    await bus.sender(queue).send_messages([*of("a", "1"), *of("b", "2"), *of("a", "3", "4")])
    receiver = bus.receiver(queue, session_id="a")
    assert texts(await receiver.peek_messages(2)) == ["1", "3"]
    assert texts(await receiver.peek_messages(2)) == ["4"]


@on_both_sdks
async def test_the_state_of_a_session_stays_with_it_until_it_is_cleared(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    receiver = bus.receiver(queue, session_id="s")
    await receiver.peek_messages(1)
    assert await call(session_of(receiver).get_state) is None
    await call(session_of(receiver).set_state, b"\x00noted\xff")
    await receiver.close()
    other, receiver = bus.receiver(queue, session_id="t"), bus.receiver(queue, session_id="s")
    await asyncio.gather(other.peek_messages(1), receiver.peek_messages(1))
    assert await call(session_of(other).get_state) is None
    assert await call(session_of(receiver).get_state) == b"\x00noted\xff"
    await call(session_of(receiver).set_state, None)
    assert await call(session_of(receiver).get_state) is None


@on_both_sdks
async def test_sessions_with_messages_or_a_state_are_listed(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    assert await bus.sessions(queue) == []
    await bus.sender(queue).send_messages([*of("b", "1"), *of("a", "2"), *of("b", "3")])
    receiver = bus.receiver(queue, session_id="c")
    await receiver.peek_messages(1)
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    await call(session_of(receiver).set_state, b"noted")
    assert await bus.sessions(queue) == ["a", "b", "c"]
    assert await bus.sessions(queue, state_updated_after=before) == ["c"]
    assert await bus.sessions(queue, state_updated_after=before + timedelta(hours=1)) == []
    many = [f"{number:03}" for number in range(101)]  # more than the SDK asks for at once
    await bus.sender(queue).send_messages([one for session_id in many for one in of(session_id, "x")])
    assert await bus.sessions(queue) == [*many, "a", "b", "c"]
    with pytest.raises(ServiceBusError, match="sessionful message receiver cannot be created"):
        await bus.sessions("always-empty")


@on_both_sdks
async def test_a_renewed_session_lasts_longer_than_its_lock(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("brief")
    await bus.sender(queue).send_messages(of("s", "1"))
    receiver = bus.receiver(queue, session_id="s")
    [got] = await receiver.receive_messages(1, 1)
    first = session_of(receiver).locked_until_utc
    while (renewed := await call(session_of(receiver).renew_lock)) <= first + timedelta(seconds=1):
        await asyncio.sleep(0.1)
    assert session_of(receiver).locked_until_utc == renewed
    await until(first)
    await receiver.complete_message(got)


@on_both_sdks
async def test_when_the_lock_ends_the_messages_are_there_for_the_next(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("brief")
    await bus.sender(queue).send_messages(of("s", "1", "2"))
    receiver = bus.receiver(queue, session_id="s")
    [got] = await receiver.receive_messages(1, 1)
    following = asyncio.create_task(bus.receiver(queue, **NEXT, max_wait_time=20).receive_messages(1))
    [again] = await following
    assert (str(again), again.delivery_count, again.session_id) == ("1", 1, "s")
    with pytest.raises(SessionLockLostError):
        await receiver.complete_message(got)


@on_both_sdks
async def test_a_closed_receiver_gives_back_its_session_and_nothing_counts(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    await bus.sender(queue).send_messages(of("s", "1", "2"))
    receiver = bus.receiver(queue, session_id="s")
    assert texts(await receiver.receive_messages(1, 2)) == ["1"]
    await receiver.close()
    again = await bus.receiver(queue, session_id="s").receive_messages(2, 2)
    assert [(str(one), one.delivery_count) for one in again] == [("1", 0), ("2", 0)]


@on_both_sdks
async def test_a_session_can_be_received_and_deleted(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    await bus.sender(queue).send_messages(of("s", "1", "2"))
    receiver = bus.receiver(queue, session_id="s", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    assert texts(await receiver.receive_messages(2, 2)) == ["1", "2"]
    assert await receiver.peek_messages(2) == []


@on_both_sdks
async def test_what_goes_only_with_sessions_is_refused_without(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    sender = bus.sender(queue)
    for batch in (ServiceBusMessage("x"), [*of("s", "1"), ServiceBusMessage("x")]):
        with pytest.raises(ServiceBusError, match="SessionId was not set"):
            await sender.send_messages(batch)
    with pytest.raises(ServiceBusError, match="SessionId was not set"):
        await sender.schedule_messages(ServiceBusMessage("x"), datetime.now(UTC) + timedelta(minutes=1))
    with pytest.raises(
        ServiceBusError, match="requires sessions to create a non-sessionful message receiver"
    ):
        await bus.receiver(queue).receive_messages(1, 1)
    for options in ({"session_id": "s"}, NEXT):
        with pytest.raises(ServiceBusError, match="sessionful message receiver cannot be created"):
            await bus.receiver(fresh("plain"), **options).receive_messages(1, 1)
    assert await bus.receiver(queue, session_id="s").peek_messages(10) == []


@on_both_sdks
async def test_a_subscription_has_sessions_and_buries_what_has_none(bus: Bus, fresh: Fresh) -> None:
    topic = fresh("topic")
    await bus.sender(topic).send_messages(
        [*of("s", "1", subject="talk"), ServiceBusMessage("2", subject="talk")]
    )
    assert texts(await bus.receiver(f"{topic}/talks", **NEXT).receive_messages(10, 2)) == ["1"]
    dead = bus.receiver(f"{topic}/talks", sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    [letter] = await dead.receive_messages(10, 2)
    assert (str(letter), letter.dead_letter_reason) == ("2", "Session ID is null.")


@on_both_sdks
async def test_scheduled_messages_come_in_their_session(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    receiver = bus.receiver(queue, **NEXT, max_wait_time=20)
    waiting = asyncio.create_task(receiver.receive_messages(1))
    await bus.sender(queue).schedule_messages(of("s", "1"), datetime.now(UTC) + timedelta(seconds=1))
    assert texts(await waiting) == ["1"]


def test_state_and_messages_of_a_session_survive_a_kill(config_file: Path, tmp_path: Path) -> None:
    first = start(config_file, store=tmp_path / "store.db")
    with ServiceBusClient.from_connection_string(first.connection_string) as client:
        client.get_queue_sender("talk-0").send_messages([*of("a", "1", "2"), *of("b", "3")])
        for session_id, state in (("a", b"kept"), ("b", b"cleared"), ("b", None)):
            with client.get_queue_receiver("talk-0", session_id=session_id) as receiver:
                receiver.session.set_state(state)
        first.kill()
    with (
        start(config_file, store=tmp_path / "store.db") as second,
        ServiceBusClient.from_connection_string(second.connection_string) as client,
        client.get_queue_receiver("talk-0", session_id="a") as a,
        client.get_queue_receiver("talk-0", session_id="b") as b,
    ):
        states: list[bytes | None] = [a.session.get_state(), b.session.get_state()]
        assert states == [b"kept", None]
        assert texts(a.receive_messages(10, 2)) == ["1", "2"]
        assert texts(b.receive_messages(10, 2)) == ["3"]


@pytest.fixture
def client(emulator: Running) -> Iterator[Client]:
    client = Client(emulator)
    with closing(client.connection):
        yield client


class Patience(LinkOption):
    """For how long to wait for a session, in milliseconds."""

    def __init__(self, wait: int) -> None:
        self.wait = wait

    def apply(self, link: Any) -> None:
        link.properties = {symbol("com.microsoft:timeout"): uint(self.wait)}


def receive(client: Client, address: str, session: Any, *options: LinkOption) -> Any:
    only = Filter({symbol("com.microsoft:session-filter"): session})
    return client.connection.create_receiver(address, options=[only, *options])


def test_when_no_session_comes_in_time_the_link_is_refused_and_gets_none_later(
    client: Client, fresh: Fresh
) -> None:
    queue = fresh("talk")
    with pytest.raises(LinkDetached) as refused:
        receive(client, queue, None, Patience(200))
    assert refused.value.condition == "com.microsoft:timeout"
    client.connection.create_sender(queue).send(Message(body="x", group_id="s"))
    assert receive(client, queue, None, Patience(200)).receive(timeout=5).body == "x"


def test_the_attach_answer_names_the_session_and_the_end_of_its_lock(client: Client, fresh: Fresh) -> None:
    queue = fresh("talk")
    client.connection.create_sender(queue).send(Message(body="x", group_id="s"))
    link = receive(client, queue, None).link
    link.remote_source.filter.rewind()
    assert link.remote_source.filter.next()
    assert link.remote_source.filter.get_dict() == {symbol("com.microsoft:session-filter"): "s"}
    ticks = link.remote_properties["com.microsoft:locked-until-utc"]
    ends = datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)
    assert timedelta(seconds=50) < ends - datetime.now(UTC) < timedelta(seconds=61)


def test_a_lost_session_ends_the_link_and_late_settlements_are_told(
    client: Client, emulator: Running, fresh: Fresh
) -> None:
    queue = fresh("brief")
    client.connection.create_sender(queue).send(Message(body="x", group_id="s"))
    receiver = receive(client, queue, "s")
    receiver.receive(timeout=5)
    one = receiver.fetcher.unsettled[0]
    following = Client(emulator)
    with closing(following.connection):
        receive(following, queue, None)  # the answer comes when the lock has ended
    one.update(Delivery.ACCEPTED)
    with pytest.raises(LinkDetached) as lost:
        client.connection.wait(lambda: one.remote_state)
    assert lost.value.condition == "com.microsoft:session-lock-lost"
    client.connection.wait(lambda: one.remote_state)
    assert one.remote_state == Delivery.REJECTED
    assert one.remote.condition.name == "com.microsoft:session-lock-lost"
    requests: dict[str, dict[str, Any]] = {
        "update-disposition": {"disposition-status": "completed", "lock-tokens": [uuid4()]},
        "renew-session-lock": {},
        "get-session-state": {},
        "set-session-state": {"session-state": b"x"},
        "receive-by-sequence-number": {"sequence-numbers": [1], "receiver-settle-mode": 1},
    }
    for name, body in requests.items():
        said, _ = client.operation(queue, f"com.microsoft:{name}", {"session-id": "s"} | body)
        assert (said["statusCode"], said["errorCondition"]) == (410, "com.microsoft:session-lock-lost"), name


def test_a_session_is_used_only_by_the_connection_that_holds_it(
    client: Client, emulator: Running, fresh: Fresh
) -> None:
    queue, other = fresh("talk"), fresh("talk")
    receive(client, queue, "s")
    receive(client, other, "s")
    for one in (queue, other):
        said, body = client.operation(one, "com.microsoft:get-session-state", {"session-id": "s"})
        assert (said["statusCode"], body) == (200, {"session-state": None})
    stranger = Client(emulator)
    with closing(stranger.connection):
        said, _ = stranger.operation(queue, "com.microsoft:get-session-state", {"session-id": "s"})
        assert (said["statusCode"], said["errorCondition"]) == (410, "com.microsoft:session-lock-lost")


def test_a_session_is_free_when_the_connection_that_held_it_is_gone(
    client: Client, emulator: Running, fresh: Fresh
) -> None:
    queue = fresh("talk")
    gone = Client(emulator)
    gone.connection.create_sender(queue).send(Message(body="x", group_id="s"))
    assert receive(gone, queue, "s").receive(timeout=5).body == "x"
    gone.connection.close()
    assert receive(client, queue, "s").receive(timeout=5).delivery_count == 0


@pytest.mark.parametrize(
    ("name", "body", "status", "condition"),
    [
        ("get-session-state", {}, 405, "amqp:not-allowed"),
        ("get-session-state", {"session-id": 7}, 400, "com.microsoft:argument-error"),
        (
            "set-session-state",
            {"session-id": "s", "session-state": "text"},
            400,
            "com.microsoft:argument-error",
        ),
        (
            "set-session-state",
            {"session-id": "s", "session-state": b"x" * (256 * 1024 + 1)},
            413,
            "amqp:link:message-size-exceeded",
        ),
        ("renew-session-lock", {"session-id": "another"}, 410, "com.microsoft:session-lock-lost"),
        ("renew-lock", {"lock-tokens": [UUID(int=1)]}, 405, "amqp:not-allowed"),
        ("get-message-sessions", LISTING | {"last-updated-time": 5}, 400, "com.microsoft:argument-error"),
        ("get-message-sessions", LISTING | {"skip": int32(-1)}, 400, "com.microsoft:argument-error"),
        ("get-message-sessions", LISTING, 204, "com.microsoft:session-not-found"),
        (
            "peek-message",
            {"session-id": 7, "from-sequence-number": 0, "message-count": 1},
            400,
            "com.microsoft:argument-error",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_request_to_a_session_is_told(
    client: Client, fresh: Fresh, name: str, body: dict[str, Any], status: int, condition: str
) -> None:
    queue = fresh("talk")
    receive(client, queue, "s")
    said, _ = client.operation(queue, f"com.microsoft:{name}", body)
    assert (said["statusCode"], said["errorCondition"]) == (status, condition)


def test_a_page_of_sessions_says_how_many_it_skips(client: Client, fresh: Fresh) -> None:
    queue = fresh("talk")
    sender = client.connection.create_sender(queue)
    for session_id in ("a", "b", "c"):
        sender.send(Message(body="x", group_id=session_id))
    page = LISTING | {"skip": int32(1), "top": int32(1)}
    said, found = client.operation(queue, "com.microsoft:get-message-sessions", page)
    assert (said["statusCode"], found) == (
        200,
        {"skip": 1, "sessions-ids": Array(UNDESCRIBED, Data.STRING, "b")},  # type: ignore[arg-type] # the annotation leaves out UNDESCRIBED
    )


def test_a_plain_queue_has_no_session_to_ask_about(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    for body, status in (({}, 400), ({"session-id": "s"}, 405)):
        said, _ = client.operation(queue, "com.microsoft:get-session-state", body)
        assert said["statusCode"] == status


def test_a_session_filter_is_a_session_id(client: Client, fresh: Fresh) -> None:
    with pytest.raises(LinkDetached) as refused:
        receive(client, fresh("talk"), 7)
    assert refused.value.condition == "com.microsoft:argument-error"
