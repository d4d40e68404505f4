//! The shell around the router: sockets, connections, time limits, shutdown.
//!
//! Invariant: no connection lives for ever without progress. Each way of holding one has a limit: a
//! peer that sends nothing, or half a head, or no next request; a body that falls behind the minimum
//! rate ([`super::pace`]); a reader that does, or does not read at all ([`super::connection`]). And
//! there are never more connections than allowed ([`super::permits`]).

use super::RouterOptions;
use super::connection::Listener;
use super::occupancy::Occupancy;
use super::pace::Pace;
use super::permits::Permits;
use super::tls::Tls;
use crate::app::App;
use axum::extract::connect_info::Connected;
use axum_server::{Address, Handle, Server};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of HTTP/1 input buffered per connection; also the most that a request's head may have.
const H1_BUFFER: usize = 128 << 10;
/// Headers per request.
const MOST_HEADERS: usize = 100;
/// Bytes that a peer may send on one HTTP/2 stream, and on one connection, before we have read them.
/// Together with the blob store's buffers this bounds what an upload holds in memory.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = 4 << 20;
/// Streams per HTTP/2 connection.
const H2_STREAMS: u32 = 100;
/// Bytes of one HTTP/2 request's headers.
const H2_HEADER_BYTES: u32 = 32 << 10;
/// Bytes waiting to be sent per HTTP/2 stream.
const H2_SEND_BUFFER: usize = 512 << 10;

/// Limits of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// How slow a body may be, either way.
    pub pace: Pace,
    /// From accepting a connection, or the end of the last request, to a complete request head.
    pub head: Duration,
    /// Connections at once.
    pub most_connections: usize,
    /// Connections at once from one source.
    pub most_connections_of_a_source: usize,
    /// How long the server goes on as before once it was told to stop, except that it is not ready:
    /// whoever distributes requests can notice before a connection is refused.
    pub notice: Duration,
    /// How long requests in flight may take after that.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            pace: Pace::default(),
            head: Duration::from_secs(15),
            most_connections: 10_000,
            most_connections_of_a_source: 10_000,
            notice: Duration::ZERO,
            drain: Duration::from_secs(60),
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    address: SocketAddr,
    occupancy: Arc<Occupancy>,
}

impl Peer {
    /// Names a peer.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, occupancy: Arc::default() }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the connection's requests tell it.
    pub(super) const fn occupancy(&self) -> &Arc<Occupancy> {
        &self.occupancy
    }
}

impl Address for Peer {
    type Stream = super::connection::Connection;
    type Listener = Listener;
}

impl Connected<Self> for Peer {
    fn connect_info(peer: Self) -> Self {
        peer
    }
}

/// Serves the registry on a listener, with TLS or without, until `shutdown` is done, then is not ready any more, then refuses
/// new connections and lets requests in flight end.
///
/// # Errors
/// The system's, if the listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    app: Arc<App>,
    options: ServeOptions,
    tls: Option<&Tls>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (most, of_a_source) = (options.most_connections, options.most_connections_of_a_source);
    let permits = Permits::new(most, of_a_source, app.http.clone());
    let handle = Handle::new();
    let stopping = tokio::spawn({
        let (handle, stopping) = (handle.clone(), app.stopping.clone());
        async move {
            shutdown.await;
            stopping.begin();
            tokio::time::sleep(options.notice).await;
            handle.graceful_shutdown(Some(options.drain));
        }
    });
    let mut server: Server<Peer> =
        Server::from_listener(Listener::new(listener, permits, options.pace));
    bound(&mut server, options);
    let router = super::router_with(app, RouterOptions { pace: options.pace });
    let service = router.into_make_service_with_connect_info::<Peer>();
    let server = server
        .handle(handle)
        .first_request_timeout(options.head)
        .accept_error_handler(not_accepted);
    let served = match tls {
        Some(tls) => server.acceptor(tls.acceptor(options.head)).serve(service).await,
        None => server.serve(service).await,
    };
    stopping.abort();
    served
}

/// Handshakes fail for whoever wants them to; only what is ours is worth a line.
fn not_accepted(peer: Option<&Peer>, error: &std::io::Error) {
    match peer {
        Some(peer) => {
            tracing::debug!(peer = %peer.address().ip(), %error, "a connection did not begin");
        }
        None => tracing::warn!(%error, "a connection was not accepted"),
    }
}

/// Bounds what one connection can hold.
fn bound(server: &mut Server<Peer>, options: ServeOptions) {
    let builder = server.http_builder();
    builder
        .http1()
        .max_buf_size(H1_BUFFER)
        .max_headers(MOST_HEADERS)
        .header_read_timeout(options.head);
    builder
        .http2()
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(H2_HEADER_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER)
        // A peer that vanished without a word is noticed although it owes us no request.
        .keep_alive_interval(options.head)
        .keep_alive_timeout(options.head);
}
