#!/usr/bin/env bash
# Runs the tests: unit and integration tests of the pipe and the server, then real clients and
# crashes against the release binaries.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/run.sh [--soak] [--unit | --e2e] [FILTER...]
       tests/run.sh --mutants [NAME...]

  --soak    the long forms: layers of 4 GiB, more crashes, ten minutes of
            pushing and deleting while space is collected
  --unit    only the tests of the pipe and the server by themselves, and the inputs
            in fuzz/corpus
  --e2e     only the tests with real processes and clients
  --mutants take out one protection after the other and show which test notices (20 minutes)
  FILTER    only tests whose name contains one of these

Needs a C compiler and the programs that tests/install.sh names: container clients, proxies and what
a network of one's own takes. As root on Debian they are installed; elsewhere a program that is missing
skips its tests, or fails them when CI is set.
STANDPIPE_SERVER_BIN and STANDPIPE_PIPE_BIN name other binaries to test; STANDPIPE_SEED repeats
a random run; STANDPIPE_ROUNDS=N makes the simulated power losses and damages N times as many.
TEXT
}

run_unit=yes
run_e2e=yes
filters=()
if [ "${1:-}" = --mutants ]; then
    shift
    exec "$(dirname "${BASH_SOURCE[0]}")/mutants.sh" "$@"
fi
for argument in "$@"; do
    case $argument in
        --soak) export STANDPIPE_SOAK=1 ;;
        --unit) run_e2e=no ;;
        --e2e) run_unit=no ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*)
            echo "unknown option $argument" >&2
            usage >&2
            exit 2
            ;;
        *) filters+=("$argument") ;;
    esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Test data is measured in gigabytes: too much for a temporary folder that lives in memory.
if [ -z "${TMPDIR:-}" ] && [ "$(stat -f -c %T /tmp)" = tmpfs ]; then
    export TMPDIR=/var/tmp
fi

timings=()
part() {
    local name=$1 start=$SECONDS
    shift
    echo "=== $name"
    "$@" </dev/null
    timings+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
}

install_needs() {
    if ! tests/install.sh && [ -n "${CI:-}" ]; then
        return 1
    fi
}

report() {
    local status=$?
    echo "=== time taken"
    printf '%s\n' "${timings[@]:-nothing}"
    if [ $status -ne 0 ]; then
        echo "tests/run.sh: FAILED"
    fi
}
trap report EXIT

part "install" install_needs
if [ $run_unit = yes ]; then
    part "unit and integration tests" \
        cargo test --locked --no-fail-fast -p standpipe-pipe -p standpipe-server -p standpipe-fuzz \
        -- "${filters[@]}"
fi
if [ $run_e2e = yes ]; then
    # First, because both end in the same place, and what is tested by itself is the ordinary build.
    part "files of the images" packaging/build.sh
    part "release build" cargo build --locked --release -p standpipe-pipe -p standpipe-server
    part "end to end" cargo test --locked -p standpipe-tests -- "${filters[@]}"
fi
