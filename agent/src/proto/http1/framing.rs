//! Where a body ends (RFC 9112, section 6.3).

use super::fields::Field;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks; `trailers` says that fields after the last chunk were announced.
    Chunked {
        /// A `Trailer` header was there.
        trailers: bool,
    },
    /// Until the sender closes.
    UntilClose,
    /// The head contradicts itself.
    Unknown,
}

/// What a head says about the length of its body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lengths {
    length: Option<u64>,
    contradiction: bool,
    coding: Option<Coding>,
    trailers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

impl Lengths {
    /// Takes a field if it says something about the length.
    pub(super) fn take(&mut self, field: &Field<'_>) {
        match field.name.len() {
            7 if field.is("trailer") => self.trailers = true,
            14 if field.is("content-length") => self.content_length(field.value()),
            17 if field.is("transfer-encoding") => self.transfer_encoding(field.value()),
            _ => (),
        }
    }

    /// Whether the lengths contradict each other or are no numbers, and nothing overrides them.
    pub(super) fn contradict(&self) -> bool {
        self.contradiction && self.coding.is_none()
    }

    /// The framing of a request's body.
    pub(super) fn of_request(&self) -> Framing {
        match (self.coding, self.length) {
            (Some(Coding::Chunked), _) => Framing::Chunked { trailers: self.trailers },
            (Some(Coding::Other), _) => Framing::Unknown,
            (None, _) if self.contradiction => Framing::Unknown,
            (None, Some(0) | None) => Framing::None,
            (None, Some(length)) => Framing::Length(length),
        }
    }

    /// The framing of a response's body.
    pub(super) fn of_response(&self, method: &str, status: u16) -> Framing {
        if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            return Framing::None;
        }
        match (self.coding, self.length) {
            (Some(Coding::Chunked), _) => Framing::Chunked { trailers: self.trailers },
            (Some(Coding::Other), _) => Framing::UntilClose,
            (None, _) if self.contradiction => Framing::Unknown,
            (None, Some(0)) => Framing::None,
            (None, Some(length)) => Framing::Length(length),
            (None, None) => Framing::UntilClose,
        }
    }

    /// The same number may be said several times, in one line or in more.
    fn content_length(&mut self, value: &[u8]) {
        for item in value.split(|&byte| byte == b',') {
            match decimal(item.trim_ascii()) {
                Some(length) if self.length.is_none_or(|earlier| earlier == length) => self.length = Some(length),
                _ => self.contradiction = true,
            }
        }
    }

    /// The last coding decides; `identity` is the obsolete word for none.
    fn transfer_encoding(&mut self, value: &[u8]) {
        for item in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if item.eq_ignore_ascii_case(b"chunked") {
                self.coding = Some(Coding::Chunked);
            } else if !item.is_empty() && !item.eq_ignore_ascii_case(b"identity") {
                self.coding = Some(Coding::Other);
            }
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        digit.is_ascii_digit().then(|| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::super::fields::Fields;
    use super::*;

    fn check(lines: &str, request: Framing, response: Framing) {
        let mut lengths = Lengths::default();
        for field in Fields::new(lines.as_bytes()).flatten() {
            lengths.take(&field);
        }
        assert_eq!((lengths.of_request(), lengths.of_response("GET", 200)), (request, response), "{lines:?}");
    }

    fn both(lines: &str, framing: Framing) {
        check(lines, framing, framing);
    }

    #[test]
    fn without_a_length_a_request_has_no_body_and_a_response_ends_with_the_connection() {
        check("", Framing::None, Framing::UntilClose);
        check("Transfer-Encoding: identity\r\n", Framing::None, Framing::UntilClose);
    }

    #[test]
    fn equal_lengths_are_one() {
        both("Content-Length: 5\r\n", Framing::Length(5));
        both("Content-Length: 5\r\ncontent-LENGTH: 5\r\n", Framing::Length(5));
        both("Content-Length: 5 , 5\r\n", Framing::Length(5));
        both("Content-Length: 0\r\n", Framing::None);
    }

    #[test]
    fn contradicting_lengths_say_nothing() {
        for value in ["5, 6", "+5", "-1", "", "5a", "18446744073709551616"] {
            both(&format!("Content-Length: {value}\r\n"), Framing::Unknown);
        }
        both("Content-Length: 5\r\nContent-Length: 6\r\n", Framing::Unknown);
    }

    #[test]
    fn chunked_overrides_any_length() {
        both("Content-Length: 5\r\nTransfer-Encoding: gzip, Chunked\r\n", Framing::Chunked { trailers: false });
        both("Trailer: x\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n", Framing::Chunked { trailers: true });
        check("Transfer-Encoding: chunked, gzip\r\n", Framing::Unknown, Framing::UntilClose);
    }

    #[test]
    fn some_responses_never_have_a_body() {
        let lengths = Lengths { length: Some(5), ..Lengths::default() };
        for (method, status) in [("HEAD", 200), ("GET", 100), ("GET", 204), ("GET", 304)] {
            assert_eq!(lengths.of_response(method, status), Framing::None, "{method} {status}");
        }
        assert_eq!(lengths.of_response("head", 200), Framing::Length(5), "methods are case-sensitive");
    }
}
