//! Texts of requests and of attributes. Most of them are addresses, ids, paths and names: short, so that they need no
//! memory of their own, and not known before the program runs, so that they are no constants either.

use std::borrow::Cow;
use std::fmt;
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
    /// The first `len` bytes are UTF-8.
    Short {
        len: u8,
        bytes: [u8; SHORT_BYTES],
    },
    Long(Box<str>),
    /// A copy of a longer one, of which there will be more: clones share it.
    Shared(Arc<str>),
}

const _: () = assert!(size_of::<Text>() == 3 * size_of::<usize>());

impl Text {
    /// A copy of a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::short(text).unwrap_or_else(|| Self(Form::Shared(text.into())))
    }

    /// The text in UTF-8; cheaper than [`Self::as_str`], which looks at the bytes of a short one.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Constant(text) => text.as_bytes(),
            Form::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
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
            Form::Short { len, bytes } => str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default(),
            Form::Long(text) => text,
            Form::Shared(text) => text,
        }
    }

    fn short(text: &str) -> Option<Self> {
        let len = u8::try_from(text.len()).ok()?;
        let mut bytes = [0; SHORT_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(Form::Short { len, bytes }))
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
            let forms =
                [Text::new(&plain), plain.clone().into(), constant.into(), Cow::<str>::Owned(plain.clone()).into()];
            for text in forms {
                assert_eq!((text.as_str(), text.to_string()), (plain.as_str(), plain.clone()));
                assert_eq!((text.clone(), text.into_owned()), (constant.into(), plain.clone()));
            }
        }
    }

    #[test]
    fn addresses_and_ids_need_no_memory_of_their_own() {
        for text in ["255.255.255.255", "0123456789abcdef"] {
            assert!(matches!(Text::new(text).0, Form::Short { .. }));
        }
        let long = Text::new(&"x".repeat(SHORT_BYTES + 1));
        assert!(std::ptr::eq(long.as_str(), long.clone().as_str()), "clones share it");
    }
}
