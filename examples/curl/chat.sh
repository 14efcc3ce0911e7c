#!/bin/sh
# Ada writes to Bob, and Bob follows, with nothing but curl (7.83 or later).
#
#   ./chat.sh http://127.0.0.1:8000/graphql [COUNT]
#
# It ends with Ctrl+C, or when Bob has heard COUNT messages. Where people sign in, DUOLOGUE_TOKEN is a service token.
set -eu
url=${1:?say where the server is: ./chat.sh http://127.0.0.1:8000/graphql [COUNT]}
left=${2:--1}
folder=$(mktemp -d)
following=
trap 'kill $following 2>/dev/null || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
# In a file, as the list of processes is no place for a token.
echo "${DUOLOGUE_TOKEN:+Authorization: Bearer $DUOLOGUE_TOKEN}" >"$folder/headers"

# DOCUMENT VARIABLES: the answer. It asks again when none came: only for what does no harm when it is done twice.
ask() {
    curl --silent --show-error --retry 3 --retry-all-errors --header "@$folder/headers" "$url" \
        --json "{\"query\": \"$1\", \"variables\": $2}"
}

# NAME ADDRESS: the id of somebody who is there now, or was there already.
user() {
    create='mutation ($input: CreateUserInput!) { createUser(input: $input) { user { id email } userErrors { code } } }'
    find='query ($search: String!) { users(search: $search) { nodes { id email } } }'
    answers=$(ask "$create" "{\"input\": {\"name\": \"$1\", \"email\": \"$2\"}}" && ask "$find" "{\"search\": \"$2\"}")
    echo "$answers" | grep -o "\"id\":\"[^\"]*\",\"email\":\"$2\"" | head -n 1 | cut -d '"' -f 4 | grep . || {
        echo "$answers" >&2
        return 1
    }
}

ada=$(user Ada ada@example.com)
bob=$(user Bob bob@example.com)

echo "# The newest two of the conversation, and where Bob's feed stands; to go back, pass startCursor as before."
open='query ($me: ID!, $other: ID!, $before: String) { conversation(user1: $me, user2: $other) {
    messages(last: 2, before: $before) { nodes { id content } pageInfo { hasPreviousPage startCursor } }
} feedCursor(userId: $me) }'
# A JSON string has no line breaks.
open=$(echo "$open" | tr '\n' ' ')
page=$(ask "$open" "{\"me\": \"$bob\", \"other\": \"$ada\"}")
printf '%s\n' "$page"
before=$(echo "$page" | grep -o '"startCursor":"[^"]*"' | cut -d '"' -f 4) || true
if [ -n "$before" ]; then
    ask "$open" "{\"me\": \"$bob\", \"other\": \"$ada\", \"before\": \"$before\"}"
    echo
fi
cursor=$(echo "$page" | grep -o '"feedCursor":"[^"]*"' | cut -d '"' -f 4)

echo "# Ada sends it twice, as if no answer had come: with the same clientId it is one message."
send='mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } duplicate userErrors { code } } }'
message="{\"senderId\": \"$ada\", \"receiverId\": \"$bob\", \"content\": \"Hello Bob!\", \"clientId\": \"curl-$(date +%s)-$$\"}"
for try in 1 2; do
    ask "$send" "{\"input\": $message}"
    echo
done

echo "# Bob's feed as server-sent events. The id of each is its cursor, because the document asks for that."
feed='subscription ($me: ID!) { feed(userId: $me) { cursor kind messageId message { content sender { name } } } }'
mkfifo "$folder/events"
while [ "$left" -ne 0 ]; do
    curl --silent --no-buffer --header "@$folder/headers" "$url" \
        --header 'Accept: text/event-stream' --header "Last-Event-ID: $cursor" \
        --json "{\"query\": \"$feed\", \"variables\": {\"me\": \"$bob\"}}" >"$folder/events" &
    following=$!
    while [ "$left" -ne 0 ] && IFS=': ' read -r field value; do
        case "$field $value" in
            id\ *) cursor=$value ;;
            data\ *'"kind":"RESET"'*) printf '%s\n' "$value" && echo "# What is shown is to be loaded again." ;;
            data\ *'"kind":"MESSAGE_SENT"'*) printf '%s\n' "$value" && left=$((left - 1)) ;;
            data\ ?*) printf '%s\n' "$value" ;;
        esac
    done <"$folder/events"
    kill "$following" 2>/dev/null || true
    sleep 1
done
