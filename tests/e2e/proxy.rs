//! Behind the proxies that people use: nginx refuses layers until it is told not to, and the examples
//! tell it; then layers of any size go through as a stream, TLS and tokens included.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Method, RequestBuilder};
use standpipe_tests::clients::{self, Client, Kind};
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::dockerd::{Dockerd, free_port};
use standpipe_tests::environment;
use standpipe_tests::guardian;
use standpipe_tests::images;
use standpipe_tests::payload::{Hasher, Payload};
use standpipe_tests::pipe::{PipeOutcome, PipeRun};
use standpipe_tests::poll;
use standpipe_tests::process::Program;
use standpipe_tests::raw::with_query;
use standpipe_tests::rest::Credential;
use standpipe_tests::server::ServerOptions;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::world::{World, turn};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_through_nginx_keeps_below_its_limit_and_needs_no_pieces_once_it_is_lifted() {
    let Some(mut site) = Site::new("nginx").await else { return };
    let _turn = turn().await;
    // Requests of more than 1 MB are refused: the pipe finds that out and sends smaller ones.
    site.serve(Proxy::nginx, &minimal_nginx(&site)).await;
    for (package, variables) in
        [("too-large", &[][..]), ("small-pieces", &[("CHUNK_SIZE", "512K")])]
    {
        let pushed = site.push(package, 3 * MIB, variables).await;
        let _ = pushed.digest();
        assert!(!pushed.finished.output().contains("attempt 2"), "{}", pushed.finished);
    }

    let example = site.example(
        "nginx.conf",
        &[
            ("listen 443 ssl;", &format!("listen 127.0.0.1:{} ssl;", site.port)),
            ("listen [::]:443 ssl;", ""),
            ("server_name registry.example.com;", "server_name localhost;"),
            ("/etc/ssl/standpipe/fullchain.pem", &site.file("server.pem")),
            ("/etc/ssl/standpipe/privkey.pem", &site.file("server.key")),
            ("http://127.0.0.1:5000", &site.world.server.url()),
        ],
    );
    site.serve(Proxy::nginx, &example).await;
    let _ = site.push("behind-nginx", 64 * MIB, &[]).await.digest();
    site.check_streaming().await;
    site.check_size().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_through_caddy_succeeds_at_once() {
    let Some(mut site) = Site::new("caddy").await else { return };
    let _turn = turn().await;
    let address = format!("https://localhost:{} {{", site.port);
    let certificate = format!("\ttls {} {}", site.file("server.pem"), site.file("server.key"));
    let example = site.example(
        "Caddyfile",
        &[
            ("registry.example.com {", &format!("{address}\n\tbind 127.0.0.1\n{certificate}")),
            ("127.0.0.1:5000 {", &format!("{} {{", site.world.server.authority())),
        ],
    );
    site.serve(Proxy::caddy, &example).await;
    let _ = site.push("behind-caddy", 64 * MIB, &[]).await.digest();
    site.check_streaming().await;
    site.check_size().await;
}

/// A server, and a proxy with TLS before it.
struct Site {
    world: World,
    docker: Client,
    docker_host: String,
    credential: Credential,
    folder: TempDir,
    port: u16,
    proxy: Option<Proxy>,
}

impl Site {
    /// Without the proxy; `None` where the proxy or Docker is not installed.
    async fn new(program: &str) -> Option<Self> {
        for needed in [program, "openssl"] {
            if !clients::is_installed(needed) {
                clients::skip(&format!("{needed} is not installed"));
                return None;
            }
        }
        let docker = Client::find(Kind::Docker).await?;
        let docker_host = Dockerd::shared().await?.host();
        let port = free_port();
        let options = ServerOptions {
            environment: vec![("STANDPIPE_PUBLIC_URL", format!("https://localhost:{port}"))],
            ..ServerOptions::default()
        };
        let world = World::with_options(options, &PACKAGES).await;
        let credential = world.pipeline_token().await;
        let folder = temporary_directory("proxy");
        make_certificates(folder.path()).await;
        Some(Self { world, docker, docker_host, credential, folder, port, proxy: None })
    }

    /// Starts a proxy in the place of the last one and waits until requests come through.
    async fn serve(&mut self, start: fn(&Self, &str) -> Proxy, text: &str) {
        self.proxy = None;
        self.proxy = Some(start(self, text));
        let client = self.trusting_client();
        let ready = format!("{}/readyz", self.url());
        poll::until("proxy before the server", Duration::from_secs(60), async || {
            match client.get(&ready).send().await {
                Ok(response) if response.status() == 200 => Ok(()),
                Ok(response) => Err(response.status().to_string()),
                Err(error) => {
                    let log = fs::read_to_string(self.file("log")).unwrap_or_default();
                    Err(format!("{error}: {log}"))
                }
            }
        })
        .await;
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// An example with addresses and files of this site.
    fn example(&self, name: &str, replaced: &[(&str, &str)]) -> String {
        let path = environment::repository_root().join("examples").join(name);
        let mut text = fs::read_to_string(path).expect("the example exists");
        for (theirs, ours) in replaced {
            assert!(text.contains(theirs), "examples/{name} has no {theirs:?} any more");
            text = text.replace(theirs, ours);
        }
        text
    }

    /// Builds an image with one large layer and pushes it through the proxy.
    async fn push(&self, package: &str, size: u64, more: &[(&str, &str)]) -> PipeOutcome {
        let image = images::build(&self.docker, package, size, &[size]).await;
        let authority = format!("localhost:{}", self.port);
        let mut run = PipeRun::new(&self.docker_host)
            .set("REGISTRY", &authority)
            .set("USERNAME", &self.credential.username)
            .set("PASSWORD", &self.credential.secret)
            .set("CA_CERT", &self.file("authority.pem"))
            .set("IMAGE_NAME", package);
        for (name, value) in more {
            run = run.set(name, value);
        }
        let outcome = run.finish().await;
        self.docker.forget_images(&image).await;
        outcome
    }

    /// The server has the beginning of a body before the client has sent its end.
    async fn check_streaming(&self) {
        let (pieces, received) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        let body = Body::wrap_stream(stream::unfold(received, async |mut received| {
            received.recv().await.map(|piece| (piece, received))
        }));
        let target = self.start_upload().await;
        let sending = tokio::spawn(self.request(Method::PATCH, &target).body(body).send());
        for _ in 0..4 {
            let piece = Payload::new(1, MIB).bytes();
            pieces.send(Ok(piece)).await.expect("the request is under way");
        }
        poll::until("first bytes at the server", Duration::from_secs(60), async || {
            let files = self.world.server.unfinished();
            let sizes = files.iter().filter_map(|path| fs::metadata(path).ok());
            let there: u64 = sizes.map(|metadata| metadata.len()).sum();
            if there >= MIB { Ok(()) } else { Err(format!("{there} bytes arrived")) }
        })
        .await;
        drop(pieces);
        let answer = sending.await.expect("sending does not panic").expect("an answer comes");
        assert_eq!(answer.status(), 202);
    }

    /// A large layer goes up in one request, and comes down whole.
    async fn check_size(&self) {
        let payload = Payload::new(7, large());
        let digest = payload.digest();
        let target = with_query(&self.start_upload().await, "digest", &digest);
        let request = self.request(Method::PUT, &target).header("content-length", payload.length());
        let stream = payload.stream(0, payload.length());
        let answer = request.body(Body::wrap_stream(stream)).send().await;
        assert_eq!(answer.expect("an answer comes").status(), 201);

        let path = format!("/v2/acme/{}/blobs/{digest}", PACKAGES[0]);
        let mut answer = self.request(Method::GET, &path).send().await.expect("an answer comes");
        let mut pulled = Hasher::default();
        while let Some(piece) = answer.chunk().await.expect("the body comes whole") {
            pulled.update(&piece);
        }
        assert_eq!(pulled.digest(), digest);
    }

    /// The path of a new upload, which the server may have named with the proxy's address.
    async fn start_upload(&self) -> String {
        let path = format!("/v2/acme/{}/blobs/uploads/", PACKAGES[0]);
        let request = self.request(Method::POST, &path).header("content-length", 0);
        let started = request.send().await.expect("an answer comes");
        assert_eq!(started.status(), 202);
        let location = started.headers()["location"].to_str().expect("a path is text").to_owned();
        location.strip_prefix(&self.url()).unwrap_or(&location).to_owned()
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.trusting_client().request(method, format!("{}{path}", self.url()));
        request
            .basic_auth(&self.credential.username, Some(&self.credential.secret))
            .header("content-type", "application/octet-stream")
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn trusting_client(&self) -> reqwest::Client {
        let authority = fs::read(self.file("authority.pem")).expect("openssl wrote it");
        let authority = reqwest::Certificate::from_pem(&authority).expect("openssl writes PEM");
        let client = reqwest::Client::builder().tls_certs_only([authority]).no_proxy();
        client.build().expect("the settings are in order")
    }
}

/// A running proxy, stopped with the value.
struct Proxy {
    child: Child,
}

impl Proxy {
    fn nginx(site: &Site, servers: &str) -> Self {
        let temporary: String = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", site.file(kind)))
            .concat();
        // What Debian's own nginx.conf sets beside has no bearing on size and time.
        let text = format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {};\nerror_log {};\n\
             events {{}}\nhttp {{\naccess_log off;\n{temporary}{servers}\n}}\n",
            site.file("pid"),
            site.file("error.log"),
        );
        let path = site.folder.path().join("nginx.conf");
        fs::write(&path, text).expect("our own folder is writable");
        let error_log = site.file("error.log");
        Self::start(site, "nginx", &["-e", &error_log, "-c", &path.to_string_lossy()])
    }

    fn caddy(site: &Site, text: &str) -> Self {
        let path = site.folder.path().join("Caddyfile");
        fs::write(&path, format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{text}"))
            .expect("our own folder is writable");
        let path = path.to_string_lossy().into_owned();
        Self::start(site, "caddy", &["run", "--adapter", "caddyfile", "--config", &path])
    }

    fn start(site: &Site, program: &str, arguments: &[&str]) -> Self {
        let log = fs::File::create(site.file("log")).expect("our own folder is writable");
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", environment::search_path())
            .env("HOME", site.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file can be shared"))
            .stderr(log)
            .spawn()
            .expect("it was found before");
        guardian::watch_process(child.id());
        Self { child }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // nginx has workers that only a polite end takes along.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
        guardian::forget_process(self.child.id());
    }
}

/// The least that makes nginx a proxy: its limits are Debian's.
fn minimal_nginx(site: &Site) -> String {
    format!(
        "server {{\nlisten 127.0.0.1:{} ssl;\nssl_certificate {};\nssl_certificate_key {};\n\
         location / {{ proxy_pass {}; proxy_set_header Host $http_host; }}\n}}\n",
        site.port,
        site.file("server.pem"),
        site.file("server.key"),
        site.world.server.url(),
    )
}

/// An authority and a certificate of it for `localhost`.
async fn make_certificates(folder: &Path) {
    let openssl = async |arguments: &str| {
        let words = arguments.split_whitespace();
        let _ = Program::new("openssl").args(words).current_dir(folder).finish().await.succeeded();
    };
    let names = "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n";
    fs::write(folder.join("names"), names).expect("our own folder is writable");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc";
    openssl(&format!(
        "req -x509 {key} -days 2 -subj /CN=authority -keyout authority.key -out authority.pem"
    ))
    .await;
    openssl(&format!("req -new {key} -subj /CN=localhost -keyout server.key -out server.csr"))
        .await;
    let sign = "-CA authority.pem -CAkey authority.key -CAcreateserial -extfile names";
    openssl(&format!("x509 -req -in server.csr {sign} -days 2 -out server.pem")).await;
}

/// The size of a layer that the examples promise, in the long runs.
fn large() -> u64 {
    if environment::is_soak() { 5 << 30 } else { 200 * MIB }
}

const PACKAGES: [&str; 4] = ["too-large", "small-pieces", "behind-nginx", "behind-caddy"];
const MIB: u64 = 1 << 20;
