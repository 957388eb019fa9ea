"""SecretSource: in memory, in the environment, in Key Vault through the real SDK and a real credential."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient

from services.adapters.environment import EnvironmentSecrets
from services.adapters.keyvault import KeyVaultSecrets
from services.adapters.memory import ManualClock, MemorySecrets
from services.errors import Unavailable
from services.ports import SecretSource

from . import samples
from .vault import Vault, Version, failed, serving

NOW = samples.NOW.replace(microsecond=0)  # the vault counts in whole seconds
NAME = "stripe-webhook-secret"
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
Holding = Callable[[Mapping[str, tuple[str, ...]]], SecretSource]
"""Makes a source that holds these secrets, newest first."""


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def vault(authority: trustme.CA) -> AsyncIterator[Vault]:
    async with serving(authority) as vault:
        yield vault


@asynccontextmanager
async def opened(
    vault: Vault,
    authority: trustme.CA,
    folder: Path,
    *,
    budget: timedelta = timedelta(seconds=30),
    **options: Any,
) -> AsyncIterator[KeyVaultSecrets]:
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    # localhost is not below vault.azure.net, which the client checks: https://aka.ms/azsdk/blog/vault-uri
    checks = {"verify_challenge_resource": False, "connection_verify": str(folder / "ca.pem"), **options}
    async with ManagedIdentityCredential() as credential:
        source = KeyVaultSecrets(
            SecretClient(vault.url, credential, **checks), ManualClock(NOW), budget=budget
        )
        yield source
        await source.close()


@pytest.fixture
def identity(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a function app's managed identity finds in its environment."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", vault.identity_url)
    monkeypatch.setenv("IDENTITY_HEADER", "header-1")


@pytest.fixture
async def key_vault(
    vault: Vault, authority: trustme.CA, tmp_path: Path, identity: None
) -> AsyncIterator[KeyVaultSecrets]:
    async with opened(vault, authority, tmp_path, retry_backoff_factor=0.01) as source:
        yield source


@pytest.fixture(params=["memory", "environment", "keyvault"])
def holding(request: pytest.FixtureRequest) -> Holding:
    if request.param == "memory":
        return MemorySecrets
    if request.param == "environment":
        return _environment
    vault: Vault = request.getfixturevalue("vault")
    key_vault: KeyVaultSecrets = request.getfixturevalue("key_vault")

    def hold(secrets: Mapping[str, tuple[str, ...]]) -> SecretSource:
        vault.secrets = {
            name: {
                f"v{age}": Version(value=value, created=NOW - age * DAY) for age, value in enumerate(values)
            }
            for name, values in secrets.items()
        }
        return key_vault

    return hold


def _environment(secrets: Mapping[str, tuple[str, ...]]) -> SecretSource:
    names = {NAME: "STRIPE_WEBHOOK_SECRET", "token-key": "TOKEN_KEY"}
    return EnvironmentSecrets(
        {
            names[name] + ending: value
            for name, values in secrets.items()
            for ending, value in zip(("", "_PREVIOUS"), values, strict=False)
        }
    )


@pytest.mark.parametrize(
    ("held", "valid"),
    [
        (("new",), ("new",)),
        (("new", "old"), ("new", "old")),
        (("new", "old", "older"), ("new", "old")),
        ((), ()),
        (("",), ()),
        (("", "old"), ("old",)),
        (("new", ""), ("new",)),
        ((" spaces and\nlines ",), (" spaces and\nlines ",)),
    ],
    ids=["one", "two", "three", "none", "empty", "empty-first", "empty-last", "exact"],
)
async def test_the_two_newest_versions_are_valid_and_empty_ones_never(
    holding: Holding, held: tuple[str, ...], valid: tuple[str, ...]
) -> None:
    assert await holding({NAME: held}).fetch(NAME) == valid


async def test_a_secret_that_is_not_there_is_no_error(holding: Holding) -> None:
    assert await holding({NAME: ("a",)}).fetch("another") == ()


async def test_each_name_has_its_own_secret(holding: Holding) -> None:
    source = holding({NAME: ("a",), "token-key": ("b",)})
    assert (await source.fetch(NAME), await source.fetch("token-key")) == (("a",), ("b",))


async def test_memory_secrets_that_are_away_say_so() -> None:
    source = MemorySecrets({})
    source.available = False
    with pytest.raises(Unavailable):
        await source.fetch("a")
    assert source.fetches == ["a"]


async def test_the_environment_is_read_at_each_fetch() -> None:
    environment = {"A": "1"}
    source = EnvironmentSecrets(environment)
    environment["A"] = "2"
    assert await source.fetch("a") == ("2",)


# Key Vault


@pytest.mark.parametrize(
    ("version", "valid"),
    [
        (Version(value="x", enabled=False), False),
        (Version(value="x", expires=NOW - SECOND), False),
        (Version(value="x", expires=NOW), False),
        (Version(value="x", expires=NOW + SECOND), True),
        (Version(value="x", not_before=NOW + SECOND), False),
        (Version(value="x", not_before=NOW), True),
        (Version(value="x", not_before=NOW - DAY, expires=NOW + DAY), True),
    ],
    ids=["disabled", "expired", "expires-now", "expires-later", "not-yet", "from-now", "in-its-time"],
)
async def test_a_version_is_valid_when_enabled_active_and_not_expired(
    vault: Vault, key_vault: KeyVaultSecrets, version: Version, valid: bool
) -> None:
    older = Version(value="older", created=NOW - DAY)
    vault.secrets = {NAME: {"v1": older, "v2": version}}
    assert await key_vault.fetch(NAME) == (("x", "older") if valid else ("older",))


async def test_the_newest_are_found_on_any_page(vault: Vault, key_vault: KeyVaultSecrets) -> None:
    ages = [3, 5, 0, 4, 1, 2, 6]
    vault.secrets = {NAME: {f"v{age}": Version(value=f"{age}", created=NOW - age * DAY) for age in ages}}
    assert await key_vault.fetch(NAME) == ("0", "1")
    assert vault.paths == [f"/secrets/{NAME}/versions"] * 4 + [f"/secrets/{NAME}/v0", f"/secrets/{NAME}/v1"]


async def test_a_rotated_secret_is_seen_at_the_next_fetch(vault: Vault, key_vault: KeyVaultSecrets) -> None:
    vault.secrets = {NAME: {"v1": Version(value="old", created=NOW - DAY)}}
    assert await key_vault.fetch(NAME) == ("old",)
    vault.secrets[NAME]["v2"] = Version(value="new")
    assert await key_vault.fetch(NAME) == ("new", "old")


async def test_a_secret_that_the_vault_does_not_know_is_no_error(
    vault: Vault, key_vault: KeyVaultSecrets
) -> None:
    vault.fault = lambda _request: failed(404, "SecretNotFound")
    assert await key_vault.fetch(NAME) == ()


async def test_a_vault_that_is_busy_for_a_moment_is_asked_again(
    vault: Vault, key_vault: KeyVaultSecrets
) -> None:
    vault.secrets = {NAME: {"v1": Version(value="a")}}

    def busy(_request: web.Request) -> web.Response:
        vault.fault = lambda _request: None
        return failed(429, "Throttled", **{"Retry-After": "1"})

    vault.fault = busy
    assert await key_vault.fetch(NAME) == ("a",)


async def test_a_vault_that_stays_busy_is_unavailable_within_the_budget(
    vault: Vault, authority: trustme.CA, tmp_path: Path, identity: None
) -> None:
    vault.fault = lambda _request: failed(429, "Throttled", **{"Retry-After": "3600"})
    async with opened(vault, authority, tmp_path, budget=timedelta(seconds=0.5)) as source:
        with pytest.raises(Unavailable):
            await source.fetch(NAME)


@pytest.mark.parametrize("status", [401, 403, 500], ids=str)
async def test_a_vault_that_refuses_is_unavailable_and_works_later(
    vault: Vault, key_vault: KeyVaultSecrets, status: int
) -> None:
    vault.secrets = {NAME: {"v1": Version(value="a")}}
    vault.fault = lambda _request: failed(status, "Forbidden")
    with pytest.raises(Unavailable, match=r"^the key vault cannot be reached$"):
        await key_vault.fetch(NAME)
    vault.fault = lambda _request: None
    assert await key_vault.fetch(NAME) == ("a",)


async def test_an_identity_that_gets_no_token_is_unavailable(
    vault: Vault, key_vault: KeyVaultSecrets
) -> None:
    vault.token_header = "another"
    with pytest.raises(Unavailable):
        await key_vault.fetch(NAME)
    assert vault.paths == []


async def test_a_vault_with_an_unknown_certificate_is_unavailable(
    vault: Vault, tmp_path: Path, identity: None
) -> None:
    async with opened(vault, trustme.CA(), tmp_path, retry_total=0) as source:
        with pytest.raises(Unavailable):
            await source.fetch(NAME)
    assert vault.paths == []


async def test_a_vault_that_asks_for_the_token_of_another_is_not_trusted(
    vault: Vault, authority: trustme.CA, tmp_path: Path, identity: None
) -> None:
    async with opened(vault, authority, tmp_path, verify_challenge_resource=True) as source:
        with pytest.raises(Unavailable, match="cannot be trusted: check its address"):
            await source.fetch(NAME)
    assert vault.paths == []


async def test_a_vault_that_is_away_is_unavailable(authority: trustme.CA, tmp_path: Path) -> None:
    vault = Vault(url="https://localhost:1")
    async with opened(vault, authority, tmp_path, retry_total=0) as source:
        with pytest.raises(Unavailable):
            await source.fetch(NAME)
