//! Results as text or JSON: named values in order, and lists that are printed as they are found.
//!
//! Nothing here holds more than one item of a list, so that the size of an image does not matter.

use ext4_cli::{Failure, Report};
use serde_json::{Map, Value};
use std::{
    fmt::{self, Write as _},
    io::{self, BufWriter, StdoutLock, Write},
};

/// Named values in order: aligned lines of text, or the members of a JSON object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<Field>);

#[derive(Clone, Debug)]
struct Field {
    name: String,
    /// `None` when it is in the text only.
    value: Option<Value>,
    /// `None` when it is in the JSON only.
    text: Option<String>,
}

impl Fields {
    /// No values.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A value that is its own text.
    pub(crate) fn put(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        let text = plain(&value);
        self.push(name, Some(value), Some(text))
    }

    /// A value that reads better as `text`.
    pub(crate) fn put_as(
        &mut self,
        name: &str,
        value: impl Into<Value>,
        text: impl fmt::Display,
    ) -> &mut Self {
        self.push(name, Some(value.into()), Some(text.to_string()))
    }

    /// A value for programs only.
    pub(crate) fn put_json(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.push(name, Some(value.into()), None)
    }

    /// A line for people only.
    pub(crate) fn put_text(&mut self, name: &str, text: impl fmt::Display) -> &mut Self {
        self.push(name, None, Some(text.to_string()))
    }

    /// What is damaged: always a member of the JSON, a line each in the text.
    pub(crate) fn put_damage(&mut self, damage: &[String]) -> &mut Self {
        self.put_json("damage", damage);
        for it in damage {
            self.put_text("damage", it);
        }
        self
    }

    fn push(&mut self, name: &str, value: Option<Value>, text: Option<String>) -> &mut Self {
        self.0.push(Field { name: name.to_owned(), value, text });
        self
    }

    /// As a JSON object.
    pub(crate) fn to_json(&self) -> Value {
        let members = self.0.iter().filter_map(|it| Some((it.name.clone(), it.value.clone()?)));
        Value::Object(members.collect::<Map<_, _>>())
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = || self.0.iter().filter_map(|it| Some((&it.name, it.text.as_ref()?)));
        let width = shown().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, text) in shown() {
            let mut lines = text.lines();
            writeln!(f, "{name:width$}  {}", lines.next().unwrap_or_default())?;
            for line in lines {
                writeln!(f, "{:width$}  {line}", "")?;
            }
        }
        Ok(())
    }
}

/// A JSON value as text, without quotes around a string.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let mut text = String::new();
            for item in items {
                let gap = if text.is_empty() { "" } else { " " };
                let _ = write!(text, "{gap}{}", plain(item));
            }
            text
        }
        other => other.to_string(),
    }
}

/// One document on standard output: fields, then lists item by item, then fields again.
///
/// As JSON it is one object; the items of a list take a line each.
#[derive(Debug)]
pub(crate) struct Document {
    out: BufWriter<StdoutLock<'static>>,
    is_json: bool,
    /// Whether a member of the object was printed.
    has_member: bool,
    /// How many items the list has that is open.
    open_list: Option<u64>,
}

impl Document {
    /// Begins the document.
    pub(crate) fn begin(report: &Report) -> Result<Self, Failure> {
        let out = BufWriter::new(io::stdout().lock());
        let is_json = report.is_json();
        let mut doc = Self { out, is_json, has_member: false, open_list: None };
        if is_json {
            doc.raw(b"{")?;
        }
        Ok(doc)
    }

    /// Whether what is printed is JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.is_json
    }

    /// Prints fields: lines, or members.
    pub(crate) fn fields(&mut self, fields: &Fields) -> Result<(), Failure> {
        self.end_list()?;
        if !self.is_json {
            return self.text(fields);
        }
        let Value::Object(members) = fields.to_json() else { return Ok(()) };
        for (name, value) in members {
            self.member(&name)?;
            serde_json::to_writer(&mut self.out, &value).map_err(json_error)?;
        }
        Ok(())
    }

    /// Begins a list; the one before it ends.
    pub(crate) fn list(&mut self, name: &str) -> Result<(), Failure> {
        self.end_list()?;
        if self.is_json {
            self.member(name)?;
            self.raw(b"[")?;
        }
        self.open_list = Some(0);
        Ok(())
    }

    /// Prints an item of the list: its text, which may be nothing, or its JSON.
    pub(crate) fn item(&mut self, value: &Value, text: impl fmt::Display) -> Result<(), Failure> {
        if !self.is_json {
            return self.text(text);
        }
        let n_items = self.open_list.get_or_insert_default();
        *n_items += 1;
        let gap: &[u8] = if *n_items > 1 { b",\n" } else { b"\n" };
        self.raw(gap)?;
        serde_json::to_writer(&mut self.out, value).map_err(json_error)
    }

    /// Prints text that has no JSON form.
    pub(crate) fn text(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        if self.is_json {
            return Ok(());
        }
        let text = text.to_string();
        self.raw(text.as_bytes())?;
        if text.is_empty() || text.ends_with('\n') { Ok(()) } else { self.raw(b"\n") }
    }

    /// Prints bytes as they are; to be called between the parts of a document.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(Failure::output)
    }

    /// Ends the document.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.end_list()?;
        if self.is_json {
            self.raw(b"}\n")?;
        }
        self.out.flush().map_err(Failure::output)
    }

    fn member(&mut self, name: &str) -> Result<(), Failure> {
        self.raw(if self.has_member { b",\n" } else { b"" })?;
        self.has_member = true;
        serde_json::to_writer(&mut self.out, name).map_err(json_error)?;
        self.raw(b":")
    }

    fn end_list(&mut self) -> Result<(), Failure> {
        match self.open_list.take() {
            Some(0) if self.is_json => self.raw(b"]"),
            Some(_) if self.is_json => self.raw(b"\n]"),
            _ => Ok(()),
        }
    }
}

/// Prints a document that is nothing but fields.
pub(crate) fn print_fields(report: &Report, fields: &Fields) -> Result<(), Failure> {
    let mut doc = Document::begin(report)?;
    doc.fields(fields)?;
    doc.finish()
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn json_error(err: serde_json::Error) -> Failure {
    // A value always has a JSON form: what fails is the writing.
    Failure::output(err.io_error_kind().unwrap_or(io::ErrorKind::Other).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_aligned_lines_and_members_in_order() {
        let mut fields = Fields::new();
        fields.put("ino", 12).put_as("i_mode", 33188, "0100644").put_json("raw", json!([1, 2]));
        fields.put_text("note", "a\nb").put_damage(&["inode 12: bad".to_owned()]);
        assert_eq!(
            fields.to_string(),
            "ino     12\ni_mode  0100644\nnote    a\n        b\ndamage  inode 12: bad\n"
        );
        assert_eq!(
            fields.to_json().to_string(),
            r#"{"ino":12,"i_mode":33188,"raw":[1,2],"damage":["inode 12: bad"]}"#
        );
    }

    #[test]
    fn values_are_their_own_text() {
        assert_eq!(plain(&json!(["a", 1, null])), "a 1 -");
        assert_eq!(plain(&json!(true)), "true");
        assert_eq!((plain(&json!("")), plain(&json!([]))), ("-".to_owned(), "-".to_owned()));
    }
}
