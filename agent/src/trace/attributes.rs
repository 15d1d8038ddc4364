//! Building lists of attributes.

use super::span::{Attribute, Value};
use crate::redact;
use crate::text::Text;

/// A list under construction.
#[derive(Clone, Debug)]
pub struct Attributes(Vec<Attribute>);

impl Attributes {
    /// A list with room for so many.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Adds one.
    pub fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push(Attribute::new(key, value));
    }

    /// Adds one if there is something to say.
    pub fn put_some(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Adds a mark: only its presence says something.
    pub fn mark(&mut self, key: &'static str, is_set: bool) {
        if is_set {
            self.put(key, true);
        }
    }

    /// Adds a text, at most `max` bytes of it.
    pub fn put_text(&mut self, key: &'static str, text: &str, max: usize) {
        self.put(key, Text::new(redact::cut(text, max)));
    }

    /// Adds a text that is there already, at most `max` bytes of it.
    pub fn put_copy(&mut self, key: &'static str, text: &Text, max: usize) {
        self.put(key, if text.len() <= max { text.clone() } else { Text::new(redact::cut(text, max)) });
    }

    /// Adds a count; what no signed number can hold becomes the largest that can.
    pub fn put_count(&mut self, key: &'static str, count: u64) {
        self.put(key, i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Adds several.
    pub fn extend(&mut self, attributes: impl IntoIterator<Item = Attribute>) {
        self.0.extend(attributes);
    }

    /// The value with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
    }

    /// The list.
    #[must_use]
    pub fn finish(self) -> Vec<Attribute> {
        self.0
    }
}
