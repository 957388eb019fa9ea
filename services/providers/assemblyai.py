"""AssemblyAI: transcripts of recordings; a callback says that one is done, at an address of its own."""

from datetime import timedelta
from functools import partial
from typing import Annotated

from pydantic import BaseModel, Field

from services.jsons import parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in, told
from services.providers.reading import status_in, text_at
from services.providers.requests import about_job, json_request
from services.signatures.catalogue import SCHEMES

# https://www.assemblyai.com/docs/pre-recorded-audio/check-transcript-status
STATUSES = {
    "queued": Status.RUNNING,
    "processing": Status.RUNNING,
    "completed": Status.SUCCEEDED,
    "error": Status.FAILED,
}
# https://www.assemblyai.com/docs/pre-recorded-audio/webhooks#delivery-payload: the rest is to be asked
ENDED = ("completed", "error")
SCHEME = SCHEMES["assemblyai"]

Phrase = Annotated[str, Field(min_length=1, max_length=200)]


# https://www.assemblyai.com/docs/api-reference/transcripts/submit
class TranscriptInput(Input):
    """Which recording to transcribe, and how; `audio_start_from` and `audio_end_at` are milliseconds."""

    audio_url: str = Field(pattern=r"^https?://[!-~]+$", max_length=4096)
    speech_models: list[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]] | None = Field(
        None, max_length=8
    )
    language_code: str | None = Field(None, pattern=r"^[A-Za-z_-]{2,16}$")
    language_detection: bool | None = None
    speaker_labels: bool | None = None
    speakers_expected: int | None = Field(None, ge=1, le=100)
    multichannel: bool | None = None
    punctuate: bool | None = None
    format_text: bool | None = None
    disfluencies: bool | None = None
    filter_profanity: bool | None = None
    keyterms_prompt: list[Phrase] | None = Field(None, max_length=1000)
    prompt: str | None = Field(None, min_length=1, max_length=20_000)
    audio_start_from: int | None = Field(None, ge=0)
    audio_end_at: int | None = Field(None, ge=0)


class Word(BaseModel):
    """A word, and when it is said, in milliseconds."""

    text: str
    start: int
    end: int
    confidence: float | None = None
    speaker: str | None = None
    channel: str | None = None


class Utterance(Word):
    """What one speaker says without another's interrupting."""


class Transcript(BaseModel):
    """What was said; `audio_duration` is in seconds."""

    id: str
    text: str | None
    audio_duration: float | None = None
    confidence: float | None = None
    language_code: str | None = None
    words: list[Word] | None = None
    utterances: list[Utterance] | None = None


# https://www.assemblyai.com/docs/pre-recorded-audio/webhooks#authenticate-webhook-deliveries
def start(job: Start) -> HttpRequest:
    body: JsonObject = job.input.model_dump(exclude_none=True)
    body |= {
        "webhook_url": job.callback_url,
        "webhook_auth_header_name": "x-my-webhook-secret",
        "webhook_auth_header_value": job.signing_secret,
    }
    return json_request("POST", f"{job.api_url}/v2/transcript", body, _key(job.api_key))


def _key(api_key: str) -> dict[str, str]:
    return {"authorization": api_key}


def read_answer(answer: HttpAnswer) -> Started:
    transcript = parse_object(answer.body)
    status = status_in(STATUSES, transcript.get("status"))
    found = Started(external_id=text_at(transcript, "id"), status=status)
    if status is Status.FAILED:
        return found.with_failure(told(None, transcript.get("error"), otherwise="transcript_failed"))
    if status is Status.SUCCEEDED:
        return found.with_result(Transcript, transcript)
    return found.as_answer()


def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    word = text_at(event, "status")
    ended = word in ENDED
    callback = Callback(
        event_id=SCHEME.event_id(delivery),
        event_type=f"transcript.{word}",
        status=Status.RUNNING if ended else Status.UNKNOWN,
        operation="transcript",
        external_id=text_at(event, "transcript_id"),
        thin=ended,
    )
    return (callback,)


PROVIDER = Provider(
    name="assemblyai",
    documentation="https://www.assemblyai.com/docs/api-reference/transcripts/submit",
    completion=Completion.WEBHOOK,
    api_url="https://api.assemblyai.com",
    api_key="assemblyai-api-key",
    scheme=SCHEME,
    signing_secret="assemblyai-signing-secret",  # noqa: S106 - the secret's name
    tells_secret=True,
    operations={
        "transcript": Operation(
            input=TranscriptInput,
            result=Transcript,
            start=start,
            read_start=read_answer,
            poll=about_job("GET", "/v2/transcript/{id}", _key),
            read_poll=read_answer,
        )
    },
    default_operation="transcript",
    read=read,
    refusal=partial(refusal_in, path="error"),
    # https://www.assemblyai.com/docs/pre-recorded-audio/webhooks#failed-webhook-deliveries: ten times, ten
    # seconds apart, and never after a 4xx
    patience=timedelta(seconds=10),
    repeats_for=timedelta(seconds=100),
)
