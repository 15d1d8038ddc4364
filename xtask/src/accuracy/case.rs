//! A recording with what is true about it: `NAME-poolN.wspan.gz` (on a busy machine `NAME-poolN-busy.wspan.gz`) and, beside it,
//! `NAME-poolN.json` with the tokens of the requests that were answered and how many of their links were right when that was last
//! accepted.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::accuracy::condition::Condition;
use crate::accuracy::measure::Way;
use crate::accuracy::row::{Repeat, Row};
use crate::accuracy::score::Truth;
use crate::accuracy::target::Accepted;
use crate::accuracy::token::Token;

/// Loads, and what is true about them.
pub(super) struct Case {
    /// The loads.
    pub(super) rows: Vec<Row>,
    /// The requests that were answered.
    pub(super) truths: HashMap<Token, Truth>,
}

/// Where a case is.
pub(super) struct Files {
    recording: PathBuf,
    truth: PathBuf,
}

impl Files {
    /// Of a runtime with a pool, under a condition, in a folder.
    pub(super) fn new(folder: &Path, runtime: &str, pool: u32, condition: Condition) -> Self {
        let how = if condition == Condition::Plain { String::new() } else { format!("-{}", condition.short()) };
        let [recording, truth] =
            ["wspan.gz", "json"].map(|end| folder.join(format!("{runtime}-pool{pool}{how}.{end}")));
        Self { recording, truth }
    }

    /// Whether they are there.
    pub(super) fn exist(&self) -> bool {
        self.recording.exists() && self.truth.exists()
    }

    /// Writes a recording.
    pub(super) fn write_recording(&self, recording: &[u8]) -> Result<()> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        let packed = packed.write_all(recording).and_then(|()| packed.finish());
        packed.and_then(|packed| fs::write(&self.recording, packed)).with_context(|| self.cannot("written"))
    }

    /// Reads a recording.
    pub(super) fn read_recording(&self) -> Result<Vec<u8>> {
        let packed = fs::read(&self.recording).with_context(|| self.cannot("read"))?;
        let mut recording = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut recording).with_context(|| self.cannot("unpacked"))?;
        Ok(recording)
    }

    /// Writes what is true about it.
    pub(super) fn write_truth(&self, case: &Case) -> Result<()> {
        let path = &self.truth;
        fs::write(path, format!("{}\n", case.to_json()))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Reads what is true about a recording.
    pub(super) fn read_truth(&self, way: Way) -> Result<Case> {
        let path = self.truth.display();
        let text = fs::read_to_string(&self.truth).with_context(|| format!("{path} cannot be read"))?;
        let read = || Case::from_json(&serde_json::from_str(&text).ok()?, way);
        read().with_context(|| format!("{path} is no truth of `cargo xtask accuracy --record`"))
    }

    fn cannot(&self, what: &str) -> String {
        format!("{} cannot be {what}", self.recording.display())
    }
}

impl Case {
    fn to_json(&self) -> Value {
        let mut tokens: HashMap<usize, Vec<Token>> = HashMap::new();
        for (token, truth) in &self.truths {
            tokens.entry(truth.load).or_default().push(*token);
        }
        let mut loads = 0..;
        let repeat = |repeat: &Repeat| {
            let mut tokens = loads.next().and_then(|load| tokens.remove(&load)).unwrap_or_default();
            tokens.sort_unstable();
            json!({"in_flight": repeat.in_flight, "tokens": tokens.iter().map(Token::to_string).collect::<Vec<_>>()})
        };
        let mut repeat = repeat;
        let row = |row: &Row| {
            let repeats: Vec<_> = row.repeats.iter().map(&mut repeat).collect();
            let accepted = |Accepted { right, wrong }: Accepted| json!({"right": right, "wrong": wrong});
            let [accepted, lossy] = row.accepted.map(|kept| kept.map(accepted));
            json!({
                "pool": row.pool, "level": row.level, "cold": row.is_cold, "repeats": repeats,
                "accepted": accepted, "lossy": lossy,
            })
        };
        Value::Array(self.rows.iter().map(row).collect())
    }

    fn from_json(value: &Value, way: Way) -> Option<Self> {
        let Way { runtime, condition, .. } = way;
        let runtime = runtime.name;
        let mut case = Self { rows: Vec::new(), truths: HashMap::new() };
        let mut load = 0;
        let number = |row: &Value, name: &str| u32::try_from(row.get(name)?.as_u64()?).ok();
        for row in value.as_array()? {
            let (pool, level, is_cold) = (number(row, "pool")?, number(row, "level")?, row.get("cold")?.as_bool()?);
            let accepted = ["accepted", "lossy"].map(|name| {
                let accepted = row.get(name)?;
                let [right, wrong] = ["right", "wrong"].map(|name| accepted.get(name)?.as_u64());
                Some(Accepted { right: right?, wrong: wrong? })
            });
            let is_thinned = false;
            let mut read = Row { runtime, pool, condition, level, is_cold, is_thinned, repeats: Vec::new(), accepted };
            for repeat in row.get("repeats")?.as_array()? {
                for token in repeat.get("tokens")?.as_array()? {
                    case.truths.insert(Token::read(token.as_str()?)?, Truth { load, sent: None });
                }
                read.repeats.push(Repeat::replayed(repeat.get("in_flight")?.as_f64()?));
                load += 1;
            }
            case.rows.push(read);
        }
        Some(case)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::runtimes::RUNTIMES;

    #[test]
    fn what_is_true_is_read_as_it_was_written() {
        let row = |is_cold, repeats, accepted| Row {
            runtime: "go",
            pool: 8,
            condition: Condition::Busy,
            level: 4,
            is_cold,
            is_thinned: false,
            repeats: vec![Repeat::replayed(2.5); repeats],
            accepted,
        };
        let rows = vec![row(true, 1, [None; 2]), row(false, 2, [Some(Accepted { right: 9, wrong: 1 }), None])];
        let truths = (0..6).map(|number| (Token(number + 7), Truth { load: usize::from(number > 1) * 2, sent: None }));
        let case = Case { rows, truths: truths.collect() };
        let json = case.to_json();
        let runtime = RUNTIMES.iter().find(|runtime| runtime.name == "go").unwrap();
        let way = Way { runtime, pool: 8, condition: Condition::Busy };
        let read = Case::from_json(&json, way).unwrap();
        assert_eq!(read.to_json(), json);
        assert_eq!((read.truths.len(), read.truths[&Token(8)].load, read.truths[&Token(9)].load), (6, 0, 2));
        assert_eq!(read.rows[1].accepted, [Some(Accepted { right: 9, wrong: 1 }), None]);
        assert!(Case::from_json(&json!([{"pool": 8}]), way).is_none());
    }
}
