//! A receiver for OTLP over HTTP that takes everything and looks at nothing, so that an agent under measurement exports
//! as it would, at the lowest cost to the machine it shares.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, bail};

/// An empty `ExportTraceServiceResponse`: everything was accepted.
const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

/// A receiver on loopback. It runs until the process ends.
pub(super) struct Sink {
    address: SocketAddr,
}

impl Sink {
    /// Starts it.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The agent sees a refused export if this fails, counts it, and tries again.
                thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { address })
    }

    /// Environment of an agent that exports to it.
    pub(super) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.address)),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ]
    }
}

fn serve(stream: TcpStream) -> Result<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    while take_request(&mut requests)? {
        answers.write_all(ACCEPTED)?;
    }
    Ok(())
}

/// Reads a request with its body; `false` at the end of the connection.
fn take_request(stream: &mut impl BufRead) -> Result<bool> {
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
        Some(length) => skip(stream, length)?,
        None => skip_chunks(stream)?,
    }
    Ok(true)
}

fn skip_chunks(stream: &mut impl BufRead) -> Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).with_context(|| format!("`{size}` is no size of a chunk"))?;
        skip(stream, size + 2)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn skip(stream: &mut impl Read, length: u64) -> Result<()> {
    let read = std::io::copy(&mut stream.take(length), &mut std::io::sink())?;
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
        assert!(take_request(&mut stream).unwrap());
        assert!(take_request(&mut stream).unwrap());
        assert!(!take_request(&mut stream).unwrap());
    }
}
