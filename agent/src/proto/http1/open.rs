//! A request that waits for the rest of its exchange.

use std::mem;

use super::Http;
use crate::flow::{At, Nanos};
use crate::proto::{Detail, Exchange, Marks, Outcome};

/// An exchange that is not over.
#[derive(Debug)]
pub(super) struct Open {
    /// Its number.
    pub(super) number: u64,
    /// First byte of the request.
    pub(super) began: At,
    /// Last byte of the request, where it was seen.
    pub(super) request_end: Option<Nanos>,
    /// Nothing more is expected of the request.
    pub(super) request_over: bool,
    /// First byte of the final response.
    pub(super) response_began: Option<Nanos>,
    /// The end of the response, and how it ended.
    pub(super) response_over: Option<(Nanos, Outcome)>,
    /// What is not as sure as it could be.
    pub(super) marks: Marks,
    /// The request's body is sent only after an interim response.
    pub(super) expects: bool,
    /// Bytes of text in the request's head.
    pub(super) text: usize,
    /// What was said so far.
    pub(super) http: Http,
}

impl Open {
    /// The first byte of a request has passed.
    pub(super) fn new(number: u64, began: At) -> Self {
        Self {
            number,
            began,
            request_end: None,
            request_over: false,
            response_began: None,
            response_over: None,
            marks: Marks::default(),
            expects: false,
            text: 0,
            http: Http::default(),
        }
    }

    /// Whether anything was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.http.interim || self.response_began.is_some()
    }

    /// The exchange, over at `end`. What was said moves into it.
    pub(super) fn close(&mut self, end: Nanos, outcome: Outcome) -> Exchange {
        Exchange {
            number: self.number,
            began: self.began,
            request_end: self.request_end,
            response_began: self.response_began,
            end,
            outcome,
            marks: self.marks,
            detail: Detail::Http(mem::take(&mut self.http)),
        }
    }
}
