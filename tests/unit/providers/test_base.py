"""What every provider is held to, and how JSON is read."""

from dataclasses import replace

import pytest

from services.errors import NotUnderstood
from services.providers import built_in
from services.providers.base import clean, parse_object

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


@pytest.mark.parametrize(
    "odd",
    ["\x00", "\x08", "\x0b", "\x0c", "\x0e", "\x1f", "\x7f", "\x80", "\x9f", "\ud800\udfff"],
    ids=ascii,
)
def test_control_characters_and_lone_surrogates_are_taken_out_of_names_and_texts(odd: str) -> None:
    given = {f"a{odd}": [f"{odd}b", {"c": f"d{odd}e", "n": 1}]}
    assert clean(given) == {"a": ["b", {"c": "de", "n": 1}]}  # type: ignore[arg-type] # a list is invariant


@pytest.mark.parametrize(
    "text", ["\t", "\n", "\r", " ", "~", "\xa0", "\ud7ff", "\ue000", "\U0001f600"], ids=ascii
)
def test_tabs_line_ends_and_all_that_can_be_shown_stay(text: str) -> None:
    assert clean({text: [text]}) == {text: [text]}
