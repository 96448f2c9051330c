//! `medharness adapter show`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{CommandError, Context, place, read};
use crate::{
    cli::{Format, network::folder, page::Page},
    llama::Config,
    lora::{Adapter, Targets},
    models::hub::Parts,
};

/// Arguments of `medharness adapter show`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The adapter: its folder, or `hf:org/name[@revision]`
    #[arg(value_name = "ADAPTER")]
    adapter: String,
    /// The base, to compare sizes with: a checkpoint folder, or `hf:org/name[@revision]`
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What an adapter holds.
#[derive(Debug, Serialize)]
struct Shown {
    settings: Value,
    modules: Vec<Module>,
    whole: Vec<WholeTensor>,
    trained_parameters: usize,
    /// Without --base, not known.
    base_parameters: Option<usize>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Module {
    module: String,
    outputs: usize,
    inputs: usize,
    rank: usize,
    scaling: f64,
    parameters: usize,
    /// Frobenius norm of s·B·A.
    norm: f64,
    norm_a: f64,
    norm_b: f64,
}

#[derive(Debug, Serialize)]
struct WholeTensor {
    name: String,
    shape: Vec<usize>,
    /// A copy that was saved and not trained, otherwise.
    trained: bool,
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let adapter = read(&args.adapter, context)?;
    let base = match &args.base {
        None => None,
        Some(base) => {
            let folder = folder(base, Parts::All, context.progress)?;
            let config = Config::read(&folder.join("config.json")).map_err(CommandError::input)?;
            Some(config.parameters())
        }
    };
    let shown = shown(&adapter, base).map_err(CommandError::internal)?;
    let text = match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&shown).map_err(CommandError::internal)?;
            text + "\n"
        }
        format => page(&adapter, &shown, format == Format::Markdown),
    };
    write!(context.out, "{text}")?;
    Ok(())
}

fn shown(adapter: &Adapter, base_parameters: Option<usize>) -> Result<Shown, serde_json::Error> {
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let modules: Vec<Module> = adapter
        .modules
        .iter()
        .map(|(module, low)| Module {
            module: module.clone(),
            outputs: low.outputs(),
            inputs: low.inputs(),
            rank: low.rank,
            scaling: low.scaling,
            parameters: low.parameters(),
            norm: low.delta_norm(),
            norm_a: norm(&low.a),
            norm_b: norm(&low.b),
        })
        .collect();
    let trained = |name: &str| adapter.config.saves(name) || name.ends_with(".bias");
    let whole: Vec<WholeTensor> = adapter
        .whole
        .iter()
        .map(|(name, whole)| WholeTensor {
            name: name.clone(),
            shape: whole.shape.clone(),
            trained: trained(name),
        })
        .collect();
    let in_whole: usize = adapter
        .whole
        .iter()
        .filter(|(name, _)| trained(name))
        .map(|(_, whole)| whole.values.len())
        .sum();
    Ok(Shown {
        settings: serde_json::to_value(&adapter.config)?,
        trained_parameters: in_whole
            + modules.iter().map(|module| module.parameters).sum::<usize>(),
        modules,
        whole,
        base_parameters,
        notes: adapter.notes.clone(),
    })
}

fn page(adapter: &Adapter, shown: &Shown, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    page.heading(1, "Adapter");
    page.facts(facts(adapter, shown));
    page.heading(2, "Norm of what is added to each weight");
    let kinds: BTreeSet<&str> =
        shown.modules.iter().map(|module| place(&module.module).1).collect();
    let mut header = vec!["layer"];
    header.extend(&kinds);
    let mut rows: BTreeMap<Option<usize>, BTreeMap<&str, f64>> = BTreeMap::new();
    for module in &shown.modules {
        let (layer, kind) = place(&module.module);
        rows.entry(layer).or_default().insert(kind, module.norm);
    }
    page.table(
        &header,
        rows.into_iter().map(|(layer, norms)| {
            let mut row = vec![layer.map_or_else(|| "-".into(), |layer| layer.to_string())];
            let cell = |norm: Option<&f64>| norm.map_or_else(String::new, |n| format!("{n:.4}"));
            row.extend(kinds.iter().map(|kind| cell(norms.get(kind))));
            row
        }),
    );
    if !shown.whole.is_empty() {
        page.heading(2, "Tensors held in full");
        page.list(shown.whole.iter().map(|whole| {
            let what = if whole.trained { "trained" } else { "a copy, not trained" };
            format!("{} {:?}, {what}", whole.name, whole.shape)
        }));
    }
    page.finish()
}

fn facts(adapter: &Adapter, shown: &Shown) -> Vec<(&'static str, String)> {
    let config = &adapter.config;
    let targets = match &config.target_modules {
        None => "q_proj, v_proj (the default)".into(),
        Some(Targets::Pattern(pattern)) => pattern.clone(),
        Some(Targets::Names(names)) => names.join(", "),
    };
    let ranks: BTreeSet<usize> = shown.modules.iter().map(|module| module.rank).collect();
    let mut scalings: Vec<f64> = shown.modules.iter().map(|module| module.scaling).collect();
    scalings.sort_by(f64::total_cmp);
    scalings.dedup();
    let list = |values: Vec<String>| values.join(", ");
    let mut facts = vec![
        ("base", config.base_model_name_or_path.clone().unwrap_or_else(|| "not said".into())),
        ("targets", targets),
        ("modules", shown.modules.len().to_string()),
        ("rank", list(ranks.iter().map(usize::to_string).collect())),
        ("alpha", config.lora_alpha.to_string()),
        ("scaling", list(scalings.iter().map(f64::to_string).collect())),
        ("dropout", config.lora_dropout.to_string()),
    ];
    if config.use_dora {
        facts.push(("DoRA", "rows are rescaled to trained magnitudes".into()));
    }
    if config.use_rslora {
        facts.push(("rslora", "the scaling is alpha / sqrt(rank)".into()));
    }
    let trained = shown.trained_parameters;
    match shown.base_parameters {
        None => facts.push(("trained", format!("{trained} parameters"))),
        Some(base) => {
            let share = 100.0 * trained as f64 / base as f64;
            facts.push(("trained", format!("{trained} of {base} parameters ({share:.4} %)")));
            // Two moments in f32.
            let [with, without] = [trained, base].map(|count| bytes(8.0 * count as f64));
            facts.push(("moments", format!("{with} for AdamW in f32, {without} without LoRA")));
        }
    }
    facts
}

/// Prints a number of bytes with three digits.
fn bytes(count: f64) -> String {
    let (unit, name) = match count {
        count if count >= 1e9 => (1e9, "GB"),
        count if count >= 1e6 => (1e6, "MB"),
        _ => (1e3, "kB"),
    };
    format!("{:.2} {name}", count / unit)
}
