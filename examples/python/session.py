"""The tokens of a user who has signed in: refreshed before they expire, once for all concurrent requests."""

import asyncio
import base64
import json
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from gql import GraphQLRequest, gql

TOKENS = "accessToken refreshToken userErrors { code message }"
SIGN_IN = gql(f"mutation SignIn($input: SignInInput!) {{ signIn(input: $input) {{ viewer {{ user {{ id }} }} {TOKENS} }} }}")
SIGN_UP = gql(f"mutation SignUp($input: SignUpInput!) {{ signUp(input: $input) {{ viewer {{ user {{ id }} }} {TOKENS} }} }}")
REFRESH = gql(f"mutation Refresh($token: String!) {{ refreshSession(refreshToken: $token) {{ {TOKENS} }} }}")
# A token is refreshed so many seconds before it expires.
EXPIRY_MARGIN = 60
# But not so soon after it was issued, unless the server refuses it: its lifetime may be shorter than the margin.
MIN_REFRESH_INTERVAL = 10
# A lost answer can be requested again for ten seconds: with this timeout, in seconds, a second try fits.
REFRESH_TIMEOUT = 4

Ask = Callable[..., Awaitable[dict[str, Any]]]


class Session:
    """`ask` sends requests without a token. With a service token, or none on an open server, there is nothing to refresh."""

    def __init__(self, ask: Ask | None = None, access_token: str | None = None) -> None:
        self._ask = ask
        self._access_token = access_token
        self._refresh_token: str | None = None
        self._ends = math.inf
        self._lock = asyncio.Lock()

    async def sign_in(self, name: str, email: str, password: str) -> str:
        """Signs a user in, creates the account if there is none, and returns the id of the user."""
        account = {"email": email, "password": password}
        answer = await self._request(SIGN_IN, input=account)
        if has_failed(answer, "BAD_CREDENTIALS"):
            answer = await self._request(SIGN_UP, input=account | {"name": name})
        # Perhaps by an earlier try whose answer was lost. Otherwise the password is wrong.
        if has_failed(answer, "EMAIL_TAKEN"):
            answer = await self._request(SIGN_IN, input=account)
        return self._keep(answer)["viewer"]["user"]["id"]

    async def token(self) -> str | None:
        """An access token that is valid for some time."""
        async with self._lock:
            if self._ends - time.time() < EXPIRY_MARGIN:
                self._keep(await self._request(REFRESH, token=self._refresh_token, timeout=REFRESH_TIMEOUT))
        return self._access_token

    def invalidate(self, access_token: str | None) -> bool:
        """The server refused this token: the next call of `token` refreshes it, unless that was done. False if it cannot."""
        if self._refresh_token and access_token == self._access_token:
            self._ends = 0
        return self._refresh_token is not None

    async def _request(self, document: GraphQLRequest, **variables: Any) -> dict[str, Any]:
        assert self._ask
        (answer,) = (await self._ask(document, **variables)).values()
        return answer

    def _keep(self, answer: dict[str, Any]) -> dict[str, Any]:
        for problem in answer["userErrors"]:
            raise SystemExit(problem["message"])
        self._access_token, self._refresh_token = answer["accessToken"], answer["refreshToken"]
        self._ends = time.time() + max(lifetime(self._access_token), EXPIRY_MARGIN + MIN_REFRESH_INTERVAL)
        return answer


def has_failed(answer: dict[str, Any], code: str) -> bool:
    return any(problem["code"] == code for problem in answer["userErrors"])


def lifetime(access_token: str) -> float:
    """The lifetime of a new token, in seconds: the clock of the machine may differ from the server's."""
    claims = json.loads(base64.urlsafe_b64decode(access_token.split(".")[1] + "=="))
    return claims["exp"] - claims["iat"]
