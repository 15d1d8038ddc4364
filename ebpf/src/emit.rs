//! The only place that reserves ring buffer space, and counts what is refused.

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::generated::bpf_get_smp_processor_id};
use wirespan_common::{count::Counter, record::Header};

use crate::maps::{RINGS, count};

/// Hands a record to the agent: `fill` writes it in place and returns how many bytes of it mean something.
///
/// `T` is one size class; it begins with a [`Header`], which is filled in here. The agent polls: waking it up for each
/// record would cost more than everything else (over 1 000 ns).
#[inline(always)]
pub fn emit<T: 'static>(kind: u16, time_ns: u64, fill: impl FnOnce(*mut T) -> u32) {
    count(Counter::Attempted);
    // SAFETY: takes nothing, cannot fail.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let Some(mut slot) = RINGS.get(cpu).and_then(|ring| ring.reserve_untyped::<T>(0)) else {
        count(Counter::RingFull);
        return;
    };
    let record = slot.as_mut_ptr();
    let len = fill(record);
    // SAFETY: `T` begins with a header, and the slot is ours until it is submitted.
    unsafe { record.cast::<Header>().write(Header { time_ns, len, kind, cpu: cpu as u16 }) };
    slot.submit(u64::from(BPF_RB_NO_WAKEUP));
}
