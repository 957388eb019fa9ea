"""Mux: video assets made from files at an address, found again by what passes through."""

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from services.errors import NotUnderstood
from services.jsons import at, parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import CallbackAddress, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.reading import job_id_at, object_at, status_in, text_at, time_from_text
from services.providers.requests import about_job, basic, json_request
from services.signatures.catalogue import SCHEMES

# https://www.mux.com/docs/api-reference/video/assets/get-asset
STATUSES = {"preparing": Status.RUNNING, "ready": Status.SUCCEEDED, "errored": Status.FAILED}
# https://www.mux.com/webhook-spec.json
EVENTS = {
    "video.asset.created": Status.RUNNING,
    "video.asset.updated": Status.RUNNING,
    "video.asset.ready": Status.SUCCEEDED,
    "video.asset.errored": Status.FAILED,
    "video.asset.deleted": Status.CANCELED,
}


# https://www.mux.com/docs/api-reference/video/assets/create-asset
class AssetInput(Input):
    """Where the file lies, and who may play it: a `signed` asset needs a token to be played."""

    url: str = Field(pattern=r"^https?://[!-~]+$", max_length=4096)
    playback_policies: list[Literal["public", "signed"]] = Field(min_length=1, max_length=2)
    video_quality: Literal["basic", "plus", "premium"] | None = None
    max_resolution_tier: Literal["1080p", "1440p", "2160p"] | None = None
    normalize_audio: bool | None = None
    test: bool | None = None


class Playback(BaseModel):
    """By what the asset is played."""

    id: str
    policy: str


class Asset(BaseModel):
    """An asset that can be played; `duration` is in seconds."""

    id: str
    duration: float | None = None
    aspect_ratio: str | None = None
    resolution_tier: str | None = None
    video_quality: str | None = None
    playback_ids: list[Playback] | None = None


def start(job: Start) -> HttpRequest:
    body: JsonObject = job.input.model_dump(exclude_none=True)
    body |= {"inputs": [{"url": body.pop("url")}], "passthrough": job.job_id}
    return json_request("POST", f"{job.api_url}/video/v1/assets", body, basic(job.api_key))


def read_answer(answer: HttpAnswer) -> Started:
    asset = object_at(parse_object(answer.body), "data")
    return _standing(asset, status_in(STATUSES, asset.get("status")))


def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    event_type, asset = text_at(event, "type"), object_at(event, "data")
    if not event_type.startswith("video.asset.") or at(event, "object.type") != "asset":
        raise NotUnderstood("events of this type are not about jobs")
    callback = _standing(asset, status_in(EVENTS, event_type)).as_callback(
        event_id=text_at(event, "id"),
        event_type=event_type,
        operation="asset",
        job_id=job_id_at(asset, "passthrough"),
        occurred_at=time_from_text(event.get("created_at")),
    )
    return (callback,)


def _standing(asset: JsonObject, status: Status) -> Started:
    found = Started(external_id=text_at(asset, "id"), status=status)
    if status is Status.SUCCEEDED:
        return found.with_result(Asset, asset)
    if status is Status.FAILED:
        return found.with_failure(_told_errors(asset.get("errors"), otherwise="asset_errored"))
    if status is Status.CANCELED:
        return found.with_failure(told(None, "the asset was deleted", otherwise="canceled"))
    return found


# https://www.mux.com/docs/core/make-api-requests
def refusal(answer: HttpAnswer) -> Failure:
    body = refusal_body(answer)
    if body is None or not isinstance(at(body, "error.messages"), list):
        return plain_refusal(answer)
    return _told_errors(body["error"], otherwise="provider_refused")


def _told_errors(errors: JsonValue, *, otherwise: str) -> Failure:
    messages = at(errors, "messages")
    texts = [one for one in messages if isinstance(one, str)] if isinstance(messages, list) else []
    return told(at(errors, "type"), "; ".join(texts), otherwise=otherwise)


PROVIDER = Provider(
    name="mux",
    documentation="https://www.mux.com/docs/api-reference/video/assets/create-asset",
    completion=Completion.WEBHOOK,
    api_url="https://api.mux.com",
    api_key="mux-api-key",  # TOKEN_ID:TOKEN_SECRET
    scheme=SCHEMES["mux"],
    signing_secret="mux-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "asset": Operation(
            input=AssetInput,
            result=Asset,
            start=start,
            read_start=read_answer,
            # https://www.mux.com/docs/api-reference/video/assets/delete-asset: work on an asset ends with it
            cancel=about_job("DELETE", "/video/v1/assets/{id}", basic),
            poll=about_job("GET", "/video/v1/assets/{id}", basic),
            read_poll=read_answer,
        )
    },
    default_operation="asset",
    read=read,
    refusal=refusal,
    # https://www.mux.com/docs/core/listen-for-webhooks
    patience=timedelta(seconds=5),
    repeats_for=timedelta(hours=24),
)
