//! JSON with defaults: what is not there reads as nothing.

use crate::promise::{Durable, Promises};
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{fs, path::Path};

/// A value, or nothing.
#[derive(Clone, Debug)]
pub(super) struct Json(Value);

impl Json {
    pub(super) fn load(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let value = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
        Ok(Self(value))
    }

    pub(super) fn get(&self, key: &str) -> Self {
        Self(self.0.get(key).cloned().unwrap_or_default())
    }

    pub(super) fn at(&self, index: usize) -> Self {
        Self(self.0.get(index).cloned().unwrap_or_default())
    }

    pub(super) fn list(&self) -> impl Iterator<Item = Self> + use<> {
        self.0.as_array().cloned().unwrap_or_default().into_iter().map(Self)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (String, Self)> + use<> {
        let map = self.0.as_object().cloned().unwrap_or_default();
        map.into_iter().map(|(key, value)| (key, Self(value)))
    }

    pub(super) fn is_list(&self) -> bool {
        self.0.is_array()
    }

    pub(super) fn is_map(&self) -> bool {
        self.0.is_object()
    }

    /// Whether it is anything but nothing, false, zero, or empty.
    pub(super) fn is_true(&self) -> bool {
        match &self.0 {
            Value::Null => false,
            Value::Bool(it) => *it,
            Value::Number(it) => it.as_u64() != Some(0),
            Value::String(it) => !it.is_empty(),
            Value::Array(it) => !it.is_empty(),
            Value::Object(it) => !it.is_empty(),
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        self.0.as_bool()
    }

    pub(super) fn number(&self) -> u64 {
        self.0.as_u64().unwrap_or_default()
    }

    pub(super) fn small(&self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    /// A number that is not negative.
    pub(super) fn optional_number(&self) -> Option<u64> {
        self.0.as_u64()
    }

    pub(super) fn text(&self) -> String {
        self.optional_text().unwrap_or_default()
    }

    pub(super) fn optional_text(&self) -> Option<String> {
        self.0.as_str().map(str::to_owned)
    }

    pub(super) fn into<T: DeserializeOwned>(self) -> Result<T> {
        Ok(serde_json::from_value(self.0)?)
    }

    /// The promises of a crash image: `durable`, `must_exist`, `must_absent`.
    pub(super) fn promises(&self) -> Promises {
        let durable = self.get("durable");
        let rows = durable.list().filter_map(|it| Durable::of_row(it.0.as_array()?));
        let texts = |key: &str| self.get(key).list().map(|it| it.text()).collect();
        Promises {
            durable: rows.collect(),
            must_exist: texts("must_exist"),
            must_absent: texts("must_absent"),
        }
    }
}
