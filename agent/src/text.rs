//! Texts of requests and of attributes. Most of them are addresses, ids, paths and names: short, so that they need no
//! memory of their own, and not known before the program runs, so that they are no constants either.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A text that never changes: a constant, a short one in place, or a longer one on the heap, perhaps shared.
#[derive(Clone)]
pub struct Text(Form);

/// Longest text that is kept in place, bytes: what fits into the three words that a `String` takes anyway. Addresses of
/// IPv4 have at most 15, span ids 16.
const SHORT_BYTES: usize = 22;

#[derive(Clone)]
enum Form {
    Constant(&'static str),
    Short(Short),
    Long(Box<str>),
    /// A copy of a longer one, of which there will be more: clones share it.
    Shared(Arc<str>),
}

/// Takes text as long as there is room.
#[derive(Clone, Default)]
struct Short {
    len: u8,
    /// The first `len` are UTF-8.
    bytes: [u8; SHORT_BYTES],
}

const _: () = assert!(size_of::<Text>() == 3 * size_of::<usize>());

impl Text {
    /// A copy of a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::short(text).unwrap_or_else(|| Self(Form::Shared(text.into())))
    }

    /// A value as text.
    #[must_use]
    pub fn of(value: &impl fmt::Display) -> Self {
        let mut short = Short::default();
        match write!(short, "{value}") {
            Ok(()) => Self(Form::Short(short)),
            Err(fmt::Error) => value.to_string().into(),
        }
    }

    /// The text in UTF-8; cheaper than [`Self::as_str`], which looks at the bytes of a short one.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Constant(text) => text.as_bytes(),
            Form::Short(short) => short.as_bytes(),
            Form::Long(text) => text.as_bytes(),
            Form::Shared(text) => text.as_bytes(),
        }
    }

    /// Its length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text as a string of its own.
    #[must_use]
    pub fn into_owned(self) -> String {
        match self.0 {
            Form::Long(text) => text.into_string(),
            _ => self.as_str().to_owned(),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Constant(text) => text,
            // Only ever made from a `str`: the check does not fail.
            Form::Short(short) => str::from_utf8(short.as_bytes()).unwrap_or_default(),
            Form::Long(text) => text,
            Form::Shared(text) => text,
        }
    }

    fn short(text: &str) -> Option<Self> {
        let mut short = Short::default();
        short.write_str(text).ok()?;
        Some(Self(Form::Short(short)))
    }
}

impl Short {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let before = usize::from(self.len);
        let after = before + text.len();
        self.bytes.get_mut(before..after).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = u8::try_from(after).map_err(|_| fmt::Error)?;
        Ok(())
    }
}

impl Default for Text {
    fn default() -> Self {
        Self(Form::Constant(""))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Form::Constant(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::short(&text).unwrap_or_else(|| Self(Form::Long(text.into_boxed_str())))
    }
}

impl From<Cow<'static, str>> for Text {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_in_whatever_form() {
        for len in [0, 1, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 300] {
            let plain: String = "aé"
                .chars()
                .cycle()
                .scan(0, |bytes, next| {
                    *bytes += next.len_utf8();
                    (*bytes <= len).then_some(next)
                })
                .collect();
            let constant: &'static str = plain.clone().leak();
            let forms = [
                Text::new(&plain),
                Text::of(&plain),
                plain.clone().into(),
                constant.into(),
                Cow::<str>::Owned(plain.clone()).into(),
            ];
            for text in forms {
                assert_eq!((text.as_str(), text.to_string()), (plain.as_str(), plain.clone()));
                assert_eq!((text.clone(), text.into_owned()), (constant.into(), plain.clone()));
            }
        }
    }

    #[test]
    fn addresses_and_ids_need_no_memory_of_their_own() {
        for text in ["255.255.255.255", "0123456789abcdef"] {
            assert!(matches!(Text::new(text).0, Form::Short(_)));
        }
        let long = Text::new(&"x".repeat(SHORT_BYTES + 1));
        assert!(std::ptr::eq(long.as_str(), long.clone().as_str()), "clones share it");
    }
}
