//! What a process says about itself in its environment: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`. Pure.
//!
//! By the OpenTelemetry specification, "Environment Variable Specification" and "Resource SDK": a list
//! `key=value,key=value` with percent-encoded values, of which an undecodable one is ignored as a whole.

/// Attributes kept of one process. A list that names more is cut: nothing sensible has so many.
pub const MAX_ATTRIBUTES: usize = 64;
/// Bytes kept of a key or a value; a longer one is left out.
pub const MAX_TEXT_BYTES: usize = 1024;
/// Bytes kept of all keys and values of a process: of 16 000 processes that mean harm, 128 MiB. What does not fit is left out.
pub const MAX_KEPT_BYTES: usize = 8 * 1024;

/// What a process says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `OTEL_SERVICE_NAME`, else `service.name` among the attributes.
    pub service_name: Option<String>,
    /// The other attributes, in their order; of a key given twice, the last value.
    pub attributes: Vec<(String, String)>,
}

/// Reads the text of `/proc/PID/environ`: `NAME=value` entries, each ended by a NUL byte.
#[must_use]
pub fn claims(environ: &[u8]) -> Claims {
    let mut service_name = None;
    let mut attributes = Vec::new();
    // The first entry of a name is the one that getenv(3) finds.
    for entry in environ.split(|&byte| byte == 0) {
        if service_name.is_none() {
            service_name = value_of(entry, b"OTEL_SERVICE_NAME=").map(str::to_owned);
        }
        if attributes.is_empty()
            && let Some(list) = value_of(entry, b"OTEL_RESOURCE_ATTRIBUTES=")
        {
            attributes = parse_attributes(list).unwrap_or_default();
        }
    }
    if let Some(at) = attributes.iter().position(|(key, _)| key == "service.name") {
        let (_, name) = attributes.remove(at);
        service_name = service_name.or(Some(name));
    }
    Claims { service_name: service_name.filter(|name| !name.is_empty()), attributes }
}

/// The value of an entry of this name. An empty one counts as not set, as the specification says.
fn value_of<'a>(entry: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let value = std::str::from_utf8(entry.strip_prefix(name)?).ok()?.trim();
    (!value.is_empty() && value.len() <= MAX_ATTRIBUTES * MAX_TEXT_BYTES).then_some(value)
}

/// `None` if any part of the list can't be decoded.
fn parse_attributes(list: &str) -> Option<Vec<(String, String)>> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    let mut kept = 0;
    for member in list.split(',').map(str::trim).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        let (key, value) = (percent_decode(key.trim())?, percent_decode(value.trim())?);
        if key.is_empty() {
            return None;
        }
        if key.len() > MAX_TEXT_BYTES || value.len() > MAX_TEXT_BYTES {
            continue;
        }
        kept += key.len() + value.len();
        if kept > MAX_KEPT_BYTES {
            break;
        }
        if let Some(earlier) = attributes.iter_mut().find(|(name, _)| *name == key) {
            earlier.1 = value;
        } else if attributes.len() < MAX_ATTRIBUTES {
            attributes.push((key, value));
        }
    }
    Some(attributes)
}

/// RFC 3986, section 2.1. `None` for a `%` without two hexadecimal digits and for bytes that are not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(environ: &str, service_name: Option<&str>, attributes: &[(&str, &str)]) {
        let expect = Claims {
            service_name: service_name.map(str::to_owned),
            attributes: attributes.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        };
        assert_eq!(claims(environ.as_bytes()), expect, "{environ:?}");
    }

    #[test]
    fn the_service_has_a_name() {
        check("PATH=/bin\0OTEL_SERVICE_NAME=shop\0HOME=/\0", Some("shop"), &[]);
        check("OTEL_RESOURCE_ATTRIBUTES=service.name=cart,a=1\0", Some("cart"), &[("a", "1")]);
        check("OTEL_RESOURCE_ATTRIBUTES=service.name=cart\0OTEL_SERVICE_NAME=shop\0", Some("shop"), &[]);
        check("OTEL_SERVICE_NAME=first\0OTEL_SERVICE_NAME=second\0", Some("first"), &[]);
        check("OTEL_SERVICE_NAME=\0OTEL_RESOURCE_ATTRIBUTES=service.name=\0", None, &[]);
        check("MY_OTEL_SERVICE_NAME=x\0OTEL_SERVICE_NAMES=y\0", None, &[]);
        check("", None, &[]);
    }

    #[test]
    fn attributes_are_percent_decoded() {
        check(
            "OTEL_RESOURCE_ATTRIBUTES= deployment.environment.name = prod%2Ceu%3D1 , team=caf%C3%A9,a=b=c\0",
            None,
            &[("deployment.environment.name", "prod,eu=1"), ("team", "café"), ("a", "b=c")],
        );
        check("OTEL_RESOURCE_ATTRIBUTES=a=1,,a=2,\0", None, &[("a", "2")]);
    }

    #[test]
    fn a_list_that_cannot_be_decoded_is_ignored_as_a_whole() {
        for list in ["a=1,b", "a=%", "a=%4", "a=%zz", "a=%ff", "=1", "a=1,b=%+1"] {
            check(&format!("OTEL_RESOURCE_ATTRIBUTES={list}\0"), None, &[]);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many: Vec<_> = (0..MAX_ATTRIBUTES * 2).map(|n| format!("k{n}=v")).collect();
        let found = claims(format!("OTEL_RESOURCE_ATTRIBUTES={}\0", many.join(",")).as_bytes());
        assert_eq!(found.attributes.len(), MAX_ATTRIBUTES);
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        check(&format!("OTEL_RESOURCE_ATTRIBUTES=a={long},b=1\0"), None, &[("b", "1")]);
        let long: Vec<_> = (0..MAX_ATTRIBUTES / 2).map(|n| format!("k{n}={}", "x".repeat(MAX_TEXT_BYTES))).collect();
        let found = claims(format!("OTEL_RESOURCE_ATTRIBUTES={}\0", long.join(",")).as_bytes());
        let kept: usize = found.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!((MAX_KEPT_BYTES - MAX_TEXT_BYTES..=MAX_KEPT_BYTES).contains(&kept), "{kept}");
    }

    #[test]
    fn bytes_that_are_not_text_do_no_harm() {
        assert_eq!(claims(b"OTEL_SERVICE_NAME=\xff\xfe\0\xff=\0").service_name, None);
    }
}
