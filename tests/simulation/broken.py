"""Our own code, broken on purpose: each of these the simulator has to find."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A change to one module: each old text is in it exactly once."""

    name: str
    module: str
    changes: tuple[tuple[str, str], ...]

    def applied(self, source: str) -> str:
        """Return the module's source with the changes; raises LookupError where the code has moved on."""
        for old, new in self.changes:
            if source.count(old) != 1:
                raise LookupError(f"{self.name}: {source.count(old)} times in {self.module}: {old}")
            source = source.replace(old, new)
        return source


def broken(name: str, module: str, *texts: str) -> Broken:
    pairs = tuple(zip(texts[::2], texts[1::2], strict=True))
    return Broken(name=name, module=f"services.{module}", changes=pairs)


BROKEN = (
    broken(
        "publish before it is settled in the store",
        "jobs",
        "        if job != stored.job:\n",
        "        if job.status.settled and not job.published:\n"
        "            await self.outbox.publish(outcome_event(job), dataref=job.result_ref)\n"
        "        if job != stored.job:\n",
    ),
    broken(
        "note that it is published, then publish",
        "jobs",
        "            await self.outbox.publish(outcome_event(job), dataref=job.result_ref)\n"
        "            job = await self._note_published(Stored(job=job, version=version))\n",
        "            job = await self._note_published(Stored(job=job, version=version))\n"
        "            await self.outbox.publish(outcome_event(job), dataref=job.result_ref)\n",
    ),
    broken(
        "save over somebody else's row", "adapters.memory", "row is None or row[1] != version", "row is None"
    ),
    broken(
        "write the row, then schedule its tick",
        "start",
        "        sequence = await self.jobs.bus.schedule(tick, first_look)\n",
        "        sequence = None\n",
        "        stored, made = await self._create(job)\n",
        "        stored, made = await self._create(job)\n"
        "        await self.jobs.bus.schedule(tick, first_look)\n",
    ),
    broken(
        "no tick for a retry",
        "lifecycle",
        "look_at=min(now + wait, job.deadline_at)",
        "look_at=None",
    ),
    broken(
        "cancel the old tick before the new one is scheduled",
        "jobs",
        "        if step.look_at:\n            number",
        "        if step.look_at:\n            await self.cancel_tick(stored.job)\n            number",
    ),
    broken(
        "cancel the tick before the outcome is out",
        "jobs",
        "        for notice in step.notices:\n",
        "        if job.status.settled:\n            await self.cancel_tick(stored.job)\n"
        "        for notice in step.notices:\n",
    ),
    broken(
        "send an ambiguous start again",
        "lifecycle",
        "(job.status is Status.AMBIGUOUS and operation.idempotent)",
        "job.status is Status.AMBIGUOUS",
    ),
    broken(
        "send a start that nothing marks",
        "jobs",
        "version = await self.store.save(step.job, stored.version)",
        "version = stored.version",
    ),
    broken(
        "settle again by a later callback",
        "lifecycle",
        "    if job.status.settled:\n        return Step(job=job, notices=_after_the_end(job, called))\n",
        "",
    ),
    broken(
        "go back to running by a late progress",
        "lifecycle",
        "    if job.status.settled:\n        return Step(job=job, notices=_after_the_end(job, called))\n",
        "    if job.status.settled and callback.status.settled:\n"
        "        return Step(job=job, notices=_after_the_end(job, called))\n"
        "    job = replace(job, settled_at=None, published=False)\n",
    ),
    broken("no refresh at a mismatch", "receive", "secrets = await self.secrets.refreshed(name)", "pass"),
    broken("no signature checked", "receive", "await self._check_signature(provider, delivery)", "pass"),
    broken(
        "a token that anybody wrote",
        "tokens",
        "or not any(hmac.compare_digest(_digest(payload, key), digest) for key in keys)",
        "",
    ),
    broken("a token that binds nothing", "receive", "replace(callback, job_id=job_id)", "callback"),
    broken("no spool", "outbox", "await self._spool(message)", "pass"),
    broken(
        "drain under new ids",
        "outbox",
        "await self.bus.publish(_MESSAGE.validate_json(document))",
        "message = _MESSAGE.validate_json(document)\n"
        "            from dataclasses import replace\n"
        "            await self.bus.publish(replace(message, message_id=message.message_id + 'x'))",
    ),
    broken(
        "delete from the spool, then publish",
        "outbox",
        "                await self._publish_spooled(name, document)\n"
        "                await self.payloads.delete(name)\n",
        "                await self.payloads.delete(name)\n"
        "                await self._publish_spooled(name, document)\n",
    ),
    broken(
        "answer 2xx though nothing took it",
        "receive",
        "                raise fate\n",
        "                pass\n",
    ),
    broken(
        "put back without a copy",
        "advance",
        "        await self.jobs.bus.schedule(next_copy(message, counted), self.jobs.clock.now() + wait)",
        "        pass",
    ),
    broken(
        "put back under the same id",
        "messages",
        'message_id=f"{base[:112]}~{copies + 1}"',
        "message_id=message.message_id",
    ),
    broken(
        "no end at the deadline",
        "lifecycle",
        "    if now >= job.deadline_at:\n        # Once",
        "    if False:\n        # Once",
    ),
    broken(
        "expire without asking once more",
        "lifecycle",
        "Step(job=job, call=Call.POLL) if _can_poll(job, operation) else _expired(job, now)",
        "_expired(job, now)",
    ),
    broken("ticks with equal ids", "messages", "-{number}-{nonce[:6].hex()}", "-{number}"),
    broken(
        "drop what is nobody's",
        "advance",
        "await self.jobs.publish_notice(notice, None, read.traceparent)",
        "del notice",
    ),
    broken(
        "call a callback nobody's too soon",
        "advance",
        "JOB_MAY_COME = tuple(timedelta(seconds=s) for s in (2, 10, 30, 60, 120))",
        "JOB_MAY_COME = ()",
    ),
    broken(
        "drop a tick that comes before its row",
        "advance",
        "ROW_MAY_COME = tuple(timedelta(seconds=s) for s in (2, 10, 30, 60))",
        "ROW_MAY_COME = ()",
    ),
    broken("drop a late result", "lifecycle", "if callback.status is not job.status:", "if False:"),
    broken(
        "take a poll's answer about another job",
        "lifecycle",
        "told.job_id != job.id and (looked_for or told.job_id is not None)",
        "False",
    ),
    broken("believe our own clock about a tick", "lifecycle", "return max(now, tick.at)", "return now"),
    broken(
        "tell in an outcome what was learned after it",
        "messages",
        '"external_id": job.settled_external_id',
        '"external_id": job.external_id',
    ),
    broken(
        "count no end", "adapters.memory", "        self._settled += job.due_at is None and", "        0 and"
    ),
    broken(
        "leave overdue jobs as they are",
        "lifecycle",
        'return Step(job=_note(job, now, "tick.lost"), look_at=_from(now + MENDING * chance, now))',
        "return Step(job=job)",
    ),
    broken(
        "take a callback with another job's external id",
        "lifecycle",
        "callback.external_id and job.external_id and callback.external_id != job.external_id",
        "False",
    ),
    broken(
        "an event's id without the address",
        "messages",
        "_digest(provider, address, callback.event_id)",
        "_digest(provider, callback.event_id)",
    ),
    broken("retries that are not counted", "lifecycle", "attempts=job.attempts + 1", "attempts=job.attempts"),
    broken(
        "cancel without a tick",
        "lifecycle",
        "call=Call.CANCEL if job.external_id else None, look_at=now + ANSWER_GRACE",
        "call=Call.CANCEL if job.external_id else None",
    ),
    broken(
        "no link to the external id",
        "jobs",
        "await self.store.link(job.provider, job.external_id, job.id)",
        "pass",
    ),
    broken(
        "fail when retries are exhausted, though one may have been acted on",
        "lifecycle",
        "case PutOff() if job.status is Status.ACCEPTED and exhausted",
        "case PutOff() if exhausted",
    ),
    broken("take a 502 for a refusal", "attempt", "unsure = {502, 504, 520, 524} if", "unsure = set() if"),
    broken(
        "take a lost answer for one that was not sent",
        "attempt",
        "            return Lost(failure=_ANSWER_LOST, trouble=Trouble.FAILING)",
        "            return PutOff(failure=_ANSWER_LOST, trouble=Trouble.FAILING)",
    ),
    broken(
        "repeat a start that the provider has forgotten",
        "lifecycle",
        " and not _forgotten(job, now, operation)",
        "",
    ),
    broken(
        "a new job for a known key",
        "start",
        'job_id = _id(hashlib.sha256(f"{provider.name}\\0{idempotency_key}".encode()).digest())',
        "job_id = _id(self.jobs.new_id())",
    ),
    broken(
        "refuse what a newer secret may have signed, while the vault is away",
        "secrets",
        '        if kept.away:\n            raise Unavailable("the vault cannot be reached", retry_after',
        '        if False:\n            raise Unavailable("the vault cannot be reached", retry_after',
    ),
    broken(
        "leave out that a settled job may be unpublished",
        "jobs",
        "        if job.status.settled and not job.published:\n            await",
        "        if job != stored.job and job.status.settled and not job.published:\n            await",
    ),
    broken(
        "take a provider that can be asked twice at its word",
        "attempt",
        "else set(range(500, 600)) - {503}",
        "else set()",
    ),
    broken("any age will do", "signatures.parts", "    if age > past:\n", "    if False:\n"),
    broken(
        "raise on instead of putting back",
        "advance",
        "            await self._put_off(message, wait, error)\n",
        "            raise\n",
    ),
    broken(
        "give up at a conflict",
        "jobs",
        "                stored = await self._reload(stored.job.id)\n                if isinstance",
        "                return stored.job\n                if isinstance",
    ),
    broken(
        "cancel the winner's tick after a conflict",
        "jobs",
        "                    await self.cancel_tick(job)\n                raise",
        "                    await self.cancel_tick((await self._reload(job.id)).job)\n                raise",
    ),
    broken(
        "run again by an answer that comes after the end",
        "lifecycle",
        "    if job.status.settled:\n        return Step(job=noted,",
        "    if False:\n        return Step(job=noted,",
    ),
    broken("never delete from the spool", "outbox", "await self.payloads.delete(name)", "pass"),
    broken("an outcome without its result", "messages", '"result": job.result,', '"result": None,'),
    broken(
        "tell of a job that could not be written",
        "start",
        'raise Unavailable("a job could not be written down") from error',
        'return Stored(job=job, version="0"), True',
    ),
    broken(
        "say that a job is canceled, whatever its end",
        "api",
        "            if job.status is Status.CANCELED:\n",
        "            if True:\n",
    ),
    broken(
        "a 500 while a part is away",
        "api",
        '503,\n                "unavailable"',
        '500,\n                "unavailable"',
    ),
    broken(
        "publish and do not note it",
        "jobs",
        "job = await self._note_published(Stored(job=job, version=version))",
        "pass",
    ),
)


class Loader(SourceFileLoader):
    """Loads one module as it is broken."""

    def __init__(self, name: str, path: str, change: Broken) -> None:
        super().__init__(name, path)
        self.change = change

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compile(self.change.applied(self.get_data(path).decode()), path, "exec")


class Finder(MetaPathFinder):
    """Puts the loader in the way of the import system."""

    def __init__(self, change: Broken) -> None:
        self.change = change

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002 - the import system's own signature
    ) -> ModuleSpec | None:
        if fullname != self.change.module:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = Loader(fullname, spec.origin, self.change)
        return spec


def apply(name: str) -> None:
    """Let this process import a broken module; call before anything of services is imported."""
    [change] = [one for one in BROKEN if one.name == name]
    assert change.module not in sys.modules, f"{change.module} is there already"
    sys.meta_path.insert(0, Finder(change))
