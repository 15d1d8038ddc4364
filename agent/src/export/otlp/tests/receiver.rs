//! Receivers that answer as they are told and say what they were sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tonic::codec::CompressionEncoding;
use tonic::{Status, transport};

use super::PATIENCE;

/// A receiver on a port of its own. Ends with the value.
pub(super) struct TestReceiver<Got> {
    pub(super) address: SocketAddr,
    got: Receiver<Got>,
    _runtime: Runtime,
}

impl<Got> TestReceiver<Got> {
    pub(super) fn endpoint(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request.
    pub(super) fn next(&self) -> Got {
        self.got.recv_timeout(PATIENCE).expect("a request comes")
    }

    /// How many requests came that nobody asked for.
    pub(super) fn rest(&self) -> usize {
        self.got.try_iter().count()
    }
}

/// A request over HTTP.
pub(super) struct HttpRequest {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) at: Instant,
}

/// How to answer one request over HTTP; `None`: never.
pub(super) type HttpAnswer = Option<Response<Full<Bytes>>>;

/// Answers in turn, then 200 with nothing.
pub(super) fn http(answers: Vec<HttpAnswer>) -> TestReceiver<HttpRequest> {
    http_on(answers, None)
}

/// The same over TLS, if given.
pub(super) fn http_on(answers: Vec<HttpAnswer>, tls: Option<rustls::ServerConfig>) -> TestReceiver<HttpRequest> {
    let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    let (sender, got) = mpsc::channel();
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answers, sender) = (Arc::clone(&answers), sender.clone());
            let service = service_fn(move |request| answer(request, Arc::clone(&answers), sender.clone()));
            let server = hyper::server::conn::http1::Builder::new();
            match tls.clone() {
                None => drop(tokio::spawn(server.serve_connection(TokioIo::new(stream), service))),
                Some(tls) => drop(tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        server.serve_connection(TokioIo::new(stream), service).await.ok();
                    }
                })),
            }
        }
    });
    TestReceiver { address, got, _runtime: runtime }
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Mutex<VecDeque<HttpAnswer>>>,
    got: Sender<HttpRequest>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let answer = answers.lock().unwrap().pop_front().unwrap_or_else(|| Some(Response::default()));
    got.send(HttpRequest { path: head.uri.to_string(), headers: head.headers, body, at: Instant::now() }).ok();
    match answer {
        Some(response) => Ok(response),
        None => std::future::pending().await,
    }
}

/// A request over gRPC.
pub(super) struct GrpcRequest {
    pub(super) headers: HeaderMap,
    pub(super) message: ExportTraceServiceRequest,
    pub(super) at: Instant,
}

pub(super) type GrpcAnswer = Result<ExportTraceServiceResponse, Status>;

struct Scripted {
    answers: Mutex<VecDeque<GrpcAnswer>>,
    got: Sender<GrpcRequest>,
}

#[tonic::async_trait]
impl TraceService for Scripted {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Ok(Default::default()));
        let headers = request.metadata().clone().into_headers();
        self.got.send(GrpcRequest { headers, message: request.into_inner(), at: Instant::now() }).ok();
        answer.map(tonic::Response::new)
    }
}

/// Answers in turn, then OK.
pub(super) fn grpc(answers: Vec<GrpcAnswer>) -> TestReceiver<GrpcRequest> {
    grpc_on(answers, None)
}

/// The same over TLS, if given.
pub(super) fn grpc_on(answers: Vec<GrpcAnswer>, tls: Option<transport::ServerTlsConfig>) -> TestReceiver<GrpcRequest> {
    let (sender, got) = mpsc::channel();
    let runtime = runtime();
    let listener = {
        let _inside = runtime.enter();
        transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap()
    };
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(Scripted { answers: Mutex::new(answers.into()), got: sender })
        .accept_compressed(CompressionEncoding::Gzip);
    let mut server = transport::Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).unwrap();
    }
    runtime.spawn(server.serve_with_incoming(service, listener));
    TestReceiver { address, got, _runtime: runtime }
}

/// An answer that rejects some spans.
pub(super) fn partial(rejected_spans: i64, message: &str) -> ExportTraceServiceResponse {
    let error_message = message.to_owned();
    ExportTraceServiceResponse { partial_success: Some(ExportTracePartialSuccess { rejected_spans, error_message }) }
}

pub(super) fn spans_in(request: &ExportTraceServiceRequest) -> usize {
    request.resource_spans.iter().flat_map(|group| &group.scope_spans).map(|scope| scope.spans.len()).sum()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
