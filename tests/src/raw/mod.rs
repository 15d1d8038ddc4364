//! Both ends of a connection in the test's own hand: what is sent when, to the byte.
//!
//! The two ends take turns: what one end sends, the other end has read when the call returns. So a test needs no
//! threads and no pauses to decide the order of things on the wire.

mod peer;

pub use peer::{LISTEN_BACKLOG, bind, connect_late_ack, connect_later, fast_open, reset};

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::{PATIENCE, port};

/// More than this is written by a thread of its own: the sockets' buffers may not take it.
const SURELY_BUFFERED_BYTES: usize = 16 * 1024;

/// A connection whose both ends the test plays itself.
#[derive(Debug)]
pub struct Wire {
    /// The end that opened it.
    pub client: TcpStream,
    /// The end that accepted it.
    pub server: TcpStream,
    /// The server's port: nobody else has it.
    pub port: u16,
    /// The client's port.
    pub client_port: u16,
}

impl Wire {
    /// A connection on IPv4's loopback.
    #[must_use]
    #[track_caller]
    pub fn open() -> Self {
        Self::to(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Makes one exchange, answered with `told`, and closes. The server's port.
    #[track_caller]
    pub fn told(path: &str) -> u16 {
        let mut wire = Self::open();
        let port = wire.port;
        wire.exchange(get(path), ok("told"));
        wire.close();
        port
    }

    /// A connection to a local address.
    #[must_use]
    #[track_caller]
    pub fn to(address: IpAddr) -> Self {
        let listener = port::listen(address);
        let address = listener.local_addr().expect("a listener has an address");
        Self::through(&listener, || TcpStream::connect(address))
    }

    /// A connection to a local address, and its listener, which goes on listening.
    #[must_use]
    #[track_caller]
    pub fn with_listener(address: IpAddr) -> (Self, TcpListener) {
        let listener = port::listen(address);
        let address = listener.local_addr().expect("a listener has an address");
        (Self::through(&listener, || TcpStream::connect(address)), listener)
    }

    /// A connection that `connect` opens to a listener.
    #[track_caller]
    pub fn through(listener: &TcpListener, connect: impl FnOnce() -> std::io::Result<TcpStream>) -> Self {
        let client = connect().unwrap_or_else(|error| panic!("connecting to {listener:?}: {error}"));
        let (server, _) = listener.accept().unwrap_or_else(|error| panic!("accepting on {listener:?}: {error}"));
        Self::of(client, server)
    }

    /// The two ends of a connection.
    #[must_use]
    #[track_caller]
    pub fn of(client: TcpStream, server: TcpStream) -> Self {
        for end in [&client, &server] {
            // Each write is a segment of its own, and a test that waits for bytes in vain fails.
            end.set_nodelay(true).expect("TCP_NODELAY");
            end.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
            end.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        }
        let port = server.local_addr().expect("it is connected").port();
        let client_port = client.local_addr().map_or(0, |address| address.port());
        Self { client, server, port, client_port }
    }

    /// The client sends, the server reads it all.
    #[track_caller]
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) {
        transfer(&mut self.client, &mut self.server, bytes.as_ref());
    }

    /// The server sends, the client reads it all.
    #[track_caller]
    pub fn answer(&mut self, bytes: impl AsRef<[u8]>) {
        transfer(&mut self.server, &mut self.client, bytes.as_ref());
    }

    /// A request and its response.
    #[track_caller]
    pub fn exchange(&mut self, request: impl AsRef<[u8]>, response: impl AsRef<[u8]>) {
        self.ask(request);
        self.answer(response);
    }

    /// The client closes first, then the server.
    #[track_caller]
    pub fn close(self) {
        close_in_order(self.client, self.server);
    }

    /// The server closes first, then the client.
    #[track_caller]
    pub fn close_by_server(self) {
        close_in_order(self.server, self.client);
    }

    /// The client's address.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client.local_addr().expect("it is connected")
    }
}

/// A GET without a body, `Host` being what the tests expect as `server.address`.
#[must_use]
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: wire.test\r\nUser-Agent: raw/1\r\n\r\n")
}

/// A 200 with a body.
#[must_use]
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[track_caller]
fn transfer(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    if bytes.len() <= SURELY_BUFFERED_BYTES {
        from.write_all(bytes).unwrap_or_else(|error| panic!("sending {} bytes: {error}", bytes.len()));
        to.read_exact(&mut got).unwrap_or_else(|error| panic!("reading {} bytes: {error}", bytes.len()));
    } else {
        thread::scope(|scope| {
            let writer = scope.spawn(|| from.write_all(bytes));
            to.read_exact(&mut got).unwrap_or_else(|error| panic!("reading {} bytes: {error}", bytes.len()));
            writer.join().expect("the writing thread").expect("sending");
        });
    }
    assert!(got == bytes, "the bytes arrived changed");
}

#[track_caller]
fn close_in_order(mut first: TcpStream, mut second: TcpStream) {
    let mut rest = Vec::new();
    first.shutdown(Shutdown::Write).expect("the first FIN");
    second.read_to_end(&mut rest).expect("the second end sees the first FIN");
    second.shutdown(Shutdown::Write).expect("the second FIN");
    first.read_to_end(&mut rest).expect("the first end sees the second FIN");
    assert!(rest.is_empty(), "nobody read {} bytes before the end", rest.len());
}
