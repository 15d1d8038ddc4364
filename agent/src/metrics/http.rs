//! The page as it is asked for.

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::page::Pages;
use crate::web::{Answer, Site, plain};

const PATH: &str = "/metrics";
/// OpenMetrics 1.0, which every Prometheus since 2.5 reads.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Site for Pages {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
        }
        // What can't be asked for is not made.
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "");
        }
        match self.current().await {
            Ok(page) => {
                let mut response = Response::new(Full::new(page));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FORMAT));
                response
            }
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics could not be written: {error}\n")),
        }
    }
}
