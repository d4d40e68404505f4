//! Where a Docker daemon may listen.
//!
//! Invariant: the order of the candidates is a function of the variables and the routing table.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::config::DockerHosts;

/// An address of a Docker daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `tcp://host:port`, without TLS.
    Tcp {
        /// Name or address; an IPv6 address in brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:///path`.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads a value of `DOCKER_HOST`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path {
                "" => Err("unix:// needs the path of a socket".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let Some(("tcp" | "http", rest)) = text.split_once("://") else {
            return Err(format!("{text:?} is not supported; use tcp://HOST:PORT or unix:///PATH"));
        };
        // The URL parser drops the usual port of a scheme, however it is spelt; it was meant all the
        // same, and no two schemes have the same one.
        let read = |scheme: &str| reqwest::Url::parse(&format!("{scheme}://{rest}"));
        let [plain, other] = [read("http"), read("https")];
        let url = plain.map_err(|error| format!("{text:?} is not tcp://HOST:PORT: {error}"))?;
        let port = url.port().or_else(|| other.ok()?.port()).unwrap_or(PORT);
        let bare = url.path() == "/"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        match url.host_str() {
            Some(host) if bare => Ok(Self::Tcp { host: host.to_owned(), port }),
            _ => Err(format!("{text:?} is not tcp://HOST:PORT")),
        }
    }

    /// Where to look, in order. An explicit socket is the only candidate; an explicit host may
    /// be the `host.docker.internal` that Pipelines sets and that does not resolve everywhere.
    pub(super) fn candidates(hosts: &DockerHosts, routes: Option<&str>) -> Vec<Self> {
        if let Some(socket @ Self::Unix(_)) = &hosts.host {
            return vec![socket.clone()];
        }
        let internal = hosts.internal.clone().map(|host| Self::Tcp { host, port: PORT });
        let gateway = routes.and_then(default_gateway);
        let gateway = gateway.map(|address| Self::Tcp { host: address.to_string(), port: PORT });
        let socket = Self::Unix(SOCKET.into());
        let mut candidates = Vec::new();
        for candidate in [hosts.host.clone(), internal, gateway, Some(socket)].into_iter().flatten()
        {
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        candidates
    }

    /// Whether it is on this machine, or passed on as a socket is.
    pub(super) fn is_near(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } if host == "localhost" => true,
            Self::Tcp { host, .. } => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(formatter, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
    }
}

/// The gateway of the default route in the form of `/proc/net/route`: numbers in hexadecimal,
/// in the byte order of the machine.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && flags & GATEWAY_FLAG != 0)
            .then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// `RTF_GATEWAY`: the route goes through a gateway.
const GATEWAY_FLAG: u32 = 2;
/// Where the Docker daemon of Pipelines listens.
const PORT: u16 = 2375;
const SOCKET: &str = "/var/run/docker.sock";

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\n\
        eth0\t0000FEA9\t00000000\t0001\t0\neth0\t00000000\t010012AC\t0003\t0\n";

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn docker_host_is_a_tcp_address_or_a_socket() {
        assert_eq!(Endpoint::parse("tcp://a:1234"), Ok(tcp("a", 1234)));
        assert_eq!(Endpoint::parse("tcp://a"), Ok(tcp("a", 2375)));
        for (text, port) in [("tcp://a:80", 80), ("tcp://a:080/", 80), ("tcp://a:443", 443)] {
            assert_eq!(Endpoint::parse(text), Ok(tcp("a", port)), "{text}");
        }
        assert_eq!(Endpoint::parse("tcp://[::1]:9"), Ok(tcp("[::1]", 9)));
        assert_eq!(Endpoint::parse("unix:///run/d.sock"), Ok(Endpoint::Unix("/run/d.sock".into())));
        for wrong in ["a:1234", "ssh://a", "https://a:2376", "tcp://", "tcp://a/b", "unix://"] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["tcp://ann@a", "tcp://:pw@a", "tcp://a?b=:80", "tcp://a#:80"] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_daemon_is_looked_for_in_the_documented_order() {
        let hosts = DockerHosts {
            host: Some(tcp("host.docker.internal", 2375)),
            internal: Some("10.1.2.3".to_owned()),
        };
        let shown: Vec<String> =
            Endpoint::candidates(&hosts, Some(ROUTES)).iter().map(Endpoint::to_string).collect();
        assert_eq!(
            shown,
            [
                "tcp://host.docker.internal:2375",
                "tcp://10.1.2.3:2375",
                "tcp://172.18.0.1:2375",
                "unix:///var/run/docker.sock"
            ]
        );
    }

    #[test]
    fn what_is_on_loopback_is_near() {
        for near in ["tcp://127.0.0.1", "tcp://localhost:1", "tcp://[::1]:9", "unix:///d.sock"] {
            assert!(Endpoint::parse(near).unwrap().is_near(), "{near}");
        }
        for far in ["tcp://host.docker.internal", "tcp://172.17.0.1:2375", "tcp://[fe80::1]"] {
            assert!(!Endpoint::parse(far).unwrap().is_near(), "{far}");
        }
    }

    #[test]
    fn an_explicit_socket_has_no_substitute() {
        let socket = Endpoint::Unix("/run/mine.sock".into());
        let hosts = DockerHosts { host: Some(socket.clone()), internal: Some("10.1.2.3".into()) };
        assert_eq!(Endpoint::candidates(&hosts, Some(ROUTES)), [socket]);
    }

    #[test]
    fn a_table_without_default_route_names_no_gateway() {
        assert_eq!(default_gateway("Iface\tDestination\n"), None);
        assert_eq!(default_gateway("h\neth0\tzz"), None);
    }
}
