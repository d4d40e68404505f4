//! What most tests start from: a server with workspace `acme`, project `WEB` and repository `shop`.

use std::io::Write as _;

use standpipe_tests::http::Answer;
use standpipe_tests::raw::Raw;
use standpipe_tests::rest::{Credential, Rest};
use standpipe_tests::server::{Server, ServerOptions};
use tokio::sync::{Mutex, MutexGuard};

/// A server with a workspace to push into.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) admin: Rest,
}

impl World {
    /// With the packages named, each linked to repository `shop`.
    pub(crate) async fn with_packages(packages: &[&str]) -> Self {
        Self::with_options(ServerOptions::default(), packages).await
    }

    /// The same on a server that is started in a special way.
    pub(crate) async fn with_options(options: ServerOptions, packages: &[&str]) -> Self {
        let server = Server::start_with(options).await;
        let admin = server.admin();
        admin.workspace("acme").await;
        for package in packages {
            admin.package("acme", package, "shop").await;
        }
        Self { server, admin }
    }

    /// Registry calls as the instance administrator.
    pub(crate) fn raw(&self) -> Raw {
        self.server.raw()
    }

    /// Registry calls with a credential.
    pub(crate) fn raw_as(&self, credential: &Credential) -> Raw {
        Raw::with_credential(&self.server.url(), credential)
    }

    /// Registry calls without a credential.
    pub(crate) fn anonymous(&self) -> Raw {
        Raw::anonymous(&self.server.url())
    }

    /// A pipeline token of repository `shop`.
    pub(crate) async fn pipeline_token(&self) -> Credential {
        self.admin.pipeline_token("acme", "shop").await
    }

    /// `127.0.0.1:PORT/acme/<package>:<tag>`
    pub(crate) fn reference(&self, package: &str, tag: &str) -> String {
        format!("{}/acme/{package}:{tag}", self.server.authority())
    }
}

/// Waits for the turn of a test that fills memory, disk or both cores; the others wait meanwhile.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Says something past the test runner's capture: a seed must also be seen when a run hangs and is
/// stopped.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The upload's URL from the answer that started or continued it.
pub(crate) fn location(answer: &Answer) -> String {
    let location = answer.header("location");
    assert!(!location.is_empty(), "{}: no Location", answer.asked);
    location
}
