//! Container images as OCI archives (image specification 1.1), made without a container engine. The same files give the same bytes,
//! whenever and wherever: no time, no user and no order of a file system is in them.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The files of an image by their paths, without a slash in front.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Node>);

#[derive(Clone, Debug)]
enum Node {
    File { bytes: Vec<u8>, mode: u32 },
    Folder { mode: u32 },
}

impl Tree {
    /// Puts a file there, and the folders above it.
    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        for (at, _) in path.match_indices('/') {
            self.folder(&path[..at], 0o755);
        }
        self.0.insert(path.to_owned(), Node::File { bytes: bytes.into(), mode });
    }

    /// Makes a folder, if it is not there.
    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.0.entry(path.to_owned()).or_insert(Node::Folder { mode });
    }

    /// As a layer.
    fn tar(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, node) in &self.0 {
            let (kind, mode, bytes) = match node {
                Node::File { bytes, mode } => (EntryType::Regular, *mode, bytes.as_slice()),
                Node::Folder { mode } => (EntryType::Directory, *mode, &[][..]),
            };
            append(&mut tar, path, kind, mode, bytes)?;
        }
        tar.into_inner().context("a layer cannot be written")
    }
}

/// An image for one architecture.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// Its architecture, as images name it.
    pub(super) architecture: &'static str,
    /// Its files.
    pub(super) tree: Tree,
    /// What it runs.
    pub(super) entrypoint: Vec<String>,
    /// The arguments, if no others are given.
    pub(super) arguments: Vec<String>,
    /// What is said about it.
    pub(super) labels: BTreeMap<&'static str, String>,
}

/// An archive with the images of one name, one for each architecture.
pub(super) fn archive(name: &str, tag: &str, images: &[Image]) -> Result<Vec<u8>> {
    let mut blobs = Blobs::default();
    let manifests = images.iter().map(|image| blobs.image(image)).collect::<Result<Vec<_>>>()?;
    let mut top = match manifests.as_slice() {
        [one] => one.clone(),
        _ => {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
            blobs.put(INDEX, index.to_string().into_bytes())
        }
    };
    top["annotations"] = json!({
        "io.containerd.image.name": format!("{name}:{tag}"),
        "org.opencontainers.image.ref.name": tag,
    });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]});
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, "oci-layout", EntryType::Regular, 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut tar, "index.json", EntryType::Regular, 0o644, index.to_string().as_bytes())?;
    for folder in ["blobs", "blobs/sha256"] {
        append(&mut tar, folder, EntryType::Directory, 0o755, &[])?;
    }
    for (hash, bytes) in &blobs.0 {
        append(&mut tar, &format!("blobs/sha256/{hash}"), EntryType::Regular, 0o644, bytes)?;
    }
    tar.into_inner().context("an archive cannot be written")
}

/// What the archive holds, by its digest.
#[derive(Debug, Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Takes the parts of an image, and describes its manifest.
    fn image(&mut self, image: &Image) -> Result<Value> {
        let tar = image.tree.tar()?;
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        gzip.write_all(&tar)?;
        let layer = self.put(LAYER, gzip.finish()?);
        let config = json!({
            "architecture": image.architecture,
            "os": "linux",
            "config": {
                "User": "0:0",
                "WorkingDir": "/",
                "Entrypoint": image.entrypoint,
                "Cmd": image.arguments,
                "Labels": image.labels,
                "StopSignal": "SIGTERM",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&tar))]},
        });
        let config = self.put(CONFIG, config.to_string().into_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut manifest = self.put(MANIFEST, manifest.to_string().into_bytes());
        manifest["platform"] = json!({"architecture": image.architecture, "os": "linux"});
        Ok(manifest)
    }

    fn put(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let hash = sha256(&bytes);
        let described = json!({"mediaType": kind, "digest": format!("sha256:{hash}"), "size": bytes.len()});
        self.0.insert(hash, bytes);
        described
    }
}

/// Digest in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes).with_context(|| format!("{path} cannot be put into an archive"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn image(architecture: &'static str) -> Image {
        let mut tree = Tree::default();
        tree.file("usr/bin/x", 0o755, "program");
        tree.folder("tmp", 0o1777);
        Image {
            architecture,
            tree,
            entrypoint: vec!["/usr/bin/x".to_owned()],
            arguments: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (path, bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn the_same_files_give_the_same_bytes_in_whatever_order_they_come() {
        let mut other = image("amd64");
        other.tree = Tree::default();
        other.tree.folder("tmp", 0o1777);
        other.tree.file("usr/bin/x", 0o755, "program");
        assert_eq!(archive("a/x", "1", &[image("amd64")]).unwrap(), archive("a/x", "1", &[other]).unwrap());
    }

    #[test]
    fn every_blob_is_what_its_digest_says_and_every_reference_is_there() {
        let files = files(&archive("a/x", "1", &[image("amd64"), image("arm64")]).unwrap());
        let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let blob = |value: &Value| {
            let hash = value["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &files[&format!("blobs/sha256/{hash}")];
            assert_eq!(sha256(bytes), hash);
            assert_eq!(value["size"], bytes.len());
            bytes.clone()
        };
        let top = &parse(&files["index.json"])["manifests"][0];
        assert_eq!(top["annotations"]["io.containerd.image.name"], "a/x:1");
        let index = parse(&blob(top));
        let platforms: Vec<_> =
            index["manifests"].as_array().unwrap().iter().map(|one| one["platform"]["architecture"].clone()).collect();
        assert_eq!(platforms, ["amd64", "arm64"]);
        for manifest in index["manifests"].as_array().unwrap() {
            let manifest = parse(&blob(manifest));
            let config = parse(&blob(&manifest["config"]));
            let layer = blob(&manifest["layers"][0]);
            let mut tar = Vec::new();
            flate2::read::GzDecoder::new(layer.as_slice()).read_to_end(&mut tar).unwrap();
            assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&tar)));
            assert!(tar::Archive::new(tar.as_slice()).entries().unwrap().all(|entry| {
                let entry = entry.unwrap();
                (entry.header().mtime().unwrap(), entry.header().uid().unwrap()) == (0, 0)
            }));
        }
    }

    #[test]
    fn an_image_of_one_architecture_needs_no_index_of_its_own() {
        let files = files(&archive("a/x", "1", &[image("amd64")]).unwrap());
        let top: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(top["manifests"][0]["mediaType"], MANIFEST);
    }
}
