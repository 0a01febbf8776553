#!/usr/bin/env bash
# Sends the example invoice to a running relay:
#
#     API_SECRET_KEY=… examples/faktura/send.sh https://hook.eu2.make.com/abc
#
# RELAY_URL is the URL of the relay (default http://127.0.0.1:3000); RELAY_API_KEY or API_SECRET_KEY is the key.
# Prints the relay's response. Exit codes are those of claude-relay: 2 usage, 4 key, 65 bad input, 69 no relay, 75 later, 1 other.
set -euo pipefail

fail() { local code=$1; shift; printf 'send.sh: %s\n' "$*" >&2; exit "$code"; }

case "${1:-}" in
  http://?*|https://?*) webhook=$1 ;;
  -h|--help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  '') fail 2 'WEBHOOK_URL is required. Usage: send.sh WEBHOOK_URL (to try it out: claude-relay listen)' ;;
  *) fail 2 "'$1' is not a URL; it must begin with http:// or https://" ;;
esac
[[ $# -eq 1 ]] || fail 2 "expected one URL, got $#; put the URL in quotes if it contains & or spaces"
[[ $webhook != *[[:space:]\"\\]* ]] || fail 2 'the webhook URL contains a space, a quote or a backslash'
command -v curl >/dev/null || fail 1 'curl is missing; on Debian: apt-get install curl'

relay=${RELAY_URL:-http://127.0.0.1:3000}
key=${RELAY_API_KEY:-${API_SECRET_KEY:-}}
[[ -n $key ]] || fail 4 'no key: set RELAY_API_KEY or API_SECRET_KEY to a key of the relay'
[[ $key != *[[:cntrl:]\"\\]* ]] || fail 4 'the key contains a line break, a quote or a backslash; check that it was copied completely'
request=$(dirname -- "$0")/request.json
[[ -r $request ]] || fail 1 "cannot read $request; make it with: python examples/faktura/make_invoice.py"

reply=$(mktemp)
trap 'rm -f -- "$reply"' EXIT

# The first line of request.json is its opening brace; the URL is inserted after it.
# The key is passed in a config on a file descriptor, so that `ps` does not show it.
status=$(
  { printf '{\n  "webhookUrl": "%s",\n' "$webhook"; tail -n +2 -- "$request"; } |
    curl --silent --show-error --max-time 60 --config <(printf 'header = "X-API-Key: %s"\n' "$key") \
      --header 'Content-Type: application/json' --data-binary @- \
      --output "$reply" --write-out '%{http_code}' "${relay%/}/api/claude"
) || fail 69 "no answer from the relay at $relay; is it running? (claude-relay serve --with-worker; RELAY_URL sets its URL)"

case $status in
  2??) cat -- "$reply"; echo; exit 0 ;;
  401|403) code=4; why='the relay refused the key' ;;
  429|503) code=75; why='the relay asks to retry later' ;;
  4??) code=65; why='the relay rejected the request' ;;
  *) code=1; why='the relay failed' ;;
esac
cat -- "$reply" >&2
echo >&2
fail "$code" "$why (HTTP $status from $relay); its response is above"
