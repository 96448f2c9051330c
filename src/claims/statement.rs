//! Claims in words: the data name a test, the verdict is computed from the table.
//!
//! Supported and contradicted are said of the printed table, with tests where the claim is about
//! models and not about digits. What the table cannot decide at its number of questions is "not
//! testable from it": a failed proof is no disproof.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Audit, ClaimsError, Direction, Source, Table, audit::corrected, file::File};
use crate::stats::Share;

const EMBEDDED: &str = include_str!("../../golden/paper/claims.toml");

/// Claims about one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Vec<Claim>);

/// A claim in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Short name, unique.
    pub id: String,
    /// What is claimed, in our words.
    pub text: String,
    /// Who claims it.
    pub source: Source,
    /// What would decide it.
    pub test: Test,
}

/// What decides a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Test {
    /// Each pair's first row is above its second in every column. One pair printed the other way,
    /// or equal, contradicts; support needs every comparison significant after Holm.
    EveryPairAbove {
        /// Rows, the higher one first.
        pairs: Vec<[String; 2]>,
    },
    /// The first rows taken together are above the second rows taken together. Significant either
    /// way decides. Rows share questions, so this treats repeated questions as new ones.
    TogetherAbove {
        /// Rows said to be higher.
        above: Vec<String>,
        /// Rows said to be lower.
        below: Vec<String>,
    },
    /// The row's printed accuracies run from `low` to `high`, digits compared as numbers.
    Range {
        /// The row.
        model: String,
        /// Its smallest accuracy, 0 to 1.
        low: f64,
        /// Its largest.
        high: f64,
    },
    /// Each pair's first row exceeds its second by at least so much in every column, as printed.
    GainAtLeast {
        /// Rows, the higher one first.
        pairs: Vec<[String; 2]>,
        /// 0.35 for 35 points, or for 35 % of the second row's accuracy.
        at_least: f64,
        /// Which of these.
        scale: Scale,
    },
    /// Counts, listed here with their source, add up to at least so many. Not about accuracies.
    SumAtLeast {
        /// The claimed number.
        at_least: u64,
        /// The counts.
        counts: Vec<u64>,
        /// Where they are printed.
        #[serde(rename = "where")]
        place: String,
    },
    /// Nothing in the table bears on it.
    NotInTable {
        /// What would.
        needs: String,
    },
}

/// What a gain is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Percentage points.
    Points,
    /// Share of the base's accuracy.
    Relative,
}

/// What the table says about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimVerdict {
    /// It holds, beyond chance where chance matters.
    Supported,
    /// It does not hold.
    Contradicted,
    /// The table cannot decide.
    NotTestable,
}

/// A claim with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The claim.
    pub claim: Claim,
    /// What the table says.
    pub verdict: ClaimVerdict,
    /// The figures behind it, as a lower-case fragment.
    pub because: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    claim: Vec<Spanned<Claim>>,
}

impl Claims {
    /// Reads claims about `table` from the bytes of a file called `name`.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`] for a wrong form, an id used twice, or a row the table does not have.
    pub fn parse(name: &str, bytes: &[u8], table: &Table) -> Result<Self, ClaimsError> {
        let file = File::new(name, bytes)?;
        let raw: Raw = file.parse()?;
        let mut claims: Vec<Claim> = Vec::with_capacity(raw.claim.len());
        for claim in raw.claim {
            let id = &claim.get_ref().id;
            let field = format!("claim \"{id}\"");
            if claims.iter().any(|other| other.id == *id) {
                return Err(file.wrong(&claim, field, "named twice"));
            }
            for model in claim.get_ref().test.models() {
                if table.row(model).is_none() {
                    let problem = format!("the table has no row \"{model}\"");
                    return Err(file.wrong(&claim, field, problem));
                }
            }
            claims.push(claim.into_inner());
        }
        Ok(Self(claims))
    }

    /// Returns the claims about the paper's table.
    ///
    /// # Panics
    ///
    /// Never: the embedded file is read by a test.
    pub fn paper() -> Self {
        Self::parse("golden/paper/claims.toml", EMBEDDED.as_bytes(), &Table::paper())
            .expect("the embedded claims are read by a test")
    }

    /// Judges each claim by `table` and its audit, in order.
    pub fn judge(&self, table: &Table, audit: &Audit) -> Vec<Judged> {
        let judge = |claim: &Claim| {
            let (verdict, because) = claim.test.judge(table, audit);
            Judged { claim: claim.clone(), verdict, because }
        };
        self.0.iter().map(judge).collect()
    }
}

impl Test {
    fn models(&self) -> Vec<&String> {
        match self {
            Self::EveryPairAbove { pairs } | Self::GainAtLeast { pairs, .. } => {
                pairs.iter().flatten().collect()
            }
            Self::TogetherAbove { above, below } => above.iter().chain(below).collect(),
            Self::Range { model, .. } => vec![model],
            Self::SumAtLeast { .. } | Self::NotInTable { .. } => vec![],
        }
    }

    fn judge(&self, table: &Table, audit: &Audit) -> (ClaimVerdict, String) {
        match self {
            Self::EveryPairAbove { pairs } => every_pair(pairs, table, audit),
            Self::TogetherAbove { above, below } => together(above, below, table, audit),
            Self::Range { model, low, high } => range(model, *low, *high, table),
            Self::GainAtLeast { pairs, at_least, scale } => gain(pairs, *at_least, *scale, table),
            Self::SumAtLeast { at_least, counts, place } => {
                let sum: u64 = counts.iter().sum();
                let because = format!("{} counts add up to {sum} ({place})", counts.len());
                (decided(sum >= *at_least), because)
            }
            Self::NotInTable { needs } => (ClaimVerdict::NotTestable, format!("needs {needs}")),
        }
    }
}

fn decided(holds: bool) -> ClaimVerdict {
    if holds { ClaimVerdict::Supported } else { ClaimVerdict::Contradicted }
}

/// Printed values of both rows with the column's name, where both print one.
fn printed<'a>(table: &'a Table, [first, second]: &[String; 2]) -> Vec<(&'a str, f64, f64)> {
    let Some((first, second)) = table.row(first).zip(table.row(second)) else { return vec![] };
    let values = first.values.iter().zip(&second.values).zip(&table.columns);
    values
        .filter_map(|((first, second), column)| {
            Some((&*column.name, first.as_ref()?.value(), second.as_ref()?.value()))
        })
        .collect()
}

fn every_pair(pairs: &[[String; 2]], table: &Table, audit: &Audit) -> (ClaimVerdict, String) {
    let mut total = 0;
    let mut against = Vec::new();
    for pair in pairs {
        for (column, first, second) in printed(table, pair) {
            total += 1;
            if first <= second {
                against.push(format!(
                    "{} {first:.3} and {} {second:.3} on {column}",
                    pair[0], pair[1]
                ));
            }
        }
    }
    if !against.is_empty() {
        let because = format!("{} of {total} are not above: {}", against.len(), against.join("; "));
        return (ClaimVerdict::Contradicted, because);
    }
    let mut shares = Vec::new();
    for [first, second] in pairs {
        for index in 0..table.columns.len() {
            let share = |model| Some(audit.cell(model, index)?.count?.share());
            if let Some((first, second)) = share(first).zip(share(second)) {
                shares.push(((), first, second));
            }
        }
    }
    let significant = corrected(&shares)
        .iter()
        .filter(|(_, comparison)| comparison.direction == Direction::Above)
        .count();
    let because = format!(
        "all {total} are above as printed, {significant} of them beyond chance (p < 0.05 after Holm)"
    );
    let proven = significant == total && total > 0;
    (if proven { ClaimVerdict::Supported } else { ClaimVerdict::NotTestable }, because)
}

fn together(
    above: &[String],
    below: &[String],
    table: &Table,
    audit: &Audit,
) -> (ClaimVerdict, String) {
    let pooled = |models: &[String]| {
        let cells = models
            .iter()
            .flat_map(|model| (0..table.columns.len()).map(move |index| (model, index)))
            .filter_map(|(model, index)| audit.cell(model, index)?.count);
        let (k, n) = cells.fold((0, 0), |(k, n), count| (k + count.successes, n + count.trials));
        Share::new(k, n)
    };
    let (Ok(first), Ok(second)) = (pooled(above), pooled(below)) else {
        return (ClaimVerdict::NotTestable, "no counts to pool".into());
    };
    let tests = corrected(&[((), first, second)]);
    let comparison = &tests[0].1;
    let verdict = match comparison.direction {
        Direction::Above => ClaimVerdict::Supported,
        Direction::Below => ClaimVerdict::Contradicted,
        Direction::NotDistinguishable => ClaimVerdict::NotTestable,
    };
    let because = format!(
        "{first} = {:.3} against {second} = {:.3}, z = {:.1}, p = {}",
        first.value(),
        second.value(),
        comparison.z,
        small(comparison.p)
    );
    (verdict, because)
}

fn range(model: &str, low: f64, high: f64, table: &Table) -> (ClaimVerdict, String) {
    let values: Vec<_> =
        table.row(model).into_iter().flat_map(|row| row.values.iter().flatten()).collect();
    let by_value = |a: &&_, b: &&_| {
        let value = |share: &crate::stats::PrintedShare| share.value();
        value(a).total_cmp(&value(b))
    };
    let ends = values.iter().copied().min_by(by_value).zip(values.iter().copied().max_by(by_value));
    let Some((least, most)) = ends else {
        return (ClaimVerdict::NotTestable, "nothing is printed".into());
    };
    let same = |share: &crate::stats::PrintedShare, claimed: f64| {
        (share.value() - claimed).abs() <= share.half_unit()
    };
    let because = format!("printed from {least} to {most}");
    (decided(same(least, low) && same(most, high)), because)
}

fn gain(
    pairs: &[[String; 2]],
    at_least: f64,
    scale: Scale,
    table: &Table,
) -> (ClaimVerdict, String) {
    let mut gains = Vec::new();
    for pair in pairs {
        for (_, first, second) in printed(table, pair) {
            match scale {
                Scale::Points => gains.push(first - second),
                Scale::Relative if second > 0.0 => gains.push(first / second - 1.0),
                Scale::Relative => {}
            }
        }
    }
    let (Some(least), Some(most)) = (
        gains.iter().copied().min_by(f64::total_cmp),
        gains.iter().copied().max_by(f64::total_cmp),
    ) else {
        return (ClaimVerdict::NotTestable, "nothing is printed".into());
    };
    let unit = match scale {
        Scale::Points => "points",
        Scale::Relative => "% of the base",
    };
    let reached = gains.iter().filter(|gain| **gain >= at_least).count();
    let because = format!(
        "gains run from {:+.1} to {:+.1} {unit}; {reached} of {} reach {:.0}",
        100.0 * least,
        100.0 * most,
        gains.len(),
        100.0 * at_least
    );
    (decided(reached == gains.len()), because)
}

/// A p value in few characters.
fn small(p: f64) -> String {
    if p < 0.001 { format!("{p:.0e}") } else { format!("{p:.3}") }
}
