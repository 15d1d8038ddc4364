//! Text from the wire made safe to print: what comes from a network must not be able to move the cursor, change
//! colours, set the title, or reorder what a person reads.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Replaces every character that a terminal would obey instead of show by a visible escape.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_unsafe(c) => {
                // Writing to a String does not fail.
                write!(safe, "\\u{{{:x}}}", u32::from(c)).ok();
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Control characters (C0, DEL, C1, which includes the 8-bit CSI and OSC), and the invisible ones that reorder, join or
/// break text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Cuts text to `width` characters, taking them out of the middle: the beginning of a path says where, its end what.
pub(super) fn cut(text: &str, width: usize) -> Cow<'_, str> {
    let length = text.chars().count();
    if length <= width {
        return Cow::Borrowed(text);
    }
    let kept = width.saturating_sub(1);
    let head = kept.div_ceil(2);
    let tail = kept - head;
    let mut short: String = text.chars().take(head).collect();
    if width > 0 {
        short.push('…');
    }
    short.extend(text.chars().skip(length - tail));
    Cow::Owned(short)
}

/// Cuts text to `width` characters at its end.
pub(super) fn clip(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(clean("/a\u{1b}[2J\u{7}b"), "/a\\u{1b}[2J\\u{7}b");
        assert_eq!(clean("\u{9b}31m\u{202e}x\r\n\t"), "\\u{9b}31m\\u{202e}x\\r\\n\\t");
        assert!(matches!(clean("/übung?q=1"), Cow::Borrowed("/übung?q=1")));
    }

    #[test]
    fn the_middle_of_long_text_is_cut() {
        assert_eq!(cut("/a/long/path.html", 9), "/a/l…html");
        assert_eq!(cut("/short", 6), "/short");
        assert_eq!(cut("äöü", 2), "ä…");
        assert_eq!(cut("abc", 1), "…");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(clip("abcd", 3), "ab…");
        assert_eq!(clip("abc", 3), "abc");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_ever_left(text in any::<String>()) {
            prop_assert!(!clean(&text).chars().any(is_unsafe));
        }

        #[test]
        fn cut_text_fits(text in any::<String>(), width in 0_usize..40) {
            prop_assert!(cut(&text, width).chars().count() <= width);
        }
    }
}
