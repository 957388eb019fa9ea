"""Secrets from Azure Key Vault, read with the SDK: references in app settings may be a day old."""

from datetime import UTC, datetime, timedelta

from azure.core.exceptions import ResourceNotFoundError
from azure.keyvault.secrets import SecretProperties
from azure.keyvault.secrets.aio import SecretClient

from services.adapters.reaching import reaching
from services.errors import Unavailable
from services.ports import Clock

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class KeyVaultSecrets:
    """The newest two versions of a secret that are enabled, active and not expired, without empty ones."""

    def __init__(
        self, vault: SecretClient, clock: Clock, *, budget: timedelta = timedelta(seconds=5)
    ) -> None:
        self._vault = vault
        self._clock = clock
        self._budget = budget

    async def fetch(self, name: str) -> tuple[str, ...]:
        now = self._clock.now()
        async with reaching("the key vault", self._budget):
            try:
                listed = [version async for version in self._vault.list_properties_of_secret_versions(name)]
                valid = [version for version in listed if _valid(version, now)]
                newest = sorted(valid, key=lambda version: version.created_on or _LONG_AGO, reverse=True)[:2]
                values = [(await self._vault.get_secret(name, version.version)).value for version in newest]
            except ResourceNotFoundError:
                return ()
            except ValueError as error:  # the SDK's word for a vault that asks for another vault's token
                raise Unavailable("the key vault cannot be trusted: check its address") from error
        return tuple(value for value in values if value)

    async def close(self) -> None:
        await self._vault.close()


def _valid(version: SecretProperties, now: datetime) -> bool:
    return (
        bool(version.enabled)
        and (version.not_before is None or version.not_before <= now)
        and (version.expires_on is None or now < version.expires_on)
    )
