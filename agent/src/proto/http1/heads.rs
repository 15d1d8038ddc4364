//! How much of the responses of a connection need be copied, by the heads that they had so far.
//!
//! Copying is most of what a packet costs, and behind the head there is only a body, which nobody reads. A server's heads are
//! much alike, so that a little more than the longest of them is enough. Should one be longer all the same, its exchange says
//! so (`truncated`), and from then on as much is copied as ever.

use super::framing::Framing;

/// What was seen of the heads of responses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heads {
    seen: u8,
    /// Bytes.
    longest: u16,
    /// More than heads is needed, or a head was longer than expected.
    is_hungry: bool,
}

/// Before that nothing is said about the next ones.
const ENOUGH_SEEN: u8 = 16;
/// The next head may be so much longer than the longest so far, bytes: a date, a cookie's attributes, a larger length.
const SLACK_BYTES: u16 = 128;
/// Least and most that is asked for, bytes; steps between are powers of two.
const LEAST_BYTES: u16 = 256;
const MOST_BYTES: u16 = 2048;

impl Heads {
    /// A head was read. `is_simple`: it was whole, and no other response was due behind it, which would come in the same turn.
    pub(super) fn note(&mut self, bytes: usize, is_simple: bool, framing: Framing) {
        // The ends of chunks stand between the bytes of a body.
        let has_its_length = matches!(framing, Framing::None | Framing::Length(_));
        self.is_hungry |= !is_simple || !has_its_length;
        self.seen = self.seen.saturating_add(1);
        self.longest = self.longest.max(u16::try_from(bytes).unwrap_or(u16::MAX));
    }

    /// So many bytes of a response are enough; 0 where that can't be said.
    pub(super) fn enough(&self) -> u16 {
        let enough = self.longest.saturating_add(SLACK_BYTES);
        if self.is_hungry || self.seen < ENOUGH_SEEN || enough > MOST_BYTES {
            return 0;
        }
        enough.next_power_of_two().max(LEAST_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(heads: &[usize]) -> Heads {
        let mut all = Heads::default();
        heads.iter().for_each(|&bytes| all.note(bytes, true, Framing::Length(9)));
        all
    }

    #[test]
    fn a_little_more_than_the_longest_head_is_enough() {
        assert_eq!(after(&[100; 15]).enough(), 0, "too few to know");
        assert_eq!(after(&[100; 16]).enough(), 256);
        assert_eq!(after(&[&[240], &[100; 15][..]].concat()).enough(), 512);
        assert_eq!(after(&[1920; 300]).enough(), 2048);
        assert_eq!(after(&[1921; 16]).enough(), 0, "no gain");
        assert_eq!(after(&[1 << 20; 16]).enough(), 0);
    }

    #[test]
    fn what_is_not_simple_needs_all_from_then_on() {
        for (is_simple, framing) in [
            (false, Framing::Length(1)),
            (true, Framing::Chunked { trailers: false }),
            (true, Framing::UntilClose),
            (true, Framing::Unknown),
        ] {
            let mut heads = after(&[100; 16]);
            heads.note(100, is_simple, framing);
            (0..100).for_each(|_| heads.note(100, true, Framing::None));
            assert_eq!(heads.enough(), 0, "{framing:?}");
        }
    }
}
