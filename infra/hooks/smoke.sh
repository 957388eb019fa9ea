#!/bin/sh
# Asks a deployment whether it lives and whether every part that it needs is there; waits up to five minutes for it.
set -eu

url="${1:?sh infra/hooks/smoke.sh https://HOST}"
for probe in live ready; do
  tries=1
  until curl --fail --silent --show-error --max-time 30 --output /dev/null "$url/api/health/$probe"; do
    if [ "$tries" -ge 20 ]; then
      echo "$url/api/health/$probe does not answer 200" >&2
      exit 1
    fi
    tries=$((tries + 1))
    sleep "${SMOKE_PAUSE:-15}"
  done
  echo "$probe: 200"
done
