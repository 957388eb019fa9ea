"""Static tokens: in a header, as Basic credentials, and in each object of a list."""

from dataclasses import replace

import pytest

from services.errors import NotVerified, OperatorError
from services.signatures.catalogue import STATICS
from services.signatures.statics import HeaderToken
from tests.unit.signatures.samples import NOW, SAMPLES, request

GITLAB, BASIC, GRAPH = STATICS["gitlab_token"], STATICS["deepgram_basic"], STATICS["msgraph"]
CREDENTIALS = SAMPLES["deepgram_basic"].secret


def test_a_lone_surrogate_is_no_question_mark() -> None:
    with pytest.raises(NotVerified):
        GITLAB.verify(request(b"{}", {"x-gitlab-token": "who\ud800"}), ["who?"], NOW)


def test_the_header_is_the_callers_choice() -> None:
    chosen = HeaderToken(signature_header="x-secret-of-ours")
    chosen.verify(request(b"{}", {"x-secret-of-ours": "a,b"}), ["a,b"], NOW)
    assert chosen.sign(request(b"{}"), "a,b", NOW).headers == {"x-secret-of-ours": "a,b"}


@pytest.mark.parametrize(
    "value",
    [
        "basic aG9va3M6cEBzczp3w7ZyZA==",
        "BASIC   aG9va3M6cEBzczp3w7ZyZA==",
        "Basic aG9va3M6cEBzczp3w7ZyZA",
    ],
    ids=["lower-case", "blanks", "unpadded"],
)
def test_credentials_are_accepted_however_they_are_written(value: str) -> None:
    BASIC.verify(request(b"{}", {"authorization": value}), [CREDENTIALS], NOW)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("Bearer aG9va3M6cEBzczp3w7ZyZA==", "malformed_signature"),
        ("aG9va3M6cEBzczp3w7ZyZA==", "malformed_signature"),
        ("Basic", "wrong_signature"),
        ("Basic aG9va3M6b2xk", "wrong_signature"),
        ("Basic hooks:p@ss:wörd", "wrong_signature"),
        ("Basic aG9va3M6cEBzczp3w7ZyZA== x", "wrong_signature"),
        ("Basic aG9va3M6cEBzczp3w7ZyZB==", "wrong_signature"),
    ],
    ids=["bearer", "bare", "none", "other", "plain", "more", "odd-bits"],
)
def test_other_credentials_are_refused(value: str, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        BASIC.verify(request(b"{}", {"authorization": value}), [CREDENTIALS], NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("secret", "token"),
    [("hooks:p:", "aG9va3M6cDo="), ("_svc:pw", "X3N2Yzpwdw==")],
    ids=["a-colon-at-the-end", "a-token-that-starts-with-x"],
)
def test_a_password_may_have_colons_and_a_token_any_letter(secret: str, token: str) -> None:
    BASIC.verify(request(b"{}", {"authorization": f"Basic {token}"}), [secret], NOW)


@pytest.mark.parametrize("secret", ["hooks", "hooks:", ":password", ":"])
def test_credentials_without_user_or_password_are_the_operators(secret: str) -> None:
    with pytest.raises(OperatorError, match="USER:PASSWORD"):
        BASIC.verify(SAMPLES["deepgram_basic"].delivery, [secret], NOW)
    with pytest.raises(OperatorError, match="USER:PASSWORD"):
        BASIC.sign(request(b"{}"), secret, NOW)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"value":[{"clientState":"state"},{"clientState":"other"}]}', "wrong_signature"),
        (b'{"value":[{"clientState":"other"},{"clientState":"state"}]}', "wrong_signature"),
        (b'{"value":[{"clientState":"state"},{}]}', "no_signature"),
        (b'{"value":[{"clientState":"state"},{"clientState":""}]}', "no_signature"),
        (b'{"value":[{"clientState":["state"]}]}', "malformed_signature"),
        (b'{"value":[{"clientState":"state"},"state"]}', "malformed_signature"),
        (b'{"value":[{"ClientState":"state"}]}', "no_signature"),
        (b'{"value":{"clientState":"state"}}', "no_signature"),
        (b'{"value":[],"clientState":"state"}', "no_signature"),
        (b"{}", "no_signature"),
        (b"[]", "malformed_signature"),
        (b"", "malformed_signature"),
        (b'{"value":[{"clientState":"other","clientState":"state"}]}', "malformed_signature"),
    ],
    ids=[
        "last-other",
        "first-other",
        "last-none",
        "last-empty",
        "list",
        "text",
        "case",
        "object",
        "empty",
        "none",
        "no-object",
        "no-body",
        "twice",
    ],
)
def test_every_notification_must_carry_the_state(body: bytes, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        GRAPH.verify(request(body), ["state"], NOW)
    assert refused.value.reason == reason


def test_notifications_of_two_subscriptions_may_carry_two_states() -> None:
    body = b'{"value":[{"clientState":"one"},{"clientState":"two"}]}'
    GRAPH.verify(request(body), ["one", "two"], NOW)
    with pytest.raises(NotVerified):
        GRAPH.verify(request(body), ["one"], NOW)


def test_signing_puts_the_state_into_every_notification() -> None:
    unsigned = request(b'{"value":[{"id":"1"},{"id":"2","clientState":"old"}]}')
    signed = GRAPH.sign(unsigned, "new", NOW)
    assert signed.body.count(b'"clientState": "new"') == 2
    assert signed.headers["content-type"] == "application/json"
    with pytest.raises(NotVerified):
        GRAPH.sign(replace(unsigned, body=b"{}"), "new", NOW)


def test_signing_sends_credentials_as_basic() -> None:
    signed = BASIC.sign(request(b"{}"), CREDENTIALS, NOW)
    assert signed.headers["authorization"] == "Basic aG9va3M6cEBzczp3w7ZyZA=="
