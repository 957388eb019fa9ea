"""JSON as strangers send it, read strictly and with no other error than NotUnderstood."""

import json
import math
from typing import Any

from pydantic import JsonValue

from services.errors import NotUnderstood
from services.models import JsonObject

MAX_JSON_DEPTH = 64


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
