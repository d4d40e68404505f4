#!/usr/bin/env bash
# Brings what building and testing need: a C compiler, the container clients, proxies.
# Installs as root on Debian and its relatives; elsewhere says what is missing and ends with 1.
# The Python package oras comes from PyPI and the script axe-core from npm, each into a folder of its
# own below the target folder.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Daemons live in the sbin folders, which an ordinary user's path leaves out.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# program:package, in Debian's names.
needed=(
    buildah:buildah busybox:busybox-static caddy:caddy cc:gcc chromedriver:chromium-driver
    chromium:chromium containerd:containerd ctr:containerd
    dnsmasq:dnsmasq-base docker:docker.io docker-compose:docker-compose dockerd:docker.io
    faketime:faketime ip:iproute2 nginx:nginx npm:npm openssl:openssl podman:podman python3:python3
    docker-registry:docker-registry skopeo:skopeo systemd-analyze:systemd umoci:umoci
)

missing_programs=()
missing_packages=()

add_package() {
    local package
    for package in "${missing_packages[@]:-}"; do
        [ "$package" = "$1" ] && return
    done
    missing_packages+=("$1")
}

for pair in "${needed[@]}"; do
    program=${pair%%:*}
    if ! command -v "$program" >/dev/null 2>&1; then
        missing_programs+=("$program")
        add_package "${pair##*:}"
    fi
done
# The compiler may be there without the C library's headers, which is found out only by compiling.
if ! printf '#include <stdlib.h>\n' | cc -fsyntax-only -x c - >/dev/null 2>&1; then
    missing_programs+=("stdlib.h")
    add_package libc6-dev
fi

# What the images take their certificates from.
if ! [ -s /etc/ssl/certs/ca-certificates.crt ]; then
    missing_programs+=(certificates)
    add_package ca-certificates
fi

# Debian keeps the part of Python apart that makes folders for packages.
if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    missing_programs+=(python3-venv)
    add_package python3-venv
fi

install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "missing: ${missing_programs[*]}" >&2
        echo "On Debian: apt-get install --no-install-recommends ${missing_packages[*]}" >&2
        return 1
    fi
    echo "installing ${missing_packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null
    # From Debian 13 on, the docker command is a package of its own.
    if apt-cache show docker-cli >/dev/null 2>&1 && ! command -v docker >/dev/null 2>&1; then
        add_package docker-cli
    fi
    apt-get install -y -qq --no-install-recommends "${missing_packages[@]}" </dev/null
}

# tests/src/environment.rs looks for it in the same place.
install_oras() {
    local folder=${STANDPIPE_TARGET_DIR:-${CARGO_TARGET_DIR:-target}}/tools/oras
    if cmp -s tests/oras-client.txt "$folder/installed.txt" && "$folder/bin/python" -c 'import oras.client'; then
        return
    fi
    echo "installing oras for Python"
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --only-binary :all: --requirement tests/oras-client.txt </dev/null
    cp tests/oras-client.txt "$folder/installed.txt"
}

# The same for the script that looks for barriers in pages. Nothing of it is run by npm.
install_axe() {
    local version=4.14.1 folder=${STANDPIPE_TARGET_DIR:-${CARGO_TARGET_DIR:-target}}/tools/axe
    if [ "$(cat "$folder/installed.txt" 2>/dev/null)" = "$version" ]; then
        return
    fi
    echo "installing axe-core"
    rm -rf "$folder"
    mkdir -p "$folder"
    npm install --prefix "$folder" --no-save --no-audit --no-fund --no-update-notifier --ignore-scripts \
        --loglevel=error "axe-core@$version" </dev/null
    echo "$version" >"$folder/installed.txt"
}

if [ ${#missing_packages[@]} -ne 0 ]; then
    install_packages
fi
install_oras
install_axe
