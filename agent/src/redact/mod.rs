//! What may leave the process, and in which form: pure functions on text.
//!
//! Of headers, only those in the allow-list of [`crate::proto::http1::Http`] are ever parsed into a span; of bodies,
//! nothing but their length. Here is what becomes of the rest: the request target.

pub mod query;
pub mod text;

pub use query::{parameters, path, query};
pub use text::cut;

/// Stands for a value that was taken out (OpenTelemetry semantic conventions, `url.query`).
pub const REDACTED: &str = "REDACTED";
/// Stands for user name and password of a URL (OpenTelemetry semantic conventions, `url.full`).
pub const REDACTED_CREDENTIALS: &str = "REDACTED:REDACTED@";
