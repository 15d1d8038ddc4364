//! Documents of one part per thing that was measured, between marks, so that what was measured again replaces its part alone and
//! what people wrote beside the parts stays.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// How the parts of a document are found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// What the document starts with if it is not there yet.
    pub(crate) head: &'a str,
    /// What a part is called in its marks.
    pub(crate) kind: &'a str,
    /// The names of all parts, in their order.
    pub(crate) order: &'a [&'a str],
}

impl Parts<'_> {
    /// The document with this part in its place: where its marks are, or else behind the last part that comes before it.
    pub(crate) fn updated(&self, document: &str, name: &str, text: &str) -> String {
        let document = if document.trim().is_empty() { self.head } else { document };
        let (begin, end) = self.marks(name);
        let whole = format!("{begin}\n{text}{end}");
        if let Some((before, rest)) = document.split_once(&begin)
            && let Some((_, after)) = rest.split_once(&end)
        {
            return format!("{before}{whole}{after}");
        }
        let earlier = self.order.iter().rev().skip_while(|known| **known != name).skip(1);
        let behind = earlier.filter_map(|name| {
            let end = self.marks(name).1;
            document.find(&end).map(|at| at + end.len())
        });
        match behind.max() {
            Some(at) => format!("{}\n\n{whole}{}", &document[..at], &document[at..]),
            // The first of all: behind the head, before what was written of others.
            None => {
                let first = self.order.iter().filter_map(|name| document.find(&self.marks(name).0)).min();
                let (before, after) = document.split_at(first.unwrap_or(document.len()));
                let gap = if after.is_empty() { "\n" } else { "\n\n" };
                format!("{}\n\n{whole}{gap}{after}", before.trim_end())
            }
        }
    }

    /// Puts a part into its place in a file.
    pub(crate) fn write(&self, path: &Path, name: &str, text: &str) -> Result<()> {
        let before = match fs::read_to_string(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} cannot be read", path.display()));
            }
            read => read.unwrap_or_default(),
        };
        fs::write(path, self.updated(&before, name, text))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// What stands before and behind a part.
    fn marks(&self, name: &str) -> (String, String) {
        let kind = self.kind;
        (format!("<!-- {kind} {name} -->"), format!("<!-- end of {kind} {name} -->"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts<'_> = Parts { head: "# Head\n", kind: "bench", order: &["kernel", "nginx", "fixed"] };

    #[test]
    fn a_part_replaces_itself_and_leaves_everything_else() {
        let first = PARTS.updated("", "nginx", "nine\n");
        assert_eq!(first, "# Head\n\n<!-- bench nginx -->\nnine\n<!-- end of bench nginx -->\n");
        let before = format!("{}\nWhy it was missed.\n", PARTS.updated(&first, "fixed", "one\n"));
        assert_eq!(PARTS.updated(&before, "nginx", "seven\n"), before.replace("nine", "seven"));
    }

    #[test]
    fn parts_stand_in_their_order_whatever_was_first() {
        let text =
            ["fixed", "nginx", "kernel"].iter().fold(String::new(), |text, name| PARTS.updated(&text, name, "x\n"));
        let places: Vec<_> = PARTS.order.iter().map(|name| text.find(&PARTS.marks(name).0).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.starts_with(PARTS.head));
    }
}
