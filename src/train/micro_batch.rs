//! Rows of tokens that go through the network together, and what each position must predict.

use serde::{Deserialize, Serialize};

use super::{BaseFormat, Recipe};
use crate::{
    corpus::{Example, IGNORED},
    llama::{Batch, Config, ops::Masked},
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
    /// The same as in transformers 4.28, where the embedding of the configuration's `pad_token_id`
    /// took no gradient ([`Layout::of`]).
    #[serde(rename = "left-2023")]
    Left2023,
    /// The same with PyTorch's fused attention, the default of today: padding attends to nothing.
    LeftFused,
}

/// How rows are joined to a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// What is done about padding.
    pub padding: Padding,
    /// Whether int8 layers see the micro-batch as one call: outlier columns are then those of any of
    /// its tokens, and all padding is computed, whether or not anything is learnt from it.
    pub one_call: bool,
    /// Token whose embedding takes no gradient.
    pub constant_token: Option<u32>,
}

impl From<Padding> for Layout {
    /// Int8 layers see each row by itself; the embedding of 2023 that takes no gradient is token 0's.
    fn from(padding: Padding) -> Self {
        let constant_token = (padding == Padding::Left2023).then_some(0);
        Self { padding, one_call: false, constant_token }
    }
}

impl Layout {
    /// Returns the layout of a recipe's micro-batches for a model.
    ///
    /// Without padding no row sees another, in int8 layers neither; with it a micro-batch is what the
    /// reference computes. Source of the embedding that takes no gradient: transformers 4.28.1,
    /// `LlamaModel`, `nn.Embedding(..., padding_idx=config.pad_token_id)`, which counts negative ids
    /// from the end.
    pub fn of(recipe: &Recipe, config: &Config) -> Self {
        let padding = recipe.batch.padding;
        let quantises = matches!(recipe.weights.base, BaseFormat::Int8 | BaseFormat::Int8Rounded);
        let still = config.pad.and_then(|pad| match usize::try_from(pad) {
            Ok(pad) => Some(pad),
            Err(_) => config.vocab_size.checked_sub(usize::try_from(-pad).ok()?),
        });
        let still = still.filter(|pad| *pad < config.vocab_size && padding == Padding::Left2023);
        Self {
            padding,
            one_call: quantises && padding != Padding::None,
            constant_token: still.and_then(|pad| u32::try_from(pad).ok()),
        }
    }

    /// Returns the most tokens that a micro-batch of up to `rows` rows computes, of rows with
    /// `lengths` tokens; `whole` says that the prompt is learnt, too.
    pub(super) fn most_tokens(self, mut lengths: Vec<usize>, rows: usize, whole: bool) -> usize {
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.truncate(rows);
        match self.padding {
            Padding::LeftEager | Padding::Left2023 if whole || self.one_call => {
                let width = lengths.first().map_or(0, |longest| longest.next_multiple_of(PAD_TO));
                lengths.len() * width
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
    pub fn new<'a>(items: impl IntoIterator<Item = &'a Item>, layout: impl Into<Layout>) -> Self {
        let Layout { padding, one_call, constant_token } = layout.into();
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
                if count > 0 && (first.is_some() || one_call) {
                    pads.push((place, count));
                    examples.push(item.row);
                    firsts.push(first);
                }
            }
            let sequences = items.len();
            batch = batch.with_padding(PAD_TOKEN, masked, pads);
            for (span, first) in batch.spans()[sequences..].iter().zip(firsts) {
                targets.resize(span.end, None);
                targets[span.end - 1] = first;
            }
        }
        if one_call {
            batch = batch.in_one_call();
        }
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
        let most =
            |padding: Padding, whole| Layout::from(padding).most_tokens(vec![2, 8, 3], 2, whole);
        assert_eq!(most(Padding::LeftEager, true), 8 + 8);
        assert_eq!(most(Padding::LeftEager, false), 8 + 3);
        assert_eq!(most(Padding::None, true), 8 + 3);
        // Fused attention's padding is the same everywhere: one row stands for all.
        let micro = MicroBatch::new(&items, Padding::LeftFused);
        assert_eq!(micro.targets[8 + 2 + 3..], [Some(3)]);
        assert_eq!(micro.padded(), 24);
    }

    /// Source: transformers 4.28.1, the rows of the embedding without gradient (`pad_token_id` absent,
    /// null, -1, 0, 5, -3 with 420 tokens).
    #[test]
    fn the_embedding_that_takes_no_gradient_is_that_of_the_configurations_padding() {
        let mut recipe = Recipe::named("medalpaca-7b-full-2023").expect("a recipe");
        let still = |recipe: &Recipe, pad: Option<serde_json::Value>| {
            let golden = include_str!("../../golden/train/trainer.json");
            let golden: serde_json::Value = serde_json::from_str(golden).expect("JSON");
            let mut config = golden["config"].clone();
            if let Some(pad) = pad {
                config["pad_token_id"] = pad;
            }
            let config = Config::parse(&config.to_string()).expect("a configuration");
            Layout::of(recipe, &config).constant_token
        };
        assert_eq!(still(&recipe, None), Some(0));
        assert_eq!(still(&recipe, Some(serde_json::Value::Null)), None);
        for (pad, row) in [(-1, 419), (0, 0), (5, 5), (-3, 417)] {
            assert_eq!(still(&recipe, Some(pad.into())), Some(row), "{pad}");
        }
        recipe.batch.padding = Padding::LeftEager;
        assert_eq!(still(&recipe, None), None);
    }

    #[test]
    fn int8_layers_see_a_padded_micro_batch_as_one_call_with_all_its_padding() {
        let items = [item(4, &[1; 8], 1), item(7, &[3, 4], 1)];
        let layout = |one_call| Layout { one_call, ..Padding::LeftFused.into() };
        let alone = MicroBatch::new(&items, layout(false));
        assert_eq!((alone.tokens(), alone.learnt()), (10, 8));
        let together = MicroBatch::new(&items, layout(true));
        assert_eq!((together.tokens(), together.learnt()), (11, 8));
        assert_eq!(together.examples, [4, 7, 7]);
        let most = Layout { one_call: true, ..Padding::LeftEager.into() };
        assert_eq!(most.most_tokens(vec![2, 9, 3], 2, false), 32);
    }
}
