"""The fake third party speaks and signs as the vendors do, judged by their own libraries."""

import base64
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
import standardwebhooks
import stripe

from tests.provider.conftest import SECRETS, Listener, ThirdParty

REPLICATE = {"Authorization": "Bearer r8_test"}
STRIPE = {"Authorization": "Bearer sk_test_1"}
STANDARD = {"Authorization": "Bearer standard-test"}
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
PAYMENT = {
    "amount": "1999",
    "currency": "eur",
    "confirm": "true",
    "payment_method": "pm_card_visa",
    "payment_method_types[]": "card",
    "metadata[order]": "42",
}


async def predict(party: ThirdParty, address: str, **more: Any) -> httpx.Response:
    body = {"version": VERSION, "input": {"prompt": "hello world"}, "webhook": address} | more
    return await party.http.post("/v1/predictions", json=body, headers=REPLICATE)


async def pay(party: ThirdParty, key: str | None = None, **changes: str) -> httpx.Response:
    headers = STRIPE | ({"Idempotency-Key": key} if key else {})
    return await party.http.post("/v1/payment_intents", data=PAYMENT | changes, headers=headers)


def types(listener: Listener) -> list[str]:
    return [json.loads(body)["type"] for _, body in listener.taken]


async def test_replicate_takes_a_prediction_and_calls_back_signed(
    third_party: ThirdParty, listener: Listener
) -> None:
    answer = await predict(third_party, listener.url, webhook_events_filter=["start", "completed"])
    started = answer.json()
    assert (answer.status_code, started["status"], started["output"]) == (201, "starting", None)
    await third_party.until_called("replicate", 2)
    verifier = standardwebhooks.Webhook(SECRETS["REPLICATE_SIGNING_SECRET"])
    told = [verifier.verify(body, headers) for headers, body in listener.taken]
    assert [one["status"] for one in told] == ["processing", "succeeded"]
    assert told[1]["output"] == ["hello", "world"]
    assert told[1]["id"] == started["id"]
    asked = await third_party.http.get(f"/v1/predictions/{started['id']}", headers=REPLICATE)
    assert asked.json() == told[1]


async def test_replicate_runs_a_model_by_its_name(third_party: ThirdParty) -> None:
    path = "/v1/models/meta/llama/predictions"
    answer = await third_party.http.post(path, json={"input": {}}, headers=REPLICATE)
    assert (answer.status_code, answer.json()["model"]) == (201, "meta/llama")


async def test_replicate_tells_once_of_a_prediction_that_was_canceled(
    third_party: ThirdParty, listener: Listener
) -> None:
    await third_party.set(provider="replicate", latency=0.3)
    started = (await predict(third_party, listener.url)).json()
    answer = await third_party.http.post(f"/v1/predictions/{started['id']}/cancel", headers=REPLICATE)
    assert answer.json()["status"] == "canceled"
    later = (await predict(third_party, listener.url)).json()  # ends after the first one would have
    await third_party.until_called("replicate", 2)
    told = [json.loads(body) for _, body in listener.taken]
    assert [(one["id"], one["status"]) for one in told] == [
        (started["id"], "canceled"),
        (later["id"], "succeeded"),
    ]


@pytest.mark.parametrize(
    ("body", "headers", "status", "title"),
    [
        pytest.param({"version": VERSION, "input": {}}, {}, 401, "Unauthenticated", id="no key"),
        pytest.param({"version": VERSION}, REPLICATE, 422, "Invalid input", id="no input"),
        pytest.param({"input": {}}, REPLICATE, 422, "Invalid input", id="no version"),
        pytest.param(
            {"version": VERSION, "input": {}, "webhok": ""}, REPLICATE, 422, "Invalid input", id="typo"
        ),
        pytest.param([], REPLICATE, 400, "Bad request", id="no object"),
    ],
)
async def test_replicate_refuses_what_the_vendor_refuses(
    third_party: ThirdParty, body: object, headers: dict[str, str], status: int, title: str
) -> None:
    answer = await third_party.http.post("/v1/predictions", json=body, headers=headers)
    assert (answer.status_code, answer.json()["title"], answer.json()["status"]) == (status, title, status)


async def test_stripe_takes_a_payment_and_sends_its_event_signed(
    third_party: ThirdParty, listener: Listener
) -> None:
    await third_party.set(webhook_url=listener.url)
    answer = await pay(third_party, key="order-42")
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    await third_party.until_called("stripe", 1)
    headers, body = listener.taken[0]
    event = stripe.Webhook.construct_event(
        body, headers["stripe-signature"], SECRETS["STRIPE_SIGNING_SECRET"]
    )
    assert event["type"] == "payment_intent.succeeded"
    assert event["data"]["object"]["metadata"]["order"] == "42"
    assert event["data"]["object"]["amount_received"] == 1999


async def test_stripe_charges_once_for_an_idempotency_key(third_party: ThirdParty) -> None:
    first, again = await pay(third_party, key="k1"), await pay(third_party, key="k1")
    assert again.json() == first.json()
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    other = await pay(third_party, key="k1", amount="2000")
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")
    assert (await third_party.state("stripe"))["effects"] == {"k1": 1}


async def test_stripe_charges_twice_without_a_key(third_party: ThirdParty) -> None:
    await pay(third_party)
    await pay(third_party)
    assert sorted((await third_party.state("stripe"))["effects"].values()) == [1, 1]


async def test_stripe_declines_the_declined_card(third_party: ThirdParty, listener: Listener) -> None:
    await third_party.set(webhook_url=listener.url)
    answer = await pay(third_party, payment_method="pm_card_chargeDeclined")
    told = answer.json()["error"]
    assert (answer.status_code, told["code"], told["decline_code"]) == (
        402,
        "card_declined",
        "generic_decline",
    )
    await third_party.until_called("stripe", 1)
    assert types(listener) == ["payment_intent.payment_failed"]
    assert (await third_party.state("stripe"))["effects"] == {}


async def test_stripe_works_on_a_bank_payment_and_can_cancel_it(
    third_party: ThirdParty, listener: Listener
) -> None:
    await third_party.set(webhook_url=listener.url)
    await third_party.set(provider="stripe", latency=60)
    started = (await pay(third_party, payment_method="pm_usBankAccount_success")).json()
    assert started["status"] == "processing"
    await third_party.until_called("stripe", 1)
    path = f"/v1/payment_intents/{started['id']}/cancel"
    reason = {"cancellation_reason": "requested_by_customer"}
    canceled = (await third_party.http.post(path, data=reason, headers=STRIPE)).json()
    assert (canceled["status"], canceled["cancellation_reason"]) == ("canceled", "requested_by_customer")
    await third_party.until_called("stripe", 2)
    assert types(listener) == ["payment_intent.processing", "payment_intent.canceled"]


async def test_stripe_does_not_cancel_what_is_paid(third_party: ThirdParty) -> None:
    paid = (await pay(third_party)).json()
    answer = await third_party.http.post(f"/v1/payment_intents/{paid['id']}/cancel", headers=STRIPE)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "payment_intent_unexpected_state"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        pytest.param({"amount": ""}, "amount", id="no amount"),
        pytest.param({"amount": "19.99"}, "amount", id="no integer"),
        pytest.param({"amount": "49"}, "amount", id="too small"),
        pytest.param({"currency": "EUR"}, "currency", id="currency"),
        pytest.param({"payment_method": "pm_unknown"}, "payment_method", id="method"),
        pytest.param({"colour": "red"}, "colour", id="unknown"),
        pytest.param({"metadata[order]": "x" * 501}, "metadata[order]", id="metadata"),
        pytest.param(
            {"payment_method_types[]": "", "automatic_payment_methods[enabled]": "true"}, None, id="ok"
        ),
    ],
)
async def test_stripe_refuses_what_the_vendor_refuses(
    third_party: ThirdParty, changes: dict[str, str], param: str | None
) -> None:
    answer = await pay(third_party, **changes)
    assert (answer.status_code, answer.json().get("error", {}).get("param")) == (400 if param else 200, param)


async def test_stripe_wants_a_return_url_unless_nothing_can_redirect(third_party: ThirdParty) -> None:
    wanted = {name: value for name, value in PAYMENT.items() if name != "payment_method_types[]"}
    answer = await third_party.http.post("/v1/payment_intents", data=wanted, headers=STRIPE)
    assert answer.status_code == 400
    never = {
        "automatic_payment_methods[enabled]": "true",
        "automatic_payment_methods[allow_redirects]": "never",
    }
    answer = await third_party.http.post("/v1/payment_intents", data=wanted | never, headers=STRIPE)
    assert answer.status_code == 200


async def test_stripe_takes_forms_only_and_its_key_only(third_party: ThirdParty) -> None:
    headers = STRIPE | {"Content-Type": "application/json"}
    as_json = await third_party.http.post("/v1/payment_intents", data=PAYMENT, headers=headers)
    unknown = await third_party.http.post(
        "/v1/payment_intents", data=PAYMENT, headers={"Authorization": "Bearer x"}
    )
    assert (as_json.status_code, unknown.status_code) == (400, 401)
    assert (await third_party.state("stripe"))["keys"] == {"right": 1, "wrong": 1}


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        pytest.param("succeeded", "reporting.report_run.succeeded", id="succeeded"),
        pytest.param("failed", "reporting.report_run.failed", id="failed"),
    ],
)
async def test_stripe_runs_a_report(
    third_party: ThirdParty, listener: Listener, outcome: str, event: str
) -> None:
    await third_party.set(webhook_url=listener.url)
    await third_party.set(provider="stripe", callback={"outcome": outcome})
    form = {"report_type": "balance.summary.1", "parameters[interval_start]": "1680000000"}
    form |= {"parameters[columns][0]": "created"}
    answer = await third_party.http.post("/v1/reporting/report_runs", data=form, headers=STRIPE)
    run = answer.json()
    assert (run["status"], run["parameters"]) == (
        "pending",
        {"interval_start": 1680000000, "columns": ["created"]},
    )
    await third_party.until_called("stripe", 1)
    told = json.loads(listener.taken[0][1])
    assert (told["type"], told["data"]["object"]["id"]) == (event, run["id"])


async def test_open_meteo_answers_with_what_was_asked_for(third_party: ThirdParty) -> None:
    query = (
        "latitude=52.52&longitude=13.41&current=temperature_2m,weather_code&hourly=rain&daily=weather_code"
    )
    answer = await third_party.http.get(f"/v1/forecast?{query}&forecast_days=2&temperature_unit=fahrenheit")
    told = answer.json()
    assert answer.status_code == 200
    assert told["current_units"]["temperature_2m"] == "°F"
    assert set(told["current"]) == {"time", "interval", "temperature_2m", "weather_code"}
    assert (len(told["hourly"]["rain"]), len(told["daily"]["weather_code"])) == (48, 2)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        pytest.param("longitude=1", "Parameter 'latitude' is required.", id="missing"),
        pytest.param(
            "latitude=91&longitude=1", "Latitude must be in range of -90 to 90°. Given: 91.0.", id="range"
        ),
        pytest.param("latitude=x&longitude=1", "Parameter 'latitude' is not a number.", id="number"),
        pytest.param(
            "latitude=1&longitude=1&current=mood",
            "Data corrupted at path ''. Cannot initialize variable from invalid String value mood.",
            id="variable",
        ),
    ],
)
async def test_open_meteo_refuses_bad_input(third_party: ThirdParty, query: str, reason: str) -> None:
    answer = await third_party.http.get(f"/v1/forecast?{query}")
    assert (answer.status_code, answer.json()) == (400, {"error": True, "reason": reason})


async def test_the_standard_api_calls_back_with_the_result(
    third_party: ThirdParty, listener: Listener
) -> None:
    body = {"callback_url": listener.url, "page": 7}
    answer = await third_party.http.post("/jobs", json=body, headers=STANDARD)
    job = answer.json()
    assert (answer.status_code, job["status"]) == (202, "queued")
    await third_party.until_called("standard", 1)
    headers, sent = listener.taken[0]
    told = standardwebhooks.Webhook(SECRETS["STANDARD_SIGNING_SECRET"]).verify(sent, headers)
    assert told == {"type": "job.completed", "id": job["id"], "status": "done", "result": {"page": 7}}


async def test_the_standard_api_makes_one_job_for_a_key(third_party: ThirdParty, listener: Listener) -> None:
    headers = STANDARD | {"Idempotency-Key": "once"}
    body = {"callback_url": listener.url}
    ids = {(await third_party.http.post("/jobs", json=body, headers=headers)).json()["id"] for _ in range(2)}
    state = await third_party.state("standard")
    assert (len(ids), len(state["jobs"]), state["starts"], state["effects"]) == (1, 1, 2, {"once": 1})


async def test_the_standard_api_needs_a_callback_url(third_party: ThirdParty) -> None:
    answer = await third_party.http.post("/jobs", json={}, headers=STANDARD)
    assert answer.status_code == 422


async def test_a_callback_is_sent_again_with_the_same_id_until_it_is_taken(
    third_party: ThirdParty, listener: Listener
) -> None:
    listener.answers = [503, 500]
    await predict(third_party, listener.url)
    found = await third_party.until_called("replicate", 3)
    assert [one["answer"] for one in found] == [503, 500, 200]
    assert len({headers["webhook-id"] for headers, _ in listener.taken}) == 1
    assert len({body for _, body in listener.taken}) == 1


async def test_a_callback_of_an_intermediate_state_is_not_sent_again(
    third_party: ThirdParty, listener: Listener
) -> None:
    await third_party.set(provider="replicate", latency=0.5)  # a second attempt would come after 0.2 s
    listener.answers = [503]
    await predict(third_party, listener.url, webhook_events_filter=["start", "completed"])
    found = await third_party.until_called("replicate", 2)
    assert [(one["type"], one["answer"]) for one in found] == [("start", 503), ("completed", 200)]


async def test_a_callback_is_given_up_after_its_time(third_party: ThirdParty, listener: Listener) -> None:
    listener.answers = [500] * 3
    first = (await predict(third_party, listener.url)).json()["id"]
    # 0.2 + 0.4 s pass before the third attempt; 0.8 s more would be over the second that there is.
    await third_party.until_called("replicate", 3)
    await third_party.set(provider="replicate", latency=1.2)
    second = (await predict(third_party, listener.url)).json()["id"]
    found = await third_party.until_called("replicate", 4)
    assert [one["job"] for one in found] == [first, first, first, second]


async def test_a_refused_start_makes_no_job_and_passes(third_party: ThirdParty) -> None:
    await third_party.set(provider="stripe", status=429, retry_after=7, times=1)
    refused, taken = await pay(third_party, key="k"), await pay(third_party, key="k")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
    assert refused.json()["error"]["code"] == "rate_limit"
    assert (taken.status_code, taken.headers.get("Idempotent-Replayed")) == (200, None)


@pytest.mark.parametrize(("cut", "made"), [("before", 0), ("after", 1)])
async def test_a_connection_is_cut_before_or_after_acting(
    third_party: ThirdParty, cut: str, made: int
) -> None:
    await third_party.set(provider="stripe", cut=cut, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        await pay(third_party, key="k")
    assert len((await third_party.state("stripe"))["jobs"]) == made
    again = await pay(third_party, key="k")
    assert again.headers.get("Idempotent-Replayed") == ("true" if made else None)


async def test_a_hanging_start_is_never_answered(third_party: ThirdParty) -> None:
    await third_party.set(provider="replicate", hang=True, times=1)
    with pytest.raises(httpx.ReadTimeout):
        await third_party.http.post(
            "/v1/predictions", json={"version": VERSION, "input": {}}, headers=REPLICATE, timeout=0.3
        )
    assert (await third_party.state("replicate"))["jobs"] == {}


async def test_a_callback_can_come_before_the_answer(third_party: ThirdParty, listener: Listener) -> None:
    await third_party.set(provider="replicate", callback={"early": True})
    answer = await predict(third_party, listener.url)
    assert answer.json()["status"] == "starting"
    assert [json.loads(body)["status"] for _, body in listener.taken] == ["succeeded"]


async def test_callbacks_can_come_in_the_wrong_order(third_party: ThirdParty, listener: Listener) -> None:
    await third_party.set(provider="replicate", callback={"reorder": True})
    await predict(third_party, listener.url, webhook_events_filter=["start", "completed"])
    await third_party.until_called("replicate", 2)
    assert [json.loads(body)["status"] for _, body in listener.taken] == ["succeeded", "processing"]


async def test_a_callback_can_be_repeated(third_party: ThirdParty, listener: Listener) -> None:
    await third_party.set(provider="replicate", callback={"repeat": 2})
    await predict(third_party, listener.url)
    assert len({one["id"] for one in await third_party.until_called("replicate", 3)}) == 1


async def test_a_callback_can_be_forged(third_party: ThirdParty, listener: Listener) -> None:
    await third_party.set(provider="replicate", callback={"forge": True})
    await predict(third_party, listener.url)
    await third_party.until_called("replicate", 1)
    headers, body = listener.taken[0]
    secret = base64.b64decode(SECRETS["REPLICATE_SIGNING_SECRET"].removeprefix("whsec_"))
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(body, headers)


@pytest.mark.parametrize(
    ("lost", "sent"),
    [
        pytest.param(True, [], id="all"),
        pytest.param(1, ["completed"], id="the first of each job"),
        pytest.param(0, ["start", "completed"], id="none"),
    ],
)
async def test_callbacks_can_be_lost(
    third_party: ThirdParty, listener: Listener, lost: object, sent: list[str]
) -> None:
    await third_party.set(provider="replicate", callback={"lost": lost})
    await predict(third_party, listener.url, webhook_events_filter=["start", "completed"])
    await third_party.until_called("replicate", 2 - len(sent), lost=True)
    found = await third_party.until_called("replicate", len(sent))
    assert [one["type"] for one in found] == sent


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "canceled"])
async def test_the_outcome_can_be_chosen_for_the_starts_that_match(
    third_party: ThirdParty, listener: Listener, outcome: str
) -> None:
    await third_party.set(provider="replicate", match="this one", callback={"outcome": outcome})
    await third_party.set(provider="replicate", match="another", callback={"lost": True})
    await predict(third_party, listener.url, input={"prompt": "this one"})
    await third_party.until_called("replicate", 1)
    assert json.loads(listener.taken[0][1])["status"] == outcome


async def test_the_same_seed_makes_the_same_ids(third_party: ThirdParty, listener: Listener) -> None:
    first = (await predict(third_party, listener.url)).json()["id"]
    await third_party.set(reset=True, seed=1)
    again = (await predict(third_party, listener.url)).json()["id"]
    await third_party.set(reset=True, seed=2)
    other = (await predict(third_party, listener.url)).json()["id"]
    assert (first == again, first == other) == (True, False)


async def test_a_slow_answer_comes_late_and_whole(third_party: ThirdParty) -> None:
    await third_party.set(provider="weather", delay=0.5)
    answer = await third_party.http.get("/v1/forecast?latitude=1&longitude=1&daily=weather_code")
    assert (answer.status_code, len(answer.json()["daily"]["weather_code"])) == (200, 7)
    assert answer.elapsed >= timedelta(seconds=0.5)


async def test_a_knob_that_is_not_there_is_refused(third_party: ThirdParty) -> None:
    answer = await third_party.http.post("/_control", json={"provider": "stripe", "latncy": 1})
    assert answer.status_code == 400


async def test_which_callbacks_are_lost_by_chance_follows_from_the_seed(
    third_party: ThirdParty, listener: Listener
) -> None:
    await third_party.set(provider="replicate", callback={"lost": 0.5})
    jobs = [(await predict(third_party, listener.url)).json()["id"] for _ in range(6)]
    state = await third_party.state("replicate")
    while len(state["callbacks"]) + len(state["lost"]) < len(jobs):
        state = await third_party.state("replicate")
    lost = {one["job"] for one in state["lost"]}
    assert [job in lost for job in jobs] == [True, False, False, True, False, True]
