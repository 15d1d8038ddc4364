//! A receiver for OTLP over HTTP that takes everything and, unless it is to count, looks at nothing, so that an agent under
//! measurement exports as it would, at the lowest cost to the machine it shares.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::bench::spans;

/// An empty `ExportTraceServiceResponse`: everything was accepted.
const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

/// A receiver on loopback. It runs until the process ends.
pub(super) struct Sink {
    address: SocketAddr,
    /// Spans of requests that came into or left a process; only of a sink that counts.
    boundary_spans: Arc<AtomicU64>,
}

impl Sink {
    /// Starts one that looks at nothing.
    pub(super) fn start() -> Result<Self> {
        Self::start_with(|_| {})
    }

    /// Starts one that counts spans.
    pub(super) fn counting() -> Result<Self> {
        let spans = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&spans);
        let sink = Self::start_with(move |body| {
            counted.fetch_add(spans::at_boundary(body), Ordering::Relaxed);
        })?;
        Ok(Self { boundary_spans: spans, ..sink })
    }

    /// Spans of requests that came into or left a process, so far.
    pub(super) fn boundary_spans(&self) -> u64 {
        self.boundary_spans.load(Ordering::Relaxed)
    }

    fn start_with(look: impl Fn(&[u8]) + Clone + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The agent sees a refused export if this fails, counts it, and tries again.
                let look = look.clone();
                thread::spawn(move || serve(stream, look));
            }
        });
        Ok(Self { address, boundary_spans: Arc::default() })
    }

    /// Environment of an agent that exports to it.
    pub(super) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.address)),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ]
    }
}

fn serve(stream: TcpStream, look: impl Fn(&[u8])) -> Result<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    let mut body = Vec::new();
    while take_request(&mut requests, &mut body)? {
        look(&body);
        answers.write_all(ACCEPTED)?;
    }
    Ok(())
}

/// Reads a request with its body; `false` at the end of the connection.
fn take_request(stream: &mut impl BufRead, body: &mut Vec<u8>) -> Result<bool> {
    body.clear();
    let mut length = Some(0);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let text = line.trim_end().to_ascii_lowercase();
        match text.split_once(':') {
            None if text.is_empty() => break,
            Some(("content-length", value)) => length = Some(value.trim().parse::<u64>()?),
            Some(("transfer-encoding", _)) => length = None,
            _ => {}
        }
    }
    match length {
        Some(length) => read(stream, length, body)?,
        None => read_chunks(stream, body)?,
    }
    Ok(true)
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).with_context(|| format!("`{size}` is no size of a chunk"))?;
        read(stream, size, body)?;
        stream.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn read(stream: &mut impl Read, length: u64, body: &mut Vec<u8>) -> Result<()> {
    let read = stream.take(length).read_to_end(body)? as u64;
    if read < length { bail!("the connection ended within a body") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_one_after_the_other_however_their_bodies_are_framed() {
        let text = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\nabc\r\n0\r\n\r\n";
        let mut stream = text.as_bytes();
        let mut body = Vec::new();
        for _ in 0..2 {
            assert!(take_request(&mut stream, &mut body).unwrap());
            assert_eq!(body, b"abc");
        }
        assert!(!take_request(&mut stream, &mut body).unwrap());
    }
}
