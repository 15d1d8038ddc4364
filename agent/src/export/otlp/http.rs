//! OTLP over HTTP/1.1, with protobuf or JSON bodies.

use std::error::Error;
use std::io::{self, Write as _};
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use super::config::{Config, Protocol};
use super::retry::{self, Outcome};
use super::{MAX_RESPONSE_BYTES, USER_AGENT};

/// Sends requests to one address.
#[derive(Clone, Debug)]
pub(super) struct HttpSender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    headers: HeaderMap,
    is_json: bool,
}

impl HttpSender {
    pub(super) fn new(config: &Config, connector: HttpsConnector<HttpConnector>) -> Self {
        let is_json = config.protocol == Protocol::HttpJson;
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.extend(config.headers.clone());
        // What describes the body is ours to say.
        let content = if is_json { "application/json" } else { "application/x-protobuf" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
        if config.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            endpoint: config.endpoint.clone(),
            headers,
            is_json,
        }
    }

    pub(super) async fn send(&self, body: Bytes) -> Outcome {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => return Outcome::Later { after: None, why: causes(&error) },
        };
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return retry::http_failure(head.status, &head.headers, SystemTime::now());
        }
        match Limited::new(body, MAX_RESPONSE_BYTES).collect().await {
            Ok(body) => self.accepted(&body.to_bytes()),
            // The receiver has taken the spans: sending them again would double them.
            Err(_) => Outcome::Accepted { rejected: 0, message: String::new() },
        }
    }

    /// An answer that cannot be read is no reason to doubt its status.
    fn accepted(&self, body: &[u8]) -> Outcome {
        let response = if self.is_json {
            serde_json::from_slice(body).ok()
        } else {
            ExportTraceServiceResponse::decode(body).ok()
        };
        super::accepted(response.unwrap_or_default())
    }
}

/// The body as gzip (RFC 1952).
pub(super) fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// An error with its causes: the outermost alone says no more than "client error".
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
