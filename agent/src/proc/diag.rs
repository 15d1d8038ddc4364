//! TCP sockets of one network namespace, as the kernel lists them: sock_diag(7).

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_LISTEN};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use wirespan_common::record::Endpoint;

/// The kernel never fills more than this at once for a dump (`NLMSG_GOODSIZE` and its successors, af_netlink.c).
const DATAGRAM_BYTES: usize = 32 * 1024;
/// `INET_DIAG_SKV6ONLY` of `linux/inet_diag.h`: one byte, present for listening IPv6 sockets.
const INET_DIAG_SKV6ONLY: u16 = 11;

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The cookie by which the kernel programs know it too.
    pub cookie: u64,
    /// The number that `/proc/PID/fd` shows; 0 if no process holds it.
    pub inode: u64,
    /// This end.
    pub local: Endpoint,
    /// The other end; all zero for a listening socket.
    pub remote: Endpoint,
    /// Whether it listens.
    pub listens: bool,
    /// Whether it listens for IPv6 alone, although on every address.
    pub v6_only: bool,
}

/// Lists the listening and the established sockets of the calling thread's network namespace, half-closed ones too.
///
/// # Errors
///
/// If the kernel has no sock_diag, or does not let us use it.
pub fn tcp_sockets() -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    // An IPv6 socket that talks IPv4 (v4-mapped) is listed as IPv6.
    list(AF_INET, SocketId::new_v4(), &mut entries)?;
    match list(AF_INET6, SocketId::new_v6(), &mut entries) {
        // A kernel without IPv6.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        other => other?,
    }
    Ok(entries)
}

fn list(family: u8, socket_id: SocketId, entries: &mut Vec<Entry>) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::ESTABLISHED
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSE_WAIT
            | StateFlags::LISTEN,
        socket_id,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut datagram = vec![0; DATAGRAM_BYTES];
    loop {
        let length = match socket.recv(&mut &mut datagram[..], 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if take(&datagram[..length.min(DATAGRAM_BYTES)], entries)? == Progress::Done {
            return Ok(());
        }
    }
}

#[derive(PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

/// Reads the messages of one datagram.
fn take(mut datagram: &[u8], entries: &mut Vec<Entry>) -> io::Result<Progress> {
    while !datagram.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(datagram).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => entries.push(entry(&response)),
            NetlinkPayload::Done(done) if done.code < 0 => return Err(io::Error::from_raw_os_error(-done.code)),
            NetlinkPayload::Done(_) => return Ok(Progress::Done),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
        // Messages begin at multiples of four bytes.
        let length = (message.header.length as usize).next_multiple_of(4).max(4);
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(Progress::More)
}

fn entry(response: &InetResponse) -> Entry {
    let id = &response.header.socket_id;
    let v6_only = response.nlas.iter().any(|nla| matches!(nla, Nla::Other(other) if is_set(other, INET_DIAG_SKV6ONLY)));
    Entry {
        cookie: cookie(id.cookie),
        inode: u64::from(response.header.inode),
        local: endpoint(id.source_address, id.source_port),
        remote: endpoint(id.destination_address, id.destination_port),
        listens: response.header.state == TCP_LISTEN,
        v6_only,
    }
}

fn is_set(nla: &netlink_packet_core::DefaultNla, kind: u16) -> bool {
    use netlink_packet_core::{Emitable, Nla};
    let mut value = vec![0; nla.value_len()];
    if nla.kind() != kind || nla.buffer_len() == 0 {
        return false;
    }
    nla.emit_value(&mut value);
    value.first().is_some_and(|&byte| byte != 0)
}

/// The kernel shows the cookie as two words in the machine's byte order, the low one first (sock_diag_save_cookie).
fn cookie(bytes: [u8; 8]) -> u64 {
    let [a, b, c, d, e, f, g, h] = bytes;
    u64::from(u32::from_ne_bytes([a, b, c, d])) | u64::from(u32::from_ne_bytes([e, f, g, h])) << 32
}

fn endpoint(address: IpAddr, port: u16) -> Endpoint {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    Endpoint { addr: address.octets(), port, pad: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_word_of_a_cookie_comes_first() {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&0x89ab_cdef_u32.to_ne_bytes());
        bytes[4..].copy_from_slice(&0x0123_4567_u32.to_ne_bytes());
        assert_eq!(cookie(bytes), 0x0123_4567_89ab_cdef);
    }

    #[test]
    fn what_is_no_message_is_an_error_and_no_endless_loop() {
        for datagram in [&[0_u8; 3][..], &[0; 16], &[0xff; 64]] {
            let mut entries = Vec::new();
            let _ = take(datagram, &mut entries);
            assert_eq!(entries, []);
        }
    }
}
