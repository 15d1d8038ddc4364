//! The hooks: which program is attached where, by what it falls back to, and what is lost without it.

use aya::programs::tp_btf::BtfTracePointLink;
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, FEntry, KProbe, Program, ProgramError,
    SockOps,
};
use aya::{Btf, Ebpf};

use super::cgroup;
use super::error::{LoadError, chain};
use super::load::States;
use super::verdict::{Standing, Verdict};

/// A hook: its purpose, its program, and what is lost without it.
pub(super) struct Hook {
    pub(super) probe: &'static str,
    program: &'static str,
    pub(super) event: &'static str,
    pub(super) without: &'static str,
}

/// Typed tracepoints, in the order in which they are attached: first what lets the packets be understood.
pub(super) const TRACEPOINTS: &[Hook] = &[
    Hook {
        probe: "process birth",
        program: "fork",
        event: "sched_process_fork",
        without: "a process that ends before it is looked at has no name",
    },
    Hook {
        probe: "process exec",
        program: "exec",
        event: "sched_process_exec",
        without: "a process that ends before it is looked at has no name",
    },
    Hook {
        probe: "process end",
        program: "exit",
        event: "sched_process_exit",
        without: "a process id that is used again is told apart late",
    },
    Hook {
        probe: "connections",
        program: "state_change",
        event: "inet_sock_set_state",
        without: "no connect times, no failed connections, no end of connections",
    },
    Hook {
        probe: "resets sent",
        program: "reset_sent",
        event: "tcp_send_reset",
        without: "resets in answer to unwanted segments look like ordinary ends",
    },
    Hook {
        probe: "resets received",
        program: "reset_received",
        event: "tcp_receive_reset",
        without: "resets are recognised by the socket's error only",
    },
    Hook {
        probe: "readers",
        program: "read",
        event: "tcp_rcv_space_adjust",
        without: "servers are known by their listening sockets only",
    },
];

pub(super) const SENDERS: Hook = Hook {
    probe: "senders",
    program: "send",
    event: "tcp_sendmsg_locked",
    without: "clients are known by their call of connect only",
};

/// Watched while somebody wants to know of them: they are the most frequent event of a machine.
pub(super) const WAKES: Hook = Hook {
    probe: "wake-ups",
    program: "wake",
    event: "sched_waking",
    without: "which thread wakes which does not help to join requests",
};

/// Packet programs, one for each direction.
pub(super) const PACKETS: [Hook; 2] = [
    Hook { probe: "packets sent", program: "egress", event: "cgroup_skb", without: UNSEEN },
    Hook { probe: "packets received", program: "ingress", event: "cgroup_skb", without: UNSEEN },
];

const UNSEEN: &str = "this direction of every connection is unseen";

/// What became of the programs.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub(super) verdicts: Vec<Verdict>,
    /// Programs that the kernel's verifier did not take: others may do.
    pub(super) refused: usize,
}

/// Loads and attaches every program that this kernel has the hook for, and says what became of each.
///
/// # Errors
/// If there is no cgroup to attach to, or no packet is seen: nothing useful can work then.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf, states: States) -> Result<Attached, LoadError> {
    let Attached { mut verdicts, mut refused } = Attached::default();
    let mut note = |outcome: &Result<(), ProgramError>| {
        refused += usize::from(matches!(outcome, Err(ProgramError::LoadError { .. })));
    };
    for hook in TRACEPOINTS {
        let outcome = tracepoint(ebpf, btf, hook);
        note(&outcome);
        verdicts.push(verdict(hook, outcome.map(|()| format!("tp_btf/{}", hook.event))));
    }
    verdicts.push(senders(ebpf, btf, &mut note));
    verdicts.push(wakes(ebpf, btf));
    let root = cgroup::root().map_err(|source| LoadError::NoCgroup { source })?;
    if states == States::ByCookie {
        verdicts.push(cookies(ebpf, &root));
    }
    // Packets last: their records find everything else in place. Both are loaded before either is attached, which takes
    // the longer: of what passes in between only one direction is seen.
    let ready = PACKETS.each_ref().map(|hook| load_packets(ebpf, hook));
    ready.iter().for_each(note);
    let mut packets = Vec::with_capacity(PACKETS.len());
    for (hook, ready) in PACKETS.iter().zip(ready) {
        packets.push(attach_packets(ebpf, hook, ready, &root));
    }
    let useful = packets.iter().any(|verdict| verdict.standing <= Standing::Degraded);
    verdicts.extend(packets);
    if !useful {
        return Err(LoadError::NothingWorks { verdicts, refused });
    }
    Ok(Attached { verdicts, refused })
}

/// Unloads every program, which drops its links.
pub(super) fn detach(ebpf: &mut Ebpf) {
    let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let outcome = match ebpf.program_mut(&name) {
            Some(Program::BtfTracePoint(program)) => program.unload(),
            Some(Program::FEntry(program)) => program.unload(),
            Some(Program::KProbe(program)) => program.unload(),
            Some(Program::CgroupSkb(program)) => program.unload(),
            Some(Program::CgroupSock(program)) => program.unload(),
            Some(Program::SockOps(program)) => program.unload(),
            _ => Ok(()),
        };
        if let Err(error) = outcome
            && !matches!(error, ProgramError::NotLoaded)
        {
            tracing::debug!("{name} could not be unloaded: {}", chain(&error));
        }
    }
}

fn tracepoint(ebpf: &mut Ebpf, btf: &Btf, hook: &Hook) -> Result<(), ProgramError> {
    let program: &mut BtfTracePoint = program(ebpf, hook.program)?;
    program.load(hook.event, btf)?;
    program.attach().map(drop)
}

/// The sender hook: the cheapest that works.
fn senders(ebpf: &mut Ebpf, btf: &Btf, note: &mut impl FnMut(&Result<(), ProgramError>)) -> Verdict {
    let first = match tracepoint(ebpf, btf, &SENDERS) {
        Ok(()) => return verdict(&SENDERS, Ok(format!("tp_btf/{}", SENDERS.event))),
        Err(error) => error,
    };
    let second = (|| {
        let program: &mut FEntry = program(ebpf, "send_fentry")?;
        program.load("tcp_sendmsg", btf)?;
        program.attach().map(drop)
    })();
    let Err(second) = second else { return verdict(&SENDERS, Ok("fentry/tcp_sendmsg".to_owned())) };
    let third = (|| {
        let program: &mut KProbe = program(ebpf, "send_kprobe")?;
        program.load()?;
        program.attach("tcp_sendmsg", 0).map(drop)
    })();
    let Err(third) = third else { return verdict(&SENDERS, Ok("kprobe/tcp_sendmsg".to_owned())) };
    tracing::debug!("fentry/tcp_sendmsg: {}; kprobe/tcp_sendmsg: {}", chain(&second), chain(&third));
    note(&Err(second));
    verdict(&SENDERS, Err(first))
}

/// Loads what watches wake-ups. That an older kernel refuses it counts for nothing: it calls a function of Linux 5.15.
fn wakes(ebpf: &mut Ebpf, btf: &Btf) -> Verdict {
    let loaded = program(ebpf, WAKES.program).and_then(|program: &mut BtfTracePoint| program.load(WAKES.event, btf));
    let mut verdict = verdict(&WAKES, loaded.map(|()| format!("tp_btf/{} while asked for", WAKES.event)));
    if verdict.standing == Standing::Broken {
        verdict.standing = Standing::Unsupported;
        verdict.reason += " (Linux 5.15 has what it needs)";
    }
    verdict
}

/// Watches wake-ups from now on.
pub(super) fn watch_wakes(ebpf: &mut Ebpf) -> Result<BtfTracePointLink, ProgramError> {
    let program: &mut BtfTracePoint = program(ebpf, WAKES.program)?;
    let link = program.attach()?;
    program.take_link(link)
}

/// What gives sockets their cookies before the first tracing program wants to know them.
fn cookies(ebpf: &mut Ebpf, root: &cgroup::Root) -> Verdict {
    let outcome = (|| {
        let made: &mut CgroupSock = program(ebpf, "socket_made")?;
        made.load()?;
        made.attach(&root.directory, CgroupAttachMode::Single)?;
        let connection: &mut SockOps = program(ebpf, "connection_made")?;
        connection.load()?;
        connection.attach(&root.directory, CgroupAttachMode::Single).map(drop)
    })();
    let hook = Hook {
        probe: "socket cookies",
        program: "socket_made",
        event: "cgroup/sock_create and sock_ops",
        without: "connect times, refused connections and who closes first are unknown",
    };
    verdict(&hook, outcome.map(|()| format!("cgroup/sock_create+sock_ops on {}", root.place)))
}

fn load_packets(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), ProgramError> {
    let program: &mut CgroupSkb = program(ebpf, hook.program)?;
    program.load()
}

fn attach_packets(ebpf: &mut Ebpf, hook: &Hook, loaded: Result<(), ProgramError>, root: &cgroup::Root) -> Verdict {
    let kind = match hook.program {
        "egress" => CgroupSkbAttachType::Egress,
        _ => CgroupSkbAttachType::Ingress,
    };
    let outcome = loaded.and_then(|()| {
        let program: &mut CgroupSkb = program(ebpf, hook.program)?;
        // With links several programs always coexist; asking for it would be refused.
        program.attach(&root.directory, kind, CgroupAttachMode::Single).map(drop)
    });
    let mut verdict = verdict(hook, outcome.map(|()| format!("cgroup_skb/{} on {}", hook.program, root.place)));
    if verdict.standing == Standing::Active && !root.is_whole {
        verdict.standing = Standing::Degraded;
        verdict.reason += ", which is the root of this cgroup namespace only: what runs outside of it is unseen; start the agent \
                           in the host's cgroup namespace, or mount the host's cgroup2";
    }
    verdict
}

fn verdict(hook: &Hook, outcome: Result<String, ProgramError>) -> Verdict {
    match outcome {
        Ok(reason) => Verdict { probe: hook.probe, standing: Standing::Active, reason },
        Err(error) => {
            // A kernel without the event is one thing, a program that it refuses another.
            let standing = match &error {
                ProgramError::Btf(_) => Standing::Unsupported,
                _ => Standing::Broken,
            };
            let reason = format!("{}: {}; {}", hook.event, one_line(&chain(&error)), hook.without);
            Verdict { probe: hook.probe, standing, reason }
        }
    }
}

/// The verifier's log is for a bug report, not for the screen.
fn one_line(text: &str) -> String {
    tracing::debug!("{text}");
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ProgramError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    <&mut P>::try_from(program)
}
