//! One direction of one connection: pieces that overlap, repeat and overtake each other in, the stream in order out.

use super::{At, Chunk, Nanos};

/// New payload as a record has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// When it passed.
    pub(super) time: Nanos,
    /// Stream offset of its first byte. `offset + len` does not overflow.
    pub(super) offset: u64,
    /// Its length; at least `head` and `tail` together.
    pub(super) len: u64,
    /// Its first bytes.
    pub(super) head: &'a [u8],
    /// Its last bytes, where not all of it was copied.
    pub(super) tail: &'a [u8],
    /// It overtook others: what is missing before it may still come.
    pub(super) ahead: bool,
    /// The direction ends after it.
    pub(super) fin: bool,
    /// Its first byte is the first since the other direction spoke.
    pub(super) turn: bool,
}

/// Takes the stream.
pub(super) trait Sink {
    /// The next piece, in order.
    fn chunk(&mut self, at: At, chunk: Chunk<'_>);
    /// The next bytes are the first since the other direction spoke.
    fn turned(&mut self);
    /// The direction has ended. Called once, and nothing follows.
    fn finished(&mut self, time: Nanos);
    /// The gap that comes next stands for bytes that should have come but did not.
    fn hole(&mut self, len: u64);
}

/// What is known of one direction.
///
/// Times never go back: bytes that overtook others count as passed when what they waited for had passed, because nobody
/// could read them before.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Everything before this offset has been delivered.
    pos: u64,
    /// When its last byte passed.
    time: Nanos,
    /// Pieces that wait for what is missing before them, by offset.
    held: Vec<Held>,
    /// What they cost.
    held_bytes: usize,
    finished: bool,
    /// Bytes were left out on purpose since the other direction spoke: what is missing from here on is not copied either.
    spent: bool,
}

#[derive(Debug)]
struct Held {
    time: Nanos,
    offset: u64,
    len: u64,
    /// Head and tail, one after the other.
    copied: Box<[u8]>,
    head_len: usize,
    fin: bool,
    turn: bool,
}

impl Stream {
    /// How far the stream has been delivered.
    pub(super) fn pos(&self) -> u64 {
        self.pos
    }

    /// Whether its end has been delivered.
    pub(super) fn finished(&self) -> bool {
        self.finished
    }

    /// Bytes of memory taken by pieces that wait.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Since when something waits.
    pub(super) fn held_since(&self) -> Option<Nanos> {
        self.held.iter().map(|held| held.time).min()
    }

    /// Takes a piece; it may wait here if it costs no more than `room` bytes.
    pub(super) fn push(&mut self, piece: &Piece<'_>, room: usize, sink: &mut impl Sink) {
        if piece.offset > self.pos {
            if self.finished {
                return;
            }
            let misses = piece.ahead && !(self.held.is_empty() && self.spent && piece.head.is_empty() && !piece.turn);
            if misses && Held::cost(piece) <= room {
                self.hold(piece);
                return;
            }
            // Either there is no room to wait, or nothing is missing here: what lies between was left out on purpose, also
            // in front of pieces that still wait.
            self.release_below(piece.offset, misses, sink);
            self.skip_to(piece.offset, piece.time, misses, sink);
        }
        self.deliver(piece, sink);
        self.drain(sink);
    }

    /// The stream is known to have got this far by then; what was not seen of it was not copied.
    ///
    /// If pieces wait, this is believed only when it is `proven` that nothing more will come for them.
    pub(super) fn advance(&mut self, offset: u64, time: Nanos, proven: bool, sink: &mut impl Sink) {
        if offset <= self.pos || (!self.held.is_empty() && !proven) {
            return;
        }
        self.release_below(offset, true, sink);
        self.skip_to(offset, time, false, sink);
        self.drain(sink);
    }

    /// Waits no longer: what is missing becomes gaps, what waited follows.
    pub(super) fn give_up(&mut self, sink: &mut impl Sink) {
        while let Some(first) = self.held.first() {
            self.skip_to(first.offset, first.time, true, sink);
            self.deliver_first(sink);
        }
    }

    fn hold(&mut self, piece: &Piece<'_>) {
        let at = self.held.partition_point(|held| held.offset < piece.offset);
        let copied = piece.head.len() + piece.tail.len();
        if self
            .held
            .get(at)
            .is_some_and(|held| held.offset == piece.offset && held.len >= piece.len && held.copied.len() >= copied)
        {
            return;
        }
        self.held_bytes += Held::cost(piece);
        let copied = [piece.head, piece.tail].concat().into_boxed_slice();
        let Piece { time, offset, len, fin, turn, .. } = *piece;
        self.held.insert(at, Held { time, offset, len, copied, head_len: piece.head.len(), fin, turn });
    }

    /// Delivers what no longer has to wait.
    fn drain(&mut self, sink: &mut impl Sink) {
        while let Some(first) = self.held.first() {
            if first.offset > self.pos {
                if !self.spent || first.head_len > 0 || first.turn {
                    return;
                }
                self.skip_to(first.offset, first.time, false, sink);
            }
            self.deliver_first(sink);
        }
    }

    /// Delivers all that waits and begins before an offset, with gaps for what is missing.
    fn release_below(&mut self, offset: u64, lost: bool, sink: &mut impl Sink) {
        while let Some(first) = self.held.first().filter(|held| held.offset < offset) {
            self.skip_to(first.offset, first.time, lost, sink);
            self.deliver_first(sink);
        }
    }

    fn deliver_first(&mut self, sink: &mut impl Sink) {
        let held = self.held.remove(0);
        self.held_bytes = self.held_bytes.saturating_sub(size_of::<Held>() + held.copied.len());
        if self.held.is_empty() {
            // Rare and short: an idle connection should not keep the room.
            self.held = Vec::new();
        }
        let (head, tail) = held.copied.split_at(held.head_len);
        let Held { time, offset, len, fin, turn, .. } = held;
        self.deliver(&Piece { time, offset, len, head, tail, ahead: false, fin, turn }, sink);
    }

    /// Delivers what is new of a piece that begins no later than the stream has got.
    fn deliver(&mut self, piece: &Piece<'_>, sink: &mut impl Sink) {
        if self.finished {
            return;
        }
        let mut old = self.pos - piece.offset;
        if piece.turn && old == 0 {
            sink.turned();
        }
        let uncopied = piece.len - (piece.head.len() + piece.tail.len()) as u64;
        self.spent = uncopied > 0 || (self.spent && !piece.turn);
        self.emit(&mut old, Chunk::Bytes(piece.head), piece.time, sink);
        self.emit(&mut old, Chunk::Gap(uncopied), piece.time, sink);
        self.emit(&mut old, Chunk::Bytes(piece.tail), piece.time, sink);
        if piece.fin {
            self.finished = true;
            self.held = Vec::new();
            self.held_bytes = 0;
            self.time = self.time.max(piece.time);
            sink.finished(self.time);
        }
    }

    fn skip_to(&mut self, offset: u64, time: Nanos, lost: bool, sink: &mut impl Sink) {
        let len = offset.saturating_sub(self.pos);
        if len == 0 || self.finished {
            return;
        }
        if lost {
            sink.hole(len);
        } else {
            self.spent = true;
        }
        self.emit(&mut 0, Chunk::Gap(len), time, sink);
    }

    /// Hands on a chunk without its `old` first bytes.
    fn emit(&mut self, old: &mut u64, chunk: Chunk<'_>, time: Nanos, sink: &mut impl Sink) {
        let cut = (*old).min(chunk.len());
        *old -= cut;
        let chunk = match chunk {
            // `cut` is at most the slice's length.
            Chunk::Bytes(bytes) => Chunk::Bytes(bytes.get(cut as usize..).unwrap_or_default()),
            Chunk::Gap(len) => Chunk::Gap(len - cut),
        };
        if chunk.is_empty() {
            return;
        }
        self.time = self.time.max(time);
        let at = At { time: self.time, pos: self.pos };
        self.pos += chunk.len();
        sink.chunk(at, chunk);
    }
}

impl Held {
    fn cost(piece: &Piece<'_>) -> usize {
        size_of::<Self>() + piece.head.len() + piece.tail.len()
    }
}

#[cfg(test)]
mod tests;
