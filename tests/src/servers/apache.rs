//! Apache httpd.

use super::Server;
use crate::child::Program;
use crate::port;
use crate::temp::TempDir;

/// Where Debian keeps the modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// Apache httpd with the event MPM on loopback. `/hello` answers 200 with `hello`, anything else 404.
#[must_use]
#[track_caller]
pub fn apache() -> Server {
    let files = TempDir::new("apache");
    let port = port::unused();
    let root = files.path().display().to_string();
    files.file("hello", "hello");
    let config = files.file(
        "httpd.conf",
        format!(
            "ServerRoot {root}\nServerName localhost\nPidFile {root}/pid\nListen 127.0.0.1:{port}\n\
             LoadModule mpm_event_module {MODULES}/mod_mpm_event.so\n\
             LoadModule authz_core_module {MODULES}/mod_authz_core.so\n\
             Mutex file:{root}\nDefaultRuntimeDir {root}\nStartServers 1\nKeepAlive On\n\
             ErrorLog /dev/stderr\nLogLevel notice\nDocumentRoot {root}\nUser www-data\nGroup www-data\n"
        ),
    );
    let child = Program::new("apache2").arg("-f").arg(config).arg("-DFOREGROUND").start();
    child.wait_err("resuming normal operations");
    Server { child, port, _files: Some(files) }
}
