#!/bin/sh
# Start, follow, leave and resume, with nothing but curl.
#
#     tailrace serve etl
#     sh examples/clients/curl.sh http://127.0.0.1:8787      (curl 7.84 or newer)
#
# The law of this file: every step is one request, and any step that goes wrong ends it with 1.
set -eu
server=${1:-http://127.0.0.1:8787}

# Start. The answer's Location is the execution. With a key of your own in `idempotency_key`
# this may be sent again after a lost answer: it starts only one.
location=$(curl -fsS -o /dev/null -w '%header{location}' \
  -H 'Content-Type: application/json' -d '{"flow": "etl"}' \
  "$server/api/v1/workspaces/default/executions")
stream=$server$location/stream
echo "--- started $location"

# Follow (-N: print as it comes), and leave behind the third event. `id:` comes first in an event,
# and an event counts only with its blank line: what was cut off before it comes again.
curl -sN "$stream" | sed '/^id: 3$/,/^$/{/^$/q}'
echo "--- left after event 3; resumed with Last-Event-ID"

# Resume, to the end: the next event is the fourth.
seen=$(mktemp)
trap 'rm -f "$seen"' EXIT
curl -sN -H 'Last-Event-ID: 3' "$stream" | tee "$seen"
grep -q '^event: execution.completed$' "$seen"

# After the last event there is nothing left: 204, at which a browser stops.
last=$(sed -n 's/^id: //p' "$seen" | tail -n 1)
status=$(curl -sS -o /dev/null -w '%{http_code}' -H "Last-Event-ID: $last" "$stream")
echo "--- after event $last the server answers $status"
[ "$status" = 204 ]
