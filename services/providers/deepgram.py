"""Deepgram: transcripts of recordings; the callback brings the transcript, which is kept nowhere else.

Callbacks are not signed, and come to ports 80, 443, 8080 and 8443 alone. A user and password in the address
would be good for every job; our token, which lies at the same place, is good for one:
https://developers.deepgram.com/docs/callback#authenticating-callback-requests
"""

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, Field, JsonValue

from services.errors import NotUnderstood
from services.jsons import at, parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import Completion, Input, Operation, Provider, Start, Started, declared
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.reading import text_at, time_from_text
from services.providers.requests import json_request
from services.signatures.scheme import Declared


# https://developers.deepgram.com/reference/speech-to-text/listen-pre-recorded
class TranscriptInput(Input):
    """Which recording to transcribe, by which model, and how."""

    url: str = Field(pattern=r"^https?://[!-~]+$", max_length=4096)
    model: str = Field("nova-3", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    language: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{2,16}$")
    detect_language: bool | None = None
    smart_format: bool | None = None
    punctuate: bool | None = None
    utterances: bool | None = None
    diarize: bool | None = None
    multichannel: bool | None = None
    keyterm: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(None, max_length=100)


class Word(BaseModel):
    """A word, and when it is said, in seconds."""

    word: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    punctuated_word: str | None = None
    speaker: int | None = None


class Alternative(BaseModel):
    """One reading of what was said."""

    transcript: str
    confidence: float | None = None
    words: list[Word] | None = None


class Channel(BaseModel):
    """What was said on one channel of the recording."""

    alternatives: list[Alternative]
    detected_language: str | None = None


class Utterance(BaseModel):
    """What was said in one go; `start` and `end` are in seconds."""

    transcript: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    channel: int | None = None
    speaker: int | None = None


class Transcript(BaseModel):
    """What was said."""

    channels: list[Channel]
    utterances: list[Utterance] | None = None


def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump(mode="json", exclude_none=True)
    body: JsonObject = {"url": asked.pop("url")}
    words = {name: str(value).lower() if isinstance(value, bool) else value for name, value in asked.items()}
    query = urlencode({**words, "callback": job.callback_url}, doseq=True)
    # https://developers.deepgram.com/guides/fundamentals/authenticating
    headers = {"authorization": f"Token {job.api_key}"}
    return json_request("POST", f"{job.api_url}/v1/listen?{query}", body, headers)


def read_start(answer: HttpAnswer) -> Started:
    return Started(external_id=text_at(parse_object(answer.body), "request_id"))


# https://developers.deepgram.com/docs/callback#pre-recorded-audio: what else would have answered the start
def read(delivery: Delivery) -> tuple[Callback, ...]:
    said = parse_object(delivery.body)
    done = isinstance(said.get("results"), dict)
    failure = None if done else _told(said, otherwise="transcript_failed")
    if not done and failure is None:
        raise NotUnderstood("there is neither a transcript nor an error")
    callback = Callback(
        event_id=Declared().event_id(delivery),
        event_type="transcript.succeeded" if done else "transcript.failed",
        status=Status.SUCCEEDED if done else Status.FAILED,
        operation="transcript",
        external_id=text_at(said, "metadata.request_id") if done else None,
        occurred_at=time_from_text(at(said, "metadata.created")),
        result=declared(Transcript, said["results"]) if done else None,
        failure=failure,
    )
    return (callback,)


def refusal(answer: HttpAnswer) -> Failure:
    return _told(refusal_body(answer), otherwise="provider_refused") or plain_refusal(answer)


# https://developers.deepgram.com/docs/errors: in one of two forms
def _told(said: JsonValue, *, otherwise: str) -> Failure | None:
    for code, message in (("err_code", "err_msg"), ("category", "message")):
        if isinstance(at(said, message), str):
            return told(at(said, code), at(said, message), otherwise=otherwise)
    return None


PROVIDER = Provider(
    name="deepgram",
    documentation="https://developers.deepgram.com/docs/callback",
    completion=Completion.WEBHOOK,
    api_url="https://api.deepgram.com",
    api_key="deepgram-api-key",
    operations={
        "transcript": Operation(input=TranscriptInput, result=Transcript, start=start, read_start=read_start)
    },
    default_operation="transcript",
    read=read,
    refusal=refusal,
    # An hour of speech with its words takes several MiB, and what is refused is lost.
    max_bytes=16 * 1024 * 1024,
    # https://developers.deepgram.com/docs/callback#pre-recorded-audio: ten times, thirty seconds apart; how
    # long it waits for an answer is not said
    repeats_for=timedelta(minutes=5),
)
