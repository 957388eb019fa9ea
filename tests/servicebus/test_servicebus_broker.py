"""The broker's rules, with a clock that only moves when it is told to; no socket, no file."""

import itertools
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from proton import Message as Sent
from proton import symbol, timestamp, ubyte

from dev.servicebus.broker import Broker, Mailbox, Message, Session, State
from dev.servicebus.entities import Namespace, Queue, Settings, Subscription, Topic
from dev.servicebus.errors import Condition, RefusedError
from dev.servicebus.filters import CorrelationFilter, Rule, TrueFilter
from dev.servicebus.message import Content, decode
from dev.servicebus.store import Store

NOW = 1_700_000_000_000
MINUTE = 60_000
SETTINGS = Settings(lock_duration=MINUTE, max_delivery_count=3, time_to_live=None, dead_letters_expired=False)
EVERYTHING = Rule(name="r", filter=TrueFilter())


def content(
    message_id: str | None = None, *, due_at: int | None = None, ttl: int | None = None, **rest: Any
) -> Content:
    sent = Sent(body=b"x", id=message_id, **rest)
    if due_at is not None:
        sent.annotations = {symbol("x-opt-scheduled-enqueue-time"): timestamp(due_at)}
    return replace(decode(sent.encode()), ttl=ttl)


def broker_of(*queues: Queue, topics: tuple[Topic, ...] = ()) -> Broker:
    return Broker(Namespace(queues=queues, topics=topics))


def queue(name: str = "q", *, window: int | None = None, **settings: Any) -> Queue:
    return Queue(name=name, settings=replace(SETTINGS, **settings), duplicate_window=window)


def take(broker: Broker, address: str, now: int) -> Message:
    broker.advance(now)
    message = broker.acquire(broker.mailbox(address), now)
    assert message is not None, "there should have been a message"
    return message


def lock_of(message: Message) -> UUID:
    assert message.lock is not None
    return message.lock


def ids(mailbox: Mailbox) -> list[str | None]:
    return [mailbox.messages[number].content.properties.message_id for number in sorted(mailbox.messages)]


def test_messages_are_received_in_the_order_of_their_numbers() -> None:
    broker = broker_of(queue())
    assert broker.send("q", [content("a"), content("b"), content("c")], NOW) == [1, 2, 3]
    first = take(broker, "q", NOW)
    assert first.content.properties.message_id == "a"
    broker.abandon(broker.mailbox("q"), lock_of(first), NOW)
    found = [take(broker, "q", NOW).content.properties.message_id for _ in range(3)]
    assert found == ["a", "b", "c"]
    assert broker.acquire(broker.mailbox("q"), NOW) is None


def test_a_lock_lasts_until_its_last_millisecond() -> None:
    broker = broker_of(queue())
    broker.send("q", [content()], NOW)
    message = take(broker, "q", NOW)
    lock, mailbox = lock_of(message), broker.mailbox("q")
    assert broker.next_alarm() == NOW + MINUTE
    broker.advance(NOW + MINUTE - 1)
    assert message.lock == lock
    broker.advance(NOW + MINUTE)
    assert mailbox.locked == {}
    assert message.delivery_count == 1
    with pytest.raises(RefusedError) as refused:
        broker.complete(mailbox, lock, NOW + MINUTE)
    assert refused.value.condition == "com.microsoft:message-lock-lost"
    assert len(mailbox.messages) == 1


def test_settling_finds_out_by_itself_that_the_lock_has_ended() -> None:
    broker = broker_of(queue())
    broker.send("q", [content()], NOW)
    lock = lock_of(take(broker, "q", NOW))
    with pytest.raises(RefusedError):
        broker.complete(broker.mailbox("q"), lock, NOW + MINUTE)


def test_a_message_is_settled_once() -> None:
    broker = broker_of(queue())
    broker.send("q", [content()], NOW)
    lock = lock_of(take(broker, "q", NOW))
    broker.complete(broker.mailbox("q"), lock, NOW)
    with pytest.raises(RefusedError):
        broker.complete(broker.mailbox("q"), lock, NOW)


def test_a_renewed_lock_counts_from_now() -> None:
    broker = broker_of(queue())
    broker.send("q", [content()], NOW)
    lock = lock_of(take(broker, "q", NOW))
    assert broker.renew(broker.mailbox("q"), [lock], NOW + 50_000) == [NOW + 110_000]
    broker.advance(NOW + MINUTE)
    broker.complete(broker.mailbox("q"), lock, NOW + 109_999)


@pytest.mark.parametrize("give_up", ["abandon", "expire"])
def test_the_last_delivery_ends_in_the_dead_letters(give_up: str) -> None:
    broker = broker_of(queue())
    broker.send("q", [content("a")], NOW)
    now = NOW
    for count in range(3):
        message = take(broker, "q", now)
        assert message.delivery_count == count
        if give_up == "abandon":
            broker.abandon(broker.mailbox("q"), lock_of(message), now)
        else:
            now += MINUTE
            broker.advance(now)
    assert broker.mailbox("q").messages == {}
    letter = take(broker, "q/$DeadLetterQueue", now)
    assert letter.content.application_properties == {
        "DeadLetterReason": "MaxDeliveryCountExceeded",
        "DeadLetterErrorDescription": "Message could not be consumed after 3 delivery attempts.",
    }
    assert (letter.sequence, letter.delivery_count) == (1, 3)


def test_dead_letters_are_never_buried_again() -> None:
    broker = broker_of(queue(time_to_live=MINUTE))
    broker.send("q", [content()], NOW)
    broker.dead_letter(broker.mailbox("q"), lock_of(take(broker, "q", NOW)), NOW, reason="r")
    dead = broker.mailbox("q/$deadletterqueue")
    for turn in range(10):
        message = take(broker, dead.path, NOW + turn * MINUTE)
        broker.abandon(dead, lock_of(message), NOW + turn * MINUTE)
    message = take(broker, dead.path, NOW + 10 * MINUTE)
    broker.dead_letter(dead, lock_of(message), NOW + 10 * MINUTE, reason="again")
    assert take(broker, dead.path, NOW + 10 * MINUTE).content.application_properties == {
        "DeadLetterReason": "again"
    }


def test_a_released_message_is_not_counted() -> None:
    broker = broker_of(queue(max_delivery_count=1))
    broker.send("q", [content()], NOW)
    for _ in range(5):
        broker.abandon(broker.mailbox("q"), lock_of(take(broker, "q", NOW)), NOW, counted=False)
    assert take(broker, "q", NOW).delivery_count == 0


def test_a_deferred_message_counts_as_delivered() -> None:
    broker = broker_of(queue(max_delivery_count=1))
    broker.send("q", [content()], NOW)
    broker.defer(broker.mailbox("q"), lock_of(take(broker, "q", NOW)), NOW)
    assert len(broker.mailbox("q/$deadletterqueue").messages) == 1


def test_a_deferred_message_stays_deferred_until_it_is_completed() -> None:
    broker = broker_of(queue(time_to_live=MINUTE))
    broker.send("q", [content()], NOW)
    mailbox = broker.mailbox("q")
    broker.defer(mailbox, lock_of(take(broker, "q", NOW)), NOW, properties={"stage": 2})
    broker.advance(NOW + 2 * MINUTE)
    assert broker.acquire(mailbox, NOW + 2 * MINUTE) is None
    [message] = broker.take_deferred(mailbox, [1], NOW + 2 * MINUTE)
    assert message.content.application_properties == {"stage": 2}
    with pytest.raises(RefusedError):
        broker.take_deferred(mailbox, [1], NOW + 2 * MINUTE)
    broker.abandon(mailbox, lock_of(message), NOW + 2 * MINUTE)
    assert message.state is State.DEFERRED
    [again] = broker.take_deferred(mailbox, [1], NOW + 2 * MINUTE)
    broker.complete(mailbox, lock_of(again), NOW + 2 * MINUTE)
    assert mailbox.messages == {}


@pytest.mark.parametrize(
    ("own", "of_queue", "lives"),
    [(1000, None, 1000), (None, 2000, 2000), (1000, 2000, 1000), (3000, 2000, 2000)],
    ids=["message only", "queue only", "message shorter", "queue shorter"],
)
def test_a_message_lives_as_long_as_the_shorter_time(
    own: int | None, of_queue: int | None, lives: int
) -> None:
    broker = broker_of(queue(time_to_live=of_queue, dead_letters_expired=True))
    broker.send("q", [content(ttl=own)], NOW)
    broker.advance(NOW + lives - 1)
    assert len(broker.mailbox("q").messages) == 1
    broker.advance(NOW + lives)
    assert broker.mailbox("q").messages == {}
    [letter] = broker.mailbox("q/$deadletterqueue").messages.values()
    assert letter.content.application_properties["DeadLetterReason"] == "TTLExpiredException"


def test_a_locked_message_can_be_completed_after_its_time() -> None:
    broker = broker_of(queue(time_to_live=1000))
    broker.send("q", [content("a"), content("b")], NOW)
    first, second = take(broker, "q", NOW), take(broker, "q", NOW)
    broker.complete(broker.mailbox("q"), lock_of(first), NOW + 2000)
    broker.abandon(broker.mailbox("q"), lock_of(second), NOW + 2000)
    assert broker.mailbox("q").messages == {}, "the second had expired when it was given back"
    assert broker.mailbox("q/$deadletterqueue").messages == {}


def test_a_scheduled_message_joins_when_it_is_due_with_a_new_number() -> None:
    broker = broker_of(queue(time_to_live=1000))
    assert broker.send("q", [content("later", due_at=NOW + 5000)], NOW) == [1]
    broker.send("q", [content("now")], NOW + 4900)
    assert [one.state for one in broker.peek(broker.mailbox("q"), 1, 10, NOW + 4900)] == [2, 0]
    assert broker.next_alarm() == NOW + 5000
    broker.advance(NOW + 5000)
    assert ids(broker.mailbox("q")) == ["now", "later"]
    late = broker.mailbox("q").messages[3]
    assert (late.enqueued_at, late.expires_at) == (NOW + 5000, NOW + 6000)


def test_what_is_due_already_is_enqueued_at_once() -> None:
    broker = broker_of(queue())
    broker.send("q", [content(due_at=NOW)], NOW)
    assert take(broker, "q", NOW).state is State.ACTIVE


@pytest.mark.parametrize("second", [2, 9, 3], ids=["unknown", "far off", "not scheduled"])
def test_canceling_is_all_or_nothing(second: int) -> None:
    broker = broker_of(queue())
    broker.send("q", [content(due_at=NOW + 1), content(due_at=NOW + 1), content()], NOW)
    broker.cancel("q", [2], NOW)
    with pytest.raises(RefusedError) as refused:
        broker.cancel("q", [1, second], NOW)
    assert refused.value.condition == "com.microsoft:message-not-found"
    broker.cancel("q", [1], NOW)
    broker.advance(NOW + 1)
    assert len(broker.mailbox("q").messages) == 1


def test_what_is_enqueued_cannot_be_canceled() -> None:
    broker = broker_of(queue())
    [number] = broker.send("q", [content(due_at=NOW + 1)], NOW)
    with pytest.raises(RefusedError):
        broker.cancel("q", [number], NOW + 1)


def test_an_id_is_remembered_for_its_window_and_forgotten_then() -> None:
    broker = broker_of(queue(window=MINUTE))
    for at in (0, 1, MINUTE - 1, MINUTE, 2 * MINUTE - 1):
        broker.send("q", [content("a")], NOW + at)
    assert len(broker.mailbox("q").messages) == 2


@pytest.mark.parametrize("message_id", [None, ""], ids=["no id", "empty id"])
def test_messages_without_an_id_are_no_duplicates(message_id: str | None) -> None:
    broker = broker_of(queue(window=MINUTE))
    broker.send("q", [content(message_id), content(message_id)], NOW)
    assert len(broker.mailbox("q").messages) == 2


def test_a_canceled_id_is_still_remembered() -> None:
    broker = broker_of(queue(window=MINUTE))
    broker.cancel("q", broker.send("q", [content("a", due_at=NOW + 1)], NOW), NOW)
    broker.send("q", [content("a")], NOW)
    assert broker.mailbox("q").messages == {}


def test_an_id_that_is_too_long_refuses_the_whole_batch() -> None:
    broker = broker_of(queue())
    broker.send("q", [content("x" * 128)], NOW)
    with pytest.raises(RefusedError):
        broker.send("q", [content("a"), content("x" * 129)], NOW)
    assert len(broker.mailbox("q").messages) == 1


def chain() -> Broker:
    onward = Subscription(name="s", settings=replace(SETTINGS, forward_to="MIDDLE"), rules=(EVERYTHING,))
    topic = Topic(name="t", time_to_live=5000, subscriptions=(onward,))
    return broker_of(
        queue("middle", forward_to="end", time_to_live=4000),
        queue("end", window=MINUTE, forward_dead_letters_to="graves", time_to_live=9000),
        queue("graves"),
        topics=(topic,),
    )


def test_a_message_is_forwarded_to_the_end_and_keeps_its_first_number() -> None:
    broker = chain()
    broker.send("t", [content("skipped", due_at=NOW + 1)], NOW)
    broker.send("t", [content("a"), content("a")], NOW)
    message = take(broker, "end", NOW)
    assert (message.content.properties.message_id, message.origin, message.ttl) == ("a", 2, 4000)
    assert broker.acquire(broker.mailbox("end"), NOW) is None, "the second is a duplicate at the end"


def test_a_forwarded_dead_letter_names_its_source() -> None:
    broker = chain()
    broker.send("end", [content("a")], NOW)
    broker.dead_letter(broker.mailbox("end"), lock_of(take(broker, "end", NOW)), NOW, reason="r")
    letter = take(broker, "graves", NOW)
    assert (letter.dead_letter_source, letter.origin, letter.delivery_count) == ("end", 1, 0)


@pytest.mark.parametrize(
    ("address", "condition"),
    [
        ("nowhere", Condition.NOT_FOUND),
        ("t/Subscriptions/none", Condition.NOT_FOUND),
        ("t", Condition.NOT_ALLOWED),
        ("t/subscriptions/S", Condition.NOT_ALLOWED),
        ("", Condition.NOT_FOUND),
    ],
    ids=["unknown", "unknown subscription", "topic", "forwards", "empty"],
)
def test_some_addresses_cannot_be_received_from(address: str, condition: Condition) -> None:
    with pytest.raises(RefusedError) as refused:
        chain().mailbox(address)
    assert refused.value.condition == condition


@pytest.mark.parametrize(
    ("address", "condition"),
    [
        ("nowhere", Condition.NOT_FOUND),
        ("t/Subscriptions/s", Condition.NOT_ALLOWED),
        ("end/$DeadLetterQueue", Condition.NOT_ALLOWED),
    ],
    ids=["unknown", "subscription", "dead letters"],
)
def test_some_addresses_cannot_be_sent_to(address: str, condition: Condition) -> None:
    with pytest.raises(RefusedError) as refused:
        chain().send(address, [content()], NOW)
    assert refused.value.condition == condition


FULL = content(
    "m",
    address="to",
    subject="label",
    reply_to="back",
    correlation_id="c",
    content_type="text/plain",
    group_id="session",
    reply_to_group_id="other",
    properties={"n": 1, "t": True, "s": "x", "u": ubyte(7)},
)


@pytest.mark.parametrize(
    ("wanted", "application", "taken"),
    [
        ({"message_id": "m", "to": "to", "subject": "label", "reply_to": "back"}, {}, True),
        ({"correlation_id": "c", "content_type": "text/plain"}, {}, True),
        ({"session_id": "session", "reply_to_session_id": "other"}, {}, True),
        ({"subject": "Label"}, {}, False),
        ({"subject": "label"}, {"s": "y"}, False),
        ({}, {"s": "x", "n": 1, "t": True, "u": 7}, True),
        ({}, {"n": True}, False),
        ({}, {"t": 1}, False),
        ({}, {"absent": "x"}, False),
    ],
    ids=[
        "names",
        "types",
        "sessions",
        "case",
        "one of two",
        "properties",
        "1 not true",
        "true not 1",
        "absent",
    ],
)
def test_a_correlation_filter_compares_every_property(
    wanted: dict[str, str], application: dict[str, Any], taken: bool
) -> None:
    condition = CorrelationFilter(properties=wanted, application_properties=application)
    assert condition.matches(FULL) is taken


def test_a_filter_must_name_something_that_messages_have() -> None:
    with pytest.raises(ValueError, match="at least one"):
        CorrelationFilter()
    with pytest.raises(ValueError, match="no property colour"):
        CorrelationFilter(properties={"colour": "red"})


def test_a_restored_broker_goes_on_where_the_other_stopped(tmp_path: Path) -> None:
    entities = (queue(window=MINUTE),)
    broker = broker_of(*entities)
    broker.send("q", [content("a"), content("b"), content("late", due_at=NOW + 1000)], NOW)
    broker.abandon(broker.mailbox("q"), lock_of(take(broker, "q", NOW)), NOW)
    take(broker, "q", NOW)
    store = Store(tmp_path / "store.db")
    store.write(broker.take_changes(), NOW)
    assert not broker.take_changes()
    store.close()

    again = broker_of(*entities)
    assert again.restore(Store(tmp_path / "store.db").read(NOW)) == []
    first = take(again, "q", NOW)
    assert (first.content.properties.message_id, first.delivery_count) == ("a", 1)
    assert again.send("q", [content("a"), content("c")], NOW) == [4, 5]
    again.advance(NOW + 1000)
    assert ids(again.mailbox("q")) == ["a", "b", "c", "late"]


def test_what_is_not_configured_any_more_is_said() -> None:
    broker = broker_of(queue("old"))
    broker.send("old", [content()], NOW)
    assert broker_of(queue()).restore(broker.take_changes()) == ["old"]


def test_alarms_that_nobody_waits_for_are_thrown_away() -> None:
    broker = broker_of(queue())
    broker.send("q", [content()], NOW)
    mailbox = broker.mailbox("q")
    lock = lock_of(take(broker, "q", NOW))
    for turn in range(25_000):
        broker.renew(mailbox, [lock], NOW + turn % 1000)
    assert len(broker._alarms) <= 10_001
    broker.advance(NOW + MINUTE + 999)
    assert mailbox.locked == {}


@pytest.mark.parametrize(
    ("messages", "renewals", "most"), [(1, 25_000, 5_000), (25_000, 0, 50_000)], ids=["one", "many"]
)
def test_alarms_are_seldom_looked_through_however_many_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, messages: int, renewals: int, most: int
) -> None:
    """For one message it is the alarms of its old locks, for many their own."""
    looked = itertools.count(1)
    is_awaited = Broker._is_awaited

    def counted(broker: Broker, when: int, key: str, sequence: int, session_id: str) -> bool:
        assert next(looked) <= most
        return is_awaited(broker, when, key, sequence, session_id)

    monkeypatch.setattr(Broker, "_is_awaited", counted)
    broker = broker_of(queue())
    for number in range(messages):
        broker.send("q", [content(ttl=MINUTE + number)], NOW)
    mailbox, lock = broker.mailbox("q"), lock_of(take(broker, "q", NOW))
    for turn in range(renewals):
        broker.renew(mailbox, [lock], NOW + turn % 1000)
    assert next(looked) > 1


def test_a_file_of_something_else_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 10)
    with pytest.raises(ValueError, match="is not a store"):
        Store(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE messages (id)")
    other.close()
    with pytest.raises(ValueError, match="is not a store"):
        Store(tmp_path / "other.db")


def test_a_store_keeps_nothing_of_a_write_that_fails(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    broker = broker_of(queue())
    broker.send("q", [content("a")], NOW)
    changes = broker.take_changes()
    changes.seen["q", "a"] = cast("int", object())
    with pytest.raises(sqlite3.Error):
        store.write(changes, NOW)
    assert store.read(NOW).messages == {}


def test_a_store_forgets_ids_whose_window_has_passed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    broker = broker_of(queue(window=MINUTE))
    for at, message_id in ((NOW, "old"), (NOW + MINUTE, "new")):
        broker.send("q", [content(message_id)], at)
        store.write(broker.take_changes(), at)
    assert list(store.read(NOW).seen) == [("q", "new")]


def sessions(**settings: Any) -> Broker:
    return broker_of(queue(requires_session=True, **settings))


def accept(broker: Broker, session_id: str | None, now: int) -> tuple[Session, UUID]:
    session = broker.accept_session(broker.mailbox("q"), session_id, now)
    assert session is not None, "there should have been a session"
    assert session.lock is not None
    return session, session.lock


def held_ids(broker: Broker, session: Session, now: int) -> list[str | None]:
    found = iter(lambda: broker.acquire(broker.mailbox("q"), now, session), None)
    return [message.content.properties.message_id for message in found if message is not None]


def test_sessions_are_accepted_in_the_order_in_which_they_have_something() -> None:
    broker = sessions()
    broker.send(
        "q", [content("1", group_id="a"), content("2", group_id="b"), content("3", group_id="a")], NOW
    )
    first, lock = accept(broker, None, NOW)
    second, _ = accept(broker, None, NOW)
    assert (first.id, second.id) == ("a", "b")
    assert broker.accept_session(broker.mailbox("q"), None, NOW) is None
    assert held_ids(broker, first, NOW) == ["1", "3"]
    broker.send("q", [content("4", group_id="a")], NOW)
    assert broker.accept_session(broker.mailbox("q"), None, NOW) is None
    broker.send("q", [content("5", group_id="c")], NOW)
    broker.release_session(broker.mailbox("q"), lock, NOW)
    assert [accept(broker, None, NOW)[0].id for _ in range(2)] == ["c", "a"]


def test_what_was_received_of_a_released_session_does_not_count() -> None:
    broker = sessions()
    broker.send("q", [content("1", group_id="s")], NOW)
    mailbox = broker.mailbox("q")
    session, lock = accept(broker, "s", NOW)
    message = broker.acquire(mailbox, NOW, session)
    assert message is not None
    broker.set_session_state(mailbox, lock, b"noted", NOW)
    broker.release_session(mailbox, lock, NOW)
    assert (message.lock, message.delivery_count, mailbox.locked) == (None, 0, {})
    session, lock = accept(broker, "s", NOW)
    assert (session.state, held_ids(broker, session, NOW)) == (b"noted", ["1"])
    broker.complete(mailbox, lock_of(message), NOW)
    broker.release_session(mailbox, lock, NOW)
    assert accept(broker, "s", NOW)[0].state == b"noted", "it stays without messages"


def test_the_lock_of_a_session_holds_its_messages_and_ends_in_its_last_millisecond() -> None:
    broker = sessions()
    broker.send("q", [content("1", group_id="s"), content("2", group_id="s")], NOW)
    mailbox = broker.mailbox("q")
    session, lock = accept(broker, "s", NOW)
    message = broker.acquire(mailbox, NOW, session)
    assert message is not None
    assert broker.renew_session(mailbox, lock, NOW + 1000) == NOW + 1000 + MINUTE
    broker.advance(NOW + MINUTE + 999)
    assert (broker.take_lost(), message.delivery_count) == ([], 0)
    broker.advance(NOW + MINUTE + 1000)
    assert (broker.take_lost(), message.delivery_count) == ([lock], 1)
    for refused in (
        lambda: broker.session(mailbox, lock, NOW),
        lambda: broker.renew_session(mailbox, lock, NOW),
        lambda: broker.set_session_state(mailbox, lock, b"", NOW),
    ):
        with pytest.raises(RefusedError) as told:
            refused()
        assert told.value.condition == "com.microsoft:session-lock-lost"
    again, _ = accept(broker, None, NOW + MINUTE + 1000)
    assert held_ids(broker, again, NOW + MINUTE + 1000) == ["1", "2"]


def test_a_lock_that_ended_takes_nothing_from_the_next_holder() -> None:
    broker = sessions()
    mailbox = broker.mailbox("q")
    _, old = accept(broker, "s", NOW)
    _, new = accept(broker, "s", NOW + MINUTE)
    broker.release_session(mailbox, old, NOW + MINUTE)
    broker.advance(NOW + 2 * MINUTE - 1)
    assert broker.session(mailbox, new, NOW + 2 * MINUTE - 1).id == "s"
    with pytest.raises(RefusedError) as refused:
        broker.accept_session(mailbox, "s", NOW + 2 * MINUTE - 1)
    assert refused.value.condition == "com.microsoft:session-cannot-be-locked"


def test_messages_whose_session_ends_too_often_are_dead_letters() -> None:
    broker = sessions(max_delivery_count=1)
    broker.send(
        "q", [content("1", group_id="s"), content("2", group_id="s"), content("3", group_id="s")], NOW
    )
    mailbox = broker.mailbox("q")
    session, _ = accept(broker, "s", NOW)
    broker.acquire(mailbox, NOW, session)
    broker.acquire(mailbox, NOW, session)
    broker.advance(NOW + MINUTE)
    assert (ids(mailbox), ids(broker.mailbox("q/$DeadLetterQueue"))) == (["3"], ["1", "2"])
    assert held_ids(broker, accept(broker, None, NOW + MINUTE)[0], NOW + MINUTE) == ["3"]


def test_a_message_received_in_a_session_outlives_its_time() -> None:
    broker = sessions(dead_letters_expired=True)
    broker.send("q", [content("1", group_id="s", ttl=1000), content("2", group_id="t", ttl=1000)], NOW)
    mailbox = broker.mailbox("q")
    session, lock = accept(broker, "s", NOW)
    message = broker.acquire(mailbox, NOW, session)
    assert message is not None
    broker.advance(NOW + 1000)
    assert broker.accept_session(mailbox, None, NOW + 1000) is None, "the other session is empty now"
    assert ids(broker.mailbox("q/$DeadLetterQueue")) == ["2"]
    broker.release_session(mailbox, lock, NOW + 1000)
    assert ids(broker.mailbox("q/$DeadLetterQueue")) == ["1", "2"]


def test_nothing_is_left_of_sessions_that_are_empty() -> None:
    broker = sessions()
    mailbox = broker.mailbox("q")
    for number in range(10):
        sent = [content("1", group_id=str(number)), content("2", group_id=str(number), ttl=1000)]
        broker.send("q", sent, NOW)
        session, lock = accept(broker, str(number), NOW)
        message = broker.acquire(mailbox, NOW, session)
        assert message is not None
        broker.complete(mailbox, lock_of(message), NOW)
        broker.release_session(mailbox, lock, NOW)
    _, lock = accept(broker, "never used", NOW)
    broker.set_session_state(mailbox, lock, b"noted", NOW)
    broker.set_session_state(mailbox, lock, None, NOW)
    broker.release_session(mailbox, lock, NOW)
    broker.advance(NOW + 1000)
    assert (mailbox.messages, mailbox.sessions, mailbox.held, mailbox.waiting) == ({}, {}, {}, {})


def test_a_message_without_a_session_id_is_refused_with_its_batch() -> None:
    broker = sessions()
    with pytest.raises(RefusedError) as refused:
        broker.send("q", [content("1", group_id="s"), content("2")], NOW)
    assert refused.value.condition == "amqp:not-allowed"
    assert not broker.take_changes()
    with pytest.raises(RefusedError, match="at most 128"):
        broker.send("q", [content(group_id="x" * 129)], NOW)
    assert broker.send("q", [content(group_id="x" * 128)], NOW) == [1]


def test_what_lacks_the_session_id_to_be_forwarded_is_a_dead_letter_of_the_source() -> None:
    broker = broker_of(
        queue("first", forward_to="second"), queue("second", forward_to="q"), queue(requires_session=True)
    )
    broker.send("first", [content("1", group_id="s"), content("2")], NOW)
    assert ids(broker.mailbox("q")) == ["1"]
    [letter] = broker.mailbox("second/$DeadLetterQueue").messages.values()
    assert letter.content.application_properties == {
        "DeadLetterReason": "Session ID is null.",
        "DeadLetterErrorDescription": (
            "Session enabled entity doesn't allow a message whose session identifier is null."
        ),
    }


def test_sessions_are_listed_that_have_active_messages_or_a_state() -> None:
    broker = sessions()
    mailbox = broker.mailbox("q")
    sent = [content("1", group_id=session_id) for session_id in ("done", "set aside", "locked", "free")]
    broker.send("q", [*sent, content("2", group_id="later", due_at=NOW + MINUTE)], NOW)
    taken = {}
    for session_id in ("done", "set aside", "locked"):
        message = broker.acquire(mailbox, NOW, accept(broker, session_id, NOW)[0])
        assert message is not None
        taken[session_id] = lock_of(message)
    broker.complete(mailbox, taken["done"], NOW)
    broker.defer(mailbox, taken["set aside"], NOW)
    noted: dict[str, list[bytes | None]] = {"noted": [b"x"], "cleared": [b"x", None], "only held": []}
    for session_id, states in noted.items():
        _, lock = accept(broker, session_id, NOW)
        for state in states:
            broker.set_session_state(mailbox, lock, state, NOW + 5)
    assert broker.session_ids(mailbox, NOW + 5) == ["free", "locked", "noted"]
    assert broker.session_ids(mailbox, NOW + 5, noted_after=NOW + 4) == ["noted"]
    assert broker.session_ids(mailbox, NOW + 5, noted_after=NOW + 5) == []
    assert broker.session_ids(mailbox, NOW + MINUTE) == ["free", "later", "locked", "noted"]


def test_a_restored_broker_knows_the_states_of_its_sessions(tmp_path: Path) -> None:
    broker = sessions()
    broker.send("q", [content("1", group_id="a")], NOW)
    noted: dict[str, list[bytes | None]] = {"a": [b"old", b"new"], "b": [b"", None], "c": [b""]}
    for session_id, states in noted.items():
        _, lock = accept(broker, session_id, NOW)
        for state in states:
            broker.set_session_state(broker.mailbox("q"), lock, state, NOW)
            changes = broker.take_changes()
            assert changes, "there is something to store"
            store = Store(tmp_path / "store.db")
            store.write(changes, NOW)
            store.close()
    again = sessions()
    assert again.restore(Store(tmp_path / "store.db").read(NOW)) == []
    assert [accept(again, session_id, NOW)[0].state for session_id in "abc"] == [b"new", None, b""]
    assert held_ids(again, again.mailbox("q").sessions["a"], NOW) == ["1"]


def test_a_store_from_before_there_were_sessions_is_read_on(tmp_path: Path) -> None:
    broker = broker_of(queue())
    broker.send("q", [content("a")], NOW)
    store = Store(tmp_path / "store.db")
    store.write(broker.take_changes(), NOW)
    store.close()
    old = sqlite3.connect(tmp_path / "store.db")
    old.executescript("DROP TABLE states; PRAGMA user_version = 1;")
    old.close()
    again = sessions()
    again.restore(Store(tmp_path / "store.db").read(NOW))
    session, lock = accept(again, None, NOW)
    assert (session.id, held_ids(again, session, NOW)) == ("", ["a"])
    again.set_session_state(again.mailbox("q"), lock, b"noted", NOW)
    Store(tmp_path / "store.db").write(again.take_changes(), NOW)
    assert Store(tmp_path / "store.db").read(NOW).states == {("q", ""): b"noted"}


def test_alarms_for_sessions_that_nobody_waits_for_are_thrown_away() -> None:
    broker = sessions()
    mailbox = broker.mailbox("q")
    _, other = accept(broker, "t", NOW)
    _, lock = accept(broker, "s", NOW)
    for turn in range(25_000):
        broker.renew_session(mailbox, lock, NOW + turn)
    assert len(broker._alarms) <= 10_001
    broker.advance(NOW + MINUTE)
    assert broker.take_lost() == [other]
    broker.advance(NOW + MINUTE + 24_999)
    assert broker.take_lost() == [lock]


def test_rules_say_from_when_they_change_what_a_subscription_takes() -> None:
    subscription = Subscription(name="S", settings=SETTINGS, rules=(EVERYTHING,))
    broker = broker_of(topics=(Topic(name="T", time_to_live=None, subscriptions=(subscription,)),))
    address = "t/subscriptions/s"
    news = Rule(name="News", filter=CorrelationFilter(properties={"subject": "news"}))
    broker.add_rule(address, news)
    assert broker.rules(address) == [news, EVERYTHING]
    broker.send("t", [content("both rules")], NOW)
    broker.remove_rule(address, "R")
    broker.send("t", [content("none"), content("one", subject="news")], NOW)
    with pytest.raises(RefusedError) as twice:
        broker.add_rule(address, Rule(name="NEWS", filter=TrueFilter()))
    assert twice.value.condition is Condition.ENTITY_ALREADY_EXISTS
    assert broker.rules(address) == [news]
    broker.remove_rule(address, "news")
    with pytest.raises(RefusedError) as gone:
        broker.remove_rule(address, "news")
    assert gone.value.condition is Condition.NOT_FOUND
    broker.send("t", [content("nothing is taken", subject="news")], NOW)
    assert ids(broker.mailbox(address)) == ["both rules", "one"]
