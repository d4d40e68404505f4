//! The two images: what is in them, that both ways of building them give the same, and the server's
//! life in a container.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use standpipe_tests::clients::{self, Client};
use standpipe_tests::disk::{files_below, temporary_directory};
use standpipe_tests::environment;
use standpipe_tests::payload::digest_of;
use standpipe_tests::process::Program;
use standpipe_tests::server::ADMIN_PASSWORD;
use standpipe_tests::step::SELF_HOSTED;

use crate::containers::{Container, Images, REVISION, Registry, build};

/// Each image: its Dockerfile, the binary in it, its name.
fn both(images: &Images) -> [(&'static str, &'static str, &str); 2] {
    [
        ("Dockerfile.pipe", "standpipe-pipe", &images.pipe),
        ("Dockerfile.server", "standpipe-server", &images.server),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_images_are_small_and_say_what_they_are() {
    let Some(images) = Images::built().await else { return };
    let docker = images.step.docker();
    for (_, binary, image) in both(images) {
        let shown = inspect(&docker, image).await;
        let size = shown["Size"].as_u64().expect("an image has a size");
        assert!(size < MOST_BYTES, "{image} has {size} bytes");
        let label = |key: &str| {
            let label = &shown["Config"]["Labels"][format!("org.opencontainers.image.{key}")];
            label.as_str().unwrap_or_else(|| panic!("{image} has no {key}")).to_owned()
        };
        assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(label("revision"), REVISION);
        assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
        assert!(label("source").starts_with("https://bitbucket.org/"));
        assert!(label("title").starts_with("Standpipe") && !label("description").is_empty());
        assert_eq!(image.rsplit_once(':').map(|(_, tag)| tag), Some(env!("CARGO_PKG_VERSION")));

        let files = Files::of(&docker, image).await;
        let program = files.read(&format!("usr/local/bin/{binary}"));
        assert!(is_static(&program), "{binary} needs a dynamic loader, and the image has none");
        let certificates = files.read("etc/ssl/certs/ca-certificates.crt");
        assert!(certificates.starts_with(b"-----BEGIN CERTIFICATE"), "a CA bundle");
        check_bill_of_materials(&files.read(&format!("usr/share/{binary}/sbom.cdx.json")), binary);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compiling_in_the_builder_gives_the_same_image_as_prebuilt_files() {
    let Some(images) = Images::built().await else { return };
    if !clients::is_installed("busybox") {
        return clients::skip("busybox is not installed (Debian: busybox-static)");
    }
    let docker = images.step.docker();
    make_builder(&docker).await;
    for (file, binary, image) in both(images) {
        let compiled = format!("{binary}:compiled");
        let revision = format!("--build-arg=REVISION={REVISION}");
        let options = [&format!("--build-arg=BUILDER={BUILDER}"), revision.as_str()];
        let _ = build(&docker, file, &compiled, &options).await.succeeded();
        let (one, other) = (inspect(&docker, image).await, inspect(&docker, &compiled).await);
        for key in ["Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels"] {
            assert_eq!(one["Config"][key], other["Config"][key], "{key} of {file}");
        }
        for key in ["StopSignal", "User", "Volumes", "WorkingDir"] {
            assert_eq!(one["Config"][key], other["Config"][key], "{key} of {file}");
        }
        let (one, other) = (Files::of(&docker, image).await, Files::of(&docker, &compiled).await);
        assert_eq!(one.all(), other.all(), "files of {file}");
    }
}

#[test]
fn the_builder_gets_every_member_of_the_workspace() {
    let read = |name: &str| {
        fs::read_to_string(environment::repository_root().join(name)).expect("the file is there")
    };
    let (workspace, sent) = (read("Cargo.toml"), read(".dockerignore"));
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = "));
    let members: Vec<String> =
        serde_json::from_str(members.expect("the workspace has members")).expect("a list of names");
    for member in members {
        let line = format!("!{member}");
        assert!(sent.lines().any(|known| known == line), ".dockerignore has no {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_in_a_container_is_healthy_stops_gracefully_and_keeps_its_data() {
    let Some(images) = Images::built().await else { return };
    let docker = images.step.docker();
    let user = inspect(&docker, &images.server).await["Config"]["User"].clone();
    assert_eq!(user, "65532:65532", "numbers, because Kubernetes cannot judge names");
    let password = format!("--env=STANDPIPE_ADMIN_PASSWORD={ADMIN_PASSWORD}");
    // The volume that the image itself asks for, and nothing else that could be written to.
    let arguments = ["--read-only", "--cap-drop=ALL", &password, &images.server];
    let container = Container::start(images.step, "standpipe-life", &arguments).await;
    let registry = Registry { container, host: SELF_HOSTED.host };
    let said = registry.container.healthy().await;
    assert_eq!(said.trim(), "the server at http://127.0.0.1:5000 is ready");
    let pid = registry.container.inspect("{{.State.Pid}}").await;
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("status"));
    let status = status.expect("the server runs");
    assert!(status.lines().any(|line| line == "Uid:\t65532\t65532\t65532\t65532"), "{status}");
    registry.workspace("acme").await;

    let begin = Instant::now();
    let _ = docker.run(&["stop", "--time=60", "standpipe-life"]).await;
    let taken = begin.elapsed();
    assert!(taken < Duration::from_secs(45), "an idle server took {taken:?} to stop");
    assert_eq!(registry.container.inspect("{{.State.ExitCode}}").await, "0");
    let log = docker.run(&["logs", "standpipe-life"]).await;
    assert!(log.stderr.contains("stopped"), "{log}");

    let _ = docker.run(&["start", "standpipe-life"]).await;
    registry.ready().await;
    let shown = registry.admin(&["workspace", "show", "acme"]).await;
    assert!(shown.stdout.contains("acme"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compose_example_serves() {
    let Some(images) = Images::built().await else { return };
    if !clients::is_installed("docker-compose") {
        return clients::skip("docker-compose is not installed");
    }
    let project = Compose { docker: images.step.docker() };
    let _ = project.call(&["up", "--detach", "--no-build"]).finish().await.succeeded();
    let listed = project.call(&["ps", "--quiet", "standpipe"]).finish().await.succeeded();
    let docker = images.step.docker();
    let container = Container { docker, name: listed.stdout.trim().to_owned() };
    let _ = container.healthy().await;
    let log = project.call(&["logs", "standpipe"]).finish().await.succeeded();
    assert!(log.output().contains("one-time password"), "{log}");
    let stop = Instant::now();
    let _ = project.call(&["stop"]).finish().await.succeeded();
    assert!(stop.elapsed() < Duration::from_secs(45), "{:?}", stop.elapsed());
    assert_eq!(container.inspect("{{.State.ExitCode}}").await, "0");
}

/// The example's project, which is taken down with the value.
struct Compose {
    docker: Client,
}

impl Compose {
    fn call(&self, arguments: &[&str]) -> Program {
        let file = environment::repository_root().join("examples/compose.yaml");
        let program = self.docker.run_by("docker-compose");
        let program = program.args(["--project-name", "standpipe-example"]);
        program.args(["--file".as_ref(), file.as_os_str()]).args(arguments)
    }
}

/// The files of an image.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    async fn of(docker: &Client, image: &str) -> Self {
        let folder = temporary_directory("files");
        let archive = folder.path().join("archive.tar");
        let made = docker.run(&["create", image]).await;
        let id = made.stdout.trim().to_owned();
        let _ = docker.run(&["export", "--output", &archive.to_string_lossy(), &id]).await;
        let _ = docker.run(&["rm", "--volumes", &id]).await;
        let _ = Program::new("tar")
            .args(["-xf".as_ref(), archive.as_os_str(), "-C".as_ref(), folder.path().as_os_str()])
            .finish()
            .await
            .succeeded();
        fs::remove_file(archive).expect("our own file can be removed");
        Self { folder }
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let path = self.folder.path().join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{name} in the image: {error}"))
    }

    /// Every file with its permissions and what is in it.
    fn all(&self) -> BTreeSet<String> {
        let files = files_below(self.folder.path());
        let described = files.iter().filter_map(|path| {
            let metadata = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
            let digest = fs::read(path).map(|bytes| digest_of(&bytes));
            let name = path.strip_prefix(self.folder.path()).unwrap_or(path);
            Some(format!("{} {:o} {digest:?}", name.display(), metadata.permissions().mode()))
        });
        described.collect()
    }
}

async fn inspect(docker: &Client, image: &str) -> Value {
    let shown = docker.run(&["image", "inspect", "--format={{json .}}", image]).await;
    serde_json::from_str(&shown.stdout).expect("docker prints JSON")
}

/// Whether an ELF file of 64 bits asks for no interpreter.
fn is_static(program: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        program[at..at + size].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    assert_eq!(&program[..5], b"\x7fELF\x02", "an ELF file of 64 bits");
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).all(|index| number(table + index * size, 4) != INTERPRETER)
}

/// CycloneDX, about this binary, with nothing that is not in Cargo.lock and no trace of who built it.
fn check_bill_of_materials(text: &[u8], binary: &str) {
    let bill: Value = serde_json::from_slice(text).expect("the bill of materials is JSON");
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["metadata"]["component"]["name"], binary);
    let root = environment::repository_root();
    let root_name = root.to_string_lossy().into_owned();
    assert!(!String::from_utf8_lossy(text).contains(&root_name), "it names this machine's folders");
    let lock = fs::read_to_string(root.join("Cargo.lock")).expect("Cargo.lock is there");
    let mut found = BTreeSet::new();
    for component in bill["components"].as_array().expect("there are components") {
        let (name, version) = (&component["name"], &component["version"]);
        let (name, version) = (name.as_str().unwrap_or(""), version.as_str().unwrap_or(""));
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&entry), "{name} {version} is not in Cargo.lock");
        found.insert(name.to_owned());
    }
    for known in ["aws-lc-sys", "reqwest", "rustls", "tokio"] {
        assert!(found.contains(known), "no {known} among {} components", found.len());
    }
    for test_only in ["insta", "proptest", "stateright"] {
        assert!(!found.contains(test_only), "{test_only} is not in the image");
    }
}

/// A builder of this machine's making, because none can be fetched here. Its `cargo` does not compile; it
/// hands out what `packaging/build.sh` compiled before. Everything around it is the real thing.
async fn make_builder(docker: &Client) {
    let folder = temporary_directory("builder");
    let root = folder.path();
    for name in ["bin", "etc/ssl/certs", "prebuilt", "tmp", "usr/bin"] {
        fs::create_dir_all(root.join(name)).expect("our own folder is writable");
    }
    let busybox = environment::search_path();
    let busybox = { busybox.split(':') }.map(|folder| Path::new(folder).join("busybox"));
    let busybox = { busybox }.find(|path| path.is_file()).expect("it was found before");
    fs::copy(busybox, root.join("bin/busybox")).expect("our own folder is writable");
    for applet in ["chmod", "cp", "dirname", "env", "mkdir", "rm", "sed", "sh", "test", "["] {
        symlink("busybox", root.join("bin").join(applet)).expect("our own folder is writable");
    }
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::write(&path, text).expect("our own folder is writable");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, executable).expect("our own file can be changed");
    };
    write("bin/cargo", CARGO);
    write("bin/getconf", "#!/bin/sh\necho glibc 2.36\n");
    let dist = environment::repository_root().join("dist");
    let copy = |from: &Path, to: &str| {
        fs::copy(from, root.join(to)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    let bundle = "etc/ssl/certs/ca-certificates.crt";
    copy(&dist.join("pipe").join(bundle), bundle);
    for part in ["pipe", "server"] {
        let name = format!("standpipe-{part}");
        copy(&dist.join(part).join("usr/local/bin").join(&name), &format!("prebuilt/{name}"));
        let bill = dist.join(part).join("usr/share").join(&name).join("sbom.cdx.json");
        copy(&bill, &format!("prebuilt/{name}.cdx.json"));
    }
    let archive = folder.path().with_extension("tar");
    let _ = Program::new("tar")
        .args(["-cf".as_ref(), archive.as_os_str(), "-C".as_ref(), root.as_os_str(), ".".as_ref()])
        .finish()
        .await
        .succeeded();
    let imported = docker.command(&["import", &archive.to_string_lossy(), BUILDER]).finish().await;
    fs::remove_file(archive).expect("our own file can be removed");
    let _ = imported.succeeded();
}

/// Stands in for cargo in the builder: knows what `packaging/build.sh` asks for and refuses the rest.
const CARGO: &str = r#"#!/bin/sh
set -eu
target=/standpipe/target
case "$*" in
    "metadata --locked --no-deps "*) echo "{\"target_directory\":\"$target\"}" ;;
    "install --locked "*" cargo-cyclonedx") mkdir -p $target/tools/bin; cp /bin/cargo $target/tools/bin/cargo-cyclonedx ;;
    "cyclonedx "*) for part in pipe server; do cp /prebuilt/standpipe-$part.cdx.json $part/standpipe-${part}_bin.cdx.json; done ;;
    "build --locked --release --package standpipe-pipe --package standpipe-server")
        [ -x "$RUSTC_WORKSPACE_WRAPPER" ]
        mkdir -p $target/release
        cp /prebuilt/standpipe-pipe /prebuilt/standpipe-server $target/release/ ;;
    *) echo "unexpected: cargo $*" >&2; exit 1 ;;
esac
"#;

const BUILDER: &str = "standpipe-test-builder:1";
/// The most that an image may have, in bytes.
const MOST_BYTES: u64 = 30_000_000;
/// `PT_INTERP`: the entry of an ELF file that names its dynamic loader.
const INTERPRETER: usize = 3;
