//! Documents of resources, from files, folders and standard input, each with its place, so that what is wrong with one
//! is told with file, document, line and field.
//!
//! What must not live here: what a document means (`hopsack_types::manifest`), and how YAML is read (`yaml`).

pub mod yaml;

use hopsack_types::manifest::{FieldError, Resource};
use serde_json::Value;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The longest file: ten thousand networks. An agent takes no longer request.
const LONGEST: u64 = 1 << 20;

/// File names that a folder is searched for.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Why documents are not read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or folder cannot be read.
    #[error("cannot read {name}: {source}")]
    Read {
        /// What.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A file is longer than anything sensible.
    #[error("{name} is longer than {LONGEST} bytes: give it in several parts")]
    TooLong {
        /// Which.
        name: String,
    },
    /// A file is not text.
    #[error("{name} is not text in UTF-8: write it as such")]
    NotText {
        /// Which.
        name: String,
    },
    /// A folder holds no such files.
    #[error("folder {} has no file that ends with .yaml, .yml or .json: give the files themselves", path.display())]
    EmptyFolder {
        /// Which.
        path: PathBuf,
    },
    /// A file holds no document.
    #[error("{name} has no document: write one with apiVersion, kind, metadata and spec")]
    Empty {
        /// Which.
        name: String,
    },
    /// A file is not YAML.
    #[error("{name}, line {line}: {problem}")]
    Yaml {
        /// Which.
        name: String,
        /// Where.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A document is wrong.
    #[error("{place}: {problem}")]
    Document {
        /// Where.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

/// A document with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The file.
    name: String,
    /// Which of its documents, counted from 1.
    number: usize,
    document: yaml::Document,
}

impl Placed {
    /// What it holds.
    pub const fn value(&self) -> &Value {
        &self.document.value
    }

    /// An error in it, at a field if that is known.
    pub fn error(&self, field: Option<&str>, problem: &str) -> ManifestError {
        let line = self.document.line(field.unwrap_or_default());
        let place = format!("{}, document {}, line {line}", self.name, self.number);
        let problem = match field {
            Some(field) => format!("{field}: {problem}"),
            None => problem.to_owned(),
        };
        ManifestError::Document { place, problem }
    }

    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |FieldError { field, problem }: FieldError| self.error(Some(&field), &problem);
        Resource::read(self.value()).map(drop).map_err(wrong)
    }
}

/// All documents of files, of folders (their files by name, without folders in them) and, for `-`, of standard input,
/// each checked by itself.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Placed>, ManifestError> {
    let mut all = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            all.extend(documents("standard input", io::stdin())?);
        } else if path.is_dir() {
            for file in files(path)? {
                all.extend(file_documents(&file)?);
            }
        } else {
            all.extend(file_documents(path)?);
        }
    }
    all.iter().try_for_each(Placed::check)?;
    Ok(all)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let failed = |source| ManifestError::Read { name: folder.display().to_string(), source };
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let fits = |path: &PathBuf| path.extension().is_some_and(|end| ENDINGS.iter().any(|known| end == *known));
    let mut files: Vec<PathBuf> = paths.filter(|path| fits(path) && !path.is_dir()).collect();
    files.sort();
    if files.is_empty() {
        return Err(ManifestError::EmptyFolder { path: folder.to_owned() });
    }
    Ok(files)
}

fn file_documents(path: &Path) -> Result<Vec<Placed>, ManifestError> {
    let name = path.display().to_string();
    let file = fs::File::open(path).map_err(|source| ManifestError::Read { name: name.clone(), source })?;
    documents(&name, file)
}

fn documents(name: &str, from: impl Read) -> Result<Vec<Placed>, ManifestError> {
    let owned = || name.to_owned();
    let mut bytes = Vec::new();
    let read = from.take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|source| ManifestError::Read { name: owned(), source })?;
    if bytes.len() as u64 > LONGEST {
        return Err(ManifestError::TooLong { name: owned() });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| ManifestError::NotText { name: owned() })?;
    let documents = yaml::read(text).map_err(|error| ManifestError::Yaml {
        name: owned(),
        line: error.line,
        problem: error.problem,
    })?;
    if documents.is_empty() {
        return Err(ManifestError::Empty { name: owned() });
    }
    let placed = documents.into_iter().enumerate();
    Ok(placed.map(|(position, document)| Placed { name: owned(), number: position + 1, document }).collect())
}
