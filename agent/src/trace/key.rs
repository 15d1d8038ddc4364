//! Names of attributes: constants, but for those that a process declares itself. A span has twenty, so they are small.

use std::fmt;
use std::ops::Deref;

/// The name of an attribute.
#[derive(Clone)]
pub struct Key(Form);

#[derive(Clone)]
enum Form {
    Constant(&'static str),
    /// Behind a pointer, because it is rare.
    Declared(Box<Declared>),
}

#[derive(Clone)]
struct Declared(String);

const _: () = assert!(size_of::<Key>() == 2 * size_of::<usize>());

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Form::Constant(key) => key,
            Form::Declared(key) => &key.0,
        }
    }
}

impl From<&'static str> for Key {
    fn from(key: &'static str) -> Self {
        Self(Form::Constant(key))
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self(Form::Declared(Box::new(Declared(key))))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
