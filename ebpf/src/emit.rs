//! Records into the exchange: the only place that reserves room in it, and counts what is refused. Its protocol stands in
//! [`wirespan_common::exchange`].

#[cfg(target_arch = "bpf")]
use core::arch::asm;
use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP,
    btf_maps::{Array, RingBuf},
    helpers::generated::bpf_get_smp_processor_id,
    macros::btf_map,
};
use wirespan_common::{
    count::Counter,
    exchange::{self, Call, Exchange, HURRY_NS, ONE_RECORD, SLOT_HEADER_BYTES, size, stride},
    record::{Header, MAX_HEAD_BYTES, Segment, kind},
};

use crate::{kernel, maps::count, settings::setting};

/// `BPF_F_MMAPABLE`: the agent reads the memory itself.
const SHARED: usize = 1 << 10;
/// Upper bound of CPUs; the agent shrinks the map it chose to the CPUs there are, and the others to one.
const MAX_CPUS: usize = 4096;

#[btf_map]
static EXCHANGE_LARGE: Array<Exchange<{ stride(size::LARGE) }>, MAX_CPUS, SHARED> = Array::new();
#[btf_map]
static EXCHANGE_MEDIUM: Array<Exchange<{ stride(size::MEDIUM) }>, MAX_CPUS, SHARED> = Array::new();
#[btf_map]
static EXCHANGE_SMALL: Array<Exchange<{ stride(size::SMALL) }>, MAX_CPUS, SHARED> = Array::new();

/// Room for calls that the agent has not heard yet; it needs to hear one. Becomes a page where pages are larger.
const BELL_BYTES: usize = 4096;

/// Wakes the agent up, and holds nothing but [`Call`]s.
#[btf_map]
static BELL: RingBuf<u64, BELL_BYTES> = RingBuf::new();

/// When the agent was last woken for something fleeting.
#[btf_map]
static HURRIED: Array<u64, 1> = Array::new();

/// Writes a segment record.
pub trait Payload: Copy {
    /// Writes the record, of which at most `MAX` bytes are captured payload, and returns its length.
    ///
    /// # Safety
    /// There must be room for a segment with so much payload and a tail.
    unsafe fn write<const MAX: usize>(self, record: *mut Segment) -> u32;
}

/// Hands a record of fixed size to the agent: `fill` writes it in place and returns how many bytes of it mean something.
///
/// `T` begins with a [`Header`], which is filled in here. Its time is taken when there is room for the record: so what is
/// reserved after a swap is also younger than the swap. The agent polls: waking it up for each record would cost more
/// than everything else (over 1 000 ns). It is woken only if a half fills faster than it polls.
#[inline(always)]
pub fn emit<T: 'static>(kind: u16, fill: impl FnOnce(*mut T) -> u32) {
    let Some(slot) = Slot::reserve(size_of::<T>() as u32) else { return };
    let time_ns = kernel::now();
    let len = fill(slot.record.cast());
    slot.commit(kind, time_ns, len);
}

/// Hands a segment record to the agent, of which `captured` bytes are captured payload and `tail` those of its end. Its
/// time.
#[inline(always)]
pub fn emit_segment(captured: u32, tail: u32, payload: impl Payload) -> u64 {
    let slot = Slot::reserve(size_of::<Segment>() as u32 + captured + tail);
    let time_ns = kernel::now();
    let Some(slot) = slot else { return time_ns };
    // SAFETY: the slack behind each half leaves room for the largest record, wherever its slot begins.
    let len = unsafe { payload.write::<{ MAX_HEAD_BYTES as usize }>(slot.record.cast()) };
    slot.commit(kind::SEGMENT, time_ns, len);
    time_ns
}

/// Wakes the agent up for something that it should look at soon. Not if it was woken for such a thing just now, after which it
/// looks more often for a while: a wake-up takes 20 us here.
#[inline(always)]
pub fn hurry() {
    let now = kernel::now();
    let Some(last) = HURRIED.get_ptr_mut(0) else { return };
    // SAFETY: a live map value; of two programs that read it at once both wake the agent.
    if now.wrapping_sub(unsafe { *last }) >= HURRY_NS {
        // SAFETY: as above.
        unsafe { *last = now };
        call(Call::Fleeting);
    }
}

/// If there is no room for it, there is another call that the agent has not heard yet.
#[inline(always)]
fn call(call: Call) {
    if let Some(mut slot) = BELL.reserve(0) {
        slot.write(call as u64);
        slot.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}

/// Room for one record, reserved and not yet committed.
struct Slot {
    record: *mut u8,
    /// `committed` of the half.
    committed: *mut u64,
    /// With its header, bytes.
    bytes: u32,
    cpu: u32,
    /// With it the half is so full that the agent is to be woken.
    is_last_straw: bool,
}

impl Slot {
    /// Takes room for a record of this many bytes. What is refused is counted.
    #[inline(always)]
    fn reserve(record_bytes: u32) -> Option<Self> {
        count(Counter::Attempted);
        let slot = Self::take(exchange::slot_bytes(record_bytes));
        if slot.is_none() {
            count(Counter::RingFull);
        }
        slot
    }

    #[inline(always)]
    fn take(bytes: u32) -> Option<Self> {
        // SAFETY: takes nothing, cannot fail.
        let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
        // The verifier knows the setting, and sees only one of these.
        let size = setting!(half_bytes) as usize;
        let exchange: *mut u8 = match size {
            size::LARGE => EXCHANGE_LARGE.get_ptr_mut(cpu)?.cast(),
            size::MEDIUM => EXCHANGE_MEDIUM.get_ptr_mut(cpu)?.cast(),
            _ => EXCHANGE_SMALL.get_ptr_mut(cpu)?.cast(),
        };
        let limit = setting!(half_limit_bytes);
        let reserved: *mut u64 = exchange.cast();
        // Without this look the count of refused bytes could grow until it reaches the upper half of the word.
        // SAFETY: a live map value.
        if exchange::bytes(unsafe { read_volatile(reserved) }) >= limit {
            return None;
        }
        let before = add(reserved, u64::from(bytes));
        let (at, half) = (exchange::bytes(before), exchange::half(before));
        // SAFETY: there are two.
        let committed = unsafe { reserved.add(1 + half) };
        if at >= limit {
            // Another program interrupted this one since the look.
            add(committed, u64::from(bytes));
            return None;
        }
        let filling = exchange::filling(limit);
        let is_last_straw = at < filling && at + bytes >= filling;
        // For the verifier, which does not relate `at` to the limit. The sizes of halves are powers of two.
        let at = core::hint::black_box(at) as usize & (size - 1);
        // SAFETY: within the half.
        unsafe {
            let slot = exchange.add(exchange::HALVES_AT + half * stride(size) + at);
            slot.cast::<u64>().write(u64::from(bytes));
            Some(Self { record: slot.add(SLOT_HEADER_BYTES as usize), committed, bytes, cpu, is_last_straw })
        }
    }

    /// Completes the record and gives it away.
    #[inline(always)]
    fn commit(self, kind: u16, time_ns: u64, len: u32) {
        // SAFETY: every record begins with a header, and the slot is ours until it is committed.
        unsafe { self.record.cast::<Header>().write(Header { time_ns, len, kind, cpu: self.cpu as u16 }) };
        add(self.committed, ONE_RECORD | u64::from(self.bytes));
        if self.is_last_straw {
            call(Call::Filling);
        }
    }
}

/// Adds atomically, with a full barrier, and returns the value before. The compiler offers no atomics for this target.
#[inline(always)]
fn add(word: *mut u64, by: u64) -> u64 {
    let mut value = by;
    // SAFETY: a live map value.
    #[cfg(target_arch = "bpf")]
    unsafe {
        asm!("{value} = atomic_fetch_add((u64 *)({word} + 0), {value})", word = in(reg) word, value = inout(reg) value)
    };
    #[cfg(not(target_arch = "bpf"))]
    let _ = (word, &mut value);
    value
}
