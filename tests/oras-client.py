"""A command line for the Python package `oras`, which is a library: one call of it for each command.

The library does the work and chooses every request; this only reads arguments. It must know nothing
about the registry under test.
"""

import argparse
import sys

import oras.client
import oras.container
import oras.oci


def client_of(arguments):
    client = oras.client.OrasClient(insecure=True, auth_backend=arguments.auth)
    # What `login` wrote; not every method of the library looks for it.
    client.auth.load_configs(oras.container.Container(arguments.target))
    return client


def login(arguments):
    client = oras.client.OrasClient(insecure=True)
    password = sys.stdin.readline().rstrip("\n")
    print(client.login(arguments.username, password, hostname=arguments.target))


def push(arguments):
    subject = None
    if arguments.subject:
        media_type, digest, size = arguments.subject
        subject = oras.oci.Subject(media_type, digest, int(size))
    response = client_of(arguments).push(
        arguments.target,
        files=arguments.files,
        disable_path_validation=True,
        manifest_config=arguments.config,
        subject=subject,
        do_chunked=arguments.chunked is not None,
        chunk_size=arguments.chunked or 1,
    )
    print("digest:", response.headers["Docker-Content-Digest"])
    print("subject:", response.headers.get("OCI-Subject", "none"))


def pull(arguments):
    for path in client_of(arguments).pull(arguments.target, outdir=arguments.folder):
        print(path)


def tags(arguments):
    print(" ".join(client_of(arguments).get_tags(arguments.target)))


def delete(arguments):
    if not client_of(arguments).delete_tag(arguments.target, arguments.tag):
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--auth", choices=["basic", "token"], default="token")
    commands = parser.add_subparsers(required=True)

    def command(run, *more):
        described = commands.add_parser(run.__name__)
        described.set_defaults(run=run)
        for name in ("target", *more):
            described.add_argument(name)
        return described

    command(login, "username")
    described = command(push)
    described.add_argument("--config")
    described.add_argument("--subject", nargs=3, metavar=("TYPE", "DIGEST", "SIZE"))
    described.add_argument("--chunked", type=int, metavar="BYTES")
    described.add_argument("files", nargs="+")
    command(pull, "folder")
    command(tags)
    command(delete, "tag")
    arguments = parser.parse_args()
    arguments.run(arguments)


main()
