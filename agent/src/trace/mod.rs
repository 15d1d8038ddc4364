//! Exchanges to spans, spans to traces.

pub mod span;
