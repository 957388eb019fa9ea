"""What holds for each scheme that signs elsewhere than in one header, and for each static token."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import NotVerified, OperatorError, Reason
from services.models import Delivery
from services.signatures.catalogue import SCHEMES
from tests.unit.signatures.samples import NOW, SAMPLES, with_header

each_scheme = pytest.mark.parametrize("name", SAMPLES)


def refusal(name: str, delivery: Delivery, secrets: Sequence[str] | None = None) -> Reason:
    with pytest.raises(NotVerified) as refused:
        SCHEMES[name].verify(delivery, secrets or [SAMPLES[name].secret], NOW)
    return refused.value.reason


def resigned(name: str, secret: str) -> Delivery:
    return SCHEMES[name].sign(SAMPLES[name].delivery, secret, NOW)


@each_scheme
def test_what_the_official_library_signed_is_verified(name: str) -> None:
    SCHEMES[name].verify(SAMPLES[name].delivery, [SAMPLES[name].secret], NOW)


@each_scheme
def test_what_it_signs_it_verifies_and_may_sign_again(name: str) -> None:
    signed = resigned(name, SAMPLES[name].secret)
    again = SCHEMES[name].sign(signed, SAMPLES[name].secret, NOW)
    SCHEMES[name].verify(signed, [SAMPLES[name].secret], NOW)
    SCHEMES[name].verify(again, [SAMPLES[name].secret], NOW)


@each_scheme
def test_a_body_of_another_length_is_sent_with_its_own(name: str) -> None:
    long = with_header(SAMPLES[name].delivery, "content-length", "99999")
    signed = SCHEMES[name].sign(long, SAMPLES[name].secret, NOW)
    assert signed.headers["content-length"] in {"99999", str(len(signed.body))}
    assert (signed.headers["content-length"] == "99999") == (signed.body == long.body)


@each_scheme
def test_either_of_two_secrets_verifies_and_a_retired_one_no_more(name: str) -> None:
    sample, old = SAMPLES[name], resigned(name, SAMPLES[name].retired)
    SCHEMES[name].verify(old, [sample.secret, sample.retired], NOW)
    SCHEMES[name].verify(sample.delivery, [sample.retired, sample.secret], NOW)
    assert refusal(name, old) == "wrong_signature"
    assert refusal(name, sample.delivery, [sample.retired]) == "wrong_signature"


@each_scheme
@pytest.mark.parametrize(
    "form", ["", " ", " {}", "{}\n"], ids=["empty", "blank", "blank-before", "line-end-after"]
)
def test_without_a_usable_secret_the_operator_must_act(name: str, form: str) -> None:
    secret = form.format(SAMPLES[name].secret)
    for delivery in (SAMPLES[name].delivery, replace(SAMPLES[name].delivery, headers={}, body=b"")):
        for secrets in ([], [secret], [secret, "\ud800"]):
            with pytest.raises(OperatorError):
                SCHEMES[name].verify(delivery, secrets, NOW)
    with pytest.raises(OperatorError):
        SCHEMES[name].sign(SAMPLES[name].delivery, secret, NOW)


@each_scheme
def test_a_spoilt_secret_beside_a_good_one_loses_nothing_and_lets_nothing_in(name: str) -> None:
    sample = SAMPLES[name]
    SCHEMES[name].verify(sample.delivery, ["", sample.secret], NOW)
    SCHEMES[name].verify(sample.delivery, [sample.secret, ""], NOW)
    with pytest.raises(OperatorError):
        SCHEMES[name].verify(resigned(name, sample.retired), ["", sample.secret], NOW)


@each_scheme
def test_without_headers_and_body_nothing_is_signed(name: str) -> None:
    refusal(name, replace(SAMPLES[name].delivery, headers={}, body=b""))


HOSTILE_BODIES = {
    "nul": b"\x00",
    "no-utf-8": b"\xff\xfe\xfd",
    "half-a-character": b'{"a":"\\ud800"}',
    "nested": b'{"value":' + b"[" * 100_000,
    "nested-objects": b'{"a":' * 100_000,
    "400-digits": b'{"timestamp":' + b"9" * 400 + b"}",
    "5000-digits": b'{"timestamp":' + b"9" * 5000 + b"}",
    "name-twice": b'{"value":[],"value":[]}',
    "infinite": b'{"a":1e999}',
    "not-a-number": b'{"a":NaN}',
    "megabyte-of-fields": b"&" * 1_000_000,
    "megabyte-of-escapes": b"%00" * 300_000,
    "boundaries": b"--XYZ\r\n" * 100_000,
    "broken-boundaries": b"--XYZ\r\n\r\n" + b"\r\n--XYZ-" * 100_000,
    "parts": b'--XYZ\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 15_000,
    "part-headers": b"--XYZ\r\n" + b"a: b\r\n" * 150_000,
    "list": b"[]",
    "text": b'"signature"',
    "null": b"null",
}


@each_scheme
@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES.keys())
@pytest.mark.timeout(10)
def test_a_hostile_body_is_refused_and_nothing_else(name: str, body: bytes) -> None:
    if name in {"gitlab_token", "assemblyai", "deepgram_basic"}:
        SCHEMES[name].verify(replace(SAMPLES[name].delivery, body=body), [SAMPLES[name].secret], NOW)
    else:
        refusal(name, replace(SAMPLES[name].delivery, body=body))


HOSTILE_TEXTS = {
    "empty": "",
    "comma": ",",
    "nul": "\x00",
    "surrogate": "\ud800",
    "beyond-ascii": "ä ö=ü",
    "other-digits": "t=١٢٣&s=٤٥٦",
    "400-digits": "9" * 400,
    "400-digits-in-t": "t=" + "9" * 400 + "&s=00",
    "negative": "-1",
    "fraction": "1.5",
    "megabyte": "a=" * 500_000,
    "basic": "Basic",
    "no-boundary": "multipart/form-data",
    "empty-boundary": "multipart/form-data; boundary=",
    "long-boundary": "multipart/form-data; boundary=" + "b" * 300,
    "surrogate-boundary": "multipart/form-data; boundary=\ud800",
    "semicolons": "multipart/form-data;" + ';"' * 4000,
}
SETTINGS = "x-twilio-webhooks-signature-settings"
OWN_HEADERS = {
    "twilio_form": ["x-twilio-signature"],
    "twilio_json": ["x-twilio-signature"],
    "twilio_sharedkey": ["x-twilio-signature", SETTINGS],
    "dropbox_sign": ["content-type"],
    "transloadit": ["content-type"],
    "inngest": ["x-inngest-signature"],
    "contentful": ["x-contentful-signature", "x-contentful-signed-headers", "x-contentful-timestamp"],
    "gitlab_token": ["x-gitlab-token"],
    "assemblyai": ["x-my-webhook-secret"],
    "deepgram_basic": ["authorization"],
}
EACH_HEADER = [(name, header) for name, headers in OWN_HEADERS.items() for header in headers]


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
@pytest.mark.timeout(10)
def test_a_hostile_header_is_refused_and_nothing_else(name: str, header: str, text: str) -> None:
    refusal(name, with_header(SAMPLES[name].delivery, header, text))


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
def test_a_missing_header_is_refused(name: str, header: str) -> None:
    reason = {"x-contentful-timestamp": "no_timestamp", SETTINGS: "wrong_algorithm"}
    without = with_header(SAMPLES[name].delivery, header, None)
    assert refusal(name, without) == reason.get(header, "no_signature")


@pytest.mark.parametrize(
    ("name", "header"), [(name, header) for name, header in EACH_HEADER if header != "content-type"]
)
@pytest.mark.parametrize("joint", [",", ", "], ids=["comma", "comma-blank"])
def test_a_header_that_came_twice_is_refused(name: str, header: str, joint: str) -> None:
    value = SAMPLES[name].delivery.headers[header]
    refusal(name, with_header(SAMPLES[name].delivery, header, f"{value}{joint}{value}"))


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
def test_every_character_of_a_header_counts(name: str, header: str) -> None:
    value = SAMPLES[name].delivery.headers[header]
    if name == "twilio_sharedkey" and header.endswith("settings"):
        value = value.partition(",")[2]  # the key's name is not looked at
    for place, old in enumerate(value):
        changed = value[:place] + ("1" if old != "1" else "2") + value[place + 1 :]
        refusal(name, with_header(SAMPLES[name].delivery, header, changed))


@each_scheme
@pytest.mark.parametrize(
    "url",
    [
        "",
        "\ud800",
        "https://x/?\ud800",
        "https://x/?" + "&a" * 500_000,
        "a" * 1_000_000,
        "https://" + "@" * 500_000,
        "https://[::1",
        "https://x:99999999/",
        "://?",
    ],
    ids=["empty", "surrogate", "query", "fields", "megabyte", "users", "bracket", "port", "signs"],
)
@pytest.mark.timeout(10)
def test_a_hostile_address_causes_no_other_error(name: str, url: str) -> None:
    delivery = replace(SAMPLES[name].delivery, url=url)
    if name.startswith("twilio") or name == "contentful":
        refusal(name, delivery)
    else:
        SCHEMES[name].verify(delivery, [SAMPLES[name].secret], NOW)


@each_scheme
@given(data=st.data())
def test_whatever_comes_it_is_not_verified_and_nothing_else(name: str, data: st.DataObject) -> None:
    texts = st.one_of(
        st.text(st.characters(codec=None), max_size=60),
        st.from_regex(r"\At=[0-9]{1,20}&s=[0-9a-f]{0,64}\Z"),
        st.sampled_from([*HOSTILE_TEXTS.values(), "multipart/form-data; boundary=b", "Basic YTpi"]),
    )
    bodies = st.one_of(
        st.binary(max_size=80),
        st.sampled_from(["signature", "value", "json", "bt_payload", "transloadit", "notificationItems"]).map(
            lambda member: f'{{"{member}":[{{"clientState":1}}],"event":0}}'.encode()
        ),
        st.from_regex(rb"\A--b\r\n[a-zA-Z:;= \r\n\"-]{0,60}\r\n--b--\Z"),
        st.from_regex(rb"\A(signature|transloadit|json|bt_signature|bt_payload)=[a-z|%0-9]{0,20}\Z"),
    )
    names = [*OWN_HEADERS.get(name, ["content-type"]), "content-type"]
    headers = {one: data.draw(texts) for one in names}
    url = data.draw(st.one_of(st.just("https://x.example/"), st.text(st.characters(codec=None), max_size=40)))
    refusal(name, replace(SAMPLES[name].delivery, headers=headers, body=data.draw(bodies), url=url))


@each_scheme
def test_a_repeated_delivery_has_the_same_name_and_another_event_another_one(name: str) -> None:
    sample, scheme = SAMPLES[name].delivery, SCHEMES[name]
    other = {
        b"Digits=1234": b"Digits=1235",
        b"true}": b"false}",
        b"a8ce0edb": b"b8ce0edb",
        b"1130": b"1131",
        b"signature_request_sent": b"signature_request_done",
        b"PG5v": b"PG6v",
        b"a1": b"a2",
        b"01H": b"01J",
        b"e1": b"e2",
        b"push": b"tag",
        b"completed": b"error",
        b"r1": b"r2",
        b"n2": b"n3",
    }
    changes = [(old, new) for old, new in other.items() if old in sample.body]
    assert changes
    changed = replace(sample, body=sample.body.replace(*changes[0]))
    if name == "twilio_json":
        changed = scheme.sign(changed, SAMPLES[name].secret, NOW)
    assert scheme.event_id(sample) == scheme.event_id(replace(sample, received_at=NOW + timedelta(hours=1)))
    assert scheme.event_id(sample) != scheme.event_id(changed)


@pytest.mark.parametrize(
    ("name", "weak"),
    [
        ("twilio_form", False),
        ("twilio_json", False),
        ("twilio_sharedkey", False),
        ("mailgun", True),
        ("adyen_payments", True),
        ("dropbox_sign", True),
        ("braintree", False),
        ("transloadit", False),
        ("inngest", False),
        ("contentful", False),
        ("gitlab_token", True),
        ("assemblyai", True),
        ("deepgram_basic", True),
        ("msgraph", True),
    ],
)
def test_our_token_is_asked_for_where_a_signature_leaves_the_event_open(name: str, weak: bool) -> None:
    assert SCHEMES[name].binds_nothing == weak
    assert SCHEMES[name].key_source is None
