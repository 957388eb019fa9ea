"""JSON as providers send it: read strictly, and cleaned before it goes on."""

from datetime import timedelta

import pytest
from pydantic import BaseModel, JsonValue

from services.errors import NotUnderstood
from services.jsons import at, parse_object
from services.models import Failure, HttpAnswer
from services.providers.base import declared
from services.providers.failures import told
from services.providers.reading import read_access_token


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


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("errors.0.message", "a"),
        ("errors.1", {"message": "b"}),
        ("errors.2", None),
        ("errors.2.message", None),
        ("errors.-1", None),
        ("errors.²", None),
        ("errors.message", None),
        ("named.0", "c"),
    ],
)
def test_a_path_counts_in_lists_and_names_in_objects(path: str, found: JsonValue) -> None:
    value: JsonValue = {"errors": [{"message": "a"}, {"message": "b"}], "named": {"0": "c"}}
    assert at(value, path) == found


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"access_token":"a.b-c_d~e+f/g=","expires_in":3600}', 3600),
        (b'{"access_token":"a","expires_in":99999999999999999999}', 86400),
    ],
    ids=["usual", "for-ever"],
)
def test_an_access_token_is_read_with_its_lifetime(body: bytes, seconds: int) -> None:
    assert read_access_token(HttpAnswer(status=200, body=body)).lifetime == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"access_token":"a"}',
        b'{"expires_in":3600}',
        b'{"access_token":"","expires_in":3600}',
        b'{"access_token":"a b","expires_in":3600}',
        b'{"access_token":"a\\r\\nx: y","expires_in":3600}',
        b'{"access_token":"\xc3\xa9","expires_in":3600}',
        b'{"access_token":"' + b"a" * 8193 + b'","expires_in":3600}',
        b'{"access_token":7,"expires_in":3600}',
        b'{"access_token":"a","expires_in":0}',
        b'{"access_token":"a","expires_in":-5}',
        b'{"access_token":"a","expires_in":"3600"}',
        b'{"access_token":"a","expires_in":true}',
    ],
    ids=[
        "nothing", "list", "empty", "no-lifetime", "no-token", "empty-token", "blank", "line-end", "no-ascii",
        "long", "number", "no-time", "past", "text", "true",
    ],
)  # fmt: skip
def test_what_is_no_access_token_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read_access_token(HttpAnswer(status=200, body=body))


@pytest.mark.parametrize(
    ("code", "known"),
    [
        ("E12", "E12"),
        ("E\x0012", "E12"),
        ("e" * 300, "e" * 255),
        (40001, "40001"),
        (-32601, "-32601"),
        (0, "job_failed"),
        (True, "job_failed"),
        (4.5, "job_failed"),
        ("", "job_failed"),
        (None, "job_failed"),
        ([40001], "job_failed"),
    ],
    ids=repr,
)
def test_a_code_is_a_text_or_a_whole_number(code: JsonValue, known: str) -> None:
    assert told(code, "It broke", otherwise="job_failed") == Failure(code=known, message="It broke")
