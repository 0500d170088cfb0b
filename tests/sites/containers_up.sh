#!/usr/bin/env bash
# A docker daemon of its own below DIR, and in it the images cpu and gpu of containers/Dockerfile,
# built as users build them. Prints the DOCKER_HOST to use.
#
#     tests/sites/containers_up.sh DIR VERSION     as root on Debian
#
# No registry is needed: the base image is Debian's minimal system with Debian's Python, in place of
# python:3.12-slim. Containers have no network.
set -euo pipefail
[ $# = 2 ] || { echo "usage: $0 DIR VERSION" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd -P) version=$2
root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd -P)
log=$dir/up.log
: >"$log"
failed() {
    tail -30 "$log" >&2
    "$root/tests/sites/containers_down.sh" "$dir" >&2
}
trap '[ $? = 0 ] || failed' EXIT

lacking=()
for package in docker.io mmdebstrap runc; do
    dpkg-query -W -f='${Status}' $package 2>/dev/null | grep -q 'ok installed' || lacking+=($package)
done
if [ ${#lacking[@]} -gt 0 ]; then
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # no service starts when installed
        chmod +x /usr/sbin/policy-rc.d
    fi
    apt-get update -qq >>"$log" 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${lacking[@]}" >>"$log" 2>&1
fi

# `docker run --gpus all` asks this hook for the devices. It gives none, which lets a machine
# without a GPU test that the option arrives.
mkdir -p "$dir/hook"
printf '#!/bin/sh\ncat >/dev/null\n' >"$dir/hook/nvidia-container-runtime-hook"
chmod +x "$dir/hook/nvidia-container-runtime-hook"

export DOCKER_HOST=unix://$dir/docker.sock
if ! docker info >/dev/null 2>&1; then
    # no bridge and no firewall rule: nothing of this machine is changed
    PATH=$dir/hook:$PATH nohup setsid dockerd --host "$DOCKER_HOST" --data-root "$dir/data" \
        --exec-root "$dir/exec" --pidfile "$dir/dockerd.pid" --bridge=none --iptables=false \
        --ip6tables=false --exec-opt native.cgroupdriver=cgroupfs \
        >"$dir/dockerd.log" 2>&1 </dev/null &
    for _ in $(seq 120); do docker info >/dev/null 2>&1 && break; sleep 0.25; done
    docker info >/dev/null 2>&1 || { tail -20 "$dir/dockerd.log" >&2; exit 1; }
fi

base=localhost/python:slim
tar=$dir/base.tar
if ! docker image inspect "$base" >/dev/null 2>&1; then
    [ -s "$tar" ] || {
        # pip may install into such an image as it may into python:3.12-slim
        TMPDIR=/dev/shm mmdebstrap --quiet --mode=root --variant=minbase --include=ca-certificates,python3,python3-pip,libpython3-dev \
            --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
            --customize-hook='cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"; [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$1/etc/"' \
            --customize-hook='rm "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED' \
            --format=tar bookworm "$tar.partial" >>"$log" 2>&1
        mv "$tar.partial" "$tar"
    }
    docker import -c 'CMD ["python3"]' -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' "$tar" "$base" >>"$log"
fi

for target in cpu gpu; do
    DOCKER_BUILDKIT=1 /usr/bin/docker build --progress plain --network host --build-arg BASE="$base" \
        --file "$root/containers/Dockerfile" --target $target --tag "virembed:$version-$target" \
        "$root" >>"$log" 2>&1
done
echo "$DOCKER_HOST"
