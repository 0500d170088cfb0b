#!/usr/bin/env bash
# A Slurm cluster of one node with fake GPUs, all of it below DIR; prints the SLURM_CONF to use.
#
#     tests/sites/slurm_up.sh DIR     as root on Debian; GPUS=2 CPUS=8 MEMORY_MB=16000
#
# Installs Slurm and munge from Debian if they are not there, and starts none of their services.
set -euo pipefail
export LC_ALL=C
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "run as root" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
[ ${#dir} -le 80 ] || { echo "too long for the path of a socket: $dir" >&2; exit 2; }
host=$(hostname -s) last_gpu=$((${GPUS:-2} - 1))
mkdir -p "$dir"/{etc,run,log,controller,node,gpus}
mkdir -p -m 700 "$dir/munge"
chmod 755 "$dir"

if ! command -v slurmctld slurmd sbatch munged >/dev/null 2>&1; then
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # no service starts when installed
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends slurmctld slurmd slurm-client munge; } >"$dir/log/apt.log" 2>&1 ||
        { tail -20 "$dir/log/apt.log" >&2; exit 1; }
fi

unset "${!SLURM@}" "${!SBATCH@}"
export SLURM_CONF=$dir/etc/slurm.conf
"$(dirname "$(readlink -f "$0")")/slurm_down.sh" "$dir"

free_port() {
    local port=$1
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    echo "$port"
}
controller_port=$(free_port $((20000 + $(cksum <<<"$dir" | cut -d' ' -f1) % 10000)))
node_port=$(free_port $((controller_port + 1)))

[ -s "$dir/munge/key" ] || head -c 1024 /dev/urandom >"$dir/munge/key"
chmod 400 "$dir/munge/key"

# slurmd wants a device file; the number at its end is what CUDA_VISIBLE_DEVICES will say
for i in $(seq 0 "$last_gpu"); do ln -sfn /dev/null "$dir/gpus/gpu$i"; done
cat >"$dir/etc/gres.conf" <<END
AutoDetect=off
NodeName=$host Name=gpu Type=a100 File=$dir/gpus/gpu[0-$last_gpu] Flags=nvidia_gpu_env
END
# a plugin has to be named: looking for one fails in many containers. Nothing below uses it.
echo 'CgroupPlugin=cgroup/v1' >"$dir/etc/cgroup.conf"
cat >"$SLURM_CONF" <<END
ClusterName=virembed-test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
CredType=cred/munge
StateSaveLocation=$dir/controller
SlurmdSpoolDir=$dir/node
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
# memory is looked at every second, and a job above what it asked for is killed
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,NoShared
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=100000,bf_interval=2
PriorityType=priority/basic
KillWait=2
MinJobAge=600
OverTimeLimit=0
InactiveLimit=0
Waittime=0
SlurmctldTimeout=10
SlurmdTimeout=30
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=${CPUS:-8} RealMemory=${MEMORY_MB:-16000} Gres=gpu:a100:${GPUS:-2} State=UNKNOWN
PartitionName=main Nodes=$host Default=YES DefMemPerCPU=1000 MaxTime=INFINITE DefaultTime=60 State=UP
END

cd "$dir"
munged --force --key-file="$dir/munge/key" --socket="$dir/run/munge.socket" \
    --seed-file="$dir/munge/seed" --pid-file="$dir/run/munged.pid" \
    --log-file="$dir/log/munged.log" --num-threads=2 --origin=127.0.0.1 </dev/null >/dev/null 2>&1
slurmctld -c </dev/null >/dev/null 2>"$dir/log/slurmctld.err" # -c: without the jobs of an earlier cluster
slurmd </dev/null >/dev/null 2>"$dir/log/slurmd.err"
state=
for _ in $(seq 150); do
    state=$(timeout 5 sinfo -h -o %T 2>/dev/null || true)
    [ "$state" = idle ] && { echo "$SLURM_CONF"; exit 0; }
    sleep 0.2
done
echo "the cluster did not come up (${state:-no state})" >&2
tail -n 20 "$dir"/log/* >&2
exit 1
