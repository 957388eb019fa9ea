"""What is said of a deployment that does not work."""

from dataclasses import replace

import pytest

from services.adapters.memory import MemorySender
from services.doctor import Doctor, Finding
from services.errors import AnswerLost, NotSent
from services.handshakes import HANDSHAKES
from services.models import HttpAnswer, HttpRequest
from services.providers.base import CallbackAddress, Provider
from tests.unit.conftest import ACME, KEY, World

HERE = "https://hooks.example"
DATE = "Sun, 01 Mar 2026 12:00:30 GMT"
ALIVE = HttpAnswer(status=200, headers={"date": DATE})


def doctor(world: World, *providers: Provider, live: HttpAnswer | Exception = ALIVE) -> Doctor:
    def reply(request: HttpRequest) -> HttpAnswer | Exception:
        return live if request.url == f"{HERE}/api/health/live" else HttpAnswer(status=404)

    return Doctor(
        providers={one.name: one for one in providers or (ACME,)},
        source=world.vault,
        store=world.store,
        payloads=world.payloads,
        bus=world.bus,
        sender=MemorySender(reply),
        clock=world.clock,
        public_url=HERE,
    )


async def unwell(patient: Doctor) -> list[str]:
    return [f"{one.about}: {one.said}" for one in await patient() if not one.well]


async def test_of_one_that_works_everything_is_well_and_nothing_is_left_behind(world: World) -> None:
    found = await doctor(world)()
    assert [(one.about, one.said) for one in found if one.well] == [
        ("service", "secret callback-token-key is there"),
        ("acme", "secret acme-api-key is there"),
        ("acme", "secret acme-signing-secret is there"),
        ("the job store", "can be reached"),
        ("the payload store", "can be reached"),
        ("the bus", "can be reached"),
        ("PUBLIC_URL", "the app answers there"),
        ("clock", "this machine's and the app's agree"),
        ("acme", "its API answers"),
    ]
    assert all(one.well for one in found)
    assert await world.payloads.names("", 10) == []


@pytest.mark.parametrize(
    ("name", "versions", "said"),
    [
        ("acme-api-key", (), "is missing: set the API key that acme gave you"),
        ("acme-api-key", ("two words",), "cannot be used as it is: set the API key that acme gave you"),
        ("acme-signing-secret", (), "is missing: set what acme signs its webhooks with, as it shows it"),
        (
            "acme-signing-secret",
            ("whsec_dGVzdC1zZWNyZXQtdGVzdC1zZWNyZXQtMDAwMQ==", "not base64!"),
            "cannot be used as it is: set what acme signs its webhooks with, as it shows it",
        ),
        (
            "callback-token-key",
            (KEY[1:],),
            "cannot be used as it is: set at least 32 characters, signs callback addresses",
        ),
    ],
    ids=["no key", "odd key", "no secret", "odd previous secret", "short token key"],
)
async def test_a_secret_that_does_not_serve_is_named(
    world: World, name: str, versions: tuple[str, ...], said: str
) -> None:
    world.vault.versions[name] = versions
    owner = "service" if name == "callback-token-key" else "acme"
    assert await unwell(doctor(world)) == [f"{owner}: secret {name} {said}"]


async def test_a_secret_that_comes_with_the_handshake_may_be_missing(world: World) -> None:
    world.vault.versions["acme-signing-secret"] = ()
    handing = replace(ACME, handshake=HANDSHAKES["notion"])
    assert Finding(about="acme", said="secret acme-signing-secret comes with the handshake", well=True) in (
        await doctor(world, handing)()
    )


async def test_a_vault_that_refuses_is_told_with_its_role(world: World) -> None:
    world.vault.available = False
    said = "cannot be read: see SECRET_SOURCE, and give yourself Key Vault Secrets User"
    assert f"acme: secret acme-api-key {said}" in await unwell(doctor(world))


@pytest.mark.parametrize(
    ("part", "about", "setting", "role"),
    [
        ("store", "the job store", "JOB_STORE", "Storage Table Data Contributor"),
        ("payloads", "the payload store", "PAYLOAD_STORE", "Storage Blob Data Contributor"),
        (
            "bus",
            "the bus",
            "SERVICEBUS, and the topic job-events and the queue job-inbox in it",
            "Azure Service Bus Data Sender and Data Receiver",
        ),
    ],
)
async def test_a_part_that_is_away_is_told_with_its_setting_and_its_role(
    world: World, part: str, about: str, setting: str, role: str
) -> None:
    getattr(world, part).available = False
    assert await unwell(doctor(world)) == [
        f"{about}: cannot be reached: see {setting}; in Azure the identity needs the role {role}"
    ]


@pytest.mark.parametrize(
    "live", [HttpAnswer(status=404), NotSent(), AnswerLost()], ids=["404", "no host", "silent"]
)
async def test_an_address_at_which_the_app_is_not_is_told(world: World, live: HttpAnswer | Exception) -> None:
    assert await unwell(doctor(world, live=live)) == [
        f"PUBLIC_URL: {HERE} does not answer as the app does: see PUBLIC_URL, and whether the app runs"
    ]


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("Sun, 01 Mar 2026 12:01:00 GMT", []),
        ("Sun, 01 Mar 2026 12:01:01 GMT", ["61"]),
        ("Sun, 01 Mar 2026 11:58:59 GMT", ["61"]),
        ("", []),
        ("today", []),
        ("Sun, 01 Mar 2026 18:00:00 -0000", []),
    ],
    ids=["60 s", "ahead", "behind", "none", "no date", "without a zone"],
)
async def test_a_clock_that_is_off_by_more_than_a_minute_is_told(
    world: World, date: str, said: list[str]
) -> None:
    patient = doctor(world, live=replace(ALIVE, headers={"date": date}))
    assert await unwell(patient) == [
        f"clock: this machine's and the app's are {seconds} s apart: set the one that is wrong"
        for seconds in said
    ]


async def test_an_api_that_cannot_be_reached_is_told_and_one_that_refuses_is_reached(world: World) -> None:
    def reply(request: HttpRequest) -> HttpAnswer | Exception:
        return ALIVE if request.url.startswith(HERE) else NotSent()

    patient = replace(doctor(world), sender=MemorySender(reply))
    assert await unwell(patient) == [
        "acme: its API, https://acme.example, cannot be reached from here: see the network and API_URL"
    ]


async def test_an_account_s_address_is_to_be_set_up(world: World) -> None:
    account = replace(ACME, callback_address=CallbackAddress.ACCOUNT)
    found = await doctor(world, account)()
    assert "has one address for callbacks: set up what `python -m services address acme` says" in [
        one.said for one in found
    ]
