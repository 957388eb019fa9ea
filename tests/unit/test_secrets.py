"""Secrets are read seldom, in time, and once for everybody who waits."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from services.adapters.memory import ManualClock, MemorySecrets
from services.errors import SecretMissing, Unavailable
from services.secrets import Secrets

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def secrets_of(*values: str) -> tuple[Secrets, MemorySecrets, ManualClock]:
    source, clock = MemorySecrets({"name": values}), ManualClock(NOW)
    return Secrets(source=source, clock=clock), source, clock


async def test_are_kept_for_ten_minutes() -> None:
    secrets, source, clock = secrets_of("new", "old")
    assert await secrets.valid("name") == ("new", "old")
    clock.advance(timedelta(minutes=9, seconds=59))
    assert await secrets.newest("name") == "new"
    assert len(source.fetches) == 1
    clock.advance(timedelta(seconds=1))
    await secrets.valid("name")
    assert len(source.fetches) == 2


async def test_are_refreshed_at_most_every_ten_seconds() -> None:
    secrets, source, clock = secrets_of("a")
    for _ in range(5):
        await secrets.refreshed("name")
    clock.advance(timedelta(seconds=9))
    await secrets.refreshed("name")
    assert len(source.fetches) == 1
    clock.advance(timedelta(seconds=1))
    await secrets.refreshed("name")
    assert len(source.fetches) == 2


async def test_are_fetched_once_for_all_who_ask_at_one_moment() -> None:
    class Slow(MemorySecrets):
        async def fetch(self, name: str) -> tuple[str, ...]:
            await asyncio.sleep(0)
            return await super().fetch(name)

    source = Slow({"name": ("a",)})
    secrets = Secrets(source=source, clock=ManualClock(NOW))
    found: Sequence[tuple[str, ...]] = await asyncio.gather(*(secrets.valid("name") for _ in range(50)))
    assert set(found) == {("a",)}
    assert len(source.fetches) == 1


@pytest.mark.parametrize("values", [(), ("",), ("", "")], ids=["none", "empty", "all empty"])
async def test_that_are_missing_or_empty_are_never_returned(values: tuple[str, ...]) -> None:
    secrets, _, _ = secrets_of(*values)
    with pytest.raises(SecretMissing, match="secret name is missing or empty"):
        await secrets.valid("name")


async def test_that_were_missing_are_found_soon_after_they_are_set() -> None:
    secrets, source, clock = secrets_of()
    for _ in range(5):
        with pytest.raises(SecretMissing):
            await secrets.valid("name")
    assert len(source.fetches) == 1
    source.versions["name"] = ("a",)
    clock.advance(timedelta(seconds=10))
    assert await secrets.valid("name") == ("a",)


async def test_go_on_serving_while_the_vault_is_away() -> None:
    secrets, source, clock = secrets_of("a")
    await secrets.valid("name")
    source.available = False
    clock.advance(timedelta(hours=3))
    assert await secrets.valid("name") == ("a",)
    with pytest.raises(Unavailable):
        await secrets.refreshed("name")
    source.available = True
    clock.advance(timedelta(seconds=10))
    source.versions["name"] = ("b",)
    assert await secrets.valid("name") == ("b",)


async def test_a_vault_that_is_away_is_asked_at_most_every_ten_seconds() -> None:
    secrets, source, clock = secrets_of("a")
    source.available = False
    for _ in range(50):
        with pytest.raises(Unavailable):
            await secrets.valid("name")
        with pytest.raises(Unavailable):
            await secrets.refreshed("name")
    assert len(source.fetches) == 1
    clock.advance(timedelta(seconds=10))
    with pytest.raises(Unavailable):
        await secrets.valid("name")
    assert len(source.fetches) == 2


async def test_that_are_at_hand_are_told_without_asking() -> None:
    secrets, source, clock = secrets_of("new", "old")
    assert secrets.at_hand("name") == ()
    assert source.fetches == []
    await secrets.valid("name")
    clock.advance(timedelta(days=1))
    assert secrets.at_hand("name") == ("new", "old")
    assert len(source.fetches) == 1


def test_do_not_show_in_a_repr() -> None:
    assert "hush" not in repr(secrets_of("hush")[0])
