#!/bin/sh
# Ada writes to Bob, and Bob follows, with nothing but curl (7.83 or later).
#
#   ./chat.sh http://127.0.0.1:8000/graphql [COUNT]
#
# It ends with Ctrl+C, or when Bob has heard COUNT messages. Where people sign in, DUOLOGUE_ADA and DUOLOGUE_BOB are their
# accounts, EMAIL:PASSWORD (without quotes and backslashes), which are made if they are not there; or DUOLOGUE_TOKEN is a
# service token.
set -eu
url=${1:?say where the server is: ./chat.sh http://127.0.0.1:8000/graphql [COUNT]}
left=${2:--1}
folder=$(mktemp -d)
following=
trap 'kill $following 2>/dev/null || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
# In files and pipes, as the list of processes is no place for a token or a password.
echo >"$folder/anonymous"
for who in ada bob; do
    echo "${DUOLOGUE_TOKEN:+Authorization: Bearer $DUOLOGUE_TOKEN}" >"$folder/$who"
done

# WHO DOCUMENT VARIABLES [SECONDS]: the answer. It retries when none came: only for idempotent operations.
ask() {
    printf '{"query": "%s", "variables": %s}' "$2" "$3" |
        curl --silent --show-error --max-time "${4:-60}" --retry 3 --retry-all-errors --header "@$folder/$1" "$url" --json @-
}

# NAME: the first value with this name in an answer.
value() {
    grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4
}

# WHO NAME ADDRESS: the id of a user, who is created if there is none.
user() {
    create='mutation ($input: CreateUserInput!) { createUser(input: $input) { user { id email } userErrors { code } } }'
    find='query ($search: String!) { users(search: $search) { nodes { id email } } }'
    answers=$(ask "$1" "$create" "{\"input\": {\"name\": \"$2\", \"email\": \"$3\"}}" &&
        ask "$1" "$find" "{\"search\": \"$3\"}")
    echo "$answers" | grep -o "\"id\":\"[^\"]*\",\"email\":\"$3\"" | value id | grep . || {
        echo "$answers" >&2
        return 1
    }
}

# WHO NAME ACCOUNT: signs a user in, creates the account if there is none, and prints the id of the user.
sign_in() {
    account="\"email\": \"${3%%:*}\", \"password\": \"${3#*:}\""
    made='{ accessToken refreshToken viewer { user { id } } userErrors { code message } }'
    known="mutation (\$input: SignInInput!) { signIn(input: \$input) $made }"
    new="mutation (\$input: SignUpInput!) { signUp(input: \$input) $made }"
    answer=$(ask anonymous "$known" "{\"input\": {$account}}")
    case $answer in
        *'"BAD_CREDENTIALS"'*) answer=$(ask anonymous "$new" "{\"input\": {\"name\": \"$2\", $account}}") ;;
    esac
    # Perhaps by an earlier try whose answer was lost. Otherwise the password is wrong.
    case $answer in
        *'"EMAIL_TAKEN"'*) answer=$(ask anonymous "$known" "{\"input\": {$account}}") ;;
    esac
    keep "$1" "$answer" || return 1
    echo "$answer" | value id
}

# WHO ANSWER: stores the tokens of an answer.
keep() {
    token=$(echo "$2" | value accessToken)
    [ -n "$token" ] || {
        echo "$2" >&2
        return 1
    }
    echo "Authorization: Bearer $token" >"$folder/$1"
    echo "$2" | value refreshToken >"$folder/$1.refresh"
}

# WHO: refreshes the tokens of a user who has signed in. Each refresh token works once, but a lost answer can be requested again
# for ten seconds: with a timeout of four a second try fits.
refresh() {
    [ -e "$folder/$1.refresh" ] || return 0
    document='mutation ($token: String!) { refreshSession(refreshToken: $token) { accessToken refreshToken userErrors { message } } }'
    answer=$(ask anonymous "$document" "{\"token\": \"$(cat "$folder/$1.refresh")\"}" 4) || return 1
    keep "$1" "$answer" && return 0
    # The session is over. Otherwise a retry may succeed.
    case $answer in *'"userErrors":[{'*) exit 1 ;; *) return 1 ;; esac
}

if [ -n "${DUOLOGUE_ADA:-}" ]; then
    ada=$(sign_in ada Ada "$DUOLOGUE_ADA")
    bob=$(sign_in bob Bob "${DUOLOGUE_BOB:?is needed beside DUOLOGUE_ADA}")
else
    ada=$(user ada Ada ada@example.com)
    bob=$(user bob Bob bob@example.com)
fi

echo "# The newest two of the conversation, and where Bob's feed stands; to go back, pass startCursor as before."
open='query ($me: ID!, $other: ID!, $before: String) { conversation(user1: $me, user2: $other) {
    messages(last: 2, before: $before) { nodes { id content } pageInfo { hasPreviousPage startCursor } }
} feedCursor(userId: $me) }'
# A JSON string has no line breaks.
open=$(echo "$open" | tr '\n' ' ')
page=$(ask bob "$open" "{\"me\": \"$bob\", \"other\": \"$ada\"}")
printf '%s\n' "$page"
before=$(echo "$page" | value startCursor) || true
if [ -n "$before" ]; then
    ask bob "$open" "{\"me\": \"$bob\", \"other\": \"$ada\", \"before\": \"$before\"}"
    echo
fi
cursor=$(echo "$page" | value feedCursor)

echo "# Ada sends it twice, as if no answer had come: with the same clientId it is one message."
send='mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } duplicate userErrors { code } } }'
message="{\"senderId\": \"$ada\", \"receiverId\": \"$bob\", \"content\": \"Hello Bob!\", \"clientId\": \"curl-$(date +%s)-$$\"}"
for try in 1 2; do
    ask ada "$send" "{\"input\": $message}"
    echo
done

echo "# Bob's feed as server-sent events. The id of each is its cursor, because the document asks for that."
feed='subscription ($me: ID!) { feed(userId: $me) { cursor kind messageId message { content sender { name } } } }'
mkfifo "$folder/events"
while [ "$left" -ne 0 ]; do
    curl --silent --no-buffer --header "@$folder/bob" "$url" \
        --header 'Accept: text/event-stream' --header "Last-Event-ID: $cursor" \
        --json "{\"query\": \"$feed\", \"variables\": {\"me\": \"$bob\"}}" \
        --write-out '\nstatus: %{http_code}\n' >"$folder/events" &
    following=$!
    while [ "$left" -ne 0 ] && IFS=': ' read -r field value; do
        case "$field $value" in
            id\ *) cursor=$value ;;
            data\ *'"kind":"RESET"'*) printf '%s\n' "$value" && echo "# What is shown is to be loaded again." ;;
            data\ *'"kind":"MESSAGE_SENT"'*) printf '%s\n' "$value" && left=$((left - 1)) ;;
            data\ ?*) printf '%s\n' "$value" ;;
            # The stream ended with its token, and this is the answer to the next try.
            status\ 401) refresh bob || true ;;
        esac
    done <"$folder/events"
    kill "$following" 2>/dev/null || true
    sleep 1
done
