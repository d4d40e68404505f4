//! Networks of the settings, and what proxies say about their clients: whoever is not listed cannot
//! choose the address that is counted.

use std::net::IpAddr;

use standpipe_server::domain::Network;
use standpipe_server::fuzzing::client;

/// A line with the peer, a line with the networks, and the headers.
pub fn server_forwarded(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let peer = lines.next().and_then(|line| line.parse::<IpAddr>().ok());
    let networks = lines.next().unwrap_or_default().split(',').map(str::trim);
    let networks: Vec<Network> = networks.filter_map(|text| text.parse().ok()).collect();
    for network in &networks {
        assert_eq!(network.to_string().parse(), Ok(*network), "{network}");
    }
    let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return };
    let headers: Vec<&[u8]> = lines.map(str::as_bytes).collect();
    let listed = |address: IpAddr| networks.iter().any(|network| network.contains(address));
    let found = client(networks.clone(), peer, &headers);
    if !listed(peer) {
        assert_eq!(found, Some(peer), "not listed");
        return;
    }
    let stranger = IpAddr::from([198, 51, 100, 7]);
    if !listed(stranger) {
        let mut chain = headers.clone();
        chain.push(b"198.51.100.7");
        assert_eq!(client(networks, peer, &chain), Some(stranger), "what the proxy saw counts");
    }
}
