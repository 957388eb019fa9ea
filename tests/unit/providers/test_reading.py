"""JSON as providers send it: read strictly, and cleaned before it goes on."""

import pytest
from pydantic import BaseModel, JsonValue

from services.errors import NotUnderstood
from services.providers.base import declared, parse_object


@pytest.mark.parametrize(
    "value",
    [
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"9" * 5000,
        b'{"b":1,"b":1}',
        b"[" * 64 + b"]" * 64,
        b"[" * 100_000,
        b"\xff",
        b"'x'",
    ],
    ids=[
        "nan",
        "infinity",
        "huge",
        "huge-negative",
        "digits",
        "twice",
        "deep",
        "deeper",
        "no-utf-8",
        "quotes",
    ],
)
def test_what_other_readers_would_read_otherwise_is_not_understood(value: bytes) -> None:
    with pytest.raises(NotUnderstood):
        parse_object(b'{"a":' + value + b"}")


def test_nesting_of_64_is_understood() -> None:
    assert "a" in parse_object(b'{"a":' + b"[" * 63 + b"]" * 63 + b"}")


class Shape(BaseModel):
    url: str
    more: JsonValue = None


def test_only_declared_fields_leave_and_only_those_that_were_sent() -> None:
    assert declared(Shape, {"url": "a\x00\ud800b", "other": 1}) == {"url": "ab"}


def test_a_result_that_does_not_fit_names_the_place_and_not_the_value() -> None:
    with pytest.raises(NotUnderstood) as raised:
        declared(Shape, {"url": {"secret": 1}})
    assert str(raised.value) == "the result does not fit its model at: url"
