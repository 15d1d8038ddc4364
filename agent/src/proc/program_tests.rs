//! Programs as they are found.

use super::*;

#[track_caller]
fn check(binary: Option<Binary>, language: &str, runtime: Option<&str>, version: Option<&str>) {
    let binary = binary.expect("it is something");
    let found = (binary.language, binary.runtime, binary.runtime_version.as_deref());
    assert_eq!(found, (Some(language), runtime, version));
}

#[test]
fn libraries_tell_the_runtime_and_its_version() {
    for (path, language, runtime, version) in [
        ("/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", "python", "cpython", Some("3.11")),
        ("/usr/lib/libpython3.7m.so.1.0", "python", "cpython", Some("3.7")),
        ("libpython3.so", "python", "cpython", Some("3")),
        ("/usr/lib/libruby-3.1.so.3.1", "ruby", "ruby", Some("3.1")),
        ("/usr/local/lib/libruby.so.3.3.0", "ruby", "ruby", Some("3.3.0")),
        ("/usr/lib/libnode.so.108", "nodejs", "nodejs", Some("18")),
        ("/usr/lib/libnode.so.999", "nodejs", "nodejs", None),
        ("/usr/lib/libphp8.2.so", "php", "php", Some("8.2")),
        ("libjli.so", "java", "java", None),
    ] {
        check(of_library(path), language, Some(runtime), version);
    }
    for other in ["/usr/lib/libpythonic.so", "/x/libruby", "/x/libphpcpp.so", "/usr/lib/libc.so.6", "", "/"] {
        assert_eq!(of_library(other), None, "{other}");
    }
}

#[test]
fn mapped_files_tell_more() {
    let line = |path: &str| format!("7f0000000000-7f0000001000 r-xp 00000000 fe:01 131 {path}\n");
    let maps = |paths: &[&str]| {
        paths.iter().map(|path| line(path)).collect::<String>() + "7ffc0000-7ffd0000 rw-p 0 00:00 0 [stack]\n"
    };
    for (directory, version) in [
        ("/usr/lib/jvm/java-17-openjdk-amd64/lib/server", "17"),
        ("/opt/jdk-21.0.2+13/lib/server", "21.0.2+13"),
        ("/usr/java/jre1.8.0_392/lib/amd64/server", "1.8.0_392"),
        ("/usr/lib/jvm/java-11-openjdk-11.0.20.0.8-1.el8.x86_64/lib/server", "11.0.20.0.8"),
        ("/opt/zulu17/lib/server", "17"),
    ] {
        let (jli, jvm) = (format!("{directory}/../libjli.so"), format!("{directory}/libjvm.so"));
        check(mapped(&maps(&["/usr/bin/java", &jli, &jvm])), "java", Some("java"), Some(version));
    }
    check(mapped(&maps(&["/opt/java/lib/server/libjvm.so"])), "java", Some("java"), None);
    check(
        mapped(&maps(&["/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.5/libcoreclr.so"])),
        "dotnet",
        Some(".NET"),
        Some("8.0.5"),
    );
    check(mapped(&maps(&["/usr/lib/libpython3.12.so.1.0 (deleted)"])), "python", Some("cpython"), Some("3.12"));
    assert_eq!(mapped(&maps(&["/usr/lib/libc.so.6"])), None);
    assert_eq!(mapped(""), None);
}

/// Build information as Go's linker writes it.
fn buildinfo(go: &str, modules: &str) -> Vec<u8> {
    let mut bytes = GO_MAGIC.to_vec();
    bytes.extend([8, GO_INLINE]);
    bytes.resize(GO_HEADER, 0);
    let modules = format!("{0}{modules}{0}", "x".repeat(GO_MARK));
    for text in [go, &modules] {
        let mut length = text.len();
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(text.as_bytes());
    }
    bytes
}

#[test]
fn go_says_its_version_and_that_of_the_program() {
    let modules = "path\texample.org/shop/cmd\nmod\texample.org/shop\tv1.2.3\th1:abc=\ndep\tx\tv9\n";
    let binary = go(&buildinfo("go1.24.4", modules));
    assert_eq!((binary.runtime_version.as_deref(), binary.version.as_deref()), (Some("1.24.4"), Some("v1.2.3")));
    let binary = go(&buildinfo("go1.22 X:nocoverageredesign", "path\tx\nmod\tx\t(devel)\t\n"));
    assert_eq!((binary.runtime_version.as_deref(), binary.version), (Some("1.22"), None));
    for broken in [&b""[..], GO_MAGIC, &buildinfo("go1.24", "x")[..GO_HEADER + 3], &[0xff; 64]] {
        assert_eq!((go(broken).language, go(broken).runtime_version), (Some("go"), None));
    }
    let long = "9".repeat(1000);
    assert_eq!(go(&buildinfo(&format!("go{long}"), &format!("mod\tx\t{long}\t"))).runtime_version, None);
}

#[test]
fn this_program_is_rust_and_the_shell_is_c() {
    let own = std::fs::read("/proc/self/exe").expect("it runs");
    check(inspect(&own[..], "wirespan"), "rust", None, None);
    let shell = std::fs::read("/bin/sh").expect("a shell");
    // Debian's compiler signs its work; what has no signature is not guessed at.
    let language = inspect(&shell[..], "sh").expect("an executable").language;
    assert!(matches!(language, Some("c") | None), "{language:?}");
}

#[test]
fn a_python_that_is_called_otherwise_is_still_one() {
    let path = std::fs::canonicalize("/usr/bin/python3").expect("python3 is installed");
    let bytes = std::fs::read(&path).expect("it can be read");
    let binary = inspect(&bytes[..], "shop").expect("an executable");
    assert_eq!((binary.language, binary.runtime), (Some("python"), Some("cpython")));
    let version = binary.runtime_version.expect("it is built in");
    let said = std::process::Command::new(&path).arg("--version").output().expect("it runs").stdout;
    let said = String::from_utf8(said).expect("text");
    assert!(said.trim().trim_start_matches("Python ").starts_with(&version), "{said} {version}");
}

#[test]
fn a_script_and_a_text_are_nothing() {
    assert_eq!(inspect(&b"#!/usr/bin/python3\n"[..], "python3"), None);
}
