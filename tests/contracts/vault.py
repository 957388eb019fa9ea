"""A stand-in for Key Vault and for the identity endpoint of a function app, over HTTPS and HTTP.

The challenge, the paging and the errors are those of the service:
https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses
https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret-versions
https://learn.microsoft.com/azure/app-service/overview-managed-identity
"""

import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import trustme
from aiohttp import web

from .samples import NOW

RESOURCE = "https://vault.azure.net"
PAGE = 2


@dataclass(slots=True, kw_only=True)
class Version:
    """One version of a secret in the vault."""

    value: str
    created: datetime = NOW
    enabled: bool = True
    not_before: datetime | None = None
    expires: datetime | None = None


@dataclass(slots=True)
class Vault:
    """What the vault holds, how often it was asked, and what is wrong with it."""

    secrets: dict[str, dict[str, Version]] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    fault: Callable[[web.Request], web.Response | None] = lambda _request: None
    token_header: str = "header-1"
    url: str = ""
    identity_url: str = ""

    async def token(self, request: web.Request) -> web.Response:
        """Answer as the identity endpoint of a function app."""
        if (
            request.headers.get("X-IDENTITY-HEADER") != self.token_header
            or request.query.get("resource") != RESOURCE
        ):
            return web.json_response({"statusCode": 400, "message": "no"}, status=400)
        expires = str(int(time.time()) + 3600)
        return web.json_response(
            {"access_token": "token-1", "expires_on": expires, "resource": RESOURCE, "token_type": "Bearer"}
        )

    async def serve(self, request: web.Request) -> web.Response:
        """Answer as the vault."""
        if request.headers.get("Authorization") != "Bearer token-1":
            challenge = (
                f'Bearer authorization="https://login.microsoftonline.com/tenant-1", resource="{RESOURCE}"'
            )
            return web.json_response({}, status=401, headers={"WWW-Authenticate": challenge})
        self.paths.append(request.path)
        refused = self.fault(request)
        if refused is not None:
            return refused
        secret = self.secrets.get(request.match_info["name"], {})
        if request.match_info["version"] == "versions":
            return self._page(request, secret)
        version = secret.get(request.match_info["version"])
        if version is None:
            return failed(404, "SecretNotFound")
        if not version.enabled:
            return failed(403, "Forbidden")
        return web.json_response({**self._properties(request, version), "value": version.value})

    def _page(self, request: web.Request, secret: dict[str, Version]) -> web.Response:
        begin = int(request.query.get("$skiptoken", "0"))
        names = list(secret)[begin : begin + PAGE]
        last = begin + PAGE >= len(secret)
        following = f"{self.url}{request.path}?api-version=7.6&$skiptoken={begin + PAGE}"
        items = [
            self._properties(request, secret[name])
            | {"id": f"{self.url}/secrets/{request.match_info['name']}/{name}"}
            for name in names
        ]
        return web.json_response({"value": items, "nextLink": None if last else following})

    def _properties(self, request: web.Request, version: Version) -> dict[str, Any]:
        attributes: dict[str, Any] = {"enabled": version.enabled, "created": int(version.created.timestamp())}
        if version.not_before:
            attributes["nbf"] = int(version.not_before.timestamp())
        if version.expires:
            attributes["exp"] = int(version.expires.timestamp())
        return {"id": f"{self.url}{request.path}", "attributes": attributes}


def failed(status: int, code: str, **headers: str) -> web.Response:
    """Make an error as the vault words it."""
    return web.json_response({"error": {"code": code, "message": "no"}}, status=status, headers=headers)


@asynccontextmanager
async def serving(authority: trustme.CA) -> AsyncIterator[Vault]:
    """Serve an empty vault on free ports."""
    vault = Vault()
    app = web.Application()
    app.router.add_get("/identity", vault.token)
    app.router.add_get("/secrets/{name}/{version}", vault.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vault.url = f"https://localhost:{runner.addresses[0][1]}"
    vault.identity_url = f"http://127.0.0.1:{runner.addresses[1][1]}/identity"
    yield vault
    await runner.cleanup()
