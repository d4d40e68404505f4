#!/usr/bin/env bash
# Looks for inputs that break a parser, with libFuzzer through cargo-fuzz.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: fuzz/run.sh [--minimise] [SECONDS] [TARGET...]

  SECONDS     how long for each target; 60 unless given, 600 for pipe_archive and
              pipe_archive_built
  TARGET      only these; all of fuzz/fuzz_targets unless given
  --minimise  do not look; put what was found and reaches new code into fuzz/corpus

Needs cargo-fuzz (cargo install cargo-fuzz) and a C++ compiler. A nightly toolchain is used if there is
one, else the pinned one with RUSTC_BOOTSTRAP=1. What is found is kept below fuzz/found, which is
not committed. STANDPIPE_FUZZ_FOUND names another place.

After a crash: cargo fuzz prints the file with the input, below fuzz/artifacts. Run the target on
it again with the command it prints. Correct the parser, add a test named for the fault, and move
the file to fuzz/corpus/TARGET/ under a name that says what it is: ordinary tests replay it from
then on. If the target asked for too much, correct the target.
TEXT
}

minimise=no
seconds=
targets=()
for argument in "$@"; do
    case $argument in
        --minimise) minimise=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*)
            echo "unknown option $argument" >&2
            usage >&2
            exit 2
            ;;
        *[!0-9]*) targets+=("$argument") ;;
        *) seconds=$argument ;;
    esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi

# What the targets write is small and short-lived.
if [ -z "${TMPDIR:-}" ] && [ -d /dev/shm ]; then
    export TMPDIR=/dev/shm
fi
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    export RUSTUP_TOOLCHAIN=nightly
else
    export RUSTC_BOOTSTRAP=1
fi
# Traces of crashes should name lines.
export CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only
# Optimizing as a whole, as releases do, would take a minute more for each target.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

# The code here has no `unsafe`, so the address sanitizer would only slow it down.
fuzz=(--features libfuzzer --sanitizer none)
found=${STANDPIPE_FUZZ_FOUND:-fuzz/found}
failed=()
for target in "${targets[@]}"; do
    mkdir -p "$found/$target"
    limit=$seconds
    case $target in
        pipe_archive*) limit=${limit:-600} ;;
        *) limit=${limit:-60} ;;
    esac
    if [ $minimise = yes ]; then
        echo "=== $target: $(find "$found/$target" -type f | wc -l) inputs are held against the corpus"
        cargo fuzz run "${fuzz[@]}" "$target" "fuzz/corpus/$target" "$found/$target" -- -merge=1 -max_len=8192
        continue
    fi
    echo "=== $target: $limit s"
    # The first folder takes what is found; the corpus is only read.
    if ! cargo fuzz run "${fuzz[@]}" "$target" "$found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$limit" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1; then
        failed+=("$target")
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "fuzz/run.sh: FAILED: ${failed[*]}; --help says what to do with a crash" >&2
    exit 1
fi
