#!/usr/bin/env bash
# Sends the example invoice to a running relay:
#
#     API_SECRET_KEY=… examples/faktura/send.sh https://hook.eu2.make.com/abc
#
# RELAY_URL says where the relay is (http://127.0.0.1:3000); RELAY_API_KEY or API_SECRET_KEY is the key.
# Prints what the relay answered. Exit codes are those of claude-relay: 2 usage, 4 key, 65 bad input, 69 no relay, 75 later, 1 else.
set -euo pipefail

fail() { local code=$1; shift; printf 'send.sh: %s\n' "$*" >&2; exit "$code"; }

case "${1:-}" in
  http://?*|https://?*) webhook=$1 ;;
  -h|--help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  '') fail 2 'Where should the answer go? Usage: send.sh WEBHOOK_URL (for trying out: claude-relay listen)' ;;
  *) fail 2 "'$1' is no web address; it must begin with http:// or https://" ;;
esac
[[ $# -eq 1 ]] || fail 2 "one address was expected, there are $#; put the address in quotes if it has & or spaces"
[[ $webhook != *[[:space:]\"\\]* ]] || fail 2 'the webhook address has a space, a quote or a backslash in it'
command -v curl >/dev/null || fail 1 'curl is missing; on Debian: apt-get install curl'

relay=${RELAY_URL:-http://127.0.0.1:3000}
key=${RELAY_API_KEY:-${API_SECRET_KEY:-}}
[[ -n $key ]] || fail 4 'no key: set RELAY_API_KEY or API_SECRET_KEY to a key of the relay'
[[ $key != *[[:cntrl:]\"\\]* ]] || fail 4 'the key has a line break, a quote or a backslash in it; was it copied whole?'
request=$(dirname -- "$0")/request.json
[[ -r $request ]] || fail 1 "cannot read $request; make it with: python examples/faktura/make_invoice.py"

reply=$(mktemp)
trap 'rm -f -- "$reply"' EXIT

# request.json begins with a line of its own for the brace; the address goes in right after it.
# The key travels by a config on a file descriptor, where `ps` does not show it.
status=$(
  { printf '{\n  "webhookUrl": "%s",\n' "$webhook"; tail -n +2 -- "$request"; } |
    curl --silent --show-error --max-time 60 --config <(printf 'header = "X-API-Key: %s"\n' "$key") \
      --header 'Content-Type: application/json' --data-binary @- \
      --output "$reply" --write-out '%{http_code}' "${relay%/}/api/claude"
) || fail 69 "no answer from the relay at $relay; is it running? (claude-relay serve --with-worker; RELAY_URL says where)"

case $status in
  2??) cat -- "$reply"; echo; exit 0 ;;
  401|403) code=4; why='the relay refused the key' ;;
  429|503) code=75; why='the relay asks to come back later' ;;
  4??) code=65; why='the relay did not take the request' ;;
  *) code=1; why='the relay could not do it' ;;
esac
cat -- "$reply" >&2
echo >&2
fail "$code" "$why (HTTP $status from $relay); the lines above are its answer"
