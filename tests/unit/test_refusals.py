"""Why a delivery was refused: each alteration is told as what it is, within limits, and nothing leaks."""

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import refusals as bench
from services.alterations import called_urls, sent_bodies
from services.errors import NotVerified, Reason, Why
from services.models import Delivery
from services.refusals import ON_THE_WAY, Finding, Known, Refusals, find_why, plain_why
from services.signatures.catalogue import SCHEMES
from services.signatures.scheme import Declared, Scheme
from tests.unit.signatures.key_documents import SHARED, parties
from tests.unit.signatures.material import MATERIAL, NOW
from tests.unit.signatures.samples import NOW as THEN
from tests.unit.signatures.samples import SAMPLES, TWILIO_URL, with_header

SECRET, OTHER = SHARED
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def why(
    scheme: Scheme | str,
    delivery: Delivery,
    *,
    secrets: Sequence[str] = (SECRET,),
    keys: Sequence[bytes] = (),
    others: Mapping[str, tuple[str, str]] | None = None,
    more: Mapping[str, Sequence[str]] | None = None,
    now: datetime = NOW,
) -> tuple[str, str]:
    """Refuse a delivery, and return what is found of it."""
    scheme = SCHEMES[scheme] if isinstance(scheme, str) else scheme
    with pytest.raises(NotVerified) as refused:
        scheme.verify(delivery, secrets, now, keys)
    known = Known(
        scheme=scheme,
        secrets=secrets,
        keys=keys,
        others={name: (SCHEMES[one], [secret]) for name, (one, secret) in (others or {}).items()},
        more_secrets=more or {},
    )
    found = plain_why(refused.value, delivery) or find_why(refused.value, delivery, known, now)
    return found.why, found.detail


def sent(
    name: str, body: bytes, content_type: str = JSON, *, secret: str = SECRET, **headers: str
) -> Delivery:
    """Return a delivery as its sender signed it, its body a literal."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    bare = MATERIAL[name].unsigned()
    bare = replace(bare, body=body, headers={**bare.headers, "content-type": content_type, **named})
    return SCHEMES[name].sign(bare, secret, NOW)


BODIES = {
    "spaces put in": (b'{"id":"e1","n":[1,2]}', b'{"id": "e1", "n": [1, 2]}', "body_rewritten", "compact"),
    "spaces left out": (b'{"id": "e1", "n": [1, 2]}', b'{"id":"e1","n":[1,2]}', "body_rewritten", "spaced"),
    "escapes resolved": (
        b'{"text":"Z\\u00fcrich"}',
        '{"text":"Zürich"}'.encode(),
        "body_rewritten",
        "compact_escaped",
    ),
    "escapes put in": (
        '{"text":"Zürich"}'.encode(),
        b'{"text":"Z\\u00fcrich"}',
        "body_rewritten",
        "compact",
    ),
    "as Python's json, read by JavaScript": (
        b'{"text": "Z\\u00fcrich"}',
        '{"text":"Zürich"}'.encode(),
        "body_rewritten",
        "spaced_escaped",
    ),
    "as PHP's json_encode": (
        b'{"url":"https:\\/\\/a.example\\/"}',
        b'{"url":"https://a.example/"}',
        "body_rewritten",
        "slashes_escaped",
    ),
    "as Go's Marshal": (
        b'{"b":"\\u003ca\\u003e \\u0026","a":1}',
        b'{"b":"<a> &","a":1}',
        "body_rewritten",
        "html_escaped",
    ),
    "as Go's Marshal of a map": (
        b'{"a":1,"b":"\\u003c"}',
        b'{"b":"<","a":1}',
        "body_rewritten",
        "sorted_html_escaped",
    ),
    "as Go's Encoder": (b'{"a":1}\n', b'{"a": 1}', "body_rewritten", "compact"),
    "sorted": (b'{"a":1,"b":2}', b'{"b":2,"a":1}', "body_rewritten", "sorted_html_escaped"),
    "sorted and spaced": (b'{"a": 1, "b": 2}', b'{"b":2,"a":1}', "body_rewritten", "sorted_spaced"),
    "sorted and escaped": (
        b'{"a":"\\u00fc<","b":2}',
        '{"b":2,"a":"ü<"}'.encode(),
        "body_rewritten",
        "sorted_escaped",
    ),
    "sorted, not escaped": (
        '{"a":"ü<","b":2}'.encode(),
        '{"b":2,"a":"ü<"}'.encode(),
        "body_rewritten",
        "sorted",
    ),
    "sorted, spaced and escaped": (
        b'{"a": "\\u00fc", "b": 2}',
        '{"b":2,"a":"ü"}'.encode(),
        "body_rewritten",
        "sorted_spaced_escaped",
    ),
    "indented": (b'{\n  "a": 1\n}', b'{"a":1}', "body_rewritten", "indented"),
    "indented by four": (b'{\n    "a": 1\n}', b'{"a":1}', "body_rewritten", "indented_wide"),
    "a list": (b'[{"a":1}]', b'[{"a": 1}]', "body_rewritten", "compact"),
    "line end cut off": (b'{"a":1}\r\n', b'{"a":1}', "body_line_ends", "trimmed"),
    "line end added": (b"not json", b"not json\n", "body_line_ends", "added"),
    "blanks put before": (b"not json", b" \nnot json\n", "body_line_ends", "added"),
    "LF made CRLF": (b"a\nb", b"a\r\nb", "body_line_ends", "to_crlf"),
    "CRLF made LF": (b"a\r\nb", b"a\nb", "body_line_ends", "to_lf"),
    "mark added": (b"text", b"\xef\xbb\xbftext", "body_line_ends", "mark_added"),
    "mark cut off": (b"\xef\xbb\xbftext", b"text", "body_line_ends", "mark_removed"),
    "compressed": (b"text", gzip.compress(b"text"), "body_compressed", "compressed"),
    "in base64": (b"some text", b"c29tZSB0ZXh0", "body_wrapped", "base64"),
    "in a JSON text": (b'{"a": 1}', b'"{\\"a\\": 1}"', "body_wrapped", "json_text"),
    "made UTF-8": ("Zürich".encode("latin-1"), "Zürich".encode(), "body_recoded", "latin-1"),
    "made UTF-8 from Windows": ("5 €".encode("cp1252"), "5 €".encode(), "body_recoded", "cp1252"),
    "made Latin-1": ("Zürich".encode(), "Zürich".encode("latin-1"), "body_recoded", "utf-8"),
    "gone": (b"text", b"", "body_empty", ""),
    "another one": (b"text", b"another", "wrong_secret", ""),
}


@pytest.mark.parametrize("scheme", ["stripe", "standardwebhooks", "github", "shopify", "box"])
@pytest.mark.parametrize(("was", "came", "expected", "detail"), BODIES.values(), ids=BODIES)
def test_a_body_that_was_changed_is_told_by_what_it_was(
    scheme: str, was: bytes, came: bytes, expected: str, detail: str
) -> None:
    assert why(scheme, replace(sent(scheme, was), body=came)) == (expected, detail)


@pytest.mark.parametrize(
    ("was", "came"),
    [(b"a=1+2&b=%2F", b"a=1%202&b=/"), (b"a=1%202&b=%2F", b"a=1+2&b=%2F"), (b"a=1&b=2", b"b=2&a=1")],
    ids=["plus", "percent", "order"],
)
def test_a_form_that_was_written_anew_is_told(was: bytes, came: bytes) -> None:
    delivery = replace(sent("slack", was, FORM), body=came)
    assert why("slack", delivery) == ("body_rewritten", "form")


def test_a_body_announced_as_compressed_that_is_not_was_unpacked_on_the_way() -> None:
    delivery = replace(sent("github", gzip.compress(b"text"), content_encoding="gzip"), body=b"text")
    assert why("github", delivery) == ("body_decompressed", "")


def test_a_body_that_is_compressed_as_announced_was_not_unpacked() -> None:
    delivery = sent("github", gzip.compress(b"text"), secret=OTHER, content_encoding="gzip")
    assert why("github", delivery) == ("wrong_secret", "")


def test_a_body_that_is_bound_by_a_token_and_gone_beyond_recognition_is_told_as_altered() -> None:
    assert why("vonage", replace(sent("vonage", b"text"), body=b"another")) == ("body_altered", "")


@pytest.mark.parametrize("scheme", ["fal", "plaid", "sendgrid", "discord", "vonage", "inngest"])
def test_bodies_are_tried_where_keys_are_public_or_tokens_are_sent_too(scheme: str) -> None:
    party = parties(scheme)[0]
    was = b'{"id":"e1","text":"a"}'
    delivery = sent(scheme, was, secret=party.private)
    if scheme == "inngest":  # it signs a canonical form: only what changes that is refused
        delivery = replace(delivery, body=b'"{\\"id\\":\\"e1\\",\\"text\\":\\"a\\"}"')
        expected = ("body_wrapped", "json_text")
    else:
        delivery = replace(delivery, body=b'{"id": "e1", "text": "a"}')
        expected = ("body_rewritten", "compact")
    assert why(scheme, delivery, secrets=party.secrets, keys=party.keys) == expected


URLS = {
    "http": ("http://mycompany.com/myapp.php?foo=1&bar=2", {}, "scheme"),
    "another host, as Host says": (
        "https://app.azurewebsites.net/myapp.php?foo=1&bar=2",
        {"host": "mycompany.com"},
        "host",
    ),
    "another host, as a proxy says": (
        "http://app.azurewebsites.net/myapp.php?foo=1&bar=2",
        {"host": "app.azurewebsites.net", "x-forwarded-host": "mycompany.com, proxy.example"},
        "host",
    ),
    "a slash more": ("https://mycompany.com/myapp.php/?foo=1&bar=2", {}, "slash"),
    "another order": ("https://mycompany.com/myapp.php?bar=2&foo=1", {}, "query"),
    "another path": (
        "https://mycompany.com/other?foo=1&bar=2",
        {"x-original-url": "/myapp.php?foo=1&bar=2"},
        "path",
    ),
    "another path and host": (
        "https://app.example/other",
        {"host": "mycompany.com", "x-original-url": "https://app.example/myapp.php?foo=1&bar=2"},
        "host",
    ),
}


@pytest.mark.parametrize(("url", "headers", "detail"), URLS.values(), ids=URLS)
def test_an_address_other_than_the_one_that_was_called_is_told(
    url: str, headers: dict[str, str], detail: str
) -> None:
    sample = SAMPLES["twilio_form"]
    assert sample.delivery.url == TWILIO_URL == "https://mycompany.com/myapp.php?foo=1&bar=2"
    came = replace(sample.delivery, url=url, headers={**sample.delivery.headers, **headers})
    assert why("twilio_form", came, secrets=[sample.secret], now=THEN) == ("wrong_url", detail)


@pytest.mark.parametrize(
    ("called", "expected", "headers", "detail"),
    [
        ("https://a.example:8443/x", "https://a.example/x", {"x-forwarded-port": "8443"}, "port"),
        ("https://a.example/x", "https://a.example:8443/x", {}, "port"),
        ("https://a.example/x", "https://a.example/x?a=1", {}, "query"),
        ("https://a.example/x?b=1&a=2", "https://a.example/x?a=2&b=1", {}, "query"),
        ("https://a.example/x?a=1", "https://a.example/x/?a=1", {}, "slash"),
        ("https://a.example/x/?a=1", "https://a.example/x?a=1", {}, "slash"),
    ],
    ids=["a port more", "no port", "no query", "another order", "no slash", "a slash"],
)
@pytest.mark.parametrize("scheme", ["square", "hubspot_v3", "trello"])
def test_any_scheme_that_covers_the_address_has_addresses_tried(
    scheme: str, called: str, expected: str, headers: dict[str, str], detail: str
) -> None:
    bare = replace(MATERIAL[scheme].unsigned(), url=called)
    delivery = SCHEMES[scheme].sign(bare, SECRET, NOW)
    came = replace(delivery, url=expected, headers={**delivery.headers, **headers})
    assert why(scheme, came) == ("wrong_url", detail)


def digest_of(body: bytes, name: str = "sha256", key: bytes = SECRET.encode()) -> bytes:
    return hmac.digest(key, body, name)


@pytest.mark.parametrize(
    ("scheme", "header", "value", "detail"),
    [
        (
            "github",
            "x-hub-signature-256",
            "sha256=" + base64.b64encode(digest_of(b"text")).decode(),
            "base64",
        ),
        ("shopify", "x-shopify-hmac-sha256", digest_of(b"text").hex(), "hex"),
        ("shopify", "x-shopify-hmac-sha256", digest_of(b"text").hex().upper(), "hex"),
        ("github", "x-hub-signature-256", digest_of(b"text").hex(), "prefix"),
        ("lemonsqueezy", "x-signature", "sha256=" + digest_of(b"text").hex(), "prefix sha256="),
        ("vercel", "x-vercel-signature", digest_of(b"text").hex(), "sha256"),
        ("lemonsqueezy", "x-signature", digest_of(b"text", "sha1").hex(), "sha1"),
        ("lemonsqueezy", "x-signature", digest_of(b"text", "sha512").hex(), "sha512"),
    ],
)
def test_a_signature_that_is_written_in_another_way_is_told(
    scheme: str, header: str, value: str, detail: str
) -> None:
    delivery = with_header(sent(scheme, b"text"), header, value)
    assert why(scheme, delivery) == ("signature_form", detail)


@pytest.mark.parametrize(
    ("scheme", "key", "detail"),
    [
        ("lemonsqueezy", bytes.fromhex(SECRET), "hex"),
        ("lemonsqueezy", base64.b64decode(SECRET), "base64"),
        ("adyen_platform", SECRET.encode(), "text"),
    ],
)
def test_a_secret_that_the_sender_reads_in_another_way_is_told(scheme: str, key: bytes, detail: str) -> None:
    digest = digest_of(b"text", key=key)
    value = digest.hex() if scheme == "lemonsqueezy" else base64.b64encode(digest).decode()
    header = {"lemonsqueezy": "x-signature", "adyen_platform": "hmacsignature"}[scheme]
    assert why(scheme, with_header(sent(scheme, b"text"), header, value)) == ("secret_form", detail)


class TestTheClock:
    @pytest.mark.parametrize(
        ("scheme", "off", "seconds"),
        [("stripe", 301, "301"), ("stripe", -301, "-301"), ("paddle", 3600, "3600"), ("box", -1, "-1")],
    )
    def test_is_told_in_seconds(self, scheme: str, off: int, seconds: str) -> None:
        now = NOW + timedelta(seconds=off)
        assert why(scheme, sent(scheme, b"text"), now=now) == ("clock_skew", seconds)

    @pytest.mark.parametrize(("off", "seconds"), [(400, "100"), (-10, "-10")], ids=["expired", "not yet"])
    def test_of_a_token_counts_from_its_own_bounds(self, off: int, seconds: str) -> None:
        now = NOW + timedelta(seconds=off)
        assert why("qstash", sent("qstash", b"text"), now=now) == ("clock_skew", seconds)

    def test_does_not_hide_what_happened_to_the_body(self) -> None:
        delivery = replace(sent("stripe", b'{"a":1}'), body=b'{"a": 1}')
        assert why("stripe", delivery, now=NOW + timedelta(days=9)) == ("body_rewritten", "compact")


class TestOthers:
    def test_the_secret_of_another_provider_by_our_scheme(self) -> None:
        delivery = sent("stripe", b"text", secret=OTHER)
        found = why("stripe", delivery, others={"stripe_test": ("stripe", OTHER)})
        assert found == ("other_provider", "stripe_test")

    def test_the_secret_of_a_provider_with_another_scheme(self) -> None:
        found = why("stripe", sent("stripe", b"text", secret=OTHER), others={"shop": ("shopify", OTHER)})
        assert found == ("other_secret", "shop")

    def test_one_more_secret_that_an_operator_names(self) -> None:
        delivery = sent("stripe", b"text", secret=OTHER)
        assert why("stripe", delivery, more={"test-mode": [OTHER]}) == ("other_secret", "test-mode")

    def test_another_provider_whose_delivery_it_is(self) -> None:
        delivery = sent("shopify", b"text", secret=OTHER)
        assert why("stripe", delivery, others={"shop": ("shopify", OTHER)}) == ("other_provider", "shop")

    def test_another_scheme_with_our_secret(self) -> None:
        assert why("stripe", sent("shopify", b"text")) == ("other_scheme", "shopify")

    def test_a_sender_whose_signature_nothing_here_can_check(self) -> None:
        assert why("stripe", sent("shopify", b"text", secret=OTHER)) == ("other_sender", "shopify")

    def test_a_provider_whose_secret_does_not_fit_is_named_before_a_scheme(self) -> None:
        delivery = sent("shopify", b"text", secret="another one")
        assert why("stripe", delivery, others={"shop": ("shopify", OTHER)}) == ("other_sender", "shop")

    def test_a_token_that_is_sent_along_tells_of_nobody(self) -> None:
        delivery = with_header(MATERIAL["stripe"].unsigned(), "authorization", "Basic dXNlcjpwYXNz")
        assert why("stripe", delivery) == ("unsigned", "stripe-signature")


@pytest.mark.parametrize(
    ("scheme", "header"),
    [
        ("standardwebhooks", "webhook-id"),
        ("standardwebhooks", "webhook-timestamp"),
        ("svix", "svix-signature"),
        ("slack", "x-slack-request-timestamp"),
        ("box", "box-signature-algorithm"),
        ("contentful", "x-contentful-signed-headers"),
        ("twilio_sharedkey", "x-twilio-webhooks-signature-settings"),
        ("telnyx", "telnyx-timestamp"),
        ("paypal", "paypal-transmission-id"),
    ],
)
def test_a_header_that_is_missing_is_named(scheme: str, header: str) -> None:
    party = parties(scheme)[0]
    delivery = SCHEMES[scheme].sign(MATERIAL[scheme].unsigned(), party.private, NOW)
    found = why(scheme, with_header(delivery, header, None), secrets=party.secrets, keys=party.keys)
    assert found == ("missing_header", header)


@pytest.mark.parametrize(
    ("scheme", "detail"),
    [("stripe", "stripe-signature"), ("standardwebhooks", "webhook-signature"), ("mailgun", "")],
)
def test_a_delivery_without_any_signature_is_unsigned(scheme: str, detail: str) -> None:
    bare = MATERIAL[scheme].unsigned()
    assert why(scheme, replace(bare, headers={})) == ("unsigned", detail)


def test_a_header_with_nothing_in_it_is_no_other_senders() -> None:
    assert why("github", with_header(sent("github", b"text"), "x-hub-signature-256", " ")) == ("unsigned", "")


def test_a_signature_that_is_none_is_not_said_to_be_of_a_wrong_secret() -> None:
    delivery = with_header(sent("stripe", b"text"), "stripe-signature", "what?")
    assert why("stripe", delivery) == ("nothing_found", "")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.NO_TOKEN, "wrong_address"),
        (Reason.WRONG_TOKEN, "wrong_address"),
        (Reason.EXPIRED_TOKEN, "wrong_address"),
        (Reason.WRONG_SENDER, "wrong_sender"),
    ],
)
def test_what_is_not_the_signatures_fault_is_told_without_trying(reason: Reason, expected: str) -> None:
    assert plain_why(NotVerified(reason), sent("stripe", b"text")) == Finding(why=Why(expected))


def test_a_handshake_that_does_not_hold_is_told_as_one() -> None:
    asked = replace(sent("stripe", b""), method="GET")
    assert plain_why(NotVerified(Reason.WRONG_TOKEN), asked) == Finding(why=Why.HANDSHAKE)


# Guesses


def test_every_address_that_is_guessed_is_another_one() -> None:
    headers = {"host": "b.example", "x-forwarded-host": "c.example, d.example", "x-original-url": "/y?b=2"}
    url = "https://a.example:8443/x?b=1&a=2"
    guesses = list(called_urls(replace(sent("stripe", b""), url=url, headers=headers)))
    assert [(one.detail, one.delivery.url) for one in guesses] == [
        ("scheme", "http://a.example:8443/x?b=1&a=2"),
        ("port", "https://a.example/x?b=1&a=2"),
        ("port", "https://a.example:443/x?b=1&a=2"),
        ("port", "https://a.example:80/x?b=1&a=2"),
        ("port", "https://a.example:/x?b=1&a=2"),
        ("slash", "https://a.example:8443/x/?b=1&a=2"),
        ("query", "https://a.example:8443/x"),
        ("query", "https://a.example:8443/x?a=2&b=1"),
        ("path", "https://a.example:8443/y?b=2"),
        ("host", "https://b.example/x?b=1&a=2"),
        ("host", "https://b.example/y?b=2"),
        ("host", "http://b.example/x?b=1&a=2"),
        ("host", "http://b.example/y?b=2"),
        ("host", "https://c.example/x?b=1&a=2"),
        ("host", "https://c.example/y?b=2"),
        ("host", "http://c.example/x?b=1&a=2"),
        ("host", "http://c.example/y?b=2"),
    ]


def test_an_address_is_guessed_where_no_proxy_wrote_down_another() -> None:
    bare = replace(sent("stripe", b""), url="https://a.example/x/", headers={"host": "b.example"})
    assert [one.delivery.url for one in called_urls(bare)] == [
        "http://a.example/x/",
        "https://a.example:443/x/",
        "https://a.example:80/x/",
        "https://a.example:/x/",
        "https://a.example/x",
        "https://a.example/x/?",
        "https://b.example/x/",
        "http://b.example/x/",
    ]


@pytest.mark.parametrize("url", ["", "/x", "ftp://a.example/", "https://a.example/#x"])
def test_of_what_is_no_address_none_is_guessed(url: str) -> None:
    assert list(called_urls(replace(sent("stripe", b""), url=url))) == []


def test_every_body_that_is_guessed_is_another_one() -> None:
    bodies = [
        one.delivery.body for one in sent_bodies(replace(sent("stripe", b""), body=b'{"b": 1, "a": "/"}'))
    ]
    assert bodies == [
        b'{"b":1,"a":"/"}',
        b'{"b":1,"a":"\\/"}',
        b'{"a":"/","b":1}',
        b'{"a": "/", "b": 1}',
        b'{\n  "b": 1,\n  "a": "/"\n}',
        b'{\n    "b": 1,\n    "a": "/"\n}',
        b'{"b":1,"a":"/"}\n',
        b'{"b": 1, "a": "/"}\n',
        b'{"b": 1, "a": "/"}\r\n',
        b'\xef\xbb\xbf{"b": 1, "a": "/"}',
    ]


def test_of_an_empty_body_little_is_guessed() -> None:
    guesses = [one.delivery.body for one in sent_bodies(replace(sent("stripe", b""), body=b""))]
    assert guesses == [b"\n", b"\r\n", b"\xef\xbb\xbf"]
    blank = replace(sent("stripe", b""), body=b" \n")
    assert b"" not in [one.delivery.body for one in sent_bodies(blank)]


# Limits


@dataclass(frozen=True, kw_only=True)
class Counting(Declared):
    """A scheme that nothing fits, and that counts what it is tried with; declared as others are."""

    seen: list[int] = field(default_factory=list)
    needs: tuple[str, ...] = ()
    encoding: str = "hex"
    key_form: str = "text"
    digest: str = "sha256"

    def verify(self, delivery: Delivery, *_: object) -> None:
        self.seen.append(len(delivery.body))
        raise NotVerified(Reason.WRONG_SIGNATURE)

    def sign(self, delivery: Delivery, *_: object) -> Delivery:
        return delivery

    @property
    def headers(self) -> tuple[str, ...]:
        return self.needs


def tried(body: bytes, others: int = 0) -> tuple[str, list[int]]:
    scheme = Counting()
    delivery = replace(sent("stripe", b"{}", host="b.example"), body=body)
    known = Known(
        scheme=scheme,
        secrets=[SECRET],
        others={f"other{number}": (scheme, [OTHER]) for number in range(others)},
        schemes={},
    )
    found = find_why(NotVerified(Reason.WRONG_SIGNATURE), delivery, known, NOW)
    return found.why, scheme.seen


def test_a_usual_body_is_tried_to_the_end() -> None:
    found, seen = tried('{"text": "Zürich", "n": 1}'.encode())
    assert found == "wrong_secret"
    assert 20 < len(seen) < 128


def test_there_are_so_many_tries_and_no_more() -> None:
    found, seen = tried(b'{"a":1}', others=200)
    assert (found, len(seen)) == ("nothing_found", 128)


def test_there_are_so_many_bytes_and_no_more() -> None:
    found, seen = tried(b"-" * 65_536)
    assert (found, len(seen)) == ("nothing_found", 7)
    assert sum(seen) <= 524_288


@pytest.mark.parametrize(("length", "expected"), [(65_536, 7), (65_537, 0)])
def test_a_body_that_is_too_long_is_not_tried(length: int, expected: int) -> None:
    assert len(tried(b"-" * length)[1]) == expected


def test_a_scheme_whose_headers_are_not_there_is_not_tried() -> None:
    scheme = Counting(needs=("x-one",))
    known = Known(
        scheme=scheme,
        secrets=[SECRET],
        others={"other": (replace(scheme, needs=("x-two",)), [OTHER])},
        schemes={"third": replace(scheme, needs=("x-three",))},
    )
    found = find_why(NotVerified(Reason.NO_SIGNATURE), sent("stripe", b"{}"), known, NOW)
    assert (found, scheme.seen) == (Finding(why=Why.UNSIGNED, detail="x-one"), [])


def test_a_body_that_is_nested_deeply_grows_no_further_than_a_limit() -> None:
    deep = b'{"a":' + b"[" * 60 + b"1," * 3_000 + b"1" + b"]" * 60 + b"}"
    bodies = [one.delivery.body for one in sent_bodies(replace(sent("stripe", b""), body=deep))]
    assert max(map(len, bodies)) < 10_000
    assert b"{\n" not in b"".join(bodies)


def test_a_bomb_is_unpacked_up_to_a_limit() -> None:
    bomb = gzip.compress(b"\0" * 5_000_000)
    bodies = [one.delivery.body for one in sent_bodies(replace(sent("stripe", b""), body=bomb))]
    assert max(map(len, bodies)) == 262_144


@pytest.mark.parametrize(
    "body",
    [b"\x1f\x8bno gzip", b"\x78\x9cno zlib", gzip.compress(b"text")[:-9], b"a=1&" * 1001],
    ids=["no gzip", "no zlib", "half of it", "too many fields"],
)
def test_what_is_not_what_it_looks_like_is_looked_into_all_the_same(body: bytes) -> None:
    delivery = replace(sent("github", b"text", FORM), body=body)
    assert why("github", delivery) in {("wrong_secret", ""), ("body_compressed", "compressed")}


@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.sampled_from(
            [b"[" * 50_000, b"{" * 300, b'{"a":' * 70 + b"1" + b"}" * 70, b'"\\ud800"', b"1" * 5000]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    headers=st.dictionaries(
        st.sampled_from(
            (
                *("stripe-signature", "host", "x-forwarded-host", "x-original-url", "x-forwarded-port"),
                *("content-encoding", "content-type", "svix-id", "svix-signature", "authorization"),
                "x-signature",
            )
        ),
        st.one_of(
            st.text(st.characters(codec=None), max_size=40),
            st.sampled_from([FORM, "gzip", "t=1,v1=ab", "[::1]:80", "http://[", "9" * 400, "v1,AAAA"]),
        ),
        max_size=6,
    ),
    url=st.one_of(
        st.text(st.characters(codec=None), max_size=40),
        st.sampled_from(
            ["https://[::1/x", "http://", "https://a:99999/?#", "https://a.example/x?" + "&" * 500]
        ),
    ),
    scheme=st.sampled_from(sorted(SCHEMES)),
    reason=st.sampled_from(Reason),
)
@settings(max_examples=300)
def test_whatever_comes_one_thing_is_found_in_our_own_words(
    body: bytes, headers: dict[str, str], url: str, scheme: str, reason: Reason
) -> None:
    delivery = Delivery(method="POST", url=url, headers=headers, body=body, received_at=NOW)
    party = parties(scheme)[0]
    known = Known(
        scheme=SCHEMES[scheme],
        secrets=party.secrets,
        keys=party.keys,
        others={"other": (SCHEMES["stripe"], [OTHER])},
    )
    found = find_why(NotVerified(reason), delivery, known, NOW)
    own_headers = {name for one in SCHEMES.values() for name in one.lacks(replace(delivery, headers={}))}
    assert found.detail in {"", "other"} | set(SCHEMES) | own_headers | WORDS


WORDS = {
    *(
        "compact",
        "spaced",
        "sorted",
        "indented",
        "form",
        "trimmed",
        "added",
        "to_crlf",
        "to_lf",
        "mark_added",
    ),
    *(
        "mark_removed",
        "compressed",
        "base64",
        "json_text",
        "scheme",
        "port",
        "slash",
        "query",
        "path",
        "host",
    ),
}


def test_findings_and_what_is_known_do_not_show_secrets() -> None:
    known = Known(
        scheme=SCHEMES["stripe"],
        secrets=["planted-1"],
        others={"a": (SCHEMES["stripe"], ["planted-2"])},
        more_secrets={"b": ["planted-3"]},
    )
    assert "planted" not in repr(known)


# Counting


class TestRefusals:
    def test_are_told_of_once_in_twenty(self) -> None:
        refusals = Refusals()
        told = [refusals.count("stripe") for _ in range(41)]
        assert [count for count in told if count] == [20, 40]
        assert told.index(20) == 19

    def test_in_a_row_end_with_a_verified_delivery_of_the_same_provider(self) -> None:
        refusals = Refusals()
        for _ in range(19):
            refusals.count("stripe")
        refusals.end("mux")
        assert refusals.count("stripe") == 20
        for _ in range(19):
            refusals.count("stripe")
        refusals.end("stripe")
        assert refusals.count("stripe") == 0

    def test_are_looked_into_ten_times_a_minute_and_provider(self) -> None:
        refusals = Refusals()
        looks = [refusals.may_look("stripe", NOW + timedelta(seconds=second)) for second in range(12)]
        assert looks == [True] * 10 + [False] * 2
        assert refusals.may_look("mux", NOW)
        assert not refusals.may_look("stripe", NOW + timedelta(seconds=59))
        assert refusals.may_look("stripe", NOW + timedelta(seconds=60))
        assert not refusals.may_look("stripe", NOW + timedelta(seconds=60))


def test_the_limits_of_the_answer_path_are_these() -> None:
    assert (ON_THE_WAY.tries, ON_THE_WAY.longest, ON_THE_WAY.bytes) == (128, 65_536, 524_288)


def test_a_keyless_hash_is_tried_like_others() -> None:
    delivery = replace(sent("hubspot_v1", b'{"a":1}'), body=b'{"a": 1}')
    expected = hashlib.sha256(SECRET.encode() + b'{"a":1}').hexdigest()
    assert delivery.headers["x-hubspot-signature"] == expected
    assert why("hubspot_v1", delivery) == ("body_rewritten", "compact")


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        ("svix", {"webhook-id": "e1", "webhook-timestamp": "1795435200", "webhook-signature": "v1,AAAA"}),
        ("docusign", {"x-docusign-signature-7": "AAAA"}),
    ],
)
def test_headers_under_another_of_their_names_are_not_missing(scheme: str, headers: dict[str, str]) -> None:
    assert list(SCHEMES[scheme].lacks(replace(sent("stripe", b"text"), headers=headers))) == []
    assert why(scheme, replace(sent("stripe", b"text"), headers=headers)) == ("wrong_secret", "")


def test_what_the_search_costs_can_be_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--rounds", "1"])
    bench.main()
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == list(bench.CASES)
    assert {line.split(" | ")[2] for line in lines} == {"wrong_secret", "nothing_found", "not_tried"}
