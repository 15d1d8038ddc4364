//! Messages of one size that go to and fro over one connection on loopback, so that every packet of a direction is like the
//! one before.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::sockopt::set_tcp_quickack;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1: a request with a body, and a response with one.
    Http,
    /// Nothing that anybody knows.
    Unknown,
}

/// Both ends of a connection.
pub(super) struct Exchange {
    client: TcpStream,
    request: Vec<u8>,
    /// Every message is acknowledged by a packet of its own.
    acknowledges: bool,
}

impl Exchange {
    /// Connects to a server of its own that answers each message of so many bytes with one of as many.
    pub(super) fn open(listener: &TcpListener, protocol: Protocol, bytes: usize, acknowledges: bool) -> Result<Self> {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let (request, response) = match protocol {
            Protocol::Http => (
                message("POST / HTTP/1.1\r\nHost: bench\r\n", bytes).context("too small a request")?,
                message("HTTP/1.1 200 OK\r\n", bytes).context("too small a response")?,
            ),
            Protocol::Unknown => (vec![0xa5; bytes], vec![0x5a; bytes]),
        };
        // It ends with the connection.
        thread::spawn(move || serve(server, &response, acknowledges));
        Ok(Self { client, request, acknowledges })
    }

    /// Sends and receives for so long. How often.
    pub(super) fn run(&mut self, time: Duration) -> Result<u64> {
        let start = Instant::now();
        let mut answer = vec![0; self.request.len()];
        let mut rounds = 0;
        while start.elapsed() < time {
            self.client.write_all(&self.request).context("a message cannot be sent")?;
            receive(&mut self.client, &mut answer, self.acknowledges).context("an answer did not come")?;
            rounds += 1;
        }
        Ok(rounds)
    }
}

/// A listener on loopback.
pub(super) fn listener() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn serve(mut stream: TcpStream, response: &[u8], acknowledges: bool) -> Result<()> {
    let mut request = vec![0; response.len()];
    loop {
        receive(&mut stream, &mut request, acknowledges)?;
        stream.write_all(response)?;
    }
}

fn receive(stream: &mut TcpStream, message: &mut [u8], acknowledges: bool) -> Result<()> {
    if acknowledges {
        // The kernel goes back to waiting for an answer to send along with; so each time.
        set_tcp_quickack(&*stream, true)?;
    }
    Ok(stream.read_exact(message)?)
}

/// A message of exactly so many bytes that begins with this and has a body. `None` if its head is longer.
fn message(begin: &str, bytes: usize) -> Option<Vec<u8>> {
    let head = |body: usize| format!("{begin}Content-Length: {body}\r\n\r\n");
    let shortest = bytes.checked_sub(head(bytes).len())?;
    // The length of the head depends on how many digits the body's length has.
    let body = (shortest..bytes).find(|&body| head(body).len() + body >= bytes)?;
    let mut message = head(body).into_bytes();
    message.resize(message.len() + body, b'x');
    (message.len() == bytes).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_it_was_asked_to_be() {
        for bytes in [256, 512, 1024, 16_384, 65_000] {
            let message = message("HTTP/1.1 200 OK\r\n", bytes).unwrap();
            let text = String::from_utf8(message).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(text.len(), bytes);
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        }
        assert_eq!(message("HTTP/1.1 200 OK\r\n", 20), None);
    }

    #[test]
    fn messages_go_to_and_fro() {
        let (listener, _) = listener().unwrap();
        for (protocol, acknowledges) in [(Protocol::Http, false), (Protocol::Unknown, true)] {
            let mut exchange = Exchange::open(&listener, protocol, 256, acknowledges).unwrap();
            assert!(exchange.run(Duration::from_millis(20)).unwrap() > 0);
        }
    }
}
