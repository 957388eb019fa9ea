"""The HTTP surface: what is asked, what is answered, and that the OpenAPI document says the same."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate as validate_openapi

from services.api import Response
from services.models import Status
from services.providers.base import Handshake
from tests.unit.conftest import World, answer, request, said

BODY = {"input": {"text": "hello"}}


@pytest.fixture
async def described(world: World) -> dict[str, Any]:
    document: dict[str, Any] = said(await world.api.openapi(request("GET", "openapi.json")))
    return document


def check(document: dict[str, Any], path: str, method: str, response: Response) -> None:
    """See that a response is one of those that the document describes."""
    described = document["paths"][path][method]["responses"][str(response.status)]
    for name in response.headers:
        assert name == "Content-Type" or name in described.get("headers", {}), f"{name} is not described"
    if not response.body:
        assert "content" not in described
        return
    schema = described["content"][response.headers["Content-Type"]]["schema"]
    jsonschema.validate(
        said(response), {**schema, "components": document["components"]}, jsonschema.Draft202012Validator
    )


async def test_the_openapi_document_is_valid(described: dict[str, Any]) -> None:
    validate_openapi(described)


async def test_the_openapi_document_names_each_providers_input(described: dict[str, Any]) -> None:
    schema = described["components"]["schemas"]["input.acme.work"]
    assert schema["required"] == ["text"]
    assert schema["additionalProperties"] is False


class TestStart:
    async def test_answers_at_once_with_where_to_ask_and_when(
        self, world: World, described: dict[str, Any]
    ) -> None:
        started = await world.start()
        check(described, "/api/jobs/{name}", "post", started)
        job_id = said(started)["id"]
        assert started.status == 202
        assert started.headers["Location"] == f"https://hooks.example/api/jobs/{job_id}"
        assert started.headers["Retry-After"] == "1"

    async def test_same_key_and_same_body_is_the_same_job(
        self, world: World, described: dict[str, Any]
    ) -> None:
        first = await world.start(idempotency_key="order-7")
        second = await world.start(idempotency_key="order-7")
        check(described, "/api/jobs/{name}", "post", second)
        assert (first.status, second.status) == (202, 200)
        assert said(first)["id"] == said(second)["id"]
        assert len(world.sender.requests) == 1

    async def test_same_key_and_same_members_in_another_order_is_the_same_job(self, world: World) -> None:
        await world.start({"input": {"text": "a"}, "metadata": {"b": "1", "a": "2"}}, idempotency_key="k")
        again = await world.start(
            {"metadata": {"a": "2", "b": "1"}, "input": {"text": "a"}}, idempotency_key="k"
        )
        assert again.status == 200

    @pytest.mark.parametrize(
        "other",
        [
            {"input": {"text": "other"}},
            {**BODY, "metadata": {"a": "1"}},
            {**BODY, "deadline_seconds": 5},
        ],
        ids=["input", "metadata", "deadline"],
    )
    async def test_same_key_and_another_body_is_422(
        self, world: World, described: dict[str, Any], other: object
    ) -> None:
        first = await world.start(idempotency_key="order-7")
        second = await world.start(other, idempotency_key="order-7")
        check(described, "/api/jobs/{name}", "post", second)
        assert (second.status, said(second)["type"]) == (422, "urn:hookbus:problem:idempotency-key-reused")
        assert said(second)["job_id"] == said(first)["id"]

    async def test_same_key_at_another_provider_is_another_job(self, world: World) -> None:
        first = await world.start(idempotency_key="k")
        second = await world.start(idempotency_key="k", provider="account")
        assert said(first)["id"] != said(second)["id"]

    async def test_same_key_many_times_at_one_moment_is_one_job(self, world: World) -> None:
        all_at_once = await asyncio.gather(*(world.start(idempotency_key="k") for _ in range(20)))
        assert sorted(response.status for response in all_at_once) == [200] * 19 + [202]
        assert len({said(response)["id"] for response in all_at_once}) == 1
        assert len(world.sender.requests) == 1

    async def test_without_a_key_each_call_is_a_job_of_its_own(self, world: World) -> None:
        assert said(await world.start())["id"] != said(await world.start())["id"]

    @pytest.mark.parametrize(
        ("body", "status", "problem", "detail"),
        [
            (b"{", 400, "invalid-json", "the body is not UTF-8 JSON"),
            (b"\xff", 400, "invalid-json", "the body is not UTF-8 JSON"),
            (
                b'{"input": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
                400,
                "invalid-json",
                "the body is nested too deeply",
            ),
            (b"[]", 400, "invalid-json", "the body is not a JSON object"),
            (b'{"input": {"text": NaN}}', 400, "invalid-json", "the body is not UTF-8 JSON"),
            (b'{"input": {"text": "a"}, "input": {}}', 400, "invalid-json", "the body is not UTF-8 JSON"),
            (b"{}", 400, "invalid-request", "body.input: Field required"),
            (b'{"input": []}', 400, "invalid-request", "body.input: Input should be a valid dictionary"),
            (
                b'{"input": {"text": "a"}, "x": 1}',
                400,
                "invalid-request",
                "body.x: Extra inputs are not permitted",
            ),
            (
                b'{"input": {"text": "a"}, "deadline_seconds": 0}',
                400,
                "invalid-request",
                "body.deadline_seconds: Input should be greater than or equal to 1",
            ),
            (
                b'{"input": {"text": "a"}, "metadata": {"a": 1}}',
                400,
                "invalid-request",
                "body.metadata.a: Input should be a valid string",
            ),
            (b'{"input": {}}', 422, "invalid-input", "input.text: Field required"),
            (
                b'{"input": {"text": "a"}, "operation": "fly"}',
                422,
                "unknown-operation",
                "acme has no such operation; it has: work",
            ),
            (b"x" * 2001, 413, "body-too-large", "a request has at most 2000 bytes"),
        ],
        ids=lambda value: repr(value)[:30],
    )
    async def test_a_bad_request_says_what_to_mend(
        self, world: World, described: dict[str, Any], body: bytes, status: int, problem: str, detail: str
    ) -> None:
        refused = await world.api.start_job(request("POST", "jobs/acme", body), "acme")
        check(described, "/api/jobs/{name}", "post", refused)
        assert (refused.status, said(refused)["type"], said(refused)["detail"]) == (
            status,
            f"urn:hookbus:problem:{problem}",
            detail,
        )
        assert world.bus.scheduled == {}

    @pytest.mark.parametrize("host", ["[::", "a[b]c", "evil.example\r\nx: y", "a b", "user@x", ""])
    async def test_a_host_that_is_none_does_not_get_into_the_answer(self, world: World, host: str) -> None:
        bare = request("POST", "jobs/acme", json.dumps(BODY).encode())
        started = await world.api.start_job(replace(bare, url=f"https://{host}/api/jobs/acme"), "acme")
        assert started.status == 202
        assert started.headers["Location"] == f"https://hooks.example/api/jobs/{said(started)['id']}"

    async def test_an_input_whose_row_would_not_fit_its_store_is_413(self, world: World) -> None:
        world.api.max_request_bytes = 300_000
        raw = b'{"input": {"numbers": [' + b"9e15," * 50_000 + b"0]}}"
        refused = await world.api.start_job(request("POST", "jobs/open", raw), "open")
        assert (refused.status, said(refused)["type"]) == (413, "urn:hookbus:problem:input-too-large")
        assert world.bus.scheduled == {}

    async def test_a_body_without_its_length_is_411(self, world: World) -> None:
        bare = request("POST", "jobs/acme")
        chunked = type(bare)(method="POST", url=bare.url, headers={}, body=b"")
        assert (await world.api.start_job(chunked, "acme")).status == 411

    async def test_an_unknown_provider_is_404_and_says_which_there_are(self, world: World) -> None:
        refused = await world.start(provider="nobody")
        assert refused.status == 404
        assert (
            said(refused)["detail"] == "no such provider here; there are: "
            "account, acme, asked, guarded, open, polled, quick, searched, unsigned"
        )

    @pytest.mark.parametrize(
        "key", ["", "x" * 256, "käse", "a\nb"], ids=["empty", "long", "non-ASCII", "line"]
    )
    async def test_an_odd_idempotency_key_is_400(self, world: World, key: str) -> None:
        assert (await world.start(idempotency_key=key)).status == 400

    @pytest.mark.parametrize("part", ["bus", "store", "vault"])
    async def test_a_part_that_is_away_is_never_a_500(self, world: World, part: str) -> None:
        getattr(world, part).available = False
        started = await world.start()
        if part == "vault":  # the start waits for its key, the caller does not
            assert (started.status, said(started)["status"]) == (202, "accepted")
        else:
            assert (started.status, started.headers["Retry-After"]) == (503, "5")

    async def test_a_refused_start_is_told_once_and_its_job_shown_afterwards(self, world: World) -> None:
        world.answers = [answer({}, 422)]
        refused = await world.start(idempotency_key="k")
        again = await world.start(idempotency_key="k")
        assert (refused.status, again.status, said(again)["status"]) == (422, 200, "failed")

    async def test_a_wrong_value_is_not_repeated_in_the_answer(self, world: World) -> None:
        refused = await world.start({"input": {"text": 4242_4242}})
        assert refused.status == 422
        assert b"4242" not in refused.body

    @pytest.mark.parametrize("traceparent", ["", "00-zz-1-01", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"])
    async def test_a_malformed_traceparent_is_passed_over(self, world: World, traceparent: str) -> None:
        bare = request("POST", "jobs/acme", json.dumps(BODY).encode(), traceparent=traceparent)
        started = await world.api.start_job(replace(bare, traceparent=None), "acme")
        assert (await world.job(said(started)["id"])).traceparent is None

    @pytest.mark.parametrize(
        "text", [b'"a\\ud800b"', b'"\\u0000"', b'"\\ud83d\\ude00"'], ids=["half", "NUL", "whole"]
    )
    async def test_odd_characters_in_an_input_make_a_job_that_can_be_stored(
        self, world: World, text: bytes
    ) -> None:
        started = await world.api.start_job(
            request("POST", "jobs/acme", b'{"input": {"text": ' + text + b"}}"), "acme"
        )
        assert started.status == 202

    async def test_a_bug_of_ours_is_told_as_later_and_logged(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.answers = [LookupError("a secret detail")]
        failed = await world.start()
        assert failed.status == 503
        assert b"secret detail" not in failed.body
        assert "request.failed" in caplog.messages


class TestRead:
    async def test_shows_the_job_and_when_to_ask_again(self, world: World, described: dict[str, Any]) -> None:
        job_id = said(await world.start({**BODY, "metadata": {"order": "7"}}))["id"]
        world.clock.advance(timedelta(seconds=200))
        shown = await world.api.read_job(request("GET", f"jobs/{job_id}"), job_id)
        check(described, "/api/jobs/{name}", "get", shown)
        assert shown.headers["Retry-After"] == "20"
        assert said(shown)["metadata"] == {"order": "7"}
        assert [entry["event"] for entry in said(shown)["history"]] == ["accepted", "start.answered"]
        assert said(shown)["history"][1]["elapsed_ms"] == 80

    async def test_is_304_until_the_job_changes(self, world: World, described: dict[str, Any]) -> None:
        job_id = said(await world.start())["id"]
        etag = (await world.api.read_job(request("GET", "j"), job_id)).headers["ETag"]
        for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            unchanged = await world.api.read_job(request("GET", "j", if_none_match=header), job_id)
            check(described, "/api/jobs/{name}", "get", unchanged)
            assert (unchanged.status, unchanged.body) == (304, b"")
        await world.deliver({"state": "done"})
        await world.forward()
        changed = await world.api.read_job(request("GET", "j", if_none_match=etag), job_id)
        assert changed.status == 200
        assert "Retry-After" not in changed.headers

    @pytest.mark.parametrize("job_id", ["job_nobody", "", "../x", "x" * 5000, "\udcff"])
    async def test_an_unknown_job_is_404(self, world: World, described: dict[str, Any], job_id: str) -> None:
        missing = await world.api.read_job(request("GET", "j"), job_id)
        check(described, "/api/jobs/{name}", "get", missing)
        assert missing.status == 404


class TestCancel:
    async def test_is_described_as_it_answers(self, world: World, described: dict[str, Any]) -> None:
        job_id = said(await world.start())["id"]
        for status in (202, 409):
            answered = await world.api.cancel_job(request("DELETE", "j"), job_id)
            check(described, "/api/jobs/{name}", "delete", answered)
            assert answered.status == status

    async def test_that_loses_against_a_callback_is_409(self, world: World) -> None:
        job_id = said(await world.start())["id"]
        await world.deliver({"state": "done"})
        await world.forward()
        refused = await world.api.cancel_job(request("DELETE", "j"), job_id)
        assert (refused.status, said(refused)["detail"]) == (409, "the job has ended already: succeeded")
        assert (await world.job(job_id)).status is Status.SUCCEEDED

    async def test_of_an_unknown_job_is_404(self, world: World) -> None:
        assert (await world.api.cancel_job(request("DELETE", "j"), "job_nobody")).status == 404


class TestWebhook:
    @pytest.mark.parametrize("path", ["/api/webhooks/{provider}", "/api/webhooks/{provider}/{token}"])
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    async def test_that_is_no_handshake_is_refused_as_described(
        self, world: World, described: dict[str, Any], method: str, path: str
    ) -> None:
        sent = request(method, "webhooks/account")
        token = "x.y" if path.endswith("{token}") else None
        check(described, path, method.lower(), await world.api.receive_webhook(sent, "account", token))
        handshake = Handshake(methods=frozenset({method}), answer=lambda _, __: None)
        account = replace(world.receive.providers["account"], handshake=handshake)
        world.receive.providers["account"] = account  # type: ignore[index] # a dict
        refused = await world.api.receive_webhook(sent, "account", token)
        check(described, path, method.lower(), refused)
        assert refused.status == 400

    async def test_without_a_right_signature_is_refused_as_described(
        self, world: World, described: dict[str, Any]
    ) -> None:
        refused = await world.api.receive_webhook(request("POST", "webhooks/account"), "account", None)
        check(described, "/api/webhooks/{provider}", "post", refused)
        assert refused.status == 401


class TestHealth:
    async def test_live_asks_nothing_of_anybody(self, world: World, described: dict[str, Any]) -> None:
        world.bus.available = world.store.available = world.payloads.available = world.vault.available = False
        live = await world.api.health(request("GET", "health/live"), "live")
        check(described, "/api/health/{probe}", "get", live)
        assert live.status == 200

    async def test_ready_says_ok_when_all_parts_answer(self, world: World, described: dict[str, Any]) -> None:
        ready = await world.api.health(request("GET", "health/ready"), "ready")
        check(described, "/api/health/{probe}", "get", ready)
        assert (ready.status, said(ready)) == (200, {"status": "ok"})

    @pytest.mark.parametrize(
        ("part", "name"),
        [("bus", "service_bus"), ("store", "job_store"), ("payloads", "payload_store"), ("vault", "secrets")],
    )
    async def test_ready_is_503_when_a_part_is_away_and_says_which_only_with_the_key(
        self, world: World, part: str, name: str
    ) -> None:
        getattr(world, part).available = False
        stranger = await world.api.health(request("GET", "health/ready"), "ready")
        assert (stranger.status, said(stranger)) == (503, {"status": "unavailable"})
        operator = await world.api.health(request("GET", "health/ready", x_functions_key="health"), "ready")
        assert {k for k, v in said(operator)["parts"].items() if v != "ok"} == {name}

    async def test_ready_asks_its_parts_at_most_every_five_seconds(self, world: World) -> None:
        await world.api.health(request("GET", "health/ready"), "ready")
        world.bus.available = False
        assert (await world.api.health(request("GET", "health/ready"), "ready")).status == 200
        world.clock.advance(timedelta(seconds=5))
        assert (await world.api.health(request("GET", "health/ready"), "ready")).status == 503

    async def test_ready_asks_once_for_all_who_ask_at_one_moment(self, world: World) -> None:
        asked = []

        async def check() -> None:
            asked.append(1)
            await asyncio.sleep(0)

        world.bus.check = check  # type: ignore[method-assign] # counts
        await asyncio.gather(*(world.api.health(request("GET", "h"), "ready") for _ in range(50)))
        assert len(asked) == 1

    async def test_ready_waits_for_no_part_that_hangs(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("services.api.CHECK_TIMEOUT", 0.01)

        async def hang() -> None:
            await asyncio.Event().wait()

        world.bus.check = hang  # type: ignore[method-assign] # never answers
        assert (await world.api.health(request("GET", "h"), "ready")).status == 503

    async def test_ready_shows_its_parts_to_nobody_where_no_key_is_set(self, world: World) -> None:
        world.api.health_key = ""
        ready = await world.api.health(request("GET", "h", x_functions_key=""), "ready")
        assert said(ready) == {"status": "ok"}

    async def test_an_unknown_probe_is_404(self, world: World) -> None:
        assert (await world.api.health(request("GET", "health/x"), "x")).status == 404


async def test_no_answer_of_the_api_holds_a_secret(world: World) -> None:
    started = await world.start(idempotency_key="k")
    shown = await world.api.read_job(request("GET", "j"), said(started)["id"])
    document = await world.api.openapi(request("GET", "openapi.json"))
    for response in (started, shown, document):
        everything = json.dumps(dict(response.headers)) + response.body.decode()
        for secret in ("acme-key", "kkkkkkkk", "whsec_", world.callback_address().rpartition("/")[2]):
            assert secret not in everything
