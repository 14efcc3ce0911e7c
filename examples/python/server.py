"""How the server is reached: queries and mutations by HTTP, the feed on a WebSocket that is opened again when it is lost."""

import asyncio
import itertools
import random
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any

from gql import Client, GraphQLRequest
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportError, TransportQueryError, TransportServerError
from gql.transport.websockets import WebsocketsTransport

from session import Session

# Errors after which the same request can be sent again, with the same variables.
RETRYABLE_CODES = {"DATABASE_BUSY", "RATE_LIMITED", "STORAGE_FULL", "TIMEOUT", "UNAVAILABLE"}
# The HTTP statuses below 500 after which it can: the request came too slowly, or there were too many.
RETRYABLE_STATUSES = {408, 429}
# The close codes of 44xx after which it can: `connection_init` came too slowly, or something came twice.
RETRYABLE_CLOSE_CODES = {4408, 4409, 4429}
LONGEST_WAIT = 10.0
# The server answers a request within 10 seconds: after this time the network is down. A WebSocket is pinged by the library.
REQUEST_TIMEOUT = 60
FAILURES = (TransportError, OSError, asyncio.TimeoutError)


class Server:
    """`async with Server(url, who) as server:`"""

    def __init__(self, url: str, who: Session) -> None:
        self._socket_url = "ws" + url.removeprefix("http")
        self._who = who
        # Each request has a timeout of its own.
        self._client = Client(transport=AIOHTTPTransport(url=url), execute_timeout=None)

    async def __aenter__(self) -> "Server":
        self._connection = await self._client.connect_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close_async()

    async def ask(self, document: GraphQLRequest, *, timeout: float = REQUEST_TIMEOUT, **variables: Any) -> dict[str, Any]:
        """Retries until there is an answer, with a timeout in seconds for each try. Only for idempotent operations."""
        for failures in itertools.count():
            token = None
            try:
                token = await self._who.token()
                request = GraphQLRequest(document, variable_values=variables)
                async with asyncio.timeout(timeout):
                    return await self._connection.execute(request, extra_args={"headers": headers(token)})
            except FAILURES as error:
                await self._pause(failures, error, token)
        raise AssertionError("unreachable")

    async def follow(
        self, document: GraphQLRequest, variables: Callable[[], dict[str, Any]]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a subscription. The variables are read again whenever the connection was lost."""
        failures = 0
        while True:
            token = await self._who.token()
            # Left to itself it takes the older protocol: it does not find the server's choice among lower-case headers.
            protocols = [WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL]
            transport = WebsocketsTransport(url=self._socket_url, init_payload=headers(token), subprotocols=protocols)
            try:
                async with Client(transport=transport) as session:
                    async for data in session.subscribe(GraphQLRequest(document, variable_values=variables())):
                        failures = 0
                        yield data
                return
            except FAILURES as error:
                await self._pause(failures, error, token)
                failures += 1

    async def _pause(self, failures: int, error: Exception, token: str | None) -> None:
        """Exponential backoff with jitter; raises the error if a retry does not help."""
        if not is_retryable(error) and not (is_refused(error) and self._who.invalidate(token)):
            raise error
        print("No answer; trying again.", file=sys.stderr)
        wait = min(0.2 * 2 ** min(failures, 10), LONGEST_WAIT) * random.uniform(0.5, 1)
        await asyncio.sleep(wanted(error) or wait)


def headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def is_retryable(error: Exception) -> bool:
    if isinstance(error, TransportQueryError):
        return any(each.get("extensions", {}).get("code") in RETRYABLE_CODES for each in error.errors or [])
    if isinstance(error, TransportServerError):
        return error.code is None or error.code >= 500 or error.code in RETRYABLE_STATUSES
    code = close_code(error)
    # 44xx: the server does not want this token, or this client.
    return code in RETRYABLE_CLOSE_CODES or not 4400 <= code < 4500


def is_refused(error: Exception) -> bool:
    """Whether the server refused the token."""
    codes = [each.get("extensions", {}).get("code") for each in getattr(error, "errors", None) or []]
    return "UNAUTHENTICATED" in codes or close_code(error) == 4403


def close_code(error: Exception) -> int:
    close = getattr(error.__cause__, "rcvd", None)
    return close.code if close else 0


def wanted(error: Exception) -> float | None:
    """How long the server asks the client to wait, in seconds, if it does."""
    for each in getattr(error, "errors", None) or []:
        if milliseconds := each.get("extensions", {}).get("retryAfterMs"):
            return milliseconds / 1000
    return None
