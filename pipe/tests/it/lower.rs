//! The lower layers of a large image are exported by themselves as well, from a daemon that says that the
//! image is large.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::daemon::{Daemon, Faults, Load};
use crate::harness::{Outcome, Step};
use crate::image::{Image, Layout, noise};
use crate::registry::{Login, Registry};

fn image(layout: Layout) -> Image {
    let layers: Vec<Vec<u8>> = (0..5).map(|index| noise(90_000, 71 + 2 * index)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    Image::new("app:latest", layout, &layers)
}

/// Layers that are worth an export of their own.
const LARGE: Faults = Faults {
    cut_export: None,
    hang: false,
    claimed_size: None,
    history: Some(300 << 20),
    builder_hangs: false,
    load: Load::Loaded,
    refuse_push: None,
};

/// The digest without the host.
fn digest(outcome: &Outcome) -> String {
    outcome.references()[0].rsplit_once('@').unwrap().1.to_owned()
}

async fn digest_of_one_export(image: &Image) -> String {
    let registry = Registry::start(Login::Nobody).await;
    let daemon = Daemon::start(vec![image.clone()]).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    assert_eq!(daemon.exported().0, 1);
    assert_eq!(loads(&daemon), 0, "nothing says that it is large");
    digest(&outcome)
}

fn loads(daemon: &Daemon) -> usize {
    daemon.calls().iter().filter(|call| call.starts_with("POST /images/load?")).count()
}

fn removed(daemon: &Daemon) -> usize {
    daemon.calls().iter().filter(|call| call.starts_with("DELETE /images/sha256:")).count()
}

/// With one processor nothing would be won by it.
fn one_processor() -> bool {
    std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lower_layers_of_a_large_image_come_by_themselves_and_are_what_one_export_gives() {
    if one_processor() {
        return;
    }
    for layout in [Layout::Legacy, Layout::Oci] {
        let image = image(layout);
        let registry = Registry::start(Login::Nobody).await;
        let daemon = Daemon::with_faults(vec![image.clone()], LARGE).await;
        let outcome = Step::new(&daemon, &registry).run().await;
        assert_eq!(digest(&outcome), digest_of_one_export(&image).await, "{outcome:#?}");
        assert_eq!(daemon.exported().0, 2, "{outcome:#?}");
        assert_eq!((loads(&daemon), removed(&daemon)), (1, 1), "{:?}", daemon.calls());
        assert_eq!(outcome.count("layers by themselves as well"), 1, "{outcome:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_load_or_breaks_off_gives_the_layers_with_the_whole() {
    if one_processor() {
        return;
    }
    let image = image(Layout::Legacy);
    let expected = digest_of_one_export(&image).await;
    for (load, exports, removals, words) in [
        (Load::Refused, 1, 0, "the lower layers are not exported by themselves"),
        (Load::Cut, 3, 1, "the lower layers did not come by themselves"),
        (Load::Full, 2, 1, "the upper layers did not come by themselves"),
    ] {
        let registry = Registry::start(Login::Nobody).await;
        let daemon = Daemon::with_faults(vec![image.clone()], Faults { load, ..LARGE }).await;
        let outcome = Step::new(&daemon, &registry).run().await;
        assert_eq!(digest(&outcome), expected, "{outcome:#?}");
        assert_eq!(outcome.count(words), 1, "{outcome:#?}");
        assert_eq!(daemon.exported().0, exports, "{load:?}: {outcome:#?}");
        assert_eq!((loads(&daemon), removed(&daemon)), (1, removals), "{:?}", daemon.calls());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_stopped_leaves_no_image_behind() {
    if one_processor() {
        return;
    }
    let registry = Registry::start(Login::Nobody).await;
    let faults = Faults { load: Load::Stuck, ..LARGE };
    let daemon = Daemon::with_faults(vec![image(Layout::Legacy)], faults).await;
    let step = Step::new(&daemon, &registry);
    let child = step.spawn();
    let deadline = Instant::now() + Duration::from_secs(30);
    while loads(&daemon) == 0 {
        assert!(Instant::now() < deadline, "nothing was loaded");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let outcome = step.finish(child).await;
    assert_eq!(removed(&daemon), 1, "{outcome:#?} {:?}", daemon.calls());
}
