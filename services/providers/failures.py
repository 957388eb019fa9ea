"""Why something failed, in words that a caller may see: the provider's, where it gave any."""

from pydantic import JsonValue

from services.errors import NotUnderstood
from services.jsons import at, clean_text, parse_object
from services.models import Failure, HttpAnswer, JsonObject

MAX_CODE = 255
MAX_MESSAGE = 1000
_AUTHENTICATION = (401, 403)


def told(code: JsonValue, message: JsonValue, *, otherwise: str) -> Failure:
    """Say why something failed in the provider's words; `otherwise` is the code where it gave none.

    A code can be a whole number; 0 says that there is none.
    """
    if type(code) is int and code:  # True is none
        code = str(code)
    known = clean_text(code)[:MAX_CODE] if isinstance(code, str) else ""
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


def plain_refusal(answer: HttpAnswer) -> Failure:
    """Say that a provider refused without repeating what it said."""
    return Failure(code="provider_refused", message=f"the provider answered {answer.status}")
