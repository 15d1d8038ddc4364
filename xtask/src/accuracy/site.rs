//! What surrounds an application model: the clients that ask it and the backends that it calls, in one loop on one thread.
//!
//! Times are kept to some microseconds: answers and arrivals that a coarser clock would put together would meet in the application
//! more often than they do in life.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::time::Timespec;

use crate::accuracy::head::{self, Message, Read};
use crate::accuracy::plan::Plan;
use crate::accuracy::ran::{Call, Fate, Ran, Request};
use crate::accuracy::token::{Place, Token};

/// Events taken at once.
const EVENTS: usize = 128;

/// What is read at once.
const READ_BYTES: usize = 16 << 10;

/// Which backend listens behind a number of an event; connections have higher ones.
const BACKENDS: u64 = 2;

/// What a backend answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\ndone\n";

/// Clients and backends. The backends keep their connections from load to load.
pub(super) struct Site {
    epoll: OwnedFd,
    listeners: [TcpListener; 2],
    connections: HashMap<u64, Connection>,
    /// Connections to the application that nobody uses, the last one used last.
    idle: Vec<u64>,
    next: u64,
    events: Vec<Event>,
}

/// A load on an application.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Where it listens.
    pub(super) server: SocketAddr,
    /// What arrives, and how long backends take.
    pub(super) plan: Plan,
    /// Whether requests carry a `traceparent`.
    pub(super) pass: bool,
    /// What the times of arrivals and answers follow from.
    pub(super) seed: u64,
    /// How long all of it may take.
    pub(super) limit: Duration,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    end: End,
}

/// Which end of the application a connection is at.
enum End {
    /// A client's: with its request, until that is answered.
    Client { request: Option<usize>, is_connected: bool },
    /// A backend's, with when its last answer is due.
    Backend { number: usize, busy_until: Instant },
}

/// What is due at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Arrival,
    Answer { connection: u64, request: Option<usize>, call: usize, closes: bool },
}

impl Site {
    /// Backends on free ports of loopback.
    pub(super) fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let listen = |number: u64| -> Result<_> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, &listener, EventData::new_u64(number), EventFlags::IN)?;
            Ok(listener)
        };
        let listeners = [listen(0)?, listen(1)?];
        let events = Vec::with_capacity(EVENTS);
        Ok(Self { epoll, listeners, connections: HashMap::new(), idle: Vec::new(), next: BACKENDS, events })
    }

    /// Where the backends listen.
    pub(super) fn backends(&self) -> Result<[SocketAddr; 2]> {
        Ok([self.listeners[0].local_addr()?, self.listeners[1].local_addr()?])
    }

    /// Puts a load on an application, and waits for its answers.
    pub(super) fn run(&mut self, load: &Load) -> Result<Ran> {
        // A timer that comes 50 microseconds late, as is usual, would bring together what is not.
        let usual = rustix::thread::current_timer_slack()?;
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let ran = Run::new(self, load).until_answered();
        rustix::thread::set_current_timer_slack(NonZeroU64::new(usual))?;
        ran
    }

    /// Connections that a backend has.
    fn open(&self, backend: usize) -> usize {
        let is_its = |end: &End| matches!(end, End::Backend { number, .. } if *number == backend);
        self.connections.values().filter(|connection| is_its(&connection.end)).count()
    }

    fn add(&mut self, stream: TcpStream, end: End, interest: EventFlags) -> Result<u64> {
        let number = self.next;
        self.next += 1;
        epoll::add(&self.epoll, &stream, EventData::new_u64(number), interest)?;
        self.connections.insert(number, Connection { stream, received: Vec::new(), end });
        Ok(number)
    }

    fn wait(&mut self, patience: Duration) -> Result<Vec<Event>> {
        // epoll counts milliseconds where it must work on old kernels; poll counts nanoseconds.
        poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&Timespec::try_from(patience)?))?;
        self.events.clear();
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&Timespec::default()))?;
        Ok(self.events.clone())
    }
}

/// A load that runs.
struct Run<'a> {
    site: &'a mut Site,
    load: &'a Load,
    random: fastrand::Rng,
    /// For tokens and ids, which must not be the same in two runs: both could be seen by one agent.
    unique: fastrand::Rng,
    start: Instant,
    due: BinaryHeap<Reverse<(Instant, Due)>>,
    requests: Vec<Request>,
    by_token: HashMap<Token, usize>,
    in_flight: u32,
    is_ramp: bool,
    peak: [usize; 2],
    strange: Option<String>,
}

impl<'a> Run<'a> {
    fn new(site: &'a mut Site, load: &'a Load) -> Self {
        let peak = [site.open(0), site.open(1)];
        Self {
            site,
            load,
            random: fastrand::Rng::with_seed(load.seed),
            unique: fastrand::Rng::new(),
            start: Instant::now(),
            due: BinaryHeap::new(),
            requests: Vec::new(),
            by_token: HashMap::new(),
            in_flight: 0,
            is_ramp: load.plan.ramp > 0,
            peak,
            strange: None,
        }
    }

    fn until_answered(mut self) -> Result<Ran> {
        let end = self.start + self.load.limit;
        self.due.push(Reverse((self.start, Due::Arrival)));
        while self.in_flight > 0 || self.requests.len() < self.load.plan.requests as usize {
            let now = Instant::now();
            if now >= end {
                break;
            }
            while let Some(Reverse((time, due))) = self.due.peek().copied()
                && time <= now
            {
                self.due.pop();
                self.perform(due, now)?;
            }
            let next = self.due.peek().map_or(end, |Reverse((time, _))| (*time).min(end));
            for event in self.site.wait(next.saturating_duration_since(Instant::now()))? {
                let number = event.data.u64();
                if number < BACKENDS { self.accept(number)? } else { self.take(number)? }
            }
        }
        // What is still unanswered would come in the middle of the next load.
        let is_unanswered =
            |(_, connection): &(&u64, &Connection)| matches!(connection.end, End::Client { request: Some(_), .. });
        let unanswered: Vec<_> =
            self.site.connections.iter().filter(is_unanswered).map(|(number, _)| *number).collect();
        for number in unanswered {
            self.site.connections.remove(&number);
        }
        Ok(Ran { requests: self.requests, peak: self.peak, strange: self.strange })
    }

    fn perform(&mut self, due: Due, now: Instant) -> Result<()> {
        match due {
            Due::Arrival => {
                let plan = &self.load.plan;
                self.is_ramp &= self.in_flight < plan.ramp;
                if self.in_flight < plan.most {
                    self.arrive(now)?;
                }
                if self.requests.len() < plan.requests as usize {
                    let gap = plan.gap(&mut self.random, self.is_ramp);
                    self.due.push(Reverse((now + gap, Due::Arrival)));
                }
                Ok(())
            }
            Due::Answer { connection, request, call, closes } => {
                // The application may have given up waiting.
                if let Some(connection) = self.site.connections.get_mut(&connection) {
                    let _ = connection.stream.write_all(ANSWER);
                    if let Some(call) = request.and_then(|request| self.requests[request].calls.get_mut(call)) {
                        call.answered = Some(now);
                    }
                }
                if closes {
                    self.site.connections.remove(&connection);
                }
                Ok(())
            }
        }
    }

    /// A request comes to the application.
    fn arrive(&mut self, now: Instant) -> Result<()> {
        let token = Token(self.unique.u64(..));
        // Neither id may be zero.
        let trace = self.load.pass.then(|| (self.unique.u128(1..), self.unique.u64(1..)));
        let number = self.requests.len();
        let parent = trace.map(|(_, parent)| parent);
        self.requests.push(Request {
            token,
            parent,
            arrived: now,
            answered: None,
            fate: Fate::Unanswered,
            calls: Vec::new(),
        });
        self.by_token.insert(token, number);
        self.in_flight += 1;
        let text = head::request(token, trace);
        while let Some(idle) = self.site.idle.pop() {
            let Some(connection) = self.site.connections.get_mut(&idle) else { continue };
            if connection.stream.write_all(text.as_bytes()).is_ok() {
                connection.end = End::Client { request: Some(number), is_connected: true };
                return Ok(());
            }
            self.site.connections.remove(&idle);
        }
        let stream = connecting(self.load.server)?;
        let end = End::Client { request: Some(number), is_connected: false };
        let connection = self.site.add(stream, end, EventFlags::OUT)?;
        if let Some(connection) = self.site.connections.get_mut(&connection) {
            // Until it is connected, what will be sent waits here.
            connection.received = text.into_bytes();
        }
        Ok(())
    }

    fn accept(&mut self, number: u64) -> Result<()> {
        let backend = usize::try_from(number)?;
        loop {
            let stream = match self.site.listeners[backend].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("a backend cannot accept"),
            };
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            self.site.add(stream, End::Backend { number: backend, busy_until: self.start }, EventFlags::IN)?;
        }
        self.peak[backend] = self.peak[backend].max(self.site.open(backend));
        Ok(())
    }

    /// Takes what came on a connection.
    fn take(&mut self, number: u64) -> Result<()> {
        // One event may have ended a connection that another one is about.
        let Some(mut connection) = self.site.connections.remove(&number) else { return Ok(()) };
        if let End::Client { is_connected: is_connected @ false, .. } = &mut connection.end {
            *is_connected = true;
            let text = std::mem::take(&mut connection.received);
            if connection.stream.write_all(&text).is_err() {
                self.lost(&connection, "it cannot be connected to");
                return Ok(());
            }
            epoll::modify(&self.site.epoll, &connection.stream, EventData::new_u64(number), EventFlags::IN)?;
            self.site.connections.insert(number, connection);
            return Ok(());
        }
        let mut buffer = [0; READ_BYTES];
        let read = match connection.stream.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.site.connections.insert(number, connection);
                return Ok(());
            }
            Err(_) => 0,
        };
        if read == 0 {
            self.lost(&connection, "it closed the connection");
            return Ok(());
        }
        connection.received.extend_from_slice(&buffer[..read]);
        if self.understand(number, &mut connection) {
            self.site.connections.insert(number, connection);
        }
        Ok(())
    }

    /// Reads messages. Gives whether the connection goes on.
    fn understand(&mut self, number: u64, connection: &mut Connection) -> bool {
        loop {
            let received = std::mem::take(&mut connection.received);
            let message = match head::read(&received) {
                Read::Part => {
                    connection.received = received;
                    return true;
                }
                Read::Whole(message) => message,
                Read::Bad => {
                    self.lost(connection, "it sent what is no HTTP of the contract");
                    return false;
                }
            };
            let goes_on = match &mut connection.end {
                End::Client { request, .. } => {
                    let request = request.take();
                    self.answered(number, request, &message)
                }
                End::Backend { number: backend, busy_until } => {
                    *busy_until = self.called(number, *backend, *busy_until, &message);
                    true
                }
            };
            connection.received = received[message.bytes..].to_vec();
            if !goes_on || connection.received.is_empty() {
                return goes_on;
            }
        }
    }

    /// A client got an answer. Gives whether its connection stays open.
    fn answered(&mut self, connection: u64, request: Option<usize>, message: &Message<'_>) -> bool {
        let Some(request) = request else {
            self.strange.get_or_insert_with(|| format!("an answer to nothing: {}", message.line()));
            return false;
        };
        self.in_flight -= 1;
        let request = &mut self.requests[request];
        request.answered = Some(Instant::now());
        let is_good = message.line().split(' ').nth(1) == Some("200");
        request.fate = if is_good { Fate::Answered } else { Fate::Failed(message.line().to_owned()) };
        let stays = !message.closes();
        if stays {
            self.site.idle.push(connection);
        }
        stays
    }

    /// A backend was called. Gives when it will have answered.
    fn called(&mut self, connection: u64, backend: usize, busy_until: Instant, message: &Message<'_>) -> Instant {
        let now = Instant::now();
        let place = message.line().split(' ').nth(1).and_then(Place::read);
        let request = place.and_then(|place| self.by_token.get(&place.token).copied());
        let mut number = 0;
        match (request, place) {
            (Some(request), Some(place)) => {
                let calls = &mut self.requests[request].calls;
                number = calls.len();
                calls.push(Call::new(place, backend, now, message));
            }
            _ => {
                // Perhaps of a load that was ended.
                self.strange.get_or_insert_with(|| format!("a call of no request: {}", message.line()));
            }
        }
        // Answers keep the order of what was asked on a connection.
        let time = busy_until.max(now + self.load.plan.service(&mut self.random));
        let answer = Due::Answer { connection, request, call: number, closes: message.closes() };
        self.due.push(Reverse((time, answer)));
        time
    }

    /// A connection ended, with its request if it had one.
    fn lost(&mut self, connection: &Connection, why: &str) {
        if let End::Client { request: Some(request), .. } = connection.end {
            self.in_flight -= 1;
            self.requests[request].fate = Fate::Failed(why.to_owned());
        }
    }
}

/// A connection that is being made: an application that does not accept must not stop all others.
fn connecting(server: SocketAddr) -> Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error).with_context(|| format!("{server} cannot be reached")),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
#[path = "site_tests.rs"]
mod tests;
