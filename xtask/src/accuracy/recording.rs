//! Recordings of models, to be replayed by any agent anywhere: only what belongs to the model stays in them, beside them what is
//! true.
//!
//! `NAME-poolN.wspan` is what `wirespan record` wrote, without the connections and processes of anybody else on the machine;
//! `NAME-poolN.json` has the tokens of the requests that were answered.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wirespan_common::record::{Header, Relation, Routine, Segment, Socket, Task, Touch, kind};
use zerocopy::FromBytes;

use crate::accuracy::row::{Repeat, Row};
use crate::accuracy::score::Truth;
use crate::accuracy::token::Token;

/// A recording starts with this many bytes that are no record.
const PREAMBLE_BYTES: usize = 16;

/// What belongs to a model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// Where it listens.
    pub(super) listens: SocketAddr,
    /// Where it calls.
    pub(super) calls: Vec<SocketAddr>,
    /// Its processes, as they were at the end.
    pub(super) processes: Vec<u32>,
}

impl Model {
    /// A recording with nothing but what is this model's.
    pub(super) fn only(&self, recording: &[u8]) -> Result<Vec<u8>> {
        let mut family: HashSet<u32> = self.processes.iter().copied().collect();
        let (preamble, _) = recording.split_at_checked(PREAMBLE_BYTES).context("the recording has no beginning")?;
        let mut kept = preamble.to_vec();
        for record in Records(&recording[PREAMBLE_BYTES..]) {
            let (header, record) = record?;
            if self.owns(&header, record, &mut family)? {
                kept.extend_from_slice(record);
            }
        }
        Ok(kept)
    }

    fn owns(&self, header: &Header, record: &[u8], family: &mut HashSet<u32>) -> Result<bool> {
        let short = || format!("a record of kind {} is too short", header.kind);
        Ok(match header.kind {
            kind::SEGMENT => {
                let (segment, _) = Segment::read_from_prefix(record).ok().with_context(short)?;
                self.owns_ports(segment.local.port, segment.remote.port)
            }
            kind::SOCKET => {
                let (socket, _) = Socket::read_from_prefix(record).ok().with_context(short)?;
                self.owns_ports(socket.local.port, socket.remote.port)
            }
            kind::READ | kind::SEND => {
                let (touch, _) = Touch::read_from_prefix(record).ok().with_context(short)?;
                family.contains(&touch.task.tgid)
            }
            kind::THREAD | kind::WAKE => {
                let (relation, _) = Relation::read_from_prefix(record).ok().with_context(short)?;
                family.contains(&relation.task.tgid)
            }
            kind::GO_CALL | kind::GO_WRITER => {
                let (routine, _) = Routine::read_from_prefix(record).ok().with_context(short)?;
                family.contains(&routine.task.tgid)
            }
            kind::FORK | kind::EXEC | kind::EXIT => {
                let (task, _) = Task::read_from_prefix(record).ok().with_context(short)?;
                if header.kind == kind::FORK && family.contains(&task.parent_tgid) {
                    family.insert(task.tgid);
                }
                family.contains(&task.tgid)
            }
            kind::FIRST_FACT => {
                let fact: Value = serde_json::from_slice(&record[size_of::<Header>()..])
                    .context("the recording has a fact that is no JSON")?;
                self.owns_fact(&fact, family)
            }
            // Of kinds that nobody told us about the replay knows what to do with them.
            _ => true,
        })
    }

    /// Whether a connection's end is the model's own. The other ends are those of clients and backends.
    fn owns_ports(&self, local: u16, remote: u16) -> bool {
        self.listens.port() == local || self.calls.iter().any(|address| address.port() == remote)
    }

    fn owns_fact(&self, fact: &Value, family: &HashSet<u32>) -> bool {
        let Some((name, fact)) = fact.as_object().and_then(|fact| fact.iter().next()) else { return true };
        let port = |name: &str| {
            let text = fact.get(name).and_then(Value::as_str)?;
            text.rsplit_once(':')?.1.parse().ok()
        };
        match name.as_str() {
            "process" => {
                let tgid = fact.get("tgid").and_then(Value::as_u64).and_then(|tgid| u32::try_from(tgid).ok());
                tgid.is_none_or(|tgid| family.contains(&tgid))
            }
            "socket" | "listener" => self.owns_ports(port("local").unwrap_or(0), port("remote").unwrap_or(0)),
            _ => true,
        }
    }
}

/// The records of a recording.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Header, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((header, record)) = Header::read_from_prefix(self.0).ok().and_then(|(header, _)| {
            let length = usize::try_from(header.len).ok()?.max(size_of::<Header>());
            Some((header, self.0.split_at_checked(length)?))
        }) else {
            self.0 = &[];
            return Some(Err(anyhow::anyhow!("the recording is cut off")));
        };
        self.0 = record.1;
        Some(Ok((header, record.0)))
    }
}

/// What is true about a recording.
pub(super) struct Case {
    /// The loads, not yet judged.
    pub(super) rows: Vec<Row>,
    /// The requests that were answered.
    pub(super) truths: HashMap<Token, Truth>,
}

impl Case {
    /// Writes it.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut loads = 0;
        let rows = self.rows.iter().map(|row| {
            let repeats = row.repeats.iter().map(|repeat| {
                let mut tokens: Vec<_> =
                    self.truths.iter().filter(|(_, truth)| truth.load == loads).map(|(token, _)| *token).collect();
                tokens.sort_unstable();
                loads += 1;
                json!({"in_flight": repeat.in_flight, "tokens": tokens.iter().map(Token::to_string).collect::<Vec<_>>()})
            });
            let repeats = repeats.collect::<Vec<_>>();
            json!({"runtime": row.runtime, "pool": row.pool, "level": row.level, "cold": row.is_cold, "repeats": repeats})
        });
        let rows = Value::Array(rows.collect());
        fs::write(path, format!("{rows}\n")).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Reads one that was written for this runtime.
    pub(super) fn read(path: &Path, runtime: &'static str) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let read = || -> Option<Self> {
            let mut case = Self { rows: Vec::new(), truths: HashMap::new() };
            let mut load = 0;
            let number = |row: &Value, name: &str| u32::try_from(row.get(name)?.as_u64()?).ok();
            for row in serde_json::from_str::<Value>(&text).ok()?.as_array()? {
                let (pool, level) = (number(row, "pool")?, number(row, "level")?);
                let is_cold = row.get("cold")?.as_bool()?;
                let mut read = Row { runtime, pool, pass: false, level, is_cold, repeats: Vec::new() };
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
        };
        read().with_context(|| format!("{} is no truth of `cargo xtask accuracy --record`", path.display()))
    }
}

/// The recording and the truth of a runtime with a pool, in a folder.
pub(super) fn paths(folder: &Path, runtime: &str, pool: u32) -> [PathBuf; 2] {
    ["wspan", "json"].map(|ending| folder.join(format!("{runtime}-pool{pool}.{ending}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, rest: &[u8]) -> Vec<u8> {
        let len = u32::try_from(16 + rest.len()).unwrap();
        [&7_u64.to_ne_bytes()[..], &len.to_ne_bytes(), &kind.to_ne_bytes(), &[0, 0], rest].concat()
    }

    fn fact(text: &str) -> Vec<u8> {
        record(kind::FIRST_FACT, text.as_bytes())
    }

    fn task(kind: u16, tgid: u32, parent: u32) -> Vec<u8> {
        let mut rest = vec![0; size_of::<Task>() - 16];
        rest[8..12].copy_from_slice(&tgid.to_ne_bytes());
        rest[12..16].copy_from_slice(&parent.to_ne_bytes());
        record(kind, &rest)
    }

    fn segment(local: u16, remote: u16) -> Vec<u8> {
        let mut rest = vec![0; size_of::<Segment>() - 16];
        for (offset, port) in [(48, local), (68, remote)] {
            rest[offset..offset + 2].copy_from_slice(&port.to_ne_bytes());
        }
        record(kind::SEGMENT, &rest)
    }

    #[test]
    fn only_what_is_the_models_own_stays() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let model = Model { listens: address(80), calls: vec![address(90)], processes: vec![5] };
        let own = [
            fact(r#"{"host":{"name":"vm"}}"#),
            fact(r#"{"process":{"tgid":5}}"#),
            fact(r#"{"listener":{"local":"[::ffff:127.0.0.1]:80"}}"#),
            task(kind::FORK, 6, 5),
            task(kind::EXIT, 6, 0),
            segment(80, 4000),
            segment(4001, 90),
        ];
        let others = [
            fact(r#"{"process":{"tgid":7}}"#),
            fact(r#"{"socket":{"local":"[::1]:22","remote":"[::1]:4000"}}"#),
            task(kind::FORK, 8, 7),
            // The client's and the backend's ends.
            segment(4000, 80),
            segment(90, 4001),
        ];
        let mut all = vec![0; PREAMBLE_BYTES];
        let mut wanted = all.clone();
        for (at, record) in own.iter().enumerate() {
            all.extend(others.get(at).into_iter().flatten());
            all.extend(record);
            wanted.extend(record);
        }
        assert_eq!(model.only(&all).unwrap(), wanted);
        model.only(&all[..all.len() - 1]).unwrap_err();
    }
}
