//! What the environment says about the OTLP exporter, by the OpenTelemetry specification ("OTLP Exporter
//! Configuration", "Batch Span Processor"). Pure: the environment is handed in.
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `OTEL_EXPORTER_OTLP_[TRACES_]ENDPOINT` | none: nothing is exported | base, to which `/v1/traces` is added; for traces used as it is |
//! | `..._PROTOCOL` | `http/protobuf` | or `grpc`, `http/json` |
//! | `..._HEADERS` | none | `key=value,key2=value2`, values percent-encoded |
//! | `..._TIMEOUT` | 10 000 ms | for the answer to one request |
//! | `..._COMPRESSION` | `none` | or `gzip` |
//! | `..._CERTIFICATE`, `..._CLIENT_KEY`, `..._CLIENT_CERTIFICATE` | the system's, none, none | PEM files |
//! | `..._INSECURE` | `false` | for gRPC endpoints without a scheme: `true` is http |
//! | `OTEL_BSP_SCHEDULE_DELAY` | 1 000 ms (specification: 5 000) | a batch is sent when its first span has waited so long |
//! | `OTEL_BSP_EXPORT_TIMEOUT` | 60 000 ms (specification: 30 000) | a batch is given up after so long |
//! | `OTEL_BSP_MAX_QUEUE_SIZE` | 32 768 spans (specification: 2 048) | more are dropped and counted |
//! | `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` | 512 spans | at most 2 048 |

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderMap, Uri};

use super::headers;

/// Of the specification.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The specification says 5 s; a person who watches traces arrive should not wait that long.
const SCHEDULE_DELAY: Duration = Duration::from_secs(1);
/// Of the specification.
const BATCH_SPANS: usize = 512;
/// The specification says 2 048, which a burst of a few thousand requests within a second overflows. About 1.5 KiB a
/// span: 48 MiB, held only while the receiver is away or slow.
const QUEUE_SPANS: usize = 32_768;
/// More would not fit into a request of 64 MiB if every span were as large as the heads that it is made of (20 KiB).
const MOST_BATCH_SPANS: usize = 2_048;
/// The settings that are paths of files.
const FILES: &[&str] = &["CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"];
/// A batch that could not be delivered for so long is given up, so that newer ones get their turn.
const GIVE_UP: Duration = Duration::from_secs(60);

/// How to reach the receiver, and when.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to: for HTTP with the whole path, for gRPC only scheme, host and port.
    pub endpoint: Uri,
    /// In which form.
    pub protocol: Protocol,
    /// Sent with every request; values may be secret.
    pub headers: HeaderMap,
    /// For the answer to one request.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// Certificates, where the scheme is https.
    pub tls: Tls,
    /// A batch is sent when its first span has waited this long.
    pub schedule_delay: Duration,
    /// Or when it has so many spans.
    pub batch_spans: usize,
    /// Spans that wait at most; more are dropped.
    pub queue_spans: usize,
    /// A batch is given up after so long.
    pub give_up: Duration,
    /// What was ignored and why, to be told to the user.
    pub warnings: Vec<String>,
}

/// The transports of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`.
    Grpc,
    /// `http/protobuf`, the default.
    HttpProtobuf,
    /// `http/json`.
    HttpJson,
}

/// PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust, instead of the system's.
    pub certificate: Option<PathBuf>,
    /// Key of the client's certificate.
    pub client_key: Option<PathBuf>,
    /// Certificate to show to the receiver.
    pub client_certificate: Option<PathBuf>,
}

/// A setting that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    /// The environment variable.
    pub variable: String,
    /// What is wrong with it and what would be right. Never holds a header's value.
    pub problem: String,
}

impl Config {
    /// A receiver with the defaults for everything else.
    #[must_use]
    pub fn new(endpoint: Uri, protocol: Protocol) -> Self {
        Self {
            endpoint,
            protocol,
            headers: HeaderMap::new(),
            timeout: TIMEOUT,
            gzip: false,
            tls: Tls::default(),
            schedule_delay: SCHEDULE_DELAY,
            batch_spans: BATCH_SPANS,
            queue_spans: QUEUE_SPANS,
            give_up: GIVE_UP,
            warnings: Vec::new(),
        }
    }

    /// What the environment asks for: `None` unless it names an endpoint.
    ///
    /// # Errors
    ///
    /// When a setting has no meaning, such as an unknown protocol. A bad number is only warned of.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let environment = Environment { variable: &variable };
        let Some((endpoint_name, endpoint, for_traces)) = environment.endpoint() else { return Ok(None) };
        let protocol = match environment.signal("PROTOCOL") {
            Some((name, text)) => text.parse().map_err(|problem| ConfigError { variable: name, problem })?,
            None => Protocol::HttpProtobuf,
        };
        let insecure = environment.signal("INSECURE").is_some_and(|(_, text)| text.eq_ignore_ascii_case("true"));
        let endpoint = place(&endpoint, protocol, for_traces, insecure)
            .map_err(|problem| ConfigError { variable: endpoint_name, problem })?;

        let mut config = Self::new(endpoint, protocol);
        config.gzip = match environment.signal("COMPRESSION") {
            Some((_, text)) if text == "gzip" => true,
            Some((_, text)) if text == "none" => false,
            Some((variable, text)) => {
                return Err(ConfigError {
                    variable,
                    problem: format!("unknown compression `{text}`; use none or gzip"),
                });
            }
            None => false,
        };
        if let Some((variable, text)) = environment.signal("HEADERS") {
            config.headers = headers::parse(&text).map_err(|problem| ConfigError { variable, problem })?;
        }
        let file = |name: &str| environment.signal(name).map(|(_, text)| PathBuf::from(text));
        config.tls = Tls {
            certificate: file("CERTIFICATE"),
            client_key: file("CLIENT_KEY"),
            client_certificate: file("CLIENT_CERTIFICATE"),
        };
        if config.tls.client_key.is_some() != config.tls.client_certificate.is_some() {
            return Err(ConfigError {
                variable: "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE".to_owned(),
                problem: "a client certificate and its key (OTEL_EXPORTER_OTLP_CLIENT_KEY) go together; set both"
                    .to_owned(),
            });
        }
        config.read_numbers(&environment);
        Ok(Some(config))
    }

    /// The files that the environment names, each with the variable that names it.
    pub fn files(variable: impl Fn(&str) -> Option<String>) -> Vec<(String, PathBuf)> {
        let environment = Environment { variable: &variable };
        let named = FILES.iter().filter_map(|setting| environment.signal(setting));
        named.map(|(name, path)| (name, PathBuf::from(path))).collect()
    }

    /// The endpoint as it may be shown: without a query, which may hold a key.
    #[must_use]
    pub fn shown_endpoint(&self) -> String {
        let text = self.endpoint.to_string();
        text.split_once('?').map_or(text.clone(), |(shown, _)| shown.to_owned())
    }

    fn read_numbers(&mut self, environment: &Environment<'_>) {
        let warnings = &mut self.warnings;
        let mut number = |found: Option<(String, String)>, least: u64| {
            let (name, text) = found?;
            match text.trim().parse::<u64>() {
                Ok(number) if number >= least => Some(number),
                _ => {
                    warnings.push(format!("{name}: `{text}` is not a whole number of at least {least}; ignored"));
                    None
                }
            }
        };
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(ms) = number(environment.signal("TIMEOUT"), 1) {
            self.timeout = Duration::from_millis(ms);
        }
        if let Some(ms) = number(environment.get("OTEL_BSP_SCHEDULE_DELAY"), 0) {
            self.schedule_delay = Duration::from_millis(ms);
        }
        if let Some(ms) = number(environment.get("OTEL_BSP_EXPORT_TIMEOUT"), 1) {
            self.give_up = Duration::from_millis(ms);
        }
        if let Some(spans) = number(environment.get("OTEL_BSP_MAX_QUEUE_SIZE"), 1) {
            self.queue_spans = count(spans);
        }
        if let Some(spans) = number(environment.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), 1) {
            self.batch_spans = count(spans);
        }
        // A batch that can never fill up would wait for its time although the queue is full.
        self.batch_spans = self.batch_spans.min(self.queue_spans).min(MOST_BATCH_SPANS);
    }
}

/// Where requests go.
fn place(text: &str, protocol: Protocol, for_traces: bool, insecure: bool) -> Result<Uri, String> {
    let example = if protocol == Protocol::Grpc { "http://localhost:4317" } else { "http://localhost:4318" };
    let wrong = |why: &str| format!("{why}; use something like {example}");
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else if protocol == Protocol::Grpc {
        format!("{}://{text}", if insecure { "http" } else { "https" })
    } else {
        return Err(wrong(&format!("`{text}` has no scheme")));
    };
    // Not shown when it cannot be parsed: it might hold a password.
    let uri = Uri::from_str(&with_scheme).map_err(|error| wrong(&format!("not an address ({error})")))?;
    let authority = uri.authority().ok_or_else(|| wrong("no host is named"))?;
    if authority.as_str().contains('@') {
        return Err("credentials in the address are not supported; put them in OTEL_EXPORTER_OTLP_HEADERS".to_owned());
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err(wrong(&format!("unknown scheme `{scheme}`")));
    }
    let path = match protocol {
        Protocol::Grpc => "/".to_owned(),
        _ if for_traces => uri.path_and_query().map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned()),
        _ => format!("{}/v1/traces", uri.path().trim_end_matches('/')),
    };
    Uri::builder()
        .scheme(scheme)
        .authority(authority.as_str())
        .path_and_query(path)
        .build()
        .map_err(|error| wrong(&format!("not an address ({error})")))
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::HttpProtobuf),
            "http/json" => Ok(Self::HttpJson),
            other => Err(format!("unknown protocol `{other}`; use grpc, http/protobuf or http/json")),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
        })
    }
}

struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Environment<'_> {
    /// An empty variable is an unset one.
    fn get(&self, name: &str) -> Option<(String, String)> {
        let text = (self.variable)(name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| (name.to_owned(), text.to_owned()))
    }

    /// The variable for traces, else the one for all signals.
    fn signal(&self, setting: &str) -> Option<(String, String)> {
        self.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{setting}"))
            .or_else(|| self.get(&format!("OTEL_EXPORTER_OTLP_{setting}")))
    }

    /// Name and value of the endpoint, and whether it is for traces alone.
    fn endpoint(&self) -> Option<(String, String, bool)> {
        let own = self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(|(name, text)| (name, text, true));
        own.or_else(|| self.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(|(name, text)| (name, text, false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Option<Config>, ConfigError> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::from_env(find)
    }

    fn endpoint(variables: &[(&str, &str)]) -> String {
        config(variables).unwrap().unwrap().endpoint.to_string()
    }

    const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OWN: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_named() {
        assert!(config(&[]).unwrap().is_none());
        assert!(config(&[(BASE, " "), (PROTOCOL, "nonsense")]).unwrap().is_none());
    }

    #[test]
    fn the_base_endpoint_gets_the_signals_path_and_the_signals_own_is_used_as_it_is() {
        assert_eq!(endpoint(&[(BASE, "http://h:4318")]), "http://h:4318/v1/traces");
        assert_eq!(endpoint(&[(BASE, "https://h/otlp/")]), "https://h/otlp/v1/traces");
        assert_eq!(endpoint(&[(OWN, "http://h:4318"), (BASE, "http://x")]), "http://h:4318/");
        assert_eq!(endpoint(&[(OWN, "http://h:4318/in?k=1")]), "http://h:4318/in?k=1");
        assert_eq!(endpoint(&[(OWN, ""), (BASE, "http://x")]), "http://x/v1/traces");
    }

    #[test]
    fn files_are_known_by_the_variable_that_names_them() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/all"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/own"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", " "),
        ];
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let expect = [("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE".to_owned(), PathBuf::from("/own"))];
        assert_eq!(Config::files(find), expect);
    }

    #[test]
    fn grpc_needs_no_scheme_and_is_then_secure_unless_told_otherwise() {
        let insecure = "OTEL_EXPORTER_OTLP_INSECURE";
        assert_eq!(endpoint(&[(BASE, "h:4317"), (PROTOCOL, "grpc")]), "https://h:4317/");
        assert_eq!(endpoint(&[(BASE, "h:4317"), (PROTOCOL, "grpc"), (insecure, "TRUE")]), "http://h:4317/");
        assert_eq!(endpoint(&[(BASE, "h:4317"), (PROTOCOL, "grpc"), (insecure, "1")]), "https://h:4317/");
        assert_eq!(endpoint(&[(BASE, "https://h:4317/x"), (PROTOCOL, "grpc"), (insecure, "true")]), "https://h:4317/");
    }

    #[test]
    fn a_setting_without_meaning_is_an_error_that_names_it() {
        let error = |variables: &[(&str, &str)]| config(variables).unwrap_err().to_string();
        assert_eq!(
            error(&[(BASE, "http://h"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp")]),
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: unknown protocol `udp`; use grpc, http/protobuf or http/json"
        );
        assert_eq!(
            error(&[(BASE, "http://h"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")]),
            "OTEL_EXPORTER_OTLP_COMPRESSION: unknown compression `zstd`; use none or gzip"
        );
        assert_eq!(
            error(&[(BASE, "h:4318")]),
            "OTEL_EXPORTER_OTLP_ENDPOINT: `h:4318` has no scheme; use something like http://localhost:4318"
        );
        assert!(error(&[(BASE, "ftp://h")]).contains("unknown scheme `ftp`"));
        let secret = error(&[(BASE, "http://user:secret@h")]);
        assert!(secret.contains("OTEL_EXPORTER_OTLP_HEADERS") && !secret.contains("secret@"), "{secret}");
        assert!(error(&[(BASE, "https://h"), ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k")]).contains("go together"));
    }

    #[test]
    fn a_bad_number_is_ignored_with_a_warning() {
        let config = config(&[
            (BASE, "http://h"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "250"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(config.timeout, TIMEOUT);
        assert_eq!(config.schedule_delay, Duration::from_millis(250));
        assert_eq!((config.queue_spans, config.batch_spans), (100, 100));
        assert_eq!(
            config.warnings,
            [
                "OTEL_EXPORTER_OTLP_TIMEOUT: `soon` is not a whole number of at least 1; ignored",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: `0` is not a whole number of at least 1; ignored",
            ]
        );
    }

    #[test]
    fn the_settings_for_traces_come_before_those_for_all() {
        let config = config(&[
            (BASE, "https://h"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(config.headers.len(), 1);
        assert_eq!(config.headers["b"], "2");
        assert_eq!(config.timeout, Duration::from_secs(2));
        assert!(config.gzip);
        assert_eq!(config.tls.certificate, Some(PathBuf::from("/ca.pem")));
        assert_eq!(config.protocol, Protocol::HttpProtobuf);
    }

    #[test]
    fn a_key_in_the_endpoint_is_not_shown() {
        let config = config(&[(OWN, "https://h/in?key=secret")]).unwrap().unwrap();
        assert_eq!(config.shown_endpoint(), "https://h/in");
    }
}
