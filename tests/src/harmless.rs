//! The first promise, as the kernel shows it: what our programs are and which of its functions they call.

use crate::kernel::Loaded;

/// Functions of the kernel that only read, or write to our own maps. Kernels name the same function differently.
const HARMLESS: &[&str] = &[
    "__htab_lru_map_lookup_elem",
    "__htab_map_lookup_elem",
    "array_map_lookup_elem",
    "array_of_map_lookup_elem",
    "bpf_get_attach_cookie_uprobe_multi",
    "bpf_get_current_pid_tgid",
    "bpf_get_current_task",
    "bpf_get_raw_cpu_id",
    "bpf_get_smp_processor_id",
    "bpf_get_socket_cookie",
    "bpf_get_socket_cookie_sock",
    "bpf_get_socket_cookie_sock_ops",
    "bpf_get_socket_ptr_cookie",
    "bpf_ktime_get_boot_ns",
    "bpf_probe_read_kernel",
    "bpf_probe_read_kernel_str",
    "bpf_probe_read_user",
    "bpf_ringbuf_reserve",
    "bpf_ringbuf_submit",
    "bpf_sk_fullsock",
    "bpf_sk_storage_get",
    "bpf_sk_storage_get_tracing",
    "bpf_skb_load_bytes",
    "bpf_task_pt_regs",
    "bpf_tcp_sock",
    "htab_lru_map_delete_elem",
    "htab_lru_map_update_elem",
    "htab_map_delete_elem",
    "percpu_array_map_lookup_elem",
];

/// Packet programs and typed tracepoints, those that are put on instructions of programs (which the kernel takes for kprobes),
/// and on old kernels those that see sockets come into being: the tracepoints of system calls are of none of these kinds.
const KINDS: &[&str] = &["cgroup_skb", "tracing", "kprobe", "cgroup_sock", "sock_ops"];

/// Fails if a program calls what could change a packet or a process.
#[track_caller]
pub fn calls_nothing_else(programs: &[Loaded]) {
    for program in programs {
        let others: Vec<_> = program.helpers.iter().filter(|name| !HARMLESS.contains(&name.as_str())).collect();
        assert!(others.is_empty(), "{} calls {others:?}", program.name);
        assert!(!program.helpers.is_empty(), "{} calls nothing: was it read?", program.name);
    }
}

/// Fails if a program is of another kind, such as one that hooks a system call.
#[track_caller]
pub fn hooks_no_system_call(programs: &[Loaded]) {
    for program in programs {
        assert!(KINDS.contains(&program.kind.as_str()), "{} is a {}", program.name, program.kind);
    }
}
