//! `wirespan run` and `wirespan record`: set everything up, loop, take everything down.

mod agent;
mod clock;
mod load;
mod plane;
mod privileges;
mod reload;
mod signals;
mod sink;
mod source;

use std::process;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use wirespan::config::Options;
use wirespan::export::{self, ConsoleFormat, Outputs};
use wirespan::flow::Nanos;
use wirespan::flow::fact::Host;
use wirespan::health::{self, Health};
use wirespan::k8s::{self, Kubernetes};
use wirespan::ledger::{Count, Ledger};
use wirespan::metrics::{self, Desk, Listener};
use wirespan::probe::{self, Plane, Verdict};
use wirespan::proc::bounded::Bounded;
use wirespan::proc::describe::{OutsideOnly, ProcFs};
use wirespan::proc::table::Table;
use wirespan::proc::{scan, sockets};
use wirespan::system;

pub(crate) use self::privileges::check_files;

use self::agent::{Agent, Before, Sink};
use self::clock::{Clock, SystemClock};
use self::load::Load;
use self::reload::Reload;
use self::signals::Signals;
use self::sink::{Recorder, Spans};
use crate::cli::{Format, RecordArgs};
use crate::exit::Failure;
use crate::notice::say;
use crate::settings::{Settings, Sources};

/// When nothing comes, signals are looked for this often.
const IDLE_PAUSE: Duration = Duration::from_millis(50);
/// What is new of a cluster is told in the rounds, so much in each: the kernel's records do not wait long.
const NEWS_PER_ROUND: usize = 256;
/// How long what is waiting may take to be delivered at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Traces this machine until it is told to end.
pub(crate) fn run(sources: Sources, settings: Settings) -> Result<(), Failure> {
    let console = match settings.format {
        Format::Text => Some(ConsoleFormat::Text),
        Format::Json => Some(ConsoleFormat::Json),
        Format::None => None,
    };
    let otlp = settings.otlp.clone().map_err(|problem| Failure::Usage(problem.to_string()))?;
    otlp.iter().flat_map(|config| &config.warnings).for_each(|warning| tracing::warn!("{warning}"));
    if console.is_none() && otlp.is_none() {
        tracing::warn!(
            "spans go nowhere: --format is none and no OTLP receiver is named (OTEL_EXPORTER_OTLP_ENDPOINT is not set)"
        );
    }
    let options = settings.options.clone();
    let load = (settings.shed_above_percent < 100).then(|| Load::new(settings.shed_above_percent));
    // Before anything is attached: an address that can't be had is known at once.
    let listen = |address| Listener::bind(address).map_err(|error| Failure::Output(error.to_string()));
    let listener = settings.metrics_listen.map(listen).transpose()?;
    let listen = |address| health::Listener::bind(address).map_err(|error| Failure::Output(error.to_string()));
    let health = settings.health_listen.map(listen).transpose()?;
    let mut session = Session::open(sources, settings)?;
    // From here on nothing is opened to be written, and threads may be started.
    session.confine()?;
    if let Some(listener) = health {
        session.serve_health(listener)?;
    }
    let ledger = Arc::clone(&session.ledger);
    session.ask_cluster()?;
    let sends = otlp.is_some();
    let outputs = Outputs::start(export::Config { console, otlp }, Arc::clone(&ledger))
        .map_err(|error| Failure::Output(error.to_string()))?;
    if let Some(listener) = listener {
        session.serve_metrics(listener, &outputs, &options)?;
    }
    let (sink, ended) = session.trace(Spans::new(options, outputs, sends, Arc::clone(&ledger)), load, None)?;
    let (report, delivered) = sink.finish(FAREWELL);
    say_report(&report, &ledger);
    ended.and(delivered)
}

/// Records this machine until it is told to end, or for some time.
pub(crate) fn record(args: &RecordArgs, sources: Sources, settings: Settings) -> Result<(), Failure> {
    let options = settings.options.clone();
    let mut session = Session::open(sources, settings)?;
    let ledger = Arc::clone(&session.ledger);
    let recorder = Recorder::create(&args.file, options, Arc::clone(&ledger))?;
    session.confine()?;
    session.ask_cluster()?;
    let (sink, ended) = session.trace(recorder, None, args.seconds.map(Duration::from_secs))?;
    let written = sink.finish();
    say(&ledger);
    ended.and(written)
}

fn say_verdict(verdict: &Verdict) {
    say(&format_args!("probe: {verdict}"));
}

fn say_report(report: &str, ledger: &Ledger) {
    say(&format_args!("{report}{ledger}"));
}

/// A loaded plane, and what is needed beside it.
struct Session {
    signals: Signals,
    plane: Plane,
    /// What became of each probe, and of what it depends on.
    verdicts: Vec<Verdict>,
    table: Table<Bounded<ProcFs, OutsideOnly>>,
    ledger: Arc<Ledger>,
    /// Where the metrics ask the core.
    desk: Option<Desk>,
    /// Before the probes.
    since: Nanos,
    /// What was there before the probes.
    before: Before,
    /// The configuration, if it changes.
    reload: Reload,
    /// Who is to be asked for pods, if anybody.
    cluster: Option<k8s::Config>,
    /// Who is asked.
    kubernetes: Option<Kubernetes>,
    /// Name of this machine: in a pod, the kernel gives the pod's.
    host: String,
    /// What is told to those who ask how we are.
    health: Arc<Health>,
}

impl Session {
    /// Loads and attaches everything, and says what works.
    fn open(sources: Sources, configured: Settings) -> Result<Self, Failure> {
        check_files(&configured.resolved)?;
        // Before there are threads: they all do the same, but for the one that takes records over.
        if let Err(error) = system::give_way() {
            tracing::debug!("the agent gives way to nobody: {error}");
        }
        let signals =
            Signals::take_over().map_err(|error| Failure::Other(format!("cannot handle signals: {error}")))?;
        let since = SystemClock.now();
        let mut settings = probe::Settings::default();
        if let Some(kib) = configured.buffer_kib {
            settings.buffer_bytes = kib * 1024;
        }
        settings.uprobes = configured.uprobes;
        let plane = Plane::load(settings).map_err(|error| Failure::CannotTrace(error.to_string()))?;
        let verdicts: Vec<_> = plane.verdicts().iter().cloned().chain(privileges::what_is_missing()).collect();
        verdicts.iter().for_each(say_verdict);
        // Only now, with the probes attached: what is opened or born from here on is in the records.
        let before = before()?;
        let inside = ProcFs::new(configured.arguments);
        let outside = inside.outside_only();
        let table = Table::new(Bounded::new(inside, outside), configured.options.selection);
        let cluster = configured.kubernetes;
        let host = match &cluster {
            Some(cluster) => cluster.node.clone(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let reload = Reload::new(sources, configured.resolved);
        let ledger = Arc::default();
        Ok(Self {
            signals,
            plane,
            verdicts,
            table,
            ledger,
            desk: None,
            since,
            before,
            reload,
            cluster,
            kubernetes: None,
            host,
            health: Arc::default(),
        })
    }

    /// Answers from now on who asks for metrics.
    fn serve_metrics(&mut self, listener: Listener, outputs: &Outputs, options: &Options) -> Result<(), Failure> {
        if let Ok(address) = listener.address() {
            say(&format_args!("metrics: http://{address}/metrics"));
        }
        let sources = metrics::Sources {
            ledger: Arc::clone(&self.ledger),
            verdicts: self.verdicts.clone(),
            programs: self.plane.programs(),
            queues: outputs.queues(),
            max_connections: options.max_connections,
            kubernetes: self.kubernetes.as_ref().map(Kubernetes::tally),
        };
        self.desk = Some(listener.serve(sources).map_err(|error| Failure::Output(error.to_string()))?);
        Ok(())
    }

    /// Answers from now on who asks whether we live and are ready.
    fn serve_health(&mut self, listener: health::Listener) -> Result<(), Failure> {
        if let Ok(address) = listener.address() {
            say(&format_args!("health: http://{address}/readyz"));
        }
        listener.serve(Arc::clone(&self.health)).map_err(|error| Failure::Output(error.to_string()))
    }

    /// Begins to ask a cluster who the pods of this machine are, if it is a node.
    fn ask_cluster(&mut self) -> Result<(), Failure> {
        if let Some(config) = self.cluster.take() {
            say(&format_args!("kubernetes: this is the node {}", config.node));
            let started = Kubernetes::start(config);
            let failed = |error| Failure::Other(format!("cannot start the thread that asks the cluster: {error}"));
            self.kubernetes = Some(started.map_err(failed)?);
        }
        Ok(())
    }

    /// Gives up every right that is not needed any more. Threads that are started later are born without them.
    fn confine(&mut self) -> Result<(), Failure> {
        let verdict = privileges::confine(&mut self.plane)?;
        say_verdict(&verdict);
        self.verdicts.push(verdict);
        Ok(())
    }

    /// Runs until told to end, or for so long, or until the sink fails. Detaches. Gives the sink back, and how it went.
    fn trace<K: Sink>(
        self,
        sink: K,
        load: Option<Load>,
        within: Option<Duration>,
    ) -> Result<(K, Result<(), Failure>), Failure> {
        let Self { signals, plane, table, ledger, desk, since, before, mut reload, kubernetes, host, health, .. } =
            self;
        let host = machine(host)?;
        let mut agent = Agent::new(plane, sink, table, SystemClock, Arc::clone(&ledger));
        let known = (before.running.len(), before.found.sockets.len(), before.found.listeners.len());
        agent.begin(since, host, before);
        // What the first rounds read was recorded while the agent started.
        if let Some(kubernetes) = &kubernetes {
            agent.tell(kubernetes.first());
        }

        system::give_back_memory();
        let took = Duration::from_nanos(SystemClock.now().0.saturating_sub(since.0));
        let (processes, connections, listeners) = known;
        say(&format_args!(
            "ready: {processes} processes, {connections} connections and {listeners} listening sockets known after {:.1} s",
            took.as_secs_f64()
        ));
        health.round();
        health.traces(true);
        notify(NotifyState::Ready);

        let end = within.map(|within| Nanos(SystemClock.now().0.saturating_add(within.as_nanos() as u64)));
        let (desk, kubernetes) = (desk.as_ref(), kubernetes.as_ref());
        let beside = Beside { signals: &signals, ledger: &ledger, desk, kubernetes, health: &health };
        let ended = rounds(&mut agent, &beside, &mut reload, load, end);
        health.traces(false);
        notify(NotifyState::Stopping);
        Ok((agent.finish(), ended))
    }
}

/// What is looked at between two rounds.
struct Beside<'a> {
    signals: &'a Signals,
    ledger: &'a Ledger,
    desk: Option<&'a Desk>,
    kubernetes: Option<&'a Kubernetes>,
    health: &'a Health,
}

/// Rounds until told to end.
fn rounds<S, K, L, C>(
    agent: &mut Agent<S, K, L, C>,
    beside: &Beside<'_>,
    reload: &mut Reload,
    mut load: Option<Load>,
    end: Option<Nanos>,
) -> Result<(), Failure>
where
    S: source::Source,
    K: Sink,
    L: wirespan::proc::describe::Lookup,
    C: Clock,
{
    let &Beside { signals, ledger, desk, kubernetes, health } = beside;
    let mut asks = Vec::new();
    while !signals.end() && end.is_none_or(|end| SystemClock.now() < end) {
        agent.step();
        health.round();
        if let Some(kubernetes) = kubernetes {
            kubernetes.news().take(NEWS_PER_ROUND).for_each(|fact| agent.tell(&fact));
            agent.sink().take_asks(&mut asks);
            asks.drain(..).for_each(|address| kubernetes.ask(address));
        }
        if let Some(load) = &mut load {
            load.look(SystemClock.now()).into_iter().for_each(|told| agent.shed(told));
            load.news(ledger.counted(Count::ShedRequests)).iter().for_each(|said| say(said));
        }
        if signals.take_report() {
            agent.account();
            say_report(&agent.sink().report(), ledger);
        }
        if let Some(change) = reload.look(SystemClock.now(), signals.take_reload()) {
            agent.select(change.selection);
            say(&change.said);
        }
        if let Some(verdict) = reload.take_verdict() {
            health.file(verdict.err());
        }
        if let Some(question) = desk.and_then(Desk::question) {
            agent.account();
            question.answer(agent.sink().state());
        }
        if let Some(failure) = agent.sink().failure() {
            return Err(failure);
        }
        agent.wait(IDLE_PAUSE);
    }
    Ok(())
}

/// What was there before the probes.
fn before() -> Result<Before, Failure> {
    let unreadable =
        |error| Failure::CannotTrace(format!("cannot read /proc ({error}): mount it, with hidepid=0 or as root"));
    let running = scan::running().map_err(unreadable)?;
    let found = sockets::find().map_err(unreadable)?;
    for (netns, error) in &found.unseen {
        tracing::warn!("the sockets of network namespace {netns} that were there before are not known: {error}");
    }
    Ok(Before { running, found })
}

/// This machine and this run.
fn machine(name: String) -> Result<Host, Failure> {
    let mut seed = [0; 8];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Failure::Other(format!("the kernel gave no random numbers: {error}")))?;
    Ok(Host {
        name,
        boot_to_unix_ns: SystemClock.boot_to_unix_ns(),
        seed: u64::from_ne_bytes(seed),
        own_tgid: process::id(),
    })
}

/// Tells systemd, if it is there.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot tell systemd (NOTIFY_SOCKET): {error}");
    }
}
