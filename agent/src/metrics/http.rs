//! The HTTP server: one page, small bounds. Whoever can reach the address may be hostile.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::page::Pages;

/// Connections at once; others wait in the kernel. A scraper needs one.
const MAX_CONNECTIONS: usize = 8;
/// A connection is for one request and its answer, and lives no longer than this.
const MAX_LIFE: Duration = Duration::from_secs(10);
/// Room for the head of a request, bytes. A scraper's has less than 1 KiB; hyper's own minimum is 8 KiB.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// Pause after a connection could not be accepted: the reason, such as too many open files, may last.
const PAUSE: Duration = Duration::from_millis(100);

const PATH: &str = "/metrics";
/// OpenMetrics 1.0, which every Prometheus since 2.5 reads.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, pages: Pages) {
    let pages = Arc::new(pages);
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Nobody closes the semaphore.
    while let Ok(place) = Arc::clone(&free).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("a connection for metrics could not be accepted: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let pages = Arc::clone(&pages);
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(request, &pages));
            let connection = http1::Builder::new()
                .keep_alive(false)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), answer);
            match timeout(MAX_LIFE, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a request for metrics made no sense: {error}"),
                Err(_) => tracing::debug!("a connection for metrics took longer than {} s", MAX_LIFE.as_secs()),
            }
            drop(place);
        });
    }
}

async fn answer(request: Request<Incoming>, pages: &Pages) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != PATH {
        return Ok(plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n"));
    }
    // hyper leaves the body out where HEAD was asked.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "metrics can only be read\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    Ok(match pages.current().await {
        Ok(page) => {
            let mut response = Response::new(Full::new(page));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FORMAT));
            response
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics could not be written: {error}\n")),
    })
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
