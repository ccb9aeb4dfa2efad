#!/bin/sh
# usage: element.sh --run FOLDER --name JOB_NAME [--clips PATH] [--exclude NODES] [--max-broken N]
#                   [--hold SECONDS] [--ask SECONDS] [--image SIF --digest SHA256 --stage FOLDER]
#                   [--next-look FILE] -- COMMAND ...
# Starts an element on a compute node, outside of the image: this part needs what no image has.
#
#   --run         the run's folder
#   --name        name of the run's jobs
#   --clips       what must be there before a container can have it
#   --exclude     nodes that the run was not to use from the start
#   --max-broken  of more broken nodes than that, not the nodes are to blame: they are not excluded
#   --hold        where SLURM cannot be told to keep away from a broken node: stay on it so long
#   --ask         seconds from one try to tell it to the next
#   --image       word of COMMAND that is replaced by a copy of it below --stage, on the node's own disk
#   --digest      of the image, in hexadecimal digits
#   --next-look   file with the job that is to try on another node the clips that fail on this one
set -u

run="" name="" clips="" exclude="" max_broken=1 hold=600 ask=20 image="" digest="" stage="" next_look=""
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
        --stage) stage=$2 ;;
        --next-look) next_look=$2 ;;
        --) shift && break ;;
        *) echo "element.sh: unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
node=${SLURMD_NODENAME:-$(hostname)}
VMAFARM_STARTED=$(date +%s)
export VMAFARM_STARTED
cd / # a working folder that the node does not have would end the container

say() { echo "element.sh: $*" >&2; }

is_broken() { [ -f "$run/broken_nodes/$node" ]; }

# Prints the broken nodes, one a line: regular files with names that nodes can have.
list_broken() {
    for broken in "$run"/broken_nodes/[A-Za-z0-9]*; do
        case ${broken##*/} in *[!A-Za-z0-9_.-]*) continue ;; esac
        [ ! -f "$broken" ] || echo "${broken##*/}"
    done
}

count_broken() { list_broken | grep -c .; }

# Prints them with a comma behind each.
broken_nodes() { list_broken | tr '\n' ,; }

# Prints the beginning of a file that somebody else may have put there: a FIFO would never end.
read_file() { [ ! -f "$1" ] || head -c 4096 "$1"; }

mark_broken() {
    say "$1"
    mkdir -p "$run/broken_nodes" || return 0
    rm -f "$run/broken_nodes/.$node.$$"
    printf '%s\n%s\n' "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$1" > "$run/broken_nodes/.$node.$$" &&
        mv "$run/broken_nodes/.$node.$$" "$run/broken_nodes/$node"
}

# Prints a comma and the node that the job of a next look is kept off, if that is this job.
looked_at() {
    for look in "$run"/submissions/*.look; do
        away=$(read_file "$look.away")
        if [ -n "$away" ] && [ "$(read_file "$look")" = "$1" ]; then printf ',%s' "$away"; fi
    done
}

# Of the run's waiting jobs none shall start on a broken node any more. Fails where SLURM cannot be told.
keep_away() {
    nodes=$(broken_nodes)$exclude
    jobs=$(timeout 60 squeue --noheader --user "$(id -un)" --name "$name" --states PENDING --format %F) || return 1
    all=${nodes%,}
    for job in $(printf '%s\n' "$jobs" | sort -u); do
        nodes=$all$(looked_at "$job")
        # Of an array it fails for those elements that run already or have ended, and says so line by line.
        if ! answer=$(timeout 60 scontrol update "JobId=$job" "ExcNodeList=${nodes%,}" 2>&1) &&
            { [ -z "$answer" ] || echo "$answer" | grep -qv -e 'no longer pending' -e 'already finished' \
                -e 'Invalid job id' -e 'No error'; }; then
            say "scontrol: $answer"
            return 1
        fi
        say "job $job keeps away from ${nodes%,}"
    done
}

# Prints nodes that could take the place of this one: of its partition and kind, in service, not excluded.
alternatives() {
    timeout 60 sinfo --noheader --Node --responding --states idle,mixed,allocated,completing \
        ${SLURM_JOB_PARTITION:+--partition "$SLURM_JOB_PARTITION"} --format '%N %c %m %G %f' | sort -u |
        awk -v node="$node" -v away="$(timeout 60 scontrol show hostnames "$1")" '
            { name = $1; $1 = ""; kind[name] = $0 }
            END {
                count = split(away, list, "\n")
                for (i = 1; i <= count; i++) excluded[list[i]] = 1
                for (name in kind) if (kind[name] == kind[node] && !(name in excluded)) print name
            }'
}

# The job of the next look keeps away from this node, where there is another one: else it would wait for ever.
look_elsewhere() {
    nodes=$node,$(broken_nodes)
    nodes=${nodes%,}${exclude:+,$exclude}
    job=$(read_file "$next_look")
    if [ -n "$job" ] && [ -n "$(alternatives "$nodes")" ]; then
        # For those who exclude broken nodes meanwhile; what stands there may be no file.
        rm -f "$next_look.away" && echo "$node" > "$next_look.away"
        if answer=$(timeout 60 scontrol update "JobId=$job" "ExcNodeList=$nodes" 2>&1); then
            say "job $job keeps away from $nodes"
        else
            say "scontrol: $answer"
        fi
    fi
}

# Prints the path of a checked copy of the image on the node's own disk.
staged() {
    [ "$(stat -f -c %T "$stage")" != tmpfs ] || { say "$stage lies in memory: no copy there"; return 1; }
    folder=$stage/vmafarm-$(id -u)
    mkdir -m 700 "$folder" 2>/dev/null
    if [ -L "$folder" ] || [ "$(stat -c %u:%a "$folder")" != "$(id -u):700" ]; then
        say "$folder is not this user's alone: no copy there"
        return 1
    fi
    copy=$folder/$digest.sif
    exec 9> "$folder/lock"
    flock -w 600 9 || { say "another element has not copied the image within 600 s"; return 1; }
    # Copies that nothing has used for a week; what still runs from one has it open.
    find "$folder" -name '*.sif' -mtime +7 -exec rm -f {} +
    if is_sound "$copy"; then
        touch "$copy"
    else
        sleep $(($(od -An -N1 -tu1 /dev/urandom) % 5)) # nodes start together, the image's disk is one
        size=$(($(stat -c %s "$image") / 1024))
        [ "$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')" -gt $((2 * size)) ] ||
            { say "too little space in $folder for a copy of the image"; return 1; }
        if ! { cp "$image" "$copy.$$" && is_sound "$copy.$$" && mv "$copy.$$" "$copy"; }; then
            rm -f "$copy.$$"
            say "the copy of the image in $folder is not sound"
            return 1
        fi
        say "copied the image to $copy"
    fi
    exec 9>&-
    echo "$copy"
}

is_sound() { [ -f "$1" ] && echo "$digest  $1" | sha256sum --check --status; }

# SIGTERM reaches the element as well, which then ends in order; this shell only waits for it.
ended=""
trap 'ended=yes' TERM INT
trap : CONT
# Comes ahead of the time limit, up to a minute too early, and would end what has not yet said that it
# does not care: the container and Python while they start.
trap '' USR2

if [ -n "$clips" ] && [ ! -e "$clips" ]; then
    mark_broken "the clips cannot be seen on this node: $clips is not there"
fi
if is_broken; then
    say "node $node cannot do this run's work (see $run/broken_nodes): left to other nodes"
    stay=$(($(date +%s) + hold))
    until [ "$(count_broken)" -gt "$max_broken" ] || keep_away || [ "$(date +%s)" -ge "$stay" ] ||
        [ -n "$ended" ]; do
        # Ending at once would draw one element of the array after the other to this node.
        say "SLURM could not be told to keep away: asking again, until $hold s have passed"
        sleep "$ask" &
        wait $!
        kill -KILL $! 2>/dev/null # still there after a signal
    done
    exit 3
fi

# The digests of this script and of the work are checked elsewhere. Logs, and scripts with their secrets, must be
# this user's alone all the same.
case $(stat -c %u:%a "$run/logs" 2>/dev/null) in
    "" | "$(id -u):700" | "$(id -u):2700") ;;
    *)
        say "$run/logs is not private to this user (0700): not starting"
        exit 3
        ;;
esac

if [ -n "$stage" ]; then
    if copy=$(staged); then
        for word; do
            shift
            [ "$word" != "$image" ] || word=$copy
            set -- "$@" "$word"
        done
    else
        say "starting the image from where it lies: $image"
    fi
fi

"$@"
status=$?
[ -z "$next_look" ] || look_elsewhere
case $status in
    126 | 127 | 255)
        # The program or the container did not start, and nothing in it could say so.
        set -- "$run/elements/${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-none}}-${SLURM_ARRAY_TASK_ID:-0}-"*
        [ -e "$1" ] || mark_broken "the element did not start there: exit status $status; its log tells why"
        ;;
esac
if is_broken; then
    if [ "$(count_broken)" -le "$max_broken" ]; then keep_away; fi
    exit 3
fi
exit "$status"
