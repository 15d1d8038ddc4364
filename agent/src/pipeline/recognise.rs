//! Which protocol a connection speaks: the first bytes of its first messages are shown to each protocol in turn.
//!
//! A message begins where the direction changes, as far as the chunks show it or the kernel programs say it. Bytes in the middle of a message are never judged: text in a body may
//! look like anything.

use std::mem;

use crate::flow::{At, Chunk, Direction, Role, Side};
use crate::proto::{Guess, PROTOCOLS, Protocol};

/// The bytes of the current message, as far as they were not enough.
#[derive(Default)]
pub(super) struct Recognition {
    bytes: Vec<u8>,
    /// Where and when the pieces of `bytes` passed, and their lengths.
    pieces: Vec<(At, usize)>,
    way: Option<Direction>,
    /// The next chunk begins a message.
    begins: bool,
    /// The current message can't be recognised any more.
    is_past: bool,
    /// Directions that had bytes before the current message.
    turns: u32,
    /// Messages that were of no known protocol.
    failures: u32,
    /// What went by in them, bytes.
    passed: u64,
}

/// What came of a chunk.
pub(super) enum Finding {
    /// Nothing yet.
    Open,
    /// It is time to give up.
    Unknown,
    /// Recognised.
    Known {
        /// As this protocol.
        protocol: &'static Protocol,
        /// Because of what this side sent.
        sender: Side,
        /// Messages passed before the one that was recognised, or its beginning is not that of the stream.
        is_joined: bool,
    },
}

/// Bytes of a message that are kept while it is not clear what it is: more than the longest request line that the
/// HTTP parser waits for before it decides.
const MAX_BYTES: usize = 8 * 1024;
/// Pieces of them whose times are kept apart.
const MAX_PIECES: usize = 256;
/// Messages that may be of no known protocol before a connection is given up.
const MAX_FAILURES: u32 = 4;
/// Bytes that may go by in such messages: a stream that never turns must not be watched for ever.
const MAX_PASSED_BYTES: u64 = 256 * 1024;
/// The same for a connection that was joined in the middle: after one long download the next request is still found.
const MAX_PASSED_BYTES_JOINED: u64 = 1 << 30;
/// [`MAX_FAILURES`] for a connection that was joined in the middle: a long body that is sent or fetched in turns comes first.
const MAX_FAILURES_JOINED: u32 = 16;

impl Recognition {
    /// Takes the next piece of a direction.
    pub(super) fn push(
        &mut self,
        role: Option<Role>,
        from_start: bool,
        way: Direction,
        at: At,
        chunk: Chunk<'_>,
    ) -> Finding {
        if chunk.is_empty() {
            return Finding::Open;
        }
        // Bytes that follow each other are one message, whatever else is said of them.
        let begins = mem::take(&mut self.begins) && self.is_past;
        if begins || self.way != Some(way) {
            self.turns = self.turns.saturating_add(u32::from(self.way.is_some()));
            self.way = Some(way);
            // The message before ended while it was not clear what it was.
            if !self.bytes.is_empty() && matches!(self.fail(from_start, 0), Finding::Unknown) {
                return Finding::Unknown;
            }
            self.is_past = false;
        }
        if self.is_past {
            return self.pass(from_start, chunk.len());
        }
        let Chunk::Bytes(bytes) = chunk else { return self.fail(from_start, chunk.len()) };
        let before = self.bytes.len();
        let beginning = self.pieces.first().map_or(at.pos, |(first, _)| first.pos);
        let guess = if before == 0 {
            judge(role, way, bytes)
        } else {
            self.bytes.extend_from_slice(bytes);
            let guess = judge(role, way, &self.bytes);
            self.bytes.truncate(before);
            guess
        };
        match guess {
            Ok((protocol, sender)) => {
                let is_joined = !from_start || self.turns > 0 || beginning != 0;
                Finding::Known { protocol, sender, is_joined }
            }
            Err(Guess::Unsure) if before + bytes.len() <= MAX_BYTES => {
                self.keep(at, bytes);
                Finding::Open
            }
            Err(_) => self.fail(from_start, chunk.len()),
        }
    }

    /// The next chunk is the first since payload went the other way, also if what went the other way was lost.
    pub(super) const fn turned(&mut self) {
        self.begins = true;
    }

    /// Whether a message had a beginning that was of no known protocol.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// What was kept of the current message, piece by piece.
    pub(super) fn kept(&self) -> impl Iterator<Item = (At, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.pieces.iter().map(move |&(at, len)| {
            let (piece, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            (at, piece)
        })
    }

    fn keep(&mut self, at: At, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let is_full = self.pieces.len() >= MAX_PIECES;
        match self.pieces.last_mut().filter(|_| is_full) {
            Some((_, len)) => *len += bytes.len(),
            None => self.pieces.push((at, bytes.len())),
        }
    }

    fn fail(&mut self, from_start: bool, len: u64) -> Finding {
        self.forget();
        self.is_past = true;
        self.failures += 1;
        self.pass(from_start, len)
    }

    fn pass(&mut self, from_start: bool, len: u64) -> Finding {
        self.passed = self.passed.saturating_add(len);
        let (failures, passed) = match from_start {
            true => (MAX_FAILURES, MAX_PASSED_BYTES),
            false => (MAX_FAILURES_JOINED, MAX_PASSED_BYTES_JOINED),
        };
        if self.failures >= failures || self.passed > passed { Finding::Unknown } else { Finding::Open }
    }

    fn forget(&mut self) {
        self.bytes = Vec::new();
        self.pieces = Vec::new();
    }
}

/// The protocol, and who sends; else whether more bytes could help.
fn judge(role: Option<Role>, way: Direction, bytes: &[u8]) -> Result<(&'static Protocol, Side), Guess> {
    let known = role.map(|role| Side::sending(role, way));
    let mut best = Guess::No;
    for sender in [Side::Client, Side::Server] {
        if known.is_some_and(|known| known != sender) {
            continue;
        }
        for protocol in PROTOCOLS {
            match (protocol.guess)(sender, bytes) {
                Guess::Yes => return Ok((protocol, sender)),
                Guess::Unsure => best = Guess::Unsure,
                Guess::No => {}
            }
        }
    }
    Err(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Nanos;

    /// Pushes chunks at one direction after the other; the answer to the last one.
    fn check(role: Option<Role>, from_start: bool, chunks: &[(Direction, Chunk<'_>)]) -> (Recognition, Finding) {
        let mut recognition = Recognition::default();
        let mut pos = [0, 0];
        let mut finding = Finding::Open;
        for (n, &(way, chunk)) in chunks.iter().enumerate() {
            let at = At { time: Nanos(n as u64), pos: pos[way as usize] };
            pos[way as usize] += chunk.len();
            finding = recognition.push(role, from_start, way, at, chunk);
        }
        (recognition, finding)
    }

    const IN: Direction = Direction::In;
    const OUT: Direction = Direction::Out;

    fn bytes(text: &str) -> Chunk<'_> {
        Chunk::Bytes(text.as_bytes())
    }

    #[test]
    fn a_request_is_recognised_at_either_end() {
        for (role, way) in [(Role::Client, OUT), (Role::Server, IN)] {
            let (_, finding) = check(Some(role), true, &[(way, bytes("GET / HTTP/1.1\r\n"))]);
            assert!(matches!(finding, Finding::Known { sender: Side::Client, is_joined: false, .. }));
        }
    }

    #[test]
    fn bytes_that_are_not_enough_are_kept_with_their_times() {
        let pieces = [(OUT, bytes("GE")), (OUT, bytes("T / HT")), (OUT, bytes("TP/1.1\r\n"))];
        let (recognition, finding) = check(Some(Role::Client), true, &pieces);
        assert!(matches!(finding, Finding::Known { is_joined: false, .. }));
        let kept: Vec<_> = recognition.kept().collect();
        let at = |time, pos| At { time: Nanos(time), pos };
        assert_eq!(kept, [(at(0, 0), &b"GE"[..]), (at(1, 2), &b"T / HT"[..])]);
    }

    #[test]
    fn who_sends_a_request_is_the_client() {
        for (way, text, sender) in [
            (OUT, "GET / HTTP/1.1\r\n", Side::Client),
            (IN, "GET / HTTP/1.1\r\n", Side::Client),
            (IN, "HTTP/1.1 200 OK\r\n", Side::Server),
        ] {
            let (_, finding) = check(None, false, &[(way, bytes(text))]);
            assert!(matches!(finding, Finding::Known { sender: found, is_joined: true, .. } if found == sender));
        }
    }

    #[test]
    fn the_middle_of_a_message_is_never_judged() {
        let body = [(OUT, Chunk::Gap(10)), (OUT, bytes("GET / HTTP/1.1\r\n"))];
        assert!(matches!(check(Some(Role::Client), false, &body).1, Finding::Open));
        let next = [body[0], body[1], (IN, bytes("x")), (OUT, bytes("GET / HTTP/1.1\r\n"))];
        assert!(matches!(check(Some(Role::Client), false, &next).1, Finding::Known { is_joined: true, .. }));
    }

    #[test]
    fn a_message_begins_behind_a_gap_where_the_direction_is_known_to_have_changed() {
        let gap = [(IN, Chunk::Gap(100)), (OUT, Chunk::Gap(50))];
        let request = bytes("GET / HTTP/1.1\r\n");
        let (mut recognition, _) = check(Some(Role::Client), true, &gap);
        let at = At { time: Nanos(9), pos: 50 };
        assert!(matches!(recognition.push(Some(Role::Client), true, OUT, at, request), Finding::Open));
        let (mut recognition, _) = check(Some(Role::Client), true, &gap);
        recognition.turned();
        let finding = recognition.push(Some(Role::Client), true, OUT, at, request);
        assert!(matches!(finding, Finding::Known { is_joined: true, .. }));
    }

    #[test]
    fn a_connection_of_no_known_protocol_is_given_up() {
        let turns: Vec<_> = (0..64).map(|n| (if n % 2 == 0 { OUT } else { IN }, bytes("\0\u{1}\u{2}"))).collect();
        let failing = |from_start: bool, n: u32| check(Some(Role::Client), from_start, &turns[..n as usize]).1;
        assert!(matches!(failing(true, MAX_FAILURES - 1), Finding::Open));
        assert!(matches!(failing(true, MAX_FAILURES), Finding::Unknown));
        assert!(matches!(failing(false, MAX_FAILURES_JOINED - 1), Finding::Open));
        assert!(matches!(failing(false, MAX_FAILURES_JOINED), Finding::Unknown));
        let unclear: Vec<_> = (0..5).map(|n| (if n % 2 == 0 { OUT } else { IN }, bytes("H"))).collect();
        assert!(matches!(check(None, true, &unclear[..4]).1, Finding::Open));
        assert!(matches!(check(None, true, &unclear).1, Finding::Unknown));
    }

    #[test]
    fn a_stream_that_never_turns_is_given_up() {
        let chunks = [(OUT, bytes("\0bulk")), (OUT, Chunk::Gap(MAX_PASSED_BYTES - 5)), (OUT, Chunk::Gap(1))];
        assert!(matches!(check(Some(Role::Client), true, &chunks[..2]).1, Finding::Open));
        assert!(matches!(check(Some(Role::Client), true, &chunks).1, Finding::Unknown));
        assert!(matches!(check(Some(Role::Client), false, &chunks).1, Finding::Open));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let piece = "A".repeat(16);
        let chunks = vec![(OUT, bytes(&piece)); 2 * MAX_BYTES / 16];
        let (recognition, _) = check(Some(Role::Client), true, &chunks);
        assert!(recognition.bytes.len() <= MAX_BYTES && recognition.pieces.len() <= MAX_PIECES);
    }
}
