//! What the documents say of tests: those that they name exist.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Where the table's short paths begin.
const DOCKER: &str = "crates/hopsack/tests/e2e/docker";

/// The file of a test and its name, of what the table has between backquotes: `module::name`, `path.rs::name` or
/// `path.rs` alone.
fn place(named: &str) -> (String, &str) {
    let (file, name) = named.split_once("::").unwrap_or((named, ""));
    let whole = file.strip_suffix(".rs").map(|_| file.to_owned());
    (whole.unwrap_or_else(|| format!("{DOCKER}/{file}.rs")), name)
}

#[test]
fn every_test_that_the_chapter_about_docker_names_exists() {
    let chapter = fs::read_to_string(Path::new(ROOT).join("docs/docker.md")).unwrap();
    let (_, table) = chapter.split_once("| promise | test |").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.ends_with("` |")).collect();
    assert!(rows.len() > 20, "{rows:#?}");
    for row in rows {
        let named = row.trim_end_matches("` |").rsplit('`').next().unwrap();
        let (file, name) = place(named);
        let text = fs::read_to_string(Path::new(ROOT).join(&file))
            .unwrap_or_else(|_| panic!("{file}: no such file"));
        assert!(name.is_empty() || text.contains(&format!("fn {name}()")), "{named}: no such test in {file}");
    }
}
