//! The fields of a document as somebody wrote them, taken out one after another: each is of the right kind, or the
//! error says where it is, what was found there and what would be right.
//!
//! What must not live here: which fields there are; each kind of resource says that of itself.

use crate::name::Labels;
use crate::nearest::hint;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Where it is: `spec.subnets[1]`.
    pub field: String,
    /// What was found there, and what would be right: one line.
    pub problem: String,
}

impl FieldError {
    /// An error at a field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// A mapping all of whose fields are known.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    path: &'a str,
    values: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    /// The fields of a mapping at `path`, which is empty for the document itself. A field that is not `known` is refused
    /// with the nearest one that is. Nothing at all is a mapping without fields.
    pub fn of(value: Option<&'a Value>, path: &'a str, known: &[&str]) -> Result<Self, FieldError> {
        let values = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(values)) => Some(values),
            Some(other) => return Err(wrong(path, other, "write a mapping, fields with their values")),
        };
        let fields = Self { path, values };
        match values.and_then(|values| values.keys().find(|key| !known.contains(&key.as_str()))) {
            Some(unknown) if known.is_empty() => {
                Err(fields.refuse(unknown, "there is no such field: nothing can be written here"))
            }
            Some(unknown) => {
                Err(fields.refuse(unknown, format!("there is no such field; {}", hint(unknown, known))))
            }
            None => Ok(fields),
        }
    }

    /// What a field holds; nothing where it is left empty.
    pub fn value(&self, field: &str) -> Option<&'a Value> {
        self.values?.get(field).filter(|value| !value.is_null())
    }

    /// An error at one of the fields.
    pub fn refuse(&self, field: &str, problem: impl Into<String>) -> FieldError {
        FieldError::new(self.path_of(field), problem)
    }

    fn path_of(&self, field: &str) -> String {
        join(self.path, field)
    }

    /// Text that `parse` reads.
    pub fn text<T, E: fmt::Display>(
        &self,
        field: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, FieldError> {
        self.value(field).map(|value| text(&self.path_of(field), value, parse)).transpose()
    }

    /// A list of texts that `parse` reads. None may be there twice.
    pub fn texts<T: PartialEq, E: fmt::Display>(
        &self,
        field: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<Vec<T>>, FieldError> {
        let list = match self.value(field) {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(wrong(&self.path_of(field), other, "write a list")),
        };
        let mut read = Vec::new();
        for (position, value) in list.iter().enumerate() {
            let path = format!("{}[{position}]", self.path_of(field));
            let one = text(&path, value, &parse)?;
            if read.contains(&one) {
                return Err(FieldError::new(path, format!("{value} is there twice: write it once")));
            }
            read.push(one);
        }
        Ok(Some(read))
    }

    /// One of some words, each with what it means.
    pub fn word<T: Copy>(&self, field: &str, words: &[(&str, T)]) -> Result<Option<T>, FieldError> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.text(field, |found| {
            let known = words.iter().find(|(word, _)| *word == found).map(|(_, meaning)| *meaning);
            known.ok_or_else(|| format!("{found:?} is not known here; {}", hint(found, &names)))
        })
    }

    /// True or false.
    pub fn flag(&self, field: &str) -> Result<Option<bool>, FieldError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong(&self.path_of(field), other, "write true or false")),
        }
    }

    /// A whole number inside bounds, both of which may be. `unit` is what it counts.
    pub fn number(&self, field: &str, least: u32, most: u32, unit: &str) -> Result<Option<u32>, FieldError> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let right = format!("write a whole number of {unit} from {least} to {most}");
                Err(wrong(&self.path_of(field), value, &right))
            }
        }
    }

    /// Texts by keys that `parse` reads.
    pub fn mapping<K: Ord, E: fmt::Display>(
        &self,
        field: &str,
        parse: impl Fn(&str) -> Result<K, E>,
    ) -> Result<Option<BTreeMap<K, String>>, FieldError> {
        let path = self.path_of(field);
        let values = match self.value(field) {
            None => return Ok(None),
            Some(Value::Object(values)) => values,
            Some(other) => return Err(wrong(&path, other, "write a mapping, keys with their texts")),
        };
        let read = values.iter().map(|(key, value)| {
            let path = join(&path, key);
            let parsed = parse(key).map_err(|error| FieldError::new(path.clone(), error.to_string()))?;
            Ok((parsed, text(&path, value, |text| Ok::<_, FieldError>(text.to_owned()))?))
        });
        read.collect::<Result<_, _>>().map(Some)
    }

    /// Labels: keys that are not empty, with their texts.
    pub fn labels(&self, field: &str) -> Result<Option<Labels>, FieldError> {
        self.mapping(field, |key| match key {
            "" => Err("a label's key is empty: write one, like role: web"),
            key => Ok(key.to_owned()),
        })
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn text<T, E: fmt::Display>(
    path: &str,
    value: &Value,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, FieldError> {
    match value {
        Value::String(text) => parse(text).map_err(|error| FieldError::new(path, error.to_string())),
        // Quotes help only if what is in them is right.
        Value::Bool(_) | Value::Number(_) => match parse(&value.to_string()) {
            Ok(_) => Err(wrong(path, value, &format!("write a text, in quotes: \"{value}\""))),
            Err(error) => Err(FieldError::new(path, error.to_string())),
        },
        _ => Err(wrong(path, value, "write a text")),
    }
}

/// An error that tells what was found and what would be right.
fn wrong(path: &str, found: &Value, right: &str) -> FieldError {
    let found = match found {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the value {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(value) => format!("the text {value:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    };
    FieldError::new(if path.is_empty() { "document" } else { path }, format!("found {found}: {right}"))
}
