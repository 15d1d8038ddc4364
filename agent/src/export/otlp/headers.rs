//! Headers from the environment, in the form of W3C Baggage: `key=value,key2=value2`, values percent-encoded.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Parses a list. The problem never holds a value, which may be secret.
pub(super) fn parse(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for member in text.split(',').map(str::trim).filter(|member| !member.is_empty()) {
        let (key, value) = member
            .split_once('=')
            .ok_or("an entry has no `=`; write key=value,key2=value2 with values percent-encoded")?;
        let key = key.trim();
        let name = HeaderName::from_bytes(key.as_bytes()).map_err(|_| format!("`{key}` is not a header name"))?;
        let mut value = percent_decoded(value.trim())
            .and_then(|bytes| HeaderValue::from_bytes(&bytes).ok())
            .ok_or_else(|| format!("the value of `{key}` cannot be a header's value"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// `None` when an escape is not finished or not hexadecimal.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            decoded.push((digit()? << 4) | digit()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_kept_secret() {
        let headers = parse("api-key=a%20b%3D, Authorization = Basic dXNlcjpw==,").unwrap();
        assert_eq!(headers["api-key"], "a b=");
        assert_eq!(headers["authorization"], "Basic dXNlcjpw==");
        assert!(headers.values().all(HeaderValue::is_sensitive));
    }

    #[test]
    fn what_is_no_header_is_refused_without_showing_its_value() {
        for text in ["secret", "k=secret%0a", "k=secret%4", "k=secret%zz", "k\u{e9}=secret"] {
            let problem = parse(text).unwrap_err();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
