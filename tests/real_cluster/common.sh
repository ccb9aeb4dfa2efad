# shellcheck shell=bash
# What provision, up and down share: paths, messages, and processes that are known by pid and start time.

state="${VMAFARM_CLUSTER:-/var/lib/vmafarm-cluster}"
# For provision and up.
# shellcheck disable=SC2034
cluster_user="${VMAFARM_CLUSTER_USER:-farm}"
marker="$state/.vmafarm-cluster"
export SLURM_CONF="$state/etc/slurm.conf"
nodes=(node1 node2 node3 node4)
# A second cluster of one node, with job numbers of its own, as behind a login node that serves several. With
# accounting only: slurmdbd is where SLURM's programs find a cluster by its name.
# For up.
# shellcheck disable=SC2034
second_conf="$state/etc/second.conf"
second_node=other1
# In the order of starting; they end in the opposite order.
daemons=(munged mariadbd slurmdbd slurmctld second_slurmctld "${nodes[@]}" "$second_node")

me="tests/real_cluster/$(basename "$0")"

say() { printf '%s: %s\n' "$me" "$*"; }

# Usage: refuse STATUS MESSAGE [HINT]; status 2 is wrong use, 3 something that is not there.
refuse() {
  local status="$1"
  printf 'error: %s\n' "$2" >&2
  if [[ -n "${3:-}" ]]; then printf '  %s\n' "$3" >&2; fi
  exit "$status"
}

require_root() {
  [[ $EUID -eq 0 ]] || refuse 3 "$me needs root, this is $(id -un)" "run it on a machine that is there for tests only"
}

# Its own session, and no file of the caller: whoever waits for the end of up's output must not wait for a daemon.
# Usage: start_daemon NAME COMMAND...
start_daemon() {
  local name="$1"
  shift
  setsid "$@" </dev/null >>"$state/log/$name.out" 2>&1 9>&- &
  local pid=$!
  printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$state/run/$name.pid"
}

# Clock ticks since boot at which the process started: tells a process from a later one with the same number.
start_time() {
  local stat
  stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 0
  read -r -a stat <<<"${stat##*) }"
  printf '%s' "${stat[19]}"
}

# Prints the pid of a daemon that this cluster started and that is alive; a zombie is not.
living_pid() {
  local pid started
  read -r pid started 2>/dev/null <"$state/run/$1.pid" || return 1
  [[ -n "$started" && "$(start_time "$pid")" == "$started" ]] || return 1
  [[ "$(sed -n 's/^State:\s*//p' "/proc/$pid/status" 2>/dev/null)" != Z* ]] || return 1
  printf '%s' "$pid"
}

# Usage: wait_until SECONDS COMMAND...
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

is_gone() { ! living_pid "$1" >/dev/null; }

# Usage: end_daemon NAME SIGNAL
end_daemon() {
  local pid
  if pid="$(living_pid "$1")"; then
    # A stopped process does not see its TERM.
    kill -s "$2" "$pid" 2>/dev/null && kill -s CONT "$pid" 2>/dev/null
    if ! wait_until 10 is_gone "$1"; then
      if pid="$(living_pid "$1")"; then kill -s KILL "$pid" 2>/dev/null; fi
      wait_until 5 is_gone "$1" || refuse 1 "$1 (pid ${pid:-?}) does not end"
    fi
    say "$1 ended"
  fi
  rm -f "$state/run/$1.pid"
}

is_node() { [[ " ${nodes[*]} $second_node " == *" $1 "* ]]; }
is_daemon() { [[ " ${daemons[*]} " == *" $1 "* ]]; }

with_accounting() { grep -q '^AccountingStorageType=accounting_storage/slurmdbd' "$SLURM_CONF"; }

# slurmstepd listens on a socket in its node's spool folder, so that socket tells whose it is. Prints pids.
# Usage: step_daemons SPOOL_FOLDER_PREFIX
step_daemons() {
  local inodes inode link process
  inodes=" $(awk -v prefix="$1" 'index($8, prefix) == 1 { print $7 }' /proc/net/unix | tr '\n' ' ')"
  [[ -n "${inodes// /}" ]] || return 0
  for process in /proc/[0-9]*; do
    [[ "$(cat "$process/comm" 2>/dev/null)" == slurmstepd ]] || continue
    for link in "$process"/fd/*; do
      inode="$(readlink "$link" 2>/dev/null)" || continue
      inode="${inode#socket:[}"
      if [[ "$inodes" == *" ${inode%]} "* ]]; then
        basename "$process"
        break
      fi
    done
  done
}

# Prints a process's descendants, itself last.
process_tree() {
  local child children
  read -r -d '' -a children < <(cat /proc/"$1"/task/*/children 2>/dev/null) || true
  for child in ${children[@]+"${children[@]}"}; do process_tree "$child"; done
  printf '%s\n' "$1"
}

# Ends what jobs run on a node, whether or not its slurmd lives.
kill_steps() {
  local step pids
  mapfile -t pids < <({
    for step in $(step_daemons "$state/spool/$1/"); do process_tree "$step"; done
    # And what has left its parents; the folder is this node's, and missing without control groups.
    find "/sys/fs/cgroup/freezer/slurm_$1" -name cgroup.procs -exec cat {} + 2>/dev/null
  } | sort -nu)
  ((${#pids[@]})) || return 0
  say "killing what runs on $1: ${pids[*]}"
  kill -s KILL "${pids[@]}" 2>/dev/null || true
}

remove_control_groups() {
  local node
  for node in "${nodes[@]}" "$second_node"; do
    find /sys/fs/cgroup/{memory,freezer}/"slurm_$node" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
}

# Apptainer mounts images with FUSE as an ordinary user. The device is made anew with every boot.
allow_fuse() {
  [[ -e /dev/fuse ]] || mknod /dev/fuse c 10 229 || refuse 3 "no /dev/fuse, and it cannot be made"
  [[ "$(stat -c %a /dev/fuse)" == 666 ]] || chmod 666 /dev/fuse
}

no_steps() { [[ -z "$(step_daemons "$state/spool/")" ]]; }

end_cluster() {
  [[ -e "$marker" ]] || return 0
  if ! no_steps && living_pid slurmctld >/dev/null; then
    timeout 5 scancel --state=RUNNING,SUSPENDED 2>/dev/null || true
    wait_until 4 no_steps || true
  fi
  local index name
  for ((index = ${#daemons[@]} - 1; index >= 0; index--)); do
    name="${daemons[index]}"
    # Nodes come first: nothing is left that could start a job again.
    if is_node "$name"; then
      end_daemon "$name" KILL
      kill_steps "$name"
    else
      end_daemon "$name" TERM
    fi
  done
  remove_control_groups
}
