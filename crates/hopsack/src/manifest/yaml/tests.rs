use super::*;
use proptest::prelude::*;
use serde_json::json;

fn one(text: &str) -> Value {
    let documents = read(text).unwrap();
    let [document] = documents.as_slice() else { panic!("{documents:?}") };
    document.value.clone()
}

#[test]
fn what_is_not_in_quotes_is_a_number_a_truth_or_nothing_only_if_yaml_1_2_says_so() {
    for (text, value) in [
        ("yes", json!("yes")),
        ("no", json!("no")),
        ("true", json!(true)),
        ("'true'", json!("true")),
        ("12", json!(12)),
        ("-3", json!(-3)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("1e3", json!(1000.0)),
        ("10.32", json!(10.32)),
        ("10.32.0.0/24", json!("10.32.0.0/24")),
        ("fd00::/64", json!("fd00::/64")),
        ("02:42:10:20:00:05", json!("02:42:10:20:00:05")),
        ("2026-11-21", json!("2026-11-21")),
        (".inf", json!(".inf")),
        ("1e999", json!("1e999")),
        ("0x+1", json!("0x+1")),
    ] {
        assert_eq!(one(&format!("a: {text}")), json!({ "a": value }), "{text}");
    }
    for text in ["", "~", "null"] {
        assert_eq!(one(&format!("a: {text}")), json!({ "a": null }), "{text:?}");
    }
}

#[test]
fn every_field_knows_its_line() {
    let text = "# one\na:\n  b: 1\n  c:\n    - x\n    - y: 2\n---\nz: 1\n";
    let documents = read(text).unwrap();
    let lines = ["a", "a.b", "a.c", "a.c[0]", "a.c[1]", "a.c[1].y"].map(|field| documents[0].line(field));
    assert_eq!(lines, [2, 3, 4, 5, 6, 6]);
    assert_eq!(documents[0].line("a.missing.deep"), 2, "that of what is around it");
    assert_eq!(documents[1].line("z"), 8);
}

#[test]
fn documents_that_hold_nothing_do_not_count_and_a_list_is_as_many_as_its_items() {
    assert_eq!(read("").unwrap(), []);
    assert_eq!(read("---\n# only a comment\n---\n...\n").unwrap(), []);
    let listed = read("[\n{\"a\": 1},\n\t{\"b\": [2]}\n]").unwrap();
    assert_eq!(
        listed.iter().map(|document| document.value.clone()).collect::<Vec<_>>(),
        [json!({"a": 1}), json!({"b": [2]})]
    );
    assert_eq!((listed[0].line("a"), listed[1].line("b[0]")), (2, 3));
}

#[test]
fn what_yaml_has_beyond_values_is_refused() {
    for (text, at, words) in [
        ("a: &x 1\nb: *x", 2, "an alias, *name, is not followed here"),
        ("*x", 1, "this is no YAML"),
        ("a: !secret x", 1, "a tag"),
        ("a: 1\nb: 2\na: 3", 3, "\"a\" is there twice, first on line 1"),
        ("? [1]\n: 2", 1, "a field's name has to be a text"),
        ("a: [1, 2", 1, "this is no YAML"),
        ("a:\n\t- 1", 2, "this is no YAML"),
        ("a: \"x", 1, "this is no YAML"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.problem.contains(words), "{text:?}: {error:?}");
        assert_eq!(error.line, at, "{text:?}: {error:?}");
    }
}

#[test]
fn depth_without_end_is_refused() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        assert!(read(&text).is_err());
    }
}

#[test]
fn a_document_is_written_as_people_write_it() {
    let document = json!({
        "kind": "Network",
        "metadata": { "name": "web", "labels": { "on": "yes", "tier": "front end" } },
        "spec": { "subnets": ["10.32.4.0/24", "fd00::/64"], "mtu": 1400, "reserved": {}, "mac": "02:42:10:20:00:05" },
    });
    let text = "kind: Network\nmetadata:\n  labels:\n    \"on\": \"yes\"\n    tier: \"front end\"\n  name: web\nspec:\n  \
                mac: \"02:42:10:20:00:05\"\n  mtu: 1400\n  reserved: {}\n  subnets:\n    - 10.32.4.0/24\n    - fd00::/64\n";
    assert_eq!(write(&[document.clone(), document]), format!("{text}---\n{text}"));
}

fn values() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![any::<String>(), "[ -~]{0,12}", "[0-9a-fx.:+eE-]{0,8}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        texts.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ -~\\PC]{0,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(values in prop::collection::btree_map("[a-z]{1,4}", values(), 1..4)) {
        let document = Value::Object(values.into_iter().collect());
        let text = write(&[document.clone(), document.clone()]);
        let read: Vec<Value> = read(&text).map_err(|error| TestCaseError::fail(format!("{error:?} in\n{text}")))?
            .into_iter().map(|document| document.value).collect();
        prop_assert_eq!(read, vec![document.clone(), document], "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~\\n\\t\\PC]{0,80}") {
        let _ = read(&text);
    }
}
