"""What each sender is answered when it makes sure whose address it has, and what strangers are not."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import NotVerified, OperatorError, Reason
from services.handshakes import HANDSHAKES
from services.models import Delivery
from services.providers.base import Handshaken
from services.signatures.catalogue import SCHEMES

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOSNIFF = {"X-Content-Type-Options": "nosniff"}


def asked(
    method: str, *, query: str = "", body: bytes | object = b"", headers: dict[str, str] | None = None
) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery(
        method=method,
        url=f"https://hooks.example/api/webhooks/x{'?' if query else ''}{query}",
        headers=headers or {},
        body=raw,
        received_at=NOW,
    )


def shaken(name: str, delivery: Delivery, *secrets: str) -> Handshaken | None:
    return HANDSHAKES[name].answer(delivery, secrets)


@dataclass(frozen=True)
class Example:
    """A request as the sender's documentation shows it, and the answer that it asks for."""

    request: Delivery
    secrets: tuple[str, ...] = ()
    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)


GUID = "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"
GRAPH_TOKEN = "Validation: Testing client application reachability for subscription Request-Id: 6c7f"
EXAMPLES = {
    "slack": Example(
        asked(
            "POST",
            body={
                "token": "Jhj5dZrVaK7ZwHHjRyZWjbDl",
                "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
                "type": "url_verification",
            },
        ),
        body=b"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
        headers=NOSNIFF,
    ),
    # printf qgg8vlvZRS6UYooatFL8Aw | openssl dgst -sha256 -hmac zoom-secret
    "zoom": Example(
        asked(
            "POST",
            body={
                "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"},
                "event_ts": 1654503849680,
                "event": "endpoint.url_validation",
            },
        ),
        secrets=("zoom-secret",),
        body=b'{"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": '
        b'"b17f0320a1322a509340a1a835b3d9edbc491f0b0790ed2d20d0604d39dfe922"}',
        content_type="application/json",
        headers=NOSNIFF,
    ),
    "meta": Example(
        asked("GET", query="hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock"),
        secrets=("other", "meatyhamhock"),
        body=b"1158201444",
        headers=NOSNIFF,
    ),
    # printf challenge_string | openssl dgst -sha256 -hmac x-consumer-secret -binary | base64
    "x_twitter": Example(
        asked("GET", query="crc_token=challenge_string"),
        secrets=("x-consumer-secret", "the-one-before"),
        body=b'{"response_token": "sha256=Mh91teySBWI4Mi/M5j5jgDFjp2IIQhy8AWNxU0NSqQc="}',
        content_type="application/json",
        headers=NOSNIFF,
    ),
    "msgraph": Example(
        asked("POST", query=f"a=b&validationToken={quote_plus(GRAPH_TOKEN)}"),
        body=GRAPH_TOKEN.encode(),
        headers=NOSNIFF,
    ),
    "msgraph, percent": Example(
        asked("POST", query="validationToken=100%2525%20sure%2Bsafe"),
        body=b"100%25 sure+safe",
        headers=NOSNIFF,
    ),
    "eventgrid": Example(
        asked(
            "POST",
            headers={"aeg-event-type": "SubscriptionValidation"},
            body=[
                {
                    "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66",
                    "topic": "/subscriptions/xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
                    "subject": "",
                    "data": {"validationCode": GUID, "validationUrl": "https://rp.eventgrid.azure.net:553/v"},
                    "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
                    "eventTime": "2022-10-28T04:23:35.1981776Z",
                    "metadataVersion": "1",
                    "dataVersion": "1",
                }
            ],
        ),
        body=b'{"validationResponse": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}',
        content_type="application/json",
        headers=NOSNIFF,
    ),
    "eventgrid, CloudEvents": Example(
        asked(
            "OPTIONS",
            headers={"webhook-request-origin": "eventgrid.azure.net", "webhook-request-rate": "120"},
        ),
        headers={
            "Allow": "POST",
            "WebHook-Allowed-Origin": "eventgrid.azure.net",
            "WebHook-Allowed-Rate": "*",
        },
    ),
    "dropbox": Example(asked("GET", query="challenge=abc123"), body=b"abc123", headers=NOSNIFF),
    "nylas": Example(asked("GET", query="challenge=bc5-_.~xyz"), body=b"bc5-_.~xyz", headers=NOSNIFF),
    "xero": Example(
        asked(
            "POST",
            body={
                "events": [],
                "lastEventSequence": 0,
                "firstEventSequence": 0,
                "entropy": "S0m3r4Nd0mt3xt",
            },
        )
    ),
    "notion": Example(asked("POST", body={"verification_token": "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce"})),
    "asana": Example(
        asked("POST", headers={"x-hook-secret": "b537207f20cbfa02357cf448134da559e8bd39d6"}),
        headers={"X-Hook-Secret": "b537207f20cbfa02357cf448134da559e8bd39d6"},
    ),
    "trello": Example(asked("HEAD")),
    "intercom": Example(asked("HEAD")),
    "discord": Example(
        asked("POST", body={"application_id": "1", "id": "2", "type": 1, "version": 1}),
        body=b'{"type": 1}',
        content_type="application/json",
        headers=NOSNIFF,
    ),
    "discord, events": Example(
        asked("POST", body={"version": 1, "application_id": "1", "type": 0}),
        status=204,
        content_type="application/json",
    ),
    "aws_sns": Example(
        asked(
            "POST",
            body={
                "Type": "SubscriptionConfirmation",
                "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336",
            },
        )
    ),
    "aws_sns, unsubscribed": Example(asked("POST", body={"Type": "UnsubscribeConfirmation"})),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_documented_request_gets_the_documented_answer(name: str) -> None:
    example = EXAMPLES[name]
    found = shaken(name.partition(",")[0], example.request, *example.secrets)
    assert found is not None
    answer = found.answer
    assert (answer.status, answer.body, answer.content_type) == (
        example.status,
        example.body,
        example.content_type,
    )
    assert dict(answer.headers) == example.headers
    assert example.request.method in HANDSHAKES[name.partition(",")[0]].methods


def test_each_handshake_has_an_example_and_the_name_of_a_scheme() -> None:
    assert {name.partition(",")[0] for name in EXAMPLES} == set(HANDSHAKES)
    assert set(HANDSHAKES) - set(SCHEMES) == {"eventgrid"}


def test_which_handshakes_are_signed_like_callbacks() -> None:
    assert {name for name, one in HANDSHAKES.items() if one.signed} == {
        "slack",
        "zoom",
        "xero",
        "discord",
        "aws_sns",
    }


class TestZoom:
    def test_is_answered_with_the_secret_that_its_request_is_signed_with(self) -> None:
        bare = EXAMPLES["zoom"].request
        signed = SCHEMES["zoom"].sign(bare, "zoom-secret", NOW)
        found = shaken("zoom", signed, "newer-secret", "zoom-secret")
        assert found is not None
        assert found.answer.body == EXAMPLES["zoom"].body

    @pytest.mark.parametrize("secret", ["", " blank"])
    def test_a_secret_that_cannot_be_used_does_not_stand_in_the_way(self, secret: str) -> None:
        signed = SCHEMES["zoom"].sign(EXAMPLES["zoom"].request, "zoom-secret", NOW)
        found = shaken("zoom", signed, secret, "zoom-secret")
        assert found is not None
        assert found.answer.body == EXAMPLES["zoom"].body

    @pytest.mark.parametrize("text", ["v0:1654503849:{}", "v0", {"a": 1}, None, 5, "", "a" * 257, "a b"])
    def test_signs_nothing_that_could_pass_as_a_callback(self, text: object) -> None:
        body = {"event": "endpoint.url_validation", "payload": {"plainToken": text}}
        found = shaken("zoom", asked("POST", body=body), "zoom-secret")
        assert (found is None) == (text != "v0")


class TestX:
    @pytest.mark.parametrize(
        "query",
        [
            "",
            "crc_token=",
            'crc_token={"tweet_create_events":[]}',
            "crc_token=%7B%22a%22%3A1%7D",
            "crc_token=a%26b",
            "crc_token=status=done",
            "crc_token=" + "a" * 257,
            "crc_token=a&crc_token=b",
            "crc_token=%ff",
            "crc_token=\udcff",
        ],
        ids=[
            "none",
            "empty",
            "json",
            "escaped json",
            "form",
            "field",
            "long",
            "twice",
            "odd",
            "surrogate",
        ],
    )
    def test_signs_nothing_that_could_pass_as_a_callback(self, query: str) -> None:
        assert shaken("x_twitter", asked("GET", query=query), "x-consumer-secret") is None

    @pytest.mark.parametrize("body", [b"n1", b"challenge_string", b"12345", b"null", b"a" * 256 + b"=="])
    def test_takes_no_callback_that_could_pass_as_a_token(self, body: bytes) -> None:
        with pytest.raises(NotVerified) as refused:
            shaken("x_twitter", asked("POST", body=body), "x-consumer-secret")
        assert refused.value.reason is Reason.WRONG_BODY

    @pytest.mark.parametrize("body", [b"{}", b'{"for_user_id":"1"}', b"", b"a" * 259, b"n1\n", b"\xff"])
    def test_takes_every_other_callback_for_no_handshake(self, body: bytes) -> None:
        request = asked("POST", query="crc_token=challenge_string", body=body)
        assert shaken("x_twitter", request, "x-consumer-secret") is None

    @pytest.mark.parametrize("secrets", [(), ("",), (" ",)])
    def test_an_empty_secret_is_the_operators_to_mend(self, secrets: tuple[str, ...]) -> None:
        with pytest.raises(OperatorError):
            shaken("x_twitter", EXAMPLES["x_twitter"].request, *secrets)


class TestMeta:
    @pytest.mark.parametrize(
        "given", ["", "meatyhamhoc", "MEATYHAMHOCK", "%FF", "\udcff", "a&hub.verify_token=b"]
    )
    def test_with_another_verify_token_is_refused(self, given: str) -> None:
        query = f"hub.mode=subscribe&hub.challenge=1&hub.verify_token={given}"
        if given.startswith("a&"):  # a name that stands twice has no value
            assert shaken("meta", asked("GET", query=query), "meatyhamhock") is None
            return
        with pytest.raises(NotVerified) as refused:
            shaken("meta", asked("GET", query=query), "meatyhamhock")
        assert refused.value.reason is Reason.WRONG_TOKEN

    @pytest.mark.parametrize(
        ("given", "secret"),
        [("a\udcffb", "a?b"), ("a\udcffb", "ab"), ("a\udcffb", r"a\udcffb"), ("a\udcc3\udca9b", "aéb")],
        ids=["question mark", "nothing", "escape", "bytes"],
    )
    def test_half_a_surrogate_pair_stands_for_nothing_else(self, given: str, secret: str) -> None:
        query = f"hub.mode=subscribe&hub.challenge=1&hub.verify_token={given}"
        with pytest.raises(NotVerified) as refused:
            shaken("meta", asked("GET", query=query), secret)
        assert refused.value.reason is Reason.WRONG_TOKEN

    def test_of_another_mode_is_none(self) -> None:
        query = "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=meatyhamhock"
        assert shaken("meta", asked("GET", query=query), "meatyhamhock") is None

    def test_an_empty_verify_token_is_no_way_in(self) -> None:
        query = "hub.mode=subscribe&hub.challenge=1&hub.verify_token="
        with pytest.raises(OperatorError):
            shaken("meta", asked("GET", query=query), "")


MARKUP = ["<script>", "a<b", "a>b", 'a"b', "a'b", "a&b", "a`b", "a\nb", "a\x00b", "\x7f", "käse", "\u2028"]


@pytest.mark.parametrize("text", [*MARKUP, "", "a" * 1025])
def test_graph_gets_back_nothing_that_a_browser_could_run(text: str) -> None:
    query = f"validationToken={quote(text)}"
    assert shaken("msgraph", asked("POST", query=query)) is None


@pytest.mark.parametrize("text", [*MARKUP, "a b", "a:b", "{}", "", "a" * 257, "a===", "=a"])
def test_nothing_but_a_short_plain_token_is_reflected(text: str) -> None:
    event = [{"data": {"validationCode": text}}]
    for name, request in {
        "slack": asked("POST", body={"type": "url_verification", "challenge": text}),
        "meta": asked("GET", query=f"hub.mode=subscribe&hub.verify_token=t&hub.challenge={quote(text)}"),
        "dropbox": asked("GET", query=f"challenge={quote(text)}"),
        "eventgrid": asked("POST", headers={"aeg-event-type": "SubscriptionValidation"}, body=event),
        "asana": asked("POST", headers={"x-hook-secret": text}),
        "notion": asked("POST", body={"verification_token": text}),
    }.items():
        assert shaken(name, request, "t") is None, name


@pytest.mark.parametrize("origin", ["", "a b", "a\r\nx: y", "a/b", "*", "a" * 254, "\udcff"])
def test_a_cloudevents_origin_that_is_no_dns_name_is_not_allowed(origin: str) -> None:
    request = asked("OPTIONS", headers={"webhook-request-origin": origin})
    assert shaken("eventgrid", request) is None


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, [{"data": {"validationCode": GUID}}]),
        ({"aeg-event-type": "Notification"}, [{"data": {"validationCode": GUID}}]),
        ({"aeg-event-type": "SubscriptionValidation"}, []),
        ({"aeg-event-type": "SubscriptionValidation"}, [{"data": {"validationCode": GUID}}, {}]),
        ({"aeg-event-type": "SubscriptionValidation"}, {"data": {"validationCode": GUID}}),
        ({"aeg-event-type": "SubscriptionValidation"}, b'[{"data":{"validationCode":"a"}}],"events":[]'),
        ({"aeg-event-type": "SubscriptionValidation"}, [{"data": [GUID]}]),
        ({"aeg-event-type": "SubscriptionValidation"}, [5]),
    ],
    ids=["no header", "other event", "none", "two", "no list", "trick", "odd data", "number"],
)
def test_any_other_event_grid_request_is_no_handshake(headers: dict[str, str], body: object) -> None:
    assert shaken("eventgrid", asked("POST", headers=headers, body=body)) is None


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("slack", asked("POST", body={"type": "event_callback", "challenge": "abc"})),
        ("zoom", asked("POST", body={"event": "meeting.started", "payload": {"plainToken": "a"}})),
        ("xero", asked("POST", body={"events": [{}], "entropy": "a"})),
        ("xero", asked("POST", body={"events": []})),
        ("discord", asked("POST", body={"type": 1, "event": {"type": "ENTITLEMENT_CREATE"}})),
        ("discord", asked("POST", body={"type": 0, "event": {}})),
        ("discord", asked("POST", body={"type": 2})),
        (
            "aws_sns",
            asked(
                "POST",
                body={
                    "Type": "Notification",
                    "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=1",
                },
            ),
        ),
        (
            "notion",
            asked("POST", body={"verification_token": "a"}, headers={"x-notion-signature": "sha256=00"}),
        ),
    ],
)
def test_a_callback_is_no_handshake(name: str, request_: Delivery) -> None:
    assert shaken(name, request_, "zoom-secret") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=1",
        "https://sns.us-west-2.amazonaws.com.evil.example/?Action=ConfirmSubscription&Token=1",
        "https://evil.example/sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=1",
        "https://user@sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=1",
        "https://sns.us-west-2.amazonaws.com:444/?Action=ConfirmSubscription&Token=1",
        "https://sns.s3-us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=1",
        "https://s3.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=1",
        "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe&Token=1",
        "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=1 x",
        "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=" + "1" * 2049,
        "",
        None,
        ["https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=1"],
    ],
)
def test_a_subscription_is_confirmed_at_amazons_own_hosts_only(url: object) -> None:
    body = {"Type": "SubscriptionConfirmation", "SubscribeURL": url}
    assert shaken("aws_sns", asked("POST", body=body)) is None


@pytest.mark.parametrize("region", ["us-west-2", "us-gov-east-1", "cn-north-1", "ap-southeast-1"])
def test_a_subscription_is_confirmed_by_the_address_that_amazon_gives(region: str) -> None:
    china = ".cn" if region.startswith("cn") else ""
    url = f"https://sns.{region}.amazonaws.com{china}/?Action=ConfirmSubscription&TopicArn=a&Token=1"
    found = shaken("aws_sns", asked("POST", body={"Type": "SubscriptionConfirmation", "SubscribeURL": url}))
    assert found is not None
    assert found.confirm is not None
    assert (found.confirm.method, found.confirm.url, found.step) == ("GET", url, None)


def test_an_unsubscription_is_the_operators_to_know_and_is_not_undone() -> None:
    found = shaken("aws_sns", EXAMPLES["aws_sns, unsubscribed"].request)
    assert found is not None
    assert found.confirm is None
    assert found.step == "Amazon SNS has unsubscribed this address: if you did not, subscribe it again"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("notion", "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce"),
        ("asana", "b537207f20cbfa02357cf448134da559e8bd39d6"),
    ],
)
def test_a_secret_that_is_handed_over_is_shown_by_no_repr_and_no_step(name: str, secret: str) -> None:
    found = shaken(name, EXAMPLES[name].request)
    assert found is not None
    assert found.handed_over == secret
    assert HANDSHAKES[name].hands_over
    assert found.step is not None
    assert secret not in found.step
    assert secret not in repr(found)


@pytest.mark.parametrize("name", HANDSHAKES)
@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"null\n", b"[]", b"{" * 100_000, b'{"type":1,"type":2}', b'{"a":' + b"9" * 5000 + b"}"],
    ids=["empty", "no UTF-8", "null", "list", "deep", "twice", "digits"],
)
def test_any_body_is_a_handshake_or_none(name: str, body: bytes) -> None:
    handshake = HANDSHAKES[name]
    for method in handshake.methods - {"HEAD"}:
        request = asked(method, body=body, headers={"aeg-event-type": "SubscriptionValidation"})
        assert handshake.answer(request, ["secret"]) is None


def test_a_body_longer_than_a_handshake_is_not_even_parsed() -> None:
    body = {"type": "url_verification", "challenge": "abc", "more": "x" * 8192}
    assert shaken("slack", asked("POST", body=body)) is None


@pytest.mark.parametrize("name", HANDSHAKES)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]),
    query=st.text(max_size=60),
    body=st.binary(max_size=60),
    value=st.text(max_size=60),
)
def test_whatever_is_sent_it_is_answered_or_none_or_not_verified(
    name: str, method: str, query: str, body: bytes, value: str
) -> None:
    headers = {"x-hook-secret": value, "webhook-request-origin": value, "aeg-event-type": value}
    try:
        found = HANDSHAKES[name].answer(asked(method, query=query, body=body, headers=headers), ["secret"])
    except NotVerified:
        return
    if found is not None:
        for text in found.answer.headers.values():
            assert text.isprintable()
        assert b"<" not in found.answer.body
