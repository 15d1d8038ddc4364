//! Container images as OCI archives of one layer, made of files of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::node::PAUSE;
use super::place::Place;
use super::program::{BUSYBOX, Programs};
use crate::command::{command, output, run, which};

/// Shell and tools.
pub(crate) const TOOLS: &str = "wirespan.local/tools:1";

/// What an image is, besides its files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image<'a> {
    /// Name and tag.
    pub(crate) name: &'a str,
    /// What it runs.
    pub(crate) entrypoint: &'a [&'a str],
}

/// Makes and imports the images that every cluster has.
pub(crate) fn import_own(place: &Place, programs: &Programs) -> Result<()> {
    import(place, &Image { name: PAUSE, entrypoint: &["/pause"] }, "", |root| {
        copy(programs.pause(), &root.join("pause"))
    })?;
    import(place, &Image { name: TOOLS, entrypoint: &["/bin/sh"] }, "", |root| {
        let busybox = which(BUSYBOX.name).context("busybox is not installed")?;
        copy(&busybox, &root.join("bin/busybox"))?;
        for folder in ["etc", "root", "tmp"] {
            make_folder(&root.join(folder))?;
        }
        for applet in output(command(&busybox).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
            let link = root.join("bin").join(applet);
            std::os::unix::fs::symlink("busybox", &link).with_context(|| link.display().to_string())?;
        }
        Ok(())
    })
}

/// Imports an image, after `fill` has put its files into a folder that is its root, unless it was imported with the same
/// `version` of them.
pub(crate) fn import(
    place: &Place,
    image: &Image<'_>,
    version: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = place.run.join("images").join(image.name.replace(['/', ':'], "_"));
    let (scratch, stamp) = (folder.join("scratch"), folder.join("version"));
    let version = format!("{:?} {version}", image.entrypoint);
    let is_same = fs::read_to_string(&stamp).is_ok_and(|imported| imported == version);
    if is_same && images(place)?.lines().any(|line| line == image.name) {
        return Ok(());
    }
    let root = scratch.join("root");
    // An earlier attempt may have been interrupted.
    let _ = fs::remove_dir_all(&scratch);
    make_folder(&root)?;
    fill(&root)?;
    let archive = write_archive(image, &root, &scratch)?;
    import_archive(place, &archive)?;
    fs::remove_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    write(&stamp, version.as_bytes())
}

/// Imports an archive.
pub(crate) fn import_archive(place: &Place, archive: &Path) -> Result<()> {
    output(ctr(place).args(["images", "import"]).arg(archive)).map(drop)
}

/// Copies a file, below folders that are made for it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    to.parent().map_or(Ok(()), make_folder)?;
    fs::copy(from, to).with_context(|| format!("{} cannot be copied to {}", from.display(), to.display())).map(drop)
}

/// containerd's own client, on Kubernetes' images and containers.
pub(crate) fn ctr(place: &Place) -> std::process::Command {
    let mut ctr = command("ctr");
    ctr.arg("--address").arg(place.containerd()).args(["--namespace", "k8s.io"]);
    ctr
}

fn images(place: &Place) -> Result<String> {
    output(ctr(place).args(["images", "list", "--quiet"]))
}

/// An OCI image layout in a tar archive, as the image specification 1.1 has it.
fn write_archive(image: &Image<'_>, root: &Path, scratch: &Path) -> Result<PathBuf> {
    let layout = scratch.join("layout");
    make_folder(&layout.join("blobs/sha256"))?;
    let layer = scratch.join("layer.tar");
    let mut tar = command("tar");
    tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--create", "--file"]);
    run(tar.arg(&layer).arg("--directory").arg(root).arg("."))?;
    let bytes = fs::read(&layer).with_context(|| layer.display().to_string())?;
    let layer = put(&layout, "application/vnd.oci.image.layer.v1.tar", &bytes)?;
    let config = json!({
        "architecture": match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => bail!("images for {other} are not made"),
        },
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Entrypoint": image.entrypoint},
        // A layer that is not compressed has one digest.
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = put(&layout, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
    let mut manifest = put(&layout, kind, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({"io.containerd.image.name": image.name});
    write(&layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string().as_bytes())?;
    write(&layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let archive = scratch.join("image.tar");
    run(command("tar").args(["--create", "--file"]).arg(&archive).arg("--directory").arg(&layout).arg("."))?;
    Ok(archive)
}

/// Writes a blob and describes it.
fn put(layout: &Path, kind: &str, bytes: &[u8]) -> Result<Value> {
    let hash = sha256(bytes);
    write(&layout.join("blobs/sha256").join(&hash), bytes)?;
    Ok(json!({"mediaType": kind, "digest": format!("sha256:{hash}"), "size": bytes.len()}))
}

/// Digest in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}
