//! Settings of a command: its options, the environment and the file put together and read.

use std::env;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wirespan::config::file::{self, Given};
use wirespan::config::layers::{Layers, Resolved};
use wirespan::config::problem::{Place, Problem};
use wirespan::config::yaml::MAX_BYTES;
use wirespan::config::{Connections, Options};
use wirespan::export::otlp;
use wirespan::flow::kubernetes::Naming;
use wirespan::k8s;
use wirespan::proc::arguments::Arguments;
use wirespan::proc::users::Users;
use wirespan::rights::trusted;

use crate::cli::{self, Flags, Format, LogFilter};
use crate::exit::Failure;

/// Names the file, if the command line does not.
const FILE_VARIABLE: &str = "WIRESPAN_CONFIG";

/// Where settings come from. They are read from there again when the file changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    flags: Flags,
    file: Option<NamedFile>,
}

/// The file, and what named it.
#[derive(Clone, Debug)]
struct NamedFile {
    path: PathBuf,
    by: &'static str,
}

/// Settings that were read.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What the core is told.
    pub options: Options,
    /// How spans are printed.
    pub format: Format,
    /// Where metrics are asked for.
    pub metrics_listen: Option<SocketAddr>,
    /// Where health is asked for.
    pub health_listen: Option<SocketAddr>,
    /// Size of the kernel's buffers.
    pub buffer_kib: Option<u32>,
    /// Whether probes are put on programs.
    pub uprobes: bool,
    /// Of a busy machine the agent takes more only in so far as it leaves nothing out.
    pub shed_above_percent: u64,
    /// What is said of command lines.
    pub arguments: Arguments,
    /// Who is asked for pods, if anybody.
    pub kubernetes: Option<k8s::Config>,
    /// How much is logged.
    pub filter: LogFilter,
    /// Where spans are sent, if anywhere; or why that is not understood, which only some commands mind.
    pub otlp: Result<Option<otlp::Config>, Problem>,
    /// All of it as text, and where it came from.
    pub resolved: Resolved,
}

impl Sources {
    /// What the command line says, and the file that it or the environment names.
    pub(crate) fn new(flags: Flags, config: Option<&Path>) -> Self {
        let by_flag = config.map(|path| NamedFile { path: path.to_owned(), by: "--config" });
        let by_variable = || {
            env::var_os(FILE_VARIABLE)
                .filter(|path| !path.is_empty())
                .map(|path| NamedFile { path: path.into(), by: FILE_VARIABLE })
        };
        Self { flags, file: by_flag.or_else(by_variable) }
    }

    /// The file.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// Puts everything together.
    pub(crate) fn load(&self) -> Result<Settings, Failure> {
        let usage = |problem: Problem| Failure::Usage(problem.to_string());
        let file = self.file.as_ref().map(NamedFile::read).transpose()?;
        let flag = |name: &str| self.flags.iter().find(|(flag, _)| *flag == name).map(|(_, texts)| texts.clone());
        let file = file.as_ref().map(|(name, given)| (name.as_str(), given.as_slice()));
        let resolved = Layers { flag: &flag, variable: &variable, file }.resolve().map_err(usage)?;
        Settings::read(resolved).map_err(usage)
    }
}

impl NamedFile {
    /// Its name, and what is in it.
    fn read(&self) -> Result<(String, Vec<Given>), Failure> {
        let Self { path, by } = self;
        let name = path.display().to_string();
        trusted::check(by, path).map_err(|untrusted| Failure::Usage(untrusted.to_string()))?;
        let mut text = String::new();
        // One byte more than is allowed: what is too long is found out.
        let limit = MAX_BYTES as u64 + 1;
        File::open(path)
            .and_then(|file| file.take(limit).read_to_string(&mut text))
            .map_err(|error| Failure::Usage(format!("{by} names {name}, which cannot be read: {error}")))?;
        let given = file::read(&name, &text).map_err(|problem| Failure::Usage(problem.to_string()))?;
        Ok((name, given))
    }
}

impl Settings {
    fn read(resolved: Resolved) -> Result<Self, Problem> {
        let mut selection = resolved.selection();
        let users = Users::of_this_machine();
        selection.resolve_users(|name| users.number(name)).map_err(|name| {
            let of = |key: &str| resolved.value(key).is_some_and(|value| value.texts.contains(&format!("user:{name}")));
            let key = if of("select.include") { "select.include" } else { "select.exclude" };
            resolved.problem(key, format!("no user of this machine is called `{name}`: give a number"))
        })?;
        let filter = resolved.text("log.filter").unwrap_or_default();
        let filter = cli::log_filter(filter)
            .map_err(|why| resolved.problem("log.filter", format!("`{filter}` is no filter of log messages: {why}")))?;
        // Each was checked to be what it must be; the table has the defaults.
        let number = |key: &str| resolved.number(key).unwrap_or_default();
        let options = Options {
            connections: match resolved.text("connections.report") {
                Some("off") => Connections::Off,
                Some("metrics") => Connections::Metrics,
                _ => Connections::Spans,
            },
            segment_ns: number("connections.segment").saturating_mul(1_000_000_000),
            max_connections: usize::try_from(number("connections.max")).unwrap_or(usize::MAX),
            links: true,
            link_wait_ns: number("links.wait_ms").saturating_mul(1_000_000),
            legacy_http_names: cli::asks_for_both(resolved.text("output.semconv")),
            selection,
        };
        Ok(Self {
            options,
            format: match resolved.text("output.format") {
                Some("json") => Format::Json,
                Some("none") => Format::None,
                _ => Format::Text,
            },
            metrics_listen: resolved.text("metrics.listen").and_then(|text| text.trim().parse().ok()),
            health_listen: resolved.text("health.listen").and_then(|text| text.trim().parse().ok()),
            uprobes: resolved.text("capture.uprobes") != Some("false"),
            shed_above_percent: number("capture.shed_above_percent"),
            buffer_kib: resolved.number("capture.buffer_kib").and_then(|kib| u32::try_from(kib).ok()),
            arguments: match resolved.text("process.arguments") {
                Some("all") => Arguments::All,
                Some("off") => Arguments::Off,
                _ => Arguments::Redacted,
            },
            kubernetes: kubernetes_of(&resolved)?,
            filter,
            otlp: otlp_of(&resolved),
            resolved,
        })
    }
}

/// Who is asked for pods.
fn kubernetes_of(resolved: &Resolved) -> Result<Option<k8s::Config>, Problem> {
    let text = |key: &str| resolved.text(key).map(str::to_owned);
    let kubeconfig = resolved.text("kubernetes.kubeconfig").map(PathBuf::from);
    let can_be_asked = kubeconfig.is_some() || k8s::is_in_cluster();
    match resolved.text("kubernetes.enabled") {
        Some("off") => return Ok(None),
        Some("on") if !can_be_asked => {
            let what =
                "`kubernetes.enabled` is on, but there is no service account here and no `kubernetes.kubeconfig`";
            return Err(resolved.problem("kubernetes.enabled", what));
        }
        _ if !can_be_asked => return Ok(None),
        _ => {}
    }
    let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(Some(k8s::Config {
        node: text("kubernetes.node").unwrap_or_else(machine),
        kubeconfig,
        cluster_name: text("kubernetes.cluster_name"),
        mesh_id: text("kubernetes.mesh_id"),
        naming: match resolved.text("kubernetes.naming") {
            Some("istio") => Naming::Istio,
            _ => Naming::Otel,
        },
        well_known_labels: resolved.text("kubernetes.well_known_labels") == Some("true"),
        peers: resolved.text("kubernetes.peers") != Some("false"),
        wait: Duration::from_millis(resolved.number("kubernetes.wait_ms").unwrap_or_default()),
    }))
}

/// Where spans are sent. What reads the environment finds the file behind it.
fn otlp_of(resolved: &Resolved) -> Result<Option<otlp::Config>, Problem> {
    otlp::Config::from_env(|name| variable(name).or_else(|| resolved.from_file(name))).map_err(|error| {
        match resolved.place_of(&error.variable) {
            Some((key, place)) => Problem { place: place.clone(), what: format!("`{key}`: {}", error.problem) },
            // It says the variable itself.
            None => Problem { place: Place::Environment, what: error.to_string() },
        }
    })
}

/// The files that the environment or the configuration names, each with what names it.
pub(crate) fn files_of(resolved: &Resolved) -> Vec<(String, PathBuf)> {
    let files = otlp::Config::files(|name| variable(name).or_else(|| resolved.from_file(name)));
    let named = |(name, path): (String, PathBuf)| match resolved.place_of(&name) {
        Some((key, place)) => (format!("{key} ({place})"), path),
        None => (name, path),
    };
    let kubeconfig = resolved.value("kubernetes.kubeconfig").and_then(|value| {
        let path = value.texts.first()?;
        Some((format!("kubernetes.kubeconfig ({})", value.place), PathBuf::from(path)))
    });
    files.into_iter().map(named).chain(kubeconfig).collect()
}

/// The value of `OTEL_SEMCONV_STABILITY_OPT_IN`.
pub(crate) fn semconv_opt_in() -> Option<String> {
    variable("OTEL_SEMCONV_STABILITY_OPT_IN")
}

/// An environment variable. An empty one counts as not set, as the OpenTelemetry specification says.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_the_defaults_of_the_core_hold() {
        let resolved = Layers { flag: &|_| None, variable: &|_| None, file: None }.resolve().expect("good");
        let settings = Settings::read(resolved).expect("good");
        assert_eq!(settings.options, Options::default());
        assert_eq!((settings.format, settings.arguments), (Format::Text, Arguments::Redacted));
        assert_eq!((settings.buffer_kib, settings.metrics_listen), (None, None));
        assert_eq!(settings.kubernetes, None, "this is no pod");
    }

    #[test]
    fn what_the_file_says_reaches_the_core() {
        let text = "connections: {report: metrics, segment: 5, max: 9}\nlinks: {wait_ms: 7}\noutput: {semconv: http/dup}\n\
                    select: {include: [user:root, port:80]}\n";
        let given = file::read("f.yaml", text).expect("good");
        let file = Some(("f.yaml", given.as_slice()));
        let resolved = Layers { flag: &|_| None, variable: &|_| None, file }.resolve().expect("good");
        let options = Settings::read(resolved).expect("good").options;
        assert_eq!(
            (options.connections, options.segment_ns, options.max_connections),
            (Connections::Metrics, 5_000_000_000, 9)
        );
        assert_eq!((options.link_wait_ns, options.legacy_http_names), (7_000_000, true));
        let root = wirespan::config::Subject { uid: Some(0), ..Default::default() };
        assert!(options.selection.takes_process(&root) && !options.selection.takes_process(&Default::default()));
    }

    #[test]
    fn a_cluster_is_asked_where_there_is_a_way_to_it() {
        let read = |text: &str| {
            let given = file::read("f.yaml", text).expect("good");
            let file = Some(("f.yaml", given.as_slice()));
            Settings::read(Layers { flag: &|_| None, variable: &|_| None, file }.resolve().expect("good"))
        };
        let text = "kubernetes: {kubeconfig: /k, node: n, cluster_name: c, naming: istio, well_known_labels: true, \
                    mesh_id: m, peers: false, wait_ms: 7}\n";
        let expect = k8s::Config {
            node: "n".to_owned(),
            kubeconfig: Some("/k".into()),
            cluster_name: Some("c".to_owned()),
            mesh_id: Some("m".to_owned()),
            naming: Naming::Istio,
            well_known_labels: true,
            peers: false,
            wait: Duration::from_millis(7),
        };
        assert_eq!(read(text).expect("good").kubernetes, Some(expect));
        assert_eq!(read("kubernetes: {enabled: off, kubeconfig: /k}\n").expect("good").kubernetes, None);
        let problem = read("kubernetes:\n  enabled: on\n").expect_err("nobody can be asked").to_string();
        assert!(problem.contains("f.yaml:2: `kubernetes.enabled` is on"), "{problem}");
    }

    #[test]
    fn a_user_that_nobody_is_and_a_filter_that_is_none_are_named_with_their_lines() {
        for (text, words) in [
            (
                "select:\n  exclude: [user:nobody-of-this-name]\n",
                "f.yaml:2: no user of this machine is called `nobody-of-this-name`",
            ),
            ("log:\n  filter: wirespan=loud\n", "f.yaml:2: `wirespan=loud` is no filter"),
        ] {
            let given = file::read("f.yaml", text).expect("good");
            let file = Some(("f.yaml", given.as_slice()));
            let resolved = Layers { flag: &|_| None, variable: &|_| None, file }.resolve().expect("good");
            let problem = Settings::read(resolved).expect_err(text).to_string();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
