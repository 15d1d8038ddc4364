//! Ports that no other connection of the tests ever had.
//!
//! A port that the kernel chooses may have been chosen before, and the spans of two tests then look alike. These are below
//! the range that it chooses from, and each is given out once.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// The first port that is given out; `net.ipv4.ip_local_port_range` begins at 32 768.
const FIRST: u16 = 10_000;
/// How many there are.
const RANGE: u16 = 20_000;

/// How many were given out.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A listener on a port of its own.
#[must_use]
#[track_caller]
pub fn listen(address: IpAddr) -> TcpListener {
    first(|port| TcpListener::bind((address, port)).ok())
}

/// A port that nobody listens on. For servers that cannot choose one themselves, and for connections to nobody.
#[must_use]
#[track_caller]
pub fn unused() -> u16 {
    first(|port| {
        // Nor do we, not even for a moment: a program that another thread is just starting would go on with it.
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        rustix::net::bind(socket.expect("there are sockets left"), &address).ok().map(|()| port)
    })
}

/// What becomes of the first port that is not somebody else's on this machine.
#[track_caller]
fn first<T>(of: impl Fn(u16) -> Option<T>) -> T {
    // Test programs that run one after the other begin at different places.
    let begin = u16::try_from(process::id() % 100).unwrap_or(0) * (RANGE / 100);
    for _ in 0..RANGE {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < RANGE, "all ports were given out");
        if let Some(made) = of(FIRST + (begin + given) % RANGE) {
            return made;
        }
    }
    panic!("no port can be had");
}
