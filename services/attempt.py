"""One request to a provider, and what its answer means for the job."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from services import tokens
from services.access import PASSING, Credentials, read_retry_after
from services.errors import AnswerLost, NotSent, NotUnderstood, OperatorError, Unavailable, stack_of
from services.lifecycle import MENDING, Answered, Lost, PutOff, Refused, Trouble
from services.models import Failure, HttpAnswer, HttpRequest, Job
from services.ports import Clock, HttpSender
from services.providers.base import Ask, CallbackAddress, Operation, Provider, Start, Started
from services.providers.failures import plain_refusal
from services.secrets import Secrets

TOKEN_GRACE = timedelta(days=7)
POLL_BUDGET = timedelta(seconds=30)
"""How long a poll may take: nobody waits for it, and its answer may be a long result."""

_log = logging.getLogger(__name__)

_UNREACHABLE = Failure(code="provider_unreachable", message="the provider could not be reached")
_ANSWER_LOST = Failure(code="answer_lost", message="the provider's answer to the start was lost")
_UNREADABLE = Failure(code="answer_unreadable", message="the provider's answer could not be read")
_REFUSED_KEY = Failure(code="provider_refused_key", message="the provider refused our API key")
_NO_TOKEN = Failure(code="no_access_token", message="the provider gave no access token")
_TOO_LATE = Failure(
    code="access_token_late", message="the access token came too late to send the start with it"
)
_NOT_READY = Failure(code="secrets_unavailable", message="a secret could not be read or used")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Sends starts, polls and cancels; every way it can go is a value, never an exception."""

    providers: Mapping[str, Provider]
    secrets: Secrets
    credentials: Credentials
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
            callback_url = await self._callback_url(provider, job)
            told = provider.signing_secret if provider.tells_secret else None
            secret = await self.secrets.newest(told) if told else ""
            key, budget = await self.credentials.current(provider, budget=operation.start_budget)
            if not operation.idempotent and budget < operation.start_budget / 2:
                # Cut short, it could not be sent again; the token is kept, and the next try has all its time.
                return PutOff(failure=_TOO_LATE, counts=False)
            request = operation.start(
                Start(
                    job_id=job.id,
                    input=given,
                    api_url=provider.api_url,
                    api_key=key,
                    callback_url=callback_url,
                    signing_secret=secret,
                )
            )
        except NotSent as error:
            return PutOff(failure=_NO_TOKEN, retry_after=error.retry_after)
        except (Unavailable, OperatorError) as error:
            _note_not_ready("start.not_ready", job, error)
            return PutOff(failure=_NOT_READY, counts=False)
        try:
            answer = await self._send(request, provider, key, budget)
        except NotSent:
            return PutOff(failure=_UNREACHABLE, trouble=Trouble.FAILING)
        except AnswerLost:
            _note_silence("start.unanswered", job, budget)
            return Lost(failure=_ANSWER_LOST, trouble=Trouble.FAILING)
        _note_answer("start.answered", job, answer)
        return read_answer(provider, operation, answer, self.clock.now())

    async def poll(self, job: Job) -> tuple[Started | Failure, timedelta | None]:
        """Ask the provider once how a job stands, by its own id of it, or else by ours.

        A failure says why that is not known; the other value is how long to wait at least before it is
        asked again.
        """
        _, operation = self.declared(job)
        build, read = operation.poll, operation.read_poll
        if job.external_id is None:
            build, read = operation.find, operation.read_find
        try:
            answer = await self._ask(job, build, POLL_BUDGET)
            _note_answer("poll.answered", job, answer)
            return read_poll_answer(read, answer, self.clock.now())
        except NotSent as error:
            return _UNREACHABLE, error.retry_after
        except AnswerLost:
            _note_silence("poll.unanswered", job, POLL_BUDGET)
            return _UNREACHABLE, None
        except (Unavailable, OperatorError) as error:
            _note_not_ready("poll.not_ready", job, error)
            return _NOT_READY, MENDING
        except Exception as error:  # noqa: BLE001 - a bug of ours must not keep a job from its deadline
            _log.error("poll.broken", extra={"job_id": job.id, "stack": stack_of(error)})
            return Failure(code="poll_broken", message="asking the provider failed: see the log"), None

    async def cancel(self, job: Job) -> None:
        """Ask the provider to stop, once; a refusal changes nothing, for the job has ended here."""
        _, operation = self.declared(job)
        if operation.cancel is None or job.external_id is None:
            return
        try:
            _note_answer(
                "cancel.answered", job, await self._ask(job, operation.cancel, operation.start_budget)
            )
        except (Unavailable, OperatorError, NotSent, AnswerLost) as error:
            _log.warning("cancel.failed", extra={"job_id": job.id, "error": type(error).__name__})

    def declared(self, job: Job) -> tuple[Provider, Operation]:
        """Look up what a job names; raises OperatorError if that is no longer set up here."""
        provider = self.providers.get(job.provider)
        if provider is None or job.operation not in provider.operations:
            raise OperatorError(f"a job names {job.provider}.{job.operation}: put it back into PROVIDERS")
        return provider, provider.operations[job.operation]

    async def _ask(
        self, job: Job, build: Callable[[Ask], HttpRequest] | None, budget: timedelta
    ) -> HttpAnswer:
        provider, _ = self.declared(job)
        assert build is not None  # noqa: S101 - who calls has looked
        key, budget = await self.credentials.current(provider, budget=budget)
        request = build(
            Ask(job_id=job.id, external_id=job.external_id or "", api_url=provider.api_url, api_key=key)
        )
        return await self._send(request, provider, key, budget)

    async def _send(
        self, request: HttpRequest, provider: Provider, key: str, budget: timedelta
    ) -> HttpAnswer:
        answer = await self.sender.send(request, budget=budget)
        if answer.status in (401, 403):
            await self.credentials.refused(provider, key)
        return answer

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

    A 502 or 504 is somebody between who lost the answer, https://www.rfc-editor.org/rfc/rfc9110#status.504;
    Cloudflare says 520 or 524 for that,
    https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/.
    Any other 5xx may hide that the provider acted: a start that is safe to repeat loses nothing by that
    caution; one that is not takes the provider's word that it failed, or an outage would end it. A 401 or
    403 is ours to mend (the key), and does not use up attempts.
    """
    wait = read_retry_after(answer, now)
    if 200 <= answer.status < 300:
        try:
            return Answered(started=operation.read_start(answer), elapsed=answer.elapsed, retry_after=wait)
        except NotUnderstood:
            return Lost(failure=_UNREADABLE)
        except NotSent as error:
            wait = error.retry_after or wait
            return PutOff(failure=_unavailable(answer), retry_after=wait, trouble=Trouble.LIMITED)
    failed = _unavailable(answer)
    unsure = {502, 504, 520, 524} if not operation.idempotent else set(range(500, 600)) - {503}
    if answer.status in unsure:
        return Lost(failure=failed, trouble=Trouble.FAILING)
    if answer.status in (401, 403):
        return PutOff(failure=_REFUSED_KEY, retry_after=wait, counts=False)
    in_use = answer.status == 409 and operation.idempotent  # the first request with this key is not done
    if answer.status == 429:
        return PutOff(failure=failed, retry_after=wait, trouble=Trouble.LIMITED)
    if answer.status in PASSING or answer.status >= 500 or in_use:
        return PutOff(failure=failed, retry_after=wait, trouble=None if in_use else Trouble.FAILING)
    if operation.read_duplicate:
        with suppress(NotUnderstood):
            return Answered(started=operation.read_duplicate(answer), elapsed=answer.elapsed)
    return Refused(failure=provider.refusal(answer))


def read_poll_answer(
    read: Callable[[HttpAnswer], Started] | None, answer: HttpAnswer, now: datetime
) -> tuple[Started | Failure, timedelta | None]:
    """Read how a job stands, or why that is not known, and how long to wait at least before asking again.

    No answer ends a job but one that says so: a 404 may be a copy that does not know the job yet.
    """
    wait = read_retry_after(answer, now)
    if answer.status in (401, 403):
        return _REFUSED_KEY, max(wait or MENDING, MENDING)
    if answer.status == 404:
        return Failure(code="provider_knows_no_job", message="the provider answered 404"), wait
    if 400 <= answer.status < 500 and answer.status not in PASSING:
        return plain_refusal(answer), wait
    if not 200 <= answer.status < 300 or read is None:
        return _unavailable(answer), wait
    try:
        return read(answer), wait
    except NotUnderstood:
        return _UNREADABLE, wait


def _unavailable(answer: HttpAnswer) -> Failure:
    return Failure(code="provider_unavailable", message=f"the provider answered {answer.status}")


def _note_answer(event: str, job: Job, answer: HttpAnswer) -> None:
    _log.info(
        event,
        extra={
            "job_id": job.id,
            "provider": job.provider,
            "operation": job.operation,
            "status": answer.status,
            "elapsed_ms": round(answer.elapsed / timedelta(milliseconds=1)),
        },
    )


def _note_silence(event: str, job: Job, budget: timedelta) -> None:
    """Log an answer that did not come as one that took all its time: it is the slowest of all."""
    elapsed_ms = round(budget / timedelta(milliseconds=1))
    named = {"job_id": job.id, "provider": job.provider, "operation": job.operation}
    _log.warning(event, extra={**named, "elapsed_ms": elapsed_ms})


def _note_not_ready(event: str, job: Job, error: Exception) -> None:
    _log.warning(event, extra={"job_id": job.id, "provider": job.provider, "error": str(error)})
