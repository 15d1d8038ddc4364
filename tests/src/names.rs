//! Wirespan's own attribute names, as the tests expect them.

/// On every span of a connection: which connection.
pub const CONNECTION_ID: &str = "wirespan.connection.id";
/// On every link: how it was found.
pub const LINK_METHOD: &str = "wirespan.link.method";
/// On every link: how sure it is.
pub const LINK_CONFIDENCE: &str = "wirespan.link.confidence";
