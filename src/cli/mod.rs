//! The command line: arguments, exit codes, hints. One file per command.
//!
//! stdout carries the result, stderr progress and messages. Exit codes: 0 done, 1 a check did not
//! hold, 2 usage or bad input, 3 failed inside.

mod adapter;
mod audit;
mod compare;
mod completions;
mod corpus;
mod diverge;
mod error;
mod eval;
mod exam;
mod export;
mod fetch;
mod gate;
mod generate;
mod junit;
mod lines;
mod merge;
mod merge_runs;
mod mini;
mod network;
mod note;
mod output;
mod page;
mod progress;
mod quantize;
mod report;
mod reproduce;
mod rescore;
mod score;
mod summary;
mod sweep;
mod synth;
mod tokenize;
mod train;
mod verify;
mod weights_folder;
mod workers;

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::kernels::Level;
pub use error::CommandError;
pub use output::Format;

/// Train, evaluate and compare medical language models so that every printed number can be
/// re-derived, explained and gated.
#[derive(Debug, Parser)]
#[command(name = "medharness", version, max_term_width = 100, help_expected = true)]
pub struct Cli {
    /// Show no progress on stderr
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order of the help text.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reproduce the paper's study: in miniature with models trained here, or with your weights
    ///
    /// --study mini, the default, trains and asks the paper's rows with models of one to two million
    /// parameters, on data and an exam that are part of the program, and ends with the paper-shaped
    /// table beside the paper's own, its claims with their tests, and what LoRA and 8-bit save.
    /// Killed at any moment, the same command continues; what is finished and unchanged is verified
    /// and used again, and gives the same report.
    ///
    /// --study paper regenerates the printed table with its audit, beside every row whose weights are
    /// here. Without models, everything that needs none is made in seconds: the printed table, which
    /// counts its digits can mean, the claims about it, other people's figures, and what each published
    /// rule reads in the same reply. With --models, each row named there is asked the exam (continued if
    /// it was interrupted), and every cell gets a verdict: reproduced, differs, not comparable, not run.
    Reproduce(reproduce::Args),
    /// Find which settings of a recipe move a row of the miniature
    ///
    /// Every point of a grid (learning rate, rank, adapted modules, epochs, …) is trained with every
    /// seed and asked a validation split; the split may share no question with the exam, which is
    /// never asked. All points are reported, with tests against the recipe's own setting. Killed at
    /// any moment, the same command continues; what is finished and unchanged is used again.
    Sweep(sweep::Args),
    /// Check exam files and convert them to one format
    Exam(exam::Args),
    /// Look at training rows before anything is learnt from them
    Corpus(corpus::Args),
    /// Write the texts of the miniature study: exam, validation split, training and pre-training data
    ///
    /// Everything is drawn from the facts in `golden/mini`; the same seed writes the same bytes.
    /// No training text shares 13 words in a row with an exam item.
    Mini(mini::Args),
    /// Ask a model an exam under a protocol and record every reply
    ///
    /// Replies go to RUN as they arrive, each question synced. Interrupted at any moment, by Ctrl-C
    /// or worse, the same command continues where it stopped, and the finished run has the same
    /// bytes as one that was never interrupted. Ctrl-C stops after the questions in flight with
    /// exit code 130; a second one stops at once.
    Eval(eval::Args),
    /// Merge all shards of a run into the run that was never split
    ///
    /// The merged attempts and summary have the same bytes as those of the unsplit run; its
    /// manifest differs in times, machine, command line and the model's folder at most.
    MergeRuns(merge_runs::Args),
    /// Fine-tune a checkpoint as a recipe says
    ///
    /// Every weight, or an adapter on a base in f32, bf16, f16 or int8. Rows, order, losses and learning
    /// rates are those of transformers' Trainer. Killed at any moment, the same command continues from
    /// the newest checkpoint and ends with the same bits, on any number of threads; Ctrl-C keeps
    /// the last update that was finished and ends with exit code 130. OUT holds the adapter as PEFT has it (or the whole
    /// model), its checkpoints, metrics.jsonl, TensorBoard events, loss.svg and train_report.md.
    Train(train::Args),
    /// Recompute every number and hash of a run and list what differs
    ///
    /// Exit code 0 if nothing does, 1 if something does or the run is not complete, 2 if RUN is no
    /// run directory.
    Verify(verify::Args),
    /// Compare two runs on the same questions: flips, exact tests, what could have been seen
    ///
    /// Differences are B minus A. A ranking is stated only where an exact paired test allows it;
    /// otherwise it says what could have been seen at this number of questions.
    Compare(compare::Args),
    /// Fail if a run is worse than its baseline
    ///
    /// A part fails if it loses more than the margin and the exact paired test calls the loss more
    /// than chance: the whole exam, or a step (adjusted over the steps). What the gate could not
    /// have seen is said. Exit code 0 pass, 1 regression, 2 not comparable or bad input, 3 failed
    /// inside.
    Gate(gate::Args),
    /// Find the first question, attempt and character at which two runs part
    ///
    /// Compares what both have answered; a run need not be complete. Exit code 0 whether they part
    /// or not: the result says it.
    Diverge(diverge::Args),
    /// Show runs: results, ledger, every rule's reading, differences, every field of a report
    ///
    /// Every number stands beside the protocol that made it. All numbers are worked out again from
    /// the recorded attempts; where summary.json disagrees, the report is refused with exit code 1.
    /// The HTML page is one file that loads nothing.
    Report(report::Args),
    /// Write a run in the format of another harness
    ///
    /// `lm-eval` writes results_{date}.json and samples_{task}_{date}.jsonl of
    /// lm-evaluation-harness; `inspect` writes an EvalLog (version 2, plain JSON) that `inspect
    /// view` opens. Unparsed and errored questions count as wrong there, as those harnesses have
    /// it; what they have no place for stands under `medharness` or `metadata`. Prints the paths.
    Export(export::Args),
    /// Read recorded answers by any reading rule, or by all of them side by side
    Rescore(rescore::Args),
    /// Continue prompts with a checkpoint
    ///
    /// Reads one JSON object a line, `{"id", "prompt"}`, and writes one a line to OUT, in the same
    /// order, as they are done: `{"id", "text", "ids", "finish_reason"}`. `ids` are the new tokens,
    /// an end token included; `text` is without it and without a stop string. An empty prompt
    /// starts from the token that begins a text. A prompt longer than the context is refused before
    /// anything runs. A reply depends on its prompt and id, the settings and the seed, not on the
    /// other lines.
    Generate(generate::Args),
    /// Score continuations with a checkpoint
    ///
    /// Reads one JSON object a line, `{"id", "context", "continuation"}`, and writes one a line to
    /// OUT, in the same order, as they are done: `{"id", "log_prob", "tokens", "is_greedy"}`: the
    /// sum of natural-log probabilities of the continuation's tokens, their number, and whether
    /// greedy decoding would have produced them. As in lm-eval, white space at the end of a context
    /// belongs to the continuation, both are encoded as one text, and an empty context is the token
    /// that begins a text. A request longer than the context is refused before anything runs.
    Score(score::Args),
    /// Write a checkpoint of random weights in a real shape
    ///
    /// For measurements that need a model's size and not its knowledge. The weights are N(0, 0.02),
    /// the norms 1; the same seed writes the same bytes. Large shapes are sharded.
    Synth(synth::Args),
    /// Fetch a model's files into the cache and check them
    Fetch(fetch::Args),
    /// Show the token pieces and ids of a text
    Tokenize(tokenize::Args),
    /// Write a checkpoint with int8 weights
    ///
    /// The linear layers of all blocks become int8 codes with one scale a row, with the bits of
    /// bitsandbytes; embeddings, norms, biases and the output matrix stay as they are. transformers
    /// loads the result with bitsandbytes. Memory holds a few rows of one tensor at a time. An
    /// interrupted run continues with the first unfinished file when it is called again.
    Quantize(quantize::Args),
    /// Look at LoRA adapters: what they hold, how two differ
    Adapter(adapter::Args),
    /// Merge a LoRA adapter into its base and write the checkpoint
    ///
    /// The result loads like any checkpoint, in any program. Weights are added in f32 and rounded
    /// once, as PEFT's merge_and_unload does; a value that is not finite stops the merge. Memory
    /// holds a few rows of one tensor at a time. An interrupted run continues with the first
    /// unfinished file when it is called again. An adapter trained over 8-bit weights never saw the
    /// float ones: `--merge-base dequantized` merges into what it saw; `quantize` the result for the
    /// model that PEFT's own 8-bit merge makes.
    Merge(merge::Args),
    /// Take a merged LoRA adapter off again
    ///
    /// The weights come back but for the roundings of both ways; what an adapter held in full, and
    /// DoRA, cannot be taken off.
    Unmerge(merge::UnmergeArgs),
    /// Audit a printed table of accuracies: denominators, counts, intervals, claims
    Audit(audit::Args),
    /// Print a shell's completion script
    Completions(completions::Args),
}

/// What every command gets besides its own arguments.
pub struct Context<'a> {
    /// Where the result goes; stdout in the program.
    pub out: &'a mut dyn Write,
    /// Whether a progress bar may be drawn on stderr.
    pub progress: bool,
}

impl Cli {
    /// Returns the threads that are asked for.
    fn threads(&self) -> Option<u16> {
        match &self.command {
            Command::Train(args) => args.threads,
            Command::Mini(args) => args.threads(),
            _ => None,
        }
    }

    /// Runs the command.
    ///
    /// # Errors
    ///
    /// [`CommandError`] with the exit code to end with.
    pub fn run(self, context: &mut Context<'_>) -> Result<(), CommandError> {
        // A misspelt limit would change numbers silently.
        Level::limit().map_err(CommandError::input)?;
        match self.command {
            Command::Reproduce(args) => reproduce::run(&args, context),
            Command::Sweep(args) => sweep::run(&args, context),
            Command::Exam(args) => exam::run(&args, context),
            Command::Corpus(args) => corpus::run(&args, context),
            Command::Mini(args) => mini::run(&args, context),
            Command::Eval(args) => eval::run(&args, context),
            Command::MergeRuns(args) => merge_runs::run(&args, context),
            Command::Train(args) => train::run(&args, context),
            Command::Verify(args) => verify::run(&args, context),
            Command::Compare(args) => compare::run(&args, context),
            Command::Gate(args) => gate::run(&args, context),
            Command::Diverge(args) => diverge::run(&args, context),
            Command::Report(args) => report::run(&args, context),
            Command::Export(args) => export::run(&args, context),
            Command::Generate(args) => generate::run(&args, context),
            Command::Score(args) => score::run(&args, context),
            Command::Synth(args) => synth::run(&args, context),
            Command::Fetch(args) => fetch::run(&args, context),
            Command::Tokenize(args) => tokenize::run(&args, context),
            Command::Quantize(args) => quantize::run(&args, context),
            Command::Adapter(args) => adapter::run(&args, context),
            Command::Merge(args) => merge::run(&args, context),
            Command::Unmerge(args) => merge::unmerge(&args, context),
            Command::Audit(args) => audit::run(&args, context),
            Command::Rescore(args) => rescore::run(&args, context),
            Command::Completions(args) => completions::run(&args, context),
        }
    }
}

/// Returns the definition of the whole command line, for help snapshots and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Makes the pool of so many threads, by default one a processor, this thread among them: so what it
/// shares out is not handed over and waited for, thousands of times an update.
fn make_pool(threads: Option<u16>) {
    let pool = rayon::ThreadPoolBuilder::new().use_current_thread();
    // Fails only where a pool is there already, which serves as well.
    let _ = pool.num_threads(threads.map_or(0, usize::from)).build_global();
}

/// Runs the program on the process's arguments and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version to stdout, usage errors to stderr.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let progress = !cli.no_progress && std::io::IsTerminal::is_terminal(&std::io::stderr());
    make_pool(cli.threads());
    let mut out = std::io::stdout().lock();
    let result = cli.run(&mut Context { out: &mut out, progress });
    match result.and_then(|()| out.flush().map_err(CommandError::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let _ = write!(std::io::stderr().lock(), "{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
