//! The kernel plane, loaded and attached.

use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData, PerCpuArray};
use aya::programs::Program;
use aya::programs::tp_btf::BtfTracePointLink;
use wirespan_common::{
    count::Counter,
    mode::{Mode, Order},
};

use super::attach::{self, Attached};
use super::bell::Bell;
use super::buffers::Buffers;
use super::drain::Drain;
use super::error::{LoadError, chain};
use super::exchange::{Exchange, Sizes};
use super::inspect::Inspector;
use super::link::Links;
use super::load::{self, Settings, States, Transport};
use super::ring::Rings;
use super::uprobe;
use super::verdict::{Standing, Verdict};
use crate::flow::{Cookie, Nanos};

/// The loaded and attached programs. Dropping it detaches them all: they belong to file descriptors of this process, so
/// that nothing stays behind however it ends.
pub struct Plane {
    /// Held for the programs and their links.
    ebpf: Ebpf,
    drain: Drain,
    orders: BpfHashMap<MapData, u64, u32>,
    newest_order: Array<MapData, u32>,
    given: u32,
    deselected: BpfHashMap<MapData, u32, u32>,
    newest_selection: Array<MapData, u32>,
    /// How often the selection changed.
    selections: u32,
    links: Links,
    inspector: Inspector,
    /// Held while wake-ups are watched.
    wakes: Option<BtfTracePointLink>,
    counters: PerCpuArray<MapData, u64>,
    verdicts: Vec<Verdict>,
    /// Programs that the kernel's verifier did not take.
    refused: usize,
    /// Descriptors of the loaded programs, for what the kernel says of them.
    programs: Vec<RawFd>,
    /// What it said last, and how many more times it need not be asked.
    missed_runs: u64,
    ask_later: u32,
}

/// The kernel's counters, all CPUs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that programs wanted to emit.
    pub attempted: u64,
    /// Records refused because the buffer of a CPU was full.
    pub ring_full: u64,
    /// Packets that could not be read.
    pub bad_packets: u64,
    /// Sockets without memory for our state.
    pub no_storage: u64,
    /// Payloads that could not be copied.
    pub copy_failed: u64,
    /// Requests of connections whose requests are left out.
    pub shed_requests: u64,
    /// Records that were handed over after younger ones.
    pub late: u64,
    /// Runs of a program that the kernel left out, because the program was running on the same CPU already: it does not
    /// run a tracing program inside itself.
    pub missed_runs: u64,
    /// Processes of Go programs whose goroutines can't be read.
    pub unread_goroutines: u64,
}

/// How records come, and where states are.
type Form = (Transport, States);

/// The best first. Before 5.12 the kernel refuses programs with atomic instructions that have a result, before 5.11 also
/// tracing programs that use socket storage.
const FORMS: [Form; 3] = [
    (Transport::Exchange, States::WithSocket),
    (Transport::Rings, States::WithSocket),
    (Transport::Rings, States::ByCookie),
];

impl Plane {
    /// Loads and attaches everything that works here.
    ///
    /// # Errors
    /// If nothing useful can work; the error says what to do.
    pub fn load(settings: Settings) -> Result<Self, LoadError> {
        let mut best: Option<(usize, Form)> = None;
        let mut failed = None;
        for form in FORMS {
            match Self::load_with(settings, form) {
                // Only what the verifier refuses in one form can be better in another.
                Ok(plane) if plane.refused == 0 => return Ok(plane),
                Ok(plane) if best.is_none_or(|(fewest, _)| plane.refused < fewest) => {
                    best = Some((plane.refused, form));
                }
                Ok(_) => {}
                Err(error @ LoadError::NothingWorks { refused: 1.., .. }) => failed = failed.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match (best, failed) {
            // Something is refused in every form: the one that loses least, and of those the best.
            (Some((_, form)), _) => Self::load_with(settings, form),
            (None, Some(error)) => Err(error),
            (None, None) => Err(LoadError::NothingWorks { verdicts: Vec::new(), refused: 0 }),
        }
    }

    fn load_with(settings: Settings, (transport, states): Form) -> Result<Self, LoadError> {
        let loaded = load::load(settings, transport, states)?;
        let (mut ebpf, btf) = (loaded.ebpf, loaded.btf);
        let cpus = load::cpus().map_err(|source| LoadError::NoBtf { source })?;
        let buffers = match transport {
            Transport::Exchange => {
                let sizes = Sizes::of(settings.buffer_bytes);
                Buffers::Exchange(Exchange::new(shared(&mut ebpf, sizes.map())?, cpus, sizes)?)
            }
            Transport::Rings => Buffers::Rings(Rings::make(map_mut(&mut ebpf, "RINGS")?, cpus, settings.buffer_bytes)?),
        };

        let Attached { mut verdicts, refused } = attach::attach(&mut ebpf, &btf, states)?;
        if !loaded.missing_fields.is_empty() {
            verdicts.push(Verdict {
                probe: "kernel fields",
                standing: Standing::Degraded,
                reason: format!("not in this kernel: {}", loaded.missing_fields.join(", ")),
            });
        }
        verdicts.extend(weaker((transport, states)));
        let (probes, verdict) = uprobe::prepare(settings.uprobes, loaded.object, &ebpf);
        verdicts.push(verdict);
        let bell = match transport {
            Transport::Exchange => Some(Bell::new(typed(&mut ebpf, "BELL")?)),
            Transport::Rings => None,
        };
        let orders = typed(&mut ebpf, "ORDERS")?;
        let newest_order = typed(&mut ebpf, "NEWEST_ORDER")?;
        let deselected = typed(&mut ebpf, "DESELECTED")?;
        let newest_selection = typed(&mut ebpf, "NEWEST_SELECTION")?;
        let links = Links::new(typed(&mut ebpf, "LINKED")?, typed(&mut ebpf, "NEWEST_LINK")?);
        let counters = typed(&mut ebpf, "COUNTERS")?;
        let programs =
            ebpf.programs().filter_map(|(_, program)| Some(program.fd().ok()?.as_fd().as_raw_fd())).collect();
        Ok(Self {
            programs,
            missed_runs: 0,
            ask_later: 0,
            ebpf,
            drain: Drain::start(buffers, bell).map_err(|source| LoadError::NoThread { source })?,
            orders,
            newest_order,
            given: 0,
            deselected,
            newest_selection,
            selections: 0,
            links,
            inspector: Inspector::new(probes),
            wakes: None,
            counters,
            verdicts,
            refused,
        })
    }

    /// What became of each probe.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Names and descriptors of the programs that are loaded, for what the kernel says of them under `/proc`.
    #[must_use]
    pub fn programs(&self) -> Vec<(String, RawFd)> {
        let descriptor = |program: &Program| Some(program.fd().ok()?.as_fd().as_raw_fd());
        self.ebpf.programs().filter_map(|(name, program)| Some((name.to_owned(), descriptor(program)?))).collect()
    }

    /// Hands over records that are ready, in order of time. Nothing that is handed over later is older than what is
    /// returned.
    pub fn poll(&mut self, sink: &mut dyn FnMut(&[u8])) -> Nanos {
        self.inspector.found(|tgid, goroutines| self.links.find(tgid, goroutines));
        Nanos(self.drain.poll(sink))
    }

    /// Waits until there may be something to hand over, at most so long.
    pub fn wait(&self, at_most: Duration) {
        self.drain.wait(at_most);
    }

    /// Detaches every program and hands over every record that is left, however young. A program may still run on another
    /// CPU for a moment: what it writes is handed over by another call.
    pub fn finish(&mut self, sink: &mut dyn FnMut(&[u8])) {
        self.detach();
        self.drain.flush(sink);
    }

    fn detach(&mut self) {
        if !self.programs.is_empty() {
            self.ask_for_missed_runs();
        }
        self.programs.clear();
        self.inspector.detach();
        self.wakes = None;
        attach::detach(&mut self.ebpf);
    }

    /// The kernel's word is a file for each program, and the counters are asked for ten times a second: it is read once a
    /// second or so.
    fn ask_for_missed_runs(&mut self) {
        self.missed_runs = self.programs.iter().map(|&descriptor| missed_runs(descriptor)).sum();
        self.ask_later = 10;
    }

    /// How a socket is to be captured from now on.
    pub fn steer(&mut self, cookie: Cookie, mut order: Order) {
        if order.mode == Mode::Unselected {
            order.response_bytes = self.selections as u16;
        }
        let outcome = self.orders.insert(cookie.0, order.to_raw(), 0).and_then(|()| {
            // After the order itself: who sees the number finds the order.
            self.given = self.given.wrapping_add(1);
            self.newest_order.set(0, self.given, 0)
        });
        if let Err(error) = outcome {
            tracing::debug!("socket {}: it could not be told what to copy: {}", cookie.0, chain(&error));
        }
    }

    /// Whether maps can be written with what the calling thread may do now. Changes nothing.
    pub fn can_write_maps(&mut self) -> bool {
        self.newest_order.set(0, self.given, 0).is_ok()
    }

    /// Sockets of this process are not recorded.
    pub fn deselect(&mut self, tgid: u32) {
        if let Err(error) = self.deselected.insert(tgid, 1, 0) {
            tracing::debug!("process {tgid} could not be deselected in the kernel: {}", chain(&error));
        }
    }

    /// Sockets of this process are recorded (again).
    pub fn select(&mut self, tgid: u32) {
        // It may have run another program meanwhile: then the programs have selected it, but for the sockets that it had.
        let _gone = self.deselected.remove(&tgid);
        self.reconsider();
    }

    /// Sockets that are not recorded may be from now on, if nothing is against it any more.
    pub fn reconsider(&mut self) {
        self.selections = self.selections.wrapping_add(1);
        if let Err(error) = self.newest_selection.set(0, self.selections, 0) {
            tracing::debug!("that the selection changed could not be told to the kernel: {}", chain(&error));
        }
    }

    /// Whether it is told of a process which thread makes and wakes which, until it ends or runs another program.
    pub fn watch_threads(&mut self, tgid: u32, is_wanted: bool) {
        self.links.watch_threads(tgid, is_wanted);
        self.watch_wakes();
    }

    /// Watches wake-ups while somebody wants to know of them.
    fn watch_wakes(&mut self) {
        match (self.links.wants_wakes(), &self.wakes) {
            (true, None) => match attach::watch_wakes(&mut self.ebpf) {
                Ok(link) => self.wakes = Some(link),
                Err(error) => tracing::debug!("wake-ups can't be watched: {}", chain(&error)),
            },
            // Dropping the link detaches.
            (false, Some(_)) => self.wakes = None,
            _ => {}
        }
    }

    /// A process is to be traced: what its program shows by itself is found out, some time.
    pub fn meet(&mut self, tgid: u32) {
        self.inspector.meet(tgid);
    }

    /// Waits until that is done for all that were met, at most so long.
    pub fn settle(&mut self, at_most: Duration) {
        self.inspector.settle(at_most, |tgid, goroutines| self.links.find(tgid, goroutines));
    }

    /// A process has ended, or runs another program from now on.
    pub fn part(&mut self, tgid: u32) {
        self.inspector.part(tgid);
        self.links.forget(tgid);
        self.watch_wakes();
    }

    /// The kernel's counters.
    pub fn counts(&mut self) -> Counts {
        match self.ask_later.checked_sub(1) {
            Some(later) => self.ask_later = later,
            None if self.programs.is_empty() => {}
            None => self.ask_for_missed_runs(),
        }
        let sum = |counter: Counter| {
            self.counters.get(&(counter as u32), 0).map_or(0, |values| values.iter().copied().sum::<u64>())
        };
        // Refusals first: what is attempted in between must not look like a record that reached a ring.
        let ring_full = sum(Counter::RingFull);
        Counts {
            attempted: sum(Counter::Attempted),
            ring_full,
            bad_packets: sum(Counter::BadPacket),
            no_storage: sum(Counter::NoStorage),
            copy_failed: sum(Counter::CopyFailed),
            shed_requests: sum(Counter::ShedRequests),
            late: self.drain.late(),
            missed_runs: self.missed_runs,
            unread_goroutines: self.inspector.unread(),
        }
    }
}

/// What the kernel shows of a program under `/proc` (`bpf_prog_show_fdinfo`); 0 once it is unloaded.
fn missed_runs(descriptor: RawFd) -> u64 {
    let shown = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    let number = shown.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok());
    number.unwrap_or(0)
}

/// What is weaker in a form than in the best.
fn weaker((transport, states): Form) -> impl Iterator<Item = Verdict> {
    let degraded = |probe, reason: &str| Verdict { probe, standing: Standing::Degraded, reason: reason.to_owned() };
    let records = (transport == Transport::Rings).then(|| {
        let reason = "go through ring buffers, because the kernel's programs have no atomic instructions (5.12 has them): \
                      each costs about 100 ns more";
        degraded("records", reason)
    });
    let states = (states == States::ByCookie).then(|| {
        let reason = "kept in a hash by socket cookie, because the kernel lets no tracing program use socket storage (5.11 \
                      does): each packet costs about 40 ns more";
        degraded("socket state", reason)
    });
    records.into_iter().chain(states)
}

fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map, LoadError> {
    ebpf.map_mut(name).ok_or_else(|| missing_map(name))
}

/// A map as nothing but its memory.
fn shared<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a MapData, LoadError> {
    match map_mut(ebpf, name)? {
        Map::Array(map) => Ok(map),
        _ => Err(missing_map(name)),
    }
}

fn typed<T>(ebpf: &mut Ebpf, name: &str) -> Result<T, LoadError>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| missing_map(name))?;
    T::try_from(map).map_err(|source| LoadError::Refused { source: Box::new(source.into()) })
}

fn missing_map(name: &str) -> LoadError {
    let source = aya::maps::MapError::InvalidName { name: name.to_owned() };
    LoadError::Refused { source: Box::new(source.into()) }
}
