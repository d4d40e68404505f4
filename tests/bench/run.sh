#!/usr/bin/env bash
# Compares the release build with Debian's docker-registry (CNCF distribution), side by side.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/bench/run.sh

Runs both registries on loopback and lets them take turns at the same work; prints medians, the
ratio within each round, and how often each of them asks the disk to make something durable.
Takes about seven minutes, 3 GiB of memory beside theirs, and 25 GB of disk, which it gives back.

STANDPIPE_BENCH_ROUNDS (5) and STANDPIPE_BENCH_SECONDS (4, for each workload of small requests)
change how long, STANDPIPE_BENCH_ONLY (of small, manifests, heads, large, tags, syncs, tails; with
commas in between) what; STANDPIPE_SERVER_BIN names another server. Needs docker-registry and strace.
TEXT
}

case ${1:-} in
    '') ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH="$PATH:/usr/sbin:/sbin"
for program in docker-registry strace; do
    if ! command -v "$program" >/dev/null; then
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            echo "$program is missing. On Debian: apt-get install --no-install-recommends $program" >&2
            exit 1
        fi
        apt-get update -q >/dev/null
        apt-get install -q -y --no-install-recommends "$program" >/dev/null
    fi
done
# The data is measured in gigabytes: too much for a temporary folder that lives in memory.
if [ -z "${TMPDIR:-}" ] && [ "$(stat -f -c %T /tmp)" = tmpfs ]; then
    export TMPDIR=/var/tmp
fi
if [ -z "${STANDPIPE_SERVER_BIN:-}" ]; then
    cargo build --locked --release -p standpipe-server
fi
echo "$(date -u +%F), $(nproc) processors ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), kernel $(uname -r), $(stat -f -c %T "${TMPDIR:-/tmp}")"
exec cargo run --locked --release -p standpipe-tests --bin standpipe-bench
