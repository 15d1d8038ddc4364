//! The one table of kernel fields that the programs read.

use wirespan_common::offset::{MISSING, Offsets};

use super::btf::Btf;

/// Whether tracing makes sense without a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
    /// As optional, but that other machines have no such field is no loss.
    OptionalOnX86,
}
use Need::{Optional, OptionalOnX86, Required};

struct Field {
    structure: &'static str,
    field: &'static str,
    need: Need,
    slot: fn(&mut Offsets) -> &mut u32,
}

const fn field(structure: &'static str, field: &'static str, need: Need, slot: fn(&mut Offsets) -> &mut u32) -> Field {
    Field { structure, field, need, slot }
}

static FIELDS: &[Field] = &[
    field("sock_common", "skc_family", Required, |o| &mut o.skc_family),
    field("sock_common", "skc_rcv_saddr", Required, |o| &mut o.skc_rcv_saddr),
    field("sock_common", "skc_daddr", Required, |o| &mut o.skc_daddr),
    // Kernels without IPv6 have none of these.
    field("sock_common", "skc_v6_rcv_saddr", Optional, |o| &mut o.skc_v6_rcv_saddr),
    field("sock_common", "skc_v6_daddr", Optional, |o| &mut o.skc_v6_daddr),
    field("sock_common", "skc_dport", Required, |o| &mut o.skc_dport),
    field("sock_common", "skc_cookie", Optional, |o| &mut o.skc_cookie),
    // Kernels without network namespaces have none of these.
    field("sock_common", "skc_net", Optional, |o| &mut o.skc_net),
    field("net", "ns.inum", Optional, |o| &mut o.net_ns_inum),
    field("sock", "sk_err", Required, |o| &mut o.sk_err),
    field("sock", "sk_protocol", Required, |o| &mut o.sk_protocol),
    field("inet_sock", "inet_sport", Required, |o| &mut o.inet_sport),
    field("tcp_sock", "rcv_nxt", Required, |o| &mut o.tcp_rcv_nxt),
    field("tcp_sock", "snd_nxt", Required, |o| &mut o.tcp_snd_nxt),
    field("tcp_sock", "srtt_us", Optional, |o| &mut o.tcp_srtt_us),
    field("tcp_sock", "bytes_acked", Optional, |o| &mut o.tcp_bytes_acked),
    field("tcp_sock", "bytes_received", Optional, |o| &mut o.tcp_bytes_received),
    field("tcp_sock", "total_retrans", Optional, |o| &mut o.tcp_total_retrans),
    field("task_struct", "pid", Required, |o| &mut o.task_pid),
    field("task_struct", "tgid", Required, |o| &mut o.task_tgid),
    field("task_struct", "start_boottime", Required, |o| &mut o.task_start_boottime),
    field("task_struct", "comm", Required, |o| &mut o.task_comm),
    field("task_struct", "exit_code", Optional, |o| &mut o.task_exit_code),
    field("linux_binprm", "filename", Optional, |o| &mut o.binprm_filename),
    field("task_struct", "thread.fsbase", OptionalOnX86, |o| &mut o.task_fsbase),
];

/// Offsets for the running kernel, and the names of the optional fields that it does not have.
#[derive(Debug)]
pub struct Resolved {
    /// The table for the kernel programs.
    pub offsets: Offsets,
    /// `structure.field` of what is missing but can be done without.
    pub missing: Vec<String>,
}

/// Looks up every field.
///
/// # Errors
/// The name of a required field that the kernel does not have.
pub fn resolve(btf: &Btf<'_>) -> Result<Resolved, String> {
    let mut resolved = Resolved { offsets: Offsets::UNRESOLVED, missing: Vec::new() };
    for field in FIELDS {
        let offset = btf.offset(field.structure, field.field);
        match (offset, field.need) {
            (None, Required) => return Err(format!("struct {}.{}", field.structure, field.field)),
            (None, Optional) => resolved.missing.push(format!("{}.{}", field.structure, field.field)),
            (None, OptionalOnX86) if cfg!(target_arch = "x86_64") => {
                resolved.missing.push(format!("{}.{}", field.structure, field.field));
            }
            (Some(_), _) | (None, OptionalOnX86) => {}
        }
        *(field.slot)(&mut resolved.offsets) = offset.unwrap_or(MISSING);
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_of_the_table_is_filled_by_one_row() {
        let mut offsets = Offsets::UNRESOLVED;
        for (number, field) in FIELDS.iter().enumerate() {
            let slot = (field.slot)(&mut offsets);
            assert_eq!(*slot, MISSING, "{}.{} writes to a slot of another", field.structure, field.field);
            *slot = u32::try_from(number).expect("a small number");
        }
        assert_eq!(FIELDS.len() * 4, size_of::<Offsets>());
    }

    #[test]
    fn the_running_kernel_has_all_that_is_required() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        let resolved = resolve(&Btf::parse(&bytes).expect("BTF")).expect("all required fields");
        assert_ne!(resolved.offsets.tcp_rcv_nxt, MISSING);
    }
}
