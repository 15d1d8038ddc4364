//! Packets of connections of which only the amount of payload is of interest.
//!
//! Sequence numbers say that as well later: one packet per direction and tick of the kernel, some milliseconds, is looked at, and a
//! FIN; the rest is known when the socket closes. To write to the socket's state for each would cost more than all else.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use wirespan_common::mode::Mode;

use crate::{
    kernel,
    packet::{FIN, Packet, SYN},
    settings::setting,
    state::{State, way},
};

/// Whether nothing is done about a packet. Orders are obeyed a tick later at most.
#[inline(always)]
pub fn is_passed_over<const EGRESS: bool>(state: &State, packet: &Packet) -> bool {
    let last = if EGRESS { state.sent_tick } else { state.received_tick };
    // All of it in one number, since each branch makes the verifier go once more through all that follows.
    let is_read = u32::from(state.mode).wrapping_sub(Mode::Shed as u32) & (1 << 31);
    (last ^ tick()) | u32::from(packet.flags & (SYN | FIN)) | is_read == 0
}

/// Notes that so much new payload passed, and says whether it is time to report.
#[inline(always)]
pub fn is_time_to_report<const EGRESS: bool>(state: &mut State, len: u32) -> bool {
    if len == 0 {
        return false;
    }
    *(if EGRESS { &mut state.sent_tick } else { &mut state.received_tick }) = tick();
    let now = kernel::now();
    way::<EGRESS>(state).time_ns = now;
    let is_time = now.wrapping_sub(state.reported_ns) > u64::from(setting!(report_ns));
    if is_time {
        state.reported_ns = now;
    }
    is_time
}

/// The kernel's clock that is next to nothing to read.
#[inline(always)]
fn tick() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { bpf_jiffies64() as u32 }
}
