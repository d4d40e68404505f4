//! umoci builds and unpacks images without a registry; skopeo carries them there and back.

use std::fs;

use standpipe_tests::clients::{self, Client, Kind};
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::images;
use standpipe_tests::payload::Payload;
use standpipe_tests::process::{Finished, Program};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_umoci_built_is_unpacked_by_umoci_on_the_other_side() {
    let Some(skopeo) = Client::find(Kind::Skopeo).await else { return };
    if !clients::is_installed("umoci") {
        return clients::skip("umoci is not installed");
    }
    let world = World::with_packages(&["built"]).await;
    skopeo.sign_in(world.server.authority(), &world.pipeline_token().await).await;
    let folder = temporary_directory("umoci");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let umoci = async |arguments: &[&str]| -> Finished {
        let program = Program::new("umoci").env("HOME", folder.path());
        program.args(arguments).finish().await.succeeded()
    };
    let content = Payload::new(3, 1_500_000);
    content.write_to(&folder.path().join("content")).expect("our own folder is writable");
    let (here, there) = (path("here"), path("there"));
    let image = format!("{here}:1");
    let _ = umoci(&["init", "--layout", &here]).await;
    let _ = umoci(&["new", "--image", &image]).await;
    let insert = ["insert", "--rootless", "--image", &image, &path("content"), "/content"];
    let _ = umoci(&insert).await;
    let _ = umoci(&["gc", "--layout", &here]).await;

    let remote = format!("docker://{}", world.reference("built", "1"));
    let copy = ["copy", "--preserve-digests"];
    let (from, to) = (format!("oci:{image}"), format!("oci:{there}:1"));
    let push = ["--dest-tls-verify=false", &from, &remote];
    let _ = skopeo.run(&[&copy[..], &push[..]].concat()).await;
    let pull = ["--src-tls-verify=false", &remote, &to];
    let _ = skopeo.run(&[&copy[..], &pull[..]].concat()).await;
    assert_eq!(
        images::digests_in(there.as_ref()),
        images::digests_in(here.as_ref()),
        "the image came back as it was"
    );
    let _ =
        umoci(&["unpack", "--rootless", "--image", &format!("{there}:1"), &path("bundle")]).await;
    let unpacked = fs::read(folder.path().join("bundle/rootfs/content")).expect("it was unpacked");
    assert!(unpacked == content.bytes(), "the file came back as it was");
}
