#!/usr/bin/env bash
# Takes out one protection after the other and shows which test notices. Fails if none does.
# usage: tests/mutants.sh [NAME...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# One build serves all: it asks the variable when the tests run.
built=$(STANDPIPE_MUTANT=any cargo test -p standpipe-server --lib --test it --no-run \
    --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"\(standpipe_server\|it\)".*"executable":"\([^"]*\)".*/\1 \2/p')
lib=$(sed -n 's/^standpipe_server //p' <<<"$built" | tail -n 1)
it=$(sed -n 's/^it //p' <<<"$built" | tail -n 1)
[ -x "$lib" ] && [ -x "$it" ] || {
    echo "the tests could not be built; see: STANDPIPE_MUTANT=any cargo test -p standpipe-server" >&2
    exit 1
}

# The next ordinary build must not be confused with this one.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$lib" "$folder/lib"
cp "$it" "$folder/it"

run() { # mutant, target, filter
    (cd server && STANDPIPE_MUTANT=$1 RUST_BACKTRACE=0 CARGO_MANIFEST_DIR=$PWD INSTA_UPDATE=no \
        timeout 600 "$folder/$2" "$3") >"$folder/out" 2>&1
}

survived=0 tried=0
while read -r mutant guards target filter; do
    [ $# -eq 0 ] || [[ " $* " == *" $mutant "* ]] || continue
    tried=$((tried + 1))
    if run "$mutant" "$target" "$filter"; then
        printf '%-32s %-12s SURVIVED %s\n' "$mutant" "$guards" "$filter"
        survived=$((survived + 1))
        continue
    fi
    killer=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$folder/out" | head -n 1)
    printf '%-32s %-12s -> %s\n' "$mutant" "$guards" "${killer:-the run itself broke off}"
done < <(grep -v '^#' tests/mutants.txt)

# And the tests must pass when nothing is taken out, or a failure would say nothing.
while read -r target filter; do
    if ! run none "$target" "$filter"; then
        echo "fails without any mutant: $target $filter"
        survived=$((survived + 1))
    fi
done < <(grep -v '^#' tests/mutants.txt | awk '{print $3, $4}' | sort -u)
echo "$tried mutants, $survived not noticed"
[ "$survived" -eq 0 ]
