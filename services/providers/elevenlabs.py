"""ElevenLabs: transcripts of recordings, found again by metadata.

Each callback is sent once, whatever is answered: the poll finds what was lost.
"""

import json
from datetime import timedelta
from functools import partial

from pydantic import BaseModel, Field

from services.errors import NotUnderstood
from services.jsons import parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import CallbackAddress, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in
from services.providers.reading import JOB_ID, job_id_at, object_at, status_in, text_at, time_from_unix
from services.providers.requests import about_job, multipart_request
from services.signatures.catalogue import SCHEMES

# https://elevenlabs.io/docs/eleven-api/guides/how-to/speech-to-text/batch/webhooks
EVENTS = {"speech_to_text_transcription": Status.SUCCEEDED}
SCHEME = SCHEMES["elevenlabs"]


# https://elevenlabs.io/docs/api-reference/speech-to-text/convert
class TranscriptInput(Input):
    """Which recording to transcribe with which model, and how."""

    source_url: str = Field(pattern=r"^https://[!-~]+$", max_length=4096)
    model_id: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    language_code: str | None = Field(None, pattern=r"^[A-Za-z-]{2,8}$")
    diarize: bool | None = None
    num_speakers: int | None = Field(None, ge=1, le=32)
    tag_audio_events: bool | None = None
    timestamps_granularity: str | None = Field(None, pattern=r"^(none|word|character)$")


class Transcript(BaseModel):
    """What was said; times are in seconds."""

    text: str
    language_code: str | None = None
    language_probability: float | None = None
    audio_duration_secs: float | None = None
    words: list[JsonObject] | None = None
    transcription_id: str | None = None


def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump(exclude_none=True)
    fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in asked.items()}
    fields |= {"webhook": "true", "webhook_metadata": json.dumps({JOB_ID: job.job_id})}
    return multipart_request(f"{job.api_url}/v1/speech-to-text", fields, _key(job.api_key))


def _key(api_key: str) -> dict[str, str]:
    return {"xi-api-key": api_key}


def read_start(answer: HttpAnswer) -> Started:
    accepted = parse_object(answer.body)
    text_at(accepted, "request_id")
    return Started(external_id=_external_id(accepted))


def read_poll(answer: HttpAnswer) -> Started:
    return _transcribed(parse_object(answer.body))


def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    event_type = text_at(event, "type")
    if not event_type.startswith("speech_to_text"):
        raise NotUnderstood("events of this type are not about jobs")
    found = Started(status=status_in(EVENTS, event_type))
    if found.status is Status.SUCCEEDED:
        found = _transcribed(object_at(event, "data.transcription"))
    callback = found.as_callback(
        event_id=SCHEME.event_id(delivery),
        event_type=event_type,
        operation="transcript",
        job_id=job_id_at(event, f"data.webhook_metadata.{JOB_ID}"),
        occurred_at=time_from_unix(event.get("event_timestamp")),
    )
    return (callback,)


def _transcribed(transcript: JsonObject) -> Started:
    found = Started(external_id=_external_id(transcript), status=Status.SUCCEEDED)
    return found.with_result(Transcript, transcript)


def _external_id(payload: JsonObject) -> str | None:
    given = payload.get("transcription_id") is not None
    return text_at(payload, "transcription_id") if given else None


PROVIDER = Provider(
    name="elevenlabs",
    documentation="https://elevenlabs.io/docs/api-reference/speech-to-text/convert",
    completion=Completion.WEBHOOK,
    api_url="https://api.elevenlabs.io",
    api_key="elevenlabs-api-key",
    scheme=SCHEME,
    signing_secret="elevenlabs-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "transcript": Operation(
            input=TranscriptInput,
            result=Transcript,
            start=start,
            read_start=read_start,
            # https://elevenlabs.io/docs/api-reference/speech-to-text/get
            poll=about_job("GET", "/v1/speech-to-text/transcripts/{id}", _key),
            read_poll=read_poll,
        )
    },
    default_operation="transcript",
    read=read,
    refusal=partial(refusal_in, path="detail.message"),
    # https://elevenlabs.io/docs/eleven-api/resources/webhooks#retries: not for transcripts
    repeats_for=timedelta(0),
)
