//! Secrets in request targets: the values of parameters whose names say that they are secret, and credentials of URLs
//! that are passed as values.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::REDACTED;

/// Names of parameters whose values are secret, in lower case without `-` and `_`.
///
/// The first group is the list of the OpenTelemetry conventions (`url.query`); the others are names in common use for
/// tokens, keys, passwords, sessions and one-time codes.
const SECRET_NAMES: &[&str] = &[
    "xamzsignature",
    "xamzcredential",
    "xamzsecuritytoken",
    "awsaccesskeyid",
    "signature",
    "sig",
    "xgoogsignature",
    "xgoogcredential",
    "token",
    "accesstoken",
    "idtoken",
    "refreshtoken",
    "authtoken",
    "csrftoken",
    "xsrftoken",
    "sessiontoken",
    "securitytoken",
    "apitoken",
    "privatetoken",
    "bearer",
    "bearertoken",
    "jwt",
    "assertion",
    "samlresponse",
    "apikey",
    "xapikey",
    "key",
    "accesskey",
    "secretkey",
    "privatekey",
    "subscriptionkey",
    "password",
    "passwd",
    "passwort",
    "pwd",
    "pass",
    "passphrase",
    "secret",
    "clientsecret",
    "credential",
    "credentials",
    "auth",
    "authorization",
    "session",
    "sessionid",
    "sid",
    "jsessionid",
    "phpsessid",
    "code",
    "otp",
    "pin",
];

/// User name and password, when they are taken out.
const NO_CREDENTIALS: &str = "REDACTED:REDACTED";
/// Longest name that is looked up; a longer one is none of ours.
const NAME_BYTES: usize = 64;

/// A query (without its `?`) with the values of secret parameters replaced.
#[must_use]
pub fn query(text: &str) -> Cow<'_, str> {
    parameters(text, [b'&', b';'])
}

/// A path with the values of secret path parameters (`;jsessionid=...`) and the credentials of a URL that it holds (as
/// gateways take them) replaced.
#[must_use]
pub fn path(text: &str) -> Cow<'_, str> {
    let text =
        if memchr(b';', text.as_bytes()).is_some() { parameters(text, [b'/', b';']) } else { Cow::Borrowed(text) };
    match credentials(&text) {
        None => text,
        Some(secret) => Cow::Owned([&text[..secret.start], NO_CREDENTIALS, &text[secret.end..]].concat()),
    }
}

/// A text of `name=value` parts between separators (of ASCII), with the values of secret names replaced. Everything else stays as
/// it was, malformed or not.
#[must_use]
pub fn parameters(text: &str, separators: [u8; 2]) -> Cow<'_, str> {
    let mut redacted: Option<String> = None;
    let mut kept_until = 0;
    let mut start = 0;
    while let Some(rest) = text.get(start..) {
        let len = memchr2(separators[0], separators[1], rest.as_bytes()).unwrap_or(rest.len());
        let part = &rest[..len];
        let (name, value) = memchr(b'=', part.as_bytes()).map_or(("", part), |at| (&part[..at], &part[at + 1..]));
        if let Some(secret) = secret_part(name, value) {
            let value_start = start + part.len() - value.len();
            let out = redacted.get_or_insert_with(|| String::with_capacity(text.len() + REDACTED.len()));
            out.push_str(&text[kept_until..value_start + secret.start]);
            out.push_str(if secret.start == 0 { REDACTED } else { NO_CREDENTIALS });
            kept_until = value_start + secret.end;
        }
        start += part.len() + 1;
    }
    match redacted {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.push_str(&text[kept_until..]);
            Cow::Owned(out)
        }
    }
}

/// Which bytes of the value must not leave: all of it, or the credentials of the URL that it is.
fn secret_part(name: &str, value: &str) -> Option<std::ops::Range<usize>> {
    if value.is_empty() {
        None
    } else if is_secret(name) {
        Some(0..value.len())
    } else {
        credentials(value)
    }
}

/// Where user name and password stand in a value that is a URL, written plainly or percent-encoded.
fn credentials(value: &str) -> Option<std::ops::Range<usize>> {
    memchr2(b'@', b'%', value.as_bytes())?;
    let find = |from: usize, plain: &str, encoded: &str| {
        let rest = value.get(from..)?;
        let find_one = |needle: &str| {
            let at =
                rest.as_bytes().windows(needle.len()).position(|part| part.eq_ignore_ascii_case(needle.as_bytes()))?;
            Some((from + at, from + at + needle.len()))
        };
        match (find_one(plain), find_one(encoded)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    };
    let (_, start) = find(0, "://", "%3a%2f%2f")?;
    let end = find(start, "/", "%2f").map_or(value.len(), |(slash, _)| slash);
    let (at, _) = find(start, "@", "%40").filter(|&(at, _)| at < end)?;
    Some(start..at)
}

/// Whether a name, or a part of it as in `user[password]` or `auth.token`, is one of a secret.
///
/// Byte by byte: every parameter of every query comes here, and all that is looked for is ASCII.
fn is_secret(name: &str) -> bool {
    let decoded = decoded(name.as_bytes());
    decoded.split(|byte| matches!(byte, b'[' | b']' | b'.' | b' ' | b'$' | b':' | b'?')).any(|part| {
        let mut normal = [0_u8; NAME_BYTES];
        let mut len = 0;
        for byte in part.iter().filter(|byte| !matches!(byte, b'-' | b'_')) {
            let Some(slot) = normal.get_mut(len) else { return false };
            *slot = byte.to_ascii_lowercase();
            len += 1;
        }
        SECRET_NAMES.iter().any(|secret| secret.as_bytes() == &normal[..len])
    })
}

/// The name without percent-encoding, so that `%74oken` hides nothing.
fn decoded(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(name);
    }
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name;
    while let [byte, rest @ ..] = bytes {
        bytes = rest;
        let digit = |at: usize| rest.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high << 4 | low).unwrap_or(b'?'));
                bytes = &rest[2..];
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(*byte),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_names_are_replaced() {
        for (given, expected) in [
            ("", ""),
            ("a=1&b=2", "a=1&b=2"),
            ("token=abc", "token=REDACTED"),
            ("a=1&token=abc&b=2", "a=1&token=REDACTED&b=2"),
            ("TOKEN=x&Api_Key=y&api-key=z", "TOKEN=REDACTED&Api_Key=REDACTED&api-key=REDACTED"),
            ("X-Amz-Signature=s&X-Amz-Date=d", "X-Amz-Signature=REDACTED&X-Amz-Date=d"),
            ("X-Amz-Credential=a&X-Amz-Security-Token=b", "X-Amz-Credential=REDACTED&X-Amz-Security-Token=REDACTED"),
            ("AWSAccessKeyId=k&Signature=s&sig=t", "AWSAccessKeyId=REDACTED&Signature=REDACTED&sig=REDACTED"),
            ("X-Goog-Signature=s", "X-Goog-Signature=REDACTED"),
            ("password=a=b=c&x", "password=REDACTED&x"),
            ("token=", "token="),
            ("token", "token"),
            ("&&=&token=1&", "&&=&token=REDACTED&"),
            ("a=1;sid=2", "a=1;sid=REDACTED"),
            ("%74oken=1&to%6ben=2&%zz=3", "%74oken=REDACTED&to%6ben=REDACTED&%zz=3"),
            ("user[password]=1&auth.x=2&o[]=3", "user[password]=REDACTED&auth.x=REDACTED&o[]=3"),
            ("monkey=1&keyboard=2&design=3", "monkey=1&keyboard=2&design=3"),
            ("ключ=1&token=ü", "ключ=1&token=REDACTED"),
        ] {
            assert_eq!(query(given), expected, "{given}");
        }
    }

    #[test]
    fn every_name_asked_for_is_secret() {
        for name in
            "token access_token id_token refresh_token api_key apikey key password passwd pwd secret client_secret \
                     auth authorization session sid code signature"
                .split_whitespace()
        {
            assert_eq!(query(&format!("{name}=v")), format!("{name}=REDACTED"));
        }
    }

    #[test]
    fn credentials_of_a_url_in_a_value_are_replaced() {
        for (given, expected) in [
            ("next=http://u:p@h/x", "next=http://REDACTED:REDACTED@h/x"),
            ("next=http%3A%2F%2Fu%3Ap%40h%2Fx", "next=http%3A%2F%2FREDACTED:REDACTED%40h%2Fx"),
            ("next=http://h/a@b", "next=http://h/a@b"),
            ("http://u:p@h/x", "http://REDACTED:REDACTED@h/x"),
            ("mail=a@b", "mail=a@b"),
        ] {
            assert_eq!(query(given), expected, "{given}");
        }
    }

    #[test]
    fn secret_path_parameters_are_replaced() {
        assert_eq!(path("/a/b;jsessionid=1F;v=2/c"), "/a/b;jsessionid=REDACTED;v=2/c");
        assert_eq!(path("/get/http://u:p@h/x"), "/get/http://REDACTED:REDACTED@h/x");
        assert_eq!(path("/token=1/a"), "/token=1/a");
        assert_eq!(path("/a/b"), "/a/b");
    }

    proptest::proptest! {
        #[test]
        fn nothing_else_is_changed(text in "[a-z=&;%?/@:é]{0,60}") {
            let out = query(&text);
            proptest::prop_assert_eq!(out.split(['&', ';']).count(), text.split(['&', ';']).count());
        }
    }
}
