//! A client that sends at given times whatever the server does (open loop), on connections that stay open, and takes the
//! time of each answer from when its request was due: what waits because the machine is busy counts as waiting.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::bench::client::{self, read_answer};
use crate::bench::figure::as_f64;
use crate::bench::statistics::quantile;

/// An answer that takes longer than this is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Events taken at once.
const EVENTS: usize = 128;

/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// A load to be put on a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    /// Where it listens.
    pub(super) server: SocketAddr,
    /// What is asked, each time.
    pub(super) request: &'a [u8],
    /// How an answer is told apart.
    pub(super) answer: Answer,
    /// Connections that the requests are spread over.
    pub(super) connections: usize,
    /// Requests per second.
    pub(super) per_second: u64,
    /// For how long.
    pub(super) time: Duration,
}

/// How an answer is told apart. All answers of a load are equally long, so that counting bytes tells where each ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// HTTP/1 with a `Content-Length`: the first one says how long they are.
    Http,
    /// So many bytes.
    Bytes(u64),
}

/// What became of a paced load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Paced {
    /// Requests sent and answered.
    pub(super) requests: u64,
    /// Seconds from the first to the last.
    pub(super) seconds: f64,
    /// Microseconds in which half of the answers came.
    pub(super) p50_us: f64,
    /// In which 99 of 100 came.
    pub(super) p99_us: f64,
    /// In which 999 of 1 000 came.
    pub(super) p999_us: f64,
}

impl Load<'_> {
    /// HTTP requests for the server's first page.
    pub(super) fn http(server: SocketAddr, connections: usize, per_second: u64, time: Duration) -> Self {
        Load { server, request: client::REQUEST, answer: Answer::Http, connections, per_second, time }
    }

    /// Puts it on the server.
    pub(super) fn run(&self) -> Result<Paced> {
        // A timer that comes 50 microseconds late, as is usual, would be most of what is measured.
        let usual = rustix::thread::current_timer_slack()?;
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let done = self.send_all();
        rustix::thread::set_current_timer_slack(NonZeroU64::new(usual))?;
        done
    }

    fn send_all(&self) -> Result<Paced> {
        let answer_bytes = self.answer_bytes()?;
        let mut clients = Clients::connect(self.server, self.connections)?;
        let total = self.per_second * self.time.as_secs();
        let mut latencies = Vec::with_capacity(usize::try_from(total)?);
        let start = Instant::now();
        let mut sent = 0;
        while (latencies.len() as u64) < total {
            let now = start.elapsed();
            while sent < total && due(sent, self.per_second) <= now && clients.send(self.request, sent)? {
                sent += 1;
            }
            let patience = if sent < total && clients.has_idle() {
                due(sent, self.per_second).saturating_sub(start.elapsed())
            } else {
                ANSWER_LIMIT
            };
            let something_came = clients.receive(patience, answer_bytes, |request| {
                let waited = start.elapsed().saturating_sub(due(request, self.per_second));
                latencies.push(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
            })?;
            if !something_came && patience == ANSWER_LIMIT {
                bail!("{} did not answer for {} s", self.server, ANSWER_LIMIT.as_secs());
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let us = |thousandths| quantile(&latencies, thousandths).map_or(f64::NAN, |ns| as_f64(ns) / 1e3);
        Ok(Paced { requests: total, seconds, p50_us: us(500), p99_us: us(990), p999_us: us(999) })
    }

    fn answer_bytes(&self) -> Result<u64> {
        match self.answer {
            Answer::Bytes(bytes) => Ok(bytes),
            Answer::Http => {
                let mut stream = TcpStream::connect(self.server)?;
                stream.set_read_timeout(Some(ANSWER_LIMIT))?;
                stream.write_all(self.request)?;
                read_answer(&mut BufReader::new(stream)).context("the first answer did not come")
            }
        }
    }
}

/// Connections, each with at most one request on its way.
struct Clients {
    epoll: rustix::fd::OwnedFd,
    connections: Vec<Client>,
    idle: VecDeque<usize>,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    /// The request on its way, by its number.
    request: u64,
    received: u64,
}

impl Clients {
    fn connect(server: SocketAddr, connections: usize) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let connections = (0..connections).map(|number| {
            let stream = TcpStream::connect(server).with_context(|| format!("{server} cannot be reached"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN)?;
            Ok(Client { stream, request: 0, received: 0 })
        });
        let connections = connections.collect::<Result<Vec<_>>>()?;
        let idle = (0..connections.len()).collect();
        Ok(Self { epoll, connections, idle, events: Vec::with_capacity(EVENTS), buffer: vec![0; READ_BYTES] })
    }

    fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Sends a request if a connection is free.
    fn send(&mut self, request: &[u8], number: u64) -> Result<bool> {
        let Some(at) = self.idle.pop_front() else { return Ok(false) };
        let client = &mut self.connections[at];
        // So little always fits into the buffer of a socket that waits for nothing.
        client.stream.write_all(request).context("a request cannot be sent")?;
        (client.request, client.received) = (number, 0);
        Ok(true)
    }

    /// Takes what comes within this time. Gives whether anything did.
    fn receive(&mut self, patience: Duration, answer_bytes: u64, mut completed: impl FnMut(u64)) -> Result<bool> {
        // epoll counts milliseconds where it must work on old kernels; poll counts nanoseconds.
        poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&Timespec::try_from(patience)?))?;
        self.events.clear();
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&Timespec::default()))?;
        for event in &self.events {
            let at = usize::try_from(event.data.u64())?;
            let client = &mut self.connections[at];
            match client.stream.read(&mut self.buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(read) => client.received += read as u64,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("an answer cannot be read"),
            }
            if client.received > answer_bytes {
                bail!("an answer of more than {answer_bytes} bytes: they are not equally long");
            }
            if client.received == answer_bytes {
                completed(client.request);
                self.idle.push_back(at);
            }
        }
        Ok(!self.events.is_empty())
    }
}

/// When a request is due, from the start.
fn due(number: u64, per_second: u64) -> Duration {
    Duration::from_nanos(u64::try_from(u128::from(number) * 1_000_000_000 / u128::from(per_second)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    #[test]
    fn requests_fall_due_evenly() {
        assert_eq!(due(10, 10_000), Duration::from_millis(1));
        assert_eq!(due(0, 7), Duration::ZERO);
    }

    #[test]
    fn every_request_is_answered_once_whatever_the_pieces() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let mut stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || {
                    let mut request = [0; 4];
                    while stream.read_exact(&mut request).is_ok() {
                        stream.write_all(b"an").unwrap();
                        stream.write_all(b"swer").unwrap();
                    }
                });
            }
        });
        let load = Load {
            server,
            request: b"ask!",
            answer: Answer::Bytes(6),
            connections: 2,
            per_second: 1_000,
            time: Duration::from_secs(1),
        };
        let paced = load.run().unwrap();
        serving.join().unwrap();
        assert_eq!(paced.requests, 1_000);
        assert!(paced.p50_us <= paced.p99_us && paced.p99_us <= paced.p999_us, "{paced:?}");
        assert!(paced.seconds > 0.9, "{paced:?}");
    }
}
