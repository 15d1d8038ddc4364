//! Records into ring buffers, one per CPU: for kernels before 5.12, in place of [`crate::emit`] of the other object.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    btf_maps::{ArrayOfMaps, RingBuf},
    helpers::generated::bpf_get_smp_processor_id,
    macros::btf_map,
};
use wirespan_common::{
    count::Counter,
    record::{Header, Segment, TAIL_BYTES, kind},
};

use crate::{kernel, maps::count};

/// Upper bound of CPUs; the agent shrinks the outer map to the CPUs there are.
const MAX_CPUS: usize = 4096;
/// Template of the inner maps: the agent makes one of the size it was told for each CPU.
const RING_BYTES: usize = 4096;

/// One ring buffer per CPU: writers never wait for each other.
#[btf_map]
static RINGS: ArrayOfMaps<RingBuf<u64, RING_BYTES>, MAX_CPUS> = ArrayOfMaps::new();

/// Writes a segment record; see the other `emit`.
pub trait Payload: Copy {
    /// Writes the record, of which at most `MAX` bytes are captured payload, and returns its length.
    ///
    /// # Safety
    /// There must be room for a segment with so much payload and a tail.
    unsafe fn write<const MAX: usize>(self, record: *mut Segment) -> u32;
}

/// Hands a record of fixed size to the agent: `fill` writes it in place and returns how many bytes of it mean something.
///
/// `T` begins with a [`Header`], which is filled in here. The agent polls: waking it up for each record would cost more
/// than everything else (over 1 000 ns).
#[inline(always)]
pub fn emit<T: 'static>(kind: u16, fill: impl FnOnce(*mut T) -> u32) {
    emit_at(kind, kernel::now(), fill);
}

#[inline(always)]
fn emit_at<T: 'static>(kind: u16, time_ns: u64, fill: impl FnOnce(*mut T) -> u32) {
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

/// Would wake the agent up for something that it should look at soon; here it polls often.
#[inline(always)]
pub fn hurry() {}

/// Hands a segment record to the agent, of which `captured` bytes are captured payload. One size class per call: the
/// verifier must know how much is reserved. Its time.
#[inline(always)]
pub fn emit_segment(captured: u32, _tail: u32, payload: impl Payload) -> u64 {
    let time_ns = kernel::now();
    if captured == 0 {
        emit_class::<0>(time_ns, payload);
    } else if captured <= 256 {
        emit_class::<256>(time_ns, payload);
    } else if captured <= 512 {
        emit_class::<512>(time_ns, payload);
    } else if captured <= 1024 {
        emit_class::<1024>(time_ns, payload);
    } else if captured <= 2048 {
        emit_class::<2048>(time_ns, payload);
    } else if captured <= 4096 {
        emit_class::<4096>(time_ns, payload);
    } else {
        emit_class::<8192>(time_ns, payload);
    }
    time_ns
}

#[inline(always)]
fn emit_class<const N: usize>(time_ns: u64, payload: impl Payload) {
    /// A segment, what was captured, and the tail.
    #[repr(C)]
    struct Slot<const N: usize> {
        segment: Segment,
        captured: [u8; N],
        tail: [u8; TAIL_BYTES as usize],
    }
    // SAFETY: the slot is ours and has the room that is asked for.
    emit_at::<Slot<N>>(kind::SEGMENT, time_ns, |slot| unsafe { payload.write::<N>(slot.cast()) });
}
