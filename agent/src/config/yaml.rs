//! YAML as a tree in which everything knows its line. Pure.
//!
//! Only what a configuration needs: one document of mappings, lists and texts. Anchors, aliases and tags are refused: an
//! alias of an alias of an alias is a small file that becomes a large tree.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

/// Bytes of a file. A ConfigMap can hold 1 MiB in all; a configuration of ours with every option is 3 KiB, and a
/// selection of a thousand names 30 KiB.
pub const MAX_BYTES: usize = 256 * 1024;
/// Mappings and lists within each other. The deepest option is four levels down.
const MAX_DEPTH: usize = 16;

/// A part of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it begins, from 1.
    pub line: usize,
    /// What it is.
    pub tree: Tree,
}

/// What a part of the file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Text as it stands, or in quotes.
    Text {
        /// Without its quotes.
        text: String,
        /// Whether it stands in quotes: then it is a text even if it looks like a number.
        is_quoted: bool,
    },
    /// `- one` lines, or `[one, two]`.
    List(Vec<Node>),
    /// `key: value` lines, or `{key: value}`, in the order of the file. No key comes twice.
    Map(Vec<Entry>),
}

/// One line of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its line, from 1.
    pub line: usize,
    /// What follows it.
    pub value: Node,
}

/// Why a file is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

impl Node {
    /// Whether nothing is said: `key:` alone, `null` or `~`.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(&self.tree, Tree::Text { text, is_quoted: false } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// What it is, for a message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.tree {
            Tree::Text { .. } => "a single value",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a mapping",
        }
    }
}

/// Reads a file. `None` if there is nothing in it but comments.
///
/// # Errors
///
/// If it is no YAML, or uses what is refused here.
pub fn parse(text: &str) -> Result<Option<Node>, Broken> {
    if text.len() > MAX_BYTES {
        return Err(broken(1, format!("more than {} KiB", MAX_BYTES / 1024)));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| from_scan(&error))?;
        builder.take(event, span.start.line())?;
    }
    Ok(builder.root.filter(|root| !root.is_nothing()))
}

/// A mapping or list that is not closed yet.
enum Open {
    List { line: usize, nodes: Vec<Node> },
    Map { line: usize, entries: Vec<Entry>, key: Option<(String, usize)> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Broken> {
        let plain = |anchor: usize, is_tagged: bool| match (anchor, is_tagged) {
            (0, false) => Ok(()),
            (0, true) => Err(broken(line, "tags (`!name`) are not allowed here")),
            _ => Err(broken(line, "anchors (`&name`) are not allowed here")),
        };
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(broken(line, "a second document begins here: only one is read"));
                }
            }
            Event::Alias(_) => return Err(broken(line, "aliases (`*name`) are not allowed here")),
            Event::Scalar(text, style, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.scalar(text, style, line)?;
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.begin(Open::List { line, nodes: Vec::new() }, line)?;
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.begin(Open::Map { line, entries: Vec::new(), key: None }, line)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop() {
                    Some(Open::List { line, nodes }) => Node { line, tree: Tree::List(nodes) },
                    Some(Open::Map { line, entries, .. }) => Node { line, tree: Tree::Map(entries) },
                    None => return Err(broken(line, "something ends here that never began")),
                };
                self.put(node);
            }
        }
        Ok(())
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, line: usize) -> Result<(), Broken> {
        if let Some(Open::Map { entries, key: key @ None, .. }) = self.open.last_mut() {
            if let Some(before) = entries.iter().find(|entry| entry.key == text) {
                return Err(broken(line, format!("`{text}` is given twice; the first is in line {}", before.line)));
            }
            *key = Some((text.into_owned(), line));
            return Ok(());
        }
        let is_quoted = style != ScalarStyle::Plain;
        self.put(Node { line, tree: Tree::Text { text: text.into_owned(), is_quoted } });
        Ok(())
    }

    fn begin(&mut self, open: Open, line: usize) -> Result<(), Broken> {
        if self.open.len() >= MAX_DEPTH {
            return Err(broken(line, format!("more than {MAX_DEPTH} levels within each other")));
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err(broken(line, "a key must be a text"));
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(Open::List { nodes, .. }) => nodes.push(node),
            Some(Open::Map { entries, key, .. }) => {
                if let Some((key, line)) = key.take() {
                    entries.push(Entry { key, line, value: node });
                }
            }
            None => self.root = Some(node),
        }
    }
}

fn broken(line: usize, problem: impl Into<String>) -> Broken {
    Broken { line: line.max(1), problem: problem.into() }
}

fn from_scan(error: &ScanError) -> Broken {
    broken(error.marker().line(), format!("this is no YAML: {}", error.info()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: usize, text: &str) -> Node {
        Node { line, tree: Tree::Text { text: text.to_owned(), is_quoted: false } }
    }

    fn entry(key: &str, line: usize, value: Node) -> Entry {
        Entry { key: key.to_owned(), line, value }
    }

    #[track_caller]
    fn refused(file: &str, line: usize, words: &str) {
        let broken = parse(file).expect_err(file);
        assert!(broken.line == line && broken.problem.contains(words), "{file:?}: {broken:?}");
    }

    #[test]
    fn everything_knows_its_line() {
        let file = "# first\na: 1\nb:\n  - x\n  - {c: y}\n\nd: \"7\"\n";
        let inner = Node { line: 5, tree: Tree::Map(vec![entry("c", 5, text(5, "y"))]) };
        let list = Node { line: 4, tree: Tree::List(vec![text(4, "x"), inner]) };
        let quoted = Node { line: 7, tree: Tree::Text { text: "7".to_owned(), is_quoted: true } };
        let expect = Tree::Map(vec![entry("a", 2, text(2, "1")), entry("b", 3, list), entry("d", 7, quoted)]);
        assert_eq!(parse(file).expect("good").expect("not empty").tree, expect);
    }

    #[test]
    fn a_file_of_comments_says_nothing() {
        for file in ["", "# nothing\n", "---\n", "null\n"] {
            assert_eq!(parse(file).expect("good"), None, "{file:?}");
        }
    }

    #[test]
    fn what_is_refused_is_named_with_its_line() {
        refused("a: 1\nb: 2\na: 3\n", 3, "given twice; the first is in line 1");
        refused("a: &x 1\nb: 2\n", 1, "anchors");
        refused("a: &x [1]\n", 1, "anchors");
        refused("a: !!str 1\n", 1, "tags");
        refused("a: 1\n---\nb: 2\n", 2, "second document");
        refused("a: 1\n  b: 2\n", 2, "no YAML");
        refused("a: [1, 2\n", 2, "no YAML");
        refused("? [1]\n: 2\n", 1, "a key must be a text");
        refused("a:\n\tb: 1\n", 2, "no YAML");
        refused(&"x".repeat(MAX_BYTES + 1), 1, "KiB");
    }

    #[test]
    fn depth_costs_no_stack() {
        for open in ["[", "- ", "{a: "] {
            refused(&open.repeat(MAX_DEPTH + 1), 1, "levels");
            // The parser itself refuses what is far deeper.
            assert!(parse(&open.repeat(50_000)).is_err(), "{open}");
        }
    }
}
