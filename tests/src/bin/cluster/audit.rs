//! What the agents asked of the API server, from what that wrote down.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use serde_json::Value;

use crate::bed::Bed;
use crate::stack::AGENT;

/// A place in the API server's book.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    /// `get`, `list`, `watch`.
    pub(crate) verb: String,
    /// Which kind of objects, as the API names it.
    pub(crate) kind: String,
    /// Path and query.
    pub(crate) target: String,
    id: String,
}

/// Where the book ends now.
#[track_caller]
pub(crate) fn mark(bed: &Bed) -> Mark {
    Mark(book(bed).metadata().expect("a file has a size").len())
}

/// What agents have asked since then; a watch counts when it begins.
#[track_caller]
pub(crate) fn since(bed: &Bed, mark: Mark) -> Vec<Request> {
    let mut book = book(bed);
    book.seek(SeekFrom::Start(mark.0)).expect("a file has places");
    let mut bytes = Vec::new();
    book.read_to_end(&mut bytes).expect("a file can be read");
    let text = String::from_utf8_lossy(&bytes);
    // The last line may be about to be written.
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let user = format!("system:serviceaccount:{AGENT}:{AGENT}");
    let mut seen = BTreeSet::new();
    for line in complete.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        // A watch is written down when it begins, and again when it ends.
        let is_end_of_watch = text("/verb") == "watch" && text("/stage") == "ResponseComplete";
        if text("/user/username") == user && !is_end_of_watch {
            seen.insert(Request {
                verb: text("/verb"),
                kind: text("/objectRef/resource"),
                target: text("/requestURI"),
                id: text("/auditID"),
            });
        }
    }
    seen.into_iter().collect()
}

fn book(bed: &Bed) -> File {
    File::open(bed.run.join("log/audit.json")).expect("the API server writes down what it is asked")
}
