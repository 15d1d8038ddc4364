//! What the agent tells whoever starts it and ends it, such as a kubelet: whether it lives and whether it is ready. Off unless
//! an address is given.
//!
//! It has an address of its own, because whoever asks for health need not be able to read metrics. The core's thread only
//! writes down when it came around; answers are made by another thread, which is not held up by what it is to judge.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use crate::web::{Answer, Bound, Site, plain};

/// The core's rounds are at most 60 ms apart unless it works off a burst. If none ends for so long, it hangs.
const ROUND_WITHIN: Duration = Duration::from_secs(30);
/// Whether the loop goes round.
const LIVE_PATH: &str = "/livez";
/// Whether the probes are attached and the configuration is valid.
const READY_PATH: &str = "/readyz";

const THREAD: &str = "health";

/// Nobody can be answered.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be had.
    #[error(
        "cannot listen on {address} for health: {source}; give another address with --health-listen or WIRESPAN_HEALTH_LISTEN"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No thread, or no runtime for it.
    #[error("cannot start the thread for health: {0}; is a limit on processes or open files (ulimit -u, -n) reached?")]
    Thread(#[from] io::Error),
}

/// How the agent is.
#[derive(Debug)]
pub struct Health {
    since: Instant,
    /// When the last round ended, milliseconds since `since`.
    round_ms: AtomicU64,
    /// Whether the probes are attached and what was there before is known, until the end begins.
    traces: AtomicBool,
    /// What is wrong with the configuration file, if anything: the one before it holds.
    bad_file: Mutex<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            round_ms: AtomicU64::default(),
            traces: AtomicBool::default(),
            bad_file: Mutex::default(),
        }
    }
}

impl Health {
    /// The core has come around.
    pub fn round(&self) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.round_ms.store(ms, Ordering::Relaxed);
    }

    /// Whether everything is traced that is to be, from now on.
    pub fn traces(&self, does: bool) {
        self.traces.store(does, Ordering::Relaxed);
    }

    /// The configuration file was read: what is wrong with it, if anything.
    pub fn file(&self, problem: Option<String>) {
        *self.bad_file.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Why it does not live at this time, if so.
    fn dead(&self, now: Instant) -> Option<String> {
        let round = Duration::from_millis(self.round_ms.load(Ordering::Relaxed));
        let ago = now.duration_since(self.since).saturating_sub(round);
        (ago > ROUND_WITHIN).then(|| format!("the loop has not come around for {} s", ago.as_secs()))
    }

    /// Why it is not ready at this time, if so.
    fn unready(&self, now: Instant) -> Option<String> {
        if !self.traces.load(Ordering::Relaxed) {
            return Some("it is starting or ending".to_owned());
        }
        let bad_file = || self.bad_file.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.dead(now).or_else(|| bad_file().map(|why| format!("the configuration before this one holds: {why}")))
    }
}

/// Who answers.
struct Desk(Arc<Health>);

impl Site for Desk {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let now = Instant::now();
        let problem = match request.uri().path() {
            LIVE_PATH => self.0.dead(now),
            READY_PATH => self.0.unready(now),
            _ => return plain(StatusCode::NOT_FOUND, "health is at /livez and /readyz\n"),
        };
        match problem {
            None => plain(StatusCode::OK, "ok\n"),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }
}

/// An address that is listened on. Nobody is answered yet.
#[derive(Debug)]
pub struct Listener(Bound);

impl Listener {
    /// Takes the address.
    ///
    /// # Errors
    /// If it can't be had: another program has it, or it is not one of this machine.
    pub fn bind(address: SocketAddr) -> Result<Self, StartError> {
        Bound::to(address).map(Self).map_err(|source| StartError::Listen { address, source })
    }

    /// Where it listens, with the port that was chosen if 0 was asked for.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.address()
    }

    /// Answers from now on, until the process ends.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn serve(self, health: Arc<Health>) -> Result<(), StartError> {
        Ok(self.0.serve(THREAD, Desk(health))?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    fn ask(address: SocketAddr, line: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        write!(stream, "{line} HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers and closes");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        (head.split(' ').nth(1).unwrap_or_default().to_owned(), body.to_owned())
    }

    #[test]
    fn it_is_ready_once_it_traces_and_while_its_file_is_good() {
        let health = Arc::new(Health::default());
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.address().expect("it has one");
        listener.serve(Arc::clone(&health)).expect("a thread");
        let ready = || ask(address, "GET /readyz");
        assert_eq!(ready(), ("503".to_owned(), "it is starting or ending\n".to_owned()));
        assert_eq!(ask(address, "GET /livez"), ("200".to_owned(), "ok\n".to_owned()));
        health.traces(true);
        assert_eq!(ready(), ("200".to_owned(), "ok\n".to_owned()));
        health.file(Some("f.yaml:2: there is no `selct`".to_owned()));
        let (status, body) = ready();
        assert_eq!(status, "503");
        assert!(body.contains("f.yaml:2"), "{body}");
        assert_eq!(ask(address, "GET /livez").0, "200", "a new start would not help");
        health.file(None);
        assert_eq!(ready().0, "200");
        health.traces(false);
        assert_eq!(ready().0, "503");
        for (line, status) in
            [("POST /livez", "405"), ("GET /metrics", "404"), ("HEAD /livez", "200"), ("GET /livez?verbose", "200")]
        {
            assert_eq!(ask(address, line).0, status, "{line}");
        }
    }

    #[test]
    fn a_loop_that_does_not_come_around_is_dead_until_it_does() {
        let health = Health::default();
        health.traces(true);
        let just = health.since + ROUND_WITHIN;
        assert_eq!((health.dead(just), health.unready(just)), (None, None));
        let later = just + Duration::from_secs(1);
        assert_eq!(health.dead(later).as_deref(), Some("the loop has not come around for 31 s"));
        assert_eq!(health.unready(later), health.dead(later));
        health.round_ms.store(2_000, Ordering::Relaxed);
        assert_eq!(health.dead(later), None);
    }
}
