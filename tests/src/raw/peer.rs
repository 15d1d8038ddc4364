//! Single ends with unusual wishes: data in the SYN, a late ACK, a reset instead of a FIN.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind as bind_to, connect, ipproto, listen, sendto,
};
use rustix::net::{socket_with, sockopt};

/// Connections that a listener of the tests lets wait.
pub const LISTEN_BACKLOG: i32 = 1024;

/// `MSG_FASTOPEN` of `linux/socket.h`.
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// Closes the connection with a RST: what is unsent is thrown away.
pub fn reset(end: TcpStream) {
    sockopt::set_socket_linger(&end, Some(Duration::ZERO)).expect("SO_LINGER");
    drop(end);
}

/// Listens with a long backlog; an IPv6 address that is unspecified takes IPv4 too.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = tcp(address)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind_to(&socket, &address)?;
    listen(&socket, LISTEN_BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Connects; the first payload rides on the ACK that ends the handshake, because that ACK is held back.
pub fn connect_late_ack(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = tcp(address)?;
    sockopt::set_tcp_quickack(&socket, false)?;
    connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

/// Begins to connect and does not wait for the end of it.
pub fn connect_later(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = tcp(address)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// Connects with payload in the SYN; the network namespace must allow it (`net.ipv4.tcp_fastopen`).
pub fn fast_open(address: SocketAddr, first: &[u8]) -> io::Result<TcpStream> {
    let socket = tcp(address)?;
    let sent = sendto(&socket, first, SendFlags::from_bits_retain(MSG_FASTOPEN), &address)?;
    if sent != first.len() {
        return Err(io::Error::other(format!("only {sent} of {} bytes were taken", first.len())));
    }
    Ok(TcpStream::from(socket))
}

fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?)
}
