//! The archive: a compressed tar file that only its owner reads.

use super::contents::Part;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tar::{Builder, Header};

/// Writes all parts below a folder of that name. A file that is there already is left alone.
pub fn write(path: &Path, folder: &str, now: u64, parts: &[Part]) -> io::Result<()> {
    let bytes = pack(folder, now, parts)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&bytes).inspect_err(|_| {
        // Half an archive is none; the failure itself is told.
        let _ = fs::remove_file(path);
    })
}

fn pack(folder: &str, now: u64, parts: &[Part]) -> io::Result<Vec<u8>> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for Part { name, text } in parts {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        builder.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())?;
    }
    builder.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use tar::Archive;

    #[test]
    fn only_its_owner_reads_the_archive_and_no_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.tar.gz");
        let parts = [Part { name: "a.txt".to_owned(), text: "what is so".to_owned() }];
        write(&path, "report", 7, &parts).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut archive = Archive::new(GzDecoder::new(fs::File::open(&path).unwrap()));
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some("report/a.txt"));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "what is so");
        let again = write(&path, "report", 8, &parts).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }
}
