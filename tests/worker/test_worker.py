"""The app and samples under Microsoft's own worker library, azure-functions-runtime, on Python 3.13."""

import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus.aio import ServiceBusClient

from dev.servicebus.process import start as start_broker

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
ENVIRONMENT = ROOT / ".venv313"

Invocation = dict[str, Any]


@pytest.fixture(scope="session")
def python() -> Path:
    """Return the Python 3.13 that has the worker library; skip where there is none, and fail so in CI."""
    if not (ENVIRONMENT / "ready").exists():
        reason = "not tested under Microsoft's worker: `make .venv313/ready` needs Python 3.13"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return ENVIRONMENT / "bin" / "python"


def drive(
    python: Path,
    script: Path,
    invocations: Sequence[Invocation],
    *,
    folder: Path,
    settings: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Load the app through the worker library in a process of its own and return what the worker answered."""
    order = {"app": str(script.parent), "script": script.name, "invocations": invocations}
    done = subprocess.run(
        [python, HERE / "drive.py"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **(settings or {})},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answered: dict[str, Any] = json.loads(done.stdout)
    return answered


def http(
    function: str,
    *,
    method: str = "GET",
    path: str = "/",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    route: Mapping[str, str] | None = None,
) -> Invocation:
    """Make the invocation that the host makes of a request; without a body it sends none at all."""
    request = {
        "method": method,
        "url": f"http://localhost:7071/api{path}",
        "headers": dict(headers or {}),
        "params": dict(route or {}),
        "query": {},
        "body": None if body is None else {"bytes": body.hex()},
    }
    return {
        "function": function,
        "parameter": "req",
        "data": {"http": request},
        "trace_parent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


def message(function: str, body: bytes, **metadata: object) -> Invocation:
    """Make the invocation that the host makes of a Service Bus message: text as text, all else as JSON."""
    told = {"UserProperties": {}, "ApplicationProperties": {}, **metadata}
    return {
        "function": function,
        "parameter": "message",
        "data": {"bytes": body.hex()},
        "metadata": {
            name: {"string": value} if isinstance(value, str) else {"json": json.dumps(value)}
            for name, value in told.items()
        },
    }


def timer(function: str) -> Invocation:
    information = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
    return {"function": function, "parameter": "timer", "data": {"json": json.dumps(information)}}


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    broker = start_broker(ROOT / "dev" / "entities.json")
    with broker:
        yield {
            "SERVICEBUS": broker.connection_string,
            "JOB_STORE": f"sqlite:{tmp_path / 'jobs.sqlite'}",
            "PAYLOAD_STORE": f"file:{tmp_path / 'payloads'}",
            "SECRET_SOURCE": "environment",
            "CALLBACK_TOKEN_KEY": "0123456789abcdef0123456789abcdef",
            "PUBLIC_URL": "http://localhost:7071",
            "PROVIDERS": "weather",
        }


async def test_hookbus_indexes_and_answers_by_http_by_message_and_by_timer(
    python: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    tick = message(
        "advance_job",
        b'{"job_id": "unknown-job", "tick": 1, "at": "2026-03-01T12:00:00+00:00"}',
        MessageId="tick-1",
        Subject="job.tick",
        SessionId="unknown-job",
        CorrelationId="unknown-job",
        ContentType="application/json",
        ApplicationProperties={"kind": "tick"},
    )
    answered = drive(
        python,
        ROOT / "function_app.py",
        [
            http("health", path="/health/live", route={"probe": "live"}),
            http("read_job", path="/jobs/none", route={"job_id": "none"}),
            tick,
            message("advance_job", b"poison", MessageId="poison", Subject="nothing that we know"),
            timer("tidy"),
            timer("audit"),
        ],
        folder=tmp_path,
        settings=settings,
    )
    assert answered["init"] == {"ok": True, "exception": None}
    assert all(load["ok"] for load in answered["loads"])
    live, unknown, ticked, poison, tidied, audited = answered["answers"]
    assert live["return"]["http"]["status_code"] == "200"
    assert unknown["return"]["http"]["status_code"] == "404"
    headers = {name.lower(): value for name, value in unknown["return"]["http"]["headers"].items()}
    assert headers["content-type"].startswith("application/problem+json")
    assert (ticked["ok"], ticked["exception"]) == (True, None)
    assert poison["exception"].startswith("PoisonMessage: ")
    assert (tidied["ok"], tidied["exception"]) == (True, None)
    assert (audited["ok"], audited["exception"]) == (True, None)
    async with (
        ServiceBusClient.from_connection_string(settings["SERVICEBUS"]) as client,
        client.get_queue_receiver("job-inbox") as receiver,
    ):
        put_back = await receiver.peek_messages(max_message_count=10)
    assert [copy.session_id for copy in put_back] == ["unknown-job"]


async def test_the_worker_s_list_of_hookbus_functions_is_the_one_that_the_local_host_serves(
    python: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    bindings = drive(python, ROOT / "function_app.py", [], folder=tmp_path, settings=settings)["bindings"]
    triggers = {name: (one[0]["type"], one[0].get("route")) for name, one in bindings.items()}
    assert triggers == {
        "start_job": ("httpTrigger", "jobs/{provider}"),
        "read_job": ("httpTrigger", "jobs/{job_id}"),
        "cancel_job": ("httpTrigger", "jobs/{job_id}"),
        "receive_webhook": ("httpTrigger", "webhooks/{provider}/{token?}"),
        "health": ("httpTrigger", "health/{probe}"),
        "openapi": ("httpTrigger", "openapi.json"),
        "advance_job": ("serviceBusTrigger", None),
        "tidy": ("timerTrigger", None),
        "audit": ("timerTrigger", None),
    }


@pytest.fixture(scope="module")
def sample(python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what the sample's functions answered, by function."""
    invocations = [
        http(
            "echo",
            method="POST",
            path="/echo?code=k",
            body=b"\x00\xff{",
            headers={"x-a": "1,2"},
            route={"id": "7"},
        ),
        http("empty"),
        http("nothing"),
        http("text"),
        http("failure"),
        message(
            "take",
            b'{"MessageId": "not this"}',
            MessageId="m1",
            DeliveryCount=1,
            SequenceNumber=7,
            Label="job.failed",
            Subject="job.failed",
            SessionId="s1",
            ContentType="application/json",
            EnqueuedTimeUtc="2026-11-23T11:00:00.123",
            ApplicationProperties={"kind": "outcome"},
            UserProperties={"kind": "outcome"},
        ),
        message("talk", b""),
        timer("tick"),
    ]
    folder = tmp_path_factory.mktemp("sample")
    answered = drive(python, HERE / "sample" / "function_app.py", invocations, folder=folder)
    assert answered["init"]["ok"], answered
    answers = [{**answer, "folder": str(folder)} for answer in answered["answers"]]
    return dict(zip([asked["function"] for asked in invocations], answers, strict=True))


def test_a_request_reaches_a_function_as_the_host_sent_it(sample: dict[str, dict[str, Any]]) -> None:
    answer = sample["echo"]["return"]["http"]
    seen = json.loads(bytes.fromhex(answer["body"]["bytes"]))
    folder = str(HERE / "sample")
    assert seen == {
        "method": "POST",
        "url": "http://localhost:7071/api/echo?code=k",
        "headers": {"x-a": "1,2"},
        "params": {},
        "route": {"id": "7"},
        "body": "00ff7b",
        "context": [
            "invocation-0",
            "echo",
            folder,
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            0,
        ],
        "last place": folder,
        "working directory": sample["echo"]["folder"],
    }
    # Of a header that is set twice only the last one leaves the worker; cookies all do.
    assert answer["headers"] == {"X-Two": "2", "content-type": "application/json"}
    assert answer["cookies"] == ["a", "b"]
    assert answer["status_code"] == "200"


def test_a_request_without_a_body_has_an_empty_one(sample: dict[str, dict[str, Any]]) -> None:
    assert sample["empty"]["return"]["http"]["body"] == {"bytes": b"0 bytes".hex()}


@pytest.mark.parametrize(
    ("function", "exception"),
    [
        ("nothing", "TypeError: unable to encode outgoing TypedData"),
        ("failure", "LookupError: a reason"),
        ("talk", "RuntimeError: ('function %s without a $return binding"),
    ],
)
def test_none_an_exception_and_a_value_that_nothing_takes_fail_the_invocation(
    sample: dict[str, dict[str, Any]], function: str, exception: str
) -> None:
    assert not sample[function]["ok"]
    assert sample[function]["exception"].startswith(exception)
    assert sample[function]["return"] is None


def test_a_str_leaves_the_worker_as_it_is(sample: dict[str, dict[str, Any]]) -> None:
    assert sample["text"]["return"] == {"string": '{"a": 1}'}


def test_a_binary_message_keeps_its_metadata_apart_from_its_body(sample: dict[str, dict[str, Any]]) -> None:
    assert json.loads(sample["take"]["exception"].removeprefix("ValueError: ")) == {
        "body": b'{"MessageId": "not this"}'.hex(),
        "message_id": "m1",
        "delivery_count": 1,
        "sequence_number": 7,
        "label": "job.failed",
        "subject": "job.failed",
        "session_id": "s1",
        "correlation_id": None,
        "content_type": "application/json",
        "application_properties": {"kind": "outcome"},
        "user_properties": {"kind": "outcome"},
        "enqueued": ["2026-11-23T11:00:00.123000"],
        "locked_until": None,
        "scheduled": None,
    }


def test_a_timer_s_request_says_whether_it_is_past_due(sample: dict[str, dict[str, Any]]) -> None:
    said = json.loads(sample["tick"]["exception"].removeprefix("ValueError: "))
    assert said == [False, {}, {"AdjustForDST": True}]


@pytest.mark.parametrize("app", sorted((HERE / "refused").glob("*.py")), ids=lambda app: app.stem)
def test_one_bad_function_loses_the_whole_app(python: Path, tmp_path: Path, app: Path) -> None:
    answered = drive(python, app, [], folder=tmp_path)
    assert answered.keys() == {"init"}
    assert not answered["init"]["ok"]
