//! `medharness adapter`: what an adapter holds, how two differ, and the same adapter as PEFT writes
//! it today.

mod diff;
mod show;

use std::path::PathBuf;

use super::{CommandError, Context, network::folder, note::note};
use crate::{llama::read_adapter, lora::Adapter, models::hub::Parts};

/// Look at LoRA adapters
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show settings, modules, ranks, norms by layer, and how many parameters were trained
    Show(show::Args),
    /// Show in which settings and by how much two adapters differ
    Diff(diff::Args),
    /// Write an adapter as PEFT does today: safetensors in f32, every setting
    Convert(ConvertArgs),
}

/// Arguments of `medharness adapter convert`.
#[derive(Debug, clap::Args)]
struct ConvertArgs {
    /// The adapter: its folder, or `hf:org/name[@revision]`
    #[arg(value_name = "ADAPTER")]
    adapter: String,
    /// Folder to write; its adapter files are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 if an adapter cannot be read.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    match &args.command {
        Command::Show(args) => show::run(args, context),
        Command::Diff(args) => diff::run(args, context),
        Command::Convert(args) => convert(args, context),
    }
}

fn convert(args: &ConvertArgs, context: &mut Context<'_>) -> Result<(), CommandError> {
    let mut adapter = read(&args.adapter, context)?;
    adapter.config = adapter.config.completed();
    std::fs::create_dir_all(&args.out).map_err(CommandError::internal)?;
    adapter.write(&args.out).map_err(CommandError::internal)?;
    let modules = adapter.modules.len();
    writeln!(context.out, "{modules} modules in {}", args.out.display())?;
    Ok(())
}

/// Reads an adapter and says on stderr what a reader should know of it.
fn read(name: &str, context: &Context<'_>) -> Result<Adapter, CommandError> {
    let folder = folder(name, Parts::Adapter, context.progress)?;
    let adapter = read_adapter(&folder).map_err(CommandError::input)?;
    for remark in &adapter.notes {
        note(format_args!("note: {remark}"));
    }
    Ok(adapter)
}

/// Returns the number of a module's layer and its name within it.
fn place(module: &str) -> (Option<usize>, &str) {
    let kind = module.rsplit('.').next().unwrap_or(module);
    let layer = module.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
    (layer.and_then(|layer| layer.parse().ok()), kind)
}
