//! A client that sends at given times whatever the server does (open loop), on connections that stay open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// An answer that takes longer than this is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A sender wakes this often and sends all that is due. Sleeping for less costs more processor time than sending.
const BEAT: Duration = Duration::from_millis(1);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: wirespan-bench\r\nAccept: */*\r\n\r\n";

/// A connection that stays open, with at most one request on its way.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    waits: bool,
}

/// What became of a paced load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Paced {
    /// Requests sent and answered.
    pub(super) requests: u64,
    /// Seconds from the first to the last.
    pub(super) seconds: f64,
}

impl Connection {
    /// Connects.
    pub(super) fn open(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).with_context(|| format!("{server} cannot be reached"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream: BufReader::new(stream), waits: false })
    }

    /// Sends a request, after the answer to the one before has come.
    pub(super) fn send(&mut self) -> Result<()> {
        self.settle()?;
        self.stream.get_mut().write_all(REQUEST).context("a request cannot be sent")?;
        self.waits = true;
        Ok(())
    }

    /// Waits for the answer that is owed, if any.
    pub(super) fn settle(&mut self) -> Result<()> {
        if std::mem::take(&mut self.waits) {
            read_answer(&mut self.stream).context("an answer did not come")?;
        }
        Ok(())
    }
}

/// Sends so many requests per second for so long, spread over the connections, each when it is due.
pub(super) fn paced(server: SocketAddr, connections: usize, per_second: u64, time: Duration) -> Result<Paced> {
    let mut open = (0..connections).map(|_| Connection::open(server)).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let mut requests = 0;
    while start.elapsed() < time {
        let due = due(start.elapsed(), per_second);
        while requests < due {
            let next = usize::try_from(requests).context("a count")? % connections;
            open[next].send()?;
            requests += 1;
        }
        thread::sleep(BEAT);
    }
    open.iter_mut().try_for_each(Connection::settle)?;
    Ok(Paced { requests, seconds: start.elapsed().as_secs_f64() })
}

/// Sends this many requests over these many connections as fast as each is answered.
pub(super) fn unpaced(server: SocketAddr, connections: usize, each: usize) -> Result<()> {
    let open = (0..connections).map(|_| Connection::open(server)).collect::<Result<Vec<_>>>()?;
    let threads: Vec<_> =
        open.into_iter().map(|connection| thread::spawn(move || send_all(connection, each))).collect();
    threads.into_iter().try_for_each(|thread| match thread.join() {
        Ok(sent) => sent,
        Err(_) => bail!("a sender panicked"),
    })
}

fn send_all(mut connection: Connection, requests: usize) -> Result<()> {
    (0..requests).try_for_each(|_| connection.send())?;
    connection.settle()
}

/// How many requests should have been sent by now.
fn due(elapsed: Duration, per_second: u64) -> u64 {
    u64::try_from(elapsed.as_nanos() * u128::from(per_second) / 1_000_000_000).unwrap_or(u64::MAX)
}

fn read_answer(stream: &mut impl BufRead) -> Result<()> {
    let mut length = None;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<u64>()?);
        }
    }
    let length = length.context("an answer without Content-Length")?;
    let read = std::io::copy(&mut stream.take(length), &mut std::io::sink())?;
    if read < length { bail!("the server closed the connection within an answer") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fall_due_evenly() {
        assert_eq!(due(Duration::from_millis(1), 10_000), 10);
        assert_eq!(due(Duration::from_secs(10), 10_000), 100_000);
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let mut stream = &b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nabcHTTP"[..];
        read_answer(&mut stream).unwrap();
        assert_eq!(stream, b"HTTP");
        read_answer(&mut &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"[..]).unwrap_err();
    }
}
