"""What a provider is: a declaration without I/O, told in the vendor's words and read in ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from services.errors import NotUnderstood
from services.jsons import clean
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status, is_name
from services.providers.failures import plain_refusal
from services.senders import Network
from services.signatures.scheme import Scheme


class Completion(StrEnum):
    """How a job's end is learned."""

    WEBHOOK = "webhook"
    POLL = "poll"
    IMMEDIATE = "immediate"


class CallbackAddress(StrEnum):
    """Where a provider sends callbacks: to an address given with each start, or to one set up once."""

    PER_JOB = "per_job"
    ACCOUNT = "account"


class Input(BaseModel):
    """What a caller may ask for: the declared fields and no others, each of just its type."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a start request is built from.

    `job_id` is the idempotency key too. `signing_secret` is "" but for a provider that is told it.
    """

    job_id: str
    input: BaseModel
    api_url: str
    api_key: str = field(repr=False)
    callback_url: str = field(repr=False)
    signing_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """How a job stands, as an answer to a start or a poll, or a callback says: running, or settled already.

    `status` is UNKNOWN for a word that nobody has listed. `job_id` is our id as a poll's answer has it; None
    where a provider does not say it.
    """

    external_id: str | None = None
    job_id: str | None = None
    status: Status = Status.RUNNING
    result: JsonObject | None = field(default=None, repr=False)
    failure: Failure | None = None

    def with_result(self, model: type[BaseModel], payload: JsonValue) -> "Started":
        """Add the fields of the payload that the model declares; raises NotUnderstood if it does not fit."""
        return replace(self, result=declared(model, payload))

    def with_failure(self, failure: Failure) -> "Started":
        """Add why there is no result."""
        return replace(self, failure=failure)

    def as_answer(self) -> "Started":
        """Say the same of an answer: one with a word that nobody has listed says that the job goes on."""
        return replace(self, status=Status.RUNNING) if self.status is Status.UNKNOWN else self

    def as_callback(
        self,
        *,
        event_id: str,
        event_type: str,
        operation: str,
        job_id: str | None = None,
        occurred_at: datetime | None = None,
    ) -> Callback:
        """Say the same in a callback."""
        return Callback(
            event_id=event_id,
            event_type=event_type,
            status=self.status,
            operation=operation,
            job_id=job_id,
            external_id=self.external_id,
            occurred_at=occurred_at,
            result=self.result,
            failure=self.failure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request about a job at the provider is built from: to cancel, to poll, or to find it.

    `external_id` is "" where the job is to be found by our own id.
    """

    job_id: str
    external_id: str
    api_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One kind of job that a provider does.

    `read_start` raises NotUnderstood for a 2xx that may hide that the provider acted, and NotSent for one
    that says that it did not, and may later. `idempotent`: the provider acts once for one job id, however
    often the start is sent; `idempotent_for` is how long after the first it does, None for ever.
    `read_duplicate` is for one that refuses a repeated start: it reads the refusal as an answer to the
    first, and raises NotUnderstood for any other.
    `start_budget`, `max_attempts`, `deadline` bound the start and the job as a whole. `poll` asks how a job
    stands, and `read_poll` reads the answer; an operation with thin callbacks needs them. A job is asked
    about `poll_after` from its start's answer on, then at growing intervals of at most `poll_every`: less
    than the provider keeps results for. Left out, these are ten minutes and one hour; for a provider that
    sends no callbacks two seconds and five minutes. `poll_at_least` lies between two polls by a tick, also
    after one that failed. `find` asks for a job whose start's answer was lost, by our own id, where a start
    cannot be repeated; `read_find` reads the answer, which has to say our id.
    """

    input: type[BaseModel]
    result: type[BaseModel]
    start: Callable[[Start], HttpRequest]
    read_start: Callable[[HttpAnswer], Started]
    read_duplicate: Callable[[HttpAnswer], Started] | None = None
    cancel: Callable[[Ask], HttpRequest] | None = None
    poll: Callable[[Ask], HttpRequest] | None = None
    read_poll: Callable[[HttpAnswer], Started] | None = None
    find: Callable[[Ask], HttpRequest] | None = None
    read_find: Callable[[HttpAnswer], Started] | None = None
    poll_after: timedelta | None = None
    poll_every: timedelta | None = None
    poll_at_least: timedelta = timedelta(0)
    idempotent: bool = False
    idempotent_for: timedelta | None = None
    start_budget: timedelta = timedelta(seconds=3)
    max_attempts: int = 8
    deadline: timedelta = timedelta(hours=24)


def _polled_often(operation: Operation) -> Operation:
    return replace(
        operation,
        poll_after=operation.poll_after or timedelta(seconds=2),
        poll_every=operation.poll_every or timedelta(minutes=5),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How many starts a provider is sent: `starts` evenly spread over `per`, a tenth of them at once at most.

    All instances keep it together: in any window of `per` there are at most `starts` and that tenth, and what
    their clocks differ by, and what a tick's delay of up to 5 s bunches.
    """

    starts: int
    per: timedelta

    def __post_init__(self) -> None:
        if self.starts < 1 or self.per <= timedelta(0):
            raise ValueError("a rate limit is at least one start in some time")

    @property
    def burst(self) -> int:
        return max(1, self.starts // 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAnswer:
    """What this provider wants to hear when a callback was taken."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshaken:
    """What a handshake comes to.

    `step` is what the operator has to do now, and is logged; `handed_over` a secret that the operator needs
    for it; `confirm` a request that completes the handshake.
    """

    answer: WebhookAnswer = WebhookAnswer()
    step: str | None = None
    handed_over: str | None = field(default=None, repr=False)
    confirm: HttpRequest | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """How a provider makes sure that a callback address is ours, before it sends callbacks there.

    `methods` are those of its requests. `answer` gets the versions of a secret; it returns None for any other
    delivery, and raises NotVerified for a handshake that does not hold. `signed` says that the requests are
    signed like callbacks, and are checked so before they are answered. `secret` is the last part of the name
    of a secret of its own (`{provider}-verify-token`); without it `answer` gets the signing secret's
    versions. `hands_over` says that the provider makes the signing secret and tells it in the handshake.
    `refusal` is for a provider that minds what stands in a 401.
    """

    methods: frozenset[str]
    answer: Callable[[Delivery, Sequence[str]], Handshaken | None]
    signed: bool = False
    secret: str | None = None
    hands_over: bool = False
    refusal: WebhookAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What requests carry in place of the API key, and for how long it is good."""

    text: str = field(repr=False)
    lifetime: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How an API key is exchanged for an access token, https://www.rfc-editor.org/rfc/rfc6749#section-4.4.

    `request` takes the provider's API address, its API key and the time, and raises OperatorError for a key
    that it cannot use. `read` reads the answer if it is a 2xx, and raises NotUnderstood.
    """

    request: Callable[[str, str, datetime], HttpRequest]
    read: Callable[[HttpAnswer], AccessToken]


def no_callbacks(_: Delivery) -> tuple[Callback, ...]:
    """Read a delivery of a provider that sends none."""
    raise NotUnderstood("this provider sends no callbacks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A third party that does jobs for us.

    `read` turns a verified delivery into callbacks, in the delivery's order, and raises NotUnderstood.
    `refusal` turns a 4xx answer to a start into a reason that can be shown to the caller: no secrets.
    `api_key` and `signing_secret` are names of secrets; with `access`, requests get the token that the API
    key is exchanged for, and with `tells_secret`, each start gets the signing secret, for the provider to
    send it with its callbacks. Without an `api_url` the operator has to set it, as `api_url_example` shows.
    `max_bytes` is how long a callback may be that comes to an address with our token, if more than the
    setting allows. `rate_limit` and `senders`, the networks that callbacks may come from (any, if there are
    none), are for the operator to set.
    The last three are facts for operators: how long the vendor waits for our answer, how long it repeats a
    delivery, whether it promises order.
    """

    name: str
    documentation: str
    completion: Completion
    api_url: str
    operations: Mapping[str, Operation]
    default_operation: str
    api_url_example: str | None = None
    api_key: str | None = None
    access: Access | None = None
    scheme: Scheme | None = None
    signing_secret: str | None = None
    tells_secret: bool = False
    callback_address: CallbackAddress = CallbackAddress.PER_JOB
    read: Callable[[Delivery], tuple[Callback, ...]] = no_callbacks
    refusal: Callable[[HttpAnswer], Failure] = plain_refusal
    answer: WebhookAnswer = WebhookAnswer()
    handshake: Handshake | None = None
    max_bytes: int | None = None
    rate_limit: RateLimit | None = None
    senders: tuple[Network, ...] = ()
    patience: timedelta | None = None
    repeats_for: timedelta | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        if not is_name(self.name) or not all(is_name(name) for name in self.operations):
            raise ValueError("names of providers and operations are lower case, at most 32 characters")
        if self.default_operation not in self.operations:
            raise ValueError("the default operation is one of the operations")
        fetched = self.scheme is not None and self.scheme.key_source is not None
        if not fetched and (self.scheme is None) != (self.signing_secret is None):
            raise ValueError("a scheme needs the name of its secret, and the other way round")
        if self.tells_secret and self.signing_secret is None:
            raise ValueError("only a secret can be told that has a name")
        if not self.api_url and not self.api_url_example:
            raise ValueError("a provider has an address, or shows what it looks like")
        if any((one.poll is None) != (one.read_poll is None) for one in self.operations.values()):
            raise ValueError("a poll needs a way to read its answer, and the other way round")
        if any((one.find is None) != (one.read_find is None) for one in self.operations.values()):
            raise ValueError(
                "a job that is looked for needs a way to read the answer, and the other way round"
            )
        if self.access is not None and self.api_key is None:
            raise ValueError("an access token is given for an API key")
        if self.completion is Completion.POLL:
            if any(one.poll is None for one in self.operations.values()):
                raise ValueError("a provider that does not call back has to be polled")
            often = {name: _polled_often(one) for name, one in self.operations.items()}
            object.__setattr__(self, "operations", often)


def declared(model: type[BaseModel], payload: JsonValue) -> JsonObject:
    """Keep only the fields that a result model declares, and no control characters in any string.

    Raises NotUnderstood if the payload does not fit the model.
    """
    try:
        found = model.model_validate(clean(payload))
    except ValidationError as error:
        places = ", ".join(sorted({".".join(map(str, one["loc"])) or "the whole" for one in error.errors()}))
        raise NotUnderstood(f"the result does not fit its model at: {places[:200]}") from None
    dumped: JsonObject = found.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return dumped
