//! TLS handshakes, as far as they are in the clear (RFC 8446): what a connection is going to be, not what is said on it.

use super::{Guess, Protocol};

/// The row of the table.
pub const PROTOCOL: Protocol = Protocol { name: "tls", guess: |_, _| Guess::No, parser: |_| unreachable!() };

/// What a handshake showed so far. The parser sends it again when it grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Server name of the ClientHello.
    pub server_name: Option<String>,
    /// Protocols that the client offered (ALPN), in its order.
    pub offered: Vec<String>,
    /// Protocol that the server chose, where it says so in the clear (TLS 1.2).
    pub chosen: Option<String>,
    /// Highest version that the client offered, on the wire's scale (0x0304 is TLS 1.3).
    pub client_version: Option<u16>,
    /// Version that the server chose.
    pub version: Option<u16>,
    /// Cipher suite that the server chose.
    pub cipher: Option<u16>,
    /// Whether the server took up an earlier session, where that can be told.
    pub resumed: Option<bool>,
    /// Description of the alert that ended the handshake.
    pub alert: Option<u8>,
}
