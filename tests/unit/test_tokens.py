"""The token in a callback address: what we minted for this provider, and nothing else, opens a job."""

import base64
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.errors import NotVerified, OperatorError, Reason
from services.tokens import Token, mint, read

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY, OTHER = "a" * 32, "b" * 32
TOKEN = Token(job_id="job_1", provider="acme", expires_at=NOW + timedelta(hours=1))
ACCOUNT = Token(provider="acme")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_says_what_it_was_minted_with() -> None:
    traced = replace(TOKEN, traceparent=TRACE)
    assert read(mint(traced, KEY), [KEY], provider="acme", now=NOW) == traced


def test_is_one_path_segment_that_needs_no_escaping() -> None:
    text = mint(replace(TOKEN, job_id="j" * 64, provider="p" * 32, traceparent=TRACE), KEY)
    assert len(text) < 300
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_stays_the_same_from_release_to_release() -> None:
    # printf '1|1772370000|acme|job_1|' | openssl dgst -sha256 -hmac aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -binary
    assert mint(TOKEN, KEY) == (
        "MXwxNzcyMzcwMDAwfGFjbWV8am9iXzF8.indWwQThctgLrMq9JdNVLCPZdJQnN1crFpX1JgjJCXI"
    )


def test_of_an_account_names_no_job_and_stays_good() -> None:
    # printf '1||acme||' | openssl dgst -sha256 -hmac aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -binary
    text = "MXx8YWNtZXx8.ib-zxlBcsdniq6cowqmTnRZf7P4pM2B3dm6i_oAqRaI"
    assert mint(ACCOUNT, KEY) == text
    assert read(text, [OTHER, KEY], provider="acme", now=NOW + timedelta(days=36500)) == ACCOUNT
    with pytest.raises(NotVerified) as refused:
        read(text, [KEY], provider="other", now=NOW)
    assert refused.value.reason is Reason.WRONG_TOKEN


@pytest.mark.parametrize(
    "changes",
    [{"job_id": "job_1"}, {"expires_at": NOW}, {"provider": "a|b"}, {"job_id": "a|b", "expires_at": NOW}],
    ids=["a job without end", "an end without a job", "no name", "no id"],
)
def test_cannot_be_half_valid(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a job"):
        replace(ACCOUNT, **changes)


@pytest.mark.parametrize(
    "fields",
    [
        "2||acme||",
        "1||acme|",
        "1||acme|||",
        "1||acme|job_1|",
        "1|1772370000|acme||",
        "1|soon|acme|job_1|",
        "1|1772370000|Acme|job_1|",
        "\xff",
    ],
    ids=["version", "short", "long", "no end", "no job", "no time", "no name", "no UTF-8"],
)
def test_signed_with_our_key_but_of_another_form_opens_nothing(fields: str) -> None:
    raw = fields.encode("latin-1")
    parts = (raw, hmac.digest(KEY.encode(), raw, "sha256"))
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    for name in ("acme", "Acme"):
        with pytest.raises(NotVerified) as refused:
            read(text, [KEY], provider=name, now=NOW)
        assert refused.value.reason is Reason.WRONG_TOKEN


@pytest.mark.parametrize(
    ("provider", "keys", "now", "reason"),
    [
        ("other", [KEY], NOW, Reason.WRONG_TOKEN),
        ("acme", [OTHER], NOW, Reason.WRONG_TOKEN),
        ("acme", [], NOW, Reason.WRONG_TOKEN),
        ("acme", [KEY], NOW + timedelta(hours=1), Reason.EXPIRED_TOKEN),
    ],
    ids=["another provider", "another key", "no key", "expired"],
)
def test_opens_nothing_else(provider: str, keys: list[str], now: datetime, reason: Reason) -> None:
    with pytest.raises(NotVerified) as refused:
        read(mint(TOKEN, KEY), keys, provider=provider, now=now)
    assert refused.value.reason is reason


def test_opens_until_the_moment_it_expires() -> None:
    read(mint(TOKEN, KEY), [OTHER, KEY], provider="acme", now=NOW + timedelta(minutes=59, seconds=59))


def test_has_one_spelling_only() -> None:
    text = mint(TOKEN, KEY)
    last = text[-1]
    twin = chr(ord(last) + 1)  # differs in the bits that base64 leaves over
    for changed in (
        text + "=",
        text + "A",
        text[:-1] + twin,
        text.replace(".", ".."),
        " " + text,
        text + "\n",
    ):
        with pytest.raises(NotVerified):
            read(changed, [KEY], provider="acme", now=NOW)


@pytest.mark.parametrize("key", ["", "short", "a" * 31])
def test_a_weak_key_is_the_operators_to_mend(key: str) -> None:
    with pytest.raises(OperatorError, match="callback-token-key is shorter than 32"):
        mint(TOKEN, key)


@given(st.text(max_size=700))
@example("")
@example(".")
@example("A" * 600 + "." + "A" * 43)
@example("\udcff.\udcff")
@example("MXwxNzcyMzcwMDAwfGFjbWV8am9iXzF8.")
def test_any_other_text_is_not_verified_and_nothing_else(text: str) -> None:
    with pytest.raises(NotVerified):
        read(text, [KEY], provider="acme", now=NOW)
