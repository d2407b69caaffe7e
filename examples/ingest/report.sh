#!/bin/sh
# A reporter for shell scripts: curl and openssl.
#
#   sh report.sh [FOLDER]
#
# It counts the words in a folder's files, in two nodes, and reports that to a Tailrace server as it
# goes. The environment is that of reporter.go.
#
# Each batch has a number and is repeated with that number until it is answered: one that had
# arrived is a duplicate for the server. (The token is an argument of openssl for a moment: on a
# machine that is shared with people who must not have it, use reporter.go.)
set -eu
url=${TAILRACE_URL:-http://127.0.0.1:8787}
workspace=${TAILRACE_WORKSPACE:-default}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

post() { # post PATH BODY [CURL OPTION …]: prints the status, 000 where there was no answer
  path=$1 body=$2
  shift 2
  curl -s -o "$answer" -w '%{http_code}' --max-time 10 -H 'Content-Type: application/json' \
    --data-binary "$body" "$@" "$url/api/v1$path" || true
}

field() { # field NAME: a text of the last answer
  sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$answer"
}

seq=0
report() { # report EVENT [NODE [DATA]]
  seq=$((seq + 1)) pause=1 tries=0
  body="{\"execution_id\":\"$job\",\"producer\":\"sh\",\"producer_seq\":$seq,\"event\":\"$1\""
  body="$body${2:+,\"node_key\":\"$2\"}${3:+,\"data\":$3}}"
  while :; do
    at=$(date +%s) # signed anew for each try: a signature is good for five minutes
    signed=$(printf '%s.%s' "$at" "$body" | openssl dgst -sha256 -hmac "$token" -r)
    status=$(post /jobs/progress "$body" -H "X-Tailrace-Job: $job" \
      -H "X-Tailrace-Timestamp: $at" -H "X-Tailrace-Signature: v1=${signed%% *}")
    case $status in
      200 | 202) return ;;
      000 | 429 | 5??) ;; # not answered, or not now: again
      *)
        # Within one second a repeat has the same signature: then the server says that it has it.
        [ "$(field code)" = replayed ] && return
        echo "report.sh: $status $(cat "$answer")" >&2
        exit 1
        ;;
    esac
    tries=$((tries + 1))
    [ $tries -lt 30 ] || { echo "report.sh: no answer from $url" >&2; exit 1; }
    sleep $pause
    [ $pause -ge 5 ] || pause=$((pause + 1))
  done
}

if [ -n "${TAILRACE_JOB:-}" ]; then
  job=$TAILRACE_JOB token=$TAILRACE_JOB_TOKEN
else
  status=$(post "/workspaces/$workspace/jobs" '{"flow":"words"}' \
    ${TAILRACE_TOKEN:+-H "Authorization: Bearer $TAILRACE_TOKEN"})
  [ "$status" = 201 ] || { echo "report.sh: $status $(cat "$answer")" >&2; exit 1; }
  job=$(field execution_id) token=$(field token)
fi
echo "$job"

folder=${1:-.}
report node.started list
files=$(find "$folder" -maxdepth 1 -type f | wc -l | tr -d ' ')
report node.completed list "{\"output\":{\"files\":$files}}"
report node.started count
words=$(find "$folder" -maxdepth 1 -type f -exec cat {} + | wc -w | tr -d ' ')
report log.line count "{\"line\":\"$words words in $files files\",\"source\":\"sh\"}"
report node.completed count "{\"output\":{\"words\":$words}}"
report execution.completed "" "{\"output\":{\"files\":$files,\"words\":$words}}"
