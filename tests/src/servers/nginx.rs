//! nginx.

use std::net::Ipv4Addr;

use super::Server;
use crate::child::Program;
use crate::netns::Namespace;
use crate::port;
use crate::temp::TempDir;

/// nginx with so many workers on loopback.
///
/// Every path answers 200 with `hello`; `/status/CODE` (404 and 503) that status; `/file` is a file of 100 000 bytes,
/// sent by `sendfile`; `/through` reads the whole request and asks `/hello` of itself.
#[must_use]
#[track_caller]
pub fn nginx(workers: usize) -> Server {
    start(workers, Ipv4Addr::LOCALHOST, port::unused(), Program::new("nginx"))
}

/// nginx with one worker in a network namespace, on all of its addresses.
#[must_use]
#[track_caller]
pub fn nginx_in(namespace: &Namespace, port: u16) -> Server {
    start(1, Ipv4Addr::UNSPECIFIED, port, namespace.program("nginx"))
}

#[track_caller]
fn start(workers: usize, address: Ipv4Addr, port: u16, program: Program) -> Server {
    let files = TempDir::new("nginx");
    let root = files.path().display().to_string();
    files.file("file", vec![b'f'; 100_000]);
    let config = files.file(
        "nginx.conf",
        format!(
            "daemon off;\nuser root;\nworker_processes {workers};\npid {root}/pid;\nerror_log stderr notice;\n\
             events {{ worker_connections 2048; }}\n\
             http {{\n  access_log off;\n  sendfile on;\n  keepalive_requests 100000;\n  client_max_body_size 16m;\n\
             \x20 client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
             \x20 uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             \x20 server {{\n    listen {address}:{port} backlog=1024;\n    root {root};\n\
             \x20   location / {{ return 200 hello; }}\n\
             \x20   location = /file {{ }}\n\
             \x20   location = /through {{ proxy_pass http://127.0.0.1:{port}/hello; }}\n\
             \x20   location = /status/404 {{ return 404; }}\n    location = /status/503 {{ return 503; }}\n  }}\n}}\n"
        ),
    );
    let child = program.arg("-c").arg(config).arg("-p").arg(files.path()).arg("-e").arg("stderr").start();
    child.wait_err("start worker process ");
    Server { child, port, _files: Some(files) }
}
