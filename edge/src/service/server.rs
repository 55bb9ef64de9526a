//! Sockets: who may connect, how long a connection may last, and how it all ends.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::command::Desk;
use super::guard::Hosts;
use super::routes::{App, router};
use super::view::StationView;
use crate::config::HttpConfig;

/// Bytes of a request's head at most; hyper answers 431 beyond.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Pause after the system gave no connection (no more files, for instance), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a request's head is there, 10 s; also the longest pause between two requests.
    pub head_within: Duration,
    /// Until a request is answered, 15 s, its body included.
    pub request_within: Duration,
    /// Until a command is answered, 10 s.
    pub command_within: Duration,
    /// A connection is closed after the request during which it grew so old, 60 s.
    pub connection_for: Duration,
    /// For what is under way when a connection is to end, 3 s.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_within: Duration::from_secs(10),
            request_within: Duration::from_secs(15),
            command_within: Duration::from_secs(10),
            connection_for: Duration::from_secs(60),
            linger: Duration::from_secs(3),
        }
    }
}

/// The page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The address is another's, or not of this machine.
    #[error("http.address {address}: cannot be listened at: {error}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// No thread, or no runtime in it.
    #[error("thread http: {0}")]
    Thread(io::Error),
}

/// The running service.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Service {
    /// Listens, and serves `view` in the thread `http`; times in it are since `start`.
    ///
    /// # Errors
    /// When the address cannot be listened at, or there is no thread to be had.
    pub fn start(
        http: &HttpConfig,
        limits: Limits,
        view: Arc<StationView>,
        desk: Desk,
        start: Instant,
    ) -> Result<Self, ServiceError> {
        let refuse = |error| ServiceError::Listen {
            address: http.address,
            error,
        };
        let listener = TcpListener::bind(http.address).map_err(refuse)?;
        listener.set_nonblocking(true).map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let seats = Arc::new(Seats::new(http));
        let app = App {
            view,
            desk,
            hosts: Hosts::new(&http.hosts),
            seats: Arc::clone(&seats),
            limits,
            start,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(ServiceError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let serve = move || {
            runtime.block_on(async {
                // Only outside of a runtime can this fail.
                let listener = tokio::net::TcpListener::from_std(listener)
                    .expect("the runtime is built with sockets");
                accept(&listener, &seats, &router(app), limits, stopped).await;
            });
        };
        let thread = thread::Builder::new().name("http".to_owned());
        let thread = thread.spawn(serve).map_err(ServiceError::Thread)?;
        Ok(Self {
            address,
            stop,
            thread,
        })
    }

    /// Where it listens; of a configured port 0 the one that was found.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, answers those under way for [`Limits::linger`] and ends the thread.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        // A panic of the thread was printed where it happened; there is nothing to save.
        let _ = self.thread.join();
    }
}

/// Serves until it is stopped.
async fn accept(
    listener: &tokio::net::TcpListener,
    seats: &Arc<Seats>,
    router: &Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let end = stopped.clone();
    loop {
        tokio::select! {
            // Also when the service was dropped without being stopped.
            _ = stopped.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(seat) = seats.take(peer.ip()) {
                        let service = TowerToHyperService::new(router.clone());
                        connections.spawn(serve(stream, seat, service, limits, end.clone()));
                    }
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    let rest = async { while connections.join_next().await.is_some() {} };
    // Whoever is not done by then is cut off with the runtime.
    let _ = timeout(limits.linger, rest).await;
}

/// One connection, from its first request to its last.
async fn serve(
    stream: tokio::net::TcpStream,
    _seat: Seat,
    service: TowerToHyperService<Router>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    // Small answers are not to wait for each other; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // How a connection ended is its client's affair.
        _ = connection.as_mut() => return,
        () = sleep(limits.connection_for) => {}
        _ = stopped.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    // A client that does not take its answer is not waited for.
    let _ = timeout(limits.linger, connection).await;
}

/// Connections at once, in all and from one address.
#[derive(Debug)]
pub(super) struct Seats {
    taken: Mutex<HashMap<IpAddr, u32>>,
    max: u32,
    of_one_max: u32,
    refused: AtomicU64,
}

/// A connection's place among them.
#[derive(Debug)]
struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
}

impl Seats {
    fn new(http: &HttpConfig) -> Self {
        Self {
            taken: Mutex::default(),
            max: http.connections_max,
            of_one_max: http.connections_per_address_max,
            refused: AtomicU64::new(0),
        }
    }

    /// A place for a connection from `address`; `None` (and counted) when it is one too many.
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        // An IPv4 address is the same one when it comes through an IPv6 socket.
        let address = address.to_canonical();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: u32 = taken.values().sum();
        let of_one = taken.get(&address).copied().unwrap_or(0);
        if all >= self.max || of_one >= self.of_one_max {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        taken.insert(address, of_one + 1);
        Some(Seat {
            seats: Arc::clone(self),
            address,
        })
    }

    /// Connections now.
    pub fn taken(&self) -> u32 {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().sum()
    }

    /// Connections that were closed at once.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let taken = self.seats.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.address) {
            Some(n) if *n > 1 => *n -= 1,
            _ => _ = taken.remove(&self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_in_all_and_for_one_address_and_given_back() {
        let seats = Arc::new(Seats::new(&HttpConfig {
            connections_max: 3,
            connections_per_address_max: 2,
            ..HttpConfig::default()
        }));
        let [one, other, third]: [IpAddr; 3] =
            ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1"].map(|text| text.parse().unwrap());
        let first = seats.take(one);
        let second = seats.take(other);
        assert!(first.is_some() && second.is_some());
        assert!(seats.take(one).is_none(), "the same address twice already");
        let last = seats.take(third);
        assert!(last.is_some());
        assert!(seats.take("10.0.0.2".parse().unwrap()).is_none(), "full");
        assert_eq!((seats.taken(), seats.refused()), (3, 2));
        drop((first, second, last));
        assert_eq!(seats.taken(), 0);
        assert!(seats.taken.lock().unwrap().is_empty());
        assert!(seats.take(one).is_some());
    }
}
