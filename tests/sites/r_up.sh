#!/usr/bin/env bash
# R with the package hdf5r, from Debian; prints the program to call. Ends with 75 if the packages
# cannot be had.
#
#     tests/sites/r_up.sh LOG     as root on Debian
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 LOG" >&2; exit 2; }
log=$1
trap '[ $? = 0 ] || tail -5 "$log" >&2' EXIT

if ! dpkg-query -W -f='${Status}' r-cran-hdf5r 2>/dev/null | grep -q 'ok installed'; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends r-cran-hdf5r; } >"$log" 2>&1 || exit 75
fi
command -v Rscript
