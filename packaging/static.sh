#!/bin/sh
# Stands before rustc (RUSTC_WORKSPACE_WRAPPER): the two programs are linked statically, and everything
# else is compiled as in any other build, so that nothing is compiled twice for it.
rustc=$1
shift
case " $* " in
    *" --crate-name standpipe_"*" --crate-type bin "*) set -- "$@" -C target-feature=+crt-static ;;
esac
exec "$rustc" "$@"
