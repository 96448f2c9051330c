//! In which values two recipes differ, and why.

use serde_json::Value;

use super::Recipe;

/// One value in which a recipe differs from another.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The setting, as `table.key`.
    pub key: String,
    /// The other recipe's value; `None` where it has none.
    pub theirs: Option<Value>,
    /// This recipe's value.
    pub ours: Option<Value>,
    /// Where this recipe's value is from, or why; empty where the recipe says nothing.
    pub why: String,
}

impl Recipe {
    /// Returns the values in which this recipe differs from `other`, in the order of the file.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let (ours, theirs) = (self.values(), other.values());
        let find = |values: &[(String, Value)], key: &str| {
            values.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
        };
        let mut keys: Vec<&String> = ours.iter().map(|(key, _)| key).collect();
        keys.extend(theirs.iter().map(|(key, _)| key).filter(|key| find(&ours, key).is_none()));
        keys.into_iter()
            .map(|key| Difference {
                key: key.clone(),
                theirs: find(&theirs, key),
                ours: find(&ours, key),
                why: self.sources.get(key).cloned().unwrap_or_default(),
            })
            .filter(|difference| difference.theirs != difference.ours)
            .collect()
    }
}
