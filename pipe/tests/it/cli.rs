//! The command line: help and version, no arguments otherwise.

use tokio::process::Command;

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
    let (code, _, log) = run(&["push"]).await;
    assert_eq!(code, Some(2));
    assert!(log.contains("push"), "{log}");
}

#[tokio::test]
async fn an_empty_environment_asks_for_what_is_needed() {
    let (code, out, log) = run(&[]).await;
    assert_eq!(code, Some(2));
    assert!(log.contains("IMAGE_NAME: is needed") && log.contains("WORKSPACE: is needed"), "{log}");
    assert!(out.contains("✖ 2 variables are not usable"), "{out}");
}
