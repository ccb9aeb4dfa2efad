#!/bin/sh
# usage: element.sh --run FOLDER --name JOB_NAME [--clips PATH] [--exclude NODES] [--max-broken N]
#                   [--hold SECONDS] [--ask SECONDS] [--image SIF --digest SHA256 --stamp STAMP [--stage FOLDER]]
#                   [--next-look FILE] [--pause SECONDS] -- COMMAND ...
# Starts an element on a compute node, outside of the image: this part needs programs that no image has.
#
#   --run         folder of the run
#   --name        name of the run's jobs
#   --clips       folder or image of the clips, which must exist on this node
#   --exclude     nodes that the run excluded from the start
#   --max-broken  if more nodes than this are broken, they are not to blame and none is excluded
#   --hold        seconds to stay on a broken node if SLURM cannot be told to avoid it
#   --ask         seconds between two attempts to tell SLURM
#   --image       image of the element, a word of COMMAND
#   --digest      SHA-256 of the image when it was submitted, in hexadecimal
#   --stamp       its size, time of change and inode then: SIZE:SECONDS:INODE
#   --stage       folder on the node's own disk for a copy of the image, which replaces that word
#   --next-look   file with the job that tries on another node the clips that fail on this one
#   --pause       seconds to wait, and up to twice as many more at random, before what did not start is tried again
set -u

run="" name="" clips="" exclude="" max_broken=1 hold=600 ask=20 image="" digest="" stamp="" stage="" next_look=""
pause=5
while [ $# -gt 0 ]; do
    case $1 in
        --run) run=$2 ;;
        --name) name=$2 ;;
        --clips) clips=$2 ;;
        --exclude) exclude=$2 ;;
        --max-broken) max_broken=$2 ;;
        --hold) hold=$2 ;;
        --ask) ask=$2 ;;
        --image) image=$2 ;;
        --digest) digest=$2 ;;
        --stamp) stamp=$2 ;;
        --stage) stage=$2 ;;
        --next-look) next_look=$2 ;;
        --pause) pause=$2 ;;
        --) shift && break ;;
        *) echo "element.sh: unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
node=${SLURMD_NODENAME:-$(hostname)}
VMAFARM_STARTED=$(date +%s)
export VMAFARM_STARTED
cd / # the container would not start in a working folder that the node lacks
# They would hide jobs and nodes from the queries below.
for variable in $(env | sed -n 's/^\(\(SQUEUE\|SINFO\)_[A-Z_]*\)=.*/\1/p'); do unset "$variable"; done

say() { printf 'element.sh: %s\n' "$*" >&2; }

is_broken() { [ -f "$run/broken_nodes/$node" ]; }

# Prints the broken nodes, one per line: regular files whose names are valid names of nodes.
list_broken() {
    for broken in "$run"/broken_nodes/[A-Za-z0-9]*; do
        case ${broken##*/} in *[!A-Za-z0-9_.-]*) continue ;; esac
        [ ! -f "$broken" ] || echo "${broken##*/}"
    done
}

count_broken() { list_broken | grep -c .; }

# Prints them with a comma after each.
broken_nodes() { list_broken | tr '\n' ,; }

# Prints the word in a file that another user may have written: a job or a node. Any other text would end up in the
# log; reading a FIFO would never end.
read_word() {
    [ -f "$1" ] || return 0
    word=$(timeout 60 head -c 256 "$1" | tr '\000' '?')
    case $word in *[!A-Za-z0-9_.-]*) ;; *) printf '%s\n' "$word" ;; esac
}

# Writes lines to a file in a folder that others may write, too, and follows no link that they have put there: with -C
# the shell creates a new file, under a name that nobody can predict, and with -T mv never moves it into a folder.
write_note() {
    note=$1
    shift
    draft=${note%/*}/.${note##*/}.$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    if ! (set -C && printf '%s\n' "$@" > "$draft") || ! mv -f -T "$draft" "$note"; then
        rm -f "$draft"
        return 1
    fi
}

mark_broken() {
    say "$1"
    mkdir -p "$run/broken_nodes" &&
        write_note "$run/broken_nodes/$node" "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$1"
}

# Whether standard output (1) or standard error (2) is a file in the run's folder of logs, or not a file at all.
is_own_log() {
    log=/proc/$$/fd/$1
    [ ! -f "$log" ] && return 0
    target=$(readlink "$log")
    [ "$(stat -L -c %d:%i "$log")" = "$(stat -c %d:%i "$run/logs/${target##*/}" 2>/dev/null)" ]
}

# Prints a comma and the node that a job is kept away from, if it is the job of a next look.
looked_at() {
    for look in "$run"/submissions/*.look; do
        away=$(read_word "$look.away")
        if [ -n "$away" ] && [ "$(read_word "$look")" = "$1" ]; then printf ',%s' "$away"; fi
    done
}

# Waits before another try, up to twice: a container may fail to start while user namespaces, FUSE or the file system of
# the image are busy, and clips may be mounted late. Fails if there is to be no further try.
wait_to_try_again() {
    [ "$tries" -lt 2 ] && [ -z "$ended" ] || return 1
    tries=$((tries + 1))
    # At random, because many elements start at once and would all come back at once.
    seconds=$((pause + $(od -An -N2 -tu2 /dev/urandom) % (2 * pause + 1)))
    say "$1: trying again in $seconds s ($tries of 2)"
    while [ "$seconds" -gt 0 ] && [ -z "$ended" ]; do
        sleep 1 # a signal is heard between two of these
        seconds=$((seconds - 1))
    done
    [ -z "$ended" ]
}

# Prints how many records this element has left; one that was requeued has those of its earlier starts.
count_records() {
    set -- "$run/elements/${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-none}}-${SLURM_ARRAY_TASK_ID:-0}-"*"-$node-"*
    if [ -e "$1" ]; then echo $#; else echo 0; fi
}

# Whether an exit status is that of a program or a container that did not start, so that it could not say so itself.
did_not_start() {
    case $1 in 126 | 127 | 255) [ "$(count_records)" -eq "$records" ] ;; *) return 1 ;; esac
}

# Keeps the run's waiting jobs away from broken nodes. Fails if SLURM cannot be told.
keep_away() {
    nodes=$(broken_nodes)$exclude
    jobs=$(timeout 60 squeue --all --noheader --user "$(id -un)" --name "$name" --states PENDING --format %F) || return 1
    all=${nodes%,}
    for job in $(printf '%s\n' "$jobs" | sort -u); do
        nodes=$all$(looked_at "$job")
        # For an array this fails for the elements that run or have ended, with one line for each.
        if ! answer=$(timeout 60 scontrol update "JobId=$job" "ExcNodeList=${nodes%,}" 2>&1) &&
            { [ -z "$answer" ] || echo "$answer" | grep -qv -e 'no longer pending' -e 'already finished' \
                -e 'Invalid job id' -e 'No error'; }; then
            say "scontrol: $answer"
            return 1
        fi
        say "job $job keeps away from ${nodes%,}"
    done
}

# Prints the nodes that could replace this one: same partition and kind, in service, not excluded.
alternatives() {
    # A hidden partition that is named is shown; together with --all, sinfo refuses that option.
    partition=--all
    [ -z "${SLURM_JOB_PARTITION:-}" ] || partition=--partition=$SLURM_JOB_PARTITION
    timeout 60 sinfo "$partition" --noheader --Node --responding --states idle,mixed,allocated,completing \
        --format '%N %c %m %G %f' | sort -u |
        awk -v node="$node" -v away="$(timeout 60 scontrol show hostnames "$1")" '
            { name = $1; $1 = ""; kind[name] = $0 }
            END {
                count = split(away, list, "\n")
                for (i = 1; i <= count; i++) excluded[list[i]] = 1
                for (name in kind) if (kind[name] == kind[node] && !(name in excluded)) print name
            }'
}

# Keeps the job of the next look away from this node if another node is available; otherwise it would wait forever.
look_elsewhere() {
    nodes=$node,$(broken_nodes)
    nodes=${nodes%,}${exclude:+,$exclude}
    job=$(read_word "$next_look")
    if [ -n "$job" ] && [ -n "$(alternatives "$nodes")" ]; then
        # For elements that exclude broken nodes later.
        write_note "$next_look.away" "$node"
        if answer=$(timeout 60 scontrol update "JobId=$job" "ExcNodeList=$nodes" 2>&1); then
            say "job $job keeps away from $nodes"
        else
            say "scontrol: $answer"
        fi
    fi
}

# Prints the path of a checked copy of the image on the node's own disk.
staged() {
    [ "$(stat -f -c %T "$stage")" != tmpfs ] || { say "$stage is in memory (tmpfs): not copying the image"; return 1; }
    folder=$stage/vmafarm-$(id -u)
    mkdir -m 700 "$folder" 2>/dev/null
    if [ -L "$folder" ] || [ "$(stat -c %u:%a "$folder")" != "$(id -u):700" ]; then
        say "$folder is not private to this user: not copying the image"
        return 1
    fi
    copy=$folder/$digest.sif
    exec 9> "$folder/lock"
    flock -w 600 9 || { say "another element has been copying the image for 600 s"; return 1; }
    # Copies unused for a week; what still runs from such a copy has it open.
    find "$folder" -name '*.sif' -mtime +7 -exec rm -f {} +
    if is_sound "$copy"; then
        touch "$copy"
    else
        sleep $(($(od -An -N1 -tu1 /dev/urandom) % 5)) # many nodes start at once and read from one disk
        size=$(($(stat -c %s "$image") / 1024))
        [ "$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')" -gt $((2 * size)) ] ||
            { say "not enough space in $folder for a copy of the image"; return 1; }
        if ! { cp "$image" "$copy.$$" && is_sound "$copy.$$" && mv "$copy.$$" "$copy"; }; then
            rm -f "$copy.$$"
            say "the copy of the image in $folder is damaged"
            is_sound "$image" || { say "$image is not the image that was submitted: not starting"; return 3; }
            return 1
        fi
        say "copied the image to $copy"
    fi
    exec 9>&-
    echo "$copy"
}

is_sound() { [ -f "$1" ] && echo "$digest  $1" | sha256sum --check --status; }

# SIGTERM also reaches the element, which then ends in order; this shell only waits for it.
ended=""
trap 'ended=yes' TERM INT
trap : CONT
# SLURM sends it before the time limit, up to a minute too early. It would end a container, or a Python, that is still
# starting and does not ignore it yet.
trap '' USR2

# Before anything is printed. The digests of this script and of the work are checked elsewhere; but logs, and scripts
# with their secrets, must be private to this user: if others could replace logs by a folder of links, output would be
# appended to any file of this user.
case $(stat -c %u:%a "$run/logs" 2>/dev/null) in
    "" | "$(id -u):700" | "$(id -u):2700") ;;
    *)
        say "$run/logs is not private to this user (0700): not starting"
        exit 3
        ;;
esac
if ! is_own_log 1 || ! is_own_log 2; then
    say "the log of this job does not lie in $run/logs: not starting"
    exit 3
fi

if [ -n "$clips" ] && ! is_broken; then
    tries=0
    until [ -e "$clips" ] || ! wait_to_try_again "$clips is not there"; do :; done
    [ -n "$ended" ] || [ -e "$clips" ] || mark_broken "the clips are not visible on this node: $clips is not there"
fi
if is_broken; then
    say "node $node cannot do this run's work (see $run/broken_nodes): left to other nodes"
    stay=$(($(date +%s) + hold))
    until [ "$(count_broken)" -gt "$max_broken" ] || keep_away || [ "$(date +%s)" -ge "$stay" ] ||
        [ -n "$ended" ]; do
        # If this one ended at once, SLURM would start one element of the array after the other on this node.
        say "could not tell SLURM to keep away: trying again for up to $hold s"
        sleep "$ask" &
        wait $!
        kill -KILL $! 2>/dev/null # still running if a signal ended the wait
    done
    exit 3
fi

ran=$image
if [ -n "$stage" ]; then
    if copy=$(staged); then
        for word; do
            shift
            [ "$word" != "$image" ] || word=$copy
            set -- "$@" "$word"
        done
        ran=$copy
    elif [ $? -eq 3 ]; then
        exit 3
    else
        say "starting the shared image: $image"
    fi
fi

unset VMAFARM_IMAGE
# For the element's record. The SHA-256 of many gigabytes is not worth its time unless the image was replaced.
if [ -n "$image" ]; then
    if [ "$ran" = "$image" ] && [ "$(stat -L -c %s:%Y:%i "$image")" != "$stamp" ]; then
        say "$image was replaced since it was submitted, or its file system numbers files anew"
        digest=$(sha256sum < "$image" | cut -c 1-64)
    fi
    VMAFARM_IMAGE=sha256:$digest
    export VMAFARM_IMAGE
fi

records=$(count_records)
tries=0
while :; do
    "$@"
    status=$?
    did_not_start "$status" || break
    wait_to_try_again "the element did not start (exit status $status)" || break
done
[ -z "$next_look" ] || look_elsewhere
if [ -z "$ended" ] && did_not_start "$status"; then
    mark_broken "the element did not start: exit status $status, $((tries + 1)) times; see its log"
fi
if is_broken; then
    if [ "$(count_broken)" -le "$max_broken" ]; then keep_away; fi
    exit 3
fi
exit "$status"
