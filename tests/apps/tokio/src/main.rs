//! Application model: axum as server and reqwest as client on tokio's multi-thread runtime.
//!
//! A connection of the server is a task, and so is every connection of the client: the task of a request hands its calls to
//! those tasks, which write and read on whichever worker thread runs them. The two calls at the same time are polled by
//! the task of the request. The connections of each backend are limited by a semaphore, since reqwest limits idle ones only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

struct App {
    client: reqwest::Client,
    first: Backend,
    second: Backend,
    /// A header that is copied to all calls.
    pass: Option<HeaderName>,
}

struct Backend {
    base: String,
    connections: Semaphore,
}

#[tokio::main]
async fn main() -> Result<()> {
    let needed = |name: &str| option(name).with_context(|| format!("{name} is missing"));
    let pool: usize = needed("--pool")?.parse().context("--pool is no number")?;
    let limit = if pool == 0 { Semaphore::MAX_PERMITS } else { pool };
    let backend = |address: String| Backend { base: format!("http://{address}"), connections: Semaphore::new(limit) };
    let app = App {
        client: reqwest::Client::builder().pool_max_idle_per_host(limit).build()?,
        first: backend(needed("--first")?),
        second: backend(needed("--second")?),
        pass: option("--pass").map(|name| name.parse()).transpose().context("--pass names no header")?,
    };
    let router = Router::new().route("/work/{token}", get(answer)).with_state(Arc::new(app));
    let listener = TcpListener::bind(needed("--listen")?).await?;
    println!("listening");
    axum::serve(listener, router).await?;
    Ok(())
}

async fn answer(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<&'static str, (StatusCode, String)> {
    app.work(&token, &headers).await.map_err(|error| (StatusCode::BAD_GATEWAY, format!("{error}\n")))?;
    Ok("done\n")
}

impl App {
    async fn work(&self, token: &str, headers: &HeaderMap) -> reqwest::Result<()> {
        let passed = self.pass.as_ref().and_then(|name| Some((name, headers.get(name)?)));
        self.get(&self.first, &format!("/a/{token}"), passed).await?;
        compute();
        self.get(&self.second, &format!("/b/{token}"), passed).await?;
        let (c, d) = (format!("/c/{token}"), format!("/d/{token}"));
        tokio::try_join!(self.get(&self.first, &c, passed), self.get(&self.second, &d, passed))?;
        Ok(())
    }

    async fn get(
        &self,
        backend: &Backend,
        path: &str,
        passed: Option<(&HeaderName, &HeaderValue)>,
    ) -> reqwest::Result<()> {
        let _connection = backend.connections.acquire().await.expect("never closed");
        let request = self.client.get(format!("{}{path}", backend.base));
        let request = passed.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        // Read to its end, the connection is kept for the next call.
        request.send().await?.error_for_status()?.bytes().await?;
        Ok(())
    }
}

/// Keeps the processor busy for 50 to 100 microseconds.
fn compute() {
    let end = Instant::now() + Duration::from_nanos(fastrand::u64(50_000..100_000));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// The value of an option.
fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}
