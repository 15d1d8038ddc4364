//! HTTP/1 connections that stay open, with one request on its way at most.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// An answer that takes longer than this is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A request for the server's first page.
pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: wirespan-bench\r\nAccept: */*\r\n\r\n";

/// A connection that stays open, with at most one request on its way.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    waits: bool,
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

/// Reads one answer and gives its length with its head, bytes.
pub(super) fn read_answer(stream: &mut impl BufRead) -> Result<u64> {
    let mut length = None;
    let mut head = 0;
    let mut line = String::new();
    loop {
        line.clear();
        match stream.read_line(&mut line)? {
            0 => bail!("the server closed the connection"),
            read => head += read as u64,
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
    if read < length { bail!("the server closed the connection within an answer") } else { Ok(head + length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let mut stream = &b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nabcHTTP"[..];
        assert_eq!(read_answer(&mut stream).unwrap(), 41);
        assert_eq!(stream, b"HTTP");
        read_answer(&mut &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"[..]).unwrap_err();
    }
}
