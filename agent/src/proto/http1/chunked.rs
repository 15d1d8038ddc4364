//! The chunked transfer coding (RFC 9112, section 7.1), also where bytes of it are missing.

use super::head::EndScan;

/// Longest chunk size, hexadecimal digits: what fits into 64 bits.
const SIZE_DIGITS: u8 = 16;

/// How much of the end of the known bytes is looked at when the framing was lost, bytes: what the kernel programs
/// copy of the end of a segment.
const TAIL_BYTES: usize = 32;

/// Follows the chunks of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunked {
    /// In the digits of a chunk's size.
    Size {
        /// Value so far.
        size: u64,
        /// Digits so far.
        digits: u8,
    },
    /// After the digits: extensions, up to the end of the line.
    Extension(u64),
    /// So many bytes of the chunk are left.
    Data(u64),
    /// Between a chunk's data and its line feed.
    DataEnd,
    /// After the last chunk: fields, up to the empty line.
    Trailer(EndScan),
}

/// What a piece of a chunked body was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes taken.
    pub(super) used: u64,
    /// Bytes of content among them.
    pub(super) content: u64,
    /// Where that leads.
    pub(super) next: Next,
}

/// What comes after a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More of the body.
    More,
    /// Nothing: the body is over.
    Over,
    /// It is no longer known where a chunk begins.
    Lost,
}

/// The last bytes of a chunked body whose framing was lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    bytes: [u8; TAIL_BYTES],
    len: usize,
    trailers: bool,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    /// Takes bytes up to the end of the body.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Progress {
        let mut used = 0;
        let mut content = 0;
        while let Some(&byte) = bytes.get(used) {
            *self = match *self {
                Self::Data(left) => {
                    let len = left.min((bytes.len() - used) as u64);
                    content += len;
                    used += len as usize;
                    if len == left { Self::DataEnd } else { Self::Data(left - len) }
                }
                Self::Trailer(mut scan) => match scan.feed(&bytes[used..]) {
                    Some(len) => return Progress { used: (used + len) as u64, content, next: Next::Over },
                    None => {
                        used = bytes.len();
                        Self::Trailer(scan)
                    }
                },
                framing => match framing.line(byte) {
                    Some(next) => {
                        used += 1;
                        next
                    }
                    None => return Progress { used: used as u64, content, next: Next::Lost },
                },
            };
        }
        Progress { used: used as u64, content, next: Next::More }
    }

    /// Takes a gap. As long as it lies within the data of one chunk nothing is lost.
    pub(super) fn gap(&mut self, len: u64) -> Progress {
        match *self {
            Self::Data(left) if len < left => {
                *self = Self::Data(left - len);
                Progress { used: len, content: len, next: Next::More }
            }
            Self::Data(left) if len == left => {
                *self = Self::DataEnd;
                Progress { used: len, content: len, next: Next::More }
            }
            _ => Progress { used: 0, content: 0, next: Next::Lost },
        }
    }

    /// The state after one byte of a line between chunks.
    fn line(self, byte: u8) -> Option<Self> {
        let begin = |size| if size == 0 { Self::Trailer(EndScan::at_line_start()) } else { Self::Data(size) };
        match (self, byte) {
            (Self::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                Some(Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (Self::Size { size, digits: 1.. }, b'\n') | (Self::Extension(size), b'\n') => Some(begin(size)),
            (Self::Size { size, digits: 1.. }, b'\r' | b';' | b' ' | b'\t') => Some(Self::Extension(size)),
            (Self::Extension(size), _) => Some(Self::Extension(size)),
            (Self::DataEnd, b'\r') => Some(Self::DataEnd),
            (Self::DataEnd, b'\n') => Some(Self::default()),
            _ => None,
        }
    }
}

impl Tail {
    /// `trailers`: fields after the last chunk were announced, so that they may hide the last chunk.
    pub(super) fn new(trailers: bool) -> Self {
        Self { trailers, ..Self::default() }
    }

    /// Takes bytes, and returns how many of the last ones are the end of the body, if they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Option<usize> {
        let kept = TAIL_BYTES.saturating_sub(bytes.len()).min(self.len);
        let new = bytes.len().min(TAIL_BYTES);
        self.bytes.copy_within(self.len - kept..self.len, 0);
        self.bytes[kept..kept + new].copy_from_slice(&bytes[bytes.len() - new..]);
        self.len = kept + new;
        self.end()
    }

    /// Bytes are missing: what came before says nothing about what follows.
    pub(super) fn gap(&mut self) {
        self.len = 0;
    }

    /// The last chunk is a line of zeros after a line end, then come fields and an empty line. A body may hold the
    /// same bytes just before a segment ends; that is rare enough.
    fn end(&self) -> Option<usize> {
        let known = &self.bytes[..self.len];
        let mut lines = known.strip_suffix(b"\r\n\r\n")?;
        loop {
            let (before, line) = match lines.windows(2).rposition(|pair| pair == b"\r\n") {
                Some(at) => (Some(&lines[..at]), &lines[at + 2..]),
                None => (None, lines),
            };
            let size = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
            match before {
                Some(before) if !size.is_empty() && size.iter().all(|&digit| digit == b'0') => {
                    return Some(known.len() - before.len());
                }
                Some(before) if line.contains(&b':') => lines = before,
                // The first line may have lost its beginning.
                None if self.trailers && !line.is_empty() && lines.len() + 4 < known.len() => return Some(known.len()),
                None if self.trailers && line.contains(&b':') => return Some(known.len()),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content and what follows, fed whole and byte by byte.
    fn check(bytes: &[u8], content: u64, next: Next) {
        let mut whole = Chunked::default();
        let progress = whole.bytes(bytes);
        assert_eq!((progress.content, progress.next), (content, next), "{:?}", String::from_utf8_lossy(bytes));

        let (mut single, mut used, mut sum, mut last) = (Chunked::default(), 0, 0, Next::More);
        while last == Next::More && used < bytes.len() {
            let progress = single.bytes(&bytes[used..=used]);
            used += progress.used as usize;
            sum += progress.content;
            last = progress.next;
        }
        assert_eq!((used as u64, sum, last), (progress.used, content, next));
    }

    #[test]
    fn sizes_extensions_and_trailers_are_not_content() {
        check(b"5\r\nhello\r\n0\r\n\r\n", 5, Next::Over);
        check(b"5;a=b;c=\"d\"\r\nhello\r\n00;x\r\nA: b\r\nC: d\r\n\r\nHTTP", 5, Next::Over);
        check(b"A\nhellohello\n0\n\n", 10, Next::Over);
        check(b"a \r\nhellohello\r\n1\r\n", 10, Next::More);
    }

    #[test]
    fn what_is_no_chunk_is_lost() {
        check(b"x", 0, Next::Lost);
        check(b"\r\n", 0, Next::Lost);
        check(b"1\r\nab", 1, Next::Lost);
        check(b"00000000000000001\r\n", 0, Next::Lost);
    }

    #[test]
    fn a_gap_within_a_chunk_loses_nothing() {
        let mut chunked = Chunked::default();
        chunked.bytes(b"10\r\nabc");
        assert_eq!(chunked.gap(13), Progress { used: 13, content: 13, next: Next::More });
        assert_eq!(chunked.bytes(b"\r\n0\r\n\r\n"), Progress { used: 7, content: 0, next: Next::Over });
    }

    #[test]
    fn a_gap_over_the_end_of_a_chunk_loses_the_framing() {
        let mut chunked = Chunked::default();
        chunked.bytes(b"10\r\nabc");
        assert_eq!(chunked.gap(14).next, Next::Lost);
    }

    fn check_tail(trailers: bool, pieces: &[&[u8]], expect: Option<usize>) {
        let mut tail = Tail::new(trailers);
        let end = pieces.iter().fold(None, |_, piece| tail.bytes(piece));
        assert_eq!(end, expect, "{:?}", pieces.iter().map(|piece| String::from_utf8_lossy(piece)).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_chunk_is_recognised_at_the_end_of_what_is_known() {
        check_tail(false, &[b"...content\r\n0\r\n\r\n"], Some(7));
        check_tail(false, &[b"...content\r\n", b"0\r\n\r", b"\n"], Some(7));
        check_tail(false, &[&[b'x'; 100], b"\r\n0\r\n\r\n"], Some(7));
        check_tail(false, &[b"xx\r\n0;e\r\nA: b\r\n\r\n"], Some(15));
        check_tail(false, &[b"0\r\n\r\n"], None);
        check_tail(false, &[b"x0\r\n\r\n"], None);
        check_tail(false, &[b"\r\n10\r\n\r\n"], None);
        check_tail(false, &[b"Line: text\r\n\r\n"], None);
        check_tail(false, &[b"\r\n0\r\n\r\nx"], None);
    }

    #[test]
    fn announced_trailers_may_hide_the_last_chunk() {
        check_tail(true, &[b"rpc-status: 0\r\ngrpc-message: ok\r\n\r\n"], Some(32));
        check_tail(true, &[b"status: 0\r\n\r\n"], Some(13));
        check_tail(true, &[b"...\r\n\r\n"], None);
    }
}
