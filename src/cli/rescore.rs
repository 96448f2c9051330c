//! `medharness rescore`: recorded answers under any reading rule, or under all side by side.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{CommandError, Context, Format, page::Page};
use crate::{
    eval::rescore::{Agreement, Counts, Replies, Request, Rescoring, RuleResult, WhichAttempt},
    exam::Exam,
    models::{RecordedError, Transcript},
    protocol::RuleId,
    stats::{PrintedShare, Unit},
    store::Proportion,
};

/// What the file may look like, for `--help`.
const LAYOUTS: &str = "\
Layouts, told apart by the fields of the first record:
  JSONL, one answer a line: id, text (or error, if there is no reply), and as you have them
      attempt, finish_reason, gold (\"B\"), options (a list of texts, or an object from letter to
      text), question, labels (an object; for --where and --by)
  MMLU-Pro: question_id, options, answer, category, pred, generated_text or model_outputs
  MIRAGE: id, file_text (the JSON list of one result file), gold
  medical-reasoning: qid, prompt, mark, text, gold, question
  letters per model: model, step, question, answer, gold, correct, api_error
  a JSON list of free text without right answers: id, instruction, response
  a run directory

Each rule counts an answer as right, wrong or unparsed; missing replies and silent defaults are
shown apart. What cannot be read ends the program with exit code 2, file, line and field; no line is
skipped.";

/// Arguments of `rescore`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = LAYOUTS)]
pub struct Args {
    /// Recorded answers, or a run directory
    #[arg(value_name = "FILE|RUN")]
    pub path: PathBuf,
    /// Reading rules, or `all`
    #[arg(long, value_name = "ID|all", default_value = "all", value_delimiter = ',',
          value_parser = rule)]
    pub rule: Vec<Rules>,
    /// Take questions, options and right answers from this exam, by id
    #[arg(long, value_name = "FILE")]
    pub exam: Option<PathBuf>,
    /// Only answers with this label, e.g. `category=health`; may be repeated
    #[arg(long = "where", value_name = "NAME=VALUE", value_parser = label)]
    pub only: Vec<(String, String)>,
    /// Also show each value of these labels apart, e.g. `model,step`
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub by: Vec<String>,
    /// Which attempt at a question counts
    #[arg(long, value_enum, default_value = "last")]
    pub attempt: Attempt,
    /// List the answers that two rules read differently
    #[arg(long)]
    pub flips: bool,
    /// An accuracy printed elsewhere for these answers, in percent, e.g. `65.04`
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub published: Option<PrintedShare>,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Which of several attempts at a question counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attempt {
    /// The first
    First,
    /// The last recorded
    Last,
}

/// One rule or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Every rule that reads replies.
    All,
    /// This one.
    One(RuleId),
}

fn rule(text: &str) -> Result<Rules, String> {
    if text == "all" {
        return Ok(Rules::All);
    }
    RuleId::from_name(text).map(Rules::One).ok_or_else(|| {
        let names: Vec<_> = RuleId::ALL.into_iter().map(RuleId::name).collect();
        format!("expected all, {}", names.join(", "))
    })
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn percent(text: &str) -> Result<PrintedShare, String> {
    PrintedShare::parse(text, Unit::Percent).map_err(|error| error.to_string())
}

/// Prints the answers under the rules.
///
/// # Errors
///
/// If the answers cannot be read or none is chosen.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let transcript = read(args)?;
    let chosen = |rule: &RuleId| {
        args.rule.iter().any(|rules| matches!(rules, Rules::All) || *rules == Rules::One(*rule))
    };
    let request = Request {
        rules: RuleId::ALL.into_iter().filter(chosen).collect(),
        only: args.only.clone(),
        by: args.by.clone(),
        attempt: match args.attempt {
            Attempt::First => WhichAttempt::First,
            Attempt::Last => WhichAttempt::Last,
        },
        flips: args.flips,
        published: args.published.clone(),
    };
    let rescoring = Rescoring::new(&transcript, &request).map_err(CommandError::input)?;
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&rescoring).map_err(CommandError::internal)? + "\n"
        }
        Format::Text => page(&rescoring, false),
        Format::Markdown => page(&rescoring, true),
    };
    Ok(context.out.write_all(text.as_bytes())?)
}

fn read(args: &Args) -> Result<Transcript, CommandError> {
    let transcript = match &args.exam {
        _ if !args.path.is_dir() => {
            let exam = args.exam.as_deref().map(Exam::load).transpose().map_err(|error| {
                CommandError::input(error)
                    .with_hint("`medharness exam check` lists every defect of an exam")
            })?;
            Transcript::load(&args.path, exam.as_ref())
        }
        None => Transcript::of_run(&args.path),
        Some(_) => return Err(CommandError::input("a run brings its own exam: leave out --exam")),
    };
    transcript.map_err(|error| {
        let hint = match error {
            RecordedError::UnknownShape { .. } => "see `medharness rescore --help` for the layouts",
            RecordedError::Read { .. } => "give a file of recorded answers or a run directory",
            RecordedError::Run(_) => "`medharness verify` says what is wrong with a run",
            RecordedError::Scored { .. } => "its scores are in `medharness report`",
            _ => "correct the line or take it out on purpose; no line is skipped",
        };
        CommandError::input(error).with_hint(hint)
    })
}

/// The result for a reader.
fn page(rescoring: &Rescoring, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    let Rescoring { source, selection, replies, marks, .. } = rescoring;
    page.heading(1, &format!("Rescoring of {}", source.name));
    page.line(format!("layout {}, sha256 {}", source.shape.name(), source.sha256));
    let chosen = match selection.only.is_empty() {
        true => String::new(),
        false => format!(" with {}", selection.only.join(" and ")),
    };
    page.line(format!("{} of {} answers{chosen}", selection.answers, selection.recorded));
    if selection.other_attempts > 0 {
        let which = if selection.attempt == WhichAttempt::First { "first" } else { "last" };
        page.line(format!(
            "other attempts, which do not count: {} (the {which} one does)",
            selection.other_attempts
        ));
    }
    notes(&mut page, replies, selection.answers);
    if let Some(marks) = marks {
        let none =
            marks.none_read.map_or(String::new(), |none| format!(", nothing read in {none}"));
        let share = 100.0 * marks.right as f64 / marks.of as f64;
        page.line(format!(
            "the file's own marks: {} right of {} ({share:.2} %){none}",
            marks.right, marks.of
        ));
    }
    rules(&mut page, &rescoring.rules);
    bounds(&mut page, rescoring);
    published(&mut page, rescoring);
    groups(&mut page, rescoring);
    agreement(&mut page, rescoring);
    flips(&mut page, rescoring);
    page.finish()
}

/// Most ids that are written out.
const SHOWN_IDS: usize = 12;

fn listed<'a>(ids: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = ids.len().saturating_sub(SHOWN_IDS);
    let shown: Vec<&str> = ids.take(SHOWN_IDS).map(String::as_str).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(" ") + &more
}

/// What is left out of the accuracies, or must be known to read them.
fn notes(page: &mut Page, replies: &Replies, answers: usize) {
    if let Some(reason) = replies.missing.values().next() {
        let (count, ids) = (replies.missing.len(), listed(replies.missing.keys()));
        page.line(format!("no reply: {count} ({reason}): {ids}"));
    }
    if !replies.empty.is_empty() {
        let (count, ids) = (replies.empty.len(), listed(replies.empty.iter()));
        page.line(format!("empty replies: {count}: {ids}"));
    }
    if !replies.not_recorded.is_empty() {
        let (count, ids) = (replies.not_recorded.len(), listed(replies.not_recorded.iter()));
        page.line(format!("questions of the exam without an answer here: {count}: {ids}"));
    }
    if replies.without_gold == answers {
        page.line("no right answers are recorded: readings, but no accuracy".to_owned());
    } else if replies.without_gold > 0 {
        page.line(format!("without a right answer, so in no accuracy: {}", replies.without_gold));
    }
    if let Some(letters) = &replies.assumed_letters {
        page.line(format!(
            "where options are not recorded, the letters {letters} are taken as offered"
        ));
    }
    for note in &replies.notes {
        page.line(note);
    }
    let loops = replies.loops;
    if loops.words + loops.characters > 0 {
        page.line(format!(
            "replies that end in a loop: {} ({} of words, {} of characters without a blank)",
            loops.words + loops.characters,
            loops.words,
            loops.characters
        ));
    }
}

/// `84.0 [81.9, 85.9]`, in percent with the Wilson interval.
fn share(proportion: Option<&Proportion>) -> String {
    proportion.map_or_else(
        || "-".into(),
        |p| {
            let [low, high] = p.wilson.map(|end| 100.0 * end);
            format!("{:.2} [{low:.1}, {high:.1}]", 100.0 * p.value)
        },
    )
}

fn percentage(proportion: Option<&Proportion>) -> String {
    proportion.map_or_else(|| "-".into(), |p| format!("{:.2}", 100.0 * p.value))
}

/// A column: its heading and its cell for a rule.
type Column = (&'static str, fn(&RuleResult) -> String);

fn rules(page: &mut Page, rules: &[RuleResult]) {
    page.heading(2, "Rules");
    let mut columns: Vec<Column> = vec![("rule", |rule| rule.rule.to_string())];
    let mut add = |name, cell: fn(&RuleResult) -> String| columns.push((name, cell));
    if rules.iter().any(|rule| rule.counts.is_some()) {
        add("right", |rule| count(rule, |counts| counts.right));
        add("wrong", |rule| count(rule, |counts| counts.wrong));
        add("unparsed", |rule| count(rule, |counts| counts.unparsed));
        if rules.iter().any(|rule| rule.counts.is_some_and(|counts| counts.missing > 0)) {
            add("missing", |rule| count(rule, |counts| counts.missing));
        }
        add("accuracy % [95 %]", |rule| share(rule.strict.as_ref()));
        add("of parsed %", |rule| percentage(rule.parsed_only.as_ref()));
        add("letter %", |rule| percentage(rule.letter.as_ref()));
    } else {
        add("read", |rule| rule.letters.values().sum::<usize>().to_string());
        add("unparsed", |rule| rule.unparsed_by_reason.values().sum::<usize>().to_string());
        add("letters", |rule| {
            let letters = rule.letters.iter().map(|(letter, count)| format!("{letter} {count}"));
            letters.collect::<Vec<_>>().join(", ")
        });
    }
    if rules.iter().any(|rule| rule.defaults > 0) {
        add("by default", |rule| match rule.defaults {
            0 => "-".into(),
            defaults => defaults.to_string(),
        });
        add("right by default", |rule| match rule.defaults {
            0 => "-".into(),
            _ => count(rule, |counts| counts.right_by_default),
        });
        add("without %", |rule| percentage(rule.without_defaults.as_ref()));
    }
    if rules.iter().any(|rule| rule.as_marked.is_some()) {
        add("as marked", |rule| {
            rule.as_marked.map_or("-".into(), |marked| format!("{} of {}", marked.same, marked.of))
        });
    }
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let row = |rule: &RuleResult| columns.iter().map(|(_, cell)| cell(rule)).collect();
    page.table(&header, rules.iter().map(row));
    for rule in rules {
        if let Some(reason) = &rule.not_applicable {
            page.line(format!("{} does not apply: {reason}", rule.rule));
        }
    }
}

fn count(rule: &RuleResult, of: impl Fn(Counts) -> usize) -> String {
    rule.counts.map_or_else(|| "-".into(), |counts| of(counts).to_string())
}

/// What unparsed and missing replies could do.
fn bounds(page: &mut Page, rescoring: &Rescoring) {
    let open: Vec<_> = rescoring
        .rules
        .iter()
        .filter_map(|rule| {
            let [low, high] = rule.bounds.as_ref()?;
            let between = format!("{} to {} of {}", low.successes, high.successes, low.trials);
            let percent = format!("{:.2} to {:.2}", 100.0 * low.value, 100.0 * high.value);
            let Counts { unparsed, missing, .. } = rule.counts.unwrap_or_default();
            // Reasons are counted over all replies, these over those with a known right letter.
            let reasons = match &rule.unparsed_by_reason {
                by_reason if by_reason.values().sum::<usize>() == unparsed => by_reason.clone(),
                _ => [("unparsed".to_owned(), unparsed)].into(),
            };
            let missing = (missing > 0).then(|| ("missing".to_owned(), missing));
            let why: Vec<_> =
                reasons.into_iter().chain(missing).map(|(name, n)| format!("{name} {n}")).collect();
            (low != high).then(|| vec![rule.rule.to_string(), between, percent, why.join(", ")])
        })
        .collect();
    if !open.is_empty() {
        page.heading(
            2,
            "If every reply that is unparsed or missing were wrong, and if it were right",
        );
        page.table(&["rule", "right", "accuracy %", "because of"], open);
    }
}

fn published(page: &mut Page, rescoring: &Rescoring) {
    let Some(published) = &rescoring.published else { return };
    page.heading(2, &format!("Published: {} %", published.percent));
    let counts: Vec<_> = published.counts.iter().map(ToString::to_string).collect();
    let asked = published.asked;
    if counts.is_empty() {
        page.line(format!("no number of right answers out of {asked} prints so"));
        return;
    }
    page.line(format!("it stands for {} right of {asked}", counts.join(" or ")));
    let names = |rules: &[RuleId]| match rules {
        [] => "no rule".to_owned(),
        rules => rules.iter().map(RuleId::to_string).collect::<Vec<_>>().join(", "),
    };
    page.line(format!("equal under: {}", names(&published.equal)));
    if !rescoring.replies.missing.is_empty() {
        page.line(format!(
            "reached if some of the missing replies were right: {}",
            names(&published.with_missing)
        ));
    }
}

fn groups(page: &mut Page, rescoring: &Rescoring) {
    let Some(first) = rescoring.groups.first() else { return };
    let labels: Vec<&str> = first.labels.keys().map(String::as_str).collect();
    page.heading(2, &format!("Right of asked, by {}", labels.join(" and ")));
    let marked = rescoring.marks.is_some();
    let rules: Vec<_> = rescoring.rules.iter().filter(|rule| rule.counts.is_some()).collect();
    let mut header = labels.clone();
    header.push("answers");
    header.extend(marked.then_some("marks"));
    header.extend(rules.iter().map(|rule| rule.rule.name()));
    let of = |right: usize, asked: usize| match asked {
        0 => "-".to_owned(),
        asked => format!("{right}/{asked} {:.1}", 100.0 * right as f64 / asked as f64),
    };
    let rows = rescoring.groups.iter().map(|group| {
        let mut row: Vec<String> = group.labels.values().cloned().collect();
        row.push(group.answers.to_string());
        if marked {
            row.push(group.marks.map_or("-".into(), |marks| of(marks.right, marks.of)));
        }
        row.extend(rules.iter().map(|rule| {
            let counts = group.rules.get(&rule.rule).copied().flatten();
            counts.map_or("-".into(), |counts| of(counts.right, counts.asked))
        }));
        row
    });
    page.table(&header, rows);
}

/// Most rules whose pairs are written out one by one.
const LISTED_RULES: usize = 4;

fn agreement(page: &mut Page, rescoring: &Rescoring) {
    let pairs = &rescoring.agreement;
    let mut rules: Vec<RuleId> = pairs.iter().flat_map(|pair| pair.rules).collect();
    rules.sort_unstable();
    rules.dedup();
    if pairs.is_empty() {
        return;
    }
    page.heading(2, "Agreement of the rules");
    let kappa = |pair: &Agreement| pair.kappa.map_or("-".into(), |kappa| format!("{kappa:.3}"));
    if rules.len() <= LISTED_RULES {
        let rows = pairs.iter().map(|pair| {
            let [first, second] = pair.rules;
            let same = format!("{} of {}", pair.same, pair.replies);
            let only = [pair.first_only_right, pair.second_only_right].map(|n| n.to_string());
            [vec![format!("{first} / {second}"), same, kappa(pair)], only.to_vec()].concat()
        });
        let header =
            ["rules", "read the same", "Cohen's kappa", "only first right", "only second right"];
        page.table(&header, rows);
        return;
    }
    page.line("above the diagonal: read the same, in percent; below: Cohen's kappa".to_owned());
    let find = |a: RuleId, b: RuleId| pairs.iter().find(|pair| pair.rules == [a, b]);
    let numbers: Vec<String> = (1..=rules.len()).map(|number| number.to_string()).collect();
    let mut header = vec!["rule"];
    header.extend(numbers.iter().map(String::as_str));
    let row = |(number, row): (&String, &RuleId)| {
        let cell = |column: &RuleId| match find(*row, *column) {
            Some(pair) => format!("{:.1}", 100.0 * pair.same as f64 / pair.replies as f64),
            None => find(*column, *row).map_or(String::new(), kappa),
        };
        let mut cells = vec![format!("{number} {row}")];
        cells.extend(rules.iter().map(cell));
        cells
    };
    page.table(&header, numbers.iter().zip(&rules).map(row));
}

fn flips(page: &mut Page, rescoring: &Rescoring) {
    let Some(first) = rescoring.flips.first() else { return };
    page.heading(2, &format!("{} answers that the rules read differently", rescoring.flips.len()));
    let rules: Vec<RuleId> = first.readings.keys().copied().collect();
    let mut header = vec!["id", "gold"];
    header.extend(rules.iter().map(|rule| rule.name()));
    let rows = rescoring.flips.iter().map(|flip| {
        let gold = flip.gold.map_or("-".into(), |gold| gold.to_string());
        let mut row = vec![flip.id.clone(), gold];
        row.extend(rules.iter().map(|rule| flip.readings.get(rule).cloned().unwrap_or_default()));
        row
    });
    page.table(&header, rows);
}
