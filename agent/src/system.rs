//! Calls of the C library and of the kernel for which there is no safe wrapper: the one module of the agent with unsafe
//! code.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type};
use rustix::mm::{MapFlags, ProtFlags};

/// Whether something keeps the time of day right, as the kernel knows (adjtimex(2)).
#[must_use]
pub fn clock_is_synchronised() -> bool {
    // SAFETY: a structure of numbers, for which zero is a value; with no mode set nothing is changed. The kernel fills it in.
    let state = unsafe {
        let mut answer: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut answer)
    };
    // Not allowed counts as not known.
    state >= 0 && state != libc::TIME_ERROR
}

/// Gives memory that was freed back to the system.
///
/// Loading takes the kernel's type information apart, in many thousand small pieces of tens of mebibytes together. The C
/// library keeps what was freed of it, for a process that never needs as much again.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; the C library locks its own state.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// From now on the calling thread, and each that it starts, gives way to whoever wakes up beside it, and pushes nobody aside
/// when it wakes up itself. It gets its share of the time all the same. Where somebody has chosen another policy for the
/// process nothing changes; before 6.12 the kernel takes no notice of slices.
///
/// # Errors
/// Those of `sched_setattr(2)`.
pub fn give_way() -> io::Result<()> {
    /// As long as the work that comes at once takes; whoever wakes up with an ordinary slice, a few milliseconds, is due
    /// before that.
    const SLICE: Duration = Duration::from_millis(20);
    // SAFETY: takes no pointer. 0 is the calling thread.
    if unsafe { libc::sched_getscheduler(0) } != libc::SCHED_OTHER {
        return Ok(());
    }
    schedule(libc::SCHED_BATCH, rustix::process::getpriority_process(None)?, SLICE)
}

/// From now on the calling thread runs soon after it wakes up: on a CPU that is idle if there is one, else before the others.
///
/// # Errors
/// Without CAP_SYS_NICE; the thread is as any other then, and no worse than before [`give_way`].
pub(crate) fn go_first() -> io::Result<()> {
    /// A tenth of the time that an ordinary thread needs to be due, at ten times the weight.
    const NICE: i32 = -10;
    /// The shortest that there is.
    const SLICE: Duration = Duration::from_micros(100);
    schedule(libc::SCHED_OTHER, NICE, SLICE).or_else(|error| {
        // Best effort: that it failed is said.
        let _as_others = schedule(libc::SCHED_OTHER, rustix::process::getpriority_process(None)?, SLICE);
        Err(error)
    })
}

/// Sets policy, niceness and slice of the calling thread.
fn schedule(policy: i32, nice: i32, slice: Duration) -> io::Result<()> {
    // SAFETY: a plain structure of integers.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    attributes.sched_policy = policy.cast_unsigned();
    attributes.sched_nice = nice;
    attributes.sched_runtime = slice.as_nanos() as u64;
    // SAFETY: the structure lives as long as the call and says how long it is. 0 is the calling thread; no flag is set.
    if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Loads a kernel program that can be attached to instructions of other programs ([`attach_probe`]).
///
/// # Errors
/// Those of `bpf(BPF_PROG_LOAD)`.
pub(crate) fn load_probe(name: &str, instructions: &[bpf_insn], license: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: a union of plain numbers, for all of which zero is a value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: this member is the one that the command looks at.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
    load.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    load.license = license.as_ptr() as u64;
    // The last byte stays zero.
    let room = load.prog_name.len() - 1;
    for (to, from) in load.prog_name[..room].iter_mut().zip(name.bytes()) {
        // Signed or not, by the processor.
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: the instructions and the licence live until the call returns.
    unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) }
}

/// Attaches a program of [`load_probe`] to the instruction at this place of a file, in every process that runs it, until the
/// descriptor is closed.
///
/// # Errors
/// Those of `bpf(BPF_LINK_CREATE)`.
pub(crate) fn attach_probe(program: BorrowedFd<'_>, path: &CStr, at: u64, cookie: u64) -> io::Result<OwnedFd> {
    // SAFETY: as in `load_probe`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: as in `load_probe`.
    let link = unsafe { &mut attr.link_create };
    link.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    link.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    let (places, cookies) = ([at], [cookie]);
    // SAFETY: the member that this type of attachment looks at.
    let probes = unsafe { &mut link.__bindgen_anon_3.uprobe_multi };
    probes.path = path.as_ptr() as u64;
    probes.offsets = places.as_ptr() as u64;
    probes.cookies = cookies.as_ptr() as u64;
    probes.cnt = 1;
    // SAFETY: the path and both arrays live until the call returns.
    unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}

/// A command that gives a descriptor.
///
/// # Safety
/// What `attr` points to must live as long as the call.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads as much of the structure as there is; the caller answers for what it points to.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, ptr::from_mut(attr), size_of::<bpf_attr>()) };
    match i32::try_from(answer) {
        // SAFETY: the kernel made this descriptor for us.
        Ok(descriptor @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Memory that others write to as well: a map of kernel programs. No reference to its bytes is ever made but for atomic
/// words.
#[derive(Debug)]
pub(crate) struct Shared {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to no thread; all access is by atomic words or by copies.
unsafe impl Send for Shared {}

impl Shared {
    /// Maps the first `len` bytes of what the descriptor stands for.
    ///
    /// # Errors
    /// Those of `mmap`.
    pub(crate) fn map(descriptor: impl AsFd, len: usize) -> io::Result<Self> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses a place that is free.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, descriptor, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { base, len })
    }

    /// The word at this place, in bytes from the beginning.
    ///
    /// # Panics
    /// If the place is not within the memory, or not aligned: a mistake in the layout, not in data.
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at.checked_add(8).is_some_and(|end| end <= self.len), "no word at {at}");
        // SAFETY: within the mapping, which lives as long as `self`, and aligned, because mappings begin with a page. Whoever
        // else writes to it does so atomically.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) }
    }

    /// Copies bytes to the end of `to`. They should not be written to meanwhile, or what is copied makes no sense.
    ///
    /// # Panics
    /// If the bytes are not within the memory: a mistake in the layout, not in data.
    pub(crate) fn copy(&self, at: usize, len: usize, to: &mut Vec<u8>) {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "no {len} bytes at {at}");
        to.reserve(len);
        // SAFETY: within the mapping, into memory that was just reserved; bytes have no invalid values.
        unsafe {
            ptr::copy_nonoverlapping(self.base.as_ptr().add(at), to.as_mut_ptr().add(to.len()), len);
            to.set_len(to.len() + len);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing that was borrowed from it is left.
        let _unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::Ordering;

    use super::*;

    /// Policy of the calling thread.
    fn policy() -> i32 {
        // SAFETY: takes no pointer. 0 is the calling thread.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn threads_give_way_but_for_the_one_that_goes_first() {
        // On a thread of its own: the others of the test keep their policy.
        let of_test = policy();
        let seen = std::thread::spawn(|| {
            give_way().expect("needs no right");
            let first = std::thread::spawn(|| {
                let inherited = policy();
                // Whether or not the test may be less nice.
                drop(go_first());
                (inherited, policy())
            });
            (policy(), first.join().expect("it ends"))
        });
        assert_eq!(seen.join().expect("it ends"), (libc::SCHED_BATCH, (libc::SCHED_BATCH, libc::SCHED_OTHER)));
        assert_eq!(policy(), of_test);
    }

    fn file(bytes: &[u8]) -> File {
        let file = File::from(rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::empty()).expect("a file"));
        file.write_all_at(bytes, 0).expect("written");
        file
    }

    #[test]
    fn shared_memory_shows_what_others_write() {
        let file = file(&[7; 4096]);
        let shared = Shared::map(&file, 4096).expect("a mapping");
        let mut copied = vec![1];
        shared.copy(4094, 2, &mut copied);
        assert_eq!(copied, [1, 7, 7]);
        shared.word(8).store(5, Ordering::Relaxed);
        file.write_all_at(&6_u64.to_ne_bytes(), 8).expect("written");
        assert_eq!(shared.word(8).load(Ordering::Relaxed), 6);
    }

    #[test]
    #[should_panic(expected = "no 2 bytes at 4095")]
    fn nothing_is_read_beyond_the_end() {
        Shared::map(file(&[0; 4096]), 4096).expect("a mapping").copy(4095, 2, &mut Vec::new());
    }
}
