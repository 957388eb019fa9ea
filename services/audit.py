"""Checks that no job was lost, and wakes those that nothing will wake any more.

A tick can be lost: it may lie in the dead-letter queue, or somebody purged the queue. The store knows when
each open job was due; one that is overdue for longer than any backlog gets a new tick.
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from services.errors import OperatorError
from services.jobs import Jobs
from services.lifecycle import OVERDUE, Overlooked
from services.models import Ledger, Status

MOST_AT_ONCE = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A job that was to be looked at, and was not; `mended` says that it has a new tick, or has ended."""

    job_id: str
    provider: str
    status: Status
    due_at: datetime
    mended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an audit found."""

    ledger: Ledger
    overdue: tuple[Overdue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The use case behind the timer and `python -m services audit`."""

    jobs: Jobs

    async def __call__(self, *, mend: bool = True) -> Report:
        """Count, look for overdue jobs, and mend them; raises Unavailable if a part is away."""
        due_before = self.jobs.clock.now() - OVERDUE
        found = [
            await self._look_at(job_id, due_before, mend)
            for job_id in await self.jobs.store.overdue(due_before, MOST_AT_ONCE)
        ]
        report = Report(
            ledger=await self.jobs.store.ledger(), overdue=tuple(one for one in found if one is not None)
        )
        counts = {
            "accepted": report.ledger.accepted,
            "settled": report.ledger.settled,
            "open": report.ledger.open,
            "overdue": len(report.overdue),
            "mended": sum(one.mended for one in report.overdue),
        }
        if not report.ledger.balanced:
            _log.error("audit.unbalanced", extra=counts)
        _log.log(logging.WARNING if report.overdue else logging.INFO, "audit.done", extra=counts)
        return report

    async def _look_at(self, job_id: str, due_before: datetime, mend: bool) -> Overdue | None:
        stored = await self.jobs.store.load(job_id)
        if stored is None or stored.job.due_at is None or stored.job.due_at >= due_before:
            return None
        return Overdue(
            job_id=job_id,
            provider=stored.job.provider,
            status=stored.job.status,
            due_at=stored.job.due_at,
            mended=mend and await self._mend(job_id),
        )

    async def _mend(self, job_id: str) -> bool:
        try:
            await self.jobs.tell(job_id, Overlooked())
        except OperatorError as error:
            _log.error("audit.not_mended", extra={"job_id": job_id, "said": str(error)})
            return False
        return True
