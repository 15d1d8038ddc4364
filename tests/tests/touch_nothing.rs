//! The first promise: nothing is written to packets or processes, and no system call is hooked.

use wirespan_tests::agent::Agent;
use wirespan_tests::kernel::{self, Loaded};

/// Functions of the kernel that only read, or write to our own maps.
const HARMLESS: &[&str] = &[
    "__htab_lru_map_lookup_elem",
    "__htab_map_lookup_elem",
    "array_map_lookup_elem",
    "array_of_map_lookup_elem",
    "bpf_get_current_pid_tgid",
    "bpf_get_smp_processor_id",
    "bpf_get_socket_cookie",
    "bpf_get_socket_ptr_cookie",
    "bpf_ktime_get_boot_ns",
    "bpf_probe_read_kernel",
    "bpf_probe_read_kernel_str",
    "bpf_ringbuf_reserve",
    "bpf_ringbuf_submit",
    "bpf_sk_fullsock",
    "bpf_sk_storage_get",
    "bpf_sk_storage_get_tracing",
    "bpf_skb_load_bytes",
    "bpf_tcp_sock",
    "htab_lru_map_update_elem",
    "percpu_array_map_lookup_elem",
];

fn programs() -> Vec<Loaded> {
    let agent = Agent::start();
    let programs = kernel::programs_of(agent.pid());
    assert!(programs.len() >= 10, "{programs:?}");
    programs
}

#[test]
fn no_program_calls_what_could_change_a_packet_or_a_process() {
    for program in programs() {
        let others: Vec<_> = program.helpers.iter().filter(|name| !HARMLESS.contains(&name.as_str())).collect();
        assert!(others.is_empty(), "{} calls {others:?}", program.name);
        assert!(!program.helpers.is_empty(), "{} calls nothing: was it read?", program.name);
    }
}

#[test]
fn no_system_call_is_hooked() {
    // Packet programs and typed tracepoints: the tracepoints of system calls are of neither kind.
    for program in programs() {
        assert!(["cgroup_skb", "tracing"].contains(&program.kind.as_str()), "{} is a {}", program.name, program.kind);
    }
}
