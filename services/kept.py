"""Raw deliveries in the payload store, until their time is over: how one is written, and read back."""

import base64
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from services.messages import delivery_id
from services.models import Delivery, is_id
from services.ports import PayloadStore

DELIVERIES = "deliveries/"
_TOGETHER = 1000
# The host tells the address that was called in `x-original-url`, and our token is in it.
_PRIVATE_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "x-functions-key", "x-original-url"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A delivery that was verified, and the job that its address was for, if it was for one.

    What could open a door was not kept: its address, and headers that hold a secret.
    """

    provider: str
    job_id: str | None
    delivery: Delivery = field(repr=False)

    def __post_init__(self) -> None:
        if self.job_id is not None and not is_id(self.job_id):
            raise ValueError("a kept delivery's job id must be one of ours")

    @property
    def name(self) -> str:
        """The name of the payload that holds it."""
        day = self.delivery.received_at.strftime("%Y-%m-%d")
        return f"{DELIVERIES}{day}/{delivery_id(self.provider, self.delivery, self.job_id or '')}.json"


def write_kept(kept: Kept, secrets: Sequence[str]) -> bytes:
    """Write a delivery without headers that are private or hold one of these secrets."""
    headers = {
        header: value
        for header, value in kept.delivery.headers.items()
        if header not in _PRIVATE_HEADERS and not any(secret in value for secret in secrets)
    }
    document = {
        "provider": kept.provider,
        "job_id": kept.job_id,
        "received_at": kept.delivery.received_at.isoformat(),
        "method": kept.delivery.method,
        "headers": headers,
        "body": base64.b64encode(kept.delivery.body).decode(),
    }
    return json.dumps(document).encode()


def read_kept(document: bytes) -> Kept:
    """Read a delivery back; raises ValueError if the document is not one."""
    try:
        fields = json.loads(document)
        delivery = Delivery(
            method=fields["method"],
            url="",
            headers=dict(fields["headers"]),
            body=base64.b64decode(fields["body"]),
            received_at=datetime.fromisoformat(fields["received_at"]),
        )
        return Kept(provider=fields["provider"], job_id=fields["job_id"], delivery=delivery)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("the document is not a kept delivery") from None


async def kept_names(payloads: PayloadStore, day: date) -> AsyncGenerator[str]:
    """List the names of what was kept on a day, however many there are.

    A store lists only the first names of a prefix: where these are not all, the next hexadecimal digit of
    their digests parts them.
    """
    prefixes = [f"{DELIVERIES}{day:%Y-%m-%d}/delivery-"]
    while prefixes:
        prefix = prefixes.pop()
        names = await payloads.names(prefix, _TOGETHER)
        if len(names) == _TOGETHER:
            prefixes += [prefix + digit for digit in "fedcba9876543210"]
            continue
        for name in names:
            yield name
