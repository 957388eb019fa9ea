"""What an answer to a start means, for a start that is safe to repeat and for one that is not."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.access import read_retry_after
from services.attempt import read_answer, read_poll_answer
from services.errors import AnswerLost, NotSent, Unavailable
from services.lifecycle import Answered, Lost, PutOff, Refused
from services.models import Failure, HttpAnswer, HttpRequest, Message, Status
from services.providers.base import Completion, Operation, Start, Started
from tests.unit.conftest import (
    ACME,
    ASKED,
    NOW,
    POLLABLE,
    POLLED,
    SECRET,
    WORK,
    World,
    answer,
    request,
    said,
    start_work,
)

IDEMPOTENT = replace(WORK, idempotent=True)


@pytest.mark.parametrize(
    ("status", "otherwise", "idempotent"),
    [
        (200, Answered, Answered),
        (201, Answered, Answered),
        (301, Refused, Refused),
        (400, Refused, Refused),
        (401, PutOff, PutOff),
        (402, Refused, Refused),
        (403, PutOff, PutOff),
        (404, Refused, Refused),
        (408, PutOff, PutOff),
        (409, Refused, PutOff),
        (422, Refused, Refused),
        (425, PutOff, PutOff),
        (429, PutOff, PutOff),
        (500, PutOff, Lost),
        (502, Lost, Lost),
        (503, PutOff, PutOff),
        (504, Lost, Lost),
        (520, Lost, Lost),
        (521, PutOff, Lost),
        (524, Lost, Lost),
    ],
)
def test_a_status_is_sorted(status: int, otherwise: type, idempotent: type) -> None:
    given = answer({"id": "x_1"}, status)
    assert type(read_answer(ACME, WORK, given, NOW)) is otherwise
    assert type(read_answer(ACME, IDEMPOTENT, given, NOW)) is idempotent


@pytest.mark.parametrize("body", [b"", b"{", b"{}"])
def test_a_success_that_nobody_can_read_may_have_started_the_job(body: bytes) -> None:
    assert isinstance(read_answer(ACME, WORK, HttpAnswer(status=200, body=body), NOW), Lost)


@pytest.mark.parametrize(
    ("asked", "given", "wait"),
    [(None, None, None), (None, "90", 90), (20, "90", 20)],
    ids=["nobody", "header", "body"],
)
def test_a_success_that_says_that_nothing_was_done_is_put_off(
    asked: int | None, given: str | None, wait: int | None
) -> None:
    def throttled(_: HttpAnswer) -> Started:
        raise NotSent(retry_after=None if asked is None else timedelta(seconds=asked))

    headers = {} if given is None else {"retry_after": given}
    told = read_answer(ACME, replace(WORK, read_start=throttled), answer({}, 200, **headers), NOW)
    assert isinstance(told, PutOff)
    assert (told.counts, told.failure.code) == (True, "provider_unavailable")
    assert told.retry_after == (None if wait is None else timedelta(seconds=wait))


@pytest.mark.parametrize("status", [401, 403])
def test_a_start_whose_key_is_refused_waits_as_long_as_the_provider_asks(status: int) -> None:
    told = read_answer(ACME, WORK, answer({}, status, retry_after="90"), NOW)
    assert isinstance(told, PutOff)
    assert (told.counts, told.retry_after) == (False, timedelta(seconds=90))


def test_a_start_that_was_taken_before_is_answered_and_not_refused() -> None:
    known = replace(IDEMPOTENT, read_duplicate=WORK.read_start)
    told = read_answer(ACME, known, answer({"id": "x_1"}, 400), NOW)
    assert isinstance(told, Answered)
    assert (told.started.external_id, told.started.status) == ("x_1", "running")
    assert isinstance(read_answer(ACME, known, answer({"error": "no"}, 400), NOW), Refused)
    assert isinstance(read_answer(ACME, IDEMPOTENT, answer({"id": "x_1"}, 400), NOW), Refused)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", timedelta(0)),
        (" 120 ", timedelta(seconds=120)),
        ("Sun, 01 Mar 2026 12:01:00 GMT", timedelta(minutes=1)),
        ("Sun, 01 Mar 2026 11:00:00 GMT", timedelta(0)),
        ("Sun, 01 Mar 2026 12:01:00", timedelta(minutes=1)),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Mon, 99999999999999999999 Jan 2020 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2300", timedelta(days=2912384, seconds=39599)),
        ("9" * 10, None),
        ("9" * 5000, None),
        ("\u0665", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, wait: timedelta | None) -> None:
    assert read_retry_after(answer({}, 503, retry_after=value), NOW) == wait


async def test_a_key_that_was_rotated_is_read_anew_and_loses_no_job(world: World) -> None:
    world.answers = [answer({}, 401), answer({}, 401), answer({"id": "x_1"}, 201)]
    job_id = said(await world.start())["id"]
    world.clock.advance(timedelta(seconds=10))
    world.vault.versions["acme-api-key"] = ("new-key",)
    await world.run_until(NOW + timedelta(minutes=2))
    job = await world.job(job_id)
    assert (job.status, job.attempts) == ("running", 1)
    assert world.vault.fetches.count("acme-api-key") == 2, "at the start, and once it was refused"


async def test_a_vault_that_is_away_for_an_hour_loses_no_start(world: World) -> None:
    world.vault.available = False
    job_id = said(await world.start({"input": {"text": "a"}, "deadline_seconds": 7200}))["id"]
    await world.run_until(NOW + timedelta(hours=1))
    assert (await world.job(job_id)).status == "accepted"
    world.vault.available = True
    await world.run_until(NOW + timedelta(minutes=62))
    assert (await world.job(job_id)).status == "running"


async def test_a_start_never_follows_an_input_model_that_was_changed(world: World) -> None:
    await world.start(prefer="respond-async")
    [job_id] = world.store._rows
    stored = await world.store.load(job_id)
    assert stored is not None
    await world.store.save(replace(stored.job, input={"old": 1}), stored.version)
    await world.run_until(NOW + timedelta(seconds=5))
    assert [data["failure"]["code"] for _, data in world.outcomes()] == ["input_outdated"]


async def test_an_account_wide_address_has_no_token(world: World) -> None:
    await world.start(provider="account")
    assert world.callback_address() == "https://hooks.example/api/webhooks/account"


@pytest.mark.parametrize(
    "trouble", [NotSent(), AnswerLost(), answer({}, 500)], ids=["not sent", "lost", "500"]
)
async def test_a_provider_that_cannot_be_told_of_a_cancel_does_not_stop_it(
    world: World, trouble: HttpAnswer | Exception
) -> None:
    job_id = said(await world.start())["id"]
    world.answers = [trouble]
    canceled = await world.api.cancel_job(request("DELETE", "j"), job_id)
    assert canceled.status == 202
    assert [subject for subject, _ in world.outcomes()] == ["job.canceled"]


async def away(_: Message) -> None:
    raise Unavailable("the bus")


async def test_a_cancel_whose_outcome_cannot_be_published_reaches_the_provider_and_can_be_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = said(await world.start())["id"]
    monkeypatch.setattr(world.bus, "publish", away)
    world.payloads.available = False
    assert (await world.api.cancel_job(request("DELETE", "j"), job_id)).status == 503
    assert [r.method for r in world.sender.requests] == ["POST", "DELETE"]
    monkeypatch.undo()
    assert (await world.api.cancel_job(request("DELETE", "j"), job_id)).status == 202
    assert [subject for subject, _ in world.outcomes()] == ["job.canceled"]


async def test_a_cancel_whose_outcome_cannot_be_published_is_published_soon_after(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = said(await world.start())["id"]
    monkeypatch.setattr(world.bus, "publish", away)
    world.payloads.available = False
    await world.api.cancel_job(request("DELETE", "j"), job_id)
    monkeypatch.undo()
    world.payloads.available = True
    await world.run_until(NOW + timedelta(seconds=30))
    assert [subject for subject, _ in world.outcomes()] == ["job.canceled"]


async def test_a_cancel_with_the_bus_away_changes_nothing(world: World) -> None:
    job_id = said(await world.start())["id"]
    world.bus.available = False
    assert (await world.api.cancel_job(request("DELETE", "j"), job_id)).status == 503
    assert (await world.job(job_id)).status == "running"


async def test_a_wait_longer_than_time_itself_ends_at_the_deadline(world: World) -> None:
    world.answers = [answer({}, 429, retry_after="Fri, 31 Dec 9999 23:59:59 -2300")]
    assert (await world.start()).status == 202
    await world.run_until(NOW + timedelta(hours=1))
    assert [subject for subject, _ in world.outcomes()] == ["job.expired"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "provider_unavailable"),
        (400, "provider_refused"),
        (401, "provider_refused_key"),
        (403, "provider_refused_key"),
        (404, "provider_knows_no_job"),
        (408, "provider_unavailable"),
        (410, "provider_refused"),
        (425, "provider_unavailable"),
        (429, "provider_unavailable"),
        (500, "provider_unavailable"),
        (502, "provider_unavailable"),
        (503, "provider_unavailable"),
    ],
)
def test_no_answer_to_a_poll_but_one_that_says_so_ends_the_job(status: int, code: str) -> None:
    told, _ = read_poll_answer(POLLABLE.read_poll, answer({"state": "error"}, status), NOW)
    assert isinstance(told, Failure)
    assert told.code == code


@pytest.mark.parametrize("status", [200, 202])
def test_an_answer_to_a_poll_is_read_by_the_provider(status: int) -> None:
    given = answer({"state": "done", "result": {"words": 3, "internal": "no"}}, status)
    assert read_poll_answer(POLLABLE.read_poll, given, NOW) == (
        Started(external_id="x_1", status=Status.SUCCEEDED, result={"words": 3}),
        None,
    )


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"state": "done", "result": {"words": "many"}}'])
def test_an_answer_to_a_poll_that_nobody_can_read_says_nothing(body: bytes) -> None:
    told, _ = read_poll_answer(POLLABLE.read_poll, HttpAnswer(status=200, body=body), NOW)
    assert isinstance(told, Failure)
    assert told.code == "answer_unreadable"


@pytest.mark.parametrize(
    ("given", "wait"),
    [
        (answer({"state": "busy"}, 200, retry_after="90"), 90),
        (answer({}, 200, retry_after="90"), 90),
        (answer({}, 404, retry_after="90"), 90),
        (answer({}, 410, retry_after="90"), 90),
        (answer({}, 429, retry_after="90"), 90),
        (answer({}, 503, retry_after="Sun, 01 Mar 2026 12:01:00 GMT"), 60),
        (answer({}, 401), 30),
        (answer({}, 403), 30),
        (answer({}, 401, retry_after="5"), 30),
        (answer({}, 403, retry_after="90"), 90),
    ],
)
def test_an_answer_to_a_poll_says_how_long_to_wait(given: HttpAnswer, wait: int) -> None:
    assert read_poll_answer(POLLABLE.read_poll, given, NOW)[1] == timedelta(seconds=wait)


def test_the_answer_to_a_start_says_how_long_to_wait_before_a_poll() -> None:
    taken = read_answer(ASKED, POLLABLE, answer({"id": "x_1"}, 202, retry_after="90"), NOW)
    assert isinstance(taken, Answered)
    assert taken.retry_after == timedelta(seconds=90)


def test_a_provider_that_never_calls_back_is_asked_soon_unless_it_says_when() -> None:
    assert (POLLED.operations["work"].poll_after, POLLED.operations["work"].poll_every) == (
        timedelta(seconds=2),
        timedelta(minutes=5),
    )
    slow = replace(POLLABLE, poll_after=timedelta(hours=1), poll_every=timedelta(hours=2))
    kept = replace(ASKED, completion=Completion.POLL, operations={"work": slow}).operations["work"]
    assert (kept.poll_after, kept.poll_every) == (timedelta(hours=1), timedelta(hours=2))
    assert ASKED.operations["work"].poll_after is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"completion": Completion.POLL, "operations": {"work": WORK}}, "has to be polled"),
        ({"operations": {"work": replace(WORK, poll=POLLABLE.poll)}}, "a way to read its answer"),
        ({"operations": {"work": replace(WORK, read_poll=POLLABLE.read_poll)}}, "a way to read its answer"),
    ],
    ids=["no poll", "no reader", "only a reader"],
)
def test_a_provider_that_could_not_be_polled_cannot_be_declared(
    changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(ACME, **changes)  # type: ignore[arg-type] # fields by name


async def test_a_key_that_a_poll_is_refused_with_is_read_anew(world: World) -> None:
    job_id = said(await world.start(provider="polled"))["id"]
    world.vault.versions["acme-api-key"] = ("new-key",)
    busy = [answer({"state": "busy"})] * 4
    world.answers = [*busy, answer({}, 401), answer({"state": "done"})]
    await world.run_until(NOW + timedelta(minutes=1))
    assert [r.headers["authorization"] for r in world.sender.requests[5:]] == [
        "Bearer acme-key",
        "Bearer new-key",
    ]
    job = await world.job(job_id)
    assert (job.status, job.settled_at) == (Status.SUCCEEDED, NOW + timedelta(seconds=17 + 30))


async def test_a_key_that_a_cancel_is_refused_with_is_read_anew(world: World) -> None:
    job_id = said(await world.start())["id"]
    world.answers = [answer({}, 401)]
    await world.run_until(NOW + timedelta(seconds=20))
    await world.api.cancel_job(request("DELETE", "j"), job_id)
    assert world.vault.fetches.count("acme-api-key") == 2


async def test_a_vault_that_is_away_puts_a_poll_off(world: World) -> None:
    job_id = said(await world.start(provider="asked"))["id"]
    world.vault.available = False
    world.jobs.attempt.secrets._kept.clear()
    await world.run_until(NOW + timedelta(minutes=10))
    assert [e.detail for e in (await world.job(job_id)).history][-1] == "secrets_unavailable"
    assert [at for at, _ in world.bus.scheduled.values()] == [NOW + timedelta(minutes=10, seconds=30)]


@pytest.mark.parametrize("part", ["poll", "read_poll"])
async def test_a_bug_of_ours_in_a_poll_does_not_keep_a_job_from_its_deadline(
    world: World, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    def stumble(_: object) -> None:
        raise KeyError("planted-" * 2)

    broken: Operation = replace(POLLABLE, **{part: stumble})  # type: ignore[arg-type] # a field by name
    providers = {"asked": replace(ASKED, operations={"work": broken})}
    job_id = said(await world.start(provider="asked"))["id"]
    object.__setattr__(world.jobs.attempt, "providers", providers)
    await world.run_until(NOW + timedelta(hours=1))
    assert [subject for subject, _ in world.outcomes()] == ["job.expired"]
    assert "poll.broken" in [record.message for record in caplog.records]
    assert "planted-planted-" not in "".join(str(vars(record)) for record in caplog.records)
    assert [e.detail for e in (await world.job(job_id)).history][-2:] == ["poll_broken", "deadline"]


@pytest.mark.parametrize(("tells", "told"), [(False, ""), (True, SECRET)], ids=["kept", "told"])
async def test_a_signing_secret_is_told_only_to_a_provider_that_sends_it_along(
    world: World, *, tells: bool, told: str
) -> None:
    heard: list[str] = []

    def listen(start: Start) -> HttpRequest:
        heard.append(start.signing_secret)
        return start_work(start)

    provider = replace(ACME, operations={"work": replace(WORK, start=listen)}, tells_secret=tells)
    object.__setattr__(world.jobs.attempt, "providers", {"acme": provider})
    await world.start()
    assert heard == [told]


async def test_an_answer_that_does_not_come_is_logged_as_one_that_took_all_its_time(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.answers = [AnswerLost()]
    await world.start()
    world.answers = [answer({"id": "x_1"}, 201), AnswerLost()]
    await world.start(provider="polled")
    await world.run_until(NOW + timedelta(seconds=10))
    silent = [record for record in caplog.records if record.message.endswith(".unanswered")]
    assert [(one.message, vars(one)["provider"], vars(one)["elapsed_ms"]) for one in silent] == [
        ("start.unanswered", "acme", 3000),
        ("poll.unanswered", "polled", 30_000),
    ]
