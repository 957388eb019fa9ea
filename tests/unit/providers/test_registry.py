"""Which providers there are, and what the settings make of them."""

from datetime import timedelta

import pytest

from services.errors import OperatorError
from services.providers import BUILT_IN, built_in, providers
from services.providers.base import RateLimit


def test_each_built_in_one_has_the_name_of_its_module() -> None:
    assert [built_in(name).name for name in BUILT_IN] == list(BUILT_IN)
    assert sorted(BUILT_IN) == list(BUILT_IN)


def test_the_enabled_ones_come_in_their_order() -> None:
    found = providers(["weather", "acme", "standard"], {
        "acme": {"start_url": "https://a.example/"},
        "standard": {"start_url": "http://127.0.0.1:9/x"},
    })  # fmt: skip
    assert list(found) == ["weather", "acme", "standard"]
    assert [provider.name for provider in found.values()] == ["weather", "acme", "standard"]
    assert found["acme"].api_url == "https://a.example/"


def test_the_address_of_a_built_in_one_can_be_changed() -> None:
    found = providers(["stripe", "weather"], {"stripe": {"api_url": "http://127.0.0.1:9000/"}})
    assert found["stripe"].api_url == "http://127.0.0.1:9000"
    assert found["weather"].api_url == "https://api.open-meteo.com"
    assert built_in("stripe").api_url == "https://api.stripe.com"


def test_every_problem_is_reported_by_the_name_of_its_setting() -> None:
    with pytest.raises(OperatorError) as raised:
        providers(
            ["stripe", "weather", "strpe", "acme", "Bad-Name", "replicate"],
            {
                "stripe": {"api_url": "api.stripe.com", "key": "x"},
                "weather": {"start_url": "https://x.example"},
                "acme": {"start_url": "https://a.example", "auth": "digest"},
            },
        )
    assert str(raised.value).splitlines() == [
        "PROVIDER_STRIPE__API_URL: give an absolute http or https address without a user name",
        "PROVIDER_STRIPE__KEY: there is no such option; there are: API_URL, RATE_LIMIT, SENDERS",
        "PROVIDER_WEATHER__START_URL: there is no such option; there are: API_URL, RATE_LIMIT, SENDERS",
        f"PROVIDER_STRPE__START_URL: is missing, and strpe is not built in ({', '.join(BUILT_IN)} are)",
        "PROVIDER_ACME__AUTH: give bearer, basic, none, or header: and a header's name, "
        "such as header:X-Api-Key",
        "'Bad-Name' cannot name a provider: a-z 0-9 _, a letter first, at most 32 characters",
    ]


def test_options_of_a_provider_that_is_not_enabled_do_no_harm() -> None:
    assert list(providers(["weather"], {"acme": {"nonsense": "x"}})) == ["weather"]


@pytest.mark.parametrize(
    ("text", "starts", "per"),
    [
        ("25/second", 25, timedelta(seconds=1)),
        ("100/minute", 100, timedelta(minutes=1)),
        ("1/hour", 1, timedelta(hours=1)),
        ("5000/day", 5000, timedelta(days=1)),
    ],
)
@pytest.mark.parametrize("name", ["stripe", "acme"])
def test_any_provider_takes_a_rate_limit(name: str, text: str, starts: int, per: timedelta) -> None:
    options = {"rate_limit": text} | ({"start_url": "https://a.example"} if name == "acme" else {})
    assert providers([name], {name: options})[name].rate_limit == RateLimit(starts=starts, per=per)


@pytest.mark.parametrize(
    "text", ["", "0/second", "25", "25/s", "25/fortnight", "-1/second", "1e3/day", "\u0661/day"]
)
def test_a_rate_limit_that_is_none_is_for_the_operator(text: str) -> None:
    with pytest.raises(
        OperatorError, match="PROVIDER_STRIPE__RATE_LIMIT: give starts and a time, such as 25/second"
    ):
        providers(["stripe"], {"stripe": {"rate_limit": text}})
