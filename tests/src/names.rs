//! Wirespan's own attribute names, as the tests expect them.

/// On every span of a connection and of its requests: which connection.
pub const CONNECTION_ID: &str = "wirespan.connection.id";
/// On every link: how it was found.
pub const LINK_METHOD: &str = "wirespan.link.method";
/// On every link: how sure it is, 0 to 1.
pub const LINK_CONFIDENCE: &str = "wirespan.link.confidence";

/// On a connection's span: which end this is, `client` or `server`.
pub const ROLE: &str = "wirespan.connection.role";
/// On a connection's span: how it ended.
pub const END: &str = "wirespan.connection.end";
/// On a connection's span: who ended it first, `client` or `server`.
pub const CLOSED_BY: &str = "wirespan.connection.closed_by";
/// On a segment of a connection's life: counts from 0.
pub const SEGMENT: &str = "wirespan.connection.segment";
/// On a connection's span: requests seen on it.
pub const REQUESTS: &str = "wirespan.connection.requests";
/// On a connection's span: payload sent, bytes.
pub const SENT: &str = "wirespan.tcp.sent";
/// On a connection's span: payload received, bytes.
pub const RECEIVED: &str = "wirespan.tcp.received";
/// On a connection's span: segments that this end retransmitted.
pub const RETRANSMITS: &str = "wirespan.tcp.retransmits";
/// On a connection's span: smoothed round trip, seconds.
pub const RTT: &str = "wirespan.tcp.srtt";
/// On a connection's span: seconds from `connect` to the end of the handshake.
pub const CONNECT_DURATION: &str = "wirespan.tcp.connect_duration";
/// On a request's span: its head was longer than what is copied.
pub const TRUNCATED: &str = "wirespan.truncated";
/// On a request's span: the first one after a place where the stream was joined or bytes were missing.
pub const RESYNCHRONISED: &str = "wirespan.resynchronised";
/// On a request's span: the size of a body is estimated, because its framing was not copied.
pub const BODY_ESTIMATED: &str = "wirespan.body_estimated";
