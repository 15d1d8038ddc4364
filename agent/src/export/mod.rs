//! Spans out: console, OTLP.
