"""Mux's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.mux import PROVIDER, AssetInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["asset"]
ASSET = "0201p02fGKPE7MrbC269XRD7LpcHhrmbu0002Ax81"
ASK = Ask(job_id="job_1", external_id="a/..", api_url="https://api.mux.com", api_key="id:secret")
ASKED = {"url": "https://files.example.com/81.mp4", "playback_policies": ["signed"]}
RESULT = {
    "id": ASSET,
    "duration": 23.857167,
    "aspect_ratio": "16:9",
    "resolution_tier": "1080p",
    "video_quality": "basic",
    "playback_ids": [{"id": "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6", "policy": "public"}],
}
ERRORED = Failure(
    code="invalid_input", message="The file could not be processed.; It has no video or audio track."
)


def started(given: dict[str, Any]) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=AssetInput.model_validate(given),
            api_url="https://api.mux.com",
            api_key="id:secret",
            callback_url="https://hooks.example.com/",
        )
    )


def delivered(body: bytes) -> Delivery:
    when = datetime(2026, 11, 23, tzinfo=UTC)
    return Delivery(method="POST", url="https://x.example/", headers={}, body=body, received_at=when)


def changed(name: str, **changes: object) -> bytes:
    """A sample event with other values; names with `o_` stand in the event's asset."""
    event = json.loads(sample("mux", name))
    for place, value in changes.items():
        (event["data"] if place.startswith("o_") else event)[place.removeprefix("o_")] = value
    return json.dumps(event).encode()


def test_an_asset_carries_our_id_through() -> None:
    request = started(ASKED | {"video_quality": "plus", "test": True})
    assert (request.method, request.url) == ("POST", "https://api.mux.com/video/v1/assets")
    assert request.headers == {"authorization": "Basic aWQ6c2VjcmV0", "content-type": "application/json"}
    assert json.loads(request.body) == {
        "inputs": [{"url": "https://files.example.com/81.mp4"}],
        "playback_policies": ["signed"],
        "video_quality": "plus",
        "test": True,
        "passthrough": "job_1",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"url": "s3://bucket/81.mp4"},
        {"url": "https://a b"},
        {"playback_policies": []},
        {"playback_policies": ["drm"]},
        {"playback_policies": "public"},
        {"video_quality": "best"},
        {"passthrough": "job_2"},
        {"test": 1},
    ],
    ids=str,
)
def test_an_input_that_mux_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AssetInput.model_validate(ASKED | change)


def test_who_may_play_it_has_to_be_said() -> None:
    with pytest.raises(ValidationError):
        AssetInput.model_validate({"url": "https://files.example.com/81.mp4"})


def test_a_start_says_its_id() -> None:
    found = OPERATION.read_start(HttpAnswer(status=201, body=sample("mux", "start")))
    assert (found.external_id, found.status, found.result) == (ASSET, "running", None)


def test_an_asset_is_polled_at_its_address_and_cancelled_by_deleting_it() -> None:
    assert OPERATION.poll is not None
    assert OPERATION.cancel is not None
    address = "https://api.mux.com/video/v1/assets/a%2F.."
    headers = {"authorization": "Basic aWQ6c2VjcmV0"}
    assert OPERATION.poll(ASK) == HttpRequest(method="GET", url=address, headers=headers)
    assert OPERATION.cancel(ASK) == HttpRequest(method="DELETE", url=address, headers=headers)


@pytest.mark.parametrize(
    ("name", "status", "result", "failure"),
    [
        ("running", Status.RUNNING, None, None),
        ("succeeded", Status.SUCCEEDED, RESULT, None),
        ("failed", Status.FAILED, None, ERRORED),
    ],
)
def test_a_poll_says_how_an_asset_stands(
    name: str, status: Status, result: object, failure: Failure | None
) -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("mux", f"poll.{name}")))
    assert (found.external_id, found.status, found.result, found.failure) == (ASSET, status, result, failure)


@pytest.mark.parametrize(
    ("name", "word", "status", "result", "failure"),
    [
        ("created", "created", Status.RUNNING, None, None),
        ("succeeded", "ready", Status.SUCCEEDED, RESULT, None),
        ("failed", "errored", Status.FAILED, None, ERRORED),
        (
            "canceled",
            "deleted",
            Status.CANCELED,
            None,
            Failure(code="canceled", message="the asset was deleted"),
        ),
    ],
)
def test_an_event_says_how_an_asset_stands(
    name: str, word: str, status: Status, result: object, failure: Failure | None
) -> None:
    (callback,) = PROVIDER.read(delivered(sample("mux", f"callback.{name}")))
    assert (callback.event_type, callback.status) == (f"video.asset.{word}", status)
    assert (callback.result, callback.failure) == (result, failure)
    assert (callback.operation, callback.job_id, callback.external_id) == ("asset", "job_01JD8Z3W5V", ASSET)


def test_an_event_is_named_by_its_id_and_tells_its_time() -> None:
    (callback,) = PROVIDER.read(delivered(sample("mux", "callback.succeeded")))
    assert callback.event_id == "5fd1bd7a-7b6e-4a0d-8bf2-000000000002"
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 4, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("word", "status"),
    [("updated", Status.RUNNING), ("static_renditions.ready", Status.UNKNOWN), ("melted", Status.UNKNOWN)],
)
def test_other_news_of_an_asset_settles_nothing(word: str, status: Status) -> None:
    body = changed("callback.succeeded", type=f"video.asset.{word}")
    (callback,) = PROVIDER.read(delivered(body))
    assert (callback.status, callback.result) == (status, None)


@pytest.mark.parametrize("passthrough", [None, 7, "", "order 81", "j" * 65], ids=repr)
def test_what_passed_through_and_is_no_id_of_ours_is_left_out(passthrough: object) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.succeeded", o_passthrough=passthrough)))
    assert (callback.job_id, callback.external_id) == (None, ASSET)


@pytest.mark.parametrize(
    "errors", [None, [], {"messages": "none"}, {"messages": [7]}, {"type": [7], "messages": []}], ids=repr
)
def test_an_asset_that_says_not_why_has_failed_all_the_same(errors: object) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.failed", o_errors=errors)))
    assert callback.status is Status.FAILED
    assert callback.failure == Failure(code="asset_errored", message="the provider gave no reason")


@pytest.mark.parametrize(
    "body",
    [
        changed("callback.succeeded", type="video.live_stream.idle"),
        changed("callback.succeeded", type="video.asset.track.ready", object={"type": "track", "id": "t01"}),
        changed("callback.succeeded", id=None),
        changed("callback.succeeded", data=[]),
        changed("callback.succeeded", o_id=7),
        changed("callback.succeeded", o_duration="long"),
    ],
    ids=["live", "track", "no-id", "no-asset", "number-id", "duration"],
)
def test_an_event_that_is_about_no_asset_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (
            400,
            b'{"error":{"type":"invalid_parameters","messages":["inputs.url is not valid","a\\u0000b"]}}',
            Failure(code="invalid_parameters", message="inputs.url is not valid; ab"),
        ),
        (
            401,
            b'{"error":{"type":"unauthorized","messages":["Unauthorized request: id"]}}',
            Failure(code="provider_refused", message="the provider answered 401"),
        ),
        (
            400,
            b'{"error":{"type":"x"}}',
            Failure(code="provider_refused", message="the provider answered 400"),
        ),
    ],
    ids=["messages", "key", "no-messages"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, failure: Failure) -> None:
    assert PROVIDER.refusal(HttpAnswer(status=status, body=body)) == failure


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=5), timedelta(hours=24))
    assert not OPERATION.idempotent
