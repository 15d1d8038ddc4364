//! What went wrong on the transport, as `error.type`: one table for requests and for connections.

use crate::flow::Ending;

/// `error.type` of a connection whose TLS handshake ended with an alert; `wirespan.tls.alert` says which.
pub const TLS_ALERT: &str = "tls_alert";

/// `error.type` of something that a connection's ending cut off; `None` where the ending is not known, so that nothing
/// can be said to have failed.
#[must_use]
pub const fn cut_by(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Closed => Some("connection_closed"),
        Ending::Forgotten => None,
        _ => of_connection(ending),
    }
}

/// `error.type` of a connection; `None` for one that ended in order, or that may still exist.
#[must_use]
pub const fn of_connection(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Closed | Ending::Forgotten => None,
        Ending::ResetByLocal | Ending::ResetByRemote => Some("connection_reset"),
        Ending::TimedOut => Some("timeout"),
        Ending::Refused => Some("connection_refused"),
        Ending::Unreachable => Some("host_unreachable"),
        Ending::Aborted => Some("connection_aborted"),
    }
}
