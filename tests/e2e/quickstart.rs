//! The newcomer's one command, run as it is.

use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::dockerd::Dockerd;
use standpipe_tests::environment;
use standpipe_tests::process::Program;

#[tokio::test]
async fn the_quick_start_pushes_pulls_and_cleans_up() {
    if Client::find(Kind::Docker).await.is_none() {
        return;
    }
    let Some(daemon) = Dockerd::shared().await else { return };
    let home = temporary_directory("quickstart");
    let finished = Program::new(environment::repository_root().join("examples/quickstart.sh"))
        .args(["--once"])
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("DOCKER_HOST", daemon.host())
        .env("STANDPIPE_SERVER_BIN", environment::server_binary())
        .env("STANDPIPE_PIPE_BIN", environment::pipe_binary())
        .current_dir(home.path())
        .finish()
        .await
        .succeeded();
    for words in ["docker login", "http://127.0.0.1:", "sha256:", "admin"] {
        assert!(finished.stdout.contains(words), "no {words:?} in {finished}");
    }
    let left: Vec<_> = std::fs::read_dir(home.path())
        .expect("our own folder is readable")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
