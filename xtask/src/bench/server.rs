//! nginx and wrk, as benches use them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{command, output, which};
use crate::workspace;

/// Size of the body at `/`.
const BODY_BYTES: usize = 1024;

/// Size of the body at `/small`: with nginx's head about 512 bytes are copied of a response.
const SMALL_BODY_BYTES: usize = 270;

/// Connections and files of one worker; more than the 20 000 connections of the memory bench.
const WORKER_CONNECTIONS: usize = 24_000;

/// How long nginx may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// nginx on loopback, with one worker that serves from memory or page cache. Ends when dropped.
pub(super) struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    /// Starts it on a free port and returns when it answers.
    pub(super) fn start() -> Result<Self> {
        let address = free_address()?;
        let folder = prepare(address)?;
        let nginx = which("nginx").context("nginx is not installed")?;
        let mut nginx = command(nginx);
        nginx.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf")).arg("-e").arg(folder.join("error.log"));
        let child = nginx.stdin(Stdio::null()).spawn().context("nginx cannot be started")?;
        let mut server = Self { child, address };
        server.wait_until_listening()?;
        Ok(server)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `--only` or `--except` call it.
    pub(super) fn selector(&self) -> String {
        format!("port:{}", self.address.port())
    }

    fn wait_until_listening(&mut self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait().context("nginx cannot be waited for")? {
                bail!("nginx ended at once ({status})");
            }
            if start.elapsed() > LISTEN_LIMIT {
                bail!("nginx does not listen at {}", self.address);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, not SIGKILL: the master ends its worker.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// Requests per second of `wrk` at full speed.
pub(super) fn wrk(url: &str, connections: u32, time: Duration, headers: &[&str]) -> Result<f64> {
    let mut wrk = command("wrk");
    wrk.arg("-t1").arg(format!("-c{connections}")).arg(format!("-d{}s", time.as_secs()));
    wrk.args(headers.iter().flat_map(|header| ["-H", header]));
    let report = output(wrk.arg(url))?;
    if let Some(errors) = report.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx")) {
        bail!("wrk met errors: {}", errors.trim());
    }
    requests_per_second(&report).with_context(|| format!("wrk printed no rate: {report}"))
}

/// An address on loopback that nobody listens at.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    listener.local_addr().context("a socket without an address")
}

fn prepare(address: SocketAddr) -> Result<PathBuf> {
    let folder = workspace::target().join("bench").join("nginx");
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    };
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    write("index.html", "x".repeat(BODY_BYTES))?;
    write("small", "x".repeat(SMALL_BODY_BYTES))?;
    write("nginx.conf", configuration(address))?;
    Ok(folder)
}

/// `daemon off` makes it our child; the worker stays root, so that it may read a checkout in root's home.
fn configuration(address: SocketAddr) -> String {
    let files = WORKER_CONNECTIONS + 1_000;
    format!(
        "daemon off; user root; worker_processes 1; worker_rlimit_nofile {files}; pid nginx.pid; error_log error.log;\n\
         events {{ worker_connections {WORKER_CONNECTIONS}; }}\n\
         http {{\n\
             access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; sendfile on; tcp_nopush on;\n\
             open_file_cache max=10;\n\
             server {{ listen {address} backlog=4096; root .; }}\n\
         }}\n"
    )
}

fn requests_per_second(report: &str) -> Option<f64> {
    report.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_report_is_read() {
        assert_eq!(
            requests_per_second("  12 requests in 1s\nRequests/sec:  45012.25\nTransfer/sec: 1MB\n"),
            Some(45_012.25)
        );
        assert_eq!(requests_per_second("unable to connect"), None);
    }
}
