"""What lies on the bus is what docs/messages.md shows to consumers, example by example."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.messaging import CloudEvent

from services.errors import PoisonMessage
from services.lifecycle import Called, Notice, NoticeKind
from services.messages import (
    CallbackRead,
    TickRead,
    callback_event,
    count,
    event_message,
    next_copy,
    notice_event,
    outcome_event,
    read_inbox,
    tick_message,
    unrecognised_event,
)
from services.models import Callback, Delivery, Failure, Job, Message, Status

CONTRACT = (Path(__file__).parents[2] / "docs" / "messages.md").read_text()
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STARTED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ENDED = STARTED + timedelta(minutes=4, seconds=7)
JOB = Job(
    id="job_qp6i2l2h5xkzv3pmtu5wy4ga7o3mzjle",
    provider="replicate",
    operation="prediction",
    status=Status.SUCCEEDED,
    input={"version": "5c7d5dc6", "input": {"prompt": "a lighthouse"}},
    metadata={"order": "7"},
    request_digest="d",
    created_at=STARTED,
    updated_at=ENDED,
    deadline_at=STARTED + timedelta(hours=1),
    settled_at=ENDED,
    traceparent=TRACE,
    external_id="gm3qorzdhgbfurvjtvhg6dckhu",
    settled_external_id="gm3qorzdhgbfurvjtvhg6dckhu",
    result={"output": ["https://replicate.delivery/out-0.png"]},
)
SUCCESS = Callback(
    event_id="msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    event_type="prediction.succeeded",
    status=Status.SUCCEEDED,
    operation="prediction",
    job_id=JOB.id,
    external_id=JOB.external_id,
    occurred_at=ENDED,
    result=JOB.result,
)
PROGRESS = replace(SUCCESS, event_type="prediction.processing", status=Status.RUNNING, result=None)
DELIVERY = Delivery(method="POST", url="https://x.example", headers={}, body=b'{"odd": 1}', received_at=ENDED)
FAILURES = {
    Status.FAILED: Failure(code="out_of_memory", message="CUDA out of memory"),
    Status.CANCELED: Failure(code="canceled", message="the caller canceled the job"),
    Status.EXPIRED: Failure(code="deadline", message="no outcome came before the deadline"),
}


def settled(status: Status) -> Job:
    return replace(JOB, status=status, result=None, failure=FAILURES[status])


def notice(kind: NoticeKind, callback: Callback, **changes: Any) -> Notice:
    called = Called(
        provider="replicate",
        callback=callback,
        message_id="callback-3c1b6d5d7c0f0f6f1f5f0a9be0c6a2d5f7a1e2b3",
    )
    return Notice(kind=kind, called=called, **changes)


EVENTS = {
    "job.succeeded": outcome_event(JOB),
    "job.failed": outcome_event(settled(Status.FAILED)),
    "job.canceled": outcome_event(settled(Status.CANCELED)),
    "job.expired": outcome_event(settled(Status.EXPIRED)),
    "job.late_result": notice_event(
        notice(NoticeKind.LATE_RESULT, SUCCESS, reason="the job had ended as expired"),
        job=settled(Status.EXPIRED),
        now=ENDED,
        traceparent=TRACE,
    ),
    "job.progress": notice_event(
        notice(NoticeKind.PROGRESS, PROGRESS, superseded=False), job=JOB, now=ENDED, traceparent=TRACE
    ),
    "callback.received": callback_event(
        "replicate", SUCCESS, address=JOB.id, received_at=ENDED, traceparent=TRACE
    ),
    "callback.orphaned": notice_event(
        notice(NoticeKind.ORPHANED, replace(SUCCESS, job_id=None), reason="no job here has this id"),
        job=None,
        now=ENDED,
        traceparent=TRACE,
    ),
    "callback.unrecognised": unrecognised_event(
        "replicate",
        DELIVERY,
        reason="the body has no status",
        kept="https://account.blob.core.windows.net/hookbus/deliveries/2026-03-01/delivery-8d9c.json",
        address=JOB.id,
        traceparent=TRACE,
    ),
}


def shown(event_type: str) -> dict[str, Any]:
    """Read the example of this type in the contract."""
    found = re.search(
        rf"^### `{re.escape(event_type)}`$.*?```json\n(.*?)```", CONTRACT, re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"docs/messages.md shows no {event_type}"
    example: dict[str, Any] = json.loads(found[1])
    return example


@pytest.mark.parametrize("event_type", EVENTS)
def test_the_contract_shows_exactly_what_is_sent(event_type: str) -> None:
    message = event_message(EVENTS[event_type])
    assert shown(event_type) == {
        "message_id": message.message_id,
        "session_id": message.session_id,
        "correlation_id": message.correlation_id,
        "subject": message.subject,
        "content_type": message.content_type,
        "application_properties": dict(message.properties),
        "body": json.loads(message.body),
    }


@pytest.mark.parametrize("event_type", EVENTS)
def test_a_body_is_a_cloud_event_as_the_azure_sdk_reads_it(event_type: str) -> None:
    message = event_message(EVENTS[event_type])
    event: CloudEvent[Any] = CloudEvent.from_json(message.body)
    assert (event.id, event.type, event.specversion) == (message.message_id, event_type, "1.0")
    assert event.source == "/hookbus/replicate"
    assert event.datacontenttype == "application/json"
    assert event.data is not None


def test_no_two_ticks_are_one_message_even_with_one_number() -> None:
    assert tick_message(JOB, 2, STARTED, b"123456789").message_id == (
        "tick-job_qp6i2l2h5xkzv3pmtu5wy4ga7o3mzjle-2-313233343536"
    )


def test_an_outcome_made_twice_is_the_same_message() -> None:
    assert event_message(outcome_event(JOB)) == event_message(outcome_event(JOB))


def test_equal_news_at_another_jobs_address_is_another_message() -> None:
    ours = callback_event("replicate", SUCCESS, address="job_1", received_at=ENDED, traceparent=None)
    theirs = callback_event("replicate", SUCCESS, address="job_2", received_at=ENDED, traceparent=None)
    assert ours.id != theirs.id


def test_equal_event_ids_of_two_providers_are_two_messages() -> None:
    one = callback_event("replicate", SUCCESS, address="", received_at=ENDED, traceparent=None)
    two = callback_event("acme", SUCCESS, address="", received_at=ENDED, traceparent=None)
    assert one.id != two.id


@pytest.mark.parametrize(
    "event_id", ["x" * 5000, "\udcff", "a\0b", "ü"], ids=["long", "surrogate", "NUL", "umlaut"]
)
def test_whatever_a_provider_calls_its_event_makes_a_message(event_id: str) -> None:
    odd = replace(SUCCESS, event_id=event_id)
    message = event_message(callback_event("acme", odd, address="", received_at=ENDED, traceparent=None))
    assert len(message.message_id) == 49
    json.loads(message.body.decode())


class TestInbox:
    def test_reads_a_tick_back(self) -> None:
        assert read_inbox(tick_message(JOB, 4, STARTED, b"123456")) == TickRead(
            job_id=JOB.id, number=4, at=STARTED
        )

    def test_reads_a_callback_back(self) -> None:
        event = callback_event("replicate", SUCCESS, address=JOB.id, received_at=ENDED, traceparent=TRACE)
        assert read_inbox(event_message(event)) == CallbackRead(
            provider="replicate", event_id=event.id, callback=SUCCESS, traceparent=TRACE
        )

    @pytest.mark.parametrize(
        ("subject", "body"),
        [
            ("job.tick", b""),
            ("job.tick", b"[]"),
            ("job.tick", b"{}"),
            ("job.tick", b'{"job_id": "../x", "tick": 1, "at": "2026-03-01T12:00:00+00:00"}'),
            ("job.tick", b'{"job_id": "job_1", "tick": true, "at": "2026-03-01T12:00:00+00:00"}'),
            ("job.tick", b'{"job_id": "job_1", "tick": "1", "at": "2026-03-01T12:00:00+00:00"}'),
            ("job.tick", b'{"job_id": "job_1", "tick": 1}'),
            ("job.tick", b'{"job_id": "job_1", "tick": 1, "at": "soon"}'),
            ("job.tick", b'{"job_id": "job_1", "tick": 1, "at": "2026-03-01T12:00:00"}'),
            ("job.tick", b'{"job_id": "job_1", "tick": 1, "at": 7}'),
            ("job.tick", b"[" * 100_000),
            ("callback.received", b"{}"),
            ("callback.received", b'{"id": "../../x", "dataref": "https://x.example"}'),
            ("callback.received", b'{"id": "callback-1", "data": null}'),
            (
                "callback.received",
                b'{"id": "callback-1", "data": {"event_id": "", "event_type": "", "status": "x"}}',
            ),
            ("job.succeeded", b"{}"),
            ("", b"\xff"),
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_calls_poison_what_no_retry_can_help(self, subject: str, body: bytes) -> None:
        message = replace(
            tick_message(JOB, 1, STARTED, b"123456"),
            subject=subject,
            body=body,
            properties={"provider": "replicate"},
        )
        with pytest.raises(PoisonMessage):
            read_inbox(message)

    def test_puts_a_message_back_under_a_new_id_each_time_and_counts_why(self) -> None:
        first = next_copy(tick_message(JOB, 1, STARTED, b"123456"), "missed")
        second = next_copy(first, "put_off")
        original = tick_message(JOB, 1, STARTED, b"123456").message_id
        assert [first.message_id, second.message_id] == [f"{original}~1", f"{original}~2"]
        assert (count(second, "missed"), count(second, "put_off"), count(second, "copies")) == (1, 1, 2)

    def test_puts_back_even_a_message_with_the_longest_id(self) -> None:
        long = Message(
            message_id="x" * 128, subject="", session_id="s", correlation_id="c", content_type="", body=b""
        )
        for _ in range(2000):
            long = next_copy(long, "missed")
        assert long.message_id == "x" * 112 + "~2000"
