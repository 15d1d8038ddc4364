//! What the IP and TCP headers of a packet say.

use aya_ebpf::bindings::__sk_buff;
use wirespan_common::{
    count::Counter,
    record::{Endpoint, Segment},
};

use crate::{kernel, maps::count};

/// The sender has no more to say.
pub const FIN: u8 = 0x01;
/// It begins.
pub const SYN: u8 = 0x02;
/// What came so far is to be read.
pub const PSH: u8 = 0x08;

const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES: usize = 20;

/// An address and a port as they will stand in a record, in words: moving them byte by byte would cost more than
/// everything else that is done for a packet.
#[derive(Clone, Copy)]
pub struct End {
    words: [u32; 4],
    port: u16,
}

/// What the headers say.
pub struct Packet {
    pub local: End,
    pub remote: End,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// Where the payload begins, bytes from the IP header.
    pub payload_at: u32,
    /// Payload, bytes.
    pub len: u32,
}

/// Reads the IP and TCP headers. `None` for what is not TCP over IP, or cut short.
#[inline(always)]
pub fn headers<const EGRESS: bool>(skb: *mut __sk_buff) -> Option<Packet> {
    // SAFETY: the context of a packet program.
    let (data, end, total) = unsafe { ((*skb).data as usize, (*skb).data_end as usize, (*skb).len) };
    if data + IPV4_BYTES > end {
        count(Counter::BadPacket);
        return None;
    }
    // SAFETY: every read below is of bytes that were just compared with the end of the packet's linear part, which holds
    // the headers of every packet that reaches a socket. Packet programs may read words at any address.
    unsafe {
        let (source, destination, ip_bytes);
        if *(data as *const u8) >> 4 == 4 {
            ip_bytes = usize::from(*(data as *const u8) & 0xf) * 4;
            source = mapped(*((data + 12) as *const u32));
            destination = mapped(*((data + 16) as *const u32));
        } else {
            if data + IPV6_BYTES > end {
                count(Counter::BadPacket);
                return None;
            }
            // Extension headers before TCP are not followed: nobody sends them on connections of this host.
            if u16::from(*((data + 6) as *const u8)) != kernel::TCP {
                count(Counter::BadPacket);
                return None;
            }
            ip_bytes = IPV6_BYTES;
            source = *((data + 8) as *const [u32; 4]);
            destination = *((data + 24) as *const [u32; 4]);
        }
        let tcp = data + ip_bytes;
        if tcp + TCP_BYTES > end {
            count(Counter::BadPacket);
            return None;
        }
        let source = End { words: source, port: u16::from_be(*(tcp as *const u16)) };
        let destination = End { words: destination, port: u16::from_be(*((tcp + 2) as *const u16)) };
        let tcp_bytes = u32::from(*((tcp + 12) as *const u8) >> 4) * 4;
        let payload_at = ip_bytes as u32 + tcp_bytes;
        let (local, remote) = if EGRESS { (source, destination) } else { (destination, source) };
        Some(Packet {
            local,
            remote,
            seq: u32::from_be(*((tcp + 4) as *const u32)),
            ack: u32::from_be(*((tcp + 8) as *const u32)),
            flags: *((tcp + 13) as *const u8),
            payload_at,
            len: total.saturating_sub(payload_at),
        })
    }
}

/// An IPv4 address, in network order, as the words of an IPv6 address.
#[inline(always)]
fn mapped(v4: u32) -> [u32; 4] {
    [0, 0, 0xffff_u32.to_be(), v4]
}

impl End {
    /// Writes it where an [`Endpoint`] is in a record.
    ///
    /// # Safety
    /// `out` must be ours to write to, and aligned to four bytes.
    #[inline(always)]
    pub unsafe fn write(self, out: *mut Endpoint) {
        let words = out.cast::<u32>();
        // SAFETY: an endpoint is five words: four of address, one of port and padding.
        unsafe {
            words.write(self.words[0]);
            words.add(1).write(self.words[1]);
            words.add(2).write(self.words[2]);
            words.add(3).write(self.words[3]);
            words.add(4).cast::<[u16; 2]>().write([self.port, 0]);
        }
    }
}

// Both ends are aligned to words in a segment record.
const _: () =
    assert!(core::mem::offset_of!(Segment, local) % 4 == 0 && core::mem::offset_of!(Segment, remote) % 4 == 0);
