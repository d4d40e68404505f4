//! TLS of the server itself: with a certificate of an authority of the tests' own, replaced while
//! connections are open.

use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode, Version};
use serde_json::json;
use standpipe_tests::clients::{self, Kind};
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::images;
use standpipe_tests::payload::digest_of;
use standpipe_tests::poll;
use standpipe_tests::process::Program;
use standpipe_tests::rest::Credential;
use standpipe_tests::server::{ADMIN, ADMIN_PASSWORD, Server, ServerOptions};
use standpipe_tests::wire::Wire;
use tempfile::TempDir;

/// Longer than the server's time between two looks at the files.
const LIMIT: Duration = Duration::from_secs(60);

struct Site {
    server: Server,
    folder: TempDir,
}

impl Site {
    /// `None` where there is nothing to make certificates with.
    async fn new() -> Option<Self> {
        if !clients::is_installed("openssl") {
            clients::skip("openssl is not installed");
            return None;
        }
        let folder = temporary_directory("tls");
        make_authority(folder.path(), "first").await;
        fs::copy(folder.path().join("first.pem"), folder.path().join("server.pem")).expect("ours");
        fs::copy(folder.path().join("first.key"), folder.path().join("server.key")).expect("ours");
        let file = |name: &str| folder.path().join(name).display().to_string();
        let config =
            format!("tls:\n  certificate: {}\n  key: {}\n", file("server.pem"), file("server.key"));
        let options = ServerOptions { config: Some(config), ..ServerOptions::default() };
        let server = Server::start_with(options).await;
        assert!(server.url().starts_with("https://"), "{}", server.url());
        Some(Self { server, folder })
    }

    /// A client that trusts nobody else.
    fn client(&self, authority: &str) -> reqwest::ClientBuilder {
        let pem = fs::read(self.folder.path().join(format!("{authority}.pem"))).expect("ours");
        let certificate = Certificate::from_pem(&pem).expect("a certificate");
        Client::builder().tls_certs_only([certificate]).no_proxy()
    }

    /// The package `acme/shop`.
    async fn make_package(&self, client: &Client) {
        for (path, body) in [
            ("workspaces", json!({"slug": "acme", "name": "Acme"})),
            ("workspaces/acme/projects", json!({"key": "WEB", "name": "Web"})),
            (
                "workspaces/acme/repositories",
                json!({"slug": "shop", "project": "WEB", "visibility": "private"}),
            ),
            ("workspaces/acme/packages", json!({"name": "shop", "repository": "shop"})),
        ] {
            let request = client.post(format!("{}/api/v1/{path}", self.server.url()));
            let request = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&body);
            let made = request.send().await.expect("an answer");
            assert_eq!(made.status(), StatusCode::CREATED, "{path}");
        }
    }

    /// Puts another pair of files in the place of the server's.
    fn show(&self, name: &str) {
        for kind in ["pem", "key"] {
            let file = |name: &str| self.folder.path().join(format!("{name}.{kind}"));
            fs::copy(file(name), file("server")).expect("ours");
        }
    }
}

/// A certificate of its own authority for this machine: `NAME.pem` and `NAME.key`.
async fn make_authority(folder: &Path, name: &str) {
    let arguments = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout {name}.key -out {name}.pem"
    );
    let words = arguments.split_whitespace();
    let _ = Program::new("openssl").args(words).current_dir(folder).finish().await.succeeded();
}

/// Pushes a blob and pulls it.
async fn push_and_pull(site: &Site, client: &Client, version: Version) {
    let url = site.server.url();
    let content = vec![7_u8; 3 << 20];
    let digest = digest_of(&content);
    let upload = format!("{url}/v2/acme/shop/blobs/uploads/?digest={digest}");
    let request = client.post(upload).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    let pushed = request.body(content.clone()).send().await.expect("an answer");
    assert_eq!((pushed.status(), pushed.version()), (StatusCode::CREATED, version));
    let blob = format!("{url}/v2/acme/shop/blobs/{digest}");
    let request = client.get(blob).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    let pulled = request.send().await.expect("an answer").bytes().await.expect("a whole body");
    assert!(pulled == content, "other bytes came back");
}

#[tokio::test]
async fn a_blob_is_pushed_and_pulled_over_tls_with_http_1_and_http_2() {
    let Some(site) = Site::new().await else { return };
    let client = site.client("first").build().expect("a client");
    site.make_package(&client).await;
    push_and_pull(&site, &client, Version::HTTP_2).await;
    let old = site.client("first").http1_only().build().expect("a client");
    push_and_pull(&site, &old, Version::HTTP_11).await;
    let refused = old.get(format!("{}/v2/", site.server.url())).send().await.expect("an answer");
    let challenge = refused.headers()["www-authenticate"].to_str().expect("text").to_owned();
    assert!(challenge.contains("realm=\"https://127.0.0.1:"), "{challenge}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_bad_one_changes_nothing() {
    let Some(site) = Site::new().await else { return };
    let ready = format!("{}/readyz", site.server.url());
    let open = site.client("first").build().expect("a client");
    assert_eq!(open.get(&ready).send().await.expect("an answer").status(), StatusCode::OK);
    make_authority(site.folder.path(), "second").await;
    let put = |from: &str, to: &str| {
        fs::copy(site.folder.path().join(from), site.folder.path().join(to)).expect("ours")
    };
    // Only half of the new pair is there: it does not fit.
    let _ = put("second.pem", "server.pem");
    poll::until("a word about it", LIMIT, async || {
        let log = site.server.stderr();
        log.contains("stays in use").then_some(()).ok_or("not yet")
    })
    .await;
    let fresh = site.client("first").build().expect("a client");
    assert_eq!(fresh.get(&ready).send().await.expect("an answer").status(), StatusCode::OK);
    let _ = put("second.key", "server.key");
    poll::until("the new certificate", LIMIT, async || {
        let client = site.client("second").build().expect("a client");
        client.get(&ready).send().await.map(drop)
    })
    .await;
    let distrusting = site.client("first").build().expect("a client");
    assert!(distrusting.get(&ready).send().await.is_err(), "the old one is not shown any more");
    assert!(!site.server.stderr().contains("panicked"));
}

#[tokio::test]
async fn a_hangup_has_the_new_certificate_shown_and_does_not_end_the_server() {
    let Some(site) = Site::new().await else { return };
    let ready = format!("{}/readyz", site.server.url());
    let open = site.client("first").build().expect("a client");
    assert_eq!(open.get(&ready).send().await.expect("an answer").status(), StatusCode::OK);
    make_authority(site.folder.path(), "second").await;
    site.show("second");
    site.server.hang_up();
    poll::until("the new certificate", LIMIT, async || {
        let client = site.client("second").build().expect("a client");
        client.get(&ready).send().await.map(drop)
    })
    .await;
    // A connection from before goes on.
    assert_eq!(open.get(&ready).send().await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn whoever_hangs_up_is_told_in_the_log_that_the_certificate_is_as_it_was() {
    let Some(site) = Site::new().await else { return };
    // At once: a server that is not prepared for it when it is ready would be ended by it.
    site.server.hang_up();
    // When it looks by itself and nothing is new, it says nothing.
    poll::until("a word about it", LIMIT, async || {
        site.server.stderr().contains("are as they were").then_some(()).ok_or("not yet")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_pushes_and_pulls_with_a_private_authority_and_refuses_without_it() {
    let Some(podman) = clients::Client::find(Kind::Podman).await else { return };
    let Some(site) = Site::new().await else { return };
    site.make_package(&site.client("first").build().expect("a client")).await;
    let trusted = site.folder.path().join("trusted");
    fs::create_dir(&trusted).expect("our own folder is writable");
    fs::copy(site.folder.path().join("first.pem"), trusted.join("ca.crt")).expect("ours");
    let trust = format!("--cert-dir={}", trusted.display());
    let authority = site.server.authority();
    let credential = Credential { username: ADMIN.to_owned(), secret: ADMIN_PASSWORD.to_owned() };
    let login = async |options: &[&str]| {
        let user = ["--username", &credential.username, "--password-stdin", authority];
        let arguments = [&["login"], options, &user].concat();
        podman.command(&arguments).input(&credential.secret).finish().await
    };
    let refused = login(&[]).await;
    assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
    assert!(refused.stderr.contains("x509"), "{refused}");
    let _ = login(&[&trust]).await.succeeded();
    let _ = images::oci_layout(&site.folder.path().join("layout"), 1, &["amd64"]);
    let remote = format!("{authority}/acme/shop:one");
    // By a short path: podman makes a name of it, which must not have capital letters.
    let local = podman.command(&["pull", "--quiet", "oci:layout"]).current_dir(site.folder.path());
    let pulled = local.finish().await.succeeded();
    let image = pulled.stdout.trim();
    let _ = podman.command(&["push", &trust, image, &remote]).finish().await.succeeded();
    let _ = podman.command(&["rmi", "--all", "--force"]).finish().await.succeeded();
    let again = podman.command(&["pull", "--quiet", &trust, &remote]).finish().await.succeeded();
    assert_eq!(again.stdout.trim(), image);
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_told_so_and_silence_is_closed() {
    let Some(site) = Site::new().await else { return };
    let mut plain = Wire::connect(site.server.authority()).await;
    plain.send("GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = plain.answer().await.expect("an answer");
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("https://"), "{answer:?}");
    let mut silent = Wire::connect(site.server.authority()).await;
    let mut half = Wire::connect(site.server.authority()).await;
    // The beginning of a handshake that never goes on.
    half.send([22, 3, 1, 2, 0, 1]).await;
    assert_eq!(silent.rest().await, b"");
    let _ = half.rest().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_refused_at_the_start() {
    let folder = temporary_directory("tls");
    let config = folder.path().join("server.yaml");
    let missing = folder.path().join("missing.pem").display().to_string();
    fs::write(folder.path().join("empty.pem"), "").expect("our own folder is writable");
    let empty = folder.path().join("empty.pem").display().to_string();
    for (certificate, word) in [(missing, "missing.pem"), (empty, "no certificate")] {
        fs::write(&config, format!("tls:\n  certificate: {certificate}\n  key: {certificate}\n"))
            .expect("our own folder is writable");
        let refused = Server::refused(&folder.path().join("data"), Some(&config)).await;
        assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
        assert!(refused.stderr.contains(word), "{refused}");
    }
    fs::write(&config, "tls:\n  certificate: /tmp/a.pem\n").expect("our own folder is writable");
    let refused = Server::refused(&folder.path().join("data"), Some(&config)).await;
    assert!(refused.stderr.contains("both set or neither"), "{refused}");
}
