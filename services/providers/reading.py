"""How the JSON of providers is read: what is odd is None, a plain word, or NotUnderstood; nothing else."""

import re
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from services.errors import NotUnderstood
from services.jsons import at, clean_text, parse_object
from services.models import Delivery, HttpAnswer, JsonObject, Status, is_id
from services.providers.base import AccessToken

JOB_ID = "hookbus_job_id"
"""What our id is called where a provider takes metadata along."""
MAX_TEXT = 255
MAX_TOKEN_SECONDS = 86_400
_BEARER = re.compile(r"[!-~]{1,8192}")


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


def status_in(words: dict[str, Status], word: JsonValue) -> Status:
    """Translate a provider's word; unlisted ones are UNKNOWN."""
    return words.get(word, Status.UNKNOWN) if isinstance(word, str) else Status.UNKNOWN
