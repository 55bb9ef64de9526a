//! Words for systemd: ready, alive, stopping. Alive is only who gets on.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::view::{Mode, StationView};

/// Where systemd listens (`NOTIFY_SOCKET`).
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// From the variable's value: a path, or `@` and a name without a path.
    ///
    /// # Errors
    /// When it is neither, or there are no sockets.
    pub fn new(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A listener that does not read must not hold the station up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    /// The one that started this program, if it asked to be told.
    ///
    /// # Errors
    /// When what it asked for cannot be had.
    pub fn from_environment() -> io::Result<Option<Self>> {
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty());
        address.map(|address| Self::new(&address)).transpose()
    }

    /// It has started.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn ready(&self) -> io::Result<()> {
        self.say("READY=1")
    }

    /// It stops, on purpose.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn stopping(&self) -> io::Result<()> {
        self.say("STOPPING=1")
    }

    /// It gets on.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn alive(&self) -> io::Result<()> {
        self.say("WATCHDOG=1")
    }

    fn say(&self, words: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(words.as_bytes(), &self.address)
            .map(|_| ())
    }
}

/// When systemd is to be told that the station is alive. Pure: the time is passed in.
///
/// Said only while the loops of capture and of analysis have both come round since it was last said.
/// A loop comes round also when no frame was there: a camera that is unplugged is not mended by
/// another start of the program, a thread that hangs is. In safe mode, where nothing runs, it is
/// said always, so that the page that tells why stays up.
#[derive(Debug)]
pub struct Watchdog {
    every: Duration,
    last: Option<Duration>,
    turns: [u64; 2],
}

impl Watchdog {
    /// For a time after which systemd gives the station up: said three times in it.
    pub fn new(limit: Duration) -> Self {
        Self {
            every: limit / 3,
            last: None,
            turns: [0; 2],
        }
    }

    /// From `WATCHDOG_USEC` and `WATCHDOG_PID`; `None` when nobody watches, or another is watched.
    pub fn of(limit_us: Option<&str>, watched: Option<&str>, own: u32) -> Option<Self> {
        let limit: u64 = limit_us?.parse().ok()?;
        let watched = watched.is_none_or(|watched| watched.parse() == Ok(own));
        (watched && limit > 0).then(|| Self::new(Duration::from_micros(limit)))
    }

    /// The one that the environment asks for.
    pub fn from_environment() -> Option<Self> {
        let read = |name| std::env::var(name).ok();
        let (limit, watched) = (read("WATCHDOG_USEC"), read("WATCHDOG_PID"));
        Self::of(limit.as_deref(), watched.as_deref(), std::process::id())
    }

    /// How long to wait between two calls of [`Watchdog::due`].
    pub fn look_every(&self) -> Duration {
        (self.every / 4).max(Duration::from_millis(10))
    }

    /// Whether it is to be said now.
    pub fn due(&mut self, since_start: Duration, view: &StationView) -> bool {
        let early = |last| since_start.saturating_sub(last) < self.every;
        if self.last.is_some_and(early) {
            return false;
        }
        let turns = [view.capture().turns(), view.analysis().turns()];
        let both = turns.iter().zip(self.turns).all(|(now, then)| *now > then);
        if !both && view.state().mode != Mode::Safe {
            return false;
        }
        (self.last, self.turns) = (Some(since_start), turns);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HealthConfig;

    #[test]
    fn alive_is_said_only_while_both_loops_come_round() {
        let view = StationView::new(HealthConfig::default(), Box::new(|_| {}));
        let mut watchdog = Watchdog::new(Duration::from_secs(30));
        let mut second = 0;
        let mut due = |capture: bool, analysis: bool| {
            second += 10;
            if capture {
                view.capture().turn();
            }
            if analysis {
                view.analysis().turn();
            }
            watchdog.due(Duration::from_secs(second), &view)
        };
        assert!(!due(false, false));
        assert!(!due(true, false));
        assert!(due(false, true), "the other came round before");
        assert!(!due(true, false));
        assert!(!due(true, false), "analysis hangs");
        assert!(due(false, true));
        assert!(!due(false, true), "capture hangs");
        assert!(due(true, false));
        assert!(due(true, true));
    }

    #[test]
    fn alive_is_said_three_times_in_the_limit_and_not_more_often() {
        let view = StationView::safe_mode("no configuration");
        let mut watchdog = Watchdog::new(Duration::from_secs(3));
        let looks = (0..300).map(|hundredth| Duration::from_millis(hundredth * 10));
        let said = looks.filter(|&now| watchdog.due(now, &view)).count();
        assert_eq!(said, 3);
        assert_eq!(watchdog.look_every(), Duration::from_millis(250));
    }

    #[test]
    fn only_the_watched_process_has_a_watchdog() {
        for (limit, watched, has) in [
            (Some("30000000"), None, true),
            (Some("30000000"), Some("7"), true),
            (Some("30000000"), Some("8"), false),
            (Some("30000000"), Some("x"), false),
            (Some("0"), None, false),
            (Some("-1"), None, false),
            (Some(""), None, false),
            (None, Some("7"), false),
        ] {
            let found = Watchdog::of(limit, watched, 7).is_some();
            assert_eq!(found, has, "{limit:?} {watched:?}");
        }
    }

    #[test]
    fn systemd_hears_the_words_by_path_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("leuko-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        for (listener, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            let notifier = Notifier::new(&address).unwrap();
            notifier.ready().unwrap();
            notifier.alive().unwrap();
            notifier.stopping().unwrap();
            for expected in ["READY=1", "WATCHDOG=1", "STOPPING=1"] {
                let mut heard = [0; 64];
                let length = listener.recv(&mut heard).unwrap();
                assert_eq!(&heard[..length], expected.as_bytes());
            }
            drop(listener);
            assert!(notifier.alive().is_err());
        }
    }
}
