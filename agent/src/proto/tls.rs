//! TLS handshakes, as far as they are in the clear (RFC 8446, RFC 5246): what a connection is going to be, not what is
//! said on it.

mod hello;
mod names;
mod records;
#[cfg(test)]
mod tests;

use super::{Appetite, Event, Guess, Oddity, Parser, Protocol};
use crate::flow::{At, Chunk, Ending, Nanos, Side};

use hello::{ClientHello, ServerHello};
use records::{Found, Records};

pub use names::{cipher_name, version_name};

/// The row of the table.
pub const PROTOCOL: Protocol = Protocol { name: "tls", guess, parser: |_| Box::new(Tls::new()) };

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

/// Reads the handshake of one connection. It needs the handshake from its beginning; where it was joined later it finds
/// nothing.
pub struct Tls {
    client: Records,
    server: Records,
    seen: Handshake,
    /// The session that the client asked for; `None` where no ClientHello was read.
    session: Option<Vec<u8>>,
    /// The server asked for another ClientHello.
    retried: bool,
    /// The rest is encrypted, or of no interest.
    over: bool,
}

/// `close_notify`: an orderly end, no failure (RFC 8446, 6.1).
const CLOSE_NOTIFY: u8 = 0;

/// A record header, and the type of the first message.
const GUESS_BYTES: usize = 6;

impl Tls {
    fn new() -> Self {
        Self {
            client: Records::default(),
            server: Records::default(),
            seen: Handshake::default(),
            session: None,
            retried: false,
            over: false,
        }
    }

    fn found(&mut self, side: Side, found: Found, out: &mut Vec<Event>) {
        match (side, found) {
            (_, Found::Alert(CLOSE_NOTIFY)) => (),
            (_, Found::Alert(description)) => {
                self.seen.alert = Some(description);
                self.emit(out);
            }
            (Side::Client, Found::Message(records::CLIENT_HELLO, body)) => self.client_hello(&body, out),
            (Side::Client, Found::Message(..)) => (),
            (Side::Server, Found::Message(records::SERVER_HELLO, body)) => self.server_hello(&body, out),
            (Side::Server, Found::Message(..)) => (),
            // With a retry the server changes its cipher spec before its hello, for the sake of old middleboxes.
            (Side::Server, Found::ChangeCipherSpec) if self.retried => (),
            (Side::Server, Found::ChangeCipherSpec | Found::Encrypted) => self.over = true,
            // Early data and what precedes it may come before the server's hello.
            (Side::Client, Found::ChangeCipherSpec) => (),
            (Side::Client, Found::Encrypted) => self.client.stop(),
            (_, Found::Garbage) => {
                out.push(Event::Oddity(Oddity::Garbage));
                self.stop(side);
            }
        }
    }

    fn client_hello(&mut self, body: &[u8], out: &mut Vec<Event>) {
        let hello = ClientHello::parse(body);
        self.seen.server_name = hello.server_name.or(self.seen.server_name.take());
        if !hello.offered.is_empty() {
            self.seen.offered = hello.offered;
        }
        self.seen.client_version = hello.version.or(self.seen.client_version);
        self.session = hello.session.or(self.session.take());
        self.emit(out);
    }

    fn server_hello(&mut self, body: &[u8], out: &mut Vec<Event>) {
        let Some(hello) = ServerHello::parse(body) else {
            out.push(Event::Oddity(Oddity::Malformed));
            self.over = true;
            return;
        };
        self.seen.version = Some(hello.version);
        self.seen.cipher = Some(hello.cipher);
        if hello.is_retry {
            self.retried = true;
        } else {
            self.seen.chosen = hello.chosen;
            self.seen.resumed = if hello.version >= names::TLS_1_3 {
                Some(hello.pre_shared_key)
            } else {
                self.session.as_ref().map(|session| !session.is_empty() && *session == hello.session)
            };
            self.over = true;
        }
        self.emit(out);
    }

    fn stop(&mut self, side: Side) {
        match side {
            Side::Client => self.client.stop(),
            Side::Server => self.over = true,
        }
    }

    fn emit(&self, out: &mut Vec<Event>) {
        out.push(Event::Tls(Box::new(self.seen.clone())));
    }

    /// Reads a hello of which the rest will not come.
    fn partial(&mut self, side: Side, out: &mut Vec<Event>) {
        let records = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        if let Some(found) = records.take_partial() {
            self.found(side, found, out);
        }
    }

    /// Bytes kept.
    #[cfg(test)]
    fn kept(&self) -> usize {
        self.client.kept() + self.server.kept()
    }
}

impl Parser for Tls {
    fn push(&mut self, side: Side, _at: At, chunk: Chunk<'_>, out: &mut Vec<Event>) {
        let mut bytes = match chunk {
            Chunk::Bytes(bytes) if self.over => {
                if let Some(alert) = records::clear_alert(bytes).filter(|&alert| alert != CLOSE_NOTIFY)
                    && self.seen.alert.is_none()
                {
                    self.seen.alert = Some(alert);
                    self.emit(out);
                }
                return;
            }
            Chunk::Gap(_) if self.over => return,
            Chunk::Bytes(bytes) => bytes,
            Chunk::Gap(0) => return,
            Chunk::Gap(_) => {
                out.push(Event::Oddity(Oddity::Hole));
                self.partial(side, out);
                self.stop(side);
                return;
            }
        };
        while !self.over {
            let records = match side {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            match records.next(&mut bytes) {
                Some(found) => self.found(side, found, out),
                None => break,
            }
        }
        if self.over {
            self.client.stop();
            self.server.stop();
        }
    }

    fn finished(&mut self, side: Side, _time: Nanos, out: &mut Vec<Event>) {
        if !self.over {
            self.partial(side, out);
            self.stop(side);
        }
    }

    fn ended(&mut self, _ending: Ending, _time: Nanos, out: &mut Vec<Event>) {
        if !self.over {
            self.partial(Side::Client, out);
            self.over = true;
        }
    }

    fn appetite(&self) -> Appetite {
        if self.over { Appetite::Nothing } else { Appetite::Heads { response_bytes: 0 } }
    }
}

/// A record that holds the beginning of the hello that `side` sends first, or the server's refusal.
fn guess(side: Side, bytes: &[u8]) -> Guess {
    let hello = match side {
        Side::Client => records::CLIENT_HELLO,
        Side::Server => records::SERVER_HELLO,
    };
    let fits = |index: usize, byte: u8| match index {
        0 => byte == records::HANDSHAKE || (side == Side::Server && byte == records::ALERT),
        1 => byte == 3,
        2 => byte <= 4,
        3 => usize::from(byte) <= records::RECORD_BYTES >> 8,
        5 if bytes[0] == records::HANDSHAKE => byte == hello,
        5 => matches!(byte, 1 | 2),
        _ => true,
    };
    if bytes.iter().take(GUESS_BYTES).enumerate().any(|(index, &byte)| !fits(index, byte)) {
        return Guess::No;
    }
    match bytes {
        [kind, _, _, high, low, _, ..] => {
            let len = usize::from(*high) << 8 | usize::from(*low);
            let plausible = if *kind == records::ALERT { len == 2 } else { (1..=records::RECORD_BYTES).contains(&len) };
            if plausible { Guess::Yes } else { Guess::No }
        }
        _ => Guess::Unsure,
    }
}
