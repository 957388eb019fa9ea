"""Every decision about a job, without I/O."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from services.lifecycle import (
    Answered,
    Call,
    Called,
    CancelRequested,
    Happened,
    Lost,
    NoticeKind,
    Polled,
    PutOff,
    Refused,
    Step,
    Ticked,
    backoff,
    next_step,
)
from services.models import Callback, Entry, Failure, HttpRequest, Job, Status
from services.providers.base import Operation, Started

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DEADLINE = NOW + timedelta(hours=1)
FAILURE = Failure(code="some_code", message="some sentence")


class Nothing(BaseModel):
    pass


def operation(*, idempotent: bool = False, max_attempts: int = 3, poll: bool = False) -> Operation:
    return Operation(
        input=Nothing,
        result=Nothing,
        start=lambda _: HttpRequest(method="POST", url="https://provider.example"),
        read_start=lambda _: Started(),
        poll=(lambda _: HttpRequest(method="GET", url="https://provider.example")) if poll else None,
        read_poll=(lambda _: Started()) if poll else None,
        idempotent=idempotent,
        max_attempts=max_attempts,
    )


def job(status: Status = Status.RUNNING, **changes: object) -> Job:
    fresh = Job(
        id="job_1",
        provider="acme",
        operation="work",
        status=status,
        input={},
        request_digest="d",
        created_at=NOW,
        updated_at=NOW,
        deadline_at=DEADLINE,
        settled_at=NOW if status.settled else None,
        attempts=1,
    )
    return replace(fresh, **changes)  # type: ignore[arg-type] # fields by name, checked by Job itself


def callback(status: Status, **changes: object) -> Called:
    fresh = Callback(event_id="evt_1", event_type="work.changed", status=status)
    said = replace(fresh, **changes)  # type: ignore[arg-type] # fields by name, checked by Callback itself
    return Called(provider="acme", callback=said, message_id="callback-1")


def decide(
    at: Job,
    happened: Happened,
    *,
    now: datetime = NOW,
    idempotent: bool = False,
    max_attempts: int = 3,
    poll: bool = False,
) -> Step:
    declared = operation(idempotent=idempotent, max_attempts=max_attempts, poll=poll)
    return next_step(at, happened, now, declared, 0.5)


class TestTick:
    def test_starts_an_accepted_job_and_leaves_a_mark_that_it_did(self) -> None:
        step = decide(job(Status.ACCEPTED, attempts=0), Ticked(number=1, at=NOW))
        assert step.call is Call.START
        assert (step.job.attempts, step.job.attempt_since) == (1, NOW)

    def test_lets_whoever_sends_the_start_note_its_answer_first(self) -> None:
        sending = job(Status.ACCEPTED, attempt_since=NOW)
        step = decide(sending, Ticked(number=1, at=NOW), now=NOW + timedelta(seconds=32), idempotent=True)
        assert (step.job, step.call, step.look_at) == (sending, None, NOW + timedelta(seconds=33))

    def test_does_not_start_again_what_may_have_reached_a_provider_without_idempotency(self) -> None:
        sent = job(Status.ACCEPTED, attempt_since=NOW)
        step = decide(sent, Ticked(number=1, at=NOW), now=NOW + timedelta(seconds=33))
        assert (step.call, step.job.status, step.look_at) == (None, Status.AMBIGUOUS, DEADLINE)

    def test_starts_again_what_may_have_reached_a_provider_with_idempotency(self) -> None:
        sent = job(Status.ACCEPTED, attempt_since=NOW)
        step = decide(sent, Ticked(number=1, at=NOW), now=NOW + timedelta(seconds=33), idempotent=True)
        assert (step.call, step.job.status, step.job.attempts) == (Call.START, Status.AMBIGUOUS, 2)

    @pytest.mark.parametrize(
        ("status", "attempts", "hours", "call"),
        [
            (Status.AMBIGUOUS, 1, 22.999, Call.START),
            (Status.AMBIGUOUS, 1, 23, None),
            (Status.ACCEPTED, 1, 23, None),  # it may have been answered that the first is under way
            (Status.ACCEPTED, 0, 23, Call.START),
        ],
        ids=["in time", "forgotten", "in use and forgotten", "never sent"],
    )
    def test_does_not_start_again_what_the_provider_may_have_forgotten(
        self, status: Status, attempts: int, hours: float, call: Call | None
    ) -> None:
        declared = replace(operation(idempotent=True), idempotent_for=timedelta(hours=23))
        long = job(status, attempts=attempts, deadline_at=NOW + timedelta(days=9))
        step = next_step(long, Ticked(number=1, at=NOW), NOW + timedelta(hours=hours), declared, 0.5)
        assert step.call is call
        assert step.look_at == (None if call else NOW + timedelta(days=9))

    def test_does_not_take_back_that_a_job_runs_because_its_start_was_cut_short(self) -> None:
        running = job(Status.RUNNING, attempt_since=NOW)
        step = decide(running, Ticked(number=1, at=NOW), now=NOW + timedelta(seconds=33), idempotent=True)
        assert (step.call, step.job.status, step.job.attempt_since) == (None, Status.RUNNING, None)
        assert step.look_at == DEADLINE

    def test_leaves_an_ambiguous_job_waiting_once_its_attempts_are_used_up(self) -> None:
        step = decide(job(Status.AMBIGUOUS, attempts=3), Ticked(number=1, at=NOW), idempotent=True)
        assert (step.call, step.job.status, step.look_at) == (None, Status.AMBIGUOUS, DEADLINE)

    def test_keeps_a_running_job_waiting_until_its_deadline(self) -> None:
        step = decide(job(), Ticked(number=1, at=NOW))
        assert (step.job.status, step.look_at) == (Status.RUNNING, DEADLINE)

    @pytest.mark.parametrize("status", [Status.ACCEPTED, Status.AMBIGUOUS, Status.RUNNING])
    def test_expires_an_open_job_at_its_deadline(self, status: Status) -> None:
        step = decide(job(status), Ticked(number=1, at=NOW), now=DEADLINE)
        assert step.job.status is Status.EXPIRED
        assert step.job.failure is not None
        assert step.job.failure.code == "deadline"

    def test_does_not_expire_a_job_a_moment_before_its_deadline(self) -> None:
        assert decide(job(), Ticked(number=1, at=NOW), now=DEADLINE - timedelta(milliseconds=1)).job == job()

    def test_that_a_fast_bus_delivers_early_looks_again_no_sooner_than_in_a_second(self) -> None:
        step = decide(job(), Ticked(number=1, at=NOW), now=DEADLINE - timedelta(milliseconds=1))
        assert step.look_at == DEADLINE + timedelta(milliseconds=999)

    def test_counts_when_its_number_was_never_noted(self) -> None:
        assert decide(job(Status.ACCEPTED, attempts=0, tick=1), Ticked(number=2, at=NOW)).call is Call.START

    def test_changes_nothing_about_a_settled_job(self) -> None:
        step = decide(job(Status.SUCCEEDED), Ticked(number=1, at=NOW), now=DEADLINE)
        assert (step.job, step.call, step.look_at) == (job(Status.SUCCEEDED), None, None)


class TestStartAnswer:
    def test_makes_the_job_run_and_looks_again_at_the_deadline(self) -> None:
        answered = Answered(started=Started(external_id="x_1"), elapsed=timedelta(milliseconds=120))
        step = decide(job(Status.ACCEPTED, attempt_since=NOW), answered)
        assert (step.job.status, step.job.external_id, step.look_at) == (Status.RUNNING, "x_1", DEADLINE)
        assert step.job.attempt_since is None
        assert step.job.history[-1].elapsed_ms == 120

    def test_settles_the_job_if_it_is_the_result(self) -> None:
        started = Started(status=Status.SUCCEEDED, result={"t": 1})
        step = decide(job(Status.ACCEPTED), Answered(started=started, elapsed=timedelta(0)))
        assert (step.job.status, step.job.result, step.job.settled_at) == (Status.SUCCEEDED, {"t": 1}, NOW)

    def test_only_adds_the_external_id_when_a_callback_was_faster(self) -> None:
        answered = Answered(started=Started(external_id="x_1"), elapsed=timedelta(0))
        step = decide(job(Status.SUCCEEDED, result={"ok": True}), answered)
        assert (step.job.status, step.job.external_id, step.call) == (Status.SUCCEEDED, "x_1", None)

    def test_does_not_change_an_external_id_that_is_known(self) -> None:
        answered = Answered(started=Started(external_id="x_2"), elapsed=timedelta(0))
        assert decide(job(external_id="x_1"), answered).job.external_id == "x_1"

    def test_cancels_at_the_provider_what_was_canceled_meanwhile(self) -> None:
        answered = Answered(started=Started(external_id="x_1"), elapsed=timedelta(0))
        step = decide(job(Status.CANCELED), answered)
        assert (step.job.status, step.call) == (Status.CANCELED, Call.CANCEL)

    def test_fails_the_job_if_it_is_a_refusal(self) -> None:
        step = decide(job(Status.ACCEPTED), Refused(failure=FAILURE))
        assert (step.job.status, step.job.failure) == (Status.FAILED, FAILURE)

    def test_cannot_fail_by_a_refusal_what_an_earlier_request_may_have_started(self) -> None:
        step = decide(job(Status.AMBIGUOUS), Refused(failure=FAILURE))
        assert (step.job.status, step.look_at) == (Status.AMBIGUOUS, DEADLINE)

    def test_fails_by_a_refusal_that_idempotency_makes_the_answer_to_the_earlier_request_too(self) -> None:
        assert decide(job(Status.AMBIGUOUS), Refused(failure=FAILURE), idempotent=True).job.status is (
            Status.FAILED
        )

    def test_put_off_is_tried_again_within_the_backoff_window(self) -> None:
        step = decide(job(Status.ACCEPTED, attempts=2), PutOff(failure=FAILURE))
        assert (step.job.status, step.look_at) == (Status.ACCEPTED, NOW + timedelta(seconds=2))

    def test_put_off_waits_at_least_as_long_as_the_provider_asks(self) -> None:
        step = decide(job(Status.ACCEPTED), PutOff(failure=FAILURE, retry_after=timedelta(seconds=90)))
        assert step.look_at == NOW + timedelta(seconds=90)

    def test_put_off_never_waits_past_the_deadline(self) -> None:
        step = decide(job(Status.ACCEPTED), PutOff(failure=FAILURE, retry_after=timedelta(days=9)))
        assert step.look_at == DEADLINE

    def test_put_off_by_what_is_ours_to_mend_uses_up_no_attempt(self) -> None:
        step = decide(job(Status.ACCEPTED, attempts=3), PutOff(failure=FAILURE, counts=False))
        assert (step.job.status, step.job.attempts) == (Status.ACCEPTED, 2)
        assert step.look_at == NOW + timedelta(seconds=30)

    def test_put_off_too_often_fails_the_job_with_the_last_reason(self) -> None:
        step = decide(job(Status.ACCEPTED, attempts=3), PutOff(failure=FAILURE))
        assert (step.job.status, step.job.failure) == (Status.FAILED, FAILURE)

    def test_put_off_too_often_leaves_an_ambiguous_job_to_its_callback_or_deadline(self) -> None:
        step = decide(job(Status.AMBIGUOUS, attempts=3), PutOff(failure=FAILURE), idempotent=True)
        assert (step.job.status, step.look_at) == (Status.AMBIGUOUS, DEADLINE)

    def test_lost_is_never_sent_again_without_idempotency(self) -> None:
        step = decide(job(Status.ACCEPTED), Lost(failure=FAILURE))
        assert (step.job.status, step.look_at) == (Status.AMBIGUOUS, DEADLINE)

    def test_lost_is_sent_again_soon_with_idempotency(self) -> None:
        step = decide(job(Status.ACCEPTED), Lost(failure=FAILURE), idempotent=True)
        assert (step.job.status, step.look_at) == (Status.AMBIGUOUS, NOW + timedelta(seconds=1))

    @pytest.mark.parametrize(
        "happened", [PutOff(failure=FAILURE), Lost(failure=FAILURE), Refused(failure=FAILURE)]
    )
    @pytest.mark.parametrize("status", [Status.RUNNING, Status.SUCCEEDED, Status.CANCELED])
    def test_no_failed_start_takes_back_what_a_callback_said(
        self, status: Status, happened: PutOff | Lost | Refused
    ) -> None:
        step = decide(job(status), happened)
        assert step.job.status is status
        assert step.look_at == (None if status.settled else DEADLINE)


class TestCallback:
    @pytest.mark.parametrize("open_status", [Status.ACCEPTED, Status.AMBIGUOUS, Status.RUNNING])
    @pytest.mark.parametrize(
        "end", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED], ids=lambda s: s.value
    )
    def test_settles_an_open_job(self, open_status: Status, end: Status) -> None:
        step = decide(job(open_status), callback(end, external_id="x_1"))
        assert (step.job.status, step.job.settled_at, step.job.external_id) == (end, NOW, "x_1")
        assert step.notices == ()

    def test_carries_its_result(self) -> None:
        assert decide(job(), callback(Status.SUCCEEDED, result={"a": 1})).job.result == {"a": 1}

    def test_that_fails_without_a_reason_still_gives_one(self) -> None:
        failure = decide(job(), callback(Status.FAILED)).job.failure
        assert failure == Failure(code="failed", message="the provider gave no reason")

    def test_of_progress_makes_the_job_run_and_is_told(self) -> None:
        step = decide(job(Status.AMBIGUOUS), callback(Status.RUNNING))
        assert (step.job.status, step.look_at) == (Status.RUNNING, None)
        assert [(n.kind, n.superseded) for n in step.notices] == [(NoticeKind.PROGRESS, False)]

    def test_of_older_progress_is_told_as_superseded_and_changes_nothing(self) -> None:
        later = job(progress_at=NOW)
        step = decide(later, callback(Status.RUNNING, occurred_at=NOW - timedelta(seconds=1)))
        assert step.job == later
        assert [(n.kind, n.superseded) for n in step.notices] == [(NoticeKind.PROGRESS, True)]

    def test_of_the_same_progress_again_is_not_superseded(self) -> None:
        again = decide(job(progress_at=NOW), callback(Status.RUNNING, occurred_at=NOW))
        assert [n.superseded for n in again.notices] == [False]

    def test_that_settles_clears_the_mark_of_a_start_under_way(self) -> None:
        assert (
            decide(job(Status.ACCEPTED, attempt_since=NOW), callback(Status.FAILED)).job.attempt_since is None
        )

    def test_of_progress_after_the_end_is_told_as_superseded(self) -> None:
        step = decide(job(Status.SUCCEEDED), callback(Status.RUNNING))
        assert step.job == job(Status.SUCCEEDED)
        assert [(n.kind, n.superseded) for n in step.notices] == [(NoticeKind.PROGRESS, True)]

    def test_of_another_end_is_a_late_result_and_never_a_second_outcome(self) -> None:
        step = decide(job(Status.EXPIRED), callback(Status.SUCCEEDED))
        assert step.job == job(Status.EXPIRED)
        assert [n.kind for n in step.notices] == [NoticeKind.LATE_RESULT]

    def test_of_the_same_end_is_nothing_new(self) -> None:
        step = decide(job(Status.SUCCEEDED), callback(Status.SUCCEEDED))
        assert (step.job, step.notices) == (job(Status.SUCCEEDED), ())

    @pytest.mark.parametrize(
        "foreign",
        [
            callback(Status.SUCCEEDED, external_id="x_2"),
            callback(Status.SUCCEEDED, operation="other"),
            replace(callback(Status.SUCCEEDED), provider="mallory"),
        ],
        ids=["external id", "operation", "provider"],
    )
    def test_of_another_job_settles_nothing_and_is_kept(self, foreign: Called) -> None:
        ours = job(external_id="x_1")
        step = decide(ours, foreign)
        assert step.job == ours
        assert [n.kind for n in step.notices] == [NoticeKind.ORPHANED]

    def test_with_a_word_nobody_listed_changes_nothing(self) -> None:
        step = decide(job(), callback(Status.UNKNOWN))
        assert (step.job, step.notices) == (job(), ())


RUNNING = Started()
FIRST = Ticked(number=1, at=NOW)
THIN = callback(Status.UNKNOWN, thin=True, external_id="x_1")


def ended(status: Status, **changes: object) -> Started:
    return replace(Started(status=status), **changes)  # type: ignore[arg-type] # fields by name


class TestPoll:
    def test_follows_a_tick_of_a_job_that_the_provider_has(self) -> None:
        running = job(external_id="x_1")
        step = decide(running, FIRST, poll=True)
        assert (step.job, step.call, step.look_at) == (running, Call.POLL, None)

    @pytest.mark.parametrize(
        "running",
        [job(), job(Status.ACCEPTED, attempts=3), job(Status.AMBIGUOUS)],
        ids=["no id", "not started", "ambiguous"],
    )
    def test_cannot_be_where_nobody_knows_what_the_provider_calls_the_job(self, running: Job) -> None:
        step = decide(running, FIRST, poll=True)
        assert (step.call, step.look_at) == (None, DEADLINE)

    def test_cannot_be_where_the_operation_has_none(self) -> None:
        step = decide(job(external_id="x_1"), FIRST)
        assert (step.call, step.look_at) == (None, DEADLINE)

    def test_is_not_asked_for_when_the_job_has_ended(self) -> None:
        assert decide(job(Status.FAILED, external_id="x_1"), FIRST, poll=True).call is None

    def test_waits_while_a_start_that_a_callback_overtook_is_noted(self) -> None:
        sending = job(external_id="x_1", attempt_since=NOW)
        step = decide(sending, FIRST, poll=True)
        assert (step.call, step.look_at) == (None, NOW + timedelta(seconds=33))

    def test_comes_later_where_the_answer_to_a_start_that_a_callback_overtook_was_lost(self) -> None:
        sent = job(external_id="x_1", attempt_since=NOW)
        later = NOW + timedelta(seconds=33)
        step = decide(sent, FIRST, now=later, poll=True)
        assert (step.job.attempt_since, step.call, step.look_at) == (
            None,
            None,
            later + timedelta(minutes=10),
        )

    @pytest.mark.parametrize("poll", [True, False], ids=["with poll", "without"])
    def test_is_due_ten_minutes_after_the_start_was_answered(self, poll: bool) -> None:
        answered = Answered(started=Started(external_id="x_1"), elapsed=timedelta(0))
        step = decide(job(Status.ACCEPTED, attempt_since=NOW), answered, poll=poll)
        assert step.look_at == (NOW + timedelta(minutes=10) if poll else DEADLINE)

    def test_is_due_no_sooner_than_the_answer_to_the_start_asks(self) -> None:
        wait = timedelta(minutes=20)
        answered = Answered(started=Started(external_id="x_1"), elapsed=timedelta(0), retry_after=wait)
        assert decide(job(Status.ACCEPTED), answered, poll=True).look_at == NOW + timedelta(minutes=20)

    @pytest.mark.parametrize(
        ("polls", "wait"),
        [(0, 5 * 60), (1, 10 * 60), (2, 20 * 60), (3, 30 * 60), (99, 30 * 60)],
    )
    def test_that_finds_it_running_comes_again_at_growing_intervals(self, polls: int, wait: int) -> None:
        long = job(external_id="x_1", polls=polls, deadline_at=NOW + timedelta(days=9))
        step = decide(long, Polled(after=FIRST, told=RUNNING), poll=True)
        assert step.look_at == NOW + timedelta(seconds=wait)
        assert (step.job, step.call, step.notices) == (replace(long, polls=polls + 1), None, ())

    def test_follows_the_profile(self) -> None:
        declared = replace(
            operation(poll=True), poll_after=timedelta(seconds=6), poll_every=timedelta(seconds=20)
        )
        said: list[tuple[int, Happened]] = [
            (0, Answered(started=RUNNING, elapsed=timedelta(0))),
            (0, Polled(after=FIRST, told=RUNNING)),
            (1, Polled(after=FIRST, told=RUNNING)),
            (2, Polled(after=FIRST, told=RUNNING)),
            (9, Polled(after=FIRST, told=FAILURE)),
        ]
        looks = [
            next_step(job(external_id="x_1", polls=polls), happened, NOW, declared, 0.5).look_at
            for polls, happened in said
        ]
        assert looks == [NOW + timedelta(seconds=s) for s in (6, 3, 6, 10, 1)]

    @pytest.mark.parametrize("told", [RUNNING, FAILURE], ids=["running", "failure"])
    def test_never_waits_past_the_deadline(self, told: Started | Failure) -> None:
        polled = Polled(after=FIRST, told=told, retry_after=timedelta.max)
        assert decide(job(external_id="x_1"), polled, poll=True).look_at == DEADLINE

    @pytest.mark.parametrize("told", [RUNNING, FAILURE], ids=["running", "failure"])
    def test_comes_again_no_sooner_than_the_provider_asks(self, told: Started | Failure) -> None:
        polled = Polled(after=FIRST, told=told, retry_after=timedelta(minutes=40))
        assert decide(job(external_id="x_1"), polled, poll=True).look_at == NOW + timedelta(minutes=40)

    @pytest.mark.parametrize(("failed", "wait"), [(0, 1), (1, 2), (5, 32), (12, 1800), (4000, 1800)])
    def test_that_fails_comes_again_soon_and_then_less_and_less(self, failed: int, wait: int) -> None:
        long = job(external_id="x_1", polls=7, polls_failed=failed, deadline_at=NOW + timedelta(days=9))
        step = decide(long, Polled(after=FIRST, told=FAILURE), poll=True)
        assert step.look_at == NOW + timedelta(seconds=wait)
        assert (step.job.status, step.job.polls, step.job.polls_failed) == (Status.RUNNING, 7, failed + 1)

    @pytest.mark.parametrize("told", [RUNNING, FAILURE], ids=["running", "failure"])
    def test_keeps_the_distance_that_the_operation_asks_for(self, told: Started | Failure) -> None:
        declared = replace(operation(poll=True), poll_at_least=timedelta(minutes=15))
        step = next_step(job(external_id="x_1"), Polled(after=FIRST, told=told), NOW, declared, 0.5)
        assert step.look_at == NOW + timedelta(minutes=15)

    def test_that_tells_of_another_job_says_nothing(self) -> None:
        told = ended(Status.SUCCEEDED, job_id="job_2")
        step = decide(job(external_id="x_1"), Polled(after=FIRST, told=told), poll=True)
        assert (step.job.status, step.job.history[-1].detail) == (Status.RUNNING, "another_job")

    def test_that_finds_it_running_after_some_that_failed_goes_back_to_its_interval(self) -> None:
        step = decide(job(external_id="x_1", polls_failed=9), Polled(after=FIRST, told=RUNNING), poll=True)
        assert (step.job.polls_failed, step.look_at) == (0, NOW + timedelta(minutes=5))

    def test_that_fails_again_and_again_is_one_line_of_the_history(self) -> None:
        failing = job(external_id="x_1", history=(Entry(at=NOW, event="start.answered"),))
        for number in range(60):
            polled = Polled(after=FIRST, told=replace(FAILURE, code=f"code_{number}"))
            later = NOW + timedelta(seconds=number)
            failing = decide(failing, polled, now=later, poll=True).job
        assert [(e.event, e.detail) for e in failing.history] == [
            ("start.answered", None),
            ("poll.failed", "code_59"),
        ]
        assert failing.history[-1].at == NOW + timedelta(seconds=59)

    @pytest.mark.parametrize(
        "end", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED], ids=lambda s: s.value
    )
    @pytest.mark.parametrize("now", [NOW, DEADLINE], ids=["in time", "at the deadline"])
    def test_settles_the_job(self, end: Status, now: datetime) -> None:
        polled = Polled(after=FIRST, told=ended(end, result={"a": 1}, failure=FAILURE))
        step = decide(job(external_id="x_1"), polled, now=now, poll=True)
        assert (step.job.status, step.job.settled_at, step.job.result) == (end, now, {"a": 1})
        assert (step.job.failure, step.job.history[-1].detail) == (FAILURE, "poll")
        assert (step.look_at, step.notices) == (None, ())

    def test_settles_even_when_a_newer_tick_waits(self) -> None:
        newer = job(external_id="x_1", tick=5)
        step = decide(newer, Polled(after=FIRST, told=ended(Status.SUCCEEDED)), poll=True)
        assert step.job.status is Status.SUCCEEDED

    def test_that_finds_it_running_leaves_a_newer_tick_alone(self) -> None:
        newer = job(external_id="x_1", tick=5)
        step = decide(newer, Polled(after=FIRST, told=RUNNING), poll=True)
        assert (step.job, step.look_at) == (newer, None)

    def test_is_made_once_more_at_the_deadline(self) -> None:
        step = decide(job(external_id="x_1"), FIRST, now=DEADLINE, poll=True)
        assert (step.job.status, step.call) == (Status.RUNNING, Call.POLL)

    @pytest.mark.parametrize("told", [RUNNING, FAILURE], ids=["running", "failure"])
    def test_at_the_deadline_is_the_last_one(self, told: Started | Failure) -> None:
        step = decide(job(external_id="x_1"), Polled(after=FIRST, told=told), now=DEADLINE, poll=True)
        assert (step.job.status, step.call, step.look_at) == (Status.EXPIRED, None, None)
        assert step.job.failure is not None
        assert step.job.failure.code == "deadline"

    @pytest.mark.parametrize("told", [RUNNING, FAILURE], ids=["running", "failure"])
    @pytest.mark.parametrize("after", [FIRST, THIN], ids=["tick", "thin callback"])
    def test_that_says_no_end_changes_nothing_about_a_settled_job(
        self, told: Started | Failure, after: Ticked | Called
    ) -> None:
        settled = job(Status.CANCELED, external_id="x_1")
        step = decide(settled, Polled(after=after, told=told), now=DEADLINE, poll=True)
        assert (step.job, step.call, step.look_at) == (settled, None, None)

    def test_that_says_another_end_than_the_jobs_is_a_late_result(self) -> None:
        settled = job(Status.CANCELED, external_id="x_1")
        told = ended(Status.SUCCEEDED, result={"a": 1})
        step = decide(settled, Polled(after=FIRST, told=told), poll=True)
        [notice] = step.notices
        assert (step.job, notice.kind) == (settled, NoticeKind.LATE_RESULT)
        assert notice.called == Called(
            provider="acme",
            callback=Callback(
                event_id="poll-job_1-succeeded",
                event_type="poll",
                status=Status.SUCCEEDED,
                operation="work",
                job_id="job_1",
                external_id="x_1",
                result={"a": 1},
            ),
            message_id="poll-job_1-succeeded",
        )

    def test_that_says_what_is_known_is_nothing_new(self) -> None:
        settled = job(Status.SUCCEEDED, external_id="x_1")
        step = decide(settled, Polled(after=FIRST, told=ended(Status.SUCCEEDED)), poll=True)
        assert (step.job, step.notices) == (settled, ())

    def test_becomes_possible_by_progress_that_says_what_the_provider_calls_the_job(self) -> None:
        told = callback(Status.RUNNING, external_id="x_1")
        step = decide(job(Status.AMBIGUOUS), told, poll=True)
        assert (step.job.external_id, step.look_at) == ("x_1", NOW + timedelta(minutes=10))
        assert decide(step.job, told, poll=True).look_at is None, "its tick waits already"

    def test_goes_on_when_a_later_start_fails_of_a_job_that_runs(self) -> None:
        step = decide(job(external_id="x_1"), PutOff(failure=FAILURE), poll=True)
        assert step.look_at == NOW + timedelta(minutes=10)


class TestThinCallback:
    @pytest.mark.parametrize("open_status", [Status.ACCEPTED, Status.AMBIGUOUS, Status.RUNNING])
    @pytest.mark.parametrize("word", [Status.UNKNOWN, Status.RUNNING])
    def test_has_the_provider_asked_at_once(self, open_status: Status, word: Status) -> None:
        thin = callback(word, thin=True, external_id="x_1")
        step = decide(job(open_status), thin, poll=True)
        assert (step.call, step.job.external_id, step.notices) == (Call.POLL, "x_1", ())

    def test_need_not_say_what_the_provider_calls_the_job_if_that_is_known(self) -> None:
        step = decide(job(external_id="x_2"), callback(Status.UNKNOWN, thin=True), poll=True)
        assert (step.call, step.job.external_id) == (Call.POLL, "x_2")

    def test_that_comes_before_that_is_known_has_it_asked_soon_after(self) -> None:
        sending = job(Status.ACCEPTED, attempt_since=NOW)
        early = decide(sending, callback(Status.UNKNOWN, thin=True), poll=True)
        assert (early.call, early.look_at, early.job.status) == (None, None, Status.ACCEPTED)
        answered = Answered(started=Started(external_id="x_1"), elapsed=timedelta(0))
        assert decide(early.job, answered, poll=True).look_at == NOW + timedelta(seconds=1)

    @pytest.mark.parametrize(
        "foreign",
        [replace(THIN, provider="mallory"), callback(Status.UNKNOWN, thin=True, external_id="x_2")],
        ids=["provider", "external id"],
    )
    def test_of_another_job_is_kept_and_nobody_is_asked(self, foreign: Called) -> None:
        step = decide(job(external_id="x_1"), foreign, poll=True)
        assert (step.call, [n.kind for n in step.notices]) == (None, [NoticeKind.ORPHANED])

    @pytest.mark.parametrize("word", [Status.UNKNOWN, Status.RUNNING])
    def test_does_nothing_where_there_is_no_poll(self, word: Status) -> None:
        step = decide(job(Status.AMBIGUOUS), callback(word, thin=True, external_id="x_1"))
        assert (step.job, step.call, step.notices) == (job(Status.AMBIGUOUS), None, ())

    def test_does_nothing_when_the_job_has_ended(self) -> None:
        settled = job(Status.EXPIRED, external_id="x_1")
        step = decide(settled, THIN, poll=True)
        assert (step.job, step.call, step.look_at, step.notices) == (settled, None, None, ())

    @pytest.mark.parametrize("end", [Status.SUCCEEDED, Status.FAILED])
    def test_settles_by_what_the_provider_then_says(self, end: Status) -> None:
        told = ended(end, result={"a": 1}, failure=FAILURE)
        step = decide(job(Status.ACCEPTED), Polled(after=THIN, told=told), poll=True)
        assert (step.job.status, step.job.external_id, step.job.result) == (end, "x_1", {"a": 1})
        assert (step.job.failure, step.job.history[-1].detail) == (FAILURE, "poll")

    @pytest.mark.parametrize("word", [Status.RUNNING, Status.UNKNOWN])
    def test_of_a_job_that_runs_on_is_progress_and_leaves_the_tick_waiting(self, word: Status) -> None:
        running = job(external_id="x_1", progress_at=NOW)
        older = callback(Status.UNKNOWN, thin=True, occurred_at=NOW - timedelta(seconds=1))
        step = decide(running, Polled(after=older, told=ended(word)), poll=True)
        assert (step.job, step.look_at) == (running, None)
        [notice] = step.notices
        assert (notice.kind, notice.superseded) == (NoticeKind.PROGRESS, False)
        assert (notice.called.callback.status, notice.called.message_id) == (Status.RUNNING, "callback-1")

    @pytest.mark.parametrize(
        "told",
        [FAILURE, ended(Status.SUCCEEDED, job_id="job_2"), Started(job_id="")],
        ids=["failure", "the end of another job", "nobody's job"],
    )
    @pytest.mark.parametrize("status", [Status.ACCEPTED, Status.AMBIGUOUS])
    def test_does_not_make_its_id_the_jobs_unless_the_provider_bears_it_out(
        self, status: Status, told: Started | Failure
    ) -> None:
        step = decide(job(status), Polled(after=THIN, told=told), poll=True)
        assert (step.job.status, step.job.external_id, step.look_at) == (status, None, None)
        assert step.job.history[-1].event == "poll.failed"

    def test_makes_its_id_the_jobs_if_the_provider_says_so(self) -> None:
        told = ended(Status.SUCCEEDED, job_id="job_1")
        step = decide(job(Status.AMBIGUOUS), Polled(after=THIN, told=told), poll=True)
        assert (step.job.status, step.job.external_id) == (Status.SUCCEEDED, "x_1")

    @pytest.mark.parametrize("now", [NOW, DEADLINE], ids=["in time", "at the deadline"])
    def test_whose_poll_fails_has_it_asked_again_soon(self, now: datetime) -> None:
        known = job(Status.AMBIGUOUS, external_id="x_1")
        step = decide(known, Polled(after=THIN, told=FAILURE), now=now, poll=True)
        assert (step.job.status, step.job.external_id) == (Status.RUNNING, "x_1")
        assert (step.look_at, step.call) == (now + timedelta(seconds=1), None)
        assert step.job.history[-1].detail == "some_code"

    def test_and_a_job_that_ended_otherwise_meanwhile_make_a_late_result(self) -> None:
        told = ended(Status.SUCCEEDED, result={"a": 1})
        step = decide(job(Status.EXPIRED, external_id="x_1"), Polled(after=THIN, told=told), poll=True)
        [notice] = step.notices
        assert (notice.kind, notice.called.callback.result) == (NoticeKind.LATE_RESULT, {"a": 1})
        assert (notice.called.message_id, notice.called.callback.event_id) == ("callback-1", "evt_1")


class TestCancel:
    def test_settles_an_open_job_and_tells_the_provider(self) -> None:
        step = decide(job(external_id="x_1"), CancelRequested())
        assert (step.job.status, step.call) == (Status.CANCELED, Call.CANCEL)

    def test_tells_no_provider_that_has_not_answered_yet(self) -> None:
        assert decide(job(Status.ACCEPTED), CancelRequested()).call is None

    def test_changes_nothing_about_a_settled_job(self) -> None:
        step = decide(job(Status.FAILED), CancelRequested())
        assert (step.job, step.call) == (job(Status.FAILED), None)


@pytest.mark.parametrize(
    ("attempt", "chance", "seconds"),
    [(1, 1.0, 2), (2, 1.0, 4), (5, 1.0, 32), (9, 1.0, 300), (5000, 1.0, 300), (3, 0.25, 2), (4, 0.0, 0)],
)
def test_backoff_doubles_up_to_five_minutes_and_chance_places_it(
    attempt: int, chance: float, seconds: int
) -> None:
    assert backoff(attempt, chance) == timedelta(seconds=seconds)


def test_the_history_keeps_the_newest_fifty_entries() -> None:
    long = job(Status.ACCEPTED, attempts=1)
    for _ in range(60):
        long = decide(long, PutOff(failure=FAILURE), max_attempts=99).job
    assert len(long.history) == 50
