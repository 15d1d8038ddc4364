//! Connections and exchanges for tests.

use wirespan_common::record::{Endpoint, TaskId};

use crate::flow::{At, Cookie, Facts, Nanos, Role};
use crate::proto::http1::Http;
use crate::proto::{Detail, Exchange, Marks, Outcome};

/// `10.0.0.host:port`
pub(crate) const fn endpoint(host: u8, port: u16) -> Endpoint {
    Endpoint { addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, host], port, pad: 0 }
}

/// A connection from `10.0.0.1:40000` to `10.0.0.2:8080`; the server sees it come from `10.0.0.9`.
pub(crate) fn facts(role: Role) -> Facts {
    let (cookie, local, remote) = match role {
        Role::Client => (Cookie(1), endpoint(1, 40_000), endpoint(2, 8080)),
        Role::Server => (Cookie(2), endpoint(2, 8080), endpoint(9, 40_000)),
    };
    Facts {
        cookie,
        local,
        remote,
        dialled: None,
        role: Some(role),
        task: TaskId { tid: 100 + cookie.0 as u32, tgid: 100 + cookie.0 as u32 },
        opener: TaskId::default(),
        sender: TaskId::default(),
        netns: 1,
        connecting: None,
        established: None,
        first_seen: Nanos(1_000),
        last_seen: Nanos(1_000),
        out_base: None,
        in_base: None,
        from_start: false,
        sent: 0,
        received: 0,
        srtt_us: 0,
        retransmits: 0,
        closed_first: None,
        own: false,
    }
}

/// `GET /` and a 200.
pub(crate) fn http() -> Http {
    Http {
        method: "GET".into(),
        target: "/".into(),
        minor_version: 1,
        status: Some(200),
        host: Some("shop.example:8080".into()),
        response_body: 12,
        ..Http::default()
    }
}

/// An exchange from 1 ms to 5 ms.
pub(crate) fn exchange(http: Http) -> Exchange {
    Exchange {
        number: 0,
        began: At { time: Nanos(1_000_000), pos: 0 },
        request_end: Some(Nanos(2_000_000)),
        response_began: Some(Nanos(4_000_000)),
        end: Nanos(5_000_000),
        outcome: Outcome::Complete,
        marks: Marks::default(),
        detail: Detail::Http(http),
    }
}
