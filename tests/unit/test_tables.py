"""docs/providers.md, which is made from the code."""

import pytest

from dev.process import ROOT
from dev.tables import document, providers_table, scheme_addresses, schemes_table
from services.providers import BUILT_IN
from services.signatures.catalogue import SCHEMES


def cells(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    return line.removeprefix("| ").removesuffix(" |").split(" | ")


def test_the_page_says_what_the_code_says() -> None:
    made = document()
    assert (ROOT / "docs/providers.md").read_text() == made, (
        "run: python -m dev providers > docs/providers.md"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "apify",
            [
                *["`apify`", "`run`", "webhook", "-", "one a job, with our token", "its address", "no"],
                *["after 10 min, then up to 1 h", "yes", "30 s", "32 h", "no"],
                "[documentation](https://docs.apify.com/api/v2/actors-runs-post)",
            ],
        ),
        (
            "onfido",
            [
                *["`onfido`", "`workflow_run`", "webhook", "`onfido`", "one for the account", "our id", "no"],
                *["after 10 min, then up to 1 h", "no", "10 s", "not said", "no"],
                "[documentation](https://documentation.onfido.com/api/latest/)",
            ],
        ),
        (
            "weather",
            [
                *["`weather`", "`forecast`", "the answer", "-", "-", "-", "yes", "no", "no", "-", "-", "-"],
                "[documentation](https://open-meteo.com/en/docs)",
            ],
        ),
    ],
    ids=["no-signature", "account", "immediate"],
)
def test_a_provider_is_described_by_what_it_declares(name: str, expected: list[str]) -> None:
    assert cells(providers_table(), name) == expected


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("stripe", 1, "`payment`, `report`"),
        ("stripe", 8, "`payment` yes, `report` no"),
        ("stripe", 10, "3 d"),
        ("replicate", 3, "`replicate`"),
        ("github", 5, "their id"),
        ("paypal", 4, "one for the account, with our token"),
        ("elevenlabs", 10, "never"),
    ],
)
def test_each_fact_has_its_word(name: str, column: int, expected: str) -> None:
    assert cells(providers_table(), name)[column] == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "slack",
            [
                *["`slack`", "HMAC, SHA-256", "`x-slack-signature`", "`v0:{timestamp}:{body}`"],
                *["5 min / 5 min", "-", "yes"],
                "[documentation](https://docs.slack.dev/authentication/verifying-requests-from-slack/)",
            ],
        ),
        (
            "stripe",
            [
                *["`stripe`", "HMAC, SHA-256", "`stripe-signature`", "`{timestamp}.{body}`"],
                *["5 min / 5 min", "-", "-"],
                "[documentation](https://docs.stripe.com/webhooks?verify=verify-manually#verify-manually)",
            ],
        ),
        (
            "plaid",
            [
                *["`plaid`", "JWT, ES256, key fetched", "`plaid-verification`", "the body's hash"],
                *["5 min / 5 min", "needed", "-"],
                "[documentation](https://plaid.com/docs/api/webhooks/webhook-verification/)",
            ],
        ),
        (
            "gitlab_token",
            [
                *["`gitlab_token`", "the secret itself", "`x-gitlab-token`", "nothing", "-", "needed", "-"],
                "[documentation](https://docs.gitlab.com/user/project/integrations/webhooks/)",
            ],
        ),
    ],
    ids=["hmac", "constant", "token", "secret"],
)
def test_a_scheme_is_described_by_what_it_declares(name: str, expected: list[str]) -> None:
    assert cells(schemes_table(), name) == expected


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("github", 4, "-"),
        ("linear", 4, "1 min / 1 min"),
        ("box", 4, "10 min / 0 s"),
        ("qstash", 4, "as the token says"),
        ("mailgun", 4, "15 min / 5 min"),
        ("dropbox_sign", 4, "-"),
        ("aws_sns", 4, "65 min / 5 min"),
        ("hubspot_v1", 1, "SHA-256"),
        ("discord", 1, "Ed25519"),
        ("aws_sns", 1, "RSA, with a certificate, key fetched"),
        ("qstash", 3, "the body's hash and the address"),
        ("twilio_json", 3, "the address and the body's hash"),
        ("mailgun", 3, "a timestamp and a random token, and nothing of the event"),
        ("notion", 6, "hands over the secret"),
    ],
)
def test_each_property_of_a_scheme_has_its_word(name: str, column: int, expected: str) -> None:
    assert cells(schemes_table(), name)[column] == expected


def test_every_provider_and_every_scheme_has_one_line() -> None:
    assert len(providers_table().splitlines()) == len(BUILT_IN) + 2
    assert len(schemes_table().splitlines()) == len(SCHEMES) + 2


def test_a_scheme_s_documentation_is_the_address_above_it() -> None:
    source = """
# https://one.example/docs: and why
ONE = Hmac(
    signature_header="x",
)
MANY = {
    "one": ONE,
    # https://two.example/docs
    "two": ONE,
    # Something else that is to be said:
    # https://three.example
    "three": Hmac(),
    "four": Hmac(),
}
"""
    assert scheme_addresses(source) == {
        "one": "https://one.example/docs",
        "two": "https://two.example/docs",
        "three": "https://three.example",
        "four": "https://three.example",
    }
