"""JSON as strangers send it, read strictly and with no other error than NotUnderstood."""

import json
import math
import re
from typing import Any

from pydantic import JsonValue

from services.errors import NotUnderstood
from services.models import JsonObject

MAX_JSON_DEPTH = 64
_UNCLEAN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def parse_object(body: bytes) -> JsonObject:
    """Read a JSON object as a provider sends it.

    Raises NotUnderstood for anything else: other encodings than UTF-8, NaN, Infinity and numbers as large
    (1e999), a name that stands twice (https://www.rfc-editor.org/rfc/rfc8259#section-4), nesting deeper
    than 64. Half a surrogate pair becomes a question mark.
    """
    try:
        value = _parse(body.decode("utf-8"))
        if b"\\u" in body:  # an escape can name half a character, which nothing could write down again
            value = _parse(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode())
    except RecursionError:
        raise NotUnderstood("the body is nested too deeply") from None
    except ValueError:
        raise NotUnderstood("the body is not UTF-8 JSON") from None
    if not isinstance(value, dict):
        raise NotUnderstood("the body is not a JSON object")
    if _depth(value) > MAX_JSON_DEPTH:
        raise NotUnderstood("the body is nested too deeply")
    return value


def at(value: JsonValue, path: str) -> JsonValue:
    """Return what stands at a dotted path, in which lists count from 0; None if nothing does."""
    for name in path.split("."):
        if isinstance(value, list):
            value = value[int(name)] if name.isdecimal() and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def clean(value: JsonValue) -> JsonValue:
    """Take control characters (all but tab and line ends) and lone surrogates out of every string."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(name): clean(item) for name, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return value


def clean_text(text: str) -> str:
    """Take control characters (all but tab and line ends) and lone surrogates out of a string."""
    return _UNCLEAN.sub("", text)


def _parse(text: str) -> Any:  # noqa: ANN401 - JSON, until it is looked at
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _refuse_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _depth(value: JsonValue) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner: list[JsonValue] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        level = inner
    return depth
