//! The layers of a configuration, one over the other: command line, environment, file, defaults. Pure.

use super::file::Given;
use super::problem::{Place, Problem};
use super::select::{Selection, Selector};
use super::setting::{Kind, SETTINGS, Setting};

/// Variables of OpenTelemetry have rules of their own about wrong values (most are warned of and ignored), and whoever
/// takes their value keeps to them.
const OF_OPENTELEMETRY: &str = "OTEL_";

/// A value of each setting, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    values: Vec<Value>,
}

/// The value of one setting.
#[derive(Clone, Debug)]
pub struct Value {
    /// Which.
    pub setting: &'static Setting,
    /// Its value, or the entries of its list; nothing if it is not set.
    pub texts: Vec<String>,
    /// Where it came from.
    pub place: Place,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.setting.key == other.setting.key && self.texts == other.texts && self.place == other.place
    }
}

impl Eq for Value {}

/// What each layer says.
pub struct Layers<'a> {
    /// The texts that were given for an option of the command line.
    pub flag: &'a dyn Fn(&str) -> Option<Vec<String>>,
    /// The value of a variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The name of the file, and what is in it.
    pub file: Option<(&'a str, &'a [Given])>,
}

impl Layers<'_> {
    /// Puts them together.
    ///
    /// # Errors
    ///
    /// If a value is of the wrong kind, or two contradict each other.
    pub fn resolve(&self) -> Result<Resolved, Problem> {
        let values = SETTINGS.iter().map(|setting| self.value(setting)).collect::<Result<_, _>>()?;
        let resolved = Resolved { values };
        resolved.contradictions()?;
        Ok(resolved)
    }

    fn value(&self, setting: &'static Setting) -> Result<Value, Problem> {
        let value = |texts, place| Value { setting, texts, place };
        // The parser of the command line has checked it.
        if let Some((flag, texts)) = setting.flag.and_then(|flag| Some((flag, (self.flag)(flag)?))) {
            return Ok(value(texts, Place::Flag(flag)));
        }
        for &name in setting.variables {
            let Some(text) = (self.variable)(name) else { continue };
            let is_ours = !name.starts_with(OF_OPENTELEMETRY);
            let texts = match setting.kind {
                Kind::Selectors => split(&text),
                _ if is_ours => vec![text.trim().to_owned()],
                _ => vec![text],
            };
            let place = Place::Variable(name);
            if is_ours {
                for text in &texts {
                    setting.kind.check(text).map_err(|what| Problem { place: place.clone(), what })?;
                }
            }
            return Ok(value(texts, place));
        }
        if let Some((name, given)) = self.file
            && let Some(given) = given.iter().find(|given| given.setting == setting.key)
        {
            return Ok(value(given.texts.clone(), Place::File { name: name.to_owned(), line: given.line }));
        }
        let texts = if setting.default.is_empty() { Vec::new() } else { vec![setting.default.to_owned()] };
        Ok(value(texts, Place::Default))
    }
}

impl Resolved {
    /// All values, in the order of the table.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of a setting.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|value| value.setting.key == key)
    }

    /// The text of a setting; `None` if it is not set.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(|value| value.texts.first()).map(String::as_str)
    }

    /// The number of a setting.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key).and_then(|text| text.parse().ok())
    }

    /// Something is wrong with a setting.
    #[must_use]
    pub fn problem(&self, key: &str, what: impl Into<String>) -> Problem {
        Problem { place: self.value(key).map_or(Place::Default, |value| value.place.clone()), what: what.into() }
    }

    /// What is traced. Names of users are not resolved yet.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection { only: self.selectors("select.include"), except: self.selectors("select.exclude") }
    }

    /// What a variable would have to be, for those who read their settings from the environment: the environment's own
    /// value, else the file's.
    #[must_use]
    pub fn from_file(&self, variable: &str) -> Option<String> {
        // The file speaks for the last one: a more special one of the environment comes before it.
        let value = self.values.iter().find(|value| value.setting.variables.last() == Some(&variable))?;
        matches!(value.place, Place::File { .. }).then(|| value.texts.join(","))
    }

    /// Where the value of a variable came from, if it was the file; and by which key.
    #[must_use]
    pub fn place_of(&self, variable: &str) -> Option<(&'static str, &Place)> {
        let value = self.values.iter().find(|value| value.setting.variables.last() == Some(&variable))?;
        matches!(value.place, Place::File { .. }).then_some((value.setting.key, &value.place))
    }

    /// The settings of which the value is another now.
    #[must_use]
    pub fn changed<'a>(&'a self, before: &'a Self) -> Vec<&'static Setting> {
        let pairs = self.values.iter().zip(&before.values);
        pairs.filter(|(now, before)| now.texts != before.texts).map(|(now, _)| now.setting).collect()
    }

    fn selectors(&self, key: &str) -> Vec<Selector> {
        let texts = self.value(key).map_or(&[][..], |value| &value.texts);
        // Each was checked.
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Fails if what is set can't be meant together. Only what the file says is judged beyond the selection: the
    /// variables of OpenTelemetry are often set for several programs at once.
    fn contradictions(&self) -> Result<(), Problem> {
        let Selection { only, except } = self.selection();
        if let Some(both) = only.iter().find(|selector| except.contains(selector)) {
            return Err(self.problem("select.exclude", format!("`{both}` is both included and excluded: choose one")));
        }
        let of_file = |key: &str| self.value(key).is_some_and(|value| matches!(value.place, Place::File { .. }));
        if self.text("otlp.endpoint").is_none()
            && let Some(idle) =
                self.values.iter().find(|value| value.setting.key.starts_with("otlp.") && of_file(value.setting.key))
        {
            let key = idle.setting.key;
            return Err(self.problem(key, format!("`{key}` is set, but `otlp.endpoint` is not: nothing would be sent")));
        }
        if of_file("otlp.insecure")
            && self.text("otlp.insecure") == Some("true")
            && self.text("otlp.endpoint").is_some_and(|endpoint| endpoint.starts_with("https:"))
        {
            return Err(self.problem("otlp.insecure", "`otlp.insecure` is true, but `otlp.endpoint` begins with https"));
        }
        for (one, other) in
            [("otlp.client_key", "otlp.client_certificate"), ("otlp.client_certificate", "otlp.client_key")]
        {
            if of_file(one) && self.text(other).is_none() {
                return Err(self.problem(one, format!("`{one}` is set, but `{other}` is not: they go together")));
            }
        }
        if of_file("otlp.batch_spans") && self.number("otlp.batch_spans") > self.number("otlp.queue_spans") {
            return Err(self.problem("otlp.batch_spans", "`otlp.batch_spans` is more than `otlp.queue_spans`"));
        }
        Ok(())
    }
}

/// A list in a variable.
fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file::read;
    use super::*;

    fn resolve(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> Result<Resolved, Problem> {
        let given = read("f.yaml", file)?;
        let flag = |name: &str| {
            let texts: Vec<_> =
                flags.iter().filter(|(flag, _)| *flag == name).map(|(_, text)| (*text).to_owned()).collect();
            (!texts.is_empty()).then_some(texts)
        };
        let variable =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, text)| (*text).to_owned());
        Layers { flag: &flag, variable: &variable, file: Some(("f.yaml", &given)) }.resolve()
    }

    #[track_caller]
    fn refused(variables: &[(&str, &str)], file: &str, place: &str, words: &str) {
        let problem = resolve(&[], variables, file).expect_err(words);
        assert!(problem.place.to_string() == place && problem.what.contains(words), "{problem}");
    }

    #[test]
    fn the_command_line_comes_before_the_environment_the_file_and_the_default() {
        let file = "connections: {segment: 4}\n";
        let (flag, variable) = (("segment", "2"), ("WIRESPAN_CONNECTIONS_SEGMENT", "3"));
        for (flags, variables, file, number, place) in [
            (&[flag][..], &[variable][..], file, 2, "--segment"),
            (&[], &[variable], file, 3, "WIRESPAN_CONNECTIONS_SEGMENT"),
            (&[], &[], file, 4, "f.yaml:1"),
            (&[], &[], "", 60, "default"),
        ] {
            let resolved = resolve(flags, variables, file).expect("good");
            let value = resolved.value("connections.segment").expect("a setting");
            assert_eq!(
                (resolved.number("connections.segment"), value.place.to_string().as_str()),
                (Some(number), place)
            );
        }
    }

    #[test]
    fn a_list_replaces_the_one_below_it() {
        let file = "select: {include: [exe:a], exclude: [exe:b]}\n";
        let resolved =
            resolve(&[("only", "pid:1"), ("only", "pid:2")], &[("WIRESPAN_SELECT_EXCLUDE", "exe:c, user:0")], file);
        let Selection { only, except } = resolved.expect("good").selection();
        assert_eq!(only.iter().map(ToString::to_string).collect::<Vec<_>>(), ["pid:1", "pid:2"]);
        assert_eq!(except.iter().map(ToString::to_string).collect::<Vec<_>>(), ["exe:c", "user:0"]);
    }

    #[test]
    fn what_reads_the_environment_finds_the_file_behind_it() {
        let resolved = resolve(
            &[],
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            "otlp:\n  endpoint: http://c:1\n  headers: {a: b, c: d}\n",
        );
        let resolved = resolved.expect("good");
        assert_eq!(resolved.from_file("OTEL_EXPORTER_OTLP_ENDPOINT").as_deref(), Some("http://c:1"));
        assert_eq!(resolved.from_file("OTEL_EXPORTER_OTLP_HEADERS").as_deref(), Some("a=b,c=d"));
        assert_eq!(resolved.from_file("OTEL_EXPORTER_OTLP_PROTOCOL"), None, "the environment has it");
        assert_eq!(resolved.from_file("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), None);
        let (key, place) = resolved.place_of("OTEL_EXPORTER_OTLP_ENDPOINT").expect("of the file");
        assert_eq!((key, place.to_string().as_str()), ("otlp.endpoint", "f.yaml:2"));
    }

    #[test]
    fn contradictions_are_named_with_their_place() {
        refused(&[], "select:\n  include: [exe:a]\n  exclude: [exe:a]\n", "f.yaml:3", "both included and excluded");
        refused(
            &[("WIRESPAN_SELECT_EXCLUDE", "exe:a")],
            "select: {include: [exe:a]}\n",
            "WIRESPAN_SELECT_EXCLUDE",
            "both",
        );
        refused(&[], "otlp: {compression: gzip}\n", "f.yaml:1", "`otlp.endpoint` is not");
        refused(&[], "otlp:\n  endpoint: https://c:1\n  insecure: true\n", "f.yaml:3", "https");
        refused(&[], "otlp:\n  endpoint: http://c:1\n  client_key: /k\n", "f.yaml:3", "go together");
        refused(&[], "otlp:\n  endpoint: http://c:1\n  queue_spans: 9\n  batch_spans: 10\n", "f.yaml:4", "more than");
    }

    #[test]
    fn a_wrong_variable_is_named_but_those_of_opentelemetry_have_their_own_rules() {
        refused(&[("WIRESPAN_CONNECTIONS_SEGMENT", "soon")], "", "WIRESPAN_CONNECTIONS_SEGMENT", "`soon`");
        refused(&[("WIRESPAN_SELECT_INCLUDE", "exe:a,nginx")], "", "WIRESPAN_SELECT_INCLUDE", "`nginx`");
        resolve(&[], &[("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")], "").expect("it is warned of elsewhere");
        resolve(&[], &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], "").expect("it may be set for another program");
    }

    #[test]
    fn what_changed_is_told_by_value() {
        let before = resolve(&[], &[], "connections: {segment: 60}\n").expect("good");
        let after = resolve(&[], &[], "select: {include: [exe:a]}\nlog: {filter: debug}\n").expect("good");
        let keys: Vec<_> = after.changed(&before).iter().map(|setting| setting.key).collect();
        assert_eq!(keys, ["select.include", "log.filter"]);
    }
}
