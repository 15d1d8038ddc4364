//! The servers that benches put a load on, and wrk.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bed::cpu;
use crate::command::{command, output, which};
use crate::workspace;

/// Size of the body at `/`.
const BODY_BYTES: usize = 1024;

/// Size of the body at `/small`: with nginx's head about 512 bytes are copied of a response.
const SMALL_BODY_BYTES: usize = 270;

/// Connections and files of one worker; more than the 20 000 connections of the memory bench.
const WORKER_CONNECTIONS: usize = 24_000;

/// How long nginx or Redis may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// How long a server may take to end, and to send what it still has, before it is killed.
const END_LIMIT: Duration = Duration::from_secs(15);

/// How often is looked whether a server listens, or has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A server on loopback. Ends when dropped.
pub(crate) struct Server {
    name: String,
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a command that will listen at this address, and returns when it does.
    pub(crate) fn start(command: &mut Command, address: SocketAddr, limit: Duration) -> Result<Self> {
        let mut server = Self::spawn(command, address)?;
        server.wait_until_listening(limit)?;
        Ok(server)
    }

    /// Starts a command that, perhaps with others, will listen at this address.
    pub(crate) fn spawn(command: &mut Command, address: SocketAddr) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { name, child, address })
    }

    /// nginx with one worker that serves from page cache.
    pub(crate) fn nginx() -> Result<Self> {
        let address = free_address()?;
        let folder = prepare(address)?;
        let mut nginx = command(which("nginx").context("nginx is not installed")?);
        nginx.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf")).arg("-e").arg(folder.join("error.log"));
        Self::start(&mut nginx, address, LISTEN_LIMIT)
    }

    /// Redis that keeps nothing on disk.
    pub(crate) fn redis() -> Result<Self> {
        let address = free_address()?;
        let mut redis = command(which("redis-server").context("redis-server is not installed")?);
        redis.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", "", "--appendonly", "no"]);
        Self::start(&mut redis, address, LISTEN_LIMIT)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Process id of the first of its children, which does nginx's work. nginx listens before it has one.
    pub(crate) fn worker(&self) -> Result<u32> {
        let start = Instant::now();
        loop {
            match cpu::family(self.child.id()).get(1) {
                Some(worker) => return Ok(*worker),
                None if start.elapsed() > LISTEN_LIMIT => bail!("{} has no worker", self.name),
                None => std::thread::sleep(LOOK),
            }
        }
    }

    /// What `--only` or `--except` call it.
    pub(crate) fn selector(&self) -> String {
        format!("port:{}", self.address.port())
    }

    /// Waits until somebody listens at its address.
    pub(crate) fn wait_until_listening(&mut self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait().with_context(|| format!("{} is lost", self.name))? {
                bail!("{} ended before it listened ({status})", self.name);
            }
            if start.elapsed() > limit {
                bail!("{} does not listen at {} after {} s", self.name, self.address, limit.as_secs());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, not SIGKILL: a master ends its workers.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < END_LIMIT {
            std::thread::sleep(LOOK);
        }
        // Both do nothing to a child that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests, and requests per second, of `wrk` at full speed.
pub(crate) fn wrk(url: &str, connections: u32, time: Duration, headers: &[&str]) -> Result<(u64, f64)> {
    let mut wrk = command("wrk");
    wrk.arg("-t1").arg(format!("-c{connections}")).arg(format!("-d{}s", time.as_secs()));
    wrk.args(headers.iter().flat_map(|header| ["-H", header]));
    let report = output(wrk.arg(url))?;
    if let Some(errors) = report.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx")) {
        bail!("wrk met errors: {}", errors.trim());
    }
    requests(&report).with_context(|| format!("wrk printed no rate: {report}"))
}

/// An address on loopback that nobody listens at.
pub(crate) fn free_address() -> Result<SocketAddr> {
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

fn requests(report: &str) -> Option<(u64, f64)> {
    let count = report.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    let rate = report.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok())?;
    Some((count, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_report_is_read() {
        assert_eq!(
            requests("  12 requests in 1s\nRequests/sec:  45012.25\nTransfer/sec: 1MB\n"),
            Some((12, 45_012.25))
        );
        assert_eq!(requests("unable to connect"), None);
    }
}
