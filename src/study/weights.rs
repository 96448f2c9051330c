//! The weights behind each printed row, as its authors published them.

use serde::{Deserialize, Serialize};

const EMBEDDED: &str = include_str!("../../golden/paper/models.toml");

/// The weights of every row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// In the table's order.
    #[serde(rename = "row")]
    pub rows: Vec<RowWeights>,
}

/// The weights of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowWeights {
    /// The row.
    pub model: String,
    /// Name on huggingface.co; `None` where none was published.
    #[serde(default)]
    pub hub: Option<String>,
    /// The row whose weights an adapter is put on.
    #[serde(default)]
    pub base: Option<String>,
    /// What a reader should know.
    #[serde(default)]
    pub note: Option<String>,
}

impl Weights {
    /// Returns the weights of the paper's table.
    ///
    /// # Panics
    ///
    /// Never: the embedded file is read by a test.
    pub fn paper() -> Self {
        toml::from_str(EMBEDDED).expect("the embedded list is read by a test")
    }

    /// Returns the weights of one row.
    pub fn row(&self, model: &str) -> Option<&RowWeights> {
        self.rows.iter().find(|row| row.model == model)
    }

    /// Returns what to download for a row, in words: its hub names, the base first.
    pub fn to_download(&self, model: &str) -> String {
        let Some(row) = self.row(model) else {
            return "no weights are known for it".to_owned();
        };
        let Some(hub) = &row.hub else {
            return "no weights were published under a name".to_owned();
        };
        match row.base.as_ref().and_then(|base| self.row(base)?.hub.as_ref()) {
            Some(base) => format!("{base} with the adapter {hub}"),
            None => hub.clone(),
        }
    }
}
