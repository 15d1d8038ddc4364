//! Reading kernel memory: fields by the offset table, never by a constant.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_kernel,
        generated::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str},
    },
    programs::BtfTracePointContext,
};
use wirespan_common::{
    offset::MISSING,
    record::{COMM_BYTES, Endpoint, FILENAME_BYTES, TaskId},
};

use crate::settings::setting;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `IPPROTO_TCP`.
pub const TCP: u16 = 6;

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The task that runs. Only in programs that run on behalf of one: in a packet program it may be a bystander.
#[inline(always)]
pub fn current() -> TaskId {
    let both = bpf_get_current_pid_tgid();
    TaskId { tid: both as u32, tgid: (both >> 32) as u32 }
}

/// Reads a field; zero (all bytes) where the kernel has no such field or the memory can't be read.
#[inline(always)]
fn field<T: Copy + Default>(base: *const u8, offset: u32) -> T {
    if offset == MISSING {
        return T::default();
    }
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize).cast::<T>()) }.unwrap_or_default()
}

/// A `struct sock` that a tracepoint handed over.
#[derive(Clone, Copy)]
pub struct Sock(pub *const bpf_sock);

impl Sock {
    /// The `n`th argument of a tracepoint. `None` if it is null.
    #[inline(always)]
    pub fn argument(ctx: &BtfTracePointContext, n: usize) -> Option<Self> {
        let sk: *const bpf_sock = ctx.arg(n);
        (!sk.is_null()).then_some(Self(sk))
    }

    #[inline(always)]
    fn base(self) -> *const u8 {
        self.0.cast()
    }

    #[inline(always)]
    pub fn cookie(self) -> u64 {
        if setting!(states_by_cookie) != 0 {
            // No helper for tracing programs on these kernels. The packet programs ask for the cookie of every socket,
            // so it is there after the first packet.
            return field(self.base(), setting!(offsets.skc_cookie));
        }
        // SAFETY: the verifier trusts the pointer as a socket.
        unsafe { bpf_get_socket_cookie(self.0.cast_mut().cast()) }
    }

    #[inline(always)]
    pub fn is_tcp(self) -> bool {
        field::<u16>(self.base(), setting!(offsets.sk_protocol)) == TCP
    }

    /// A positive errno, 0 for none.
    #[inline(always)]
    pub fn error(self) -> u32 {
        field(self.base(), setting!(offsets.sk_err))
    }

    #[inline(always)]
    pub fn netns(self) -> u32 {
        let net: u64 = field(self.base(), setting!(offsets.skc_net));
        field(net as *const u8, setting!(offsets.net_ns_inum))
    }

    /// This end and the other, as the socket has them.
    #[inline(always)]
    pub fn endpoints(self) -> (Endpoint, Endpoint) {
        let mut local = Endpoint { addr: [0; 16], port: 0, pad: 0 };
        let mut remote = local;
        match field::<u16>(self.base(), setting!(offsets.skc_family)) {
            AF_INET => {
                local.addr = mapped(field(self.base(), setting!(offsets.skc_rcv_saddr)));
                remote.addr = mapped(field(self.base(), setting!(offsets.skc_daddr)));
            }
            AF_INET6 => {
                local.addr = field(self.base(), setting!(offsets.skc_v6_rcv_saddr));
                remote.addr = field(self.base(), setting!(offsets.skc_v6_daddr));
            }
            _ => {}
        }
        local.port = u16::from_be(field(self.base(), setting!(offsets.inet_sport)));
        remote.port = u16::from_be(field(self.base(), setting!(offsets.skc_dport)));
        (local, remote)
    }

    /// Next byte expected from the peer.
    #[inline(always)]
    pub fn rcv_nxt(self) -> u32 {
        field(self.base(), setting!(offsets.tcp_rcv_nxt))
    }

    #[inline(always)]
    pub fn snd_nxt(self) -> u32 {
        field(self.base(), setting!(offsets.tcp_snd_nxt))
    }

    #[inline(always)]
    pub fn srtt_us(self) -> u32 {
        field::<u32>(self.base(), setting!(offsets.tcp_srtt_us)) >> 3
    }

    #[inline(always)]
    pub fn bytes_acked(self) -> u64 {
        field(self.base(), setting!(offsets.tcp_bytes_acked))
    }

    #[inline(always)]
    pub fn bytes_received(self) -> u64 {
        field(self.base(), setting!(offsets.tcp_bytes_received))
    }

    #[inline(always)]
    pub fn retransmits(self) -> u32 {
        field(self.base(), setting!(offsets.tcp_total_retrans))
    }
}

/// An IPv4 address (network order) as IPv6.
#[inline(always)]
pub fn mapped(v4: [u8; 4]) -> [u8; 16] {
    let mut addr = [0; 16];
    addr[10] = 0xff;
    addr[11] = 0xff;
    addr[12] = v4[0];
    addr[13] = v4[1];
    addr[14] = v4[2];
    addr[15] = v4[3];
    addr
}

/// A `struct task_struct` that a tracepoint handed over.
#[derive(Clone, Copy)]
pub struct Task(*const u8);

impl Task {
    #[inline(always)]
    pub fn argument(ctx: &BtfTracePointContext, n: usize) -> Self {
        Self(ctx.arg(n))
    }

    #[inline(always)]
    pub fn tid(self) -> u32 {
        field(self.0, setting!(offsets.task_pid))
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        field(self.0, setting!(offsets.task_tgid))
    }

    #[inline(always)]
    pub fn start_ns(self) -> u64 {
        field(self.0, setting!(offsets.task_start_boottime))
    }

    #[inline(always)]
    pub fn exit_code(self) -> i32 {
        field(self.0, setting!(offsets.task_exit_code))
    }

    #[inline(always)]
    pub fn comm(self) -> [u8; COMM_BYTES] {
        field(self.0, setting!(offsets.task_comm))
    }
}

/// Where a thread keeps what belongs to it alone, an address of its process; 0 where this is not known.
#[inline(always)]
pub fn thread_base(task: *const u8) -> u64 {
    field(task, setting!(offsets.task_fsbase))
}

// Words of `struct pt_regs` on x86-64, and the number of a system call there.
const DI: u32 = 14 * 8;
const ORIG_AX: u32 = 15 * 8;
const FUTEX: u64 = 202;

/// The futex that a task waits for which has these registers of user space; 0 for none, and where this is not known.
#[inline(always)]
pub fn futex(registers: *const u8) -> u64 {
    // Only x86-64 has this field.
    let is_known = setting!(offsets.task_fsbase) != MISSING;
    if is_known && field::<u64>(registers, ORIG_AX) == FUTEX { field(registers, DI) } else { 0 }
}

/// Copies the path of the program that `execve` was given; `out` is all zero before.
#[inline(always)]
pub fn program_path(ctx: &BtfTracePointContext, n: usize, out: *mut [u8; FILENAME_BYTES]) {
    let binprm: *const u8 = ctx.arg(n);
    let path: u64 = field(binprm, setting!(offsets.binprm_filename));
    // SAFETY: the helper checks the address, writes at most that many bytes and ends them with a NUL.
    unsafe { bpf_probe_read_kernel_str(out.cast(), FILENAME_BYTES as u32, path as *const _) };
}

/// The `n`th argument of a tracepoint, an integer.
#[inline(always)]
pub fn number(ctx: &BtfTracePointContext, n: usize) -> i32 {
    ctx.arg(n)
}
