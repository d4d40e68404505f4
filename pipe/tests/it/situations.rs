//! Whole runs as the reader of a build log sees them: exit code, standard output, log.
//!
//! Each is compared with a file in `snapshots`; `INSTA_UPDATE=always` writes them anew, for a person
//! to read. That no secret is in them is checked by the harness, for every run.

use std::path::Path;

use axum::http::Method;

use crate::daemon::{self, Daemon};
use crate::harness::{Outcome, Step};
use crate::image::{Image, Layout, noise};
use crate::registry::{Faults, Login, Registry};

/// A daemon, a registry and the step that has both.
struct Setting {
    daemon: Daemon,
    registry: Registry,
    step: Step,
}

fn image(name: &str) -> Image {
    Image::new(name, Layout::Oci, &[&noise(200_000, 3), b"small"])
}

impl Setting {
    async fn of(images: Vec<Image>, broken: daemon::Faults, login: Login, faults: Faults) -> Self {
        let daemon = Daemon::with_faults(images, broken).await;
        let registry = Registry::with_faults(login, faults).await;
        // One upload at a time: the order of lines must not depend on who is faster.
        let step = Step::new(&daemon, &registry).set("DEBUG", "").set("PARALLEL", "1");
        Self { daemon, registry, step }
    }

    /// The usual image in a daemon without faults.
    async fn new(login: Login, faults: Faults) -> Self {
        Self::of(vec![image("app:latest")], daemon::Faults::default(), login, faults).await
    }

    async fn healthy() -> Self {
        Self::new(Login::Nobody, Faults::default()).await
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.step = self.step.set(name, value);
        self
    }

    /// Without further attempts, as the user of every registry here.
    fn once(mut self) -> Self {
        self.step = self.step.login().set("RETRIES", "0");
        self
    }

    /// Pushes before the run that is looked at.
    async fn prepared(self, tags: &str) -> Self {
        let step = Step::new(&self.daemon, &self.registry).set("TAGS", tags).login();
        assert!(step.run().await.status.success());
        self
    }

    async fn told(&self) -> String {
        shown(
            &self.step.finish(self.step.spawn()).await,
            &[
                (&self.registry.address, "registry.test:5000"),
                (&self.daemon.host, "tcp://docker.test:2375"),
                (self.step.folder().to_str().unwrap(), "/files"),
                (self.step.spool().to_str().unwrap(), "/tmp"),
            ],
        )
    }
}

/// A run as text, without what differs from run to run.
fn shown(outcome: &Outcome, names: &[(&str, &str)]) -> String {
    let code = outcome.status.code().unwrap();
    let text = format!("exit code {code}\n--- stdout\n{}--- log\n{}", outcome.out, outcome.log);
    let text = names.iter().fold(text, |text, (from, to)| text.replace(from, to));
    text.lines().map(without_times).collect::<Vec<_>>().join("\n")
}

/// ` in 0.7 s` becomes ` in _ s`, and the free space of this machine `_ GB`.
fn without_times(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_number = |word: &str| word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let varies = |at: usize| {
        let unit = words.get(at + 1).map_or("", |unit| unit.trim_end_matches("\u{1b}[0m"));
        is_number(words[at]) && matches!(unit, "s" | "GB" | "GB,")
    };
    let words = (0..words.len()).map(|at| if varies(at) { "_" } else { words[at] });
    let line = words.collect::<Vec<_>>().join(" ");
    // How the end of a connection is noticed depends on who is faster.
    ["Connection reset by peer (os error 104)", "Broken pipe (os error 32)"]
        .iter()
        .fold(line, |line, way| line.replace(way, "connection closed before message completed"))
}

macro_rules! situations {
    ($($name:ident: $setting:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let setting: Setting = $setting;
            insta::assert_snapshot!(stringify!($name), setting.told().await);
        }
    )*};
}

situations! {
    an_image_is_pushed: Setting::healthy().await;
    everything_is_logged_with_debug: Setting::healthy().await.set("DEBUG", "true");
    a_build_log_has_colours: Setting::healthy().await.set("NO_COLOR", "");
    what_is_there_is_not_sent_again: Setting::healthy().await.prepared("1").await.set("TAGS", "2 latest");
    a_tag_in_the_name: several(&["app:1.2", "app:latest"]).await.set("IMAGE_NAME", "app:1.2");
    two_tags_of_two_images: two_images().await.set("TAGS", "1 2");
    a_basic_login: Setting::new(Login::Basic, Faults::default()).await.once();
    a_token_login: Setting::new(Login::Bearer, Faults::default()).await.once();
    layers_of_the_containerd_store: containerd().await;
    a_registry_that_is_busy_for_a_moment: Setting::new(Login::Nobody, Faults {
        busy: 2, retry_after: Some("0"), ..Faults::default()
    }).await;
    an_upload_that_breaks_and_goes_on: Setting::new(Login::Nobody, Faults {
        cuts: [100_000].into(), ..Faults::default()
    }).await;
    a_token_that_ends_on_the_way: Setting::new(Login::Bearer, Faults {
        token_uses: Some(3), ..Faults::default()
    }).await.with_login();
    a_proxy_with_a_small_limit: Setting::new(Login::Nobody, Faults {
        largest_body: Some(100_000), ..Faults::default()
    }).await.set("CHUNK_SIZE", "64K");

    tags_that_exist_are_skipped: Setting::healthy().await.prepared("1").await
        .set("TAGS", "1 2").set("IF_TAG_EXISTS", "skip");
    nothing_is_left_to_push: Setting::healthy().await.prepared("1").await
        .set("TAGS", "1").set("IF_TAG_EXISTS", "skip");
    a_tag_that_must_not_move: another_image_under("1").await.set("TAGS", "1")
        .set("IF_TAG_EXISTS", "fail");
    a_tag_that_names_the_image_already: Setting::healthy().await.prepared("1").await
        .set("TAGS", "1").set("IF_TAG_EXISTS", "fail");
    a_dry_run: another_image_under("1").await.set("TAGS", "1 2").set("DRY_RUN", "true");
    annotations: Setting::healthy().await
        .set("ANNOTATIONS_COUNT", "1").set("ANNOTATIONS_0", "org.opencontainers.image.title=Shop, the")
        .set("PROVENANCE", "true").set("BITBUCKET_COMMIT", "abc")
        .set("BITBUCKET_GIT_HTTP_ORIGIN", "http://bitbucket.org/acme/shop");
    layers_that_another_package_has: Setting::new(Login::Nobody, Faults {
        mountable: Some("acme/base"), ..Faults::default()
    }).await.set("MOUNT_FROM", "other base");
    variables_that_cannot_be_passed_on: Setting::healthy().await
        .set("BITBUCKET_PIPELINES_VARIABLES_PATH", "/none/variables")
        .set("BITBUCKET_PIPE_SHARED_STORAGE_DIR", "/none");

    the_daemon_pushes: Setting::new(Login::Basic, Faults::default()).await.with_login()
        .set("MODE", "daemon").set("TAGS", "1");
    the_daemon_may_not_push: refused_push("denied: requested access to the resource is denied").await;
    the_daemon_meets_an_immutable_tag: refused_push("tag 1 is immutable").await;
    the_daemon_does_not_trust_the_registry:
        refused_push("x509: certificate signed by unknown authority").await;
    what_the_daemon_cannot_do: Setting::healthy().await.set("MODE", "daemon")
        .set("COMPRESSION", "zstd");

    wrong_variables: Setting::healthy().await.set("IMAGE_NAME", "reg.example/acme/App")
        .set("TAGS", "-x ok").set("PARALLEL", "many").set("USERNAME", "ann").set("MODE", "fast")
        .set("COMPRESSION", "zstd:99").set("IF_TAG_EXISTS", "maybe").set("ANNOTATIONS", "none");
    no_variables: Setting::healthy().await.set("IMAGE_NAME", "").set("BITBUCKET_WORKSPACE", "");
    a_token_of_atlassian_for_somebody_else: Setting::healthy().await
        .set("BITBUCKET_PACKAGES_USERNAME", "bot").set("BITBUCKET_PACKAGES_TOKEN", "ATATTsecret");
    an_oidc_login_without_a_token: Setting::healthy().await.set("AUTH", "oidc");
    no_daemon: Setting::healthy().await.set("DOCKER_HOST", "unix:///none/docker.sock");
    no_such_image: several(&["apt:1", "shop/app:latest", "unrelated:1"]).await;
    several_images_and_no_tag: several(&["app:1", "app:2"]).await;
    an_export_that_breaks_off: broken(daemon::Faults {
        cut_export: Some(150_000), ..Default::default()
    }).await;
    a_disk_that_is_too_small: broken(daemon::Faults {
        claimed_size: Some(1 << 60), ..Default::default()
    }).await;

    a_wrong_password: Setting::new(Login::Bearer, Faults::default()).await
        .set("USERNAME", "ann").set("PASSWORD", "wrong-horse");
    no_credentials: Setting::new(Login::Basic, Faults::default()).await.set("AUTH", "none");
    an_oidc_token_that_is_not_trusted: Setting::new(Login::Basic, Faults::default()).await
        .set("BITBUCKET_STEP_OIDC_TOKEN", "oidc.secret.token");
    a_package_that_is_missing: refusing(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#).await;
    a_role_that_is_too_small: refusing(403, r#"{"errors":[{"code":"DENIED"}]}"#).await;
    a_full_registry: refusing(403, r#"{"errors":[{"code":"DENIED","message":"quota exceeded"}]}"#).await;
    an_immutable_tag: Setting::new(Login::Nobody, Faults {
        refuse_manifest: Some((403, r#"{"errors":[{"code":"DENIED","message":"tag is immutable"}]}"#)),
        ..Faults::default()
    }).await.once();
    a_tag_that_this_build_may_not_move: Setting::new(Login::Nobody, Faults {
        refuse_manifest: Some((403, r#"{"errors":[{"code":"DENIED","message":"this build may not move the tag latest: tag rule 1 is about latest or v*: it takes the branch main, and this build has feature (OIDC binding 1a2b); use another tag"}]}"#)),
        ..Faults::default()
    }).await.once();
    a_layer_that_is_too_large: Setting::new(Login::Nobody, Faults {
        largest_body: Some(1000), ..Faults::default()
    }).await.once();
    a_registry_that_stays_busy: Setting::new(Login::Nobody, Faults {
        busy: 99, ..Faults::default()
    }).await.once();
    not_a_registry: Setting::new(Login::Nobody, Faults { page: true, ..Faults::default() }).await;
    a_registry_that_stores_something_else: Setting::new(Login::Nobody, Faults {
        wrong_digest: Some("sha256:0000000000000000000000000000000000000000000000000000000000000000"),
        ..Faults::default()
    }).await.once();
    a_login_that_is_sent_to_strangers: Setting::new(Login::Bearer, Faults {
        foreign_realm: Some("http://stranger.example/token".to_owned()), ..Faults::default()
    }).await.once();
}

impl Setting {
    fn with_login(mut self) -> Self {
        self.step = self.step.login();
        self
    }
}

async fn several(names: &[&str]) -> Setting {
    let images = names.iter().map(|name| image(name)).collect();
    Setting::of(images, daemon::Faults::default(), Login::Nobody, Faults::default()).await
}

async fn two_images() -> Setting {
    let other = Image::new("app:2", Layout::Legacy, &[&noise(200_000, 3), b"other"]);
    let images = vec![image("app:1"), other];
    Setting::of(images, daemon::Faults::default(), Login::Nobody, Faults::default()).await
}

async fn containerd() -> Setting {
    let images =
        vec![Image::new("app:latest", Layout::Containerd, &[&noise(200_000, 3), b"small"])];
    Setting::of(images, daemon::Faults::default(), Login::Nobody, Faults::default()).await
}

async fn broken(faults: daemon::Faults) -> Setting {
    Setting::of(vec![image("app:latest")], faults, Login::Nobody, Faults::default()).await
}

async fn refusing(status: u16, body: &'static str) -> Setting {
    let faults = Faults { refuse_upload: Some((status, body)), ..Faults::default() };
    Setting::new(Login::Nobody, faults).await.once()
}

async fn refused_push(reason: &'static str) -> Setting {
    let faults = daemon::Faults { refuse_push: Some(reason), ..Default::default() };
    let setting = Setting::of(vec![image("app:1")], faults, Login::Basic, Faults::default()).await;
    setting.with_login().set("MODE", "daemon").set("TAGS", "1")
}

/// A registry in which `tag` names an image that is not the one of the step.
async fn another_image_under(tag: &str) -> Setting {
    let setting = Setting::healthy().await;
    let other = Daemon::start(vec![Image::new("app:latest", Layout::Oci, &[b"another"])]).await;
    let step = Step::new(&other, &setting.registry).set("TAGS", tag);
    assert!(step.run().await.status.success());
    setting
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_is_written_as_json() {
    let setting = Setting::healthy().await.prepared("1").await;
    let path = setting.step.folder().join("result.json");
    let setting = setting.set("TAGS", "1 2").set("OUTPUT_FILE", path.to_str().unwrap());
    setting.told().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace(&setting.registry.address, "registry.test:5000");
    insta::assert_snapshot!(without_seconds(&text));
}

fn without_seconds(json: &str) -> String {
    let lines = json.lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("\"seconds\""));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn other_pipes_and_later_steps_learn_what_was_pushed() {
    let setting = Setting::healthy().await;
    let (shared, variables) = (setting.step.folder(), setting.step.folder().join("variables"));
    std::fs::write(&variables, "").unwrap();
    let (shared, path) = (shared.to_owned(), variables.to_str().unwrap().to_owned());
    let setting = setting
        .set("BITBUCKET_PIPE_SHARED_STORAGE_DIR", shared.to_str().unwrap())
        .set("BITBUCKET_PIPELINES_VARIABLES_PATH", &path);
    let outcome = setting.step.run().await;
    let reference = outcome.references()[0].to_owned();
    let told = std::fs::read_to_string(&variables).unwrap();
    assert!(told.contains(&format!("IMAGE_REF={reference}\n")), "{told}");
    let shared = std::fs::read(shared.join("_shared_variables.json")).unwrap();
    let shared: serde_json::Value = serde_json::from_slice(&shared).unwrap();
    assert_eq!(shared["IMAGE_REF"], reference.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_gets_the_login_and_keeps_no_name() {
    let setting = Setting::new(Login::Basic, Faults::default()).await.with_login();
    let setting = setting.set("MODE", "daemon").set("TAGS", "1 2");
    assert!(setting.step.run().await.status.success());
    let calls = setting.daemon.calls();
    let name = format!("/images/{}/acme/app", setting.registry.address);
    let kinds: Vec<&str> =
        calls.iter().map(|call| call.split('/').next().unwrap().trim()).collect();
    assert_eq!(kinds, ["POST", "POST", "DELETE", "POST", "POST", "DELETE"], "{calls:#?}");
    assert!(calls[1].starts_with(&format!("POST {name}/push?tag=1 ")), "{calls:#?}");
    assert!(calls[5].starts_with(&format!("DELETE {name}:2?noprune=true")), "{calls:#?}");
    use base64::Engine as _;
    let login = calls[1].rsplit(' ').next().unwrap();
    let login = base64::engine::general_purpose::URL_SAFE.decode(login).unwrap();
    let login: serde_json::Value = serde_json::from_slice(&login).unwrap();
    assert_eq!(login["username"], crate::registry::USER);
    assert_eq!(login["serveraddress"], setting.registry.address.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing() {
    let setting = Setting::healthy().await.set("DRY_RUN", "true");
    assert!(setting.step.run().await.status.success());
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        assert_eq!(setting.registry.count(&method, "/v2/"), 0, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_docker_left_is_used() {
    use base64::Engine as _;
    let setting = Setting::new(Login::Bearer, Faults::default()).await;
    let pair = format!("{}:{}", crate::registry::USER, crate::registry::PASSWORD);
    let auth = base64::engine::general_purpose::STANDARD.encode(pair);
    let file = serde_json::json!({"auths": {setting.registry.address.as_str(): {"auth": auth}}});
    let home = setting.step.folder().join(".docker");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("config.json"), file.to_string()).unwrap();
    let folder = setting.step.folder().to_str().unwrap().to_owned();
    for variable in ["HOME", "BITBUCKET_CLONE_DIR"] {
        let step = Step::new(&setting.daemon, &setting.registry).set(variable, &folder);
        assert!(step.run().await.status.success());
    }
    assert!(Path::new(&folder).join(".docker/config.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_used_for_the_registry_and_not_for_the_daemon() {
    let setting = Setting::healthy().await;
    // The registry answers in the place of a proxy: it sees the name that only a proxy can resolve.
    let proxy = format!("http://{}", setting.registry.address);
    let setting = setting
        .set("REGISTRY", "registry.invalid")
        .set("INSECURE", "true")
        .set("http_proxy", &proxy)
        .set("HTTP_PROXY", &proxy);
    let outcome = setting.step.run().await;
    assert!(outcome.references()[0].starts_with("registry.invalid/acme/app:latest@"));
    let setting = setting.set("NO_PROXY", "registry.invalid").set("RETRIES", "0");
    setting.step.run().await.fails(5, &["registry.invalid cannot be reached"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_compressed_as_it_is_asked_for() {
    for (value, kind) in [("gzip:1", "tar+gzip"), ("zstd:19", "tar+zstd"), ("none", "tar")] {
        let setting = Setting::healthy().await.set("COMPRESSION", value);
        let outcome = setting.step.run().await;
        assert!(outcome.status.success(), "{value}: {outcome:#?}");
        let content = setting.registry.content();
        let manifest: serde_json::Value =
            serde_json::from_slice(&content.manifests["latest"].1).unwrap();
        let config = &content.blobs[manifest["config"]["digest"].as_str().unwrap()];
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        for (layer, diff_id) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap())
        {
            let name = format!("application/vnd.oci.image.layer.v1.{kind}");
            assert_eq!(layer["mediaType"], name.as_str());
            let stored = &content.blobs[layer["digest"].as_str().unwrap()];
            let raw = match kind {
                "tar" => stored.clone(),
                "tar+zstd" => zstd::decode_all(&stored[..]).unwrap(),
                _ => {
                    let mut raw = Vec::new();
                    let mut decoder = flate2::bufread::GzDecoder::new(&stored[..]);
                    std::io::Read::read_to_end(&mut decoder, &mut raw).unwrap();
                    raw
                }
            };
            assert_eq!(crate::image::digest(&raw), diff_id.as_str().unwrap());
        }
    }
}
