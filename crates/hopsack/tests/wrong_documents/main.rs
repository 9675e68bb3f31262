//! Wrong documents of resources, each with the one line that it gets. A new field or kind brings its rows.
//!
//! Here is what the program tells without an agent. What an agent finds wrong beside all that it knows is in the
//! agent's simulation (`resources`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod rows;

use rows::{DOCUMENTS, NETWORKS, POOLS, Row, YAML};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where nobody listens: who gets there has taken the document for right.
const NOWHERE: &str = "/nowhere/api.sock";

/// Types a command with something on standard input. Gives its status and the line on standard error.
fn told(words: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hopsack"))
        .args(["--socket", NOWHERE])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who refuses its words does not read.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing was done");
    let told = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), told.trim_end().to_owned())
}

/// Each row, with what stands before its text, through every command that takes documents.
fn check(rows: &[Row], before: &str) {
    let mut wrong = Vec::new();
    for (position, (text, expected)) in rows.iter().enumerate() {
        let commands = ["apply", "create", "replace", "delete"];
        let words = [commands[position % commands.len()], "-f", "-"];
        let (status, told) = told(&words, format!("{before}{text}\n").as_bytes());
        let rest = told.strip_prefix("error: standard input").unwrap_or(&told);
        let rest = rest.strip_prefix(", ").unwrap_or(rest);
        if status != Some(1) || rest != *expected {
            wrong.push(format!("{text:?}\n status   {status:?}\n told     {rest}\n expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn head(kind: &str, name: &str) -> String {
    format!("apiVersion: hopsack/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n  ")
}

#[test]
fn what_is_no_yaml_is_told_with_its_line() {
    check(YAML, "");
}

#[test]
fn a_wrong_document_is_told_with_document_line_and_field_and_what_would_be_right() {
    check(DOCUMENTS, "");
    check(POOLS, &head("Pool", "lab"));
    check(NETWORKS, &head("Network", "web"));
}

#[test]
fn right_documents_get_as_far_as_the_agent() {
    let spec = "subnets: [10.99.0.0/24, fd99::/64]\n  ranges: [10.99.0.128/25]\n  gateways: [10.99.0.9]\n  \
                reserved: {10.99.0.7: router}\n  isolation: none\n  internal: false\n  exit: docker\n  mtu: 1400\n";
    let network = head("Network", "web") + spec;
    let pool = head("Pool", "lab")
        + "cidr: 10.99.0.0/16\n  natOutgoing: false\n  disabled: true\nstatus: {any: 1}\n";
    let host = "apiVersion: hopsack/v1\nkind: Host\nmetadata: {name: h1, labels: {rack: \"5\", on: yes}}\n";
    let (status, told) =
        told(&["apply", "-f", "-"], [&network, &pool, host].map(String::from).join("---\n").as_bytes());
    assert_eq!(status, Some(3), "{told}");
}

#[test]
fn the_documents_of_the_documentation_are_right_and_name_every_field() {
    let chapter = include_str!("../../../../docs/resources.md");
    let documents: Vec<&str> =
        chapter.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(documents.len(), 4);
    let (status, told) = told(&["apply", "-f", "-"], documents.join("---\n").as_bytes());
    assert_eq!(status, Some(3), "{told}");
    // Who gives a field that there is not is told all that there are.
    for kind in ["Pool", "Network"] {
        let (_, told) = self::told(&["apply", "-f", "-"], (head(kind, "x") + "zzzzzzzzzzzz: 1\n").as_bytes());
        let known = told.split("known: ").nth(1).unwrap_or_else(|| panic!("{told}"));
        for field in known.split(", ") {
            assert!(
                chapter.contains(&format!("\n| `{field}` |")),
                "{field} of {kind} is not in docs/resources.md"
            );
        }
    }
}

/// A folder with a file of each content.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn told_of(path: &Path) -> (Option<i32>, String) {
    told(&["apply", "-f", path.to_str().unwrap()], b"")
}

#[test]
fn what_cannot_be_read_is_told_by_the_name_of_its_file() {
    let good = head("Pool", "lab") + "cidr: 10.99.0.0/16\n";
    let long = format!("# {}", "x".repeat(1 << 20));
    let at = |folder: &tempfile::TempDir, name: &str| folder.path().join(name).display().to_string();

    let bad = folder(&[("latin.yaml", b"name: w\xe9b"), ("long.yaml", long.as_bytes()), ("none.yaml", b"")]);
    for (name, expected) in [
        ("latin.yaml", "is not text in UTF-8: write it as such"),
        ("long.yaml", "is longer than 1048576 bytes: give it in several parts"),
        ("none.yaml", "has no document: write one with apiVersion, kind, metadata and spec"),
    ] {
        let told = told_of(&bad.path().join(name));
        assert_eq!(told, (Some(1), format!("error: {} {expected}", at(&bad, name))));
    }
    let (status, told) = told_of(Path::new("/nowhere/web.yaml"));
    assert_eq!(
        (status, told.as_str()),
        (Some(1), "error: cannot read /nowhere/web.yaml: No such file or directory (os error 2)")
    );

    let empty = folder(&[("notes.txt", b"x")]);
    let expected = format!(
        "error: folder {} has no file that ends with .yaml, .yml or .json: give the files themselves",
        empty.path().display()
    );
    assert_eq!(told_of(empty.path()), (Some(1), expected));

    let two =
        folder(&[("a.yaml", good.as_bytes()), ("b.yml", b"# none\n---\nkind: Pool\n"), ("c.txt", b"x")]);
    let expected =
        format!("error: {}, document 1, line 3: apiVersion: is missing: write hopsack/v1", at(&two, "b.yml"));
    assert_eq!(told_of(two.path()), (Some(1), expected));
}

#[test]
fn wrong_words_around_documents_are_refused() {
    for (words, expected) in [
        (
            &["get", "netwrok"][..],
            "error: invalid value 'netwrok' for '<KIND>': there is no kind \"netwrok\"; did you mean network?",
        ),
        (
            &["get", "pool,service"],
            "error: invalid value 'pool,service' for '<KIND>': there is no kind \"service\"; known: pool, network, host, endpoint, all",
        ),
        (
            &["delete", "all", "x"],
            "error: invalid value 'all' for '[KIND]': there is no kind \"all\"; known: pool, network, host",
        ),
        (
            &["delete", "endpoint", "x"],
            "error: invalid value 'endpoint' for '[KIND]': an endpoint goes with its container: end that, or type \
             `hopsack detach`",
        ),
        (
            &["pool", "create", "lab", "10.99.0.1/16"],
            "error: invalid value '10.99.0.1/16' for '<CIDR>': 10.99.0.1/16 has host bits set: did you mean 10.99.0.0/16?",
        ),
    ] {
        assert_eq!(told(words, b""), (Some(2), expected.to_owned()), "{words:?}");
    }
    for words in
        [&["apply"][..], &["delete"], &["delete", "network"], &["delete", "network", "web", "-f", "-"]]
    {
        let (status, told) = told(words, b"");
        assert!(status == Some(2) && told.starts_with("error: "), "{words:?}: {told}");
    }
}
