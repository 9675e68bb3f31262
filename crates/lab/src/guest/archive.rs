//! The archive that a kernel unpacks as its first file system: cpio in the "newc" format (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst). What must not live here: what goes into it.

use std::collections::BTreeSet;
use std::path::{Component, Path};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that grows. What is put in twice is there once, as it was put first.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds a folder and those that it lies in.
    pub(super) fn folder(&mut self, path: &Path) {
        let mut name = String::new();
        for part in path.components() {
            let Component::Normal(part) = part else { continue };
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(&part.to_string_lossy());
            self.entry(&name, DIRECTORY, &[]);
        }
    }

    /// Adds a file that may be run.
    pub(super) fn file(&mut self, path: &Path, content: &[u8]) {
        self.inside(path, PROGRAM, content);
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &Path, target: &str) {
        self.inside(path, LINK, target.as_bytes());
    }

    fn inside(&mut self, path: &Path, mode: u32, content: &[u8]) {
        path.parent().iter().for_each(|folder| self.folder(folder));
        self.entry(path.to_string_lossy().trim_start_matches('/'), mode, content);
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        if self.names.insert(name.to_owned()) {
            self.write(name, mode, content);
        }
    }

    /// A head of 13 numbers of 8 hexadecimal digits, the name, and the content, each filled up to a multiple of 4.
    fn write(&mut self, name: &str, mode: u32, content: &[u8]) {
        let number = self.names.len();
        let head = [number, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in head {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.fill_up();
        self.bytes.extend_from_slice(content);
        self.fill_up();
    }

    fn fill_up(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The whole of it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.write("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Program;
    use std::fs;

    #[test]
    fn what_goes_in_comes_out() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/program"), b"12345");
        archive.file(Path::new("/a/b/program"), b"again");
        archive.link(Path::new("a/link"), "b/program");
        archive.folder(Path::new("/a/empty"));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("archive"), archive.finish()).unwrap();
        let unpack = format!("cd {} && busybox cpio -i <archive && a/link || true", folder.path().display());
        Program::new(["sh", "-c", &unpack]).run().unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a/link")).unwrap(), "12345");
        assert!(folder.path().join("a/empty").is_dir());
    }
}
