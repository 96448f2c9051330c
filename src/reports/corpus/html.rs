//! The audit as one HTML page.

use minijinja::{Value, context};

use super::{SPREAD, bin_name, found, near, places, recall_of, spread, tokens, word};
use crate::{
    corpus::audit::{Audit, Check, Distribution, Judged, SourceAudit},
    reports::{
        ReportError,
        format::{count, interval, percent},
        page::{Page, safe},
        plot::{self, Mark},
    },
};

const TEMPLATE: &str = include_str!("../page/corpus.html");

/// Returns the page of an audit, with the verdicts of people where there are any.
///
/// # Errors
///
/// [`ReportError::Template`], [`ReportError::Plot`] if a library fails.
pub fn html(audit: &Audit, judged: Option<&Judged>) -> Result<String, ReportError> {
    let title = format!("Audit of {} training rows", audit.rows);
    let mut sections = vec![
        ("checks", "Checks"),
        ("lengths", "Lengths"),
        ("languages", "Languages"),
        ("identifiers", "Identifiers"),
    ];
    if judged.is_some() {
        sections.push(("judged", "Verdicts"));
    }
    let page = Page {
        title: &title,
        kicker: "medharness · corpus audit",
        sections: &sections,
        footer: "Made by medharness corpus audit from the rows alone.",
        island: "",
    };
    let sources = audit.sources.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    let checks = Check::ALL.into_iter().map(|check| {
        context! {
            name => word(&check),
            meaning => check.meaning(),
            cells => audit.sources.iter().map(|source| found(source, check)).collect::<Vec<_>>(),
        }
    });
    let classes = audit.identifier_recall.iter().filter_map(|recall| recall.class);
    let classes = classes.map(|class| {
        let rows = |source: &SourceAudit| source.identifiers.get(&class).map_or(0, |t| t.rows);
        context! {
            name => word(&class),
            recall => recall_of(&audit.identifier_recall, class),
            cells => audit.sources.iter().map(rows).collect::<Vec<_>>(),
        }
    });
    let none = audit.identifier_recall.iter().find(|recall| recall.class.is_none());
    page.render(
        TEMPLATE,
        context! {
            rows => audit.rows,
            short => short(audit),
            names => audit.sources.iter().map(|source| source.source.clone()).collect::<Vec<_>>(),
            totals => audit.sources.iter().map(|source| source.rows).collect::<Vec<_>>(),
            checks => checks.collect::<Vec<_>>(),
            between => audit.between_sources.iter().map(|(own, other, rows)| context! {
                own => &**own, other => &**other, rows => *rows,
            }).collect::<Vec<_>>(),
            unreadable => audit.unreadable.iter().map(|(place, reason)| context! {
                place => place.to_string(), reason => &**reason,
            }).collect::<Vec<_>>(),
            spread => SPREAD,
            sources,
            classes => classes.collect::<Vec<_>>(),
            alarms => none.map(|none| format!("{} of {}", none.found, none.texts)),
            judged => judged.map(verdicts).transpose()?,
        },
    )
}

fn short(audit: &Audit) -> Vec<String> {
    let masked = audit.total(Check::FullyMasked) + audit.total(Check::AnswerCut);
    let mut lines = vec![
        format!(
            "{}, {} exact duplicates, {} near duplicates",
            count(audit.rows, "row"),
            audit.exact_duplicates,
            audit.total(Check::SameWords) + audit.total(Check::NearDuplicate)
        ),
        format!("{} could not be read", count(audit.unreadable_rows, "row")),
        near(audit),
        tokens(audit),
    ];
    if let Some(encoding) = &audit.settings.encoding {
        lines.push(format!("{masked} rows are cut at {} tokens", encoding.max_length));
    }
    lines
}

fn source(source: &SourceAudit) -> Result<Value, ReportError> {
    let kinds = [
        ("question, words", source.question_words.as_ref()),
        ("answer, words", source.answer_words.as_ref()),
        ("sequence, tokens", source.tokens.as_ref()),
        ("learnt, tokens", source.learnt_tokens.as_ref()),
    ];
    let mut lengths = Vec::new();
    for (kind, distribution) in kinds {
        let Some(distribution) = distribution else { continue };
        lengths.push(context! {
            kind,
            cells => spread(Some(distribution)),
            plot => safe(histogram(distribution)?),
        });
    }
    let mut languages: Vec<_> = source.languages.iter().collect();
    languages.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
    let examples = source.checks.iter().filter(|(_, tally)| tally.rows > 0);
    Ok(context! {
        name => &*source.source,
        rows => source.rows,
        lengths,
        languages => languages.iter().map(|(name, rows)| format!("{name} {rows}")).collect::<Vec<_>>(),
        examples => examples.map(|(check, tally)| context! {
            name => word(check),
            places => places(tally),
        }).collect::<Vec<_>>(),
    })
}

fn histogram(distribution: &Distribution) -> Result<String, ReportError> {
    let bins = distribution.histogram.iter().enumerate();
    let bars: Vec<_> = bins.map(|(bin, count)| (bin_name(bin), *count)).collect();
    plot::bars(&bars)
}

fn verdicts(judged: &Judged) -> Result<Value, ReportError> {
    let marks: Vec<Mark> = judged
        .sources
        .iter()
        .filter_map(|source| {
            let (value, interval) = (source.rate?, source.wilson?);
            Some(Mark { label: source.source.clone(), value, interval, reference: None })
        })
        .collect();
    Ok(context! {
        forest => safe(plot::forest(&marks)?),
        sources => judged.sources.iter().map(|source| context! {
            name => &*source.source,
            rows => source.rows,
            drawn => source.drawn,
            judged => source.judged,
            errors => source.errors,
            rate => source.rate.map(percent),
            wilson => source.wilson.map(interval),
        }).collect::<Vec<_>>(),
        total => judged.weighted_rate.zip(judged.weighted_interval).map(|(rate, bounds)| {
            format!("{} [{}]", percent(rate), interval(bounds))
        }),
        twice => judged.judged_twice,
        kappa => judged.kappa.map(|kappa| format!("{kappa:.3}")),
        disagreements => judged.disagreements.clone(),
        settled => judged.settled,
        seed => judged.seed.map(|seed| seed.to_string()),
    })
}
