#!/usr/bin/env bash
# Ends the docker daemon of containers_up.sh DIR, by its process id. Its images stay in DIR.
set -uo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
pid=$(cat "$1/dockerd.pid" 2>/dev/null) || exit 0
kill "$pid" 2>/dev/null
for _ in $(seq 80); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.25; done
exit 1
