"""Values that the contract suites put into adapters."""

from datetime import UTC, datetime, timedelta

from services.models import Entry, Failure, Job, Message, Status

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

A_JOB = Job(
    id="job-1",
    provider="replicate",
    operation="prediction",
    status=Status.RUNNING,
    input={"prompt": "a café", "steps": 3, "nested": {"list": [1, None, True, 0.5]}},
    metadata={"order": "17/ä"},
    request_digest="0f" * 32,
    created_at=NOW,
    updated_at=NOW + timedelta(seconds=1),
    deadline_at=NOW + timedelta(hours=1),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    external_id="ext/1",
    attempts=2,
    tick=3,
    tick_sequence=2**53 + 1,
    tick_at=NOW + timedelta(minutes=30),
    turn_at=NOW,
    history=(
        Entry(at=NOW, event="accepted"),
        Entry(at=NOW + timedelta(seconds=1), event="started", detail="201", elapsed_ms=12),
    ),
)

A_FAILED_JOB = Job(
    id="job-2",
    provider="stripe",
    operation="payment",
    status=Status.FAILED,
    input={},
    request_digest="",
    created_at=NOW,
    updated_at=NOW,
    deadline_at=NOW,
    settled_at=NOW,
    result={"emoji": "\N{GRINNING FACE}", "zero": "\x00"},
    result_ref="memory:///a",
    failure=Failure(code="card_declined", message="Your card was declined."),
    published=True,
)

A_MESSAGE = Message(
    message_id="job-1:outcome",
    subject="job.succeeded",
    session_id="job-1",
    correlation_id="job-1",
    content_type="application/cloudevents+json",
    body=b'{"id":"1"}',
    properties={"kind": "outcome", "attempt": 3},
)
