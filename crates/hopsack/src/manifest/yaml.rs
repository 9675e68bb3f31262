//! YAML 1.2 with its core schema, as far as documents of resources need it: read into values that know their lines, and
//! written so that reading it gives the same.
//!
//! What must not live here: what a document means. Anchors and tags are refused: nothing in a resource needs them, and
//! what an alias stands for cannot be told by looking at its line.

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A document, and the line of each of its fields, by the path that errors name it with.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it holds.
    pub value: Value,
    lines: BTreeMap<String, usize>,
}

impl Document {
    /// The line of a field, counted from 1; of one that is missing, that of the nearest field around it.
    pub fn line(&self, field: &str) -> usize {
        let mut path = field;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            path = match path.rfind(['.', '[']) {
                Some(end) => &path[..end],
                None if path.is_empty() => return 1,
                None => "",
            };
        }
    }
}

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// Where, counted from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// All documents of a text but those that hold nothing. The items of a list are documents of their own, so that what
/// is printed as JSON is read as well.
pub fn read(text: &str) -> Result<Vec<Document>, YamlError> {
    let mut reader = Reader { events: Parser::new_from_str(text), lines: BTreeMap::new() };
    let mut documents = Vec::new();
    while let Some((event, span)) = reader.next()? {
        let list = matches!(event, Event::SequenceStart(..));
        let node = match event {
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(..) => {
                reader.node(event, span, "")?
            }
            _ => continue,
        };
        let lines = std::mem::take(&mut reader.lines);
        match node {
            Value::Null => {}
            Value::Array(items) if list => {
                let items = items.into_iter().enumerate().map(|(position, value)| {
                    let place = format!("[{position}]");
                    let inside = lines.iter().filter_map(|(path, line)| {
                        let rest = path.strip_prefix(&place)?;
                        Some((rest.strip_prefix('.').unwrap_or(rest).to_owned(), *line))
                    });
                    Document { value, lines: inside.collect() }
                });
                documents.extend(items);
            }
            value => documents.push(Document { value, lines }),
        }
    }
    Ok(documents)
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    lines: BTreeMap<String, usize>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, YamlError> {
        let wrong = |error: ScanError| YamlError {
            line: error.marker().line(),
            problem: format!("this is no YAML: {}", error.info()),
        };
        self.events.next().transpose().map_err(wrong)
    }

    /// The next event inside of something that has begun.
    fn inside(&mut self, around: Span) -> Result<(Event<'a>, Span), YamlError> {
        let unfinished = || YamlError { line: line(around), problem: "this does not end".to_owned() };
        self.next()?.ok_or_else(unfinished)
    }

    fn node(&mut self, event: Event<'a>, span: Span, path: &str) -> Result<Value, YamlError> {
        let refuse = |problem: &str| Err(YamlError { line: line(span), problem: problem.to_owned() });
        self.lines.entry(path.to_owned()).or_insert_with(|| line(span));
        match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, _, Some(_))
            | Event::MappingStart(_, _, Some(_)) => refuse("a tag, !name, means nothing here: leave it out"),
            Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(plain(&text)),
            Event::Scalar(text, ..) => Ok(Value::String(text.into_owned())),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.inside(span)? {
                        (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                        (event, at) => {
                            let path = format!("{path}[{}]", items.len());
                            items.push(self.node(event, at, &path)?);
                        }
                    }
                }
            }
            Event::MappingStart(..) => self.mapping(span, path),
            Event::Alias(..) => refuse("an alias, *name, is not followed here: write what it stands for"),
            _ => refuse("a value was expected here"),
        }
    }

    fn mapping(&mut self, span: Span, path: &str) -> Result<Value, YamlError> {
        let mut fields = Map::new();
        loop {
            let (event, at) = self.inside(span)?;
            let refuse = |problem: String| Err(YamlError { line: line(at), problem });
            let key = match event {
                Event::MappingEnd => return Ok(Value::Object(fields)),
                Event::Scalar(text, _, _, None) => text.into_owned(),
                Event::Alias(..) => {
                    return refuse(
                        "an alias, *name, is not followed here: write what it stands for".to_owned(),
                    );
                }
                _ => return refuse("a field's name has to be a text".to_owned()),
            };
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if fields.contains_key(&key) {
                let first = self.lines.get(&path).copied().unwrap_or_else(|| line(span));
                return refuse(format!("{key:?} is there twice, first on line {first}: write it once"));
            }
            self.lines.insert(path.clone(), line(at));
            let (event, at) = self.inside(span)?;
            let value = self.node(event, at, &path)?;
            fields.insert(key, value);
        }
    }
}

fn line(span: Span) -> usize {
    span.start.line()
}

/// What a text without quotes stands for (YAML 1.2.2, section 10.3.2). Numbers that JSON has not are texts.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let radix = [("0o", 8), ("0x", 16)].into_iter().find_map(|(prefix, radix)| {
        let digits = text.strip_prefix(prefix).filter(|digits| !digits.starts_with('+'))?;
        u64::from_str_radix(digits, radix).ok()
    });
    if let Some(number) = radix {
        return Some(number.into());
    }
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | 'e' | 'E');
    let begins = text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !begins || !text.chars().all(numeric) {
        return None;
    }
    let whole = text.parse().map(u64::into).or_else(|_| text.parse().map(i64::into));
    whole.ok().or_else(|| Number::from_f64(text.parse().ok()?))
}

/// Documents as text, each after a line of its own.
pub fn write(documents: &[Value]) -> String {
    let mut text = String::new();
    for (position, document) in documents.iter().enumerate() {
        if position > 0 {
            text.push_str("---\n");
        }
        block(document, 0, &mut text);
    }
    text
}

/// A value from the beginning of a line.
fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                indent(depth, text);
                scalar(key, text);
                text.push(':');
                behind(value, depth + 1, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, text);
                text.push('-');
                behind(item, depth + 1, text);
            }
        }
        flat => {
            inline(flat, text);
            text.push('\n');
        }
    }
}

/// A value behind a key or a dash.
fn behind(value: &Value, depth: usize, text: &mut String) {
    let nested = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        text.push('\n');
        block(value, depth, text);
    } else {
        text.push(' ');
        inline(value, text);
        text.push('\n');
    }
}

fn inline(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => scalar(string, text),
        Value::Object(_) => text.push_str("{}"),
        Value::Array(_) => text.push_str("[]"),
        // As JSON has them.
        Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

fn indent(depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
}

/// A text, in quotes where it would be taken for something else, also by readers of YAML 1.1.
fn scalar(string: &str, text: &mut String) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | ':');
    // With one colon alone, YAML 1.1 reads numbers of base 60.
    let colons = string.contains(':') && (!string.contains("::") || string.ends_with(':'));
    let begins = string.starts_with(|c: char| c.is_ascii_alphanumeric());
    let words = ["y", "n", "yes", "no", "on", "off"];
    let other = words.iter().any(|word| string.eq_ignore_ascii_case(word)) || !plain(string).is_string();
    if begins && string.chars().all(fits) && !colons && !other {
        text.push_str(string);
        return;
    }
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            // Not printable, or a line break to some readers (YAML 1.2.2, section 5.1).
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests;
