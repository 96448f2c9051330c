//! How well identifiers are found, measured on a synthetic set.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::phi::{IdentifierClass, identifiers};

/// Made by `golden/make/identifiers.py` from templates of its own: no line is about anybody.
const SET: &str = include_str!("../../../golden/corpus/identifiers.jsonl");

/// Recall of one class, or of none: texts without any identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassRecall {
    /// The class; `None` for texts that hold no identifier.
    pub class: Option<IdentifierClass>,
    /// Texts of the set.
    pub texts: usize,
    /// Of these, in which the class was found; without a class, in which any was.
    pub found: usize,
}

#[derive(Deserialize)]
struct Line {
    class: Option<IdentifierClass>,
    text: String,
}

/// Returns the recall of each class on the synthetic set, and last how often something is found
/// where nothing is.
pub fn identifier_recall() -> Vec<ClassRecall> {
    let mut counts: BTreeMap<(bool, Option<IdentifierClass>), (usize, usize)> = BTreeMap::new();
    for line in SET.lines() {
        let line: Line = serde_json::from_str(line).expect("the set is part of the program");
        let found = identifiers(&line.text);
        let is_found = line.class.map_or(!found.is_empty(), |class| found.contains(&class));
        let count = counts.entry((line.class.is_none(), line.class)).or_default();
        count.0 += 1;
        count.1 += usize::from(is_found);
    }
    let recall = |((_, class), (texts, found))| ClassRecall { class, texts, found };
    counts.into_iter().map(recall).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_with_a_form_of_their_own_are_found_19_times_of_20() {
        let recall = identifier_recall();
        assert_eq!(recall.len(), 17, "{recall:?}");
        for ClassRecall { class, texts, found } in recall {
            let share = found as f64 / texts as f64;
            match class {
                // Names without a title or label, and places without a street, have no form.
                Some(IdentifierClass::Name | IdentifierClass::Place) => {
                    assert!((0.5..1.0).contains(&share), "{class:?}: {found} of {texts}");
                }
                Some(_) => assert!(share >= 0.95, "{class:?}: {found} of {texts}"),
                None => assert!(share <= 0.05, "{found} of {texts} texts without any"),
            }
        }
    }
}
