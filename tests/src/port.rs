//! Ports that no other connection of the tests ever had.
//!
//! A port that the kernel chooses may have been chosen before, and the spans of two tests then look alike. These are below
//! the range that it chooses from, and each is given out once.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

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
    // Test programs that run one after the other begin at different places.
    let begin = u16::try_from(process::id() % 100).unwrap_or(0) * (RANGE / 100);
    for _ in 0..RANGE {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < RANGE, "all ports were given out");
        // Somebody else on this machine may have it.
        if let Ok(listener) = TcpListener::bind((address, FIRST + (begin + given) % RANGE)) {
            return listener;
        }
    }
    panic!("no port of {address} can be listened on");
}

/// A port that nobody listens on. For servers that cannot choose one themselves, and for connections to nobody.
#[must_use]
#[track_caller]
pub fn unused() -> u16 {
    listen(IpAddr::V4(Ipv4Addr::LOCALHOST)).local_addr().expect("a listener has an address").port()
}
