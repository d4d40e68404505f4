//! Little of a large image comes out of an engine of the classic store without an export; a new one in
//! two exports side by side.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::dockerd::Dockerd;
use standpipe_tests::payload::Payload;
use standpipe_tests::pipe::{PipeOutcome, PipeRun};
use standpipe_tests::poll;
use standpipe_tests::rest::Credential;
use standpipe_tests::step::Step;

use crate::world::World;

/// What is to be built in `folder`: a large layer that is quickly compressed, small ones above it.
pub(crate) fn write_context(folder: &Path, seed: u64, label: &str) {
    let file = |name: &str| folder.join(name);
    let large = File::create(file("large")).and_then(|large| large.set_len(LARGE));
    large.expect("our own folder is writable");
    for (name, seed, size) in [("one", 1, 90_000), ("two", 2, 3000), ("top", seed, 400_000)] {
        Payload::new(seed, size).write_to(&file(name)).expect("our own folder is writable");
    }
    let recipe = format!(
        "FROM scratch\nCOPY large /\nCOPY one /\nWORKDIR /here\nCOPY two /\nCOPY top /\nLABEL a={label}\n"
    );
    fs::write(file("Dockerfile"), recipe).expect("our own folder is writable");
}

/// Larger than what is exported in any case.
const LARGE: u64 = 100_000_000;
const LIMIT: Duration = Duration::from_secs(30);

struct Setting {
    docker: Client,
    host: String,
    world: World,
    token: Credential,
}

impl Setting {
    async fn new(docker: Client, host: String) -> Self {
        let world = World::with_packages(&["app", "base"]).await;
        let token = world.pipeline_token().await;
        Self { docker, host, world, token }
    }

    async fn built(&self, name: &str, seed: u64, label: &str) -> String {
        let folder = temporary_directory("relayed");
        write_context(folder.path(), seed, label);
        let context = folder.path().to_string_lossy();
        let _ = self.docker.run(&["build", "--tag", name, &context]).await;
        self.id(name).await
    }

    async fn id(&self, name: &str) -> String {
        let id = self.docker.run(&["image", "inspect", "--format={{.Id}}", name]).await;
        id.stdout.trim().to_owned()
    }

    async fn push(&self, local: &str, tag: &str, variables: &[(&str, &str)]) -> PipeOutcome {
        let run = PipeRun::push(&self.host, &self.world.server, &self.token, "app");
        let run = run.set("SOURCE_IMAGE", local).set("TAGS", tag).set("DEBUG", "true");
        let run = variables.iter().fold(run, |run, (name, value)| run.set(name, value));
        run.finish().await
    }

    /// How often the engine has exported this image.
    async fn exports(&self, id: &str) -> usize {
        let events = ["events", "--since=1h", "--until=0s", "--filter=event=save"];
        let events = self.docker.run(&events).await;
        events.stdout.lines().filter(|line| line.contains(id)).count()
    }

    async fn assert_clean(&self) {
        let names = self.docker.run(&["images", "--all", "--format={{.Repository}}"]).await;
        assert!(!names.stdout.contains("standpipe-relay"), "{names}");
    }
}

fn unique(name: &str) -> String {
    format!("localhost/relayed-{name}-{}:1", std::process::id())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_image_the_top_layer_comes_without_an_export_and_is_what_an_export_gives() {
    let Some(docker) = Client::find(Kind::Docker).await else { return };
    let Some(engine) = Dockerd::shared().await else { return };
    let setting = Setting::new(docker, engine.host()).await;
    let (old, new, relabelled) = (unique("old"), unique("new"), unique("label"));
    let old_id = setting.built(&old, 71, "a").await;
    let _ = setting.push(&old, "1", &[]).await.digest();

    let id = setting.built(&new, 72, "a").await;
    let pushed = setting.push(&new, "2", &[]).await;
    let told = pushed.finished.output();
    assert!(told.contains("layers through a relay: 1, of"), "{told}");
    assert!(told.contains("there already, 2 sent"), "{told}");
    assert!(!told.contains("Basic "), "{told}");
    assert_eq!(setting.exports(&id).await, 0);
    setting.assert_clean().await;

    // Nothing but the configuration.
    let label_id = setting.built(&relabelled, 72, "b").await;
    let label = setting.push(&relabelled, "3", &[]).await;
    assert!(label.finished.output().contains("1 sent"), "{}", label.finished);
    assert_eq!((setting.exports(&id).await, setting.exports(&label_id).await), (0, 0));
    setting.assert_clean().await;

    // The same bytes as by an archive of the same image.
    let folder = temporary_directory("relayed-archive");
    let archive = folder.path().join("image.tar").to_string_lossy().into_owned();
    let _ = setting.docker.run(&["save", "--output", &archive, &new]).await;
    let source = format!("docker-archive:{archive}");
    let empty = World::with_packages(&["app"]).await;
    let token = empty.pipeline_token().await;
    let run = PipeRun::push(&setting.host, &empty.server, &token, "app").set("SOURCE", &source);
    assert_eq!(run.finish().await.digest(), pushed.digest());

    // What the engine remembers of the relay does not show in what it pushes itself.
    let authority = setting.world.server.authority();
    setting.docker.sign_in(authority, &setting.token).await;
    let own = setting.world.reference("base", "own");
    let _ = setting.docker.run(&["tag", &new, &own]).await;
    let _ = setting.docker.run(&["push", &own]).await;
    let _ = setting.docker.run(&["rmi", "--force", &id, &old_id, &label_id]).await;
    let by_pipe = setting.world.reference("app", "2");
    for reference in [own, by_pipe] {
        let _ = setting.docker.run(&["pull", "--quiet", &reference]).await;
        assert_eq!(setting.id(&reference).await, id, "{reference}");
        let _ = setting.docker.run(&["rmi", "--force", &id]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_cannot_reach_the_pipe_exports() {
    // Its loopback is another one.
    let Some(step) = Step::shared().await else { return };
    let setting = Setting::new(step.docker(), step.host()).await;
    let (old, new) = (unique("far-old"), unique("far-new"));
    let old_id = setting.built(&old, 81, "a").await;
    let _ = setting.push(&old, "1", &[]).await.digest();
    let id = setting.built(&new, 82, "a").await;
    let pushed = setting.push(&new, "2", &[]).await;
    let _ = pushed.digest();
    let told = pushed.finished.output();
    assert!(told.contains("no relay, so the image is exported"), "{told}");
    assert!(told.contains("there already, 2 sent"), "{told}");
    poll::until("export in the engine's events", LIMIT, async || {
        let exports = setting.exports(&id).await;
        if exports == 1 { Ok(()) } else { Err(format!("there are {exports}")) }
    })
    .await;
    setting.assert_clean().await;
    let _ = setting.docker.run(&["rmi", "--force", &id, &old_id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_new_image_the_lower_layers_come_by_themselves_and_nothing_is_left() {
    let Some(docker) = Client::find(Kind::Docker).await else { return };
    let Some(engine) = Dockerd::shared().await else { return };
    let setting = Setting::new(docker, engine.host()).await;
    let (name, folder) = (unique("large"), temporary_directory("large"));
    let mut recipe = "FROM scratch\n".to_owned();
    for layer in ["one", "two", "three"] {
        let file = File::create(folder.path().join(layer)).and_then(|file| file.set_len(LARGE));
        file.expect("our own folder is writable");
        recipe.push_str(&format!("COPY {layer} /\n"));
    }
    let top = Payload::new(91, 300_000);
    top.write_to(&folder.path().join("top")).expect("our own folder is writable");
    fs::write(folder.path().join("Dockerfile"), recipe + "COPY top /\n")
        .expect("our own folder is writable");
    let context = folder.path().to_string_lossy();
    let _ = setting.docker.run(&["build", "--tag", &name, &context]).await;
    let id = setting.id(&name).await;
    let pushed = setting.push(&name, "1", &[]).await;
    let told = pushed.finished.output();
    // Where there is one processor, nothing would be won by it.
    let is_worth_it =
        std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
    let lower = told.split_once("by themselves as well, as image ");
    assert_eq!(lower.is_some(), is_worth_it, "{told}");
    // The engine does not always tell of an export that is not read to its end.
    let again = ["did not come by themselves", "reading all of it"];
    assert!(!again.iter().any(|words| told.contains(words)), "{told}");
    if let Some((_, rest)) = lower {
        let lower = rest.split_whitespace().next().expect("the image's ID");
        let images = setting.docker.run(&["images", "--all", "--quiet", "--no-trunc"]).await;
        assert!(!images.stdout.contains(lower), "{images}");
    }

    // The same bytes as by one export.
    let archive = folder.path().join("image.tar").to_string_lossy().into_owned();
    let _ = setting.docker.run(&["save", "--output", &archive, &name]).await;
    let empty = World::with_packages(&["app"]).await;
    let token = empty.pipeline_token().await;
    let run = PipeRun::push(&setting.host, &empty.server, &token, "app");
    let run = run.set("SOURCE", &format!("docker-archive:{archive}"));
    assert_eq!(run.finish().await.digest(), pushed.digest());
    let _ = setting.docker.run(&["rmi", "--force", &id]).await;
}
