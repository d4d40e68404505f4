//! What the tests take from the environment: the only file of this crate that reads it.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the file that the ban on reading the environment points to"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The server binary under test: `STANDPIPE_SERVER_BIN`, else the workspace's release build.
#[must_use]
pub fn server_binary() -> PathBuf {
    binary("STANDPIPE_SERVER_BIN", "standpipe-server")
}

/// The pipe binary under test: `STANDPIPE_PIPE_BIN`, else the workspace's release build.
#[must_use]
pub fn pipe_binary() -> PathBuf {
    binary("STANDPIPE_PIPE_BIN", "standpipe-pipe")
}

/// The Python that `tests/install.sh` gave the package `oras`.
#[must_use]
pub fn oras_python() -> PathBuf {
    target_directory().join("tools/oras/bin/python")
}

/// The script of axe-core that `tests/install.sh` brought.
#[must_use]
pub fn axe() -> PathBuf {
    target_directory().join("tools/axe/node_modules/axe-core/axe.min.js")
}

/// Where pictures of pages go.
#[must_use]
pub fn pictures() -> PathBuf {
    target_directory().join("pictures")
}

/// Top folder of the checkout, which holds `examples/` and `pipe.yml`.
#[must_use]
pub fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies inside the workspace")
        .to_path_buf()
}

/// True on a build machine: a client that is missing there is a failure, elsewhere a skip.
#[must_use]
pub fn is_ci() -> bool {
    is_set("CI")
}

/// The number in a variable, if it is set.
///
/// # Panics
/// If it is set to something else.
#[must_use]
pub fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

/// The text in a variable, if it is set.
#[must_use]
pub fn text(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|text| !text.is_empty())
}

/// True when `tests/run.sh --soak` asked for the long forms.
#[must_use]
pub fn is_soak() -> bool {
    is_set("STANDPIPE_SOAK")
}

/// Search path for the programs that tests start with an otherwise empty environment.
#[must_use]
pub fn search_path() -> String {
    let path = env::var("PATH").unwrap_or_default();
    // Daemons live in the sbin folders, which an ordinary user's path leaves out.
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")
}

/// Seed for everything random: `STANDPIPE_SEED` to repeat a run, else the clock.
///
/// # Panics
/// When `STANDPIPE_SEED` is not a number.
#[must_use]
pub fn seed() -> u64 {
    if let Ok(text) = env::var("STANDPIPE_SEED") {
        return text
            .parse()
            .unwrap_or_else(|_| panic!("STANDPIPE_SEED must be a whole number, not {text:?}"));
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since_epoch.subsec_nanos()) ^ (since_epoch.as_secs() << 20)
}

fn binary(variable: &str, name: &str) -> PathBuf {
    let path = match env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => target_directory().join("release").join(name),
    };
    assert!(
        path.is_file(),
        "{} does not exist: build it with `cargo build --release`, or name another in {variable}",
        path.display()
    );
    path
}

fn target_directory() -> PathBuf {
    match env::var_os("STANDPIPE_TARGET_DIR").or_else(|| env::var_os("CARGO_TARGET_DIR")) {
        // Cargo takes a relative value from where it was called, which is the repository's root.
        Some(directory) => repository_root().join(directory),
        None => repository_root().join("target"),
    }
}

fn is_set(variable: &str) -> bool {
    env::var(variable).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
