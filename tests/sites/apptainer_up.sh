#!/usr/bin/env bash
# Apptainer below DIR, from Debian unstable; prints the program to call. Ends with 75 if the
# packages cannot be had.
#
#     tests/sites/apptainer_up.sh DIR     as root on Debian
#
# Its programs need a newer libc than an older Debian has, so they come with the libraries of
# their own release and are told where these lie. Nothing outside DIR is changed, except that
# mmdebstrap and patchelf are installed from Debian if they are not there.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
root=$dir/root log=$dir/up.log program=$dir/bin/apptainer
[ ! -x "$program" ] || { echo "$program"; exit 0; }
: >"$log"
trap '[ $? = 0 ] || tail -5 "$log" >&2' EXIT

if ! command -v mmdebstrap >/dev/null || ! command -v patchelf >/dev/null; then
    apt-get update -qq >>"$log" 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        mmdebstrap patchelf >>"$log" 2>&1
fi

# Unpacks the package and all it depends on, and runs none of their scripts. A mirror may be
# behind, and the index it has too old.
rm -rf "$root"
TMPDIR=/dev/shm mmdebstrap --quiet --mode=root --variant=extract --include=apptainer \
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Check-Valid-Until "false"' \
    sid "$root" >>"$log" 2>&1 || exit 75

libraries=$root/usr/lib/x86_64-linux-gnu
starter=$libraries/apptainer/bin
for binary in "$root"/usr/bin/{apptainer,mksquashfs,unsquashfs} "$starter/starter"; do
    patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" --force-rpath \
        --set-rpath "$libraries" "$binary" >>"$log" 2>&1
done

# Apptainer looks for etc and var beside the bin of the program and beside the lib of the starter.
ln -s ../etc ../var "$root/usr/"
ln -s ../../etc ../../var "$root/usr/lib/"
# A root that lacks one of the kernel's capabilities, as in many containers, cannot ask for `full`.
sed -i 's/^root default capabilities = .*/root default capabilities = no/' \
    "$root/etc/apptainer/apptainer.conf"

# a directory for the PATH, without the other programs of that release
mkdir -p "$dir/bin"
ln -sf "$root"/usr/bin/{mksquashfs,unsquashfs} "$dir/bin/"
ln -s "$root/usr/bin/apptainer" "$program"
echo "$program"
