#!/usr/bin/env bash
# Pushes one image by docker push, skopeo copy and the pipe, in turns, into one registry, and prints
# how long each took.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/bench/pipe.sh

One image of more than 1 GB in six layers, of files of this machine, is pushed by `docker push`, by
`skopeo copy` and by the pipe, in turns, into Standpipe on loopback:
  first      into a package that has nothing
  unchanged  once more, by a daemon that has forgotten what it pushed (as in every pipeline step)
  changed    with another last layer of 5 MB, by such a daemon
  warm       the last two by a daemon that remembers
  delayed    all of it with 20 ms of delay on the line to the registry, by the kernel (tc, netem) or,
             where it has none, by a program that passes on what it gets 10 ms later
Prints seconds (medians), bytes on loopback (what the engine gives to the pipe over TCP is among them)
and the pipe's peak memory.

STANDPIPE_BENCH_ROUNDS (1) repeats, STANDPIPE_BENCH_ONLY (of cold, warm, delayed) chooses, and so does
STANDPIPE_BENCH_PUSHES (of first, unchanged, changed) for cold and delayed; STANDPIPE_BENCH_MB (1200) is
the size; STANDPIPE_SERVER_BIN, STANDPIPE_PIPE_BIN and STANDPIPE_DELAY_BIN name other programs.
Needs root, for a daemon and a network namespace of its own: dockerd, skopeo, iproute2. Takes about ten
minutes and 8 GB of disk, which it gives back.
TEXT
}

case ${1:-} in
    '') ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH="$PATH:/usr/sbin:/sbin"
for program in dockerd docker skopeo ip tc unshare curl; do
    command -v "$program" >/dev/null || {
        echo "$program is missing: tests/install.sh installs what the tests need" >&2
        exit 1
    }
done
if [ "$(id -u)" != 0 ]; then
    echo "a daemon of its own must be started by root" >&2
    exit 1
fi
target=${CARGO_TARGET_DIR:-target}
if [ -z "${STANDPIPE_SERVER_BIN:-}" ] || [ -z "${STANDPIPE_PIPE_BIN:-}" ]; then
    cargo build --locked --release -p standpipe-server -p standpipe-pipe
fi
if [ -z "${STANDPIPE_DELAY_BIN:-}" ]; then
    cargo build --locked -p standpipe-tests --bin standpipe-delay
fi
server=${STANDPIPE_SERVER_BIN:-$target/release/standpipe-server}
pipe=${STANDPIPE_PIPE_BIN:-$target/release/standpipe-pipe}
delay=${STANDPIPE_DELAY_BIN:-$target/debug/standpipe-delay}
server=$(realpath "$server") pipe=$(realpath "$pipe") delay=$(realpath "$delay")

# Everything happens in a network namespace of this script, so that the delay is on no other line, and
# in a mount namespace, so that skopeo's memory of other blobs is not found.
if [ -z "${STANDPIPE_BENCH_INSIDE:-}" ]; then
    export STANDPIPE_BENCH_INSIDE=1 STANDPIPE_SERVER_BIN=$server STANDPIPE_PIPE_BIN=$pipe STANDPIPE_DELAY_BIN=$delay
    exec unshare --net --mount --fork --kill-child "$PWD/tests/bench/pipe.sh"
fi
ip link set lo up
delayed_by=''
rounds=${STANDPIPE_BENCH_ROUNDS:-1}
only=${STANDPIPE_BENCH_ONLY:-cold,warm,delayed}
pushes=${STANDPIPE_BENCH_PUSHES:-first,unchanged,changed}
size=${STANDPIPE_BENCH_MB:-1200}
folder=$(mktemp -d "${TMPDIR:-/var/tmp}/standpipe-bench.XXXXXX")
mkdir -p "$folder/containers" /var/lib/containers
mount --bind "$folder/containers" /var/lib/containers
export HOME=$folder DOCKER_CONFIG=$folder/docker DOCKER_HOST=unix://$folder/docker.sock
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
registry=127.0.0.1:5000
results=$folder/results
# Nobody writes to it: reading it is waiting, without a program.
mkfifo "$folder/never"

daemon_pid='' server_pid='' delay_pid='' hops=1
end() {
    local status=$?
    tc qdisc del dev lo root 2>/dev/null || true
    for pid in $daemon_pid $server_pid $delay_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    umount /var/lib/containers 2>/dev/null || true
    grep -o "$folder[^ ]*" /proc/self/mounts | xargs -r umount 2>/dev/null || true
    rm -rf "$folder"
    exit $status
}
trap end EXIT INT TERM

start_daemon() {
    dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/docker.pid" \
        --host "$DOCKER_HOST" --bridge=none --iptables=false --ip-forward=false --ip-masq=false \
        >>"$folder/dockerd.log" 2>&1 &
    daemon_pid=$!
    for _ in $(seq 300); do
        docker version >/dev/null 2>&1 && return
        sleep 0.1
    done
    tail -n 20 "$folder/dockerd.log" >&2
    exit 1
}

# What a daemon remembers of pushes is gone after this, and what skopeo remembers.
forget() {
    kill "$daemon_pid"
    wait "$daemon_pid" || true
    rm -rf "$folder"/data/image/*/distribution "$folder/containers/cache"
    start_daemon
    sync
}

api() {
    curl --silent --show-error --fail --user "admin:$password" \
        --header 'content-type: application/json' "$@" >/dev/null
}

start_server() {
    password=$(head -c 18 /dev/urandom | base64)
    env -i STANDPIPE_ADMIN_PASSWORD="$password" "$server" serve --data-dir "$folder/registry" --listen $registry \
        >"$folder/server.log" 2>&1 &
    server_pid=$!
    for _ in $(seq 100); do
        curl --silent --fail "http://$registry/readyz" >/dev/null && break
        kill -0 "$server_pid" || { cat "$folder/server.log" >&2; exit 1; }
        sleep 0.1
    done
    local base=http://$registry/api/v1/workspaces
    api --data '{"slug":"acme","name":"Acme"}' $base
    api --data '{"key":"WEB","name":"Web"}' $base/acme/projects
    api --data '{"slug":"shop","project":"WEB","visibility":"private"}' $base/acme/repositories
    api --request PATCH --data '{"create_on_push":"writers","default_repository":"shop"}' $base/acme
    api --request PATCH --data '{"keep_seconds":0}' $base/acme 2>/dev/null || true
    curl --silent --user "admin:$password" --data '{"name":"bench","lifetime_seconds":86400}' \
        --header 'content-type: application/json' $base/acme/repositories/shop/pipeline-tokens \
        >"$folder/token"
    token=$(sed -n 's/.*"token":"\([^"]*\)".*/\1/p' "$folder/token")
    user=$(sed -n 's/.*"username":"\([^"]*\)".*/\1/p' "$folder/token")
    login
}

login() {
    docker login --username "$user" --password-stdin $registry <<<"$token" >/dev/null 2>&1
}

# Puts the program between all clients and the registry. It is another registry to them then; and what
# passes through it is on loopback twice.
delay_line() {
    "$delay" 127.0.0.1:5001 "$registry" 10 &
    delay_pid=$!
    registry=127.0.0.1:5001 hops=2
    for _ in $(seq 100); do
        curl --silent --fail "http://$registry/readyz" >/dev/null && break
        sleep 0.1
    done
    login
}

# Five layers of the files of this machine and one of 5 MB; what is missing is noise.
build() {
    local context=$folder/context layer=0 room=0 file bytes
    local each=$((size * 1000000 / 5))
    mkdir -p "$context"
    {
        echo 'FROM scratch'
        for layer in 1 2 3 4 5; do echo "COPY $layer /$layer"; done
        echo 'COPY top /top'
    } >"$context/Dockerfile"
    find /usr -xdev -type f -size -40M -printf '%s %p\n' 2>/dev/null | LC_ALL=C sort -k 2 |
        awk -v each=$each 'BEGIN { layer = 1 } { if (sum > each) { layer++; sum = 0 } if (layer > 5) next; sum += $1; print $2 > ("'"$folder"'/list-" layer) }'
    for layer in 1 2 3 4 5; do
        mkdir "$context/$layer"
        touch "$folder/list-$layer"
        # Files that go away or may not be read meanwhile are left out.
        tar --create --files-from "$folder/list-$layer" --absolute-names --ignore-failed-read 2>/dev/null |
            tar --extract --directory "$context/$layer" --strip-components 1 2>/dev/null || true
        bytes=$(du -s --block-size=1 "$context/$layer" | cut -f 1)
        if [ "$bytes" -lt $each ]; then
            head -c $((each - bytes)) /dev/urandom >"$context/$layer/noise"
        fi
    done
    head -c 5000000 /dev/urandom >"$context/top"
    DOCKER_BUILDKIT=0 docker build --quiet --tag bench:1 "$context" >/dev/null 2>&1
    head -c 5000000 /dev/urandom >"$context/top"
    DOCKER_BUILDKIT=0 docker build --quiet --tag bench:2 "$context" >/dev/null 2>&1
    rm -rf "$context"
    docker image inspect --format 'image: {{.Size}} bytes, {{len .RootFS.Layers}} layers' bench:1
}

now() { date +%s.%N; }
line_bytes() { awk -v hops=$hops '$1 == "lo:" { print $2 / hops }' /proc/net/dev; }

# Notes the most memory of a process, again and again. Only builtins: with a program for each look, 20
# times a second, the watching took 4 % of both processors.
watch_memory() {
    local key value rest never
    exec {never}<>"$folder/never"
    while kill -0 "$1" 2>/dev/null; do
        while read -r key value rest; do
            [ "$key" != VmHWM: ] || echo "peak $value" >>"$results"
        done 2>/dev/null <"/proc/$1/status" || true
        read -r -t 0.25 -u "$never" || true
    done
}

# push TOOL IMAGE PACKAGE WHAT: notes seconds and bytes on the line.
push() {
    local tool=$1 image=$2 package=$3 what=$4 start bytes
    bytes=$(line_bytes) start=$(now)
    case $tool in
        docker)
            docker tag "$image" "$registry/acme/$package:latest"
            docker push --quiet "$registry/acme/$package:latest" >"$folder/log" 2>&1
            ;;
        skopeo)
            skopeo --insecure-policy copy --quiet --dest-tls-verify=false --dest-creds "$user:$token" \
                --src-daemon-host "$DOCKER_HOST" "docker-daemon:$image" \
                "docker://$registry/acme/$package:latest" >"$folder/log" 2>&1
            ;;
        pipe)
            env -i REGISTRY=$registry WORKSPACE=acme USERNAME="$user" PASSWORD="$token" TMPDIR="$folder" \
                IMAGE_NAME="$package" SOURCE_IMAGE="$image" DOCKER_HOST="$DOCKER_HOST" \
                "$pipe" >"$folder/log" 2>&1 &
            local pid=$!
            watch_memory $pid &
            local watch=$! ended=0
            wait $pid || ended=$?
            kill $watch 2>/dev/null || true
            [ $ended = 0 ]
            ;;
    esac || {
        cat "$folder/log" >&2
        exit 1
    }
    local end
    end=$(now)
    if [ $tool = docker ]; then
        # Nor may the image remember where docker pushed it: the pipe would find its layers there.
        docker rmi "$registry/acme/$package:latest" >/dev/null
    fi
    [ -z "${STANDPIPE_BENCH_LOGS:-}" ] || cat "$folder/log" >&2
    awk -v what="$what" -v tool="$tool" -v start="$start" -v end="$end" -v before="$bytes" \
        -v after="$(line_bytes)" \
        'BEGIN { printf "time %s %s %.3f %.1f\n", what, tool, end - start, (after - before) / 1e6 }' |
        tee -a "$results" >&2
}

tools='docker skopeo pipe'
cold() {
    local prefix=$1 round tool
    for round in $(seq "$rounds"); do
        for what in ${pushes//,/ }; do
            for tool in $tools; do
                forget
                case $what in
                    changed) push $tool bench:2 "$prefix-$tool-$round" "$prefix-$what" ;;
                    *) push $tool bench:1 "$prefix-$tool-$round" "$prefix-$what" ;;
                esac
            done
        done
    done
}

warm() {
    local round tool
    for round in $(seq "$rounds"); do
        for tool in $tools; do
            push $tool bench:1 "warm-$tool-$round" warm-first
        done
        for tool in $tools; do
            push $tool bench:1 "warm-$tool-$round" warm-unchanged
        done
        for tool in $tools; do
            push $tool bench:2 "warm-$tool-$round" warm-changed
        done
    done
}

table() {
    awk '
        $1 == "peak" && $2 > peak { peak = $2 }
        $1 == "time" { key = $2 SUBSEP $3; n[key]++; time[key, n[key]] = $4; sent[key] = $5
                       if (!($2 in seen)) { seen[$2] = 1; order[++rows] = $2 } }
        function median(key,   i, j, t, c) {
            c = n[key]
            for (i = 1; i <= c; i++) a[i] = time[key, i]
            for (i = 1; i <= c; i++) for (j = i + 1; j <= c; j++) if (a[j] < a[i]) { t = a[i]; a[i] = a[j]; a[j] = t }
            return c % 2 ? a[(c + 1) / 2] : (a[c / 2] + a[c / 2 + 1]) / 2
        }
        END {
            print "| push | `docker push` | `skopeo copy` | the pipe | pipe / docker | MB sent: docker, skopeo, pipe |"
            print "|---|---|---|---|---|---|"
            for (i = 1; i <= rows; i++) {
                what = order[i]; label = what; sub("-", ", ", label)
                d = median(what SUBSEP "docker"); s = median(what SUBSEP "skopeo"); p = median(what SUBSEP "pipe")
                printf "| %s | %.1f s | %.1f s | %.2f s | %.3f | %.0f, %.0f, %.0f |\n", label, d, s, p, p / d,
                    sent[what, "docker"], sent[what, "skopeo"], sent[what, "pipe"]
            }
            printf "\nThe most memory of the pipe: %.0f MiB\n", peak / 1024
        }' "$results"
}

echo "$(date -u +%F), $(nproc) processors ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), kernel $(uname -r), docker $(dockerd --version | sed 's/.*version \([^ ,]*\).*/\1/'), $(skopeo --version)"
start_daemon
build
start_server
case ,$only, in *,cold,*) cold cold ;; esac
case ,$only, in *,warm,*) warm ;; esac
case ,$only, in
    *,delayed,*)
        if tc qdisc add dev lo root netem delay 10ms limit 100000 2>/dev/null; then
            delayed_by='the kernel (netem)'
        else
            delay_line
            delayed_by='a program (standpipe-delay): the kernel has no netem'
        fi
        cold delayed
        ;;
esac
table
[ -z "$delayed_by" ] || echo "Delayed by $delayed_by, 10 ms in each direction"
