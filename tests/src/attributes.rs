//! Attributes of a received span, and what they should be.

use std::collections::BTreeMap;
use std::fmt;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};

/// Attributes by key.
#[derive(Clone, Default, PartialEq)]
pub struct Attributes(pub BTreeMap<String, Value>);

/// The value of an attribute.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Text.
    Str(String),
    /// Integer.
    Int(i64),
    /// Floating point.
    Double(f64),
    /// Truth.
    Bool(bool),
    /// Several.
    List(Vec<Value>),
    /// Anything else: never expected.
    Other(String),
}

/// What an attribute should be.
#[derive(Clone, Debug)]
pub enum Want {
    /// This value, type included.
    Is(Value),
    /// Not there.
    Absent,
    /// There, with any value.
    Present,
    /// An integer of at least this.
    AtLeast(i64),
}

/// The attribute has this value and this type.
pub fn is(value: impl Into<Value>) -> Want {
    Want::Is(value.into())
}

impl Attributes {
    /// Reads them; a key that is there twice is an error.
    pub fn read(pairs: Vec<KeyValue>) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        for pair in pairs {
            let value = value(pair.value.unwrap_or_default());
            if map.insert(pair.key.clone(), value).is_some() {
                return Err(format!("attribute {} is there twice", pair.key));
            }
        }
        Ok(Self(map))
    }

    /// What differs from what was wanted, a sentence each.
    pub fn differences<'a>(&self, wanted: impl IntoIterator<Item = (&'a str, Want)>) -> Vec<String> {
        let differs = |(key, want): (&str, Want)| {
            let got = self.0.get(key);
            let right = match (&want, got) {
                (Want::Is(value), Some(got)) => got == value,
                (Want::Absent, None) | (Want::Present, Some(_)) => true,
                (Want::AtLeast(least), Some(Value::Int(got))) => got >= least,
                _ => false,
            };
            (!right).then(|| match got {
                Some(got) => format!("{key}: wanted {want}, got {got:?}"),
                None => format!("{key}: wanted {want}, it is not there"),
            })
        };
        wanted.into_iter().filter_map(differs).collect()
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (key, value) in &self.0 {
            write!(f, "{}{key}={value:?}", if first { "" } else { " " })?;
            first = false;
        }
        Ok(())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => write!(f, "{text:?}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Double(number) => write!(f, "{number:?}"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::List(values) => f.debug_list().entries(values).finish(),
            Self::Other(what) => write!(f, "<{what}>"),
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(value) => write!(f, "{value:?}"),
            Self::Absent => f.write_str("nothing"),
            Self::Present => f.write_str("something"),
            Self::AtLeast(least) => write!(f, "an integer of at least {least}"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Str(text.clone())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).expect("a test's numbers are small"))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(texts: [&str; N]) -> Self {
        Self::List(texts.iter().map(|&text| text.into()).collect())
    }
}

fn value(value: AnyValue) -> Value {
    match value.value {
        Some(any_value::Value::StringValue(text)) => Value::Str(text),
        Some(any_value::Value::IntValue(number)) => Value::Int(number),
        Some(any_value::Value::DoubleValue(number)) => Value::Double(number),
        Some(any_value::Value::BoolValue(truth)) => Value::Bool(truth),
        Some(any_value::Value::ArrayValue(array)) => Value::List(array.values.into_iter().map(self::value).collect()),
        other => Value::Other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_is_a_difference() {
        let attributes = Attributes(BTreeMap::from([("a".to_owned(), Value::Int(200))]));
        assert!(attributes.differences([("a", is(200)), ("b", Want::Absent), ("a", Want::AtLeast(200))]).is_empty());
        assert_eq!(attributes.differences([("a", is("200"))]), ["a: wanted \"200\", got 200"]);
        assert_eq!(attributes.differences([("b", Want::Present)]), ["b: wanted something, it is not there"]);
        assert_eq!(attributes.differences([("a", Want::AtLeast(201)), ("a", Want::Absent)]).len(), 2);
    }
}
