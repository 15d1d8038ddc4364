//! The record layer (RFC 8446, section 5.1): handshake messages put together, everything else told apart.

use std::mem;

/// Content type of alerts.
pub(super) const ALERT: u8 = 21;
/// Content type of handshake messages.
pub(super) const HANDSHAKE: u8 = 22;
const CHANGE_CIPHER_SPEC: u8 = 20;
const APPLICATION_DATA: u8 = 23;

/// Handshake type.
pub(super) const CLIENT_HELLO: u8 = 1;
/// Handshake type.
pub(super) const SERVER_HELLO: u8 = 2;

/// Longest record that is believed, bytes: 2^14 of plaintext, and 2048 for what TLS 1.2 may add.
pub(super) const RECORD_BYTES: usize = (1 << 14) + 2048;

/// Longest handshake message that is kept whole, bytes. A ClientHello with post-quantum keys has about 2 000.
const MESSAGE_BYTES: usize = 16 * 1024;

const RECORD_HEADER_BYTES: usize = 5;
const MESSAGE_HEADER_BYTES: usize = 4;
const ALERT_BYTES: usize = 2;

/// Reads the records of one side.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; RECORD_HEADER_BYTES],
    header_len: usize,
    /// Bytes of the record that are to come.
    left: usize,
    /// Handshake bytes that make no whole message yet.
    message: Vec<u8>,
    /// Bytes of an alert.
    alert: [u8; ALERT_BYTES],
    alert_len: usize,
    stopped: bool,
}

/// What the records hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A handshake message: its type and its body, which may be cut at its end.
    Message(u8, Vec<u8>),
    /// An alert in the clear: its description.
    Alert(u8),
    /// From here on this side encrypts (or pretends to).
    ChangeCipherSpec,
    /// A record of encrypted bytes.
    Encrypted,
    /// No records.
    Garbage,
}

impl Records {
    /// Takes bytes up to the next thing found; `None` when they are used up.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Found> {
        loop {
            if self.stopped {
                *bytes = &[];
                return None;
            }
            if let Some(found) = self.message() {
                return Some(found);
            }
            if bytes.is_empty() {
                return None;
            }
            if self.left > 0 {
                let len = self.left.min(bytes.len());
                let (piece, rest) = bytes.split_at(len);
                *bytes = rest;
                self.left -= len;
                if let Some(found) = self.payload(piece) {
                    return Some(found);
                }
            } else if let Some(found) = self.header(bytes) {
                return Some(found);
            }
        }
    }

    /// Nothing more is read.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.message = Vec::new();
    }

    /// A message whose rest will not come.
    pub(super) fn take_partial(&mut self) -> Option<Found> {
        let message = mem::take(&mut self.message);
        match message.as_slice() {
            [kind, _, _, _, body @ ..] => Some(Found::Message(*kind, body.to_vec())),
            _ => None,
        }
    }

    /// Bytes kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.message.capacity()
    }

    fn header(&mut self, bytes: &mut &[u8]) -> Option<Found> {
        let len = (RECORD_HEADER_BYTES - self.header_len).min(bytes.len());
        let (piece, rest) = bytes.split_at(len);
        *bytes = rest;
        self.header[self.header_len..self.header_len + len].copy_from_slice(piece);
        self.header_len += len;
        if self.header_len < RECORD_HEADER_BYTES {
            return None;
        }
        self.header_len = 0;
        let [kind, major, _, high, low] = self.header;
        self.left = usize::from(high) << 8 | usize::from(low);
        if major != 3 || !(1..=RECORD_BYTES).contains(&self.left) {
            self.stop();
            return Some(Found::Garbage);
        }
        self.alert_len = 0;
        match kind {
            HANDSHAKE => None,
            ALERT if self.left == ALERT_BYTES => None,
            CHANGE_CIPHER_SPEC => Some(Found::ChangeCipherSpec),
            ALERT | APPLICATION_DATA => Some(Found::Encrypted),
            _ => {
                self.stop();
                Some(Found::Garbage)
            }
        }
    }

    fn payload(&mut self, piece: &[u8]) -> Option<Found> {
        match self.header[0] {
            HANDSHAKE => {
                let room = (MESSAGE_HEADER_BYTES + MESSAGE_BYTES).saturating_sub(self.message.len());
                self.message.extend_from_slice(&piece[..piece.len().min(room)]);
                None
            }
            ALERT => {
                for &byte in piece.iter().take(ALERT_BYTES - self.alert_len) {
                    self.alert[self.alert_len] = byte;
                    self.alert_len += 1;
                }
                (self.alert_len == ALERT_BYTES && self.left == 0).then_some(Found::Alert(self.alert[1]))
            }
            _ => None,
        }
    }

    /// The first whole message; one that is too long, as far as it is kept.
    fn message(&mut self) -> Option<Found> {
        let [kind, a, b, c, body @ ..] = self.message.as_slice() else { return None };
        let kind = *kind;
        let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if len > MESSAGE_BYTES && body.len() >= MESSAGE_BYTES {
            let partial = self.take_partial();
            self.stop();
            return partial;
        }
        let body = body.get(..len)?.to_vec();
        self.message.drain(..MESSAGE_HEADER_BYTES + len);
        if self.message.is_empty() {
            self.message = Vec::new();
        }
        Some(Found::Message(kind, body))
    }
}

/// The description of an alert, if `bytes` are a record that holds one in the clear.
pub(super) fn clear_alert(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [ALERT, 3, 0..=4, 0, 2, 1 | 2, description] => Some(*description),
        _ => None,
    }
}
