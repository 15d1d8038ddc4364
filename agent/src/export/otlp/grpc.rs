//! OTLP over gRPC. Requests come encoded, so that trying again costs nothing.

use std::error::Error as _;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;

use super::config::Config;
use super::http::causes;
use super::retry::{self, Outcome};
use super::{MAX_RESPONSE_BYTES, USER_AGENT};

/// The one method of OTLP's trace service (`collector/trace/v1/trace_service.proto`).
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// A connection that lost its peer is noticed after this time.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Sends requests to one address.
#[derive(Clone, Debug)]
pub(super) struct GrpcSender {
    client: Grpc<Labelled>,
    timeout: Duration,
}

impl GrpcSender {
    pub(super) fn new(config: &Config, connector: HttpsConnector<HttpConnector>) -> Self {
        let mut headers = config.headers.clone();
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_only(true)
            .http2_keep_alive_interval(PING_EVERY)
            .build(connector);
        Self { client: grpc(Labelled { client, headers }, config), timeout: config.timeout }
    }

    pub(super) async fn send(&self, body: Bytes) -> Outcome {
        let mut client = self.client.clone();
        if let Err(error) = client.ready().await {
            return Outcome::Later { after: None, why: causes(&error) };
        }
        let mut request = tonic::Request::new(body);
        request.set_timeout(self.timeout);
        match client.unary(request, PathAndQuery::from_static(EXPORT), Encoded).await {
            Ok(response) => super::accepted(response.into_inner()),
            Err(status) => match status.source() {
                // Made here and not by the receiver: there was no answer.
                Some(error) => Outcome::Later { after: None, why: causes(error) },
                None => retry::grpc_failure(&status),
            },
        }
    }
}

fn grpc(service: Labelled, config: &Config) -> Grpc<Labelled> {
    let origin: Uri = config.endpoint.clone();
    let client = Grpc::with_origin(service, origin).max_decoding_message_size(MAX_RESPONSE_BYTES);
    if config.gzip {
        client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip)
    } else {
        client
    }
}

/// The HTTP client, which puts the user's headers and our name on every request; tonic would keep the latter for itself.
#[derive(Clone, Debug)]
struct Labelled {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    headers: HeaderMap,
}

impl Service<Request<Body>> for Labelled {
    type Response = Response<hyper::body::Incoming>;
    type Error = legacy::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), legacy::Error>> {
        Service::poll_ready(&mut self.client, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> ResponseFuture {
        for (name, value) in &self.headers {
            // What gRPC itself says stays.
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        self.client.request(request)
    }
}

/// Requests are bytes already; answers are read.
#[derive(Clone, Copy, Debug)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, body: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(body);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, body: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        ExportTraceServiceResponse::decode(body)
            .map(Some)
            .map_err(|error| Status::internal(format!("the answer cannot be read: {error}")))
    }
}
