"""The tokens of somebody who has signed in: traded before they end, once for all who ask at the same time."""

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
# A token is traded so many seconds before it ends.
MARGIN = 60
# But not so soon after it was given, unless the server refuses it: it may hold for less than that.
REST = 10
# An answer that was lost is given again for ten seconds: with so many seconds for each try a second one fits.
PATIENCE = 4

Ask = Callable[..., Awaitable[dict[str, Any]]]


class Session:
    """`ask` asks as nobody. With a service token, or none on an open server, there is nothing to trade."""

    def __init__(self, ask: Ask | None = None, access_token: str | None = None) -> None:
        self._ask = ask
        self._access_token = access_token
        self._refresh_token: str | None = None
        self._ends = math.inf
        self._lock = asyncio.Lock()

    async def sign_in(self, name: str, email: str, password: str) -> str:
        """The id of somebody who has an account, or gets one now."""
        account = {"email": email, "password": password}
        answer = await self._have(SIGN_IN, input=account)
        if has_failed(answer, "BAD_CREDENTIALS"):
            answer = await self._have(SIGN_UP, input=account | {"name": name})
        # By a try whose answer was lost, perhaps. Otherwise it was the password.
        if has_failed(answer, "EMAIL_TAKEN"):
            answer = await self._have(SIGN_IN, input=account)
        return self._keep(answer)["viewer"]["user"]["id"]

    async def token(self) -> str | None:
        """An access token that holds for some time."""
        async with self._lock:
            if self._ends - time.time() < MARGIN:
                self._keep(await self._have(REFRESH, token=self._refresh_token, patience=PATIENCE))
        return self._access_token

    def distrust(self, access_token: str | None) -> bool:
        """The server refused this token: the next one to ask trades it, unless that was done. False if there is no other."""
        if self._refresh_token and access_token == self._access_token:
            self._ends = 0
        return self._refresh_token is not None

    async def _have(self, document: GraphQLRequest, **variables: Any) -> dict[str, Any]:
        assert self._ask
        (answer,) = (await self._ask(document, **variables)).values()
        return answer

    def _keep(self, answer: dict[str, Any]) -> dict[str, Any]:
        for problem in answer["userErrors"]:
            raise SystemExit(problem["message"])
        self._access_token, self._refresh_token = answer["accessToken"], answer["refreshToken"]
        self._ends = time.time() + max(lifetime(self._access_token), MARGIN + REST)
        return answer


def has_failed(answer: dict[str, Any], code: str) -> bool:
    return any(problem["code"] == code for problem in answer["userErrors"])


def lifetime(access_token: str) -> float:
    """How long a new token holds, in seconds: the clock of the machine may be another than the server's."""
    claims = json.loads(base64.urlsafe_b64decode(access_token.split(".")[1] + "=="))
    return claims["exp"] - claims["iat"]
