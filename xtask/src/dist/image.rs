//! `cargo xtask dist image`: what lies in the image, which is little: the agent, which needs no library, the certificates of the
//! authorities that Mozilla trusts, and the list of what it is made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::oci::{self, Image, Tree};
use super::{Linkage, TARGETS, Target, bom, build, find};
use crate::command::{command, run};
use crate::step::Steps;
use crate::workspace;

/// As a kubelet completes the name `wirespan`, which is the chart's default.
const NAME: &str = "docker.io/library/wirespan";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The largest that it may be, MiB.
const MAX_MIB: u64 = 40;
/// Where the agent is in it.
const PROGRAM: &str = "usr/bin/wirespan";

/// Builds the image for a target, or for all with an index over them, into `target/dist/image`. With `twice`, it is built again from
/// a copy of the sources in another folder, and must come out the same. Where it is.
pub(crate) fn image(triple: Option<&str>, twice: bool, steps: &mut Steps) -> Result<PathBuf> {
    let targets = match triple {
        Some(triple) => vec![find(triple)?],
        None => TARGETS.iter().collect(),
    };
    let folder = workspace::target().join("dist/image");
    let mut images = Vec::new();
    for target in targets {
        let place = folder.join(target.image_arch).join("wirespan");
        build(target, Linkage::Static, &place, steps)?;
        let bom = bom::bom(target.triple)?;
        write(&folder.join(format!("wirespan-{VERSION}-{}.cdx.json", target.image_arch)), &bom)?;
        let program = fs::read(&place).with_context(|| place.display().to_string())?;
        images.push(Image {
            architecture: target.image_arch,
            tree: tree(program, bom)?,
            entrypoint: vec![format!("/{PROGRAM}")],
            arguments: vec!["run".to_owned()],
            labels: labels(),
        });
    }
    let file = place(&folder, triple.map(find).transpose()?);
    let archive = oci::archive(NAME, VERSION, &images)?;
    let mib = (archive.len() / images.len()) as u64 >> 20;
    ensure!(mib < MAX_MIB, "an image of {mib} MiB is larger than {MAX_MIB} MiB");
    write(&file, &archive)?;
    let digest = oci::sha256(&archive);
    eprintln!("{}: {:.1} MiB, sha256:{digest}", file.display(), archive.len() as f64 / f64::from(1 << 20));
    if twice {
        let again = steps.step("building it again from a copy of the sources", || again(triple))?;
        if again != digest {
            bail!("the second build gave sha256:{again}");
        }
        eprintln!("the second build gave the same");
    }
    Ok(file)
}

/// Builds the image for this machine's architecture. Where it is.
pub(crate) fn own_image(steps: &mut Steps) -> Result<PathBuf> {
    let own = TARGETS.iter().find(|target| target.arch == std::env::consts::ARCH);
    image(Some(own.context("no image is made for this architecture")?.triple), false, steps)
}

/// The archive for a target, or for all.
fn place(folder: &Path, target: Option<&Target>) -> PathBuf {
    folder.join(match target {
        Some(target) => format!("wirespan-{VERSION}-{}.tar", target.image_arch),
        None => format!("wirespan-{VERSION}.tar"),
    })
}

fn labels() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("org.opencontainers.image.title", "wirespan".to_owned()),
        ("org.opencontainers.image.version", VERSION.to_owned()),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
        ("org.opencontainers.image.description", "Zero-code tracing of every TCP connection and request".to_owned()),
    ])
}

fn tree(program: Vec<u8>, bom: Vec<u8>) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file(PROGRAM, 0o755, program);
    // The C library looks names up as this says. It holds both ways, and loads no module for them.
    tree.file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n");
    tree.file("etc/passwd", 0o644, "root:x:0:0:root:/:/usr/sbin/nologin\n");
    tree.file("etc/group", 0o644, "root:x:0:\n");
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities());
    let documents = "usr/share/doc/wirespan";
    tree.file(&format!("{documents}/wirespan.cdx.json"), 0o644, bom);
    for license in ["LICENSE", "LICENSE-GPL-2.0"] {
        let text = fs::read(workspace::root().join(license)).with_context(|| license.to_owned())?;
        tree.file(&format!("{documents}/{license}"), 0o644, text);
    }
    // What runtimes mount: in a root that is read only they can't make it.
    for folder in ["dev", "proc", "run", "sys", "etc/wirespan"] {
        tree.folder(folder, 0o755);
    }
    tree.folder("tmp", 0o1777);
    Ok(tree)
}

/// Certificates as PEM (RFC 7468), the way that programs look for them.
fn authorities() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let base64 = base64(certificate);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in base64.as_bytes().chunks(64) {
            text.extend(line.iter().copied().map(char::from));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The digest of the archive as a copy of the workspace makes it, in a folder of its own.
fn again(triple: Option<&str>) -> Result<String> {
    let copy = workspace::target().join("dist/again");
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(&copy).with_context(|| copy.display().to_string())?;
    for entry in fs::read_dir(workspace::root())? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "target" && name != ".git" {
            run(command("cp").args(["-a", "--"]).arg(entry.path()).arg(&copy))?;
        }
    }
    // The tools are no part of what is built.
    fs::create_dir_all(copy.join("target"))?;
    std::os::unix::fs::symlink(workspace::tools(), copy.join("target/tools"))?;
    let mut cargo = crate::command::cargo();
    cargo.current_dir(&copy).args(["run", "--locked", "--quiet", "--package=xtask", "--", "dist", "image"]);
    if let Some(triple) = triple {
        cargo.args(["--target", triple]);
    }
    run(&mut cargo)?;
    let file = place(&copy.join("target/dist/image"), triple.map(find).transpose()?);
    let digest = oci::sha256(&fs::read(&file).with_context(|| file.display().to_string())?);
    fs::remove_dir_all(&copy)?;
    Ok(digest)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_pem() {
        let text = authorities();
        let begins = text.matches("-----BEGIN CERTIFICATE-----\n").count();
        assert!(begins > 50 && begins == text.matches("-----END CERTIFICATE-----\n").count(), "{begins}");
        assert!(text.lines().all(|line| line.len() <= 64));
    }
}
