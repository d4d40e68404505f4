//! The Python package `oras`, a client for artifacts, through the command line of `tests/oras-client.py`.

use tempfile::TempDir;

use crate::clients;
use crate::disk::temporary_directory;
use crate::environment;
use crate::process::{Finished, Program};
use crate::rest::Credential;

/// The library with a home of its own, in which it keeps what it logged in with.
#[derive(Debug)]
pub struct Oras {
    home: TempDir,
}

impl Oras {
    /// The client, or `None` where it is not installed.
    ///
    /// # Panics
    /// On a build machine (`CI` is set) when it is missing.
    #[must_use]
    pub fn find() -> Option<Self> {
        if !environment::oras_python().is_file() {
            clients::skip("the Python package oras is not installed (tests/install.sh does it)");
            return None;
        }
        Some(Self { home: temporary_directory("oras") })
    }

    /// Notes a credential. It is tried when something is asked.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub async fn login(&self, authority: &str, credential: &Credential) {
        let call = self.command(&["login", authority, &credential.username]);
        let _ = call.input(&credential.secret).finish().await.succeeded();
    }

    /// A call that must end with exit code 0.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        self.command(arguments).finish().await.succeeded()
    }

    /// A call of `tests/oras-client.py`.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Program {
        Program::new(environment::oras_python())
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .args([environment::repository_root().join("tests/oras-client.py")])
            .args(arguments)
            .current_dir(self.home.path())
    }

    /// Writes a file that can be pushed under its name.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.home.path().join(name), bytes).expect("our own folder is writable");
    }

    /// Reads a file that was pulled.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.home.path().join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
