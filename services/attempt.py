"""One request to a provider, and what its answer means for the job."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from pydantic import ValidationError

from services import tokens
from services.errors import AnswerLost, NotSent, NotUnderstood, OperatorError, Unavailable
from services.lifecycle import Answered, Lost, PutOff, Refused
from services.models import Failure, HttpAnswer, HttpRequest, Job
from services.ports import Clock, HttpSender
from services.providers.base import Ask, CallbackAddress, Operation, Provider, Start
from services.secrets import Secrets

TOKEN_GRACE = timedelta(days=7)
_PASSING = frozenset({408, 425, 429})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Sends starts and cancels; every way it can go is a value, never an exception."""

    providers: Mapping[str, Provider]
    secrets: Secrets
    sender: HttpSender
    clock: Clock
    public_url: str

    async def start(self, job: Job) -> Answered | Refused | PutOff | Lost:
        """Send a job's start once, within its operation's budget."""
        provider, operation = self.declared(job)
        try:
            given = operation.input.model_validate(job.input)
        except ValidationError:
            return Refused(
                failure=Failure(code="input_outdated", message="the input is no longer one we take")
            )
        try:
            request = operation.start(
                Start(
                    job_id=job.id,
                    input=given,
                    api_url=provider.api_url,
                    api_key=await self._api_key(provider),
                    callback_url=await self._callback_url(provider, job),
                )
            )
        except (Unavailable, OperatorError) as error:
            _log.warning(
                "start.not_ready", extra={"job_id": job.id, "provider": provider.name, "error": str(error)}
            )
            return PutOff(
                failure=Failure(code="secrets_unavailable", message="a secret could not be read"),
                counts=False,
            )
        try:
            answer = await self._send(request, operation)
        except NotSent:
            return PutOff(
                failure=Failure(code="provider_unreachable", message="the provider could not be reached")
            )
        except AnswerLost:
            return Lost(
                failure=Failure(code="answer_lost", message="the provider's answer to the start was lost")
            )
        _log.info(
            "start.answered",
            extra={
                "job_id": job.id,
                "provider": provider.name,
                "operation": job.operation,
                "status": answer.status,
                "elapsed_ms": round(answer.elapsed / timedelta(milliseconds=1)),
            },
        )
        if answer.status in (401, 403) and provider.api_key:
            await self._refresh(provider.api_key)
        return read_answer(provider, operation, answer, self.clock.now())

    async def cancel(self, job: Job) -> None:
        """Ask the provider to stop, once; a refusal changes nothing, for the job has ended here."""
        provider, operation = self.declared(job)
        if operation.cancel is None or job.external_id is None:
            return
        try:
            request = operation.cancel(
                Ask(
                    job_id=job.id,
                    external_id=job.external_id,
                    api_url=provider.api_url,
                    api_key=await self._api_key(provider),
                )
            )
            answer = await self._send(request, operation)
        except (Unavailable, OperatorError, NotSent, AnswerLost) as error:
            _log.warning("cancel.failed", extra={"job_id": job.id, "error": type(error).__name__})
        else:
            _log.info("cancel.answered", extra={"job_id": job.id, "status": answer.status})

    def declared(self, job: Job) -> tuple[Provider, Operation]:
        """Look up what a job names; raises OperatorError if that is no longer set up here."""
        provider = self.providers.get(job.provider)
        if provider is None or job.operation not in provider.operations:
            raise OperatorError(f"a job names {job.provider}.{job.operation}: put it back into PROVIDERS")
        return provider, provider.operations[job.operation]

    async def _send(self, request: HttpRequest, operation: Operation) -> HttpAnswer:
        return await self.sender.send(request, budget=operation.start_budget)

    async def _api_key(self, provider: Provider) -> str:
        return await self.secrets.newest(provider.api_key) if provider.api_key else ""

    async def _refresh(self, name: str) -> None:
        try:
            await self.secrets.refreshed(name)
        except (Unavailable, OperatorError):
            _log.warning("secret.not_refreshed", extra={"secret": name})

    async def _callback_url(self, provider: Provider, job: Job) -> str:
        address = f"{self.public_url}/api/webhooks/{provider.name}"
        if provider.callback_address is CallbackAddress.ACCOUNT:
            return address
        token = tokens.Token(
            job_id=job.id,
            provider=provider.name,
            expires_at=job.deadline_at + TOKEN_GRACE,
            traceparent=job.traceparent,
        )
        return f"{address}/{tokens.mint(token, await self.secrets.newest(tokens.KEY_NAME))}"


def read_answer(
    provider: Provider, operation: Operation, answer: HttpAnswer, now: datetime
) -> Answered | Refused | PutOff | Lost:
    """Sort a start's answer: taken, refused for good, to be tried again, or not to be known.

    A 502 or 504 is somebody between who lost the answer, https://www.rfc-editor.org/rfc/rfc9110#status.504.
    Any other 5xx may hide that the provider acted: a start that is safe to repeat loses nothing by that
    caution; one that is not takes the provider's word that it failed, or an outage would end it. A 401 or
    403 is ours to mend (the key), and does not use up attempts.
    """
    if 200 <= answer.status < 300:
        try:
            return Answered(started=operation.read_start(answer), elapsed=answer.elapsed)
        except NotUnderstood:
            return Lost(
                failure=Failure(code="answer_unreadable", message="the provider's answer could not be read")
            )
    failed = Failure(code="provider_unavailable", message=f"the provider answered {answer.status}")
    unsure = {502, 504} if not operation.idempotent else set(range(500, 600)) - {503}
    if answer.status in unsure:
        return Lost(failure=failed)
    if answer.status in (401, 403):
        refused = Failure(code="provider_refused_key", message="the provider refused our API key")
        return PutOff(failure=refused, counts=False)
    in_use = answer.status == 409 and operation.idempotent  # the first request with this key is not done
    if answer.status in _PASSING or answer.status >= 500 or in_use:
        return PutOff(
            failure=failed, retry_after=read_retry_after(answer.headers.get("retry-after", ""), now)
        )
    return Refused(failure=provider.refusal(answer))


def read_retry_after(value: str, now: datetime) -> timedelta | None:
    """Read Retry-After, seconds or a date, https://www.rfc-editor.org/rfc/rfc9110#field.retry-after."""
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return timedelta(seconds=int(value))
    try:
        moment = parsedate_to_datetime(value)
        return max(moment.replace(tzinfo=moment.tzinfo or UTC) - now, timedelta(0))
    except (ValueError, OverflowError):
        return None
