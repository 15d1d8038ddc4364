//! Which processes and ports are traced.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::flow::kubernetes::Pod;

/// One thing that a selection names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Selector {
    /// An executable by its path, or by its file name.
    Executable(String),
    /// A process.
    Pid(u32),
    /// A port at either end of a connection.
    Port(u16),
    /// The owner of a process.
    User {
        /// Name or number, as it was given.
        name: String,
        /// The number. A name has none until somebody looked it up ([`Selection::resolve_users`]); till then it is nobody's.
        uid: Option<u32>,
    },
    /// A container by its id, or by the first digits of it, at least [`LEAST_ID_DIGITS`].
    Container(String),
    /// A cgroup by its path, with all below it.
    Cgroup(String),
    /// A systemd unit by its name.
    Unit(String),
    /// A service by its `service.name`.
    Service(String),
    /// The pods of a namespace.
    Namespace(String),
    /// A pod by its name.
    Pod(String),
    /// What a pod was made by, directly or not: `NAME` or `KIND/NAME`.
    Workload(String),
    /// Pods with a label.
    Label(Pair),
    /// Pods with an annotation.
    Annotation(Pair),
}

/// `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    key: String,
    value: String,
}

/// Digits that name a container: what `docker ps` shows.
pub const LEAST_ID_DIGITS: usize = 12;
/// In a name, it stands for any text.
const WILDCARD: char = '*';

/// Why a selector could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` selects nothing: write exe:NAME, exe:/PATH, pid:NUMBER, port:NUMBER (1 to 65535), user:NAME, user:NUMBER, \
     container:ID (12 digits or more), cgroup:/PATH, unit:NAME, service:NAME, namespace:NAME, pod:NAME, workload:NAME, \
     workload:KIND/NAME, label:KEY=VALUE or annotation:KEY=VALUE"
)]
pub struct BadSelector {
    /// What was given.
    pub given: String,
}

/// Which processes and ports are traced: all of `only` (everything if empty) without `except`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// If not empty, nothing else is traced.
    pub only: Vec<Selector>,
    /// Never traced.
    pub except: Vec<Selector>,
}

/// A process, as far as selectors ask about it. What is not known is `None`, and fits no selector.
#[derive(Clone, Debug, Default)]
pub struct Subject<'a> {
    /// Process id.
    pub tgid: u32,
    /// Path of its executable.
    pub executable: Option<&'a str>,
    /// Effective user id.
    pub uid: Option<u32>,
    /// Id of its container.
    pub container_id: Option<&'a str>,
    /// Path of its cgroup.
    pub cgroup: Option<&'a str>,
    /// Its systemd unit.
    pub unit: Option<&'a str>,
    /// Its `service.name`.
    pub service: Option<Cow<'a, str>>,
    /// Its pod.
    pub pod: Option<&'a Pod>,
}

/// How much must be known of a process to decide about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nothing: all processes are taken.
    Nothing,
    /// Its executable.
    Executable,
    /// More than the kernel's records say.
    Look,
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadSelector { given: text.to_owned() };
        let (what, value) = text.split_once(':').ok_or_else(bad)?;
        if value.is_empty() {
            return Err(bad());
        }
        match what {
            "exe" => Ok(Self::Executable(value.to_owned())),
            "pid" => value.parse().ok().filter(|&pid| pid > 0).map(Self::Pid).ok_or_else(bad),
            "port" => value.parse().ok().filter(|&port| port > 0).map(Self::Port).ok_or_else(bad),
            "user" => Ok(Self::User { name: value.to_owned(), uid: value.parse().ok() }),
            "container" if value.len() >= LEAST_ID_DIGITS => Ok(Self::Container(value.to_owned())),
            "cgroup" if value.starts_with('/') => Ok(Self::Cgroup(value.trim_end_matches('/').to_owned())),
            "unit" => Ok(Self::Unit(value.to_owned())),
            "service" => Ok(Self::Service(value.to_owned())),
            "namespace" => Ok(Self::Namespace(value.to_owned())),
            "pod" => Ok(Self::Pod(value.to_owned())),
            "workload" => Ok(Self::Workload(value.to_owned())),
            "label" => Pair::parse(value).map(Self::Label).ok_or_else(bad),
            "annotation" => Pair::parse(value).map(Self::Annotation).ok_or_else(bad),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Executable(name) => write!(f, "exe:{name}"),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Port(port) => write!(f, "port:{port}"),
            Self::User { name, .. } => write!(f, "user:{name}"),
            Self::Container(id) => write!(f, "container:{id}"),
            // Of the root, the slash is left out inside.
            Self::Cgroup(path) => write!(f, "cgroup:{}", if path.is_empty() { "/" } else { path }),
            Self::Unit(name) => write!(f, "unit:{name}"),
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Namespace(name) => write!(f, "namespace:{name}"),
            Self::Pod(name) => write!(f, "pod:{name}"),
            Self::Workload(name) => write!(f, "workload:{name}"),
            Self::Label(Pair { key, value }) => write!(f, "label:{key}={value}"),
            Self::Annotation(Pair { key, value }) => write!(f, "annotation:{key}={value}"),
        }
    }
}

impl Pair {
    fn parse(text: &str) -> Option<Self> {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty())?;
        Some(Self { key: key.to_owned(), value: value.to_owned() })
    }

    fn is_among(&self, pairs: &[(String, String)]) -> bool {
        pairs.iter().any(|(key, value)| *key == self.key && fits(&self.value, value))
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        match selector {
            // Whoever reads a recording may have other users.
            Selector::User { uid: Some(uid), .. } => format!("user:{uid}"),
            other => other.to_string(),
        }
    }
}

impl TryFrom<String> for Selector {
    type Error = BadSelector;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Selector {
    fn is_process(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Executable(wanted) => subject.executable.is_some_and(|path| {
                fits(wanted, path)
                    || (!wanted.contains('/') && path.rsplit('/').next().is_some_and(|name| fits(wanted, name)))
            }),
            Self::Pid(pid) => *pid == subject.tgid,
            Self::Port(_) => false,
            Self::User { uid, .. } => uid.is_some() && *uid == subject.uid,
            Self::Container(id) => subject.container_id.is_some_and(|known| known.starts_with(id.as_str())),
            Self::Cgroup(above) => subject
                .cgroup
                .and_then(|path| path.strip_prefix(above.as_str()))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Unit(wanted) => subject.unit.is_some_and(|name| fits(wanted, name)),
            Self::Service(wanted) => subject.service.as_deref().is_some_and(|name| fits(wanted, name)),
            Self::Namespace(wanted) => subject.pod.is_some_and(|pod| fits(wanted, &pod.namespace)),
            Self::Pod(wanted) => subject.pod.is_some_and(|pod| fits(wanted, &pod.name)),
            Self::Workload(wanted) => subject.pod.is_some_and(|pod| is_made_by(pod, wanted)),
            Self::Label(wanted) => subject.pod.is_some_and(|pod| wanted.is_among(&pod.labels)),
            Self::Annotation(wanted) => subject.pod.is_some_and(|pod| wanted.is_among(&pod.annotations)),
        }
    }

    fn need(&self) -> Need {
        match self {
            Self::Port(_) => Need::Nothing,
            Self::Executable(_) | Self::Pid(_) => Need::Executable,
            Self::User { .. }
            | Self::Container(_)
            | Self::Cgroup(_)
            | Self::Unit(_)
            | Self::Service(_)
            | Self::Namespace(_)
            | Self::Pod(_)
            | Self::Workload(_)
            | Self::Label(_)
            | Self::Annotation(_) => Need::Look,
        }
    }
}

impl Selection {
    /// Whether nothing was asked for: everything is traced.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.only.is_empty() && self.except.is_empty()
    }

    /// How much must be known of a process. If nothing, [`Selection::takes_process`] is always true.
    #[must_use]
    pub fn need(&self) -> Need {
        self.only.iter().chain(&self.except).map(Selector::need).max().unwrap_or(Need::Nothing)
    }

    /// Whether a process is traced. `port:` alone selects every process, on that port. Who asks not to be traced is not.
    #[must_use]
    pub fn takes_process(&self, subject: &Subject<'_>) -> bool {
        if subject.pod.is_some_and(|pod| pod.opted_out) {
            return false;
        }
        let names_processes = self.only.iter().any(|selector| !matches!(selector, Selector::Port(_)));
        (!names_processes || self.only.iter().any(|selector| selector.is_process(subject)))
            && !self.except.iter().any(|selector| selector.is_process(subject))
    }

    /// Whether a connection between these ports is traced, as far as ports decide.
    #[must_use]
    pub fn takes_ports(&self, local: u16, remote: u16) -> bool {
        let is_port =
            |selector: &Selector| matches!(selector, Selector::Port(port) if *port == local || *port == remote);
        let names_ports = self.only.iter().any(|selector| matches!(selector, Selector::Port(_)));
        (!names_ports || self.only.iter().any(is_port)) && !self.except.iter().any(is_port)
    }

    /// Looks up the numbers of users that were named.
    ///
    /// # Errors
    ///
    /// With the name that nobody has.
    pub fn resolve_users(&mut self, number: impl Fn(&str) -> Option<u32>) -> Result<(), String> {
        for selector in self.only.iter_mut().chain(&mut self.except) {
            if let Selector::User { name, uid: uid @ None } = selector {
                *uid = Some(number(name).ok_or_else(|| name.clone())?);
            }
        }
        Ok(())
    }
}

/// Whether a pod was made by what was asked for, directly or not.
fn is_made_by(pod: &Pod, wanted: &str) -> bool {
    let (kind, name) = wanted.split_once('/').map_or((None, wanted), |(kind, name)| (Some(kind), name));
    let is_kind = |known: &str| kind.is_none_or(|kind| kind.eq_ignore_ascii_case(known));
    pod.owners.iter().any(|owner| is_kind(&owner.kind) && fits(name, &owner.name))
}

/// Whether a name is what was asked for, in which each `*` stands for any text.
fn fits(wanted: &str, name: &str) -> bool {
    let Some((first, rest)) = wanted.split_once(WILDCARD) else { return wanted == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split(WILDCARD).collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place where it fits leaves the most for what follows.
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::kubernetes::Owner;

    #[test]
    fn a_pod_that_opted_out_is_not_traced_whoever_asks_for_it() {
        let pod = Pod { name: "a".to_owned(), opted_out: true, ..Pod::default() };
        let subject = Subject { tgid: 7, pod: Some(&pod), ..Subject::default() };
        for only in [&[][..], &["pid:7"], &["pod:a"]] {
            assert!(!selection(only, &[]).takes_process(&subject), "{only:?}");
        }
    }

    fn exe(tgid: u32, executable: Option<&str>) -> Subject<'_> {
        Subject { tgid, executable, ..Subject::default() }
    }

    fn selection(only: &[&str], except: &[&str]) -> Selection {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a selector")).collect();
        Selection { only: parse(only), except: parse(except) }
    }

    #[test]
    fn everything_is_traced_unless_asked_otherwise() {
        assert!(selection(&[], &[]).takes_process(&exe(1, None)));
        assert!(selection(&[], &[]).takes_ports(1, 2));
    }

    #[test]
    fn an_executable_is_named_by_path_or_file_name() {
        let selection = selection(&["exe:nginx"], &[]);
        assert!(selection.takes_process(&exe(1, Some("/usr/sbin/nginx"))));
        assert!(!selection.takes_process(&exe(1, Some("/usr/sbin/nginx2"))));
        assert!(!selection.takes_process(&exe(1, None)));
    }

    #[test]
    fn what_is_excepted_is_not_traced_even_if_it_is_in_only() {
        assert!(!selection(&["pid:7"], &["exe:/bin/x"]).takes_process(&exe(7, Some("/bin/x"))));
    }

    #[test]
    fn processes_and_ports_in_only_must_both_hold() {
        let selection = selection(&["port:80", "exe:curl"], &[]);
        assert!(!selection.takes_process(&exe(1, Some("/bin/wget"))));
        assert!(!selection.takes_ports(81, 40_000));
        assert!(selection.takes_ports(40_000, 80));
    }

    #[test]
    fn a_bad_selector_names_itself_and_the_forms() {
        for text in [
            "nginx",
            "pid:x",
            "pid:0",
            "port:70000",
            "exe:",
            "user:",
            "container:abc",
            "cgroup:x",
            "label:x",
            "label:=x",
            "annotation:x",
            "pod:",
        ] {
            let error = text.parse::<Selector>().expect_err(text);
            assert!(error.to_string().contains(text) && error.to_string().contains("exe:NAME"), "{error}");
        }
    }

    #[test]
    fn each_kind_of_selector_looks_at_its_own_part() {
        let owner = |kind: &str, name: &str| Owner { kind: kind.to_owned(), name: name.to_owned(), uid: None };
        let pod = Pod {
            name: "shop-1-x".to_owned(),
            namespace: "store".to_owned(),
            owners: vec![owner("ReplicaSet", "shop-1"), owner("Deployment", "shop")],
            labels: vec![("tier".to_owned(), "web".to_owned())],
            annotations: vec![("example.com/a".to_owned(), "b=c".to_owned())],
            ..Pod::default()
        };
        let subject = Subject {
            tgid: 7,
            executable: Some("/usr/bin/python3.11"),
            uid: Some(33),
            container_id: Some("0123456789abcdef0123"),
            cgroup: Some("/system.slice/shop.service/workers"),
            unit: Some("shop.service"),
            service: Some("shop".into()),
            pod: Some(&pod),
        };
        for (text, expect) in [
            ("exe:python*", true),
            ("exe:/usr/*/python3.11", true),
            ("exe:*ruby*", false),
            ("user:33", true),
            ("user:0", false),
            ("user:www-data", false),
            ("container:0123456789ab", true),
            ("container:123456789abc", false),
            ("cgroup:/system.slice/shop.service", true),
            ("cgroup:/system.slice/shop.service/", true),
            ("cgroup:/system.slice/shop", false),
            ("cgroup:/", true),
            ("unit:shop.service", true),
            ("unit:shop.*", true),
            ("unit:*.scope", false),
            ("service:s*p", true),
            ("service:hop", false),
            ("namespace:store", true),
            ("namespace:st", false),
            ("pod:shop-*", true),
            ("pod:shop", false),
            ("workload:shop", true),
            ("workload:deployment/shop", true),
            ("workload:StatefulSet/shop", false),
            ("workload:shop-1*", true),
            ("label:tier=web", true),
            ("label:tier=*", true),
            ("label:tier=db", false),
            ("label:web=tier", false),
            ("annotation:example.com/a=b=c", true),
            ("annotation:example.com/a=", false),
        ] {
            assert_eq!(selection(&[text], &[]).takes_process(&subject), expect, "{text}");
            assert!(
                !selection(&[text], &[]).takes_process(&exe(8, None)) || text == "exe:*",
                "{text}: nothing is known"
            );
        }
    }

    #[test]
    fn names_of_users_are_looked_up_once() {
        let mut selection = selection(&["user:www-data"], &["user:5"]);
        let find = |name: &str| (name == "www-data").then_some(33);
        selection.resolve_users(find).expect("there is one");
        assert!(selection.takes_process(&Subject { uid: Some(33), ..Subject::default() }));
        let unknown = self::selection(&["user:nobody-here"], &[]).resolve_users(find);
        assert_eq!(unknown, Err("nobody-here".to_owned()));
        assert!(
            serde_json::to_string(&selection).is_ok_and(|text| text.contains("user:33")),
            "recordings hold numbers"
        );
    }

    #[test]
    fn what_must_be_known_of_a_process_depends_on_the_selectors() {
        assert_eq!(selection(&["port:80"], &[]).need(), Need::Nothing);
        assert_eq!(selection(&["port:80"], &["exe:x"]).need(), Need::Executable);
        assert_eq!(selection(&["pid:1"], &["unit:x"]).need(), Need::Look);
    }

    #[test]
    fn a_selection_survives_the_round_trip() {
        let selection = selection(&["exe:a", "user:7", "cgroup:/"], &["port:1", "unit:b", "service:c:d"]);
        let text = serde_json::to_string(&selection).expect("it is text");
        assert_eq!(serde_json::from_str::<Selection>(&text).expect("it is one"), selection);
    }
}
