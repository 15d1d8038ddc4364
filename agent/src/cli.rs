//! The command line. What it says here is what `--help` prints.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use wirespan::config::{Connections, Options, Selection, Selector};

/// Said by `--help` of the program and of each command.
const ENVIRONMENT_AND_EXIT_CODES: &str = "\
Environment:
  OTEL_EXPORTER_OTLP_ENDPOINT
      Send spans to this OTLP receiver too; without it nothing is sent. Also
      honoured, as the OpenTelemetry specification says: OTEL_EXPORTER_OTLP_
      PROTOCOL, HEADERS, TIMEOUT, COMPRESSION, CERTIFICATE, CLIENT_KEY,
      CLIENT_CERTIFICATE and INSECURE, and the OTEL_EXPORTER_OTLP_TRACES_ form
      of each, which comes first.
  WIRESPAN_METRICS_LISTEN
      What --metrics-listen says, if that is not given.
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

Exit codes:
  0   ended as asked
  1   something else failed, such as reading a recording; check: something is
      missing here
  2   the command line was not understood
  3   this machine can't be traced: no permission, or the kernel lacks something
  4   output failed: standard output was closed, the file can't be written, the
      address for metrics can't be had, or not all spans could be sent before the
      end";

const EXAMPLES_OF_RUN: &str = "\
Examples:
  wirespan run
  wirespan run --only exe:nginx --except port:9090
  wirespan run --format json > spans.jsonl
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 wirespan run --format none
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
}

/// `wirespan run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// How spans are printed to standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Say to Prometheus what the agent costs, what it lost and how its parts stand: http://ADDRESS:PORT/metrics.
    /// Whoever can reach the address can read it. Port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen_address)]
    pub metrics_listen: Option<SocketAddr>,
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
    /// How much is said.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What `run` and `record` have in common.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// Trace nothing else: exe:NAME, exe:/PATH, pid:NUMBER or port:NUMBER. May be given several times.
    #[arg(long, value_name = "SELECTOR")]
    pub only: Vec<Selector>,
    /// Do not trace: as for --only, which it overrules. May be given several times.
    #[arg(long, value_name = "SELECTOR")]
    pub except: Vec<Selector>,
    /// Records of each CPU that may wait for the agent, in KiB: a power of two from 4 to 1024. More loses less when the
    /// agent is held up. Without it, 1024 with up to 8 CPUs, 256 with up to 32, else 128; it takes twice that much memory.
    #[arg(long, value_name = "KIB", value_parser = buffer_kib)]
    pub buffer_kib: Option<u32>,
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
    /// What becomes of TCP connections, besides the requests on them.
    #[arg(long, value_enum, default_value_t = ConnectionsArg::Spans)]
    pub connections: ConnectionsArg,
    /// Report a connection that lives longer in segments of so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub segment: u64,
    /// Connections kept at once, about 2 KiB each; beyond that the one that was idle longest is forgotten.
    #[arg(long, value_name = "N", default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub max_connections: u32,
}

/// How much is said on standard error.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// How much is said on standard error: off, error, warn, info, debug or trace, or a filter such as
    /// wirespan=debug,h2=warn.
    #[arg(long = "log", value_name = "LEVEL", default_value = "info", value_parser = log_filter)]
    pub filter: LogFilter,
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

impl TraceArgs {
    /// What is traced.
    pub(crate) fn selection(&self) -> Selection {
        Selection { only: self.only.clone(), except: self.except.clone() }
    }

    /// What the core is told. `opt_in` is the value of `OTEL_SEMCONV_STABILITY_OPT_IN`.
    pub(crate) fn options(&self, opt_in: Option<&str>) -> Options {
        Options { selection: self.selection(), ..self.core.options(opt_in) }
    }
}

impl CoreArgs {
    /// What the core is told. `opt_in` is the value of `OTEL_SEMCONV_STABILITY_OPT_IN`: a list of words.
    pub(crate) fn options(&self, opt_in: Option<&str>) -> Options {
        Options {
            connections: match self.connections {
                ConnectionsArg::Spans => Connections::Spans,
                ConnectionsArg::Metrics => Connections::Metrics,
                ConnectionsArg::Off => Connections::Off,
            },
            segment_ns: u64::try_from(Duration::from_secs(self.segment).as_nanos()).unwrap_or(u64::MAX),
            max_connections: self.max_connections as usize,
            legacy_http_names: opt_in.is_some_and(|words| words.split(',').any(|word| word.trim() == "http/dup")),
            ..Options::default()
        }
    }
}

impl LogFilter {
    /// The filter.
    pub(crate) fn to_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

fn log_filter(text: &str) -> Result<LogFilter, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) if !text.trim().is_empty() => Ok(LogFilter(text.to_owned())),
        Ok(_) => Err("it is empty".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// An address to listen on.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
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
            Command::Run(run) => run.trace.options(opt_in),
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
        let options = run_options(
            "wirespan run --only exe:nginx --only pid:7 --except port:22 --connections off --segment 5 --max-connections 9",
            Some("database, http/dup"),
        );
        let expect = Options {
            connections: Connections::Off,
            segment_ns: 5_000_000_000,
            selection: Selection {
                only: vec![Selector::Executable("nginx".to_owned()), Selector::Pid(7)],
                except: vec![Selector::Port(22)],
            },
            max_connections: 9,
            legacy_http_names: true,
        };
        assert_eq!(options, expect);
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
