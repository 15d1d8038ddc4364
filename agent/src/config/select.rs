//! Which processes and ports are traced.

use std::fmt;
use std::str::FromStr;

/// One thing that `--only` or `--except` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// An executable by its path, or by its file name.
    Executable(String),
    /// A process.
    Pid(u32),
    /// A port at either end of a connection.
    Port(u16),
}

/// Why a selector could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` selects nothing: write exe:NAME, exe:/PATH, pid:NUMBER or port:NUMBER (1 to 65535)")]
pub struct BadSelector {
    /// What was given.
    pub given: String,
}

/// Which processes and ports are traced: all of `only` (everything if empty) without `except`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// If not empty, nothing else is traced.
    pub only: Vec<Selector>,
    /// Never traced.
    pub except: Vec<Selector>,
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadSelector { given: text.to_owned() };
        let (what, value) = text.split_once(':').ok_or_else(bad)?;
        match what {
            "exe" if !value.is_empty() => Ok(Self::Executable(value.to_owned())),
            "pid" => value.parse().ok().filter(|&pid| pid > 0).map(Self::Pid).ok_or_else(bad),
            "port" => value.parse().ok().filter(|&port| port > 0).map(Self::Port).ok_or_else(bad),
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
        }
    }
}

impl Selector {
    fn is_process(&self, tgid: u32, executable: Option<&str>) -> bool {
        match self {
            Self::Executable(wanted) => executable.is_some_and(|path| {
                path == wanted || (!wanted.contains('/') && path.rsplit('/').next() == Some(wanted.as_str()))
            }),
            Self::Pid(pid) => *pid == tgid,
            Self::Port(_) => false,
        }
    }
}

impl Selection {
    /// Whether nothing was asked for: everything is traced.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.only.is_empty() && self.except.is_empty()
    }

    /// Whether it depends on the process what is traced. If not, [`Selection::takes_process`] is always true.
    #[must_use]
    pub fn names_processes(&self) -> bool {
        self.only.iter().chain(&self.except).any(|selector| !matches!(selector, Selector::Port(_)))
    }

    /// Whether a process is traced. `--only port:` alone selects every process, on that port.
    #[must_use]
    pub fn takes_process(&self, tgid: u32, executable: Option<&str>) -> bool {
        let names_processes = self.only.iter().any(|selector| !matches!(selector, Selector::Port(_)));
        (!names_processes || self.only.iter().any(|selector| selector.is_process(tgid, executable)))
            && !self.except.iter().any(|selector| selector.is_process(tgid, executable))
    }

    /// Whether a connection between these ports is traced, as far as ports decide.
    #[must_use]
    pub fn takes_ports(&self, local: u16, remote: u16) -> bool {
        let is_port =
            |selector: &Selector| matches!(selector, Selector::Port(port) if *port == local || *port == remote);
        let names_ports = self.only.iter().any(|selector| matches!(selector, Selector::Port(_)));
        (!names_ports || self.only.iter().any(is_port)) && !self.except.iter().any(is_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(only: &[&str], except: &[&str]) -> Selection {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a selector")).collect();
        Selection { only: parse(only), except: parse(except) }
    }

    #[test]
    fn everything_is_traced_unless_asked_otherwise() {
        assert!(selection(&[], &[]).takes_process(1, None));
        assert!(selection(&[], &[]).takes_ports(1, 2));
    }

    #[test]
    fn an_executable_is_named_by_path_or_file_name() {
        let selection = selection(&["exe:nginx"], &[]);
        assert!(selection.takes_process(1, Some("/usr/sbin/nginx")));
        assert!(!selection.takes_process(1, Some("/usr/sbin/nginx2")));
        assert!(!selection.takes_process(1, None));
    }

    #[test]
    fn what_is_excepted_is_not_traced_even_if_it_is_in_only() {
        assert!(!selection(&["pid:7"], &["exe:/bin/x"]).takes_process(7, Some("/bin/x")));
    }

    #[test]
    fn processes_and_ports_in_only_must_both_hold() {
        let selection = selection(&["port:80", "exe:curl"], &[]);
        assert!(!selection.takes_process(1, Some("/bin/wget")));
        assert!(!selection.takes_ports(81, 40_000));
        assert!(selection.takes_ports(40_000, 80));
    }

    #[test]
    fn a_bad_selector_names_itself_and_the_forms() {
        for text in ["nginx", "pid:x", "pid:0", "port:70000", "exe:", "user:root"] {
            let error = text.parse::<Selector>().expect_err(text);
            assert!(error.to_string().contains(text) && error.to_string().contains("exe:NAME"), "{error}");
        }
    }
}
