#!/bin/sh
# Makes dist/: the files of the two images, dist/pipe and dist/server. Each is laid out as in the
# image: a static binary, the list of everything that is compiled into it (SBOM, CycloneDX),
# the certificates of this machine, the licences.
#
#   packaging/build.sh && docker build --file Dockerfile.server --target prebuilt .
#
# The Dockerfiles run it too, when they are built without --target. Needs Rust, a C compiler and,
# with glibc, version 2.34: since then static binaries look names up without help from shared
# libraries. CA_BUNDLE names another file of certificates. Plain sh: a builder may have no more.
set -eu

cyclonedx=0.5.9
certificates=${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}

fail() {
    echo "packaging/build.sh: $1" >&2
    exit 1
}

cd "$(dirname "$0")/.."
[ -s "$certificates" ] ||
    fail "$certificates is missing. On Debian: apt-get install ca-certificates; or set CA_BUNDLE."
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null || true)
case $glibc in
    "glibc 2."*)
        [ "${glibc#glibc 2.}" -ge 34 ] ||
            fail "this machine has $glibc; a static binary needs 2.34 to look names up."
        ;;
esac

target=$(cargo metadata --locked --no-deps --format-version 1 |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
tools=$target/tools
PATH=$tools/bin:$PATH

if ! [ -x "$tools/cyclonedx-$cyclonedx" ]; then
    # Without optimizing, which would take longer than it could ever save.
    cargo install --locked --force --debug --root "$tools" --version "$cyclonedx" cargo-cyclonedx
    cp "$tools/bin/cargo-cyclonedx" "$tools/cyclonedx-$cyclonedx"
fi
cargo cyclonedx --quiet --format json --spec-version 1.5 --describe binaries

RUSTC_WORKSPACE_WRAPPER=$PWD/packaging/static.sh \
    cargo build --locked --release --package standpipe-pipe --package standpipe-server

rm -rf dist
for part in pipe server; do
    name=standpipe-$part
    mkdir -p "dist/$part/usr/local/bin" "dist/$part/usr/share/$name" "dist/$part/etc/ssl/certs"
    cp "$target/release/$name" "dist/$part/usr/local/bin/"
    cp "$certificates" "dist/$part/etc/ssl/certs/ca-certificates.crt"
    cp LICENSE-APACHE LICENSE-MIT "dist/$part/usr/share/$name/"
    # Where it was built is nobody's business.
    sed "s|file://$PWD|file:///standpipe|g" "$part/${name}_bin.cdx.json" \
        >"dist/$part/usr/share/$name/sbom.cdx.json"
    chmod -R u=rwX,go=rX "dist/$part"
done
# There is one for every program of the workspace.
rm ./*/*.cdx.json
