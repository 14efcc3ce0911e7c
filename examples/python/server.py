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

# What is worth another try, with the same variables.
PASSES = {"DATABASE_BUSY", "RATE_LIMITED", "STORAGE_FULL", "TIMEOUT", "UNAVAILABLE"}
# Of the HTTP statuses below 500 these say the same: the request came too slowly, or there are too many.
LATER = {408, 429}
# Of the close codes of 44xx these allow another try: `connection_init` came too slowly, or something came twice.
MAY_PASS = {4408, 4409, 4429}
LONGEST_WAIT = 10.0
# The server answers a request within 10 seconds: after this time there is no network. A WebSocket is pinged by the library.
SILENCE = 60
FAILURES = (TransportError, OSError, asyncio.TimeoutError)


class Server:
    """`async with Server(url, who) as server:`"""

    def __init__(self, url: str, who: Session) -> None:
        self._socket_url = "ws" + url.removeprefix("http")
        self._who = who
        # How long a request may take is said with each.
        self._client = Client(transport=AIOHTTPTransport(url=url), execute_timeout=None)

    async def __aenter__(self) -> "Server":
        self._connection = await self._client.connect_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close_async()

    async def ask(self, document: GraphQLRequest, *, patience: float = SILENCE, **variables: Any) -> dict[str, Any]:
        """Asks until there is an answer, each time for so many seconds: only for what does no harm when it is done twice."""
        for failures in itertools.count():
            token = None
            try:
                token = await self._who.token()
                request = GraphQLRequest(document, variable_values=variables)
                async with asyncio.timeout(patience):
                    return await self._connection.execute(request, extra_args={"headers": headers(token)})
            except FAILURES as error:
                await self._pause(failures, error, token)
        raise AssertionError("unreachable")

    async def follow(
        self, document: GraphQLRequest, variables: Callable[[], dict[str, Any]]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What a subscription brings. The variables are asked for anew whenever the connection was lost."""
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
        """Waits longer each time, and never as long as others; raises what no waiting helps against."""
        if not passes(error) and not (is_refused(error) and self._who.distrust(token)):
            raise error
        print("No answer; trying again.", file=sys.stderr)
        wait = min(0.2 * 2 ** min(failures, 10), LONGEST_WAIT) * random.uniform(0.5, 1)
        await asyncio.sleep(wanted(error) or wait)


def headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def passes(error: Exception) -> bool:
    if isinstance(error, TransportQueryError):
        return any(each.get("extensions", {}).get("code") in PASSES for each in error.errors or [])
    if isinstance(error, TransportServerError):
        return error.code is None or error.code >= 500 or error.code in LATER
    code = close_code(error)
    # 44xx: the server does not want this token, or this client.
    return code in MAY_PASS or not 4400 <= code < 4500


def is_refused(error: Exception) -> bool:
    """Whether it was the token that the server did not take."""
    codes = [each.get("extensions", {}).get("code") for each in getattr(error, "errors", None) or []]
    return "UNAUTHENTICATED" in codes or close_code(error) == 4403


def close_code(error: Exception) -> int:
    close = getattr(error.__cause__, "rcvd", None)
    return close.code if close else 0


def wanted(error: Exception) -> float | None:
    """The seconds that the server wants a client to wait."""
    for each in getattr(error, "errors", None) or []:
        if milliseconds := each.get("extensions", {}).get("retryAfterMs"):
            return milliseconds / 1000
    return None
