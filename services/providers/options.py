"""The settings that describe a provider: their names, what they may hold, and what is wrong with them."""

import re
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)
from pydantic_core.core_schema import ValidationInfo

from services.models import Status
from services.providers.base import CallbackAddress, RateLimit
from services.senders import Network, read_networks
from services.signatures.catalogue import SCHEMES

UNSIGNED = ("none", "eventgrid")
"""What can stand for a scheme where there is none: our token in the address is then all that is checked."""
_OURS = (Status.RUNNING, Status.SUCCEEDED, Status.FAILED, Status.CANCELED)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_RATE = re.compile(r"([1-9][0-9]{0,6})/(second|minute|hour|day)", re.ASCII)
_AUTH = re.compile(r"bearer|basic|none|header:[A-Za-z0-9-]{1,64}", re.ASCII)


def setting(provider: str, option: str) -> str:
    """Return the name of the environment variable that sets a provider's option."""
    return f"PROVIDER_{provider.upper()}__{option.upper()}"


def check_url(text: str) -> str:
    """Return an absolute http or https address as it is; raises ValueError for anything else."""
    parts = urlsplit(text)
    printable = all("!" <= c <= "~" for c in text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not printable:
        raise ValueError("give an absolute http or https address without a user name")
    if parts.fragment or parts.port == 0:
        raise ValueError("give an address without a fragment, and with a port that exists")
    return text


def _read_rate_limit(text: str) -> RateLimit:
    """Read `25/second`; raises ValueError for anything else."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError("give starts and a time, such as 25/second, 100/minute, 1000/hour or 5000/day")
    return RateLimit(starts=int(match[1]), per=timedelta(**{f"{match[2]}s": 1}))


def _read_senders(text: str) -> tuple[Network, ...]:
    try:
        return read_networks(text)
    except ValueError:
        raise ValueError("give addresses and ranges, such as 3.18.12.63,192.0.2.0/24,2001:db8::/32") from None


def _check_path(text: str) -> str:
    if not all(_NAME.fullmatch(name) for name in text.split(".")):
        raise ValueError("give names of A-Z a-z 0-9 _ - joined by full stops, such as data.id")
    return text


def _check_auth(text: str) -> str:
    if not _AUTH.fullmatch(text):
        raise ValueError("give bearer, basic, none, or header: and a header's name, such as header:X-Api-Key")
    return text


def _check_scheme(text: str) -> str:
    if text not in UNSIGNED and text not in SCHEMES:
        near = (
            ", ".join(get_close_matches(text, (*SCHEMES, *UNSIGNED), cutoff=0.5))
            or "a name in docs/providers.md"
        )
        raise ValueError(f"there is no such scheme; near to it: {near}")
    return text


def _check_cancel_url(text: str) -> str:
    if "{id}" not in text:
        raise ValueError("give an address with {id} where the provider's id of the job belongs")
    check_url(text.replace("{id}", "id"))
    return text


def _check_header(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("give a header's name, such as Idempotency-Key")
    return text.lower()


def _split_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(_NAME.fullmatch(name) for name in names) or len(set(names)) != len(names):
        raise ValueError("give different field names divided by commas, such as url,pages")
    return names


def _split_statuses(text: str) -> dict[str, Status]:
    pairs = [item.partition("=") for item in text.split(",")]
    found = {theirs.strip(): ours.strip() for theirs, _, ours in pairs}
    if len(found) != len(pairs) or "" in found or not set(found.values()) <= set(_OURS):
        raise ValueError(f"give pairs such as done=succeeded,error=failed; ours are {', '.join(_OURS)}")
    return {theirs: Status(ours) for theirs, ours in found.items()}


Path = Annotated[str, AfterValidator(_check_path)]
Senders = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_read_senders)]
Rate = Annotated[RateLimit, BeforeValidator(_read_rate_limit)]


# Schemes that sign one field's text and nothing beside it: whatever else stands there is not to be read.
SIGNED_FIELDS = {
    "aws_sns": "Message",
    "braintree": "bt_payload",
    "dropbox_sign": "json",
    "transloadit": "transloadit",
}


class BuiltInOptions(BaseModel):
    """The settings that every built-in provider takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_url: Annotated[str, AfterValidator(check_url)] | None = None
    rate_limit: Rate | None = None
    senders: Senders = ()


class Options(BaseModel):
    """The settings of a `standard` provider; each is PROVIDER_<NAME>__ and the field's name in upper case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start_url: Annotated[str, AfterValidator(check_url)]
    auth: Annotated[str, AfterValidator(_check_auth)] = "bearer"
    scheme: Annotated[str, AfterValidator(_check_scheme)] = "standardwebhooks"
    callback_address: CallbackAddress = CallbackAddress.PER_JOB
    callback_url_field: Path = "callback_url"
    payload_field: Path | None = Field(None, validate_default=True)
    input_field: Path | None = None
    id_field: Path = "id"
    status_field: Path = "status"
    result_field: Path = "result"
    error_field: Path = "error"
    event_type_field: Path = "type"
    event_id_field: Path | None = None
    job_id_field: Path | None = None
    statuses: Annotated[dict[str, Status], BeforeValidator(_split_statuses)] = {}
    result_fields: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = ()
    idempotency_header: Annotated[str, AfterValidator(_check_header)] | None = None
    cancel_url: Annotated[str, AfterValidator(_check_cancel_url)] | None = None
    rate_limit: Rate | None = None
    senders: Senders = ()
    deadline_seconds: int = Field(86400, ge=1, le=604800)

    @field_validator("payload_field")
    @classmethod
    def _is_signed_text(cls, path: str | None, info: ValidationInfo) -> str | None:
        signed = SIGNED_FIELDS.get(info.data.get("scheme", ""))
        if path and signed and path != signed:
            raise ValueError(f"leave it out: this scheme signs {signed} alone")
        return path or signed

    @field_validator("event_id_field")
    @classmethod
    def _is_signed(cls, path: str | None, info: ValidationInfo) -> str | None:
        scheme = SCHEMES.get(info.data.get("scheme", ""))
        if path and (scheme is None or scheme.binds_nothing):
            raise ValueError(
                "leave it out: this scheme does not sign the body, so that no id in it can be believed"
            )
        return path


def problems_in(name: str, error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return a line for each setting of a provider that is wrong."""
    known = ", ".join(model.model_fields).upper()
    said = {
        "missing": "is missing: give the address that starts a job",
        "extra_forbidden": f"there is no such option; there are: {known}",
    }
    found = []
    for one in error.errors(include_url=False):
        message = said.get(one["type"], one["msg"].removeprefix("Value error, "))
        found.append(f"{setting(name, str(one['loc'][0]))}: {message}")
    return found
