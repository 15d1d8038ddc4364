//! Header fields: one after the other, never stopping at a bad one.

use memchr::memchr;

use super::guess::is_token;
use crate::text::Text;

/// A header field, as it lies in the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    /// Without white space around it, in the case in which it was sent.
    pub(super) name: &'a [u8],
    /// With the line breaks of a folded value still in it.
    raw: &'a [u8],
}

/// A line that is no header field.
#[derive(Clone, Copy, Debug)]
pub(super) struct BadLine;

/// Walks the lines after the first one of a head, up to its empty line. A last line without its line feed is left out,
/// because it may be only the beginning of one.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// The value as text; folded lines (RFC 9112, 5.2) are joined by a space.
pub(super) fn text(field: &Field<'_>) -> Text {
    let value = field.value();
    if memchr(b'\n', value).is_none() {
        return lossy(value);
    }
    let mut joined = String::with_capacity(value.len());
    for line in value.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(&String::from_utf8_lossy(line));
    }
    joined.into()
}

/// Bytes as text; those that are none are replaced.
pub(super) fn lossy(bytes: &[u8]) -> Text {
    match str::from_utf8(bytes) {
        Ok(text) => Text::new(text),
        Err(_) => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}

impl<'a> Field<'a> {
    /// Whether it has this name, in any case.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value without white space around it.
    pub(super) fn value(&self) -> &'a [u8] {
        self.raw.trim_ascii()
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(lines: &'a [u8]) -> Self {
        Self { rest: lines }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        // A name has no line feed in it.
        let name = token_len(self.rest);
        let mut end = line_feed(self.rest, name)?;
        if matches!(self.rest[0], b'\r' | b'\n') && self.rest[..end].trim_ascii().is_empty() {
            self.rest = &[];
            return None;
        }
        while matches!(self.rest.get(end + 1), Some(b' ' | b'\t')) {
            match line_feed(self.rest, end + 1) {
                Some(next) => end = next,
                None => {
                    self.rest = &[];
                    return None;
                }
            }
        }
        let (line, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        self.rest = rest;
        Some(split(line, name).ok_or(BadLine))
    }
}

/// How many bytes may stand in a name, from the first on. Names are short: to look at each byte once is all it takes.
pub(super) fn token_len(bytes: &[u8]) -> usize {
    let is_other = |&byte: &u8| !is_token(byte);
    let (words, rest) = bytes.as_chunks::<8>();
    for (before, word) in words.iter().enumerate() {
        if let Some(at) = word.iter().position(is_other) {
            return before * 8 + at;
        }
    }
    rest.iter().position(is_other).map_or(bytes.len(), |at| words.len() * 8 + at)
}

/// The next line feed. Lines are short: eight bytes at once, without the preparations of a search that is good at long
/// texts.
pub(super) fn line_feed(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    const LINE_FEEDS: u64 = ONES * b'\n' as u64;
    let (words, rest) = bytes.get(from..)?.as_chunks::<8>();
    let mut at = from;
    for &word in words {
        // The lowest byte that is zero becomes 0x80, those below it zero.
        let zeros = u64::from_le_bytes(word) ^ LINE_FEEDS;
        let found = zeros.wrapping_sub(ONES) & !zeros & (ONES << 7);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    rest.iter().position(|&byte| byte == b'\n').map(|after| at + after)
}

/// The field of a line that begins with so many bytes that may stand in a name.
fn split(line: &[u8], name: usize) -> Option<Field<'_>> {
    let (name, rest) = line.split_at_checked(name)?;
    let raw = rest.strip_prefix(b":").or_else(|| rest.trim_ascii_start().strip_prefix(b":"))?;
    (!name.is_empty()).then_some(Field { name, raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[u8], expect: &[Option<(&str, &str)>]) {
        let fields: Vec<_> = Fields::new(lines)
            .map(|field| {
                field.ok().map(|field| (String::from_utf8_lossy(field.name).into_owned(), text(&field).into_owned()))
            })
            .collect();
        let expect: Vec<_> = expect.iter().map(|field| field.map(|(n, v)| (n.to_owned(), v.to_owned()))).collect();
        assert_eq!(fields, expect, "{:?}", String::from_utf8_lossy(lines));
    }

    #[test]
    fn a_line_feed_is_found_wherever_it_stands() {
        for len in 0..40 {
            for at in 0..len {
                // Its neighbours in the code, and the same with the highest bit.
                let mut bytes: Vec<u8> = [9, 11, 0x8a, 0, 0xff].into_iter().cycle().take(len).collect();
                assert_eq!(line_feed(&bytes, 0), None);
                bytes[at..].fill(b'\n');
                for from in 0..=len {
                    assert_eq!(line_feed(&bytes, from), (from < len).then_some(at.max(from)), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn fields_are_read_up_to_the_empty_line() {
        check(b"Host: a\r\nX:\r\n\r\nBody: no\r\n", &[Some(("Host", "a")), Some(("X", ""))]);
    }

    #[test]
    fn bare_line_feeds_and_folds_are_understood() {
        check(b"A:1\nB: 2\n\tx\r\n  y \r\nC : 3\n\n", &[Some(("A", "1")), Some(("B", "2 x y")), Some(("C", "3"))]);
    }

    #[test]
    fn a_bad_line_does_not_hide_the_next() {
        check(
            b" fold of nothing\r\nno colon\r\n: no name\r\nna me: x\r\n\0: y\r\nA: 1\r\n",
            &[None, None, None, None, None, Some(("A", "1"))],
        );
    }

    #[test]
    fn a_line_without_its_end_is_left_out() {
        check(b"A: 1\r\nB: 2", &[Some(("A", "1"))]);
        check(b"A: 1\r\nB: 2\r\n fold", &[Some(("A", "1"))]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        check(b"A: \xffx\0\r\n", &[Some(("A", "\u{fffd}x\0"))]);
    }
}
