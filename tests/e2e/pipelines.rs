//! `examples/bitbucket-pipelines.yml`, run as Bitbucket would, against the server's image.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;
use standpipe_tests::clients::Client;
use standpipe_tests::environment;
use standpipe_tests::payload::Payload;
use standpipe_tests::pipeline::{StepRun, yaml};
use standpipe_tests::process::Finished;
use standpipe_tests::rest::Credential;
use standpipe_tests::server::{ADMIN, ADMIN_PASSWORD};
use standpipe_tests::step::{ANOTHER, BITBUCKET, RELAYED, SELF_HOSTED};

use crate::containers::{Images, Registry, removal};
use crate::relayed::write_context;

/// Each pipeline of the example: where it pushes to, and under which tags.
const PIPELINES: [(&str, &str, &[&str]); 6] = [
    ("bitbucket-docker", BITBUCKET.host, &[COMMIT]),
    ("bitbucket-docker-pipe", BITBUCKET.host, &["latest", COMMIT]),
    ("bitbucket-pipe", BITBUCKET.host, &["latest", COMMIT]),
    ("self-hosted-docker", SELF_HOSTED.host, &[COMMIT]),
    ("self-hosted-docker-pipe", SELF_HOSTED.host, &["latest", COMMIT]),
    ("self-hosted-pipe", SELF_HOSTED.host, &["latest", "build-42"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_example_pipeline_pushes_what_it_builds() {
    let Some(images) = Images::built().await else { return };
    let example = yaml(&environment::repository_root().join("examples/bitbucket-pipelines.yml"));
    let pipelines = example["pipelines"]["custom"].as_object().expect("the example has pipelines");
    let written: BTreeSet<&str> = pipelines.keys().map(String::as_str).collect();
    assert_eq!(written, PIPELINES.map(|(name, _, _)| name).into());

    let (own, bitbucket) =
        tokio::join!(Registry::start(images, SELF_HOSTED), Registry::start(images, BITBUCKET),);
    publish_pipe(images, &own).await;
    own.workspace("acme").await;
    bitbucket.workspace("acme").await;
    let credentials =
        [own.package("acme", "shop-api").await, bitbucket.package("acme", "shop-api").await];
    for (seed, (name, host, tags)) in (1..).zip(PIPELINES) {
        let steps = pipelines[name].as_array().expect("a pipeline has steps");
        let script = steps[0]["step"]["script"].as_array().expect("a step has a script");
        let run = step(seed, &credentials);
        let docker = images.step.docker();
        let nothing_is_removed = removal().read().await;
        let finished = run.run(&docker, script).await.succeeded();
        drop(nothing_is_removed);
        let [at_own, at_bitbucket] = &credentials;
        let credential = if host == own.host { at_own } else { at_bitbucket };
        check_pushed(&docker, host, credential, tags, &finished).await;
        for credential in &credentials {
            let output = finished.output();
            assert!(!output.contains(&credential.secret), "{name} tells a secret: {finished}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipe_finds_the_docker_service_whatever_the_platform_tells_it() {
    let Some(images) = Images::built().await else { return };
    let own = Registry::start(images, ANOTHER).await;
    own.workspace("acme").await;
    // Another name than in the examples: the other test uses the same daemon at the same time.
    let credential = own.package("acme", "found-api").await;
    let credentials = [credential.clone(), credential];
    let pipe = |registry: &str| {
        [
            json!("docker build --tag found-api ."),
            json!({
                "pipe": format!("docker://{}", images.pipe),
                "variables": {
                    "IMAGE_NAME": "found-api", "REGISTRY": registry, "RETRIES": "0",
                    "USERNAME": "$STANDPIPE_USERNAME", "PASSWORD": "$STANDPIPE_TOKEN",
                },
            }),
        ]
    };
    let docker = images.step.docker();
    let _nothing_is_removed = removal().read().await;
    let found = |run: StepRun| {
        let (docker, script) = (&docker, pipe(own.host));
        async move { run.run(docker, &script).await.succeeded() }
    };
    let told = found(step(101, &credentials)).await;
    assert!(!told.output().contains("using the Docker daemon at"), "{told}");
    // As pipeline-runner does: the name that DOCKER_HOST has is unknown to the pipe.
    let internal = found(step(102, &credentials).without_host_name()).await;
    assert!(internal.output().contains("using the Docker daemon at tcp://"), "{internal}");
    let nothing = step(103, &credentials).without_host_name();
    let gateway = found(nothing.set("BITBUCKET_DOCKER_HOST_INTERNAL", "")).await;
    assert!(gateway.output().contains("using the Docker daemon at tcp://"), "{gateway}");

    let unknown = step(104, &credentials).run(&docker, &pipe("nobody.example.com")).await;
    let unknown = unknown.ended_with(5);
    let words = "registry nobody.example.com cannot be reached";
    assert!(unknown.output().contains(words), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipe_gets_the_top_layer_of_a_large_image_without_an_export() {
    let Some(images) = Images::built().await else { return };
    let own = Registry::start(images, RELAYED).await;
    own.workspace("acme").await;
    let credential = own.package("acme", "large-api").await;
    let credentials = [credential.clone(), credential];
    let script = [
        json!("docker build --tag large-api ."),
        json!({
            "pipe": format!("docker://{}", images.pipe),
            "variables": {
                "IMAGE_NAME": "large-api", "REGISTRY": own.host, "DEBUG": "true",
                "USERNAME": "$STANDPIPE_USERNAME", "PASSWORD": "$STANDPIPE_TOKEN",
            },
        }),
    ];
    let docker = images.step.docker();
    let _nothing_is_removed = removal().read().await;
    let pushed = async |seed: u64| {
        let run = step(seed, &credentials);
        write_context(&run.clone_directory(), seed, "a");
        run.run(&docker, &script).await.succeeded()
    };
    let first = pushed(201).await;
    assert!(first.output().contains("pushed with 1 tag"), "{first}");
    let second = pushed(202).await;
    assert!(second.output().contains("layers through a relay: 1, of"), "{second}");
    assert!(second.output().contains("there already, 2 sent"), "{second}");
    let label = "--filter=label=io.standpipe.pipe=relay";
    let left = docker.run(&["ps", "--all", "--quiet", label]).await;
    assert_eq!(left.stdout, "", "{second}");
    let names = docker.run(&["images", "--all", "--format={{.Repository}}"]).await;
    assert!(!names.stdout.contains("standpipe-relay"), "{names}");
}

/// A clone with something to build, and the secured variables of its repository.
fn step(seed: u64, [own, bitbucket]: &[Credential; 2]) -> StepRun {
    let run = StepRun::new()
        .set("STANDPIPE_USERNAME", &own.username)
        .set("STANDPIPE_TOKEN", &own.secret)
        .set("BITBUCKET_PACKAGES_USERNAME", &bitbucket.username)
        .set("BITBUCKET_PACKAGES_TOKEN", &bitbucket.secret);
    let clone = run.clone_directory();
    let written = Payload::new(seed, 300_000).write_to(&clone.join("shop-api"));
    written.expect("our own folder is writable");
    let recipe = "FROM scratch\nCOPY shop-api /shop-api\nCMD [\"/shop-api\"]\n";
    fs::write(clone.join("Dockerfile"), recipe).expect("our own folder is writable");
    run
}

/// Puts the pipe's image to where each form of the example finds it: into the server's public
/// repository, and under the name of an account of a public registry that is not to be had here.
async fn publish_pipe(images: &Images, own: &Registry) {
    let docker = images.step.docker();
    let _ = own.admin(&["workspace", "create", "standpipe"]).await;
    let _ = own.admin(&["project", "create", "standpipe", "PIPES"]).await;
    let repository = ["repository", "create", "standpipe", "pipe", "--project", "PIPES"];
    let _ = own.admin(&[&repository[..], &["--visibility", "public"]].concat()).await;
    let package = ["package", "create", "standpipe", "standpipe-pipe", "--repository", "pipe"];
    let _ = own.admin(&package).await;
    let admin = Credential { username: ADMIN.to_owned(), secret: ADMIN_PASSWORD.to_owned() };
    let _ = docker.login(own.host, &admin).await.succeeded();
    let target = format!("{}/standpipe/standpipe-pipe:{}", own.host, env!("CARGO_PKG_VERSION"));
    let _ = docker.run(&["tag", &images.pipe, &target]).await;
    let _ = docker.run(&["push", &target]).await;
    let _ = docker.run(&["rmi", &target]).await;
    let account = format!("your-account/standpipe-pipe:{}", env!("CARGO_PKG_VERSION"));
    let _ = docker.run(&["tag", &images.pipe, &account]).await;
}

/// What the registry gives back under each tag is the image that the step built.
async fn check_pushed(
    docker: &Client,
    host: &str,
    credential: &Credential,
    tags: &[&str],
    step: &Finished,
) {
    let id = async |image: &str| {
        let shown = docker.run(&["image", "inspect", "--format={{.Id}}", image]).await;
        shown.stdout.trim().to_owned()
    };
    let name = step.stdout.lines().find_map(|line| line.strip_prefix("Successfully tagged "));
    let built = id(name.unwrap_or_else(|| panic!("the step built nothing: {step}"))).await;
    let _nobody_builds = removal().write().await;
    let _ = docker.run(&["rmi", "--force", &built]).await;
    let _ = docker.login(host, credential).await.succeeded();
    for tag in tags {
        let remote = format!("{host}/acme/shop-api:{tag}");
        let _ = docker.run(&["pull", &remote]).await;
        assert_eq!(id(&remote).await, built, "{remote}: {step}");
        let _ = docker.run(&["rmi", "--force", &remote]).await;
    }
}

/// The step's commit, as the fixed list of variables has it.
const COMMIT: &str = "0f3c1d2e4b5a69788796a5b4c3d2e1f00f1e2d3c";
