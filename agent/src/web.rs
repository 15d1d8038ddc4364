//! The HTTP server of the agent: small answers, small bounds. Whoever can reach its addresses may be hostile.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
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

/// Connections at once; others wait in the kernel. A scraper, or a kubelet, needs one.
const MAX_CONNECTIONS: usize = 8;
/// A connection is for one request and its answer, and lives no longer than this.
const MAX_LIFE: Duration = Duration::from_secs(10);
/// Room for the head of a request, bytes. A scraper's has less than 1 KiB; hyper's own minimum is 8 KiB.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// Pause after a connection could not be accepted: the reason, such as too many open files, may last.
const PAUSE: Duration = Duration::from_millis(100);

/// An answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// What can be asked for at one address.
pub(crate) trait Site: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: &Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// An address that is listened on. Nobody is answered yet.
#[derive(Debug)]
pub(crate) struct Bound(std::net::TcpListener);

impl Bound {
    /// Takes the address.
    pub(crate) fn to(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Where it listens, with the port that was chosen if 0 was asked for.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers from now on, until the process ends, on a thread of this name.
    pub(crate) fn serve(self, thread: &str, site: impl Site) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(self.0)?
        };
        thread::Builder::new().name(thread.to_owned()).spawn(move || runtime.block_on(serve(listener, site)))?;
        Ok(())
    }
}

/// Answers for ever.
async fn serve(listener: TcpListener, site: impl Site) {
    let site = Arc::new(site);
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Nobody closes the semaphore.
    while let Ok(place) = Arc::clone(&free).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("a connection could not be accepted: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            let answer = service_fn(async |request| Ok::<_, Infallible>(answer(request, &*site).await));
            let connection = http1::Builder::new()
                .keep_alive(false)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), answer);
            match timeout(MAX_LIFE, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a request made no sense: {error}"),
                Err(_) => tracing::debug!("a connection took longer than {} s", MAX_LIFE.as_secs()),
            }
            drop(place);
        });
    }
}

async fn answer(request: Request<Incoming>, site: &impl Site) -> Answer {
    let answer = site.answer(&request).await;
    // hyper leaves the body out where HEAD was asked.
    if answer.status() == StatusCode::NOT_FOUND || matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer;
    }
    let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "this can only be read\n");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    refusal
}

/// A short text.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
