//! `medharness fetch`: a model's files from the hub into the cache, checked.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{CommandError, Context, note::note};
use crate::models::hub::{Event, HubError, HubSpec, Parts, ResolvedModel, Settings, resolve};

/// Fetch a model's files into the cache and check them
///
/// Everywhere a model's folder is asked for, its name will do as well, and its files are then
/// fetched as here. What is in the cache already is checked and not fetched again; a download that
/// broke off goes on where it stopped. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH
/// and HF_HUB_OFFLINE mean what they mean to huggingface_hub.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: hf:org/name, or hf:org/name@REVISION (a branch, a tag, or 40 hex digits)
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Fetch the tokenizer only
    #[arg(long)]
    pub tokenizer: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Form,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Commit and folder, then size, sha256 and name of each file
    Text,
    /// `{"repository", "revision", "commit", "dir", "files": [{"name", "sha256", "bytes"}]}`
    Json,
}

/// Fetches and writes what there is now.
///
/// # Errors
///
/// If the files cannot be had, or are not what the hub says.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let parts = if args.tokenizer { Parts::Tokenizer } else { Parts::All };
    let model = fetched(&args.model, parts, context.progress)?;
    match args.format {
        Form::Text => {
            writeln!(context.out, "{} at {}", model.repository, model.commit)?;
            writeln!(context.out, "{}", model.dir.display())?;
            for file in &model.files {
                writeln!(context.out, "{:>13}  {}  {}", file.bytes, file.sha256, file.name)?;
            }
        }
        Form::Json => {
            let text = serde_json::to_string(&model).map_err(CommandError::internal)?;
            writeln!(context.out, "{text}")?;
        }
    }
    Ok(())
}

/// Returns the model's files, with a bar on stderr if `progress`.
///
/// # Errors
///
/// If the files cannot be had, or are not what the hub says.
pub(super) fn fetched(
    model: &str,
    parts: Parts,
    progress: bool,
) -> Result<ResolvedModel, CommandError> {
    let spec = HubSpec::parse(model).map_err(explained)?;
    let settings = Settings::from_env().map_err(explained)?;
    let mut bar = Bar::new(progress);
    resolve(&spec, parts, &settings, &mut |event| bar.show(&event)).map_err(explained)
}

/// Says by who it can be repaired, and how.
pub(super) fn explained(error: HubError) -> CommandError {
    let hint = error.hint();
    let error = match error {
        HubError::Network { .. }
        | HubError::Status { .. }
        | HubError::Wait { .. }
        | HubError::Truncated { .. }
        | HubError::Redirect { .. }
        | HubError::Cache { .. } => CommandError::internal(error),
        _ => CommandError::input(error),
    };
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A bar for the file that is being fetched.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Makes a bar, which is drawn only if `progress`.
    pub(super) fn new(progress: bool) -> Self {
        let target =
            if progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = "{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        bar.set_style(ProgressStyle::with_template(style).expect("a template of known fields"));
        Self(bar)
    }

    /// Shows an event; what is not about progress is a line of its own.
    pub(super) fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::File { file, bytes, have } => {
                self.0.reset();
                self.0.set_length(*bytes);
                self.0.set_position(*have);
                self.0.set_message((*file).to_owned());
            }
            Event::Bytes(bytes) => self.0.inc(*bytes),
            Event::Done { .. } => self.0.finish_and_clear(),
            Event::Waiting { file } => {
                self.say(&format!("another process fetches {file}: waiting"))
            }
            Event::Damaged { error, .. } => self.say(&format!("{error}: fetching it anew")),
            Event::Again { error, pause } => {
                self.say(&format!("{error}: trying again in {:.1} s", pause.as_secs_f64()));
            }
        }
    }

    fn say(&self, text: &str) {
        self.0.suspend(|| note(format_args!("note: {text}")));
    }
}
