//! What a program was told to be safe: the marks of a trace, and what they ask of a recovered
//! file system.

use crate::model::pattern;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// These bytes must be there, whatever happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Path without a leading slash.
    pub path: String,
    /// Byte offset.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// The file's id in [`pattern`].
    pub id: u32,
    /// The generation in [`pattern`].
    pub generation: u32,
}

/// One mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promise {
    /// An fsync or a synchronous write returned: these bytes survive from now on.
    Durable(Durable),
    /// This path is there from now on.
    Exists(String),
    /// This path is gone from now on.
    Absent(String),
    /// About to change or remove this path: nothing is promised of it any more.
    Nothing(String),
}

impl Promise {
    /// As the text of a mark: `["D",path,offset,len,id,generation]`, `["X",path]`, `["A",path]`,
    /// `["U",path]`.
    pub fn to_mark(&self) -> String {
        let value = match self {
            Self::Durable(it) => {
                json!(["D", it.path, it.offset, it.len, it.id, it.generation])
            }
            Self::Exists(path) => json!(["X", path]),
            Self::Absent(path) => json!(["A", path]),
            Self::Nothing(path) => json!(["U", path]),
        };
        value.to_string()
    }

    /// From the text of a mark; `None` for a mark that is no promise.
    pub fn of_mark(text: &str) -> Option<Self> {
        let row: Vec<Value> = serde_json::from_str(text).ok()?;
        let path = row.get(1)?.as_str()?.to_owned();
        match row.first()?.as_str()? {
            "D" => Durable::of_row(row.get(1..)?).map(Self::Durable),
            "X" => Some(Self::Exists(path)),
            "A" => Some(Self::Absent(path)),
            "U" => Some(Self::Nothing(path)),
            _ => None,
        }
    }
}

impl Durable {
    /// From `[path, offset, len, id, generation]`.
    pub(crate) fn of_row(row: &[Value]) -> Option<Self> {
        let small = |i: usize| u32::try_from(row.get(i)?.as_u64()?).ok();
        Some(Self {
            path: row.first()?.as_str()?.to_owned(),
            offset: row.get(1)?.as_u64()?,
            len: row.get(2)?.as_u64()?,
            id: small(3)?,
            generation: small(4)?,
        })
    }
}

/// All that is promised at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    /// Bytes that must be there.
    pub durable: Vec<Durable>,
    /// Paths that must be there.
    pub must_exist: BTreeSet<String>,
    /// Paths that must not.
    pub must_absent: BTreeSet<String>,
}

/// How a recovered file system is looked at.
pub trait Files {
    /// At most `len` bytes of a file at `offset`, fewer at its end; an error in words when it
    /// cannot be read.
    fn read(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, String>;

    /// Whether anything has this path.
    fn exists(&self, path: &str) -> bool;
}

impl Promises {
    /// What these marks, in order, add up to.
    pub fn of_marks<'a>(marks: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for promise in marks.into_iter().filter_map(Promise::of_mark) {
            match promise {
                Promise::Durable(it) => all.durable.push(it),
                Promise::Exists(path) => {
                    all.must_absent.remove(&path);
                    all.must_exist.insert(path);
                }
                Promise::Absent(path) => {
                    all.must_absent.insert(path);
                }
                Promise::Nothing(path) => {
                    all.durable.retain(|it| it.path != path);
                    all.must_exist.remove(&path);
                }
            }
        }
        all
    }

    /// What was broken, a line each.
    pub fn violations(&self, files: &dyn Files) -> Vec<String> {
        let mut broken = Vec::new();
        for it in &self.durable {
            let Durable { path, offset, len, id, generation } = it;
            let n = usize::try_from(*len).unwrap_or(usize::MAX);
            match files.read(path, *offset, n) {
                Err(error) => broken.push(format!("{path}: {error}")),
                Ok(found) => {
                    let expected = pattern(*id, *generation, *offset, n);
                    if found != expected {
                        let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
                        let got = found.len();
                        broken.push(format!(
                            "{path}: {offset}+{len} differs at +{same} (got {got} bytes)"
                        ));
                    }
                }
            }
        }
        let missing = self.must_exist.iter().filter(|it| !files.exists(it));
        broken.extend(missing.map(|it| format!("{it}: missing")));
        let present = self.must_absent.iter().filter(|it| files.exists(it));
        broken.extend(present.map(|it| format!("{it}: present")));
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_mark_takes_a_promise_back() {
        let durable = |path: &str| {
            let path = path.to_owned();
            Promise::Durable(Durable { path, offset: 0, len: 512, id: 1, generation: 2 })
        };
        let marks = [
            durable("a"),
            durable("b"),
            Promise::Exists("a".into()),
            Promise::Nothing("a".into()),
            Promise::Absent("c".into()),
        ];
        let marks: Vec<String> = marks.iter().map(Promise::to_mark).collect();
        let all = Promises::of_marks(marks.iter().map(String::as_str).chain(["end"]));
        assert_eq!(all.durable.len(), 1);
        assert_eq!(all.durable[0].path, "b");
        assert!(all.must_exist.is_empty() && all.must_absent.contains("c"));
    }
}
