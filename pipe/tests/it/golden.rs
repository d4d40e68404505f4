//! Digests that do not change: not with the number of processors, not with where the image comes from,
//! not from release to release.

use std::path::Path;

use crate::daemon::Daemon;
use crate::harness::Step;
use crate::image::{Image, Layout, noise};
use crate::registry::{Login, Registry};

/// An image with a layer of several blocks that shrinks and one that hardly does.
fn image(layout: Layout) -> Image {
    let mut text: Vec<u8> = Vec::new();
    for number in 0..400_000_u32 {
        text.extend_from_slice(
            format!("usr/share/doc/{}\n", number / 3 * 7919 % 100_003).as_bytes(),
        );
    }
    Image::new("app:latest", layout, &[&text, &noise(1_500_000, 11), b"small"])
}

async fn digest(step: Step) -> String {
    let outcome = step.run().await;
    outcome.references()[0].rsplit_once('@').unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_an_image_is_the_same_on_one_core_and_on_all_from_the_daemon_and_an_archive()
{
    let may_bind = Path::new("/usr/bin/taskset").exists();
    let archive = image(Layout::Legacy).export();
    let mut digests = Vec::new();
    for form in FORMS {
        let mut found = Vec::new();
        for (layout, one_core) in [(Layout::Oci, true), (Layout::Legacy, false)] {
            let daemon = Daemon::start(vec![image(layout)]).await;
            let registry = Registry::start(Login::Nobody).await;
            let step = Step::new(&daemon, &registry).set("COMPRESSION", form);
            let step = if one_core && may_bind { step.on_one_core() } else { step };
            found.push(digest(step).await);
        }
        for one_core in [true, false] {
            let registry = Registry::start(Login::Nobody).await;
            let step = Step::without_daemon(&registry).file("app.tar", &archive);
            let step = step.set("SOURCE", "docker-archive:app.tar").set("COMPRESSION", form);
            let step = if one_core && may_bind { step.on_one_core() } else { step };
            found.push(digest(step).await);
        }
        found.dedup();
        assert_eq!(found.len(), 1, "{form}: {found:?}");
        digests.append(&mut found);
    }
    assert_eq!(digests, GOLDEN, "every image of every user would get another digest");
}

const FORMS: [&str; 6] = ["gzip:1", "", "gzip:9", "zstd", "zstd:9", "none"];
/// By form.
const GOLDEN: [&str; 6] = [
    "sha256:5222224b91043023ed9dc85a388d5c9f5bb812b60c3756f341a6f1ab10f79586",
    "sha256:6eeb7ce7d00c39d2ab18c1d2aa01154d75952769c83eb441475e517cddb52799",
    "sha256:ac6a9e1b33463f8e2fc189c6000d338263f7f87ad428a5b1c2aee31c24b770f5",
    "sha256:1ab7d2ed20a2d9ab8c5ea68135745b39e5ab3904badf3acba91aed1bbe9aa01a",
    "sha256:1292b0a32f827fe8e29bbb628d50fe045e2762bad3b41bd5ed5d1497a5fdfa2a",
    "sha256:f965c2c6ba729e5f77b02ac2c1f42f59d9be2fb23444cc413ea8d9f29dc0e36d",
];
