"""What every provider is held to, and how JSON is read."""

from dataclasses import replace

import pytest

from services.errors import NotUnderstood
from services.providers import built_in
from services.providers.base import parse_object

STRIPE = built_in("stripe")


@pytest.mark.parametrize(
    "changes",
    [
        {"signing_secret": None},
        {"scheme": None},
        {"scheme": None, "signing_secret": None, "tells_secret": True},
        {"default_operation": "fly"},
        {"name": "Stripe"},
    ],
    ids=["no secret", "no scheme", "no secret to tell", "no such operation", "upper case"],
)
def test_a_provider_that_could_not_be_safe_cannot_be_declared(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        replace(STRIPE, **changes)  # type: ignore[arg-type] # fields by name


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\\ud800"}', {"a": "?"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"\\udfff": 1}', {"?": 1}),
    ],
)
def test_half_a_surrogate_pair_becomes_what_can_be_written_down(body: bytes, value: object) -> None:
    assert parse_object(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b"{" * 100_000,
    ],
)
def test_what_is_no_json_object_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        parse_object(body)
