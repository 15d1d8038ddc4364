//! The table of all settings: the file, the environment, `wirespan config` and the documentation are made from it.
//!
//! A setting is one line here. What takes its value reads it by its key.

use std::net::SocketAddr;
use std::path::Path;

use super::select::Selector;

/// One thing that the user may set.
#[derive(Debug)]
pub struct Setting {
    /// Its place in the file: names with dots between.
    pub key: &'static str,
    /// What it can be.
    pub kind: Kind,
    /// What it is if nobody says anything; empty for nothing.
    pub default: &'static str,
    /// Its option on the command line, without the dashes.
    pub flag: Option<&'static str>,
    /// Its environment variables. The first that is set counts.
    pub variables: &'static [&'static str],
    /// Whether a change of the file is obeyed at once. If not, the agent must be started anew.
    pub is_live: bool,
    /// What it does, in one sentence.
    pub about: &'static str,
}

/// What a setting can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Number {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A power of two.
    PowerOfTwo {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// `true` or `false`.
    Truth,
    /// Any text.
    Text,
    /// Path of a file, from the root.
    File,
    /// An address and a port.
    Address,
    /// Names and values.
    Pairs,
    /// A list of selectors.
    Selectors,
}

/// All of them, in the order in which they are shown.
pub static SETTINGS: &[Setting] = &[
    Setting {
        key: "select.include",
        kind: Kind::Selectors,
        default: "",
        flag: Some("only"),
        variables: &["WIRESPAN_SELECT_INCLUDE"],
        is_live: true,
        about: "Trace nothing else. Without it, everything but the agent itself is traced.",
    },
    Setting {
        key: "select.exclude",
        kind: Kind::Selectors,
        default: "",
        flag: Some("except"),
        variables: &["WIRESPAN_SELECT_EXCLUDE"],
        is_live: true,
        about: "Do not trace, even if it is included.",
    },
    Setting {
        key: "process.arguments",
        kind: Kind::Choice(&["redacted", "all", "off"]),
        default: "redacted",
        flag: Some("process-arguments"),
        variables: &["WIRESPAN_PROCESS_ARGUMENTS"],
        is_live: false,
        about: "What is said of the command line of a process: names of options without their values, everything, or nothing.",
    },
    Setting {
        key: "connections.report",
        kind: Kind::Choice(&["spans", "metrics", "off"]),
        default: "spans",
        flag: Some("connections"),
        variables: &["WIRESPAN_CONNECTIONS_REPORT"],
        is_live: false,
        about: "What becomes of TCP connections, besides the requests on them.",
    },
    Setting {
        key: "connections.segment",
        kind: Kind::Number { least: 1, most: 86_400 },
        default: "60",
        flag: Some("segment"),
        variables: &["WIRESPAN_CONNECTIONS_SEGMENT"],
        is_live: false,
        about: "Report a connection that lives longer in segments of so many seconds.",
    },
    Setting {
        key: "connections.max",
        kind: Kind::Number { least: 1, most: 1_048_576 },
        default: "32768",
        flag: Some("max-connections"),
        variables: &["WIRESPAN_CONNECTIONS_MAX"],
        is_live: false,
        about: "Connections kept at once, about 2 KiB each.",
    },
    Setting {
        key: "links.wait_ms",
        kind: Kind::Number { least: 0, most: 60_000 },
        default: "1000",
        flag: None,
        variables: &["WIRESPAN_LINKS_WAIT_MS"],
        is_live: false,
        about: "How long a span waits, after its last byte, for the request that it belongs to.",
    },
    Setting {
        key: "kubernetes.enabled",
        kind: Kind::Choice(&["auto", "on", "off"]),
        default: "auto",
        flag: None,
        variables: &["WIRESPAN_KUBERNETES_ENABLED"],
        is_live: false,
        about: "Ask a cluster who the pods of this machine are: auto does if there is a service account, or a kubeconfig is named.",
    },
    Setting {
        key: "kubernetes.node",
        kind: Kind::Text,
        default: "",
        flag: None,
        variables: &["WIRESPAN_KUBERNETES_NODE", "NODE_NAME"],
        is_live: false,
        about: "Name of this node, as the cluster knows it; without it, the machine's.",
    },
    Setting {
        key: "kubernetes.kubeconfig",
        kind: Kind::File,
        default: "",
        flag: None,
        variables: &["WIRESPAN_KUBERNETES_KUBECONFIG"],
        is_live: false,
        about: "How the cluster is reached, outside of pods. It must hold its credentials: no program is started for them.",
    },
    Setting {
        key: "kubernetes.cluster_name",
        kind: Kind::Text,
        default: "",
        flag: None,
        variables: &["WIRESPAN_KUBERNETES_CLUSTER_NAME"],
        is_live: false,
        about: "k8s.cluster.name of every span.",
    },
    Setting {
        key: "kubernetes.naming",
        kind: Kind::Choice(&["otel", "istio"]),
        default: "otel",
        flag: None,
        variables: &["WIRESPAN_KUBERNETES_NAMING"],
        is_live: false,
        about: "How services are named: by the rules of OpenTelemetry, or as Istio does (productpage.bookinfo).",
    },
    Setting {
        key: "kubernetes.well_known_labels",
        kind: Kind::Truth,
        default: "false",
        flag: None,
        variables: &["WIRESPAN_KUBERNETES_WELL_KNOWN_LABELS"],
        is_live: false,
        about: "Let the labels app.kubernetes.io/instance, name and version name services, as OpenTelemetry allows.",
    },
    Setting {
        key: "kubernetes.mesh_id",
        kind: Kind::Text,
        default: "",
        flag: None,
        variables: &["WIRESPAN_KUBERNETES_MESH_ID"],
        is_live: false,
        about: "istio.mesh_id of every span, with kubernetes.naming istio.",
    },
    Setting {
        key: "kubernetes.peers",
        kind: Kind::Truth,
        default: "true",
        flag: None,
        variables: &["WIRESPAN_KUBERNETES_PEERS"],
        is_live: false,
        about: "Say which pod or Service is at the other end of a connection, asking the cluster where it is not on this machine.",
    },
    Setting {
        key: "kubernetes.wait_ms",
        kind: Kind::Number { least: 0, most: 60_000 },
        default: "2000",
        flag: None,
        variables: &["WIRESPAN_KUBERNETES_WAIT_MS"],
        is_live: false,
        about: "How long a span waits, after its last byte, for who it is of and whom it speaks to.",
    },
    Setting {
        key: "capture.buffer_kib",
        kind: Kind::PowerOfTwo { least: 4, most: 1024 },
        default: "",
        flag: Some("buffer-kib"),
        variables: &["WIRESPAN_CAPTURE_BUFFER_KIB"],
        is_live: false,
        about: "Records of each CPU that may wait for the agent, in KiB. Without it, 1024 with up to 8 CPUs, 256 with up to 32, else 128.",
    },
    Setting {
        key: "capture.uprobes",
        kind: Kind::Truth,
        default: "true",
        flag: Some("no-uprobes"),
        variables: &["WIRESPAN_CAPTURE_UPROBES"],
        is_live: false,
        about: "Put probes on Go programs with net/http; without them their calls are joined to requests by what is seen from outside only.",
    },
    Setting {
        key: "capture.shed_above_percent",
        kind: Kind::Number { least: 0, most: 100 },
        default: "1",
        flag: Some("shed-above"),
        variables: &["WIRESPAN_CAPTURE_SHED_ABOVE_PERCENT"],
        is_live: false,
        about: "On a machine with less than a quarter of its time to spare, leave requests out of processes with very many, and count them, so that the agent takes no more of it than so many per cent; with 100 nothing is left out.",
    },
    Setting {
        key: "output.format",
        kind: Kind::Choice(&["text", "json", "none"]),
        default: "text",
        flag: Some("format"),
        variables: &["WIRESPAN_OUTPUT_FORMAT"],
        is_live: false,
        about: "How spans are printed to standard output.",
    },
    Setting {
        key: "output.semconv",
        kind: Kind::Text,
        default: "",
        flag: None,
        variables: &["OTEL_SEMCONV_STABILITY_OPT_IN"],
        is_live: false,
        about: "With http/dup, spans carry the older HTTP attribute names too.",
    },
    Setting {
        key: "metrics.listen",
        kind: Kind::Address,
        default: "",
        flag: Some("metrics-listen"),
        variables: &["WIRESPAN_METRICS_LISTEN"],
        is_live: false,
        about: "Where Prometheus is answered; without it nowhere. Whoever can reach the address can read it.",
    },
    Setting {
        key: "health.listen",
        kind: Kind::Address,
        default: "",
        flag: Some("health-listen"),
        variables: &["WIRESPAN_HEALTH_LISTEN"],
        is_live: false,
        about: "Where it is answered whether the agent lives (/livez) and is ready (/readyz); without it nowhere.",
    },
    Setting {
        key: "log.filter",
        kind: Kind::Text,
        default: "info",
        flag: Some("log"),
        variables: &["WIRESPAN_LOG_FILTER"],
        is_live: false,
        about: "How much is said on standard error: off, error, warn, info, debug or trace, or a filter such as wirespan=debug,h2=warn.",
    },
    Setting {
        key: "otlp.endpoint",
        kind: Kind::Text,
        default: "",
        flag: None,
        variables: &["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
        is_live: false,
        about: "The OTLP receiver to send spans to; without it nothing is sent.",
    },
    Setting {
        key: "otlp.protocol",
        kind: Kind::Choice(&["http/protobuf", "grpc", "http/json"]),
        default: "http/protobuf",
        flag: None,
        variables: &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
        is_live: false,
        about: "How spans are sent.",
    },
    Setting {
        key: "otlp.headers",
        kind: Kind::Pairs,
        default: "",
        flag: None,
        variables: &["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
        is_live: false,
        about: "Headers sent with every request. Their values are never shown.",
    },
    Setting {
        key: "otlp.timeout_ms",
        kind: Kind::Number { least: 1, most: MOST_MS },
        default: "10000",
        flag: None,
        variables: &["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
        is_live: false,
        about: "How long the answer to one request may take.",
    },
    Setting {
        key: "otlp.compression",
        kind: Kind::Choice(&["none", "gzip"]),
        default: "none",
        flag: None,
        variables: &["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
        is_live: false,
        about: "Whether requests are compressed.",
    },
    Setting {
        key: "otlp.certificate",
        kind: Kind::File,
        default: "",
        flag: None,
        variables: &["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
        is_live: false,
        about: "Certificates to trust, instead of the system's: a PEM file.",
    },
    Setting {
        key: "otlp.client_key",
        kind: Kind::File,
        default: "",
        flag: None,
        variables: &["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"],
        is_live: false,
        about: "Key of the client's certificate: a PEM file.",
    },
    Setting {
        key: "otlp.client_certificate",
        kind: Kind::File,
        default: "",
        flag: None,
        variables: &["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"],
        is_live: false,
        about: "Certificate to show to the receiver: a PEM file.",
    },
    Setting {
        key: "otlp.insecure",
        kind: Kind::Truth,
        default: "false",
        flag: None,
        variables: &["OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"],
        is_live: false,
        about: "For gRPC endpoints without a scheme: whether TLS is left out.",
    },
    Setting {
        key: "otlp.schedule_delay_ms",
        kind: Kind::Number { least: 0, most: MOST_MS },
        default: "1000",
        flag: None,
        variables: &["OTEL_BSP_SCHEDULE_DELAY"],
        is_live: false,
        about: "A batch is sent when its first span has waited so long.",
    },
    Setting {
        key: "otlp.export_timeout_ms",
        kind: Kind::Number { least: 1, most: MOST_MS },
        default: "60000",
        flag: None,
        variables: &["OTEL_BSP_EXPORT_TIMEOUT"],
        is_live: false,
        about: "A batch that could not be sent for so long is given up.",
    },
    Setting {
        key: "otlp.queue_spans",
        kind: Kind::Number { least: 1, most: 1_048_576 },
        default: "32768",
        flag: None,
        variables: &["OTEL_BSP_MAX_QUEUE_SIZE"],
        is_live: false,
        about: "Spans that may wait to be sent, about 1.5 KiB each; more are dropped and counted.",
    },
    Setting {
        key: "otlp.batch_spans",
        kind: Kind::Number { least: 1, most: 2048 },
        default: "512",
        flag: None,
        variables: &["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
        is_live: false,
        about: "Spans of one request to the receiver.",
    },
];

/// An hour: nobody means more.
const MOST_MS: u64 = 3_600_000;

/// The setting of this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

impl Setting {
    /// Whether its value may be shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Pairs
    }

    /// Whether it holds several values.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Selectors | Kind::Pairs)
    }
}

impl Kind {
    /// What is wrong with a value, if anything; said so that it follows "it".
    ///
    /// # Errors
    ///
    /// If it can't be one.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Choice(words) if !words.contains(&text) => {
                Err(format!("is `{text}`, and can be {}", alternatives(words)))
            }
            Self::Number { least, most } if !text.parse().is_ok_and(|number| (least..=most).contains(&number)) => {
                Err(format!("is `{text}`, and must be a whole number from {least} to {most}"))
            }
            Self::PowerOfTwo { least, most }
                if !text
                    .parse()
                    .is_ok_and(|number: u64| (least..=most).contains(&number) && number.is_power_of_two()) =>
            {
                Err(format!("is `{text}`, and must be a power of two from {least} to {most}"))
            }
            Self::Truth if !matches!(text, "true" | "false") => Err(format!("is `{text}`, and must be true or false")),
            Self::File if !Path::new(text).is_absolute() => {
                Err(format!("is `{text}`, and must be the path of a file, from the root on"))
            }
            Self::Address if text.parse::<SocketAddr>().is_err() => {
                Err(format!("is `{text}`, not an address and a port, such as 127.0.0.1:9464 or [::]:9464"))
            }
            Self::Selectors => {
                text.parse::<Selector>().map(drop).map_err(|error| format!("has an entry that is wrong: {error}"))
            }
            // Values may be secret: they are not repeated.
            Self::Pairs if text.split_once('=').is_none_or(|(name, _)| name.is_empty()) => {
                Err("has an entry that is no name and value".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What it can be, in a few words.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Choice(words) => alternatives(words),
            Self::Number { least, most } => format!("a whole number from {least} to {most}"),
            Self::PowerOfTwo { least, most } => format!("a power of two from {least} to {most}"),
            Self::Truth => "true or false".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::File => "the path of a file".to_owned(),
            Self::Address => "an address and a port".to_owned(),
            Self::Pairs => "a mapping of names to values".to_owned(),
            Self::Selectors => "a list of selectors".to_owned(),
        }
    }
}

/// `one, two or three`.
fn alternatives(words: &[&str]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_variables_and_flags_are_each_used_once() {
        let mut seen = HashSet::new();
        for setting in SETTINGS {
            for name in setting.variables.iter().chain([&setting.key]).chain(&setting.flag) {
                assert!(seen.insert(*name), "{name}");
            }
            assert!(!setting.variables.is_empty(), "{}", setting.key);
        }
    }

    #[test]
    fn no_key_is_the_beginning_of_another() {
        for one in SETTINGS {
            for other in SETTINGS {
                assert!(!other.key.starts_with(&format!("{}.", one.key)), "{} {}", one.key, other.key);
            }
        }
    }

    #[test]
    fn each_default_is_a_value_that_can_be_set() {
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            assert_eq!(setting.kind.check(setting.default), Ok(()), "{}", setting.key);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_right() {
        let table = [
            ("connections.report", "on", "spans, metrics or off"),
            ("connections.segment", "0", "from 1 to 86400"),
            ("connections.segment", "1.5", "whole number"),
            ("capture.buffer_kib", "5", "power of two from 4 to 1024"),
            ("otlp.insecure", "yes", "true or false"),
            ("otlp.certificate", "ca.pem", "from the root on"),
            ("metrics.listen", "9464", "127.0.0.1:9464"),
            ("select.include", "nginx", "exe:NAME"),
        ];
        for (key, text, words) in table {
            let why = find(key).expect("a setting").kind.check(text).expect_err(text);
            assert!(why.contains(words), "{key}: {why}");
        }
        let why = Kind::Pairs.check("secret-without-a-name").expect_err("no pair");
        assert!(!why.contains("secret"), "{why}");
    }
}
