//! OpenAssistant: message trees as JSON lines (`…_ready.trees.jsonl`, unpacked).
//!
//! One row a tree: the first prompt and the reply ranked best. Trees that were not released, deleted
//! messages and other languages than English are left out.

use std::path::Path;

use serde::Deserialize;

use super::{Reject, Sink, SourceError, tables::each_line};

#[derive(Deserialize)]
struct Tree {
    message_tree_id: String,
    #[serde(default)]
    tree_state: Option<String>,
    prompt: Message,
}

#[derive(Deserialize)]
struct Message {
    text: String,
    #[serde(default)]
    lang: Option<String>,
    #[serde(default)]
    deleted: Option<bool>,
    #[serde(default)]
    replies: Vec<Reply>,
}

/// A reply; what answers it is not looked at.
#[derive(Deserialize)]
struct Reply {
    text: String,
    role: String,
    #[serde(default)]
    rank: Option<i64>,
    #[serde(default)]
    deleted: Option<bool>,
}

/// Reads the first prompt of each tree with its best reply.
pub(super) fn read(path: &Path, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    each_line(path, |_, line| {
        let Ok(tree) = serde_json::from_slice::<Tree>(line) else {
            return sink.reject(Reject::Malformed);
        };
        let Tree { message_tree_id: id, tree_state, prompt } = tree;
        let is_ready = tree_state.is_none_or(|state| state == "ready_for_export");
        if !is_ready || prompt.deleted == Some(true) {
            return sink.reject(Reject::NotReleased);
        }
        if prompt.lang.as_deref().is_some_and(|lang| lang != "en") {
            return sink.reject(Reject::NotEnglish);
        }
        let replies = prompt
            .replies
            .iter()
            .filter(|reply| reply.role == "assistant" && reply.deleted != Some(true));
        // Unranked ones come last, in their order.
        let best = replies.min_by_key(|reply| reply.rank.unwrap_or(i64::MAX));
        match best {
            Some(best) => sink.row(id, &prompt.text, &best.text),
            None => sink.reject(Reject::NoAnswer),
        }
    })
}
