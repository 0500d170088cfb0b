#!/usr/bin/env bash
# Ends the cluster of slurm_up.sh DIR: its jobs, then its daemons, each by its process id.
set -uo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
[ -d "$1" ] || exit 0
dir=$(cd "$1" && pwd -P)
export SLURM_CONF=$dir/etc/slurm.conf LC_ALL=C

runs() { # runs PID NAME: a living process of that name; a zombie is dead
    [ -n "$1" ] && [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ] &&
        ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null
}
end() { # end PID NAME
    runs "$1" "$2" || return 0
    kill "$1" 2>/dev/null
    for _ in $(seq 100); do runs "$1" "$2" || return 0; sleep 0.1; done
    kill -9 "$1" 2>/dev/null
}
pid_of() { cat "$dir/run/$1.pid" 2>/dev/null; }

controller=$(pid_of slurmctld) node=$(pid_of slurmd) munged=$(pid_of munged)
if runs "$controller" slurmctld; then
    for state in PENDING RUNNING SUSPENDED; do timeout 10 scancel --state=$state 2>/dev/null; done
    if runs "$node" slurmd; then
        for _ in $(seq 40); do [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break; sleep 0.25; done
    fi
fi
end "$node" slurmd
end "$controller" slurmctld
# step daemons and jobs outlive slurmd; those of this cluster have its configuration in their environment
for entry in /proc/[0-9]*; do
    pid=${entry#/proc/}
    [ "$pid" = $$ ] && continue
    variables=$(tr '\0' '\n' 2>/dev/null <"$entry/environ") || continue
    grep -qxF "SLURM_CONF=$SLURM_CONF" <<<"$variables" || continue
    if runs "$pid" slurmstepd || grep -qx 'SLURM_CLUSTER_NAME=virembed-test' <<<"$variables"; then
        kill -9 "$pid" 2>/dev/null
    fi
done
end "$munged" munged
rm -f "$dir"/run/*.pid "$dir"/run/munge.socket*
