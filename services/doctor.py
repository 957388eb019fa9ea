"""Looks for what keeps this deployment from working, and says who must do what about it."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial

from services import tokens
from services.errors import HookbusError, NotVerified, OperatorError, ProviderError, Unavailable
from services.models import Delivery, HttpAnswer, HttpRequest
from services.ports import Clock, HttpSender, JobStore, MessageBus, PayloadStore, SecretSource
from services.providers.base import CallbackAddress, Provider
from services.receive import handshake_secret
from services.signatures.scheme import Scheme

BUDGET = timedelta(seconds=10)
MOST_SKEW = timedelta(seconds=60)
"""How far our clock may be off: signatures are good for five minutes at most vendors."""
CHECKED = "doctor/check.json"
_NO_DELIVERY = Delivery(
    method="POST", url="", headers={}, body=b"", received_at=datetime(1970, 1, 1, tzinfo=UTC)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A secret that has to be there, and what it is; `later` for one that comes with a handshake."""

    owner: str
    name: str
    meaning: str
    usable: Callable[[str], bool]
    later: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at, and what is to be done about it if it is not well."""

    about: str
    said: str
    well: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """The use case behind `python -m services doctor`."""

    providers: Mapping[str, Provider]
    source: SecretSource
    store: JobStore
    payloads: PayloadStore
    bus: MessageBus
    sender: HttpSender
    clock: Clock
    public_url: str

    async def __call__(self) -> Sequence[Finding]:
        """Look at every secret, part and address; changes nothing that stays."""
        found = [await self._secret(need) for need in secrets_needed(self.providers.values())]
        found += [
            await _part(
                "the job store", self.store.load("doctor"), "JOB_STORE", "Storage Table Data Contributor"
            ),
            await _part("the payload store", self._write(), "PAYLOAD_STORE", "Storage Blob Data Contributor"),
            await _part(
                "the bus",
                self.bus.check(),
                "SERVICEBUS, and the topic job-events and the queue job-inbox in it",
                "Azure Service Bus Data Sender and Data Receiver",
            ),
        ]
        found += await self._address(self.public_url)
        for provider in self.providers.values():
            found += [await self._reached(provider), *_to_set_up(provider)]
        return found

    async def _secret(self, need: Need) -> Finding:
        def finding(said: str, *, well: bool = False) -> Finding:
            return Finding(about=need.owner, said=f"secret {need.name} {said}", well=well)

        try:
            versions = await self.source.fetch(need.name)
        except Unavailable:
            return finding("cannot be read: see SECRET_SOURCE, and give yourself Key Vault Secrets User")
        if not versions:
            if need.later:
                return finding("comes with the handshake", well=True)
            return finding(f"is missing: set {need.meaning}")
        if not all(map(need.usable, versions)):
            return finding(f"cannot be used as it is: set {need.meaning}")
        return finding("is there", well=True)

    async def _write(self) -> None:
        await self.payloads.put(CHECKED, b"{}")
        await self.payloads.delete(CHECKED)

    async def _address(self, url: str) -> list[Finding]:
        answer = await self._ask(f"{url}/api/health/live")
        if answer is None or answer.status != 200:
            said = f"{url} does not answer as the app does: see PUBLIC_URL, and whether the app runs"
            return [Finding(about="PUBLIC_URL", said=said, well=False)]
        return [Finding(about="PUBLIC_URL", said="the app answers there", well=True), *self._clock(answer)]

    def _clock(self, answer: HttpAnswer) -> list[Finding]:
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", ""))
        except ValueError:
            return []
        apart = abs(theirs - self.clock.now()) if theirs.tzinfo else timedelta(0)
        if apart > MOST_SKEW:
            seconds = round(apart.total_seconds())
            said = f"this machine's and the app's are {seconds} s apart: set the one that is wrong"
            return [Finding(about="clock", said=said, well=False)]
        return [Finding(about="clock", said="this machine's and the app's agree", well=True)]

    async def _reached(self, provider: Provider) -> Finding:
        if await self._ask(provider.api_url) is None:
            said = f"its API, {provider.api_url}, cannot be reached from here: see the network and API_URL"
            return Finding(about=provider.name, said=said, well=False)
        return Finding(about=provider.name, said="its API answers", well=True)

    async def _ask(self, url: str) -> HttpAnswer | None:
        try:
            return await self.sender.send(HttpRequest(method="GET", url=url), budget=BUDGET)
        except ProviderError:
            return None


async def _part(about: str, reaching: Awaitable[object], setting: str, role: str) -> Finding:
    try:
        await reaching
    except HookbusError:
        said = f"cannot be reached: see {setting}; in Azure the identity needs the role {role}"
        return Finding(about=about, said=said, well=False)
    return Finding(about=about, said="can be reached", well=True)


def _to_set_up(provider: Provider) -> list[Finding]:
    if provider.callback_address is not CallbackAddress.ACCOUNT:
        return []
    said = f"has one address for callbacks: set up what `python -m services address {provider.name}` says"
    return [Finding(about=provider.name, said=said, well=True)]


def secrets_needed(providers: Iterable[Provider]) -> Sequence[Need]:
    """List the secrets that the enabled providers need, and our own."""
    found = [
        Need(
            owner="service",
            name=tokens.KEY_NAME,
            meaning=f"at least {tokens.MIN_KEY_LENGTH} characters, signs callback addresses",
            usable=lambda value: len(value) >= tokens.MIN_KEY_LENGTH,
        )
    ]
    for provider in providers:
        if provider.api_key:
            found.append(
                Need(
                    owner=provider.name,
                    name=provider.api_key,
                    meaning=f"the API key that {provider.name} gave you",
                    usable=partial(_is_exchanged_by, provider) if provider.access else _fits_a_header,
                )
            )
        if provider.scheme and provider.signing_secret:
            found.append(
                Need(
                    owner=provider.name,
                    name=provider.signing_secret,
                    meaning=f"what {provider.name} signs its webhooks with, as it shows it",
                    usable=partial(_is_read_by, provider.scheme),
                    later=is_handed_over(provider),
                )
            )
        if provider.handshake and provider.handshake.secret:
            found.append(
                Need(
                    owner=provider.name,
                    name=handshake_secret(provider, provider.handshake),
                    meaning=f"what {provider.name} is to show when it asks whose address this is",
                    usable=_fits_a_header,
                )
            )
    return found


def is_handed_over(provider: Provider) -> bool:
    """Tell whether the signing secret comes from the provider, once it knows our address."""
    return provider.handshake is not None and provider.handshake.hands_over


def _fits_a_header(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _is_exchanged_by(provider: Provider, key: str) -> bool:
    try:
        if provider.access:
            provider.access.request(provider.api_url, key, _NO_DELIVERY.received_at)
    except OperatorError:
        return False
    return True


def _is_read_by(scheme: Scheme, secret: str) -> bool:
    try:
        scheme.verify(_NO_DELIVERY, [secret], _NO_DELIVERY.received_at)
    except OperatorError:
        return False
    except NotVerified:
        pass
    return True
