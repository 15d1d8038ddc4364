//! The command line. What it says here is what `--help` prints.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use wirespan::config::{Connections, Options, Selector};

/// Said by `--help` of the program and of each command.
const ENVIRONMENT_AND_EXIT_CODES: &str = "\
Environment:
  OTEL_EXPORTER_OTLP_ENDPOINT
      Send spans to this OTLP receiver too; without it nothing is sent. Also
      honoured, as the OpenTelemetry specification says: OTEL_EXPORTER_OTLP_
      PROTOCOL, HEADERS, TIMEOUT, COMPRESSION, CERTIFICATE, CLIENT_KEY,
      CLIENT_CERTIFICATE and INSECURE, and the OTEL_EXPORTER_OTLP_TRACES_ form
      of each, which comes first.
  WIRESPAN_CONFIG
      What --config says, if that is not given.
  WIRESPAN_SELECT_INCLUDE, WIRESPAN_METRICS_LISTEN and so on
      Every setting has a variable: `wirespan config print` and docs/configuration.md
      name them. The command line comes before the environment, that before
      the file, that before the defaults.
  OTEL_SEMCONV_STABILITY_OPT_IN
      With http/dup, spans carry the older HTTP attribute names too.
  NO_COLOR
      No colours, also on a terminal.
  NOTIFY_SOCKET
      Set by systemd, which is told when the agent is ready and when it stops.
  OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES of each traced process name its
  service.

Signals:
  SIGINT, SIGTERM   end: detach everything, send what is waiting (at most 5 s),
                    print the ledger
  SIGUSR1           print the ledger: what was observed, delivered and dropped
  SIGHUP            read the configuration file anew, as when it changes

Exit codes:
  0   ended as asked
  1   something else failed, such as reading a recording; check: something is
      missing here
  2   the command line or the configuration was not understood
  3   this machine can't be traced: no permission, or the kernel lacks something
  4   output failed: standard output was closed, the file can't be written, the
      address for metrics or health can't be had, or not all spans could be sent before the
      end";

const EXAMPLES_OF_RUN: &str = "\
Examples:
  wirespan run
  wirespan run --only exe:nginx --except port:9090
  wirespan run --config /etc/wirespan/wirespan.yaml
  wirespan run --format json > spans.jsonl
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 wirespan run --format none
";

const EXAMPLES_OF_CONFIG: &str = "\
Examples:
  wirespan config print --config wirespan.yaml --only exe:nginx
  wirespan config check --config wirespan.yaml
  wirespan config schema > wirespan.schema.json
";

const EXAMPLES_OF_RECORD: &str = "\
Examples:
  wirespan record trouble.wspan --seconds 30
  wirespan replay trouble.wspan --format text
";

/// Shows every TCP connection and every request of a Linux machine as OpenTelemetry spans, without touching a program.
#[derive(Debug, Parser)]
#[command(name = "wirespan", version, after_help = ENVIRONMENT_AND_EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Trace this machine until it is ended: spans to standard output and to an OTLP receiver. Needs root.
    #[command(after_help = format!("{EXAMPLES_OF_RUN}\n{ENVIRONMENT_AND_EXIT_CODES}"))]
    Run(RunArgs),
    /// Write what `run` would see to a file, from which `replay` makes the spans. Needs root.
    ///
    /// The file holds the heads of all messages as they were on the wire, with all that is secret in them. Only its
    /// owner may read it.
    #[command(after_help = format!("{EXAMPLES_OF_RECORD}\n{ENVIRONMENT_AND_EXIT_CODES}"))]
    Record(RecordArgs),
    /// Print the spans of a recording. The same file gives the same bytes, on any machine.
    #[command(after_help = format!("{EXAMPLES_OF_RECORD}\n{ENVIRONMENT_AND_EXIT_CODES}"))]
    Replay(ReplayArgs),
    /// Say what would work here and why not: attach everything as `run` does, and detach it at once.
    ///
    /// Ends with 0 if everything works, with 1 if something is missing, and with 3 if nothing can be traced. Without
    /// root it says what it could not find out.
    #[command(after_help = ENVIRONMENT_AND_EXIT_CODES)]
    Check(CheckArgs),
    /// Look at the configuration: what it comes to, whether it is good, what may be in it. Needs no rights.
    #[command(after_help = format!("{EXAMPLES_OF_CONFIG}\n{ENVIRONMENT_AND_EXIT_CODES}"))]
    Config(ConfigArgs),
}

/// `wirespan run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// How spans are printed to standard output. [default: text]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Say to Prometheus what the agent costs, what it lost and how its parts stand: http://ADDRESS:PORT/metrics.
    /// Whoever can reach the address can read it. Port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen_address)]
    pub metrics_listen: Option<SocketAddr>,
    /// Say whether the loop goes round (http://ADDRESS:PORT/livez), and whether the probes are attached and the
    /// configuration is valid (/readyz). Port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen_address)]
    pub health_listen: Option<SocketAddr>,
    /// On a machine with less than a quarter of its time to spare, leave requests out of processes with very many, and count them,
    /// so that the agent takes no more of it than so many per cent; 100 leaves nothing out. [default: 1]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(..=100))]
    pub shed_above: Option<u64>,
    /// How a machine is traced.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// `wirespan record`.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The file to write; what it held before is lost.
    pub file: PathBuf,
    /// End after so many seconds; without it, when the program is ended.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
    /// How a machine is traced.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// `wirespan replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A file that `wirespan record` wrote.
    pub file: PathBuf,
    /// How spans are printed to standard output.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub format: Format,
    /// What is made of connections.
    #[command(flatten)]
    pub core: CoreArgs,
    /// How much is said.
    #[command(flatten)]
    pub log: LogArgs,
}

/// `wirespan check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// How the answer is printed to standard output.
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
    /// The configuration file that `run` would be given.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How much is said.
    #[command(flatten)]
    pub log: LogArgs,
}

/// `wirespan config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// What can be done with a configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print every setting with its value and where that came from. Values of headers are left out.
    Print(RunArgs),
    /// Say what is wrong with it, if anything.
    Check(RunArgs),
    /// Print a JSON Schema of the file.
    Schema,
}

/// What `run` and `record` have in common.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// A YAML file with settings; see docs/configuration.md. It is read anew when it changes.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Trace nothing else: exe:NAME, exe:/PATH, pid:NUMBER, port:NUMBER, user:NAME, container:ID, cgroup:/PATH, unit:NAME,
    /// service:NAME; of pods, namespace:NAME, pod:NAME, workload:NAME, label:KEY=VALUE or annotation:KEY=VALUE. In names and
    /// values, * stands for anything. May be given several times.
    #[arg(long, value_name = "SELECTOR")]
    pub only: Vec<Selector>,
    /// Do not trace: as for --only, which it overrules. May be given several times.
    #[arg(long, value_name = "SELECTOR")]
    pub except: Vec<Selector>,
    /// Records of each CPU that may wait for the agent, in KiB: a power of two from 4 to 1024. More loses less when the
    /// agent is held up. Without it, 1024 with up to 8 CPUs, 256 with up to 32, else 128; it takes twice that much memory.
    #[arg(long, value_name = "KIB", value_parser = buffer_kib)]
    pub buffer_kib: Option<u32>,
    /// What is said of the command line of a process. [default: redacted]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub process_arguments: Option<ArgumentsArg>,
    /// Put no probes on programs. Without them, it is not told which goroutine of a Go program makes a call with net/http, and
    /// such calls are joined to requests by their order only.
    #[arg(long)]
    pub no_uprobes: bool,
    /// What is made of connections.
    #[command(flatten)]
    pub core: CoreArgs,
    /// How much is said.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What changes the spans that are made.
#[derive(Debug, Args)]
pub(crate) struct CoreArgs {
    /// What becomes of TCP connections, besides the requests on them. [default: spans]
    #[arg(long, value_enum)]
    pub connections: Option<ConnectionsArg>,
    /// Report a connection that lives longer in segments of so many seconds. [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub segment: Option<u64>,
    /// Connections kept at once, about 2 KiB each; beyond that the one that was idle longest is forgotten. [default: 32768]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub max_connections: Option<u32>,
}

/// How much is said on standard error.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// How much is said on standard error: off, error, warn, info, debug or trace, or a filter such as
    /// wirespan=debug,h2=warn. [default: info]
    #[arg(long = "log", value_name = "LEVEL", value_parser = log_filter)]
    pub filter: Option<LogFilter>,
}

/// A filter for log messages that is known to be one.
#[derive(Clone, Debug)]
pub(crate) struct LogFilter(String);

/// How spans are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: a waterfall per trace, at most as many as can be followed.
    Text,
    /// For programs: every span, one OTLP/JSON object per line.
    Json,
    /// Not at all.
    None,
}

/// How the answer of `check` is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people: a line for each thing.
    Text,
    /// For programs: one JSON object.
    Json,
}

/// What becomes of TCP connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConnectionsArg {
    /// A span each.
    Spans,
    /// Totals per process.
    Metrics,
    /// Nothing.
    Off,
}

/// What is said of command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArgumentsArg {
    /// The program and the names of options, without their values.
    Redacted,
    /// Everything.
    All,
    /// Nothing.
    Off,
}

/// What the command line says of settings: the name of each option that was given, and its values.
pub(crate) type Flags = Vec<(&'static str, Vec<String>)>;

impl RunArgs {
    /// What was given.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = self.trace.flags();
        flags.extend(self.format.map(|format| ("format", vec![name(&format)])));
        flags.extend(self.metrics_listen.map(|address| ("metrics-listen", vec![address.to_string()])));
        flags.extend(self.health_listen.map(|address| ("health-listen", vec![address.to_string()])));
        flags.extend(self.shed_above.map(|percent| ("shed-above", vec![percent.to_string()])));
        flags
    }
}

impl TraceArgs {
    /// What was given.
    pub(crate) fn flags(&self) -> Flags {
        let texts = |selectors: &[Selector]| selectors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut flags = vec![("only", texts(&self.only)), ("except", texts(&self.except))];
        flags.retain(|(_, texts)| !texts.is_empty());
        flags.extend(self.buffer_kib.map(|kib| ("buffer-kib", vec![kib.to_string()])));
        flags.extend(self.no_uprobes.then(|| ("no-uprobes", vec![false.to_string()])));
        flags.extend(self.process_arguments.map(|what| ("process-arguments", vec![name(&what)])));
        let CoreArgs { connections, segment, max_connections } = self.core;
        flags.extend(connections.map(|what| ("connections", vec![name(&what)])));
        flags.extend(segment.map(|seconds| ("segment", vec![seconds.to_string()])));
        flags.extend(max_connections.map(|number| ("max-connections", vec![number.to_string()])));
        flags.extend(self.log.filter.as_ref().map(|LogFilter(filter)| ("log", vec![filter.clone()])));
        flags
    }
}

impl CoreArgs {
    /// What the core is told, if nothing else says anything. `opt_in` is the value of `OTEL_SEMCONV_STABILITY_OPT_IN`.
    pub(crate) fn options(&self, opt_in: Option<&str>) -> Options {
        let mut options = Options { legacy_http_names: asks_for_both(opt_in), ..Options::default() };
        if let Some(connections) = self.connections {
            options.connections = connections.into();
        }
        if let Some(seconds) = self.segment {
            options.segment_ns = u64::try_from(Duration::from_secs(seconds).as_nanos()).unwrap_or(u64::MAX);
        }
        if let Some(number) = self.max_connections {
            options.max_connections = number as usize;
        }
        options
    }
}

impl From<ConnectionsArg> for Connections {
    fn from(connections: ConnectionsArg) -> Self {
        match connections {
            ConnectionsArg::Spans => Self::Spans,
            ConnectionsArg::Metrics => Self::Metrics,
            ConnectionsArg::Off => Self::Off,
        }
    }
}

/// Whether `OTEL_SEMCONV_STABILITY_OPT_IN`, a list of words, asks for the older names of HTTP too.
pub(crate) fn asks_for_both(opt_in: Option<&str>) -> bool {
    opt_in.is_some_and(|words| words.split(',').any(|word| word.trim() == "http/dup"))
}

/// As it is written on the command line.
fn name<V: ValueEnum>(value: &V) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl LogFilter {
    /// The filter.
    pub(crate) fn to_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// A filter of log messages.
pub(crate) fn log_filter(text: &str) -> Result<LogFilter, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) if !text.trim().is_empty() => Ok(LogFilter(text.to_owned())),
        Ok(_) => Err("it is empty".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// An address to listen on.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| "not an address and a port, such as 127.0.0.1:9464 or [::]:9464".to_owned())
}

/// Buffers are whole pages, and a power of two of them.
fn buffer_kib(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(kib @ 4..=1024) if u32::is_power_of_two(kib) => Ok(kib),
        _ => Err("not a power of two from 4 to 1024".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;
    use crate::exit;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn run_options(line: &str, opt_in: Option<&str>) -> Options {
        match parse(line).expect("a good command line").command {
            Command::Run(run) => run.trace.core.options(opt_in),
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn the_parser_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_flags_the_defaults_of_the_core_hold() {
        assert_eq!(run_options("wirespan run", None), Options::default());
    }

    #[test]
    fn flags_become_options() {
        let options =
            run_options("wirespan run --connections off --segment 5 --max-connections 9", Some("database, http/dup"));
        let expect = Options {
            connections: Connections::Off,
            segment_ns: 5_000_000_000,
            max_connections: 9,
            legacy_http_names: true,
            ..Options::default()
        };
        assert_eq!(options, expect);
    }

    #[test]
    fn what_was_given_is_told_by_the_names_of_settings() {
        let line = "wirespan run --only exe:nginx --only pid:7 --except port:22 --connections off --segment 5 --max-connections 9 \
                    --buffer-kib 64 --no-uprobes --process-arguments all --log debug --format json --metrics-listen 127.0.0.1:1 \
                    --health-listen 127.0.0.1:2 --shed-above 5";
        let Command::Run(run) = parse(line).expect("a good command line").command else { panic!("not run") };
        let mut flags = run.flags();
        let known: Vec<_> = wirespan::config::setting::SETTINGS.iter().filter_map(|setting| setting.flag).collect();
        assert!(flags.iter().all(|(flag, _)| known.contains(flag)), "{flags:?}");
        assert_eq!(flags.len(), known.len(), "every option of a setting is on the line above");
        flags.retain(|(flag, _)| matches!(*flag, "only" | "connections"));
        assert_eq!(
            flags,
            [("only", vec!["exe:nginx".to_owned(), "pid:7".to_owned()]), ("connections", vec!["off".to_owned()])]
        );
        let Command::Run(run) = parse("wirespan run").expect("good").command else { panic!("not run") };
        assert_eq!(run.flags(), []);
    }

    #[test]
    fn only_dup_asks_for_the_older_names_too() {
        for (opt_in, expect) in [("", false), ("http", false), ("http/dup", true), ("http/duplicate", false)] {
            assert_eq!(run_options("wirespan run", Some(opt_in)).legacy_http_names, expect, "{opt_in}");
        }
    }

    #[test]
    fn what_is_not_understood_ends_with_the_code_for_usage() {
        for line in [
            "wirespan",
            "wirespan walk",
            "wirespan run --onyl exe:x",
            "wirespan run --only nginx",
            "wirespan run --only port:0",
            "wirespan run --segment 0",
            "wirespan run --buffer-kib 5",
            "wirespan run --buffer-kib 131072",
            "wirespan run --log wirespan=loud",
            "wirespan run --format xml",
            "wirespan run --metrics-listen 9464",
            "wirespan run --metrics-listen localhost:9464",
            "wirespan record f --metrics-listen 127.0.0.1:9464",
            "wirespan check --format none",
            "wirespan config",
            "wirespan config print --only nginx",
            "wirespan record",
            "wirespan record f --seconds 0",
            "wirespan replay",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{line}: {error}");
        }
    }

    #[test]
    fn metrics_are_listened_for_where_asked() {
        for (line, expect) in [
            ("wirespan run", None),
            ("wirespan run --metrics-listen 127.0.0.1:9464", Some("127.0.0.1:9464")),
            ("wirespan run --metrics-listen [::]:0", Some("[::]:0")),
        ] {
            match parse(line).expect("a good command line").command {
                Command::Run(run) => {
                    assert_eq!(run.metrics_listen.map(|address| address.to_string()).as_deref(), expect);
                }
                other => panic!("not run: {other:?}"),
            }
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for (line, kind) in [
            ("wirespan --help", ErrorKind::DisplayHelp),
            ("wirespan run --help", ErrorKind::DisplayHelp),
            ("wirespan --version", ErrorKind::DisplayVersion),
        ] {
            let answer = parse(line).expect_err(line);
            assert_eq!((answer.kind(), answer.exit_code()), (kind, 0), "{line}");
        }
    }

    #[test]
    fn the_help_of_each_command_lists_every_exit_code() {
        for line in ["wirespan --help", "wirespan run --help", "wirespan record -h", "wirespan replay --help"] {
            let help = parse(line).expect_err(line).to_string();
            for code in [0, exit::FAILED, exit::USAGE, exit::CANNOT_TRACE, exit::OUTPUT_FAILED] {
                assert!(help.contains(&format!("\n  {code}   ")), "{line}: {code}");
            }
        }
    }

    #[test]
    fn a_replay_is_printed_for_programs_unless_asked_otherwise() {
        match parse("wirespan replay f").expect("a good command line").command {
            Command::Replay(replay) => assert_eq!(replay.format, Format::Json),
            other => panic!("not replay: {other:?}"),
        }
    }
}
