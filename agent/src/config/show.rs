//! What a configuration came to, as YAML that says where each value is from; and the schema of the file. Pure.

use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use super::layers::{Resolved, Value};
use super::setting::{Kind, SETTINGS, Setting};

/// Stands for what must not be shown.
const SECRET: &str = "REDACTED";
/// Where the comments begin, if the values are short enough.
const COMMENT_COLUMN: usize = 40;

/// Every setting with its value, as a configuration file with the places as comments. Values of headers are left out.
#[must_use]
pub fn yaml(resolved: &Resolved) -> String {
    let mut text = String::new();
    let mut section = "";
    for value in resolved.values() {
        let (above, name) = value.setting.key.split_once('.').unwrap_or(("", value.setting.key));
        if above != section {
            section = above;
            let _ = writeln!(text, "{section}:");
        }
        let line = format!("  {name}: {}", shown(value));
        let _ = writeln!(text, "{line:<COMMENT_COLUMN$}  # {}", value.place);
    }
    text
}

/// A JSON Schema (draft 2020-12) of the file.
#[must_use]
pub fn schema() -> String {
    let mut sections: Map<String, Json> = Map::new();
    for setting in SETTINGS {
        let (above, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        let section = sections
            .entry(above)
            .or_insert_with(|| json!({ "type": ["object", "null"], "additionalProperties": false, "properties": {} }));
        section["properties"][name] = schema_of(setting);
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of wirespan",
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": sections,
    });
    format!("{schema:#}\n")
}

/// The table of `docs/configuration.md`.
#[must_use]
pub fn table() -> String {
    let mut text =
        String::from("| setting | what | default | option | variables | live |\n|---|---|---|---|---|---|\n");
    for Setting { key, kind, default, flag, variables, is_live, about } in SETTINGS {
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let option = flag.map_or_else(String::new, |flag| format!("`--{flag}`"));
        let variables: Vec<_> = variables.iter().map(|name| code(name)).collect();
        let live = if *is_live { "yes" } else { "" };
        let _ = writeln!(
            text,
            "| `{key}` | {about} Value: {}. | {} | {option} | {} | {live} |",
            kind.describe(),
            code(default),
            variables.join(", ")
        );
    }
    text
}

fn schema_of(setting: &Setting) -> Json {
    let mut schema = match setting.kind {
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Number { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::PowerOfTwo { least, most } => {
            let powers: Vec<u64> =
                (0..u64::BITS).map(|bit| 1 << bit).filter(|power| (least..=most).contains(power)).collect();
            json!({ "enum": powers })
        }
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::Text | Kind::Address => json!({ "type": "string" }),
        Kind::File => json!({ "type": "string", "pattern": "^/" }),
        Kind::Pairs => json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } }),
        Kind::Selectors => json!({ "type": "array", "items": selector() }),
    };
    let live = if setting.is_live { "A change is obeyed at once." } else { "A change needs a new start." };
    schema["description"] = json!(format!("{} {live}", setting.about));
    if !setting.default.is_empty() {
        // A number is a number in JSON, a truth a truth; everything else is a text.
        schema["default"] = match setting.kind {
            Kind::Number { .. } | Kind::PowerOfTwo { .. } | Kind::Truth => {
                serde_json::from_str(setting.default).unwrap_or_else(|_| json!(setting.default))
            }
            _ => json!(setting.default),
        };
    }
    schema
}

fn selector() -> Json {
    let one = json!({ "type": ["string", "integer"] });
    let several = json!({ "anyOf": [one, { "type": "array", "items": one }] });
    let names = [
        "exe",
        "pid",
        "port",
        "user",
        "container",
        "cgroup",
        "unit",
        "service",
        "namespace",
        "pod",
        "workload",
        "label",
        "annotation",
    ];
    let properties: Map<String, Json> = names.iter().map(|name| ((*name).to_owned(), several.clone())).collect();
    json!({ "anyOf": [
        { "type": "string", "pattern": format!("^({}):.", names.join("|")) },
        { "type": "object", "additionalProperties": false, "properties": properties, "minProperties": 1, "maxProperties": 1 },
    ] })
}

fn shown(value: &Value) -> String {
    match value.setting.kind {
        Kind::Selectors => format!("[{}]", value.texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")),
        Kind::Pairs => format!(
            "{{{}}}",
            value.texts.iter().flat_map(|text| text.split(',')).map(hidden).collect::<Vec<_>>().join(", ")
        ),
        // A query may hold a key.
        _ if value.setting.key == "otlp.endpoint" => {
            let endpoint = value.texts.first().and_then(|text| text.split('?').next());
            endpoint.map_or_else(String::new, quoted)
        }
        _ => value.texts.first().map_or_else(String::new, |text| quoted(text)),
    }
}

fn hidden(pair: &str) -> String {
    format!("{}: {SECRET}", quoted(pair.split('=').next().unwrap_or_default().trim()))
}

/// As it may stand in YAML: in quotes, but where it surely needs none.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'_' | b'-');
    let starts_well = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'/');
    if starts_well && text.bytes().all(is_plain) { text.to_owned() } else { json!(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::file::read;
    use super::super::layers::Layers;
    use super::*;

    const FILE: &str = "\
select:
  include: [exe:nginx, 'exe:/opt/my app']
connections: {segment: 5}
metrics: {listen: '[::1]:9464'}
otlp:
  endpoint: http://collector:4318/?key=s3cret
  headers: {api-key: s3cret}
";

    fn resolve(file: &str) -> Resolved {
        let given = read("f.yaml", file).unwrap_or_else(|problem| panic!("{problem}"));
        Layers { flag: &|_| None, variable: &|_| None, file: Some(("f.yaml", &given)) }.resolve().expect("good")
    }

    #[test]
    fn each_value_is_shown_with_its_place_and_no_secret() {
        let shown = yaml(&resolve(FILE));
        for line in [
            "  include: [\"exe:nginx\", \"exe:/opt/my app\"]  # f.yaml:2",
            "  segment: 5                              # f.yaml:3",
            "  report: spans                           # default",
            "  headers: {api-key: REDACTED}            # f.yaml:7",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "`{line}` is not in\n{shown}");
        }
        assert!(!shown.contains("s3cret"));
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let before = resolve(FILE);
        let again = resolve(&yaml(&before));
        let changed: Vec<_> = again.changed(&before).iter().map(|setting| setting.key).collect();
        assert_eq!(changed, ["otlp.endpoint", "otlp.headers"], "but for secrets");
    }

    #[test]
    fn the_documentation_has_every_setting() {
        let documentation = include_str!("../../../docs/configuration.md");
        let table = table();
        assert!(documentation.ends_with(&table), "docs/configuration.md must end with this:\n{table}");
    }

    #[test]
    fn the_chart_takes_the_same_configuration() {
        let mut schema: Json = serde_json::from_str(&schema()).expect("it is JSON");
        let whole = schema.as_object_mut().expect("an object");
        whole.retain(|key, _| key != "$schema" && key != "title");
        let chart = include_str!("../../../deploy/helm/wirespan/values.schema.json");
        let chart: Json = serde_json::from_str(chart).expect("it is JSON");
        assert!(
            chart["properties"]["config"] == schema,
            "`config` in deploy/helm/wirespan/values.schema.json must be this:\n{schema:#}"
        );
    }

    #[test]
    fn the_schema_knows_every_setting() {
        let schema: Json = serde_json::from_str(&schema()).expect("it is JSON");
        for setting in SETTINGS {
            let (above, name) = setting.key.split_once('.').expect("each has a section");
            let described = &schema["properties"][above]["properties"][name]["description"];
            assert!(described.as_str().is_some_and(|text| text.starts_with(setting.about)), "{}", setting.key);
        }
        assert_eq!(schema["properties"]["connections"]["properties"]["segment"]["default"], json!(60));
        assert_eq!(schema["properties"]["capture"]["properties"]["buffer_kib"]["enum"][0], json!(4));
    }
}
