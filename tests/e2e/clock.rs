//! The machine's clock jumps while the server runs, and between two runs.
//!
//! `libfaketime` stands between the server and the wall clock, but not before the monotonic one, as
//! when somebody sets the time.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use standpipe_tests::clients;
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::payload::Payload;
use standpipe_tests::poll;
use standpipe_tests::raw::{Raw, answered};
use standpipe_tests::server::ServerOptions;
use tempfile::TempDir;

use crate::world::{World, location};

const NAME: &str = "acme/shop-api";

/// A server's wall clock, to be set.
struct WallClock {
    folder: TempDir,
    library: PathBuf,
}

impl WallClock {
    /// One that is right; `None` without libfaketime.
    fn find() -> Option<Self> {
        let places =
            ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/lib64"];
        let library = places
            .iter()
            .map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.is_file())?;
        let clock = Self { folder: temporary_directory("clock"), library };
        clock.set("+0");
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets it off by so much from the real one.
    fn set(&self, offset: &str) {
        // At once and whole: the server may look at any moment.
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{offset}\n")).expect("our own folder is writable");
        fs::rename(&new, self.file()).expect("our own folder is writable");
    }

    fn options(&self, config: &str) -> ServerOptions {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let environment = vec![
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file())),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        ServerOptions { config: Some(config.to_owned()), environment, ..ServerOptions::default() }
    }
}

/// The year that the server's last line of log was written in.
fn logged_year(world: &World) -> u32 {
    let log = world.server.stderr();
    let line = log.lines().rfind(|line| line.contains("INFO")).expect("it logs");
    line.get(..4).and_then(|year| year.parse().ok()).unwrap_or_else(|| panic!("no year in {line}"))
}

async fn registry_token(world: &World) -> Raw {
    let path = format!("/token?service=standpipe&scope=repository:{NAME}:pull,push");
    let token = world.raw().get(&path).await.expect(200).json()["token"].clone();
    Raw::bearer(&world.server.url(), token.as_str().expect("a token"))
}

/// When the history of a package says that things happened, the oldest first.
async fn history(world: &World) -> Vec<String> {
    let packages = world.admin.fetch("/workspaces/acme/packages").await;
    let id = packages["items"][0]["id"].to_string();
    let rows = world.admin.fetch(&format!("/workspaces/acme/packages/{id}/history")).await;
    let rows = rows["items"].as_array().expect("rows").iter();
    let mut times: Vec<_> = rows.map(|row: &Value| moment(row)).collect();
    times.sort();
    times
}

fn moment(row: &Value) -> String {
    let found = ["at", "time", "when"].iter().find_map(|field| row[*field].as_str());
    found.unwrap_or_else(|| panic!("no time in {row}")).to_owned()
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_moves_nothing_while_the_server_runs() {
    let Some(clock) = WallClock::find() else {
        return clients::skip("libfaketime is not installed");
    };
    let config = "limits:\n  upload_seconds: 3600\nlog:\n  format: text\n";
    let world = World::with_options(clock.options(config), &["shop-api"]).await;
    let raw = world.raw();
    let _ = raw.push_image(NAME, "before", 1).await;
    let (year, token) = (logged_year(&world), registry_token(&world).await);
    let payload = Payload::new(5, 300_000);
    let mut upload = location(&answered(raw.start_upload(NAME).await).expect(202));
    for (number, (offset, years)) in [("+3650d", 9), ("-1d", 0), ("+0", 0)].into_iter().enumerate()
    {
        clock.set(offset);
        poll::until("the jump", std::time::Duration::from_secs(60), async || {
            let _ = raw.get("/v2/").await.expect(200);
            let logged = logged_year(&world);
            let arrived = if years > 0 { logged >= year + years } else { logged <= year };
            arrived.then_some(()).ok_or(logged)
        })
        .await;
        let (start, end) = (number as u64 * 100_000, (number as u64 + 1) * 100_000);
        // Neither the upload's hour nor the token's five minutes are over, or longer than before.
        let sent = answered(token.append_chunk(&upload, &payload, start, end).await).expect(202);
        upload = location(&sent);
        let _ = token.push_image(NAME, &format!("tag-{number}"), 10 + number as u64).await;
        let _ = registry_token(&world).await.manifest(NAME, "before").await.expect(200);
    }
    let finished = token.finish_upload(&upload, &payload.digest(), "").await;
    let _ = answered(finished).expect(201);
    let times = history(&world).await;
    assert_eq!(times.len(), 4, "{times:?}");
    let years: Vec<_> = times.iter().map(|time| time[..4].parse::<u32>()).collect();
    assert!(
        years.iter().all(|found| found.as_ref().is_ok_and(|found| *found <= year + 1)),
        "{times:?}"
    );
}

#[tokio::test]
async fn a_clock_that_is_wrong_for_one_run_loses_nothing_and_time_goes_on() {
    let Some(clock) = WallClock::find() else {
        return clients::skip("libfaketime is not installed");
    };
    let mut world = World::with_options(clock.options(""), &["shop-api"]).await;
    let first = world.raw().push_image(NAME, "latest", 1).await;
    let old_token = registry_token(&world).await;
    let upload = location(&answered(world.raw().start_upload(NAME).await).expect(202));
    let payload = Payload::new(5, 200_000);
    let sent = world.raw().append_chunk(&upload, &payload, 0, 100_000).await;
    let upload = location(&answered(sent).expect(202));
    for (number, offset) in ["+3650d", "-1d", "+0"].into_iter().enumerate() {
        let _ = world.server.stop().await;
        clock.set(offset);
        world.server.start_again().await;
        let raw = world.raw();
        assert_eq!(raw.manifest(NAME, &first.digest()).await.expect(200).body, first.bytes);
        // Issued ten years ago, as far as the server can know.
        let old = old_token.manifest(NAME, "latest").await;
        assert_eq!(old.status, 401, "{}", old.text());
        let _ = registry_token(&world).await.manifest(NAME, "latest").await.expect(200);
        let _ = raw.push_image(NAME, &format!("run-{number}"), 20 + number as u64).await;
    }
    let raw = world.raw();
    let rest = answered(raw.append_chunk(&upload, &payload, 100_000, 200_000).await).expect(202);
    let finished = raw.finish_upload(&location(&rest), &payload.digest(), "").await;
    let _ = answered(finished).expect(201);
    let times = history(&world).await;
    assert_eq!(times.len(), 4, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
}
