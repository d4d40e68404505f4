//! Docker over TLS of the server itself, with a certificate of a private authority: it logs in, pushes
//! and pulls where its daemon was told to trust that, and refuses to talk where it was not. What
//! podman makes of it is in `tls.rs`.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use standpipe_tests::clients::{self, Client};
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::dockerd::{Dockerd, free_port};
use standpipe_tests::images;
use standpipe_tests::process::Program;
use standpipe_tests::rest::Credential;
use standpipe_tests::server::{Server, ServerOptions};
use tempfile::TempDir;

use crate::world::{World, turn};

/// A server with TLS on an address that is not loopback, where docker would trust anybody.
struct Site {
    server: Server,
    /// `ca.crt` is the authority; the rest is its own.
    folder: TempDir,
    token: Credential,
}

impl Site {
    /// `None` where there is no such address, or nothing to make certificates with.
    async fn new() -> Option<Self> {
        if !clients::is_installed("openssl") {
            clients::skip("openssl is not installed");
            return None;
        }
        let Some(address) = own_address() else {
            clients::skip("the machine has only loopback addresses");
            return None;
        };
        let folder = temporary_directory("tls");
        make_certificate(folder.path(), &address).await;
        let data = Some(folder.path().join("data"));
        // What is to be there is made without TLS.
        let options = ServerOptions { data: data.clone(), ..ServerOptions::default() };
        let mut world = World::with_options(options, &["shop"]).await;
        let token = world.pipeline_token().await;
        let _ = world.server.stop().await;
        let listen = format!("{address}:{}", free_port());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "public_url: https://{listen}\nhttp:\n  trusted_proxies: []\ntls:\n  certificate: {}\n  key: {}\n",
            file("server.pem"),
            file("server.key")
        );
        let (config, listen) = (Some(config), Some(listen));
        let options = ServerOptions { config, data, listen, ..ServerOptions::default() };
        let server = Server::start_with(options).await;
        Some(Self { server, folder, token })
    }

    fn reference(&self) -> String {
        format!("{}/acme/shop:1", self.server.authority())
    }
}

/// The address that the machine would send from. Nothing is sent.
fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then(|| address.to_string())
}

/// An authority (`ca.crt`) and a certificate of it for the address (`server.pem`, `server.key`).
async fn make_certificate(folder: &Path, address: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc";
    for arguments in [
        format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.crt"),
        format!(
            "req {key} -subj /CN=registry -addext subjectAltName=IP:{address} -keyout server.key -out server.csr"
        ),
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out server.pem".to_owned(),
    ] {
        let program = Program::new("openssl").args(arguments.split_whitespace());
        let _ = program.current_dir(folder).finish().await.succeeded();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_logs_in_pushes_and_pulls_over_tls_once_it_trusts_the_authority() {
    let Some(site) = Site::new().await else { return };
    let etc = temporary_directory("etc");
    let Some(daemon) = Dockerd::with_configuration(etc.path()).await else { return };
    let docker = Client::docker_at(&daemon.host());
    let _turn = turn().await;
    let refused = docker.login(site.server.authority(), &site.token).await.ended_with(1);
    assert!(refused.output().contains("x509"), "{refused}");
    let trusted = etc.path().join("certs.d").join(site.server.authority());
    fs::create_dir_all(&trusted).expect("ours");
    fs::copy(site.folder.path().join("ca.crt"), trusted.join("ca.crt")).expect("ours");
    docker.sign_in(site.server.authority(), &site.token).await;
    let image = images::build(&docker, "localhost/tls:1", 91, &[300_000]).await;
    let pushed = docker.push(&image, &site.reference()).await;
    docker.forget_images(&image).await;
    assert_eq!(docker.pull(&site.reference()).await, pushed);
}
