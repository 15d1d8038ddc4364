//! The application models: one small file per runtime, and the table of them.
//!
//! A model is a small real program in `tests/apps/NAME`, written as people write for that runtime. It is started with
//! `--listen HOST:PORT --first HOST:PORT --second HOST:PORT --pool N [--pass traceparent]` (see [`Start::arguments`]) and prints
//! `listening` when it does. For `GET /work/TOKEN` it calls `GET http://FIRST/a/TOKEN`, computes for 50 to 100 microseconds, calls
//! `GET http://SECOND/b/TOKEN`, then `GET http://FIRST/c/TOKEN` and `GET http://SECOND/d/TOKEN` at the same time, and answers 200 with
//! a short body. Connections stay open on both sides; `--pool 8` keeps at most 8 of them (in all or per host, as is natural for the
//! library), `--pool 0` as many as are needed. No header holds the token; with `--pass traceparent` the header of that name is copied
//! to all calls, else none is sent.

mod apache;
mod c_epoll;
mod c_threads;
mod go;
mod haproxy;
mod java_netty;
mod java_pool;
mod java_virtual;
mod nginx;
mod node;
mod puma;
mod python_asyncio;
mod python_threads;
mod tokio;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bed::install::Source;

/// All runtimes, in the order in which they run and stand in the document.
pub(super) const RUNTIMES: &[Runtime] = &[
    c_threads::RUNTIME,
    c_epoll::RUNTIME,
    nginx::RUNTIME,
    apache::RUNTIME,
    python_threads::RUNTIME,
    python_asyncio::RUNTIME,
    node::RUNTIME,
    go::RUNTIME,
    tokio::RUNTIME,
    java_pool::RUNTIME,
    java_virtual::RUNTIME,
    java_netty::RUNTIME,
    puma::RUNTIME,
    haproxy::RUNTIME,
];

/// The calls that most models make for a request: the first segments of their paths, besides the token.
pub(super) const CALLS: &[&str] = &["a", "b", "c", "d"];

/// The one call of a proxy: it makes `/a/TOKEN` of `/work/TOKEN` and asks the first backend for that.
const FORWARDED: &[&str] = &["a"];

/// What Java may have: enough for all levels, and too little to hold back its garbage for long.
const MEMORY: &str = "-Xmx256m";

/// Pools that most models have: of 8 connections, and unlimited.
pub(super) const POOLS: &[u32] = &[8, 0];

/// An application model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runtime {
    /// What it is called on the command line; also the name of its folder.
    pub(super) name: &'static str,
    /// Language, server, client and how work is spread, in a sentence for the document.
    pub(super) about: &'static str,
    /// Its files, and how they are made ready.
    pub(super) source: Source,
    /// What it runs as: each is started in this order and ended at the end; together they must listen at [`Start::listen`].
    pub(super) commands: fn(&Start<'_>) -> Result<Vec<Command>>,
    /// The calls that it makes for a request, by the first segment of their paths ([`CALLS`]).
    pub(super) calls: &'static [&'static str],
    /// The pools that it is run with ([`POOLS`]); one entry if its clients know no limit.
    pub(super) pools: &'static [u32],
}

/// How a model is to be started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start<'a> {
    /// Where its source was installed.
    pub(super) folder: &'a Path,
    /// A folder of this start alone, for configurations, logs and sockets; gone at the end.
    pub(super) scratch: &'a Path,
    /// Where it shall listen.
    pub(super) listen: SocketAddr,
    /// The first backend.
    pub(super) first: SocketAddr,
    /// The second one.
    pub(super) second: SocketAddr,
    /// At most so many connections to the backends; 0 is no limit.
    pub(super) pool: u32,
    /// Whether `traceparent` is passed on.
    pub(super) pass: bool,
}

impl Start<'_> {
    /// The arguments of the contract.
    pub(super) fn arguments(&self) -> Vec<String> {
        let addresses = [("--listen", self.listen), ("--first", self.first), ("--second", self.second)];
        let mut arguments: Vec<_> =
            addresses.iter().flat_map(|(name, address)| [(*name).to_owned(), address.to_string()]).collect();
        arguments.extend(["--pool".to_owned(), self.pool.to_string()]);
        if self.pass {
            arguments.extend(["--pass".to_owned(), "traceparent".to_owned()]);
        }
        arguments
    }
}

/// Writes the configuration of a proxy, which knows no arguments: its file with these words replaced, besides `@LISTEN@` and
/// `@FIRST@`.
fn configured(start: &Start<'_>, file: &str, words: &[(&str, &str)]) -> Result<PathBuf> {
    let [from, to] = [start.folder, start.scratch].map(|folder| folder.join(file));
    let text = fs::read_to_string(&from).with_context(|| format!("{} cannot be read", from.display()))?;
    let text = text.replace("@LISTEN@", &start.listen.to_string()).replace("@FIRST@", &start.first.to_string());
    let text = words.iter().fold(text, |text, (word, value)| text.replace(word, value));
    fs::write(&to, text).with_context(|| format!("{} cannot be written", to.display()))?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn a_model_has_the_folder_of_its_name_with_all_its_files_and_names_no_other() {
        for runtime in RUNTIMES {
            let Source { folder, files, .. } = runtime.source;
            assert_eq!(folder, format!("tests/apps/{}", runtime.name));
            for file in files {
                assert!(workspace::root().join(folder).join(file).is_file(), "{folder}/{file}");
            }
            assert_eq!(RUNTIMES.iter().filter(|other| other.name == runtime.name).count(), 1, "{}", runtime.name);
        }
    }

    #[test]
    fn a_configuration_has_no_words_left_to_replace() {
        let folder = workspace::target().join("test-configured");
        fs::create_dir_all(&folder).unwrap();
        for (name, file, words) in [
            ("nginx", "nginx.conf", &[][..]),
            ("apache", "apache.conf", &[("@FOLDER@", "/somewhere")]),
            ("haproxy", "haproxy.cfg", &[("@LIMIT@", "7")]),
        ] {
            let address = SocketAddr::from(([127, 0, 0, 1], 4567));
            let source = workspace::root().join("tests/apps").join(name);
            let start = Start {
                folder: &source,
                scratch: &folder,
                listen: address,
                first: address,
                second: address,
                pool: 8,
                pass: false,
            };
            let text = fs::read_to_string(configured(&start, file, words).unwrap()).unwrap();
            let mut settings = text.lines().filter(|line| !line.starts_with('#'));
            assert!(settings.all(|line| !line.contains('@')), "{text}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
