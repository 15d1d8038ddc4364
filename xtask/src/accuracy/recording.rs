//! Recordings of models without the rest of the machine: no connections and processes of anybody else, no host name, no folders.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wirespan_common::record::{Header, Relation, Routine, Segment, Socket, Task, Touch, kind};
use zerocopy::{FromBytes, IntoBytes};

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
            if header.kind == kind::FIRST_FACT {
                kept.extend_from_slice(&self.fact(header, record, &family)?);
            } else if self.owns(&header, record, &mut family)? {
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
            // Of kinds that nobody told us about the replay knows what to do with them.
            _ => true,
        })
    }

    /// Whether a connection's end is the model's own. The other ends are those of clients and backends.
    fn owns_ports(&self, local: u16, remote: u16) -> bool {
        self.listens.port() == local || self.calls.iter().any(|address| address.port() == remote)
    }

    /// What stays of a fact.
    fn fact<'a>(&self, mut header: Header, record: &'a [u8], family: &HashSet<u32>) -> Result<Cow<'a, [u8]>> {
        let text = &record[size_of::<Header>()..];
        let mut fact: Value = serde_json::from_slice(text).context("the recording has a fact that is no JSON")?;
        let Some((name, said)) = fact.as_object_mut().and_then(|fact| fact.iter_mut().next()) else {
            return Ok(Cow::Borrowed(record));
        };
        let port = |name: &str| said.get(name)?.as_str()?.rsplit_once(':')?.1.parse().ok();
        match name.as_str() {
            "process" => {
                let tgid = said.get("tgid").and_then(Value::as_u64).and_then(|tgid| u32::try_from(tgid).ok());
                if !tgid.is_none_or(|tgid| family.contains(&tgid)) {
                    return Ok(Cow::Borrowed(&[]));
                }
                let executable = said.get("executable").and_then(Value::as_str);
                if let Some(name) = executable.and_then(|path| path.rsplit('/').next()) {
                    said["executable"] = json!(format!("/app/{name}"));
                }
            }
            "socket" | "listener" => {
                let is_own = self.owns_ports(port("local").unwrap_or(0), port("remote").unwrap_or(0));
                return Ok(Cow::Borrowed(if is_own { record } else { &[] }));
            }
            "host" => said["name"] = json!("recorded"),
            _ => return Ok(Cow::Borrowed(record)),
        }
        let text = fact.to_string();
        header.len = u32::try_from(size_of::<Header>() + text.len())?;
        Ok(Cow::Owned([header.as_bytes(), text.as_bytes()].concat()))
    }
}

/// A recording without one record of the kernel in so many, by a rule that is as good as chance and always the same.
pub(super) fn thinned(recording: &[u8], one_in: u64, seed: u64) -> Result<Vec<u8>> {
    let (preamble, records) = recording.split_at_checked(PREAMBLE_BYTES).context("the recording has no beginning")?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kept = preamble.to_vec();
    for record in Records(records) {
        let (header, record) = record?;
        if header.kind >= kind::FIRST_FACT || random.u64(..one_in) != 0 {
            kept.extend_from_slice(record);
        }
    }
    Ok(kept)
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
    fn records_are_left_out_always_the_same_and_no_facts() {
        let mut all = vec![0; PREAMBLE_BYTES];
        for number in 0..2_000 {
            all.extend(task(kind::FORK, number, 5));
            all.extend(fact(r#"{"tick":null}"#));
        }
        let kept = |seed| {
            let thinned = thinned(&all, 20, seed).unwrap();
            let kinds: Vec<_> = Records(&thinned[PREAMBLE_BYTES..]).map(|record| record.unwrap().0.kind).collect();
            let facts = kinds.iter().filter(|&&kind| kind >= kind::FIRST_FACT).count();
            assert_eq!(facts, 2_000);
            (kinds.len() - facts, thinned)
        };
        let (left, first) = kept(1);
        assert!((1_800..1_980).contains(&left), "{left}");
        assert!(kept(1).1 == first && kept(2).1 != first);
    }

    #[test]
    fn only_what_is_the_models_own_stays() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let model = Model { listens: address(80), calls: vec![address(90)], processes: vec![5] };
        let own = [
            fact(r#"{"host":{"name":"recorded"}}"#),
            fact(r#"{"process":{"executable":"/app/app","tgid":5}}"#),
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
            match at {
                0 => all.extend(fact(r#"{"host":{"name":"somewhere"}}"#)),
                1 => all.extend(fact(r#"{"process":{"executable":"/home/somebody/app","tgid":5}}"#)),
                _ => all.extend(record),
            }
            wanted.extend(record);
        }
        assert_eq!(model.only(&all).unwrap(), wanted);
        model.only(&all[..all.len() - 1]).unwrap_err();
    }
}
