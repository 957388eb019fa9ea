"""Deepgram's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest
from services.providers.base import CallbackAddress, Start
from services.providers.deepgram import PROVIDER, TranscriptInput
from services.receive import needs_token
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["transcript"]
REQUEST = "a847f427-4ad5-4d67-9b95-db801e58251c"
HOOK = "https://hooks.example.com/api/webhooks/deepgram/token"
AUDIO = {"url": "https://files.example.com/call-81.wav"}


def started(given: dict[str, Any]) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=TranscriptInput.model_validate(given),
            api_url="https://api.deepgram.com",
            api_key="key-1",
            callback_url=HOOK,
        )
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(
        method="POST", url=HOOK, headers={}, body=body, received_at=datetime(2026, 11, 23, tzinfo=UTC)
    )


def test_a_start_sends_the_address_of_the_recording_and_asks_for_the_rest_in_its_own() -> None:
    request = started(AUDIO | {"smart_format": True, "diarize": False, "keyterm": ["Hookbus", "dead letter"]})
    assert request.method == "POST"
    assert request.url == (
        "https://api.deepgram.com/v1/listen?model=nova-3&smart_format=true&diarize=false&keyterm=Hookbus"
        "&keyterm=dead+letter&callback=https%3A%2F%2Fhooks.example.com%2Fapi%2Fwebhooks%2Fdeepgram%2Ftoken"
    )
    assert request.headers == {"authorization": "Token key-1", "content-type": "application/json"}
    assert json.loads(request.body) == {"url": "https://files.example.com/call-81.wav"}


@pytest.mark.parametrize(
    "change",
    [
        {"url": "file:///etc/passwd"},
        {"url": "https://a b"},
        {"url": None},
        {"callback": "https://evil.example"},
        {"extra": "a:b"},
        {"model": "nova 3"},
        {"model": "nova-3&callback=x"},
        {"language": "e"},
        {"keyterm": [""]},
        {"diarize": "yes"},
    ],
    ids=str,
)
def test_an_input_that_deepgram_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TranscriptInput.model_validate(AUDIO | change)


def test_a_start_says_its_id_and_that_it_goes_on() -> None:
    found = OPERATION.read_start(HttpAnswer(status=200, body=sample("deepgram", "start")))
    assert (found.external_id, found.status, found.result) == (REQUEST, "running", None)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"request_id":""}', b'{"request_id":7}'])
def test_a_start_answer_without_an_id_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        OPERATION.read_start(HttpAnswer(status=200, body=body))


def test_a_callback_brings_the_declared_fields_of_the_transcript() -> None:
    (callback,) = PROVIDER.read(delivered(sample("deepgram", "callback.succeeded")))
    assert (callback.event_type, callback.status) == ("transcript.succeeded", "succeeded")
    assert (callback.operation, callback.external_id, callback.job_id) == ("transcript", REQUEST, None)
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 0, 5, 120000, tzinfo=UTC)
    assert callback.failure is None
    said = {"confidence": 0.99, "speaker": 0}
    assert callback.result == {
        "channels": [
            {
                "alternatives": [
                    {
                        "transcript": "Yeah, we will.",
                        "confidence": 0.9987,
                        "words": [
                            {"word": "yeah", "start": 0.08, "end": 0.32, "punctuated_word": "Yeah,", **said},
                            {"word": "we", "start": 0.4, "end": 0.56, "punctuated_word": "we", **said},
                            {"word": "will", "start": 0.56, "end": 0.8, "punctuated_word": "will.", **said},
                        ],
                    }
                ],
                "detected_language": "en",
            }
        ],
        "utterances": [{"transcript": "Yeah, we will.", "start": 0.08, "end": 0.8, "channel": 0, **said}],
    }


def test_a_callback_can_tell_of_an_error_instead() -> None:
    (callback,) = PROVIDER.read(delivered(sample("deepgram", "callback.failed")))
    assert (callback.event_type, callback.status, callback.result) == ("transcript.failed", "failed", None)
    message = "Bad Request: failed to process audio: corrupt or unsupported data"
    assert callback.failure == Failure(code="Bad Request", message=message)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"results":[1],"err_msg":"no"}', "failed"),
        (b'{"results":null,"message":"no"}', "failed"),
        (b'{"metadata":{"request_id":"a"},"results":{"channels":[]},"message":"note"}', "succeeded"),
    ],
)
def test_a_transcript_is_what_settles_which_of_both_it_is(body: bytes, status: str) -> None:
    (callback,) = PROVIDER.read(delivered(body))
    assert (callback.status, callback.failure is None) == (status, status == "succeeded")


def test_a_callback_is_named_by_its_body() -> None:
    (callback,) = PROVIDER.read(delivered(b'{"err_msg":"no"}'))
    assert callback.event_id == "12d5f51d7da82d42095859e55a17fe5fce2a7f4df913ce389e5ca6dfb73fbe15"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"results":[]}',
        b'{"err_code":"Bad Request"}',
        b'{"metadata":{"request_id":"a"},"results":{}}',
        b'{"metadata":{},"results":{"channels":[]}}',
    ],
    ids=["empty", "list", "code-alone", "no-channels", "no-id"],
)
def test_what_is_neither_a_transcript_nor_an_error_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (
            400,
            b'{"err_code":"Bad Request","err_msg":"No such model","request_id":"a"}',
            "Bad Request",
            "No such model",
        ),
        (
            400,
            b'{"category":"INVALID_JSON","message":"Invalid JSON submitted."}',
            "INVALID_JSON",
            "Invalid JSON submitted.",
        ),
        (
            401,
            b'{"err_code":"INVALID_AUTH","err_msg":"Bad key-1"}',
            "provider_refused",
            "the provider answered 401",
        ),
        (400, b'{"err_msg":[1]}', "provider_refused", "the provider answered 400"),
    ],
    ids=["old-form", "new-form", "key", "list"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, code: str, message: str) -> None:
    assert PROVIDER.refusal(HttpAnswer(status=status, body=body)) == Failure(code=code, message=message)


def test_our_token_is_what_a_callback_is_checked_for() -> None:
    assert needs_token(PROVIDER)
    assert PROVIDER.callback_address is CallbackAddress.PER_JOB


def test_the_profile_says_what_the_documentation_says() -> None:
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (None, timedelta(minutes=5))
    assert not OPERATION.idempotent
    assert (OPERATION.cancel, OPERATION.poll) == (None, None)
