"""`verify` on captured deliveries: what an operator is told."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services import tokens
from services.__main__ import main
from services.errors import OperatorError, SecretMissing, Why
from services.models import Delivery
from services.signatures.catalogue import SCHEMES
from services.verify import ADVICE, Verdict, Verify
from tests.unit.conftest import KEY, NOW, SECRET, World

# Signed with SECRET at NOW, by openssl dgst -sha256 -mac HMAC over id.timestamp.body.
BODY = b'{"id":"x_1","state":"done"}'
SIGNATURE = "v1,m3ylBlS0WHOJvIjRgiU4OdxTht3xtPrbnfeLU1zEP6o="
HEADERS = {"webhook-id": "evt_1", "webhook-timestamp": "1772366400", "webhook-signature": SIGNATURE}
PATH = "/api/webhooks/account"


def raw(
    body: bytes = BODY, *, path: str = PATH, method: str = "POST", headers: dict[str, str] = HEADERS
) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def kept(headers: dict[str, str] = HEADERS, provider: str = "account") -> bytes:
    document = {
        "provider": provider,
        "received_at": NOW.isoformat(),
        "method": "POST",
        "headers": headers,
        "body": base64.b64encode(BODY).decode(),
    }
    return json.dumps(document).encode()


async def verdict(world: World, document: bytes, provider: str = "account", **options: object) -> Verdict:
    verify = Verify(receive=world.receive, public_url="https://hooks.example")
    return await verify(provider, document, **options)  # type: ignore[arg-type] # as the test names them


async def test_what_the_app_would_take_is_verified(world: World) -> None:
    found = await verdict(world, raw())
    assert found == Verdict(
        verified=True, lines=("raw HTTP, checked as of 2026-03-01 12:00:00+0000", "verified")
    )


async def test_nothing_is_published_kept_or_asked(world: World) -> None:
    await verdict(world, raw())
    await verdict(world, raw(b"another"))
    assert world.bus.published == []
    assert await world.payloads.names("", 10) == []
    assert world.sender.requests == []


async def test_what_was_changed_is_told_with_what_to_do(world: World) -> None:
    found = await verdict(world, raw(b'{"id": "x_1", "state": "done"}'))
    assert found == Verdict(
        verified=False,
        lines=(
            "raw HTTP, checked as of 2026-03-01 12:00:00+0000",
            "NOT verified",
            "reason: wrong_signature",
            "why: body_rewritten (it was signed as: compact). The body was read and written anew on its way.",
            "to do: Let nothing between the provider and this app touch the body: "
            "no proxy, gateway or framework.",
        ),
    )


@pytest.mark.parametrize(
    ("off", "words"), [(301, "(301 s in the past)"), (-301, "(301 s in the future)"), (300, "verified")]
)
async def test_the_clock_is_where_it_is_set(world: World, off: int, words: str) -> None:
    found = await verdict(world, raw(), at=NOW + timedelta(seconds=off))
    assert found.verified == (words == "verified")
    assert words in "\n".join(found.lines)


async def test_a_capture_that_says_its_time_is_checked_as_of_then(world: World) -> None:
    world.clock.advance(timedelta(days=30))
    assert not (await verdict(world, raw())).verified
    assert (await verdict(world, kept())).verified


async def test_a_kept_delivery_says_what_is_not_in_it(world: World) -> None:
    lines = (await verdict(world, kept())).lines
    assert [line[:50] for line in lines] == [
        "kept, checked as of 2026-03-01 12:00:00+0000",
        "note: a delivery is kept without its address, so i",
        "verified",
    ]


async def test_a_kept_delivery_whose_signature_was_left_out_says_so(world: World) -> None:
    lines = (await verdict(world, kept({}))).lines
    assert [line[:50] for line in lines] == [
        "kept, checked as of 2026-03-01 12:00:00+0000",
        "note: a delivery is kept without its address, so i",
        "note: a kept delivery has no Authorization, and no",
        "NOT verified",
        "reason: no_signature",
        "why: unsigned (webhook-signature). The request has",
        "to do: Turn signing on at the provider, and see th",
    ]


async def test_a_kept_delivery_of_a_provider_without_signatures_cannot_fail(world: World) -> None:
    assert (await verdict(world, kept(provider="unsigned"), "unsigned")).verified


async def test_a_token_is_checked_where_the_address_is_known(world: World) -> None:
    key = tokens.mint(
        tokens.Token(job_id="job_a", provider="unsigned", expires_at=NOW + timedelta(hours=1)), KEY
    )
    path = "/api/webhooks/unsigned"
    assert (await verdict(world, raw(path=f"{path}/{key}?x=1"), "unsigned")).verified
    for wrong in (path, f"{path}/x.y"):
        assert "why: wrong_address." in "\n".join((await verdict(world, raw(path=wrong), "unsigned")).lines)
    late = await verdict(world, raw(path=f"{path}/{key}"), "unsigned", at=NOW + timedelta(hours=1))
    assert "reason: expired_token" in late.lines


async def test_a_capture_that_lost_bytes_says_so(world: World) -> None:
    lines = (await verdict(world, raw(BODY[:-1], headers={**HEADERS, "content-length": "27"}))).lines
    assert lines[1].startswith("note: the capture has 26 bytes, and its Content-Length says another number")


async def test_chunked_is_told_as_what_does_not_reach_a_function(world: World) -> None:
    lines = (await verdict(world, raw(headers={**HEADERS, "transfer-encoding": "chunked"}))).lines
    assert lines[1] == "NOT verified: refused before its signature is looked at (411)"
    assert "chunked bodies do not reach a function" in lines[2]


async def test_the_address_can_be_given(world: World) -> None:
    square = replace(
        world.receive.providers["account"],
        name="square",
        scheme=SCHEMES["square"],
        signing_secret="square-signing-secret",
    )
    world.receive.providers["square"] = square  # type: ignore[index] # a dict
    world.vault.versions["square-signing-secret"] = ("square-secret",)
    url = "https://other.example/hook"
    bare = Delivery(method="POST", url=url, headers={}, body=BODY, received_at=NOW)
    headers = dict(SCHEMES["square"].sign(bare, "square-secret", NOW).headers)
    assert (await verdict(world, kept(headers), "square", url=url)).lines == (
        "kept, checked as of 2026-03-01 12:00:00+0000",
        "verified",
    )
    command = f"curl {url} -d '{BODY.decode()}' " + "".join(f"-H '{k}: {v}' " for k, v in headers.items())
    found = await verdict(world, command.encode(), "square")
    assert "why: wrong_url" in "\n".join(found.lines)


async def test_another_secret_can_be_named(world: World) -> None:
    world.vault.versions["test-mode"] = (SECRET,)
    world.vault.versions["acme-signing-secret"] = ("whsec_bmV3LXNlY3JldC1uZXctc2VjcmV0LW5ldy0wMDAx",)
    assert "wrong_secret" in "\n".join((await verdict(world, raw())).lines)
    found = await verdict(world, raw(), more_secrets=["test-mode"])
    assert "why: other_secret (test-mode)." in "\n".join(found.lines)
    with pytest.raises(SecretMissing):
        await verdict(world, raw(), more_secrets=["nobody's"])


async def test_all_providers_secrets_are_at_hand(world: World) -> None:
    world.receive.providers["shopify"] = replace(  # type: ignore[index] # a dict
        world.receive.providers["account"],
        name="shopify",
        scheme=SCHEMES["shopify"],
        signing_secret="shopify-signing-secret",
    )
    world.vault.versions["shopify-signing-secret"] = ("shop-secret",)
    bare = Delivery(method="POST", url="https://a.example/", headers={}, body=BODY, received_at=NOW)
    headers = dict(SCHEMES["shopify"].sign(bare, "shop-secret", NOW).headers)
    found = await verdict(world, raw(headers=headers))
    assert "why: other_provider (shopify)." in "\n".join(found.lines)


async def test_schemes_with_public_keys_are_tried_too(world: World) -> None:
    headers = {"authorization": "Bearer a.b.c"}
    bare = Delivery(method="POST", url="https://a.example/", headers={}, body=BODY, received_at=NOW)
    headers = dict(SCHEMES["vonage"].sign(bare, SECRET, NOW).headers)
    assert "why: other_scheme (vonage)." in "\n".join((await verdict(world, raw(headers=headers))).lines)


async def test_a_long_body_is_looked_into_as_well(world: World) -> None:
    object.__setattr__(world.receive, "max_bytes", 1024 * 1024)
    was = b'{"text":"%b"}' % (b"a" * 100_000)
    url = "https://hooks.example/api/webhooks/account"
    bare = Delivery(method="POST", url=url, headers={"webhook-id": "evt_1"}, body=was, received_at=NOW)
    headers = dict(SCHEMES["standardwebhooks"].sign(bare, SECRET, NOW).headers)
    found = await verdict(world, raw(was.replace(b":", b": "), headers=headers))
    assert "why: body_rewritten (it was signed as: compact)." in "\n".join(found.lines)


async def test_another_providers_missing_secret_is_no_matter(world: World) -> None:
    shop = replace(world.receive.providers["account"], name="shop", signing_secret="shop-signing-secret")
    world.receive.providers["shop"] = shop  # type: ignore[index] # a dict
    assert (await verdict(world, raw())).verified
    with pytest.raises(SecretMissing):
        await verdict(world, raw(), "shop")


async def test_only_a_kept_delivery_is_said_to_have_lost_headers(world: World) -> None:
    lines = (await verdict(world, raw(headers={}))).lines
    assert [line.partition(":")[0] for line in lines[1:]] == ["NOT verified", "reason", "why", "to do"]


@pytest.mark.parametrize("provider", ["nobody", "quick"])
async def test_a_provider_that_sends_no_webhooks_is_said_so(world: World, provider: str) -> None:
    with pytest.raises(OperatorError, match="sends no webhooks here"):
        await verdict(world, raw(), provider)


async def test_nothing_of_body_headers_address_and_secrets_is_told(world: World) -> None:
    planted = "planted-in-this-file"
    for document in (
        raw(planted.encode(), path=f"{PATH}?{planted}", headers={**HEADERS, "x": planted}),
        raw(path=f"{PATH}/{planted}"),
        raw(headers={**HEADERS, "webhook-signature": planted, "webhook-id": planted, "host": planted}),
        raw(headers={"content-length": planted, "stripe-signature": planted}),
    ):
        told = "\n".join((await verdict(world, document)).lines)
        assert planted not in told
        assert SECRET not in told


def test_there_is_advice_for_everything_that_can_be_found() -> None:
    assert ADVICE.keys() == set(Why)
    for meaning, advice in ADVICE.values():
        assert meaning.endswith(".")
        assert advice.endswith(".")


class TestTheCommand:
    def run(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
        values = {
            "JOB_STORE": f"sqlite:{folder}/jobs.db",
            "PAYLOAD_STORE": f"file:{folder}/payloads",
            "SECRET_SOURCE": "environment",
            "SERVICEBUS": "Endpoint=sb://localhost;SharedAccessKeyName=a;SharedAccessKey=b",
            "PUBLIC_URL": "https://hooks.example",
            "PROVIDERS": "github",
            "CALLBACK_TOKEN_KEY": KEY,
            "GITHUB_API_KEY": "key",
            "GITHUB_SIGNING_SECRET": "It's a Secret to Everybody",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["services", "verify", *arguments])
        return main()

    @pytest.mark.parametrize(
        ("body", "code", "words"),
        [(b"Hello, World!", 0, "verified"), (b"Hello, World!\n", 1, "body_line_ends")],
    )
    def test_ends_with_0_for_verified_and_1_for_not(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        body: bytes,
        code: int,
        words: str,
    ) -> None:
        # https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
        signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        (tmp_path / "delivery.http").write_bytes(
            raw(body, path="/api/webhooks/github", headers={"X-Hub-Signature-256": signature})
        )
        arguments = ("github", "delivery.http", "--at", "2026-03-01T12:00")
        assert self.run(monkeypatch, tmp_path, *arguments) == code
        out = capsys.readouterr().out
        assert out.startswith("raw HTTP, checked as of 2026-03-01 12:00:00+0000\n")
        assert words in out

    def test_says_that_there_is_no_such_file(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(monkeypatch, tmp_path, "github", "nowhere") == 1
        assert capsys.readouterr().err == "nowhere cannot be read: No such file or directory\n"
