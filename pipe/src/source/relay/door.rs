//! The address under which an engine finds a relay.
//!
//! An engine takes a registry without TLS only on its own loopback. If this program runs beside the
//! engine, it listens there. If it runs in a container of the engine, as in a pipeline, a second
//! container of the same image has a port there and passes on what comes (`forward`).
//! Invariant: a door is open only after the engine came through it with the secret. The second
//! container gets no secret, and is removed by [`Door::close`], by the engine when it ends, and it ends
//! when this program does.
//! Must not know: what comes in.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::forward;
use super::intake::Intake;
use super::login::Login;
use super::registry::Registry;
use crate::source::daemon::Daemon;

/// An open door.
pub(super) struct Door {
    address: String,
    served: Served,
    container: Option<String>,
}

/// A registry that ends when this is dropped.
struct Served {
    registry: Arc<Registry>,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
        self.registry.intake().close();
    }
}

impl Served {
    fn new(registry: Arc<Registry>, listener: TcpListener) -> Self {
        let task = tokio::spawn(Arc::clone(&registry).serve(listener));
        Self { registry, task }
    }
}

impl Door {
    /// Opens the one that this engine finds.
    pub(super) async fn open(
        daemon: &Daemon,
        registry: Arc<Registry>,
        login: &Login,
    ) -> Result<Self, String> {
        let mut reason = "the engine is elsewhere".to_owned();
        if daemon.is_near() {
            match Self::beside(daemon, &registry, login).await {
                Ok(door) => return Ok(door),
                Err(error) => reason = error,
            }
        }
        Self::through_container(daemon, registry, login)
            .await
            .map_err(|error| format!("{reason}; {error}"))
    }

    /// `host:port`, as the engine knows it.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn intake(&self) -> &Intake {
        self.served.registry.intake()
    }

    /// Removes what was made.
    pub(super) async fn close(self, daemon: &Daemon) {
        drop(self.served);
        if let Some(container) = self.container {
            daemon.remove_container(&container).await;
        }
    }

    async fn beside(
        daemon: &Daemon,
        registry: &Arc<Registry>,
        login: &Login,
    ) -> Result<Self, String> {
        let (listener, port) = listen(Ipv4Addr::LOCALHOST)?;
        let address = format!("{}:{port}", Ipv4Addr::LOCALHOST);
        let served = Served::new(Arc::clone(registry), listener);
        knock(daemon, registry, login, &address).await?;
        Ok(Self { address, served, container: None })
    }

    async fn through_container(
        daemon: &Daemon,
        registry: Arc<Registry>,
        login: &Login,
    ) -> Result<Self, String> {
        let own = own_container(daemon).await?;
        let (listener, port) = listen(own.address)?;
        let served = Served::new(Arc::clone(&registry), listener);
        let container = daemon
            .create_container(&json!({
                "Image": own.image,
                "Entrypoint": [own.program],
                "Cmd": [forward::COMMAND, format!("{}:{port}", own.address)],
                "ExposedPorts": { PORT: {} },
                "Labels": { LABEL: "relay" },
                "User": "65534:65534",
                "WorkingDir": "/",
                "HostConfig": {
                    "AutoRemove": true,
                    "PortBindings": { PORT: [{ "HostIp": "127.0.0.1", "HostPort": "" }] },
                    "NetworkMode": own.network,
                },
            }))
            .await?;
        let door = Self { address: String::new(), served, container: Some(container) };
        let started = tokio::time::timeout(START, door.start(daemon, login)).await;
        match started.unwrap_or_else(|_| Err("its container does not start".to_owned())) {
            Ok(address) => Ok(Self { address, ..door }),
            Err(error) => {
                door.close(daemon).await;
                Err(error)
            }
        }
    }

    async fn start(&self, daemon: &Daemon, login: &Login) -> Result<String, String> {
        let container = self.container.as_deref().unwrap_or_default();
        daemon.start_container(container).await?;
        let mut last = "it has no port".to_owned();
        for _ in 0..TRIES {
            let port = daemon.container::<Started>(container).await?.port();
            if let Some(port) = port {
                let address = format!("{}:{port}", Ipv4Addr::LOCALHOST);
                // The program in it may not listen yet.
                match knock(daemon, &self.served.registry, login, &address).await {
                    Ok(()) => return Ok(address),
                    Err(error) => last = error,
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(last)
    }
}

/// Lets the engine show that it comes to us under this address: what it would be given is a secret
/// that is of use here only.
async fn knock(
    daemon: &Daemon,
    registry: &Registry,
    login: &Login,
    address: &str,
) -> Result<(), String> {
    let knocking = async {
        daemon.log_in(&login.json(address)).await?;
        // It has been here before it says that it was.
        registry.reached().now_or_never().ok_or_else(|| format!("it did not come to {address}"))
    };
    let knocked = tokio::time::timeout(KNOCK, knocking).await;
    knocked.unwrap_or_else(|_| Err(format!("the engine does not reach {address}")))
}

/// Listens with little room for what is not read yet: what waits there was compressed in vain.
fn listen(address: Ipv4Addr) -> Result<(TcpListener, u16), String> {
    let listen = || {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(ROOM)?;
        socket.bind((address, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let port = listener.local_addr()?.port();
        std::io::Result::Ok((listener, port))
    };
    listen().map_err(|error| format!("it cannot listen on {address}: {error}"))
}

/// The container in which this program runs.
struct Own {
    image: String,
    network: String,
    address: Ipv4Addr,
    program: String,
}

async fn own_container(daemon: &Daemon) -> Result<Own, String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let inspected: Inspected = daemon.container(&name).await?;
    let address = inspected.address().ok_or("this container has no address")?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = program.to_str().ok_or("this program has an odd name")?.to_owned();
    let network = inspected.host_config.network_mode;
    Ok(Own { image: inspected.image, network, address, program })
}

/// What the engine says of the container in which this program runs.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    image: String,
    host_config: Host,
    network_settings: Settings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Host {
    network_mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    networks: std::collections::BTreeMap<String, Network>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(default, rename = "IPAddress")]
    address: String,
}

impl Inspected {
    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        let networks = self.network_settings.networks.values();
        networks.filter_map(|network| network.address.parse().ok()).next()
    }
}

/// A container that has a port.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Started {
    network_settings: Ports,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ports {
    #[serde(default)]
    ports: std::collections::BTreeMap<String, Option<Vec<Binding>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_port: String,
}

impl Started {
    pub(super) fn port(&self) -> Option<u16> {
        let bindings = self.network_settings.ports.get(PORT)?.as_ref()?;
        bindings.iter().find_map(|binding| binding.host_port.parse().ok())
    }
}

/// Where `forward` listens in its container.
const PORT: &str = "5000/tcp";
const LABEL: &str = "io.standpipe.pipe";
const KNOCK: Duration = Duration::from_secs(5);
const START: Duration = Duration::from_secs(8);
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: u32 = 64;
const ROOM: u32 = 64 << 10;
