//! The archive that a kernel unpacks into its first root: cpio in the "new ASCII" form (cpio(5), and
//! Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A `cpio` archive in the making.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
/// Everything begins at a multiple of so many bytes.
const ALIGNMENT: usize = 4;

impl Archive {
    /// A file with an absolute path. Its folders are made.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, FILE | mode, content);
    }

    /// A symbolic link at an absolute path.
    pub(crate) fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK | 0o777, to.as_bytes());
    }

    /// A folder, and those that it lies in.
    pub(crate) fn folder(&mut self, path: &str) {
        let path = path.trim_start_matches('/');
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
        self.write(path, FOLDER | 0o755, &[]);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.write("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        let path = path.trim_start_matches('/');
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.write(path, mode, content);
    }

    fn write(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (size, name_size) = (content.len() as u32, path.len() as u32 + 1);
        // Inode, mode, user, group, links, time, size, four device numbers, length of the name, checksum (not used).
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            let _infallible = write!(header, "{field:08x}");
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths, modes and contents, read back by the rules of the format.
    fn read(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let (mut at, mut entries) = (0, Vec::new());
        let padded = |at: usize| at.next_multiple_of(4);
        loop {
            let header = std::str::from_utf8(&archive[at..at + 110]).unwrap();
            assert!(header.starts_with("070701"), "{header}");
            let field = |n: usize| u32::from_str_radix(&header[6 + 8 * n..14 + 8 * n], 16).unwrap();
            let name_end = at + 110 + field(11) as usize;
            let name = std::str::from_utf8(&archive[at + 110..name_end - 1]).unwrap();
            if name == "TRAILER!!!" {
                return entries;
            }
            let content = &archive[padded(name_end)..][..field(6) as usize];
            entries.push((name.to_owned(), field(1), content.to_vec()));
            at = padded(padded(name_end) + content.len());
        }
    }

    #[test]
    fn folders_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file("/usr/bin/a", 0o755, b"a");
        archive.link("/usr/bin/b", "a");
        archive.file("/init", 0o755, b"#!");
        let entries = read(&archive.finish());
        let names: Vec<_> = entries.iter().map(|entry| entry.0.as_str()).collect();
        assert_eq!(names, ["usr", "usr/bin", "usr/bin/a", "usr/bin/b", "init"]);
        assert_eq!(entries[2], ("usr/bin/a".to_owned(), 0o100_755, b"a".to_vec()));
        assert_eq!(entries[3], ("usr/bin/b".to_owned(), 0o120_777, b"a".to_vec()));
    }
}
