//! Real OTLP receivers, gRPC (tonic) and HTTP/protobuf (hyper), that keep what they were sent.

use std::convert::Infallible;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::PATIENCE;
use crate::span::Span;
use crate::watch::Watch;

/// How a receiver is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, binary protobuf.
    Http,
}

/// A receiver on loopback. Dropping it closes its port and its connections.
pub struct Receiver {
    address: SocketAddr,
    got: Arc<Watch<Got>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What a receiver was sent.
#[derive(Debug, Default)]
pub struct Got {
    /// Requests it took, in order.
    pub batches: Vec<Batch>,
    /// Requests it could not read, and why.
    pub bad: Vec<String>,
    /// Answers to give before it takes a request: HTTP status codes, or gRPC codes.
    pub refusals: Vec<u16>,
    /// Requests it refused because it was told to.
    pub refused: usize,
}

/// One export request.
#[derive(Debug)]
pub struct Batch {
    /// Path of the request; that of the method for gRPC.
    pub path: String,
    /// Headers (gRPC: metadata), names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its spans.
    pub spans: Vec<Span>,
}

impl Batch {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Receiver {
    /// Starts one on a free port.
    #[must_use]
    #[track_caller]
    pub fn start(protocol: Protocol) -> Self {
        Self::start_on(protocol, 0)
    }

    /// Starts one on this port.
    #[must_use]
    #[track_caller]
    pub fn start_on(protocol: Protocol, port: u16) -> Self {
        let got = Arc::new(Watch::new(Got::default()));
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = std::sync::mpsc::channel();
        let kept = Arc::clone(&got);
        let thread = thread::Builder::new().name("otlp-receiver".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
            runtime.block_on(async move {
                let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                    Ok(listener) => listener,
                    Err(error) => return drop(bound.send(Err(error))),
                };
                let _ = bound.send(listener.local_addr());
                match protocol {
                    Protocol::Grpc => grpc(listener, kept, stopped).await,
                    Protocol::Http => http(listener, kept, stopped).await,
                }
            });
        });
        let address = address.recv().expect("the receiver says where it is");
        let address = address.unwrap_or_else(|error| panic!("OTLP receiver on port {port}: {error}"));
        Self { address, got, stop: Some(stop), thread: Some(thread.expect("a thread")) }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` has to say.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was sent, to look at and to wait for.
    #[must_use]
    pub fn got(&self) -> &Watch<Got> {
        &self.got
    }

    /// Waits until it has a span that `is_it` knows.
    #[track_caller]
    pub fn span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let found = self.got.wait(PATIENCE, |got| got.spans().find(|span| is_it(span)).cloned());
        found.unwrap_or_else(|| {
            self.got.read(|got| {
                let spans: String = got.spans().map(|span| format!("{span}\n")).collect();
                panic!("the receiver was not sent {what}; it has\n{spans}and could not read {:?}", got.bad)
            })
        })
    }

    /// Ends it and gives what it has.
    #[must_use]
    pub fn stop(mut self) -> Got {
        self.end();
        self.got.update(std::mem::take)
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Got {
    /// All spans of all batches.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        self.batches.iter().flat_map(|batch| &batch.spans)
    }

    fn keep(&mut self, path: String, headers: Vec<(String, String)>, request: ExportTraceServiceRequest) {
        match Span::all(request.resource_spans) {
            Ok(spans) => self.batches.push(Batch { path, headers, spans }),
            Err(why) => self.bad.push(why),
        }
    }

    fn refusal(&mut self) -> Option<u16> {
        if self.refusals.is_empty() {
            return None;
        }
        self.refused += 1;
        Some(self.refusals.remove(0))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.end();
    }
}

struct Grpc(Arc<Watch<Got>>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, message) = request.into_parts();
        if let Some(code) = self.0.update(Got::refusal) {
            return Err(tonic::Status::new(tonic::Code::from_i32(code.into()), "told to refuse"));
        }
        let headers = text_headers(&metadata.into_headers());
        self.0.update(|got| got.keep("/TraceService/Export".to_owned(), headers, message));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn grpc(listener: TcpListener, got: Arc<Watch<Got>>, stopped: oneshot::Receiver<()>) {
    let service = TraceServiceServer::new(Grpc(got)).accept_compressed(CompressionEncoding::Gzip);
    let server = Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
    // At the end everything is dropped where it stands, as when the receiver's machine goes down.
    tokio::select! {
        _ = server => {}
        _ = stopped => {}
    }
}

async fn http(listener: TcpListener, got: Arc<Watch<Got>>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            _ = &mut stopped => return,
        };
        let got = Arc::clone(&got);
        let service = service_fn(move |request| export(request, Arc::clone(&got)));
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn export(request: Request<Incoming>, got: Arc<Watch<Got>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = |status: StatusCode, body: Vec<u8>| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert("content-type", hyper::header::HeaderValue::from_static("application/x-protobuf"));
        Ok(response)
    };
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return answer(StatusCode::BAD_REQUEST, Vec::new()) };
    if let Some(status) = got.update(Got::refusal) {
        return answer(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Vec::new());
    }
    let headers = text_headers(&head.headers);
    let gzipped = headers.iter().any(|(name, value)| name == "content-encoding" && value == "gzip");
    match decode(&body.to_bytes(), gzipped) {
        Ok(message) => {
            got.update(|got| got.keep(head.uri.path().to_owned(), headers, message));
            answer(StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
        }
        Err(why) => {
            got.update(|got| got.bad.push(why));
            answer(StatusCode::BAD_REQUEST, Vec::new())
        }
    }
}

fn decode(body: &[u8], gzipped: bool) -> Result<ExportTraceServiceRequest, String> {
    let mut plain = Vec::new();
    if gzipped {
        flate2::read::GzDecoder::new(body).read_to_end(&mut plain).map_err(|error| error.to_string())?;
    } else {
        plain.extend_from_slice(body);
    }
    ExportTraceServiceRequest::decode(plain.as_slice()).map_err(|error| error.to_string())
}

fn text_headers(headers: &hyper::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
