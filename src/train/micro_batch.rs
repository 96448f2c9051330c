//! Rows of tokens that go through the network together, and what each position must predict.

use serde::{Deserialize, Serialize};

use crate::{
    corpus::{Example, IGNORED},
    llama::{Batch, ops::Masked},
};

/// Padded lengths are multiples of this.
///
/// Source: `pad_to_multiple_of` of MedAlpaca's and alpaca-lora's collator.
const PAD_TO: usize = 8;

/// Token of padding.
///
/// Source: `pad_token_id = 0` in MedAlpaca's and alpaca-lora's scripts.
const PAD_TOKEN: u32 = 0;

/// Whether the rows of a micro-batch are padded, and what of it enters the loss.
///
/// Padding changes nothing unless the prompt is learnt: then a collator that pads on the left leaves
/// the first token of a padded row to be predicted from the padding before it, and that loss with its
/// gradients is part of the reference's. Only such padding is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// Rows stand one behind the other without padding (packed); none sees another.
    None,
    /// As padded on the left to a multiple of 8, with transformers' eager attention: padding attends
    /// to the whole row.
    LeftEager,
    /// The same as in transformers 4.28, whose embedding of token 0, its default for padding, took no
    /// gradient.
    #[serde(rename = "left-2023")]
    Left2023,
    /// The same with PyTorch's fused attention, the default of today: padding attends to nothing.
    LeftFused,
}

impl Padding {
    /// Returns the most tokens that a micro-batch of up to `rows` rows computes, of rows with
    /// `lengths` tokens; `whole` says that the prompt is learnt, too.
    pub(super) fn most_tokens(self, mut lengths: Vec<usize>, rows: usize, whole: bool) -> usize {
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.truncate(rows);
        match self {
            Self::LeftEager | Self::Left2023 if whole => {
                lengths.first().map_or(0, |longest| lengths.len() * longest)
            }
            _ => lengths.iter().sum(),
        }
    }
}

/// A training row in tokens, with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Place of the row in the file, from 0.
    pub row: usize,
    /// Tokens and labels.
    pub example: Example,
}

/// Some rows one behind the other, each seeing itself alone.
#[derive(Debug, Clone)]
pub struct MicroBatch {
    /// The tokens.
    pub batch: Batch,
    /// For each row of tokens the token behind it, if that is learnt.
    pub targets: Vec<Option<u32>>,
    /// Place in the file of the example of each sequence, those of padding included.
    pub examples: Vec<usize>,
    /// Number of examples.
    pub rows: usize,
    /// Token whose embedding takes no gradient.
    pub constant_token: Option<u32>,
}

impl MicroBatch {
    /// Joins rows.
    pub fn new<'a>(items: impl IntoIterator<Item = &'a Item>, padding: Padding) -> Self {
        let items: Vec<&Item> = items.into_iter().collect();
        let learnt = |label: i64| u32::try_from(label).ok();
        let mut targets: Vec<Option<u32>> = Vec::new();
        for item in &items {
            // The last position predicts nothing.
            let next = item.example.labels.iter().skip(1).copied().chain([IGNORED]);
            targets.extend(next.take(item.example.labels.len()).map(learnt));
        }
        let mut batch = Batch::new(items.iter().map(|item| &*item.example.ids));
        let mut examples: Vec<usize> = items.iter().map(|item| item.row).collect();
        let masked = match padding {
            Padding::None => None,
            Padding::LeftEager => Some(Masked::Everything),
            Padding::Left2023 => Some(Masked::Everything2023),
            Padding::LeftFused => Some(Masked::Nothing),
        };
        if let Some(masked) = masked {
            let width = width(&batch);
            let (mut pads, mut firsts) = (Vec::new(), Vec::new());
            for (place, item) in items.iter().enumerate() {
                let first = item.example.labels.first().copied().and_then(learnt);
                let count = width - item.example.ids.len();
                if let (Some(first), true) = (first, count > 0) {
                    pads.push((place, count));
                    examples.push(item.row);
                    firsts.push(first);
                }
            }
            let sequences = items.len();
            batch = batch.with_padding(PAD_TOKEN, masked, pads);
            for (span, first) in batch.spans()[sequences..].iter().zip(firsts) {
                targets.resize(span.end, None);
                targets[span.end - 1] = Some(first);
            }
        }
        let constant_token = (padding == Padding::Left2023).then_some(PAD_TOKEN);
        Self { batch, targets, examples, rows: items.len(), constant_token }
    }

    /// Returns the number of tokens.
    pub fn tokens(&self) -> usize {
        self.targets.len()
    }

    /// Returns the number of positions that enter the loss.
    pub fn learnt(&self) -> usize {
        self.targets.iter().flatten().count()
    }

    /// Returns the tokens that the reference's collator would make of it: every row as long as the
    /// longest, to a multiple of 8.
    pub fn padded(&self) -> usize {
        width(&self.batch) * self.rows
    }
}

/// The length to which the reference pads every row.
fn width(batch: &Batch) -> usize {
    let longest = batch.spans().iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    longest.next_multiple_of(PAD_TO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Truncation;

    fn item(row: usize, ids: &[u32], masked: usize) -> Item {
        let label = |(i, id): (usize, &u32)| if i < masked { IGNORED } else { i64::from(*id) };
        let labels = ids.iter().enumerate().map(label).collect();
        Item { row, example: Example { ids: ids.into(), labels, truncation: Truncation::None } }
    }

    #[test]
    fn each_position_predicts_the_next_of_its_own_sequence() {
        let micro =
            MicroBatch::new(&[item(4, &[1, 2, 3], 0), item(9, &[5, 6, 7], 2)], Padding::None);
        assert_eq!(micro.targets, [Some(2), Some(3), None, None, Some(7), None]);
        assert_eq!((micro.tokens(), micro.learnt(), micro.padded()), (6, 3, 16));
        assert_eq!(micro.examples, [4, 9]);
    }

    #[test]
    fn a_row_of_one_token_predicts_nothing() {
        assert_eq!(MicroBatch::new(&[item(0, &[1], 0)], Padding::None).learnt(), 0);
    }

    #[test]
    fn padding_predicts_the_first_token_of_a_row_that_is_learnt_whole() {
        let items = [item(4, &[1; 8], 0), item(7, &[3, 4], 0), item(9, &[5, 6, 7], 1)];
        let micro = MicroBatch::new(&items, Padding::LeftEager);
        assert_eq!(micro.targets[8 + 2 + 3..], [None, None, None, None, None, Some(3)]);
        assert_eq!((micro.examples.as_slice(), micro.rows), (&[4, 7, 9, 7][..], 3));
        assert_eq!(micro.padded(), 24);
        let most = |padding: Padding, whole| padding.most_tokens(vec![2, 8, 3], 2, whole);
        assert_eq!(most(Padding::LeftEager, true), 8 + 8);
        assert_eq!(most(Padding::LeftEager, false), 8 + 3);
        assert_eq!(most(Padding::None, true), 8 + 3);
        // Fused attention's padding is the same everywhere: one row stands for all.
        let micro = MicroBatch::new(&items, Padding::LeftFused);
        assert_eq!(micro.targets[8 + 2 + 3..], [Some(3)]);
        assert_eq!(micro.padded(), 24);
    }
}
