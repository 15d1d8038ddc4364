//! The configuration file: from YAML to values of settings, or to the one thing that is wrong with it. Pure.

use super::problem::{Place, Problem};
use super::setting::{Kind, SETTINGS, Setting, find};
use super::yaml::{self, Entry, Node, Tree};

/// What the file says about one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The setting.
    pub setting: &'static str,
    /// Its value, or the entries of its list.
    pub texts: Vec<String>,
    /// Line of its key, from 1.
    pub line: usize,
}

/// Reads a file of this name.
///
/// # Errors
///
/// If it is no YAML, has a key that nobody knows, or a value of the wrong kind.
pub fn read(name: &str, text: &str) -> Result<Vec<Given>, Problem> {
    let mut reading = Reading { name, given: Vec::new() };
    let root = yaml::parse(text).map_err(|broken| reading.problem(broken.line, broken.problem))?;
    if let Some(root) = root {
        reading.mapping("", &root)?;
    }
    Ok(reading.given)
}

struct Reading<'a> {
    name: &'a str,
    given: Vec<Given>,
}

impl Reading<'_> {
    fn problem(&self, line: usize, what: impl Into<String>) -> Problem {
        Problem { place: Place::File { name: self.name.to_owned(), line }, what: what.into() }
    }

    /// The settings below a key; all of them below none.
    fn mapping(&mut self, above: &str, node: &Node) -> Result<(), Problem> {
        let Tree::Map(entries) = &node.tree else {
            let what = if above.is_empty() { "the file" } else { above };
            return Err(self.problem(
                node.line,
                format!("{what} is {}, and must be a mapping of {}", node.kind(), below(above).join(", ")),
            ));
        };
        for Entry { key, line, value } in entries {
            let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
            match find(&path) {
                Some(_) if value.is_nothing() => {}
                Some(setting) => {
                    let texts = self.value(setting, value)?;
                    self.given.push(Given { setting: setting.key, texts, line: *line });
                }
                None if below(&path).is_empty() => {
                    return Err(
                        self.problem(*line, format!("there is no `{path}`; the nearest is `{}`", nearest(&path)))
                    );
                }
                None if value.is_nothing() => {}
                None => self.mapping(&path, value)?,
            }
        }
        Ok(())
    }

    fn value(&self, setting: &Setting, node: &Node) -> Result<Vec<String>, Problem> {
        match (setting.kind, &node.tree) {
            (Kind::Selectors, Tree::List(nodes)) => {
                let mut texts = Vec::new();
                for node in nodes {
                    self.selectors(setting, node, &mut texts)?;
                }
                Ok(texts)
            }
            (Kind::Pairs, Tree::Map(entries)) => {
                entries.iter().map(|Entry { key, value, .. }| self.pair(setting, key, value)).collect()
            }
            (Kind::Selectors | Kind::Pairs, _) => Err(self.wrong_kind(setting, node)),
            (kind, Tree::Text { text, is_quoted }) => {
                if *is_quoted && matches!(kind, Kind::Number { .. } | Kind::PowerOfTwo { .. } | Kind::Truth) {
                    let what = format!("`{}` is a text in quotes, and must be {}", setting.key, kind.describe());
                    return Err(self.problem(node.line, what));
                }
                self.check(setting, text, node.line)?;
                Ok(vec![text.clone()])
            }
            _ => Err(self.wrong_kind(setting, node)),
        }
    }

    /// `exe:nginx`, `exe: nginx` or `exe: [nginx, curl]`.
    fn selectors(&self, setting: &Setting, node: &Node, texts: &mut Vec<String>) -> Result<(), Problem> {
        let mut take = |text: String, line: usize| {
            self.check(setting, &text, line)?;
            texts.push(text);
            Ok(())
        };
        match &node.tree {
            Tree::Text { text, .. } => take(text.clone(), node.line),
            Tree::Map(entries) => {
                let [Entry { key, line, value }] = entries.as_slice() else {
                    let what = format!("an entry of `{}` names one thing, such as exe: nginx", setting.key);
                    return Err(self.problem(node.line, what));
                };
                let several = match &value.tree {
                    Tree::List(nodes) => nodes.as_slice(),
                    _ => std::slice::from_ref(value),
                };
                several.iter().try_for_each(|node| match &node.tree {
                    Tree::Text { text, .. } => take(format!("{key}:{text}"), node.line),
                    _ => Err(self.problem(*line, format!("`{key}` in `{}` is no single value", setting.key))),
                })
            }
            Tree::List(_) => Err(self.problem(node.line, format!("an entry of `{}` is a list", setting.key))),
        }
    }

    /// As in the variables of OpenTelemetry: `name=value`, the value percent-encoded.
    fn pair(&self, setting: &Setting, name: &str, node: &Node) -> Result<String, Problem> {
        let Tree::Text { text, .. } = &node.tree else {
            let what = format!("`{}.{name}` is {}, and must be a text", setting.key, node.kind());
            return Err(self.problem(node.line, what));
        };
        let pair = format!("{}={}", percent_encode(name), percent_encode(text));
        self.check(setting, &pair, node.line)?;
        Ok(pair)
    }

    fn check(&self, setting: &Setting, text: &str, line: usize) -> Result<(), Problem> {
        let checked = setting.kind.check(text);
        checked.map_err(|why| self.problem(line, format!("`{}` {why}", setting.key)))
    }

    fn wrong_kind(&self, setting: &Setting, node: &Node) -> Problem {
        let what = format!("`{}` is {}, and must be {}", setting.key, node.kind(), setting.kind.describe());
        self.problem(node.line, what)
    }
}

/// Names that may stand below a key, in order.
fn below(above: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for setting in SETTINGS {
        let rest = if above.is_empty() {
            Some(setting.key)
        } else {
            setting.key.strip_prefix(above).and_then(|rest| rest.strip_prefix('.'))
        };
        if let Some(name) = rest.and_then(|rest| rest.split('.').next())
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// The key that was probably meant: one of the same last name, else the one that is most like it.
#[must_use]
pub fn nearest(path: &str) -> &'static str {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let name = last(path);
    let sections = SETTINGS.iter().filter_map(|setting| setting.key.split('.').next());
    let distance = |candidate: &str| {
        let whole = strsim::osa_distance(path, candidate);
        // `segment` alone is meant to be `connections.segment`.
        whole.min(
            strsim::osa_distance(&name, &last(candidate)) * 2
                + usize::from(path.contains('.') || candidate.contains('.')),
        )
    };
    SETTINGS
        .iter()
        .map(|setting| setting.key)
        .chain(sections)
        .min_by_key(|candidate| distance(candidate))
        .unwrap_or_default()
}

/// RFC 3986, section 2.3: what is not unreserved becomes `%` and two digits.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[(&str, &[&str], usize)]) {
        let given = read("f.yaml", text).unwrap_or_else(|problem| panic!("{problem}"));
        let given: Vec<_> = given.iter().map(|given| (given.setting, given.texts.clone(), given.line)).collect();
        let expect: Vec<_> = expect
            .iter()
            .map(|&(key, texts, line)| (key, texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), line))
            .collect();
        assert_eq!(given, expect);
    }

    #[track_caller]
    fn refused(text: &str, words: &[&str]) {
        let problem = read("f.yaml", text).expect_err(text).to_string();
        for word in words {
            assert!(problem.contains(word), "`{word}` is missing in: {problem}");
        }
    }

    #[test]
    fn values_come_with_their_lines() {
        check(
            "connections:\n  report: off\n  segment: 5\n\nmetrics: {listen: '127.0.0.1:9464'}\n",
            &[
                ("connections.report", &["off"], 2),
                ("connections.segment", &["5"], 3),
                ("metrics.listen", &["127.0.0.1:9464"], 5),
            ],
        );
    }

    #[test]
    fn selectors_are_written_in_three_ways() {
        check(
            "select:\n  include:\n    - exe:nginx\n    - port: 80\n    - user: [www-data, 33]\n  exclude: [\"unit:sshd.service\"]\n",
            &[
                ("select.include", &["exe:nginx", "port:80", "user:www-data", "user:33"], 2),
                ("select.exclude", &["unit:sshd.service"], 6),
            ],
        );
    }

    #[test]
    fn headers_are_encoded_as_in_the_environment() {
        check(
            "otlp:\n  headers:\n    authorization: Basic a,b=\n",
            &[("otlp.headers", &["authorization=Basic%20a%2Cb%3D"], 2)],
        );
    }

    #[test]
    fn nothing_said_is_nothing_set() {
        check("otlp:\n  endpoint:\nselect:\nlog: {filter: ~}\n", &[]);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
        for (text, line, nearest) in [
            ("conections: {}\n", 1, "`connections`"),
            ("connections:\n  segmnt: 5\n", 2, "`connections.segment`"),
            ("# x\nsegment: 5\n", 2, "`connections.segment`"),
            ("otlp:\n  endpiont: x\n", 2, "`otlp.endpoint`"),
            ("only: []\n", 1, "the nearest is `"),
            ("select:\n  exlude: []\n", 2, "`select.exclude`"),
        ] {
            refused(text, &[&format!("f.yaml:{line}: "), "there is no `", nearest]);
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_what_it_must_be() {
        refused("connections: 5\n", &["f.yaml:1", "connections is a single value", "report, segment, max"]);
        refused("- a\n", &["f.yaml:1", "the file is a list", "select"]);
        refused("connections:\n  segment: [5]\n", &["f.yaml:2", "`connections.segment` is a list", "whole number"]);
        refused("connections:\n  segment: \"5\"\n", &["f.yaml:2", "a text in quotes", "whole number"]);
        refused("connections:\n  segment: soon\n", &["f.yaml:2", "`soon`", "from 1 to 86400"]);
        refused("select:\n  include: exe:nginx\n", &["f.yaml:2", "a single value", "a list of selectors"]);
        refused("select:\n  include:\n  - exe:a\n  - nginx\n", &["f.yaml:4", "`nginx`", "exe:NAME"]);
        refused("select:\n  include:\n  - {exe: a, port: 1}\n", &["f.yaml:3", "names one thing"]);
        refused("otlp:\n  headers: [a]\n", &["f.yaml:2", "a mapping of names to values"]);
        refused("a: 1\na: 2\n", &["f.yaml:2", "given twice"]);
    }
}
