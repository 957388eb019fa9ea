"""Starts a job: one tick, one row, one try at the provider within its budget, then back to the caller."""

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.errors import AlreadyExists, CallerError, Unavailable
from services.jobs import Jobs
from services.lifecycle import ANSWER_GRACE
from services.messages import tick_message
from services.models import Entry, Job, JsonObject, Status, Stored, job_to_json
from services.providers.base import Operation, Provider

ASYNC_DELAY = timedelta(seconds=1)
"""When a start that is left to a tick begins: a moment after its row is there."""
PATIENCE = timedelta(seconds=20)
"""How long after its tick a row may be made: later, the tick may have come and gone."""
MAX_DEADLINE = timedelta(days=30)
MAX_METADATA = 50
MAX_ROW_BYTES = 600 * 1024
"""How large a job's row may be at first: a result of up to 192 KiB comes in, and a store takes 1 MiB."""

_log = logging.getLogger(__name__)


class JobRequest(BaseModel):
    """What a caller asks for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    operation: str | None = Field(default=None, description="What to do; the provider's default if left out.")
    input: JsonObject = Field(description="The operation's input.")
    deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=int(MAX_DEADLINE.total_seconds()),
        description="When the job expires, counted from now; the operation's own deadline if left out.",
    )
    metadata: dict[
        Annotated[str, Field(min_length=1, max_length=40)], Annotated[str, Field(max_length=500)]
    ] = Field(default_factory=dict, max_length=MAX_METADATA, description="Comes back with the outcome.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob:
    """The use case behind POST /api/jobs/{provider}."""

    jobs: Jobs

    async def __call__(
        self,
        provider_name: str,
        request: JobRequest,
        *,
        idempotency_key: str | None = None,
        respond_async: bool = False,
        traceparent: str | None = None,
    ) -> tuple[Job, bool]:
        """Return the job and whether this call made it.

        Raises CallerError for what the caller must change, and Unavailable if nothing was begun.
        """
        provider, operation_name, operation = self._wanted(provider_name, request)
        digest = _digest(operation_name, request)
        job_id = _id(hashlib.sha256(f"{provider.name}\0{idempotency_key}".encode()).digest())
        if idempotency_key is None:
            job_id = _id(self.jobs.new_id())
        elif known := await self.jobs.store.load(job_id):
            return _same(known.job, digest), False
        now = self.jobs.clock.now()
        job = Job(
            id=job_id,
            provider=provider.name,
            operation=operation_name,
            status=Status.ACCEPTED,
            input=request.input,
            metadata=request.metadata,
            request_digest=digest,
            created_at=now,
            updated_at=now,
            deadline_at=now + _deadline(operation, request),
            traceparent=traceparent,
            history=(Entry(at=now, event="accepted"),),
        )
        if len(job_to_json(job)) > MAX_ROW_BYTES:
            raise CallerError(413, "input-too-large", "the input is too large to be kept with its result")
        held = None if respond_async else await self.jobs.paces.hold(provider, operation, job)
        if held:
            noted = Entry(at=now, event="start.held", detail=held.reason)
            job = replace(job, turn_at=held.turn_at, history=(*job.history, noted))
        sends = not (held or respond_async)
        if sends:
            job = replace(job, attempts=1, attempt_since=now)
            first_look = now + operation.start_budget + ANSWER_GRACE
        else:
            first_look = max(held.until if held else now, now + ASYNC_DELAY)
        first_look = min(first_look, job.deadline_at)
        tick = tick_message(job, job.tick, first_look, self.jobs.new_id())
        sequence = await self.jobs.bus.schedule(tick, first_look)
        job = replace(job, tick_sequence=sequence, tick_at=first_look)
        if self.jobs.clock.now() - now > PATIENCE:
            raise Unavailable("the bus took too long to schedule a tick")
        stored, made = await self._create(job)
        if not made:
            await self.jobs.cancel_tick(job)
            return _same(stored.job, digest), False
        _log.info(
            "job.accepted", extra={"job_id": job.id, "provider": job.provider, "operation": job.operation}
        )
        return await self._try(stored) if sends else job, True

    async def _create(self, job: Job) -> tuple[Stored, bool]:
        try:
            return Stored(job=job, version=await self.jobs.store.create(job)), True
        except (AlreadyExists, Unavailable) as error:
            # Somebody was faster with this key, or the answer to our own write was lost.
            found = await self.jobs.store.load(job.id)
            if found is None:
                raise Unavailable("a job could not be written down") from error
            return found, found.job == job

    async def _try(self, stored: Stored) -> Job:
        happened = await self.jobs.start(stored.job)
        try:
            return await self.jobs.move(stored, happened)
        except Unavailable:
            # The row and its tick exist: what is not written down now is found out by the tick.
            _log.warning("start.not_noted", extra={"job_id": stored.job.id})
            return stored.job

    def _wanted(self, provider_name: str, request: JobRequest) -> tuple[Provider, str, Operation]:
        providers = self.jobs.attempt.providers
        if provider_name not in providers:
            raise CallerError(
                404, "unknown-provider", f"no such provider here; there are: {', '.join(sorted(providers))}"
            )
        provider = providers[provider_name]
        name = request.operation or provider.default_operation
        if name not in provider.operations:
            raise CallerError(
                422,
                "unknown-operation",
                f"{provider.name} has no such operation; it has: {', '.join(sorted(provider.operations))}",
            )
        operation = provider.operations[name]
        try:
            operation.input.model_validate(request.input)
        except ValidationError as error:
            raise CallerError(422, "invalid-input", explain(error, "input")) from None
        return provider, name, operation


def explain(error: ValidationError, root: str) -> str:
    """Say which fields are wrong and why, without repeating their values."""
    return "; ".join(
        f"{'.'.join([root, *map(str, one['loc'])])}: {one['msg']}" for one in error.errors()[:10]
    )


def _same(job: Job, digest: str) -> Job:
    if job.request_digest != digest:
        raise CallerError(
            422,
            "idempotency-key-reused",
            "this Idempotency-Key came with another body before: use a new key for a new job",
            job_id=job.id,
        )
    return job


def _deadline(operation: Operation, request: JobRequest) -> timedelta:
    if request.deadline_seconds is None:
        return operation.deadline
    return timedelta(seconds=request.deadline_seconds)


def _digest(operation: str, request: JobRequest) -> str:
    asked: Mapping[str, object] = request.model_dump(mode="json") | {"operation": operation}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _id(source: bytes) -> str:
    return "job_" + base64.b32encode(source[:20]).decode().lower()
