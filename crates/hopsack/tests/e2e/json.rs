//! What programs get: the keys that docs/json.md tells, no colours, the exit statuses that the help tells.

use crate::scene::{PROGRAM, SETTLED, Scene};
use hopsack_lab::{AGENT, HostKind, Inside, Topology, require, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");

/// What the page says of one place in an answer.
#[derive(Debug, Clone)]
struct Told {
    kind: String,
    /// Whether it may be missing or null.
    optional: bool,
}

/// The places in one command's answer, as paths like `hosts[].name`.
type Shape = BTreeMap<String, Told>;

/// The page, by command.
fn page() -> BTreeMap<String, Shape> {
    let text = fs::read_to_string(PAGE).unwrap();
    let sections = text.split("\n## `hopsack ").skip(1);
    sections.map(|section| (section.split('`').next().unwrap().to_owned(), shape(section))).collect()
}

fn shape(section: &str) -> Shape {
    let block = section.split("```").nth(1).unwrap().trim_start_matches("text");
    let place = |line: &str| {
        let (path, kind) = line.split_once(' ').unwrap();
        let told = Told { kind: kind.trim().to_owned(), optional: path.ends_with('?') };
        (path.trim_end_matches('?').to_owned(), told)
    };
    block.trim().lines().map(place).collect()
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Compares an answer, or a part of it, with the page; `wrong` gets what differs.
fn compare(value: &Value, path: &str, shape: &Shape, wrong: &mut Vec<String>) {
    if !path.is_empty() {
        match shape.get(path) {
            None => return wrong.push(format!("{path} is not on the page")),
            Some(told) if told.optional && value.is_null() => return,
            Some(told) if told.kind != kind(value) => {
                return wrong.push(format!("{path} is {} and not {}: {value}", kind(value), told.kind));
            }
            Some(_) => {}
        }
    }
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Array(items) => {
            items.iter().for_each(|item| compare(item, &format!("{path}[]"), shape, wrong));
        }
        Value::Object(fields) if shape.contains_key(&below("*")) => {
            fields.values().for_each(|field| compare(field, &below("*"), shape, wrong));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(key, field)| compare(field, &below(key), shape, wrong));
            let needed = shape.iter().filter(|(_, told)| !told.optional).map(|(at, _)| at);
            let missing = needed.filter(|at| {
                let key = at.strip_prefix(&below("")).filter(|key| !key.contains(['.', '[']));
                key.is_some_and(|key| !fields.contains_key(key))
            });
            wrong.extend(missing.map(|at| format!("{at} is missing")));
        }
        _ => {}
    }
}

/// Types a command on the first host with `-o json`, and compares its answer with the page's section of that name.
fn answers(scene: &Scene, page: &BTreeMap<String, Shape>, section: &str, words: &[&str]) -> Value {
    let output = scene.host("h1").exec(&[&[PROGRAM], words, &["-o", "json"]].concat()).unwrap();
    let value: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {} {}", output.stdout, output.stderr));
    let shape = page.get(section).unwrap_or_else(|| panic!("no section {section}"));
    let mut wrong = Vec::new();
    compare(&value, "", shape, &mut wrong);
    assert!(wrong.is_empty(), "{words:?}: {wrong:#?}\n{value:#}");
    value
}

#[test]
fn answers_for_programs_have_the_documented_keys_and_statuses_and_colour_is_for_terminals() {
    require!(Root, Nft);
    let scene = Scene::agents(Topology::numbered(2, &[], HostKind::Plain).unwrap());
    let page = page();
    let ask = |section: &str, words: &[&str]| answers(&scene, &page, section, words);
    ask("status", &["status"]);
    ask("init", &["init"]);
    ask("token create", &["token", "create", "--uses", "2"]);
    let (token, address) = (scene.token(), scene.host("h1").address().unwrap().to_string());
    let joined = scene.hopsack("h2", &["join", &address, "--token", &token, "-o", "json"]);
    let mut wrong = Vec::new();
    compare(&serde_json::from_str(&joined).unwrap(), "", &page["join"], &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
    scene.await_paths();
    ask("token ls", &["token", "ls"]);
    let wide =
        ["--subnet", "10.40.0.0/24", "--ip-range", "10.40.0.128/25", "--aux-address", "router=10.40.0.9"];
    let made = [&["network", "create", "web", "--label", "a=b", "--internal"], &wide[..]].concat();
    ask("network inspect", &made);
    ask("network inspect", &["network", "create", "plain"]);
    ask("network inspect", &["network", "set", "web", "--label", "c=d"]);
    let container = scene.host("h1").container("blue").unwrap();
    ask("attach", &["attach", "blue", "--network", "plain", "-p", "8080:80"]);
    for command in page.keys().filter(|command| command.ends_with(" ls") || command.starts_with("get ")) {
        ask(command, &command.split(' ').collect::<Vec<_>>());
    }
    ask("network inspect", &["network", "inspect", "web"]);
    ask("apply", &["pool", "create", "lab", "10.99.0.0/16", "--label", "a=b"]);
    ask("get pool", &["pool", "ls"]);
    ask("pool inspect", &["pool", "inspect", "lab"]);
    for command in ["apply", "replace", "delete"] {
        let write = format!("{PROGRAM} get pool lab -o yaml | {PROGRAM} {command} -f - -o json");
        let told: Value =
            serde_json::from_str(&scene.host("h1").run(&["sh", "-c", &write]).unwrap()).unwrap();
        let mut wrong = Vec::new();
        compare(&told, "", &page["apply"], &mut wrong);
        assert_eq!(wrong, Vec::<String>::new(), "{command}: {told:#}");
    }
    ask("ipam show", &["ipam", "show"]);
    ask("port", &["port"]);
    ask("doctor", &["doctor"]);
    ask("report", &["report", "-f", "/var/lib/r.tar.gz"]);
    ask("detach", &["detach", "blue", "--network", "plain"]);
    ask("network rm", &["network", "rm", "plain"]);
    let events = ask("events", &["events"]);
    assert!(events.as_array().unwrap().iter().any(|event| event["kind"] == "network-made"), "{events:#}");

    let host = scene.host("h1");
    // A terminal as a shell's user has one.
    let shown = |environment: &str| {
        host.run(&["script", "-qec", &format!("{environment} {PROGRAM} status"), "/dev/null"]).unwrap()
    };
    wait::until("all is well", SETTLED, || shown("NO_COLOR=").contains("\x1b[32mall is well\x1b[0m"))
        .unwrap();
    assert!(shown("NO_COLOR=1").starts_with("all is well"), "{}", shown("NO_COLOR=1"));
    assert!(scene.hopsack("h1", &["status"]).starts_with("all is well"), "a pipe is no terminal");

    let tokens = ask("token ls", &["token", "ls"]);
    ask("token revoke", &["token", "revoke", tokens[0]["id"].as_str().unwrap()]);
    scene.host("h2").stop(AGENT).unwrap();
    wait::until("h2 is silent", SETTLED, || {
        scene.status("h1")["faults"].to_string().contains("the agent of host h2 does not answer")
    })
    .unwrap();
    ask("host rm", &["host", "rm", "h2"]);

    let status = |words: &[&str]| host.exec(&[&[PROGRAM], words].concat()).unwrap().status.code();
    assert_eq!(status(&["network", "inspect", "none"]), Some(1));
    assert_eq!(status(&["network", "inspect"]), Some(2));
    assert_eq!(status(&["--help"]), Some(0));
    let denied = ["setpriv", "--reuid", "65534", "--clear-groups", PROGRAM, "status"];
    assert_eq!(host.exec(&denied).unwrap().status.code(), Some(3));
    host.stop(AGENT).unwrap();
    assert_eq!(status(&["status"]), Some(3));
    drop(container);
    scene.end();
}

#[test]
fn a_key_that_is_new_missing_or_of_another_type_is_found() {
    let shape = shape(
        "status`\n\n```text\na  string\nb[]?  object\nb  array\nb[].c  number\nd?  object\nd.*  string\n```\n",
    );
    let wrong = |text: &str| {
        let mut wrong = Vec::new();
        compare(&serde_json::from_str(text).unwrap(), "", &shape, &mut wrong);
        wrong
    };
    assert_eq!(wrong(r#"{"a": "x", "b": [{"c": 1}], "d": {"any": "y"}}"#), Vec::<String>::new());
    assert_eq!(wrong(r#"{"a": "x", "b": []}"#), Vec::<String>::new());
    assert_eq!(wrong(r#"{"b": [{}]}"#), ["b[].c is missing", "a is missing"]);
    assert_eq!(
        wrong(r#"{"a": 1, "b": [], "e": 1}"#),
        ["a is number and not string: 1", "e is not on the page"]
    );
    assert_eq!(wrong(r#"{"a": "x", "b": [], "d": {"any": 1}}"#), ["d.* is number and not string: 1"]);
}
