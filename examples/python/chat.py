"""Ada writes to Bob, each line that you type; Bob follows the conversation, across lost connections.
For Python 3.11 or later.

    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python chat.py http://127.0.0.1:8000/graphql [COUNT]

It ends with Ctrl+C, or when Bob has heard COUNT messages. Where people sign in, DUOLOGUE_ADA and DUOLOGUE_BOB are their
accounts, EMAIL:PASSWORD, which are made if they are not there; or DUOLOGUE_TOKEN is a service token.
"""

import asyncio
import os
import sys
import threading
import uuid
from contextlib import AsyncExitStack, aclosing
from typing import Any

from gql import gql

from server import FAILURES, Server
from session import Session

CREATE = gql("""
    mutation Create($input: CreateUserInput!) {
      createUser(input: $input) { user { id } userErrors { code message } }
    }
""")
FIND = gql("""
    query Find($search: String!) {
      users(search: $search) { nodes { id email } }
    }
""")
# What is shown, and where its feed stands: the cursor is never newer than the messages.
OPEN = gql("""
    query Open($me: ID!, $other: ID!) {
      conversation(user1: $me, user2: $other) { id messages(last: 50) { nodes { id content sender { name } } } }
      feedCursor(userId: $me)
    }
""")
FEED = gql("""
    subscription Feed($me: ID!, $conversation: ID!, $after: String) {
      feed(userId: $me, conversationId: $conversation, after: $after) {
        kind cursor messageId message { id content sender { name } }
      }
    }
""")
SEND = gql("""
    mutation Send($input: SendMessageInput!) {
      sendMessage(input: $input) { message { id } duplicate userErrors { code message } }
    }
""")


async def user(server: Server, name: str, email: str) -> str:
    """The id of a user, who is created if there is none."""
    created = (await server.ask(CREATE, input={"name": name, "email": email}))["createUser"]
    if created["user"]:
        return created["user"]["id"]
    if created["userErrors"][0]["code"] != "EMAIL_TAKEN":
        raise SystemExit(created["userErrors"][0]["message"])
    # `search` matches prefixes.
    found = (await server.ask(FIND, search=email))["users"]["nodes"]
    for node in found:
        if node["email"] == email:
            return node["id"]
    raise SystemExit("the address is taken, but not for you to see")


async def send(server: Server, me: str, other: str, content: str) -> None:
    """Retries until it is sent: with the same `clientId`, chosen before the first try, all tries make one message."""
    message = {"senderId": me, "receiverId": other, "content": content, "clientId": str(uuid.uuid4())}
    sent = (await server.ask(SEND, input=message))["sendMessage"]
    for problem in sent["userErrors"]:
        print("FAILED", problem["message"], flush=True)


async def follow(server: Server, me: str, other: str, count: float) -> None:
    """Prints the conversation and all that happens in it, until that was `count` messages."""
    # Once more after each RESET.
    while True:
        page = await server.ask(OPEN, me=me, other=other)
        conversation = page["conversation"]
        if not conversation:
            raise SystemExit("there is no such conversation, or it is not yours")
        for message in conversation["messages"]["nodes"]:
            print(line(message), flush=True)
        place = {"me": me, "conversation": conversation["id"], "after": page["feedCursor"]}
        async with aclosing(server.follow(FEED, lambda: place)) as feed:
            async for data in feed:
                event = data["feed"]
                if event["kind"] == "RESET":
                    break
                message = event["message"]
                about = line(message) if message else event["messageId"]
                print(*filter(None, [event["kind"], about]), flush=True)
                # Only now: what was not handled comes again.
                place["after"] = event["cursor"]
                if event["kind"] == "MESSAGE_SENT":
                    count -= 1
                    if count <= 0:
                        return


def line(message: dict[str, Any]) -> str:
    sender = message["sender"]
    return f"{message['id']} {sender['name'] if sender else '(erased)'}: {message['content']}"


async def send_lines(server: Server, me: str, other: str) -> None:
    """Sends what is typed, one after the other."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for typed in open(0, encoding="utf-8", errors="replace", closefd=False):
            loop.call_soon_threadsafe(lines.put_nowait, typed.rstrip("\n"))

    threading.Thread(target=read, daemon=True).start()
    while True:
        await send(server, me, other, await lines.get())


async def main(url: str, count: float = float("inf")) -> None:
    async with AsyncExitStack() as stack:
        at_ada, ada = await begin(stack, url, "Ada")
        at_bob, bob = await begin(stack, url, "Bob")
        sending = asyncio.create_task(send_lines(at_ada, ada, bob))
        following = asyncio.create_task(follow(at_bob, bob, ada, count))
        # The sending ends only when it fails.
        done, _ = await asyncio.wait({sending, following}, return_when=asyncio.FIRST_COMPLETED)
        sending.cancel()
        following.cancel()
        for task in done:
            task.result()


async def begin(stack: AsyncExitStack, url: str, name: str) -> tuple[Server, str]:
    """The connection of a user to the server, and the id of the user."""
    account = os.environ.get(f"DUOLOGUE_{name.upper()}")
    if not account:
        server = await stack.enter_async_context(Server(url, Session(access_token=os.environ.get("DUOLOGUE_TOKEN"))))
        return server, await user(server, name, f"{name.lower()}@example.com")
    anonymous = await stack.enter_async_context(Server(url, Session()))
    session = Session(anonymous.ask)
    email, _, password = account.partition(":")
    me = await session.sign_in(name, email, password)
    return await stack.enter_async_context(Server(url, session)), me


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    try:
        asyncio.run(main(sys.argv[1], *map(float, sys.argv[2:])))
    except FAILURES as failure:
        raise SystemExit(str(failure))
    except KeyboardInterrupt:
        pass
