"""How the JSON of providers is read: what is odd is None, a plain word, or NotUnderstood; nothing else."""

import re
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, JsonObject, Status, is_id
from services.providers.base import AccessToken, clean_text, parse_object, plain_refusal

JOB_ID = "hookbus_job_id"
"""What our id is called where a provider takes metadata along."""
MAX_TEXT = 255
MAX_MESSAGE = 1000
MAX_TOKEN_SECONDS = 86_400
_AUTHENTICATION = (401, 403)
_BEARER = re.compile(r"[!-~]{1,8192}")


def at(value: JsonValue, path: str) -> JsonValue:
    """Return what stands at a dotted path, in which lists count from 0; None if nothing does."""
    for name in path.split("."):
        if isinstance(value, list):
            value = value[int(name)] if name.isdecimal() and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def text_at(payload: JsonObject, path: str) -> str:
    """Return the identifying text at a dotted path: 1 to 255 characters without control characters."""
    value = at(payload, path)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or clean_text(value) != value:
        raise NotUnderstood(f"there is no usable text at {path}")
    return value


def job_id_at(payload: JsonObject, path: str) -> str | None:
    """Return our own id at a dotted path; None if what stands there can be none of ours."""
    value = at(payload, path)
    return value if isinstance(value, str) and is_id(value) else None


def header_text(delivery: Delivery, name: str) -> str:
    """Return a header that the signature covers."""
    return text_at({name: delivery.headers.get(name)}, name)


def object_at(payload: JsonObject, path: str) -> JsonObject:
    """Return the object at a dotted path."""
    value = at(payload, path)
    if not isinstance(value, dict):
        raise NotUnderstood(f"there is no object at {path}")
    return value


def read_access_token(answer: HttpAnswer) -> AccessToken:
    """Read a bearer token and its lifetime, https://www.rfc-editor.org/rfc/rfc6749#section-5.1."""
    body = parse_object(answer.body)
    token, seconds = body.get("access_token"), body.get("expires_in")
    if not isinstance(token, str) or not _BEARER.fullmatch(token):
        raise NotUnderstood("there is no usable access token")
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds <= 0:
        raise NotUnderstood("the access token has no lifetime")
    return AccessToken(text=token, lifetime=timedelta(seconds=min(seconds, MAX_TOKEN_SECONDS)))


def time_from_unix(value: JsonValue) -> datetime | None:
    """Read seconds since 1970; None for anything that is no such time."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def time_from_text(value: JsonValue) -> datetime | None:
    """Read an RFC 3339 time; None for anything else, also for a time without a zone."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else None
    except (OverflowError, ValueError):
        return None


def told(code: JsonValue, message: JsonValue, *, otherwise: str) -> Failure:
    """Say why something failed in the provider's words; `otherwise` is the code where it gave none."""
    known = clean_text(code)[:MAX_TEXT] if isinstance(code, str) else ""
    said = clean_text(message)[:MAX_MESSAGE].strip() if isinstance(message, str) else ""
    return Failure(code=known or otherwise, message=said or "the provider gave no reason")


def refusal_body(answer: HttpAnswer) -> JsonObject | None:
    """Return what a refusal says that a caller may see; None if it says nothing readable.

    What is said of a rejected key is the operator's, and may repeat a part of it: None as well.
    """
    if answer.status in _AUTHENTICATION:
        return None
    try:
        return parse_object(answer.body)
    except NotUnderstood:
        return None


def refusal_in(answer: HttpAnswer, path: str) -> Failure:
    """Say why a provider refused, in its own sentence at a dotted path."""
    body = refusal_body(answer)
    if body is None or not isinstance(at(body, path), str):
        return plain_refusal(answer)
    return told(None, at(body, path), otherwise="provider_refused")


def status_in(words: dict[str, Status], word: JsonValue) -> Status:
    """Translate a provider's word; unlisted ones are UNKNOWN."""
    return words.get(word, Status.UNKNOWN) if isinstance(word, str) else Status.UNKNOWN
