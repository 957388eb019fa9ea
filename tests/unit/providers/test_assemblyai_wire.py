"""AssemblyAI's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.assemblyai import PROVIDER, TranscriptInput
from services.providers.base import Ask, CallbackAddress, Start
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["transcript"]
TRANSCRIPT = "9ea68fd3-f953-42c1-9742-976c447fb463"
HOOK = "https://hooks.example.com/api/webhooks/assemblyai/token"
AUDIO = {"audio_url": "https://files.example.com/call-81.mp3"}
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def started(given: dict[str, Any]) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=TranscriptInput.model_validate(given),
            api_url="https://api.assemblyai.com",
            api_key="key-1",
            callback_url=HOOK,
            signing_secret="made-up",
        )
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(method="POST", url=HOOK, headers={}, body=body, received_at=NOW)


def test_a_start_tells_where_to_call_and_with_what_in_the_header() -> None:
    request = started(AUDIO | {"speaker_labels": True, "speech_models": ["universal-3-pro", "universal-2"]})
    assert (request.method, request.url) == ("POST", "https://api.assemblyai.com/v2/transcript")
    assert request.headers == {"authorization": "key-1", "content-type": "application/json"}
    assert json.loads(request.body) == {
        "audio_url": "https://files.example.com/call-81.mp3",
        "speaker_labels": True,
        "speech_models": ["universal-3-pro", "universal-2"],
        "webhook_url": HOOK,
        "webhook_auth_header_name": "x-my-webhook-secret",
        "webhook_auth_header_value": "made-up",
    }


def test_what_a_start_tells_is_what_a_callback_is_checked_for() -> None:
    assert PROVIDER.tells_secret
    assert PROVIDER.scheme is not None
    told = json.loads(started(AUDIO).body)
    header = {told["webhook_auth_header_name"]: told["webhook_auth_header_value"]}
    delivery = Delivery(method="POST", url=HOOK, headers=header, body=b"{}", received_at=NOW)
    PROVIDER.scheme.verify(delivery, ["made-up"], NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"audio_url": "file:///etc/passwd"},
        {"audio_url": "https://a b"},
        {"webhook_url": "https://evil.example"},
        {"webhook_auth_header_value": "x"},
        {"speakers_expected": 0},
        {"speech_models": ["Universal 3"]},
        {"language_code": "e"},
        {"keyterms_prompt": [""]},
        {"audio_end_at": -1},
        {"speaker_labels": "yes"},
    ],
    ids=str,
)
def test_an_input_that_assemblyai_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TranscriptInput.model_validate(AUDIO | change)


def test_a_start_says_its_id() -> None:
    found = OPERATION.read_start(HttpAnswer(status=200, body=sample("assemblyai", "start")))
    assert (found.external_id, found.status, found.result) == (TRANSCRIPT, "running", None)


def test_a_transcript_is_polled_at_its_own_address() -> None:
    assert OPERATION.poll is not None
    ask = Ask(job_id="job_1", external_id="a/..", api_url="https://api.assemblyai.com", api_key="key-1")
    assert OPERATION.poll(ask) == HttpRequest(
        method="GET",
        url="https://api.assemblyai.com/v2/transcript/a%2F..",
        headers={"authorization": "key-1"},
    )


def test_a_completed_transcript_gives_its_declared_fields_and_never_our_address() -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("assemblyai", "poll.succeeded")))
    words = [
        {"text": "Grüße", "start": 250, "end": 650, "confidence": 0.97503, "speaker": "A"},
        {"text": "aus", "start": 730, "end": 1022, "confidence": 0.99999, "speaker": "A"},
        {"text": "Köln.", "start": 1076, "end": 1418, "confidence": 0.99843, "speaker": "A"},
    ]
    whole = {"text": "Grüße aus Köln.", "start": 250, "end": 1418, "confidence": 0.991, "speaker": "A"}
    assert (found.external_id, found.status) == (TRANSCRIPT, "succeeded")
    assert found.result == {
        "id": TRANSCRIPT,
        "text": "Grüße aus Köln.",
        "audio_duration": 2.0,
        "confidence": 0.991,
        "language_code": "en_us",
        "words": words,
        "utterances": [whole],
    }


def test_a_transcript_that_went_wrong_says_why() -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("assemblyai", "poll.failed")))
    message = (
        "Download error, unable to download https://files.example.com/call-81.mp3. "
        "Make sure the file exists and is accessible."
    )
    assert found.status is Status.FAILED
    assert found.failure == Failure(code="transcript_failed", message=message)


@pytest.mark.parametrize("word", ["queued", "processing", "dreaming", None, 7])
def test_every_other_status_ends_nothing(word: object) -> None:
    assert OPERATION.read_poll is not None
    body = json.dumps({"id": TRANSCRIPT, "status": word}).encode()
    assert OPERATION.read_poll(HttpAnswer(status=200, body=body)).status is Status.RUNNING


@pytest.mark.parametrize(("name", "word"), [("succeeded", "completed"), ("failed", "error")])
def test_a_callback_says_only_which_transcript_has_ended(name: str, word: str) -> None:
    (callback,) = PROVIDER.read(delivered(sample("assemblyai", f"callback.{name}")))
    assert (callback.thin, callback.status, callback.event_type) == (True, "running", f"transcript.{word}")
    assert (callback.operation, callback.external_id) == ("transcript", TRANSCRIPT)


def test_a_callback_is_named_by_its_body() -> None:
    (one,) = PROVIDER.read(delivered(b'{"transcript_id":"a","status":"completed"}'))
    assert one.event_id == "b6f84777db70cf76201a2f168b938c7ac9fbc2b1145cd897ebcb68704f8dd3d5"


def test_a_word_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(b'{"transcript_id":"a","status":"resting"}'))
    assert (callback.status, callback.thin) == ("unknown", False)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"status":"completed"}',
        b'{"transcript_id":"a"}',
        b'{"status":"redacted_audio_ready","redacted_audio_url":"https://x.example"}',
    ],
    ids=["empty", "no-id", "no-status", "redacted-audio"],
)
def test_what_is_about_no_transcript_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


def test_a_refusal_is_told_in_their_words() -> None:
    told = PROVIDER.refusal(HttpAnswer(status=400, body=b'{"error":"format_text must be a Boolean"}'))
    assert told == Failure(code="provider_refused", message="format_text must be a Boolean")


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.PER_JOB
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=10), timedelta(seconds=100))
    assert not OPERATION.idempotent
    assert OPERATION.cancel is None
