"""Which addresses may send callbacks."""

from dataclasses import replace

import pytest

from services.errors import OperatorError
from services.models import Delivery
from services.providers import providers
from services.senders import is_allowed, read_networks
from tests.unit.conftest import ACME, World

NETWORKS = read_networks("3.18.12.63, 192.0.2.0/24,2001:db8::/32")


@pytest.mark.parametrize(
    "forwarded",
    [
        "192.0.2.7",
        "192.0.2.7:50123",
        "3.18.12.63:443",
        "2001:db8::1",
        "[2001:db8::1]:50123",
        "::ffff:192.0.2.7",
        "10.0.0.1, 192.0.2.7:50123",
        "not an address,192.0.2.7",
    ],
)
def test_an_address_of_the_list_is_let_in(forwarded: str) -> None:
    assert is_allowed({"x-forwarded-for": forwarded}, NETWORKS, 1)


@pytest.mark.parametrize(
    "forwarded",
    [
        "192.0.3.7",
        "3.18.12.64",
        "2001:db9::1",
        "192.0.2.7, 10.0.0.1:50123",
        "192.0.2.7,",
        "",
        "unknown",
        "192.0.2.7.evil.example",
        "[192.0.2.7",
        "192.0.2.07",
        "\u0661\u0669\u0662.0.2.7",
        "fe80::1%192.0.2.7",
        "\ud800",
        "9" * 5000,
    ],
)
def test_any_other_and_one_that_only_the_sender_wrote_is_not(forwarded: str) -> None:
    assert not is_allowed({"x-forwarded-for": forwarded}, NETWORKS, 1)


def test_without_the_header_nobody_is_let_in() -> None:
    assert not is_allowed({}, NETWORKS, 1)


@pytest.mark.parametrize(
    ("forwarded", "allowed"),
    [
        ("192.0.2.7, 10.0.0.1", True),
        ("1.1.1.1, 192.0.2.7, 10.0.0.1", True),
        ("192.0.2.7, 1.1.1.1, 10.0.0.1", False),
        ("192.0.2.7", False),
    ],
    ids=["behind one more proxy", "with what the sender wrote", "made up", "past the proxy"],
)
def test_behind_another_proxy_the_address_stands_before_that_proxys_own(
    forwarded: str, allowed: bool
) -> None:
    assert is_allowed({"x-forwarded-for": forwarded}, NETWORKS, 2) is allowed


def test_any_provider_takes_a_list_of_senders() -> None:
    options = {"senders": "192.0.2.0/24, ::1"}
    found = providers(
        ["stripe", "acme"], {"stripe": options, "acme": options | {"start_url": "https://a.example"}}
    )
    assert found["stripe"].senders == found["acme"].senders == read_networks("192.0.2.0/24,::1")


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1/24", "example.com", "192.0.2.0/33", "1.2.3.4,,5.6.7.8", "\ud800"]
)
def test_a_list_that_is_none_is_for_the_operator(text: str) -> None:
    with pytest.raises(OperatorError, match="PROVIDER_STRIPE__SENDERS: give addresses and ranges, such as"):
        providers(["stripe"], {"stripe": {"senders": text}})


async def test_a_callback_from_elsewhere_is_refused_before_its_signature_is_looked_at(world: World) -> None:
    world.receive.providers["acme"] = replace(ACME, senders=NETWORKS)  # type: ignore[index] # this world's is a dict
    await world.start()

    async def status(address: str | None) -> int:
        def change(delivery: Delivery) -> Delivery:
            headers = {**delivery.headers, **({"x-forwarded-for": address} if address else {})}
            return replace(delivery, headers=headers)

        return (await world.deliver({"state": "done"}, change=change)).status

    assert [await status(one) for one in ("198.51.100.1", None)] == [401, 401]
    assert world.vault.fetches.count("acme-signing-secret") == 0
    assert world.events("callback") == []
    assert await status("192.0.2.7:50123") == 202
