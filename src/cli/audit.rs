//! `medharness audit`: which counts a printed table of accuracies can stand for.

use std::path::PathBuf;

use super::{CommandError, Context, Format};
use crate::{
    claims::{Audit, ClaimsError, Table},
    reports,
};

/// The long help below the options: what is done, and the format of TABLE.
const LONG: &str = "\
For each printed accuracy: which k/N round to its digits (GRIM), for every candidate N. For each
column: the N that explains most rows, with the probability of that by chance. For each row: the
count, its 95 % Wilson interval, and whether it differs from answering always the same letter and
from its base model. Entries that do not fit are listed with what would fit them. Without TABLE,
the table of the MedAlpaca paper (arXiv 2304.08247) is audited, with the evidence for what is found
and the verdicts on claims about it.

TABLE is a TOML file:

  name = \"my table\"                     # optional
  unit = \"percent\"                      # optional: fraction (0 to 1, default) or percent
  candidates = { from = 80, to = 140 }  # optional: N to try; or a list, [92, 110, 124]

  [[column]]
  name = \"Step 1\"
  n = 92                                # optional: N, if it is known
  stated = [{ n = 92, where = \"...\" }]  # optional: N to report on beside the one found
  baseline = { label = \"always D\", successes = 24, trials = 94, where = \"...\" }  # optional

  [source.paper]                        # optional
  where = \"...\"
  date = \"2023-04-14\"
  protocol = \"...\"

  [[row]]
  model = \"mine\"
  base = \"its base model's row\"         # optional
  values = [\"47.3\"]                     # a text a column, digits as printed; - or TBA: none
  n = [92]                              # optional: this row's N
  source = \"paper\"                      # optional

A k/N fits if it rounds to the digits, half away from zero or as C and Python print the nearest
double; digits cut off are not accepted. JSON: the fields of medharness::claims::Audit, stable
within its `schema`. Exit codes: 0 audited, whatever was found; 2 bad table.";

/// Audit a printed table of accuracies: denominators, counts, intervals, claims
#[derive(Debug, clap::Args)]
#[command(after_long_help = LONG)]
pub struct Args {
    /// The table; the MedAlpaca paper's if left out
    pub table: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

const HINT: &str = "accuracies are texts: \"0.473\", or \"47.3\" with unit = \"percent\"; \
                    `medharness audit --help` shows the format";

/// Writes the audit to stdout.
///
/// # Errors
///
/// If the table cannot be read or is none, or stdout cannot be written.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let table = match &args.table {
        None => Table::paper(),
        Some(path) => Table::read(path).map_err(refused)?,
    };
    let audit = Audit::new(&table);
    let result = match args.format {
        Format::Text => reports::audit::text(&audit),
        Format::Json => reports::audit::json(&audit),
        Format::Markdown => reports::audit::markdown(&audit),
    };
    Ok(context.out.write_all(result.as_bytes())?)
}

/// The hint is of use only where the form of the table is the trouble.
fn refused(error: ClaimsError) -> CommandError {
    match error {
        ClaimsError::Read { .. } | ClaimsError::Encoding { .. } => CommandError::input(error),
        _ => CommandError::input(error).with_hint(HINT),
    }
}
