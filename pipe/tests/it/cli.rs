//! The command line: help, version, and flags for people.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::daemon::Daemon;
use crate::image::{Image, Layout};
use crate::registry::{Login, PASSWORD, Registry, USER};

async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe-pipe"));
    let output = command.args(arguments).env_clear().output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn help_lists_every_variable() {
    let (code, out, _) = run(&["--help"]).await;
    assert_eq!(code, Some(0));
    for variable in standpipe_pipe::variables::VARIABLES {
        assert!(out.contains(variable.name), "{}", variable.name);
        assert!(out.contains(variable.description), "{}", variable.name);
    }
    assert!(out.contains("Exit codes:"), "{out}");
}

#[tokio::test]
async fn version_is_that_of_the_package() {
    let (code, out, _) = run(&["--version"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(out.trim(), concat!("standpipe-pipe ", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn arguments_are_refused_as_bad_input() {
    let (code, _, log) = run(&["--push"]).await;
    assert_eq!(code, Some(2));
    assert!(log.contains("--push"), "{log}");
    // A word is the image; what is wrong with it is told as for the variable.
    let (code, _, log) = run(&["reg.example/acme/App", "--workspace", "acme"]).await;
    assert_eq!(code, Some(2));
    assert!(log.contains("IMAGE_NAME: "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_by_hand_with_flags_alone() {
    let daemon = Daemon::start(vec![Image::new("app:7", Layout::Oci, &[b"layer"])]).await;
    let registry = Registry::start(Login::Bearer).await;
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_standpipe-pipe"))
        .args(["--registry", &registry.address, "--workspace=acme", "--username", USER])
        .args(["--password-stdin", "--tags", "7", "--tags", "latest", "--debug", "app:7"])
        .env_clear()
        .env("DOCKER_HOST", &daemon.host)
        .env("TMPDIR", folder.path())
        // What is written by hand wins, whatever form the other has.
        .envs([("TAGS_COUNT", "1"), ("TAGS_0", "no"), ("IMAGE_NAME", "no"), ("DEBUG", "false")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{PASSWORD}\n").as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let (out, log) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let (out, log) = (out.unwrap(), log.unwrap());
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(out.contains("/acme/app:7@sha256:") && out.contains("/acme/app:latest@sha256:"));
    assert!(log.contains("DEBUG: ") && !log.contains('\r') && !log.contains(PASSWORD), "{log}");
    assert_eq!(registry.content().manifests.len(), 3, "two tags and a digest");
}

#[tokio::test]
async fn an_empty_environment_asks_for_what_is_needed() {
    let (code, out, log) = run(&[]).await;
    assert_eq!(code, Some(2));
    assert!(log.contains("IMAGE_NAME: is needed") && log.contains("WORKSPACE: is needed"), "{log}");
    assert!(out.contains("✖ 2 variables are not usable"), "{out}");
}
