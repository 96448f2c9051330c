//! `medharness train --dry-run`: what a training would do, and what it would learn from.

use std::{fmt::Write as _, io::IsTerminal};

use super::{CommandError, Context};
use crate::{
    corpus::IGNORED,
    llama::tokenizer::{Special, Tokenizer},
    train::{Counts, Item, Prepared, Recipe},
};

/// Examples shown.
const SHOWN: usize = 3;

/// Prints the training in words and numbers.
pub(super) fn print(
    recipe: &Recipe,
    inputs: &Prepared,
    context: &mut Context<'_>,
) -> Result<(), CommandError> {
    let mut text = format!("{}: {}\n\n", recipe.name, recipe.about);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<28} {value}");
    };
    let plan = recipe.plan(inputs.dataset.train.len());
    let counts = Counts::of(&inputs.dataset.train);
    line("rows", format!("{} in the file", inputs.rows.len()));
    line("  to train on", counts.rows.to_string());
    line("  held out", inputs.dataset.validation.len().to_string());
    line("updates", plan.updates().to_string());
    line("  an epoch", plan.updates_per_epoch().to_string());
    let settings = recipe.settings(plan.updates());
    line("  of them warm-up", settings.schedule.warmup.min(plan.updates()).to_string());
    line("rows an update", (plan.micro * plan.accumulation).to_string());
    line("tokens an epoch", counts.tokens.to_string());
    line(
        "  that are learnt",
        format!("{} ({})", counts.learnt, share(counts.learnt, counts.tokens)),
    );
    line("longest row", format!("{} tokens", counts.longest));
    let padding = Padded::of(recipe, inputs);
    let waste = share(padding.reference - counts.tokens, padding.reference);
    let computed = padding.computed - counts.tokens;
    let kept = match computed {
        0 => "none is computed here".to_owned(),
        _ => format!("{computed} are computed here"),
    };
    line("padding of the reference", format!("{waste} of its tokens ({kept})"));
    if computed > 0 {
        line("  tokens learnt from it", (padding.learnt - counts.learnt).to_string());
    }
    line("rows cut in the answer", counts.answer_cut.to_string());
    line("  in the prompt", counts.prompt_cut.to_string());
    line("  of their end token", counts.end_cut.to_string());
    line("  of which nothing is learnt", counts.fully_masked.to_string());
    line("elements trained", inputs.trained.to_string());
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / (1 << 20) as f64);
    let estimate = &inputs.estimate;
    line("memory at its peak", mib(estimate.total()));
    for (name, bytes) in [
        ("  frozen weights", estimate.frozen),
        ("  trained weights", estimate.trained),
        ("  gradients", estimate.gradients),
        ("  optimizer states", estimate.states),
        ("  activations", estimate.activations),
        ("  scratch", estimate.scratch),
        ("  rows", estimate.rows),
    ] {
        line(name, mib(bytes));
    }
    for exam in &inputs.lineage.overlap {
        line(
            "overlap",
            format!("{} of {} questions of {}", exam.overlapping, exam.questions, exam.exam),
        );
    }
    if let Some(other) = &recipe.compare {
        let other = Recipe::named(other).map_err(CommandError::input)?;
        let _ = writeln!(text, "\nDiffers from {}:", other.name);
        for difference in recipe.differences(&other) {
            let show = |value: Option<serde_json::Value>| {
                value.map_or_else(|| "none".to_owned(), |value| value.to_string())
            };
            let (theirs, ours) = (show(difference.theirs), show(difference.ours));
            let _ = writeln!(text, "  {}: {theirs} -> {ours}: {}", difference.key, difference.why);
        }
    }
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let legend = if colour { "green is learnt" } else { "what stands in ⟦ ⟧ is learnt" };
    let _ = writeln!(text, "\nThe first {SHOWN} examples; {legend}, the rest is only read:");
    for item in inputs.dataset.train.iter().take(SHOWN) {
        text += &example(item, &inputs.tokenizer, colour)?;
    }
    context.out.write_all(text.as_bytes())?;
    Ok(())
}

/// Tokens of the first epoch in its micro-batches.
#[derive(Default)]
struct Padded {
    /// As the reference's collator pads them.
    reference: usize,
    /// That go through the network here.
    computed: usize,
    /// That enter the loss.
    learnt: usize,
}

impl Padded {
    fn of(recipe: &Recipe, inputs: &Prepared) -> Self {
        let lengths = inputs.dataset.lengths();
        let rows_of_update = recipe.batch.micro * recipe.batch.accumulation;
        let sampler = inputs.dataset.sampler(&recipe.data, rows_of_update);
        let order = sampler.epochs(&lengths, |_| 0).next().unwrap_or_default();
        let mut found = Self::default();
        for places in order.chunks(recipe.batch.micro) {
            let micro = inputs.dataset.micro_batch(places, inputs.layout);
            found.reference += micro.padded();
            found.computed += micro.tokens();
            found.learnt += micro.learnt();
        }
        found
    }
}

fn share(part: usize, whole: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// A row as text, with what is learnt of it marked.
fn example(item: &Item, tokenizer: &Tokenizer, colour: bool) -> Result<String, CommandError> {
    let (on, off) = if colour { ("\x1b[32m", "\x1b[0m") } else { ("⟦", "⟧") };
    let ids = &item.example.ids;
    let decode =
        |end: usize| tokenizer.decode(&ids[..end], Special::Keep).map_err(CommandError::input);
    // The first position is predicted by nothing.
    let learnt = |place: usize| place > 0 && item.example.labels[place] != IGNORED;
    let mut text = format!("\n--- row {}, {} tokens\n", item.row, ids.len());
    let mut begin = 0;
    let mut before = String::new();
    while begin < ids.len() {
        let is_learnt = learnt(begin);
        let run = (begin..ids.len()).take_while(|place| learnt(*place) == is_learnt).count();
        let mut whole = decode(begin + run)?;
        if begin + run < ids.len() {
            // A character that ends behind the boundary is shown where it ends.
            whole.truncate(whole.trim_end_matches('\u{FFFD}').len());
        }
        let same = |(a, b): &(char, char)| a == b;
        let common = whole.chars().zip(before.chars()).take_while(same);
        let part = &whole[common.map(|(c, _)| c.len_utf8()).sum::<usize>()..];
        // The terminal must not obey what a row says.
        let part: String = part
            .chars()
            .map(|c| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c })
            .collect();
        if is_learnt {
            let _ = write!(text, "{on}{part}{off}");
        } else {
            text += &part;
        }
        (begin, before) = (begin + run, whole);
    }
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        corpus::{Example, Truncation},
        protocol::Bos,
    };

    #[test]
    fn a_prompt_is_shown_once_where_the_boundary_splits_a_character() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/tokenizers/tiny/tokenizer.model");
        let tokenizer = Tokenizer::from_file(folder.as_ref()).unwrap();
        let ids = tokenizer.encode("a 薬 b", Bos::None).unwrap();
        let shown = |boundary: usize| {
            let label = |(place, id): (usize, &u32)| match place < boundary {
                true => IGNORED,
                false => i64::from(*id),
            };
            let labels = ids.iter().enumerate().map(label).collect();
            let example = Example { ids: ids.clone(), labels, truncation: Truncation::None };
            let text = super::example(&Item { row: 0, example }, &tokenizer, false).unwrap();
            text.lines().last().unwrap().to_owned()
        };
        // Its three bytes are tokens of their own.
        let split = ids
            .iter()
            .rposition(|id| tokenizer.piece(*id).is_some_and(|piece| piece.starts_with("<0x")));
        assert_eq!(shown(split.unwrap()), "a ⟦薬 b⟧");
        assert_eq!(shown(1), "a⟦ 薬 b⟧");
    }
}
