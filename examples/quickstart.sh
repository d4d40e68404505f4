#!/usr/bin/env bash
# From a fresh clone to an image that was pushed and pulled back, in one command.
#
#   examples/quickstart.sh          then serves until Ctrl-C
#   examples/quickstart.sh --once   ends after the pull
#
# Needs: Rust with a C compiler, and Docker: a daemon you may use, or dockerd and root. Everything
# is kept in a temporary folder that is removed at the end. Listens on this machine only.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

once=no
for argument in "$@"; do
    case $argument in
        --once) once=yes ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done

say() { printf '\n==> %s\n' "$*"; }
fail() {
    printf 'quickstart: %s\n' "$@" >&2
    exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Daemons live in the sbin folders, which an ordinary user's path leaves out.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
work=$(mktemp -d "${TMPDIR:-/tmp}/standpipe-quickstart.XXXXXX")
server_pid=
dockerd_pid=

stop() {
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
clean_up() {
    trap - EXIT INT TERM
    # The images would stay behind in a daemon that is not ours.
    if [ -n "${image:-}" ]; then
        docker rmi --force "$image" "$remote" >/dev/null 2>&1 || true
    fi
    stop "$server_pid"
    stop "$dockerd_pid"
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- what is needed ----------------------------------------------------------------------------
command -v docker >/dev/null ||
    fail "docker is missing. On Debian: apt-get install --no-install-recommends docker.io"
if [ -z "${STANDPIPE_SERVER_BIN:-}" ] || [ -z "${STANDPIPE_PIPE_BIN:-}" ]; then
    command -v cargo >/dev/null || fail "Rust is missing. See https://rustup.rs"
    command -v cc >/dev/null ||
        fail "a C compiler is missing. On Debian: apt-get install --no-install-recommends gcc libc6-dev"
fi

# --- a Docker daemon ---------------------------------------------------------------------------
start_dockerd() {
    say "starting a Docker daemon of its own"
    export DOCKER_HOST="unix://$work/docker.sock"
    dockerd --data-root "$work/docker/data" --exec-root "$work/docker/exec" \
        --pidfile "$work/docker.pid" --host "$DOCKER_HOST" \
        --bridge=none --iptables=false --ip-forward=false --ip-masq=false \
        >"$work/dockerd.log" 2>&1 </dev/null &
    dockerd_pid=$!
    until docker version >/dev/null 2>&1; do
        kill -0 "$dockerd_pid" 2>/dev/null ||
            fail "dockerd does not start here:" "$(tail -n 5 "$work/dockerd.log")"
        sleep 0.2
    done
}
if docker version >/dev/null 2>&1; then
    # Named once, so that the pipe and docker with its own configuration below use the same one.
    DOCKER_HOST=${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}')}
    export DOCKER_HOST
elif [ "$(id -u)" = 0 ] && command -v dockerd >/dev/null; then
    start_dockerd
else
    fail "no Docker daemon can be used. Start the machine's (systemctl start docker) and be allowed" \
        "to use it (group docker), or run this as root with dockerd installed (Debian: docker.io)."
fi
# The login below must not end up in the user's own configuration.
export DOCKER_CONFIG="$work/docker-config"

# --- build -------------------------------------------------------------------------------------
if [ -z "${STANDPIPE_SERVER_BIN:-}" ] || [ -z "${STANDPIPE_PIPE_BIN:-}" ]; then
    say "building (some minutes the first time)"
    (cd "$root" && cargo build --locked --release -p standpipe-server -p standpipe-pipe)
    target=$(cd "$root" && mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
fi
server=${STANDPIPE_SERVER_BIN:-$target/release/standpipe-server}
pipe=${STANDPIPE_PIPE_BIN:-$target/release/standpipe-pipe}

# --- the server --------------------------------------------------------------------------------
say "starting the server"
port=5000
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    port=0 # Somebody listens there; any free port will do.
fi
password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
data="$work/data"
env -i PATH="$PATH" STANDPIPE_ADMIN_PASSWORD="$password" \
    "$server" serve --data-dir "$data" --listen "127.0.0.1:$port" \
    >"$work/server.log" 2>&1 </dev/null &
server_pid=$!
until [ -s "$data/listen" ]; do
    kill -0 "$server_pid" 2>/dev/null || fail "the server does not start:" "$(tail -n 5 "$work/server.log")"
    sleep 0.1
done
url=$(head -n 1 "$data/listen")
registry=${url#http://}
echo "$url"

# --- a workspace, a project, a repository, a package, a token ----------------------------------
say "creating workspace acme, project WEB, repository shop, package hello and a pipeline token"
admin() {
    env -i PATH="$PATH" STANDPIPE_SERVER="$url" STANDPIPE_USERNAME=admin STANDPIPE_PASSWORD="$password" \
        "$server" admin "$@" </dev/null
}
admin workspace create acme --name Acme
admin project create acme WEB --name Web
admin repository create acme shop --project WEB
admin package create acme hello --repository shop
created=$(admin --json token create acme shop ci --lifetime 3600)
field() { printf '%s\n' "$created" | sed -n "s/^ *\"$1\": \"\([^\"]*\)\".*/\1/p"; }
token_user=$(field username)
token=$(field token)
[ -n "$token" ] || fail "the server made no token"

# --- an image, as a step would build it ----------------------------------------------------------
say "building the image hello with docker"
mkdir "$work/context"
printf 'Hello from Standpipe\n' >"$work/context/hello.txt"
printf 'FROM scratch\nCOPY hello.txt /hello.txt\nCMD ["/hello.txt"]\n' >"$work/context/Dockerfile"
# A name of its own, so that an image that happens to be called hello:latest stays what it is.
image="hello:quickstart-$$"
remote="$registry/acme/hello:latest"
docker build --quiet --tag "$image" "$work/context"

# --- push it with the pipe, under the environment a step has -------------------------------------
say "pushing it with the pipe"
mkdir "$work/build"
pushed=$(cd "$work/build" && env -i PATH="$PATH" CI=true DOCKER_HOST="$DOCKER_HOST" \
    BITBUCKET_WORKSPACE=acme BITBUCKET_REPO_SLUG=shop BITBUCKET_REPO_FULL_NAME=acme/shop \
    BITBUCKET_BRANCH=main BITBUCKET_BUILD_NUMBER=1 BITBUCKET_CLONE_DIR="$work/build" \
    BITBUCKET_COMMIT=0000000000000000000000000000000000000000 \
    BITBUCKET_PACKAGES_USERNAME="$token_user" BITBUCKET_PACKAGES_TOKEN="$token" \
    REGISTRY="$registry" INSECURE=true IMAGE_NAME="$image" TAGS=latest \
    "$pipe" </dev/null)
printf '%s\n' "$pushed"
pushed_digest=$(printf '%s\n' "$pushed" | grep -o 'sha256:[0-9a-f]\{64\}' | head -n 1)

# --- and back ------------------------------------------------------------------------------------
say "pulling it back with docker"
docker rmi --force "$image" >/dev/null
printf '%s' "$token" | docker login "$registry" --username "$token_user" --password-stdin \
    2>"$work/login.log" || fail "docker login failed:" "$(cat "$work/login.log")"
pulled=$(docker pull "$remote")
printf '%s\n' "$pulled"
pulled_digest=$(printf '%s\n' "$pulled" | grep -o 'sha256:[0-9a-f]\{64\}' | head -n 1)
[ -n "$pushed_digest" ] && [ "$pushed_digest" = "$pulled_digest" ] ||
    fail "pushed $pushed_digest, but pulled $pulled_digest"

cat <<TEXT

==> pushed and pulled: $pulled_digest

    Open      $url/
    Packages  $url/api/v1/workspaces/acme/packages
    log in    as admin with the password $password

    Docker    docker login $registry --username $token_user
    password  $token
    then      docker pull $remote

    Data      $data (removed at the end; a server of your own keeps it: see README.md)
TEXT

if [ -n "$dockerd_pid" ]; then
    printf '\n    In another terminal, first:  export DOCKER_HOST=%s\n' "$DOCKER_HOST"
fi

if [ "$once" = no ]; then
    say "serving until Ctrl-C"
    wait "$server_pid" || fail "the server ended:" "$(tail -n 5 "$work/server.log")"
fi
