//! `medharness adapter diff`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{CommandError, Context, place, read};
use crate::{
    cli::{Format, page::Page},
    lora::{Adapter, LowRank},
};

/// Arguments of `medharness adapter diff`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One adapter: its folder, or `hf:org/name[@revision]`
    #[arg(value_name = "A")]
    a: String,
    /// The other
    #[arg(value_name = "B")]
    b: String,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How two adapters differ.
#[derive(Debug, Serialize)]
struct Difference {
    /// Whether every matrix and every tensor held in full has the same bits.
    same_weights: bool,
    settings: Vec<Setting>,
    only_a: Vec<String>,
    only_b: Vec<String>,
    modules: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Setting {
    field: String,
    a: Value,
    b: Value,
}

/// What the two add to one weight.
#[derive(Debug, Serialize)]
struct Pair {
    module: String,
    norm_a: f64,
    norm_b: f64,
    norm_difference: f64,
    /// 1 in the same direction, 0 at right angles; `null` where one is zero.
    cosine: Option<f64>,
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let (a, b) = (read(&args.a, context)?, read(&args.b, context)?);
    let difference = difference(&a, &b).map_err(CommandError::internal)?;
    let text = match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&difference).map_err(CommandError::internal)?;
            text + "\n"
        }
        format => page(&difference, format == Format::Markdown),
    };
    write!(context.out, "{text}")?;
    Ok(())
}

fn difference(a: &Adapter, b: &Adapter) -> Result<Difference, serde_json::Error> {
    // A setting that an old file lacks has PEFT's default.
    let settings = |adapter: &Adapter| serde_json::to_value(adapter.config.clone().completed());
    let (fields_a, fields_b) = (settings(a)?, settings(b)?);
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (fields_a, fields_b) = (fields(&fields_a), fields(&fields_b));
    let names: BTreeSet<&String> = fields_a.keys().chain(fields_b.keys()).collect();
    let of = |fields: &serde_json::Map<String, Value>, name: &String| {
        fields.get(name).cloned().unwrap_or_default()
    };
    let settings = names
        .into_iter()
        .map(|name| Setting { field: name.clone(), a: of(&fields_a, name), b: of(&fields_b, name) })
        .filter(|setting| setting.a != setting.b)
        .collect();
    let held = |adapter: &Adapter| -> BTreeSet<String> {
        adapter.modules.keys().chain(adapter.whole.keys()).cloned().collect()
    };
    let (in_a, in_b) = (held(a), held(b));
    let modules = a.modules.iter().filter_map(|(module, low)| {
        let other = b.modules.get(module)?;
        let same_size = low.outputs() == other.outputs() && low.inputs() == other.inputs();
        same_size.then(|| pair(module, low, other))
    });
    Ok(Difference {
        same_weights: a.modules == b.modules && a.whole == b.whole,
        settings,
        only_a: in_a.difference(&in_b).cloned().collect(),
        only_b: in_b.difference(&in_a).cloned().collect(),
        modules: modules.collect(),
    })
}

fn pair(module: &str, a: &LowRank, b: &LowRank) -> Pair {
    let (squares, inner) = ([a, b].map(|low| low.inner_product(low)), a.inner_product(b));
    let norms = squares.map(|square| square.max(0.0).sqrt());
    let product = norms[0] * norms[1];
    let same = a == b;
    Pair {
        module: module.to_owned(),
        norm_a: norms[0],
        norm_b: norms[1],
        norm_difference: match same {
            true => 0.0,
            false => (squares[0] + squares[1] - 2.0 * inner).max(0.0).sqrt(),
        },
        cosine: (product > 0.0).then(|| (inner / product).clamp(-1.0, 1.0)),
    }
}

fn page(difference: &Difference, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    page.heading(1, "Difference of two adapters");
    page.line(match difference.same_weights {
        true => "The weights are the same, bit for bit.",
        false => "The weights differ.",
    });
    page.heading(2, "Settings");
    if difference.settings.is_empty() {
        page.line("All are the same.");
    }
    page.list(difference.settings.iter().map(|s| format!("{}: {} and {}", s.field, s.a, s.b)));
    for (name, only) in [("A", &difference.only_a), ("B", &difference.only_b)] {
        if !only.is_empty() {
            page.heading(2, &format!("Only in {name}"));
            page.list(only);
        }
    }
    page.heading(2, "What is added to the weights, over all layers");
    let mut kinds: BTreeMap<&str, [f64; 4]> = BTreeMap::new();
    for pair in &difference.modules {
        let [a, b, off, inner] = kinds.entry(place(&pair.module).1).or_default();
        *a += pair.norm_a.powi(2);
        *b += pair.norm_b.powi(2);
        *off += pair.norm_difference.powi(2);
        *inner += pair.cosine.unwrap_or(0.0) * pair.norm_a * pair.norm_b;
    }
    page.table(
        &["module", "norm A", "norm B", "norm of A - B", "cosine"],
        kinds.into_iter().map(|(kind, [a, b, off, inner])| {
            let cosine = inner / (a * b).sqrt();
            let mut row = vec![kind.to_owned()];
            row.extend([a, b, off].map(|square| format!("{:.4}", square.sqrt())));
            row.push(if cosine.is_finite() { format!("{cosine:.4}") } else { "-".into() });
            row
        }),
    );
    page.finish()
}
