//! What is taken out of a report: join tokens wherever they stand, and what labels say, since people put all kinds of
//! things there.

use serde_json::Value;

/// Stands where something was taken out.
const LEFT_OUT: &str = "(left out)";
/// Begins a join token.
const TOKEN: &str = "hopsack1.";

/// A text without tokens.
pub fn text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(TOKEN) {
        clean.push_str(&rest[..at]);
        clean.push_str(LEFT_OUT);
        let after = &rest[at + TOKEN.len()..];
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(after.len());
        rest = &after[end..];
    }
    clean.push_str(rest);
    clean
}

/// JSON without what labels say; their names stay.
pub fn json(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Object(labels) if name == "labels" => {
                        labels.values_mut().for_each(|label| *label = LEFT_OUT.into());
                    }
                    field => json(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(json),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as value;

    #[test]
    fn tokens_are_taken_out_wherever_they_stand() {
        let token = format!("hopsack1.{}.{}.{}", "ab".repeat(32), "cd".repeat(16), "ef".repeat(16));
        let log = format!("join 10.0.0.1 --token {token}\n\"{token}\", and more; {token}");
        assert_eq!(text(&log), "join 10.0.0.1 --token (left out)\n\"(left out)\", and more; (left out)");
        assert_eq!(text("hopsack 0.1.0"), "hopsack 0.1.0");
    }

    #[test]
    fn of_labels_only_the_names_stay() {
        let mut networks =
            value!([{"name": "web", "labels": {"password": "secret"}, "at": {"labels": {"a": "b"}}}]);
        json(&mut networks);
        let expected =
            value!([{"name": "web", "labels": {"password": LEFT_OUT}, "at": {"labels": {"a": LEFT_OUT}}}]);
        assert_eq!(networks, expected);
    }
}
