//! The docker service of a step: a Docker daemon in a network of its own, with names of its own.
//!
//! It is what a pipe finds in Bitbucket: a daemon that answers plain TCP to its containers, at the address
//! that `BITBUCKET_DOCKER_HOST_INTERNAL` names. Nothing of it can be reached from outside: the network
//! has no way to any other, and its name server knows only the names of a few registries. Invariant:
//! nothing of the machine's own network or Docker is touched.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::clients::{self, Client};
use crate::disk::temporary_directory;
use crate::environment;
use crate::guardian;
use crate::poll;

/// A running service.
#[derive(Debug)]
pub struct Step {
    folder: PathBuf,
}

impl Step {
    /// The service that all tests share, started on first use; `None` where it cannot run.
    ///
    /// # Panics
    /// On a build machine (`CI` is set) when it cannot run.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Step>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(async || {
            if !rustix::process::geteuid().is_root() {
                clients::skip("a network of its own takes root");
                return None;
            }
            for program in ["docker", "dockerd", "dnsmasq", "ip", "nsenter", "unshare"] {
                if !clients::is_installed(program) {
                    clients::skip(&format!("{program} is not installed (see tests/install.sh)"));
                    return None;
                }
            }
            Some(Self::start().await)
        });
        shared.await.as_ref()
    }

    /// The docker client of the step's own script, with a configuration of its own.
    #[must_use]
    pub fn docker(&self) -> Client {
        Client::docker_at(&self.host())
    }

    /// What `DOCKER_HOST` is for the step's own script.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }

    async fn start() -> Self {
        let step = Self { folder: temporary_directory("service").keep() };
        let hosts = format!("nameserver {NAME_SERVER}\n");
        fs::write(step.folder.join("resolv.conf"), hosts).expect("our own folder is writable");
        let daemon = step.spawn("daemon", &daemon_command(&step.folder));
        let network = format!("--net=/proc/{daemon}/ns/net");
        step.wait_for_addresses(&network).await;
        let names: Vec<String> = REGISTRIES
            .iter()
            .map(|registry| format!("--address=/{}/{}", registry.host, registry.address))
            .collect();
        let resolver = ["nsenter", &network, "dnsmasq", "--keep-in-foreground", "--user=root"]
            .into_iter()
            .chain(["--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts"])
            .chain(["--bind-interfaces", "--local=/#/"])
            .map(str::to_owned)
            .chain([format!("--listen-address={NAME_SERVER}")])
            .chain(names);
        step.spawn("names", &resolver.collect::<Vec<_>>());
        let docker = step.docker();
        poll::until("ready docker service", START_LIMIT, async || {
            let finished = docker.command(&["version"]).finish().await;
            if finished.code == Some(0) { Ok(()) } else { Err(step.log("daemon")) }
        })
        .await;
        step
    }

    /// Starts a program that ends with this test process.
    fn spawn(&self, name: &str, command: &[String]) -> u32 {
        let log = File::create(self.folder.join(name)).expect("our own folder is writable");
        let (program, arguments) = command.split_first().expect("a command has a program");
        #[expect(clippy::zombie_processes, reason = "the guardian ends it after this process")]
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", environment::search_path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file can be shared"))
            .stderr(log)
            .spawn()
            .expect("the program was found before");
        guardian::watch_process(child.id());
        child.id()
    }

    /// Until then the process may still be in the machine's own network.
    async fn wait_for_addresses(&self, network: &str) {
        poll::until("network of the step", START_LIMIT, async || {
            let shown = Command::new("nsenter")
                .args([network, "ip", "-oneline", "address"])
                .env("PATH", environment::search_path())
                .output();
            let shown = shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            match shown {
                Ok(text) if text.contains(NAME_SERVER) => Ok(()),
                _ => Err(self.log("daemon")),
            }
        })
        .await;
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

/// Makes the network and becomes the daemon in it.
fn daemon_command(folder: &Path) -> Vec<String> {
    let addresses = REGISTRIES.iter().map(|registry| registry.address).chain([NAME_SERVER]);
    let addresses: String =
        addresses.map(|address| format!("ip address add {address}/32 dev lo\n")).collect();
    let script = format!(
        r#"set -e
        ip link set lo up
        {addresses}
        mount --bind "$0/resolv.conf" /etc/resolv.conf
        exec dockerd --data-root="$0/data" --exec-root="$0/exec" --pidfile="$0/pid" "$@""#
    );
    let own = [
        format!("--host=unix://{}", folder.join("docker.sock").display()),
        // Everybody in this network, which is only the containers.
        "--host=tcp://0.0.0.0:2375".to_owned(),
        format!("--bip={GATEWAY}/24"),
    ];
    let insecure =
        REGISTRIES.iter().map(|registry| format!("--insecure-registry={}", registry.host));
    ["unshare", "--net", "--mount", "sh", "-c", &script, &folder.to_string_lossy()]
        .into_iter()
        // Published ports go through docker's own proxy, so no firewall rules are needed.
        .chain(["--tls=false", "--iptables=false", "--ip-forward=false", "--ip-masq=false"])
        .map(str::to_owned)
        .chain(own)
        .chain(insecure)
        .collect()
}

/// A registry that the name server of the step knows.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// Its host, as the examples say it.
    pub host: &'static str,
    /// Where in the step's network it is.
    pub address: &'static str,
}

/// The server of one's own, as the examples call it.
pub const SELF_HOSTED: Named = Named { host: "registry.example.com", address: "192.0.2.10" };
/// Bitbucket's own registry.
pub const BITBUCKET: Named = Named { host: "crg.apkg.io", address: "192.0.2.11" };
/// One more, so that tests can run side by side.
pub const ANOTHER: Named = Named { host: "another.example.com", address: "192.0.2.12" };
/// And one for pushes of large images.
pub const RELAYED: Named = Named { host: "relayed.example.com", address: "192.0.2.13" };
const REGISTRIES: [Named; 4] = [SELF_HOSTED, BITBUCKET, ANOTHER, RELAYED];

/// Where the daemon answers its containers: the value of `BITBUCKET_DOCKER_HOST_INTERNAL`.
pub const GATEWAY: &str = "198.51.100.1";
const NAME_SERVER: &str = "192.0.2.53";
const START_LIMIT: Duration = Duration::from_secs(180);
