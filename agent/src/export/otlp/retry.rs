//! What an answer means, and when to try again (OTLP specification, "Failures" and "Throttling").

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use prost::Message;
use tonic::Code;

/// First pause; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A receiver that restarts is found again within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Taken, but for some spans.
    Accepted { rejected: u64, message: String },
    /// Not now: try again, not before so long if that was said.
    Later { after: Option<Duration>, why: String },
    /// Never.
    Refused { why: String },
}

/// Pauses that grow, with jitter so that many senders do not come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    /// How long to pause now. `jitter` is in 0..1. What the receiver asked for is never undercut, and later pauses
    /// grow from it.
    pub(super) fn pause(&mut self, asked: Option<Duration>, jitter: f64) -> Duration {
        if let Some(asked) = asked {
            self.next = asked.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE.max(asked));
            return asked.saturating_add(asked.min(LONGEST_PAUSE).mul_f64(jitter / 4.0));
        }
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(LONGEST_PAUSE.max(pause));
        pause.mul_f64(0.5 + jitter / 2.0)
    }
}

/// What an HTTP status other than 2xx means.
pub(super) fn http_failure(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Outcome {
    let why = format!("HTTP {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Later { after: retry_after(headers, now), why },
        _ => Outcome::Refused { why },
    }
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// What a gRPC status other than OK, given by the receiver, means.
pub(super) fn grpc_failure(status: &tonic::Status) -> Outcome {
    let why = format!("gRPC {:?}: {}", status.code(), status.message());
    let after = retry_info(status.details());
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Outcome::Later { after, why },
        Code::ResourceExhausted if after.is_some() => Outcome::Later { after, why },
        _ => Outcome::Refused { why },
    }
}

/// The delay of a `google.rpc.RetryInfo` among the details of a `google.rpc.Status`.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    // A negative delay is none.
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanoseconds = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(seconds, nanoseconds))
}

/// `google.rpc.Status` (googleapis, `google/rpc/status.proto`), as far as it is needed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.RetryInfo` (googleapis, `google/rpc/error_details.proto`).
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Delay {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// A status with these details, as Tempo sends it when it has too much to do.
#[cfg(test)]
pub(super) fn details_with_retry_info(delay: Delay) -> Vec<u8> {
    let info = RetryInfo { retry_delay: Some(delay) };
    let detail = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info.encode_to_vec() };
    RpcStatus { details: vec![detail] }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_later(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Later { .. })
    }

    #[test]
    fn exactly_four_http_codes_are_tried_again() {
        let later: Vec<u16> = (300..600)
            .filter(|code| {
                let status = StatusCode::from_u16(*code).unwrap();
                is_later(&http_failure(status, &HeaderMap::new(), SystemTime::UNIX_EPOCH))
            })
            .collect();
        assert_eq!(later, [429, 502, 503, 504]);
    }

    #[test]
    fn the_grpc_codes_tried_again_are_those_of_the_specification() {
        let later: Vec<i32> =
            (1..=16).filter(|code| is_later(&grpc_failure(&tonic::Status::new(Code::from(*code), "")))).collect();
        // CANCELLED DEADLINE_EXCEEDED ABORTED OUT_OF_RANGE UNAVAILABLE DATA_LOSS
        assert_eq!(later, [1, 4, 10, 11, 14, 15]);
    }

    #[test]
    fn resource_exhausted_is_tried_again_only_with_a_delay() {
        let details = details_with_retry_info(Delay { seconds: 5, nanos: 500_000_000 });
        let status = tonic::Status::with_details(Code::ResourceExhausted, "slow down", details.into());
        assert_eq!(
            grpc_failure(&status),
            Outcome::Later {
                after: Some(Duration::from_millis(5_500)),
                why: "gRPC ResourceExhausted: slow down".to_owned()
            }
        );
        assert_eq!(retry_info(&details_with_retry_info(Delay { seconds: -1, nanos: -1 })), Some(Duration::ZERO));
        assert_eq!(retry_info(b"garbage"), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let parsed = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(parsed("7"), Some(Duration::from_secs(7)));
        assert_eq!(parsed("Sun, 06 Nov 1994 08:49:40 GMT"), Some(Duration::from_secs(3)));
        assert_eq!(parsed("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parsed("soon"), None);
    }

    #[test]
    fn pauses_grow_to_a_bound_and_never_undercut_what_was_asked() {
        let mut backoff = Backoff::new();
        let longest: Vec<u128> = (0..7).map(|_| backoff.pause(None, 1.0).as_millis()).collect();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(Backoff::new().pause(None, 0.0), FIRST_PAUSE / 2);
        let asked = Some(Duration::from_secs(3));
        assert_eq!(backoff.pause(asked, 0.0), Duration::from_secs(3));
        assert_eq!(backoff.pause(None, 1.0), Duration::from_secs(6));
        assert_eq!(backoff.pause(Some(Duration::MAX), 1.0), Duration::MAX);
    }
}
