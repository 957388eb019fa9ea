"""ElevenLabs' wire format, as its documentation shows it."""

import email.parser
import email.policy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.elevenlabs import PROVIDER, TranscriptInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["transcript"]
TRANSCRIPT = "Kx81tRaNsCrIpTiOn0042"
ASKED = {"source_url": "https://files.example.com/call-81.mp3?a=1&b=2", "model_id": "scribe_v2"}
RESULT = {
    "text": "Grüße aus Köln.",
    "language_code": "deu",
    "language_probability": 0.98,
    "audio_duration_secs": 1.4,
    "transcription_id": TRANSCRIPT,
    "words": [
        {
            "text": "Grüße",
            "start": 0.119,
            "end": 0.479,
            "type": "word",
            "speaker_id": "speaker_0",
            "logprob": -0.0124,
            "characters": None,
        },
        {
            "text": " ",
            "start": 0.479,
            "end": 0.5,
            "type": "spacing",
            "speaker_id": "speaker_0",
            "logprob": -0.0124,
            "characters": None,
        },
        {
            "text": "aus Köln.",
            "start": 0.5,
            "end": 1.2,
            "type": "word",
            "speaker_id": "speaker_0",
            "logprob": -0.1,
            "characters": None,
        },
    ],
}


def started(given: dict[str, Any]) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=TranscriptInput.model_validate(given),
            api_url="https://api.elevenlabs.io",
            api_key="xi-1",
            callback_url="https://hooks.example.com/",
        )
    )


def fields(request: HttpRequest) -> dict[str, str]:
    """Read a multipart form with a parser that knows nothing of us."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    parsed = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_content().removesuffix("\n")
        for part in parsed.iter_parts()
    }


def delivered(body: bytes) -> Delivery:
    when = datetime(2026, 11, 23, tzinfo=UTC)
    return Delivery(method="POST", url="https://x.example/", headers={}, body=body, received_at=when)


def changed(**changes: object) -> bytes:
    """A sample event with other values in its data."""
    event = json.loads(sample("elevenlabs", "callback.succeeded"))
    event["data"] |= changes
    return json.dumps(event).encode()


def test_a_recording_is_given_by_its_address_and_our_id_goes_along() -> None:
    request = started(ASKED | {"diarize": True, "num_speakers": 2, "language_code": "de"})
    assert (request.method, request.url) == ("POST", "https://api.elevenlabs.io/v1/speech-to-text")
    assert request.headers["xi-api-key"] == "xi-1"
    assert fields(request) == {
        "source_url": "https://files.example.com/call-81.mp3?a=1&b=2",
        "model_id": "scribe_v2",
        "language_code": "de",
        "diarize": "true",
        "num_speakers": "2",
        "webhook": "true",
        "webhook_metadata": '{"hookbus_job_id": "job_1"}',
    }


@pytest.mark.parametrize(
    "change",
    [
        {"source_url": "http://files.example.com/call-81.mp3"},
        {"source_url": "https://a\r\nb"},
        {"model_id": ""},
        {"num_speakers": 33},
        {"timestamps_granularity": "sentence"},
        {"diarize": "true"},
        {"webhook": False},
        {"webhook_metadata": "{}"},
    ],
    ids=str,
)
def test_an_input_that_elevenlabs_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TranscriptInput.model_validate(ASKED | change)


@pytest.mark.parametrize(
    ("body", "external_id"),
    [
        (sample("elevenlabs", "start"), TRANSCRIPT),
        (b'{"message":"ok","request_id":"r1","transcription_id":null}', None),
        (b'{"message":"ok","request_id":"r1"}', None),
    ],
    ids=["with-id", "null", "without-id"],
)
def test_a_start_may_say_the_id_of_the_transcript_to_be(body: bytes, external_id: str | None) -> None:
    found = OPERATION.read_start(HttpAnswer(status=202, body=body))
    assert (found.external_id, found.status) == (external_id, "running")


@pytest.mark.parametrize("body", [b"{}", b'{"request_id":7}', b'{"request_id":"r","transcription_id":""}'])
def test_a_start_answer_that_names_no_request_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        OPERATION.read_start(HttpAnswer(status=200, body=body))


def test_a_transcript_is_polled_at_its_own_address() -> None:
    assert OPERATION.poll is not None
    ask = Ask(job_id="job_1", external_id="a/..", api_url="https://api.elevenlabs.io", api_key="xi-1")
    assert OPERATION.poll(ask) == HttpRequest(
        method="GET",
        url="https://api.elevenlabs.io/v1/speech-to-text/transcripts/a%2F..",
        headers={"xi-api-key": "xi-1"},
    )


def test_a_transcript_that_is_there_is_the_result() -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("elevenlabs", "poll.succeeded")))
    assert (found.external_id, found.status, found.result) == (TRANSCRIPT, "succeeded", RESULT)


def test_what_is_no_transcript_yet_ends_nothing() -> None:
    assert OPERATION.read_poll is not None
    with pytest.raises(NotUnderstood):
        OPERATION.read_poll(HttpAnswer(status=200, body=b'{"status":"processing"}'))


def test_a_callback_brings_the_transcript() -> None:
    (callback,) = PROVIDER.read(delivered(sample("elevenlabs", "callback.succeeded")))
    assert (callback.event_type, callback.status) == ("speech_to_text_transcription", "succeeded")
    assert (callback.operation, callback.job_id) == ("transcript", "job_01JD8Z3W5V")
    assert callback.external_id == TRANSCRIPT
    assert callback.occurred_at == datetime(2026, 11, 23, 8, 1, 8, tzinfo=UTC)
    assert callback.result == RESULT
    assert callback.event_id == "f86763c8a0471cea86527aa48db44f6880b39dc4689c7889d2d8ca378ee1c103"


def test_a_transcript_without_its_id_is_found_by_ours() -> None:
    (callback,) = PROVIDER.read(delivered(changed(transcription={"text": "Hello world!"})))
    assert (callback.job_id, callback.external_id) == ("job_01JD8Z3W5V", None)
    assert callback.result == {"text": "Hello world!"}


@pytest.mark.parametrize("metadata", [None, "job_1", {"hookbus_job_id": "../x"}, {"order": "7"}], ids=repr)
def test_a_job_id_that_is_none_of_ours_is_left_out(metadata: object) -> None:
    (callback,) = PROVIDER.read(delivered(changed(webhook_metadata=metadata)))
    assert (callback.job_id, callback.external_id) == (None, TRANSCRIPT)


def test_news_of_a_transcript_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(b'{"type":"speech_to_text_delayed","data":{}}'))
    assert (callback.status, callback.result) == ("unknown", None)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"type":"post_call_transcription","data":{"conversation_id":"c"}}',
        changed(transcription=None),
        changed(transcription={"text": None}),
    ],
    ids=["empty", "call", "no-transcript", "no-text"],
)
def test_an_event_that_is_about_no_transcript_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            b'{"detail":{"status":"invalid_url","message":"The file could not be fetched."}}',
            "The file could not be fetched.",
        ),
        (
            422,
            b'{"detail":[{"loc":["body","model_id"],"msg":"Field required"}]}',
            "the provider answered 422",
        ),
        (
            401,
            b'{"detail":{"status":"invalid_api_key","message":"Invalid key xi-1"}}',
            "the provider answered 401",
        ),
    ],
    ids=["sentence", "list", "key"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code="provider_refused", message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (None, timedelta(0))
    assert not OPERATION.idempotent
    assert OPERATION.cancel is None
