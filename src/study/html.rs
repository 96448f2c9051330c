//! The study as one HTML page, in the look of every report.

use minijinja::{Value, context};

use super::{
    AXES, Cell, Reproduction, RowResult,
    tables::{claim_verdict, reply, verdict},
    text::summary_lines,
};
use crate::{
    claims::{ClaimVerdict, Comparison, CountKind, Direction},
    reports::{
        ReportError, format,
        page::{Page, safe},
        plot::{self, Mark},
        short_label,
    },
};

const TEMPLATE: &str = include_str!("page.html");

/// Returns `index.html`.
pub(super) fn html(study: &Reproduction) -> Result<String, ReportError> {
    let mut rows = Vec::new();
    let mut marks = Vec::new();
    for row in &study.rows {
        rows.push(row_value(study, row)?);
        for (index, column) in study.table.columns.iter().enumerate() {
            if let Some(mark) = printed_mark(study, row, index) {
                let label = format!("{} · {}", row.model, column.name);
                marks.push(Mark { label, ..mark });
            }
        }
    }
    let protocols: Vec<Value> = study
        .protocols
        .iter()
        .map(|protocol| {
            context! {
                label => short_label(&protocol.id, protocol.sha256()),
                title => &*protocol.title,
                counts => study.counts(Some(&protocol.id)).words(),
            }
        })
        .collect();
    let title = format!("{}: printed and measured", study.table.name);
    let sections = [
        ("table", "Table"),
        ("audit", "Audit"),
        ("claims", "Claims"),
        ("dispute", "Dispute"),
        ("extractors", "Reading rules"),
        ("weights", "Weights"),
    ];
    let page = Page {
        title: &title,
        kicker: "medharness reproduce",
        sections: &sections,
        footer: "Made by `medharness reproduce`. This file loads nothing from anywhere.",
        island: "",
    };
    page.render(
        TEMPLATE,
        context! {
            short => summary_lines(study),
            missing => study.rows.iter().filter(|row| row.to_download.is_some()).count(),
            columns => study.table.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>(),
            protocols,
            rows,
            forest => safe(plot::forest(&marks)?),
            audit => audit(study),
            dispute => dispute(study),
            matrix => matrix(study),
        },
    )
}

/// The printed value with the interval of the count it stands for, and the column's constant.
fn printed_mark(study: &Reproduction, row: &RowResult, index: usize) -> Option<Mark> {
    let cell = study.audit.cell(&row.model, index)?;
    let value = study.table.row(&row.model)?.values[index].as_ref()?.value();
    let reference = study.audit.columns[index].baseline.as_ref().map(|baseline| baseline.value);
    Some(Mark { label: String::new(), value, interval: cell.wilson?, reference })
}

fn row_value(study: &Reproduction, row: &RowResult) -> Result<Value, ReportError> {
    let mut printed = Vec::new();
    for (index, text) in row.printed.iter().enumerate() {
        let Some(text) = text else {
            printed.push(context! { text => "–", value => "" });
            continue;
        };
        let cell = study.audit.cell(&row.model, index);
        let count = cell.and_then(|cell| cell.count);
        let mark = printed_mark(study, row, index);
        let interval = mark.as_ref().map(plot::interval).transpose()?;
        printed.push(context! {
            text => &**text,
            value => mark.as_ref().map(|mark| mark.value),
            wilson => mark.as_ref().map(|mark| format::interval(mark.interval)),
            plot => interval.map(safe),
            count => count.map(|count| match count.kind {
                CountKind::Nearest => format!("no count of {}", count.trials),
                _ => format!("{} of {}", count.successes, count.trials),
            }),
            fits => count.is_some_and(|count| count.kind != CountKind::Nearest),
        });
    }
    let mut runs = Vec::new();
    for run in row.runs.iter().filter(|run| run.run.is_some()) {
        let cells: Vec<Value> = run
            .cells
            .iter()
            .map(|cell| cell.as_ref().map_or_else(|| Ok(Value::from(())), ours))
            .collect::<Result<_, _>>()?;
        runs.push(context! {
            protocol => &*run.protocol.id,
            hash => run.protocol.sha256.get(..8),
            exam => run.run.as_ref().map(|run| short_label(&run.exam.name, &run.exam.sha256)),
            seed => run.run.as_ref().map(|run| run.seed),
            cells,
        });
    }
    let note = row.weights.as_ref().and_then(|weights| weights.note.clone());
    Ok(context! {
        model => &*row.model,
        base => row.base.clone(),
        printed,
        runs,
        download => row.to_download.clone(),
        note,
    })
}

fn ours(cell: &Cell) -> Result<Value, ReportError> {
    let (name, why) = verdict(&cell.comparison.verdict);
    let mark = cell.ours.as_ref().map(|ours| Mark::new("", ours, None));
    let interval = mark.as_ref().map(plot::interval).transpose()?;
    Ok(context! {
        verdict => name,
        class => name.replace(' ', "_"),
        why,
        value => cell.ours.as_ref().map(|ours| format!("{:.3}", ours.value)),
        count => cell.ours.as_ref().map(|o| format!("{} of {}", o.successes, o.trials)),
        wilson => cell.ours.as_ref().map(|ours| format::interval(ours.wilson)),
        plot => interval.map(safe),
        difference => cell.comparison.difference.map(|d| format!("{:+.1} points", 100.0 * d)),
    })
}

fn audit(study: &Reproduction) -> Value {
    let columns: Vec<Value> = study
        .audit
        .columns
        .iter()
        .map(|column| {
            let found = column.found.as_ref();
            context! {
                name => &*column.name,
                printed => column.printed,
                n => found.map(|fit| fit.n),
                rows => found.map(|fit| fit.rows),
                p => found.map(|fit| format!("{:.0e}", fit.p)),
                p_corrected => found.map(|fit| format!("{:.0e}", fit.p_corrected)),
                stated => column.stated.iter().map(|stated| context! {
                    n => stated.fit.n,
                    rows => stated.fit.rows,
                    place => &*stated.place,
                }).collect::<Vec<_>>(),
                baseline => column.baseline.as_ref().map(|baseline| format!(
                    "{}: {} of {}, {}",
                    baseline.label, baseline.successes, baseline.trials,
                    format::percent(baseline.value),
                )),
            }
        })
        .collect();
    let inference = study.audit.inference.as_ref().map(|inference| {
        context! {
            summary => &*inference.cause.summary,
            code => &*inference.cause.code,
            place => &*inference.cause.place,
            columns => inference.columns.iter().map(|column| context! {
                name => &*column.name,
                questions => column.questions,
                excluded => column.excluded,
                never_asked => column.never_asked,
                left => column.questions - column.excluded - column.never_asked,
            }).collect::<Vec<_>>(),
            facts => inference.facts.iter().map(|fact| context! {
                kind => format!("{:?}", fact.kind).to_lowercase(),
                text => &*fact.text,
                place => &*fact.place,
            }).collect::<Vec<_>>(),
            readings => inference.readings.iter().map(|reading| context! {
                model => &*reading.model,
                column => &*reading.column,
                counts => reading.counts.join(" or "),
                note => &*reading.note,
            }).collect::<Vec<_>>(),
        }
    });
    let against = |pick: fn(&crate::claims::CellAudit) -> Option<&Comparison>| -> Vec<Value> {
        let with = |row: &crate::claims::RowAudit| {
            let cells: Vec<Option<&Comparison>> =
                row.cells.iter().map(|cell| cell.as_ref().and_then(pick)).collect();
            cells.iter().any(Option::is_some).then(|| {
                context! {
                    model => &*row.model,
                    base => row.base.clone(),
                    cells => cells.into_iter().map(compared).collect::<Vec<_>>(),
                }
            })
        };
        study.audit.rows.iter().filter_map(with).collect()
    };
    context! {
        columns,
        inference,
        against_baseline => against(|cell| cell.against_baseline.as_ref()),
        against_base => against(|cell| cell.against_base.as_ref()),
        claims => study.audit.claims.iter().map(|judged| context! {
            text => &*judged.claim.text,
            place => &*judged.claim.source.place,
            verdict => claim_verdict(judged.verdict),
            class => match judged.verdict {
                ClaimVerdict::Supported => "supported",
                ClaimVerdict::Contradicted => "contradicted",
                ClaimVerdict::NotTestable => "not_testable",
            },
            because => &*judged.because,
        }).collect::<Vec<_>>(),
    }
}

fn compared(comparison: Option<&Comparison>) -> Value {
    let Some(comparison) = comparison else { return Value::from(()) };
    context! {
        difference => format!("{:+.1}", 100.0 * comparison.difference),
        value => comparison.difference,
        p => format::p_value(comparison.p_holm),
        direction => match comparison.direction {
            Direction::Above => "above",
            Direction::Below => "below",
            Direction::NotDistinguishable => "not distinguishable",
        },
    }
}

fn dispute(study: &Reproduction) -> Value {
    let others = &study.others;
    let beside = others.beside(&study.table, &study.audit);
    let source = |key: &str| others.sources.get(key);
    let rest = others
        .figures
        .iter()
        .filter(|figure| !beside.iter().any(|dispute| std::ptr::eq(dispute.figure, *figure)));
    context! {
        cells => beside.iter().map(|dispute| context! {
            model => &*dispute.figure.model,
            column => &*dispute.figure.exam,
            printed => &*dispute.printed,
            theirs => format!("{:.3}", dispute.figure.value),
            difference => dispute.test.as_ref().map(|test| format!("{:+.1}", 100.0 * test.difference)),
            value => dispute.test.as_ref().map(|test| test.difference),
            p => dispute.test.as_ref().map(|test| {
                format::p_value(test.p).trim_start_matches("= ").to_owned()
            }),
            place => &*dispute.source.place,
            protocol => &*dispute.source.protocol,
            note => dispute.figure.note.clone(),
        }).collect::<Vec<_>>(),
        figures => rest.map(|figure| context! {
            model => &*figure.model,
            exam => &*figure.exam,
            printed => &*figure.printed,
            place => source(&figure.source).map(|source| source.place.clone()),
            protocol => source(&figure.source).map(|source| source.protocol.clone()),
            date => source(&figure.source).map(|source| source.date.clone()),
            note => figure.note.clone(),
        }).collect::<Vec<_>>(),
        remarks => others.remarks.iter().map(|remark| context! {
            model => &*remark.model,
            text => &*remark.text,
            place => source(&remark.source).map(|source| source.place.clone()),
        }).collect::<Vec<_>>(),
        history => study.history.0.iter().map(|state| context! {
            date => state.date.get(..10),
            commit => &*state.commit,
            place => &*state.place,
            protocol => &*state.protocol,
            change => &*state.change,
            rows => state.rows.iter().map(|(model, values)| context! {
                model => &**model,
                values => values.to_vec(),
            }).collect::<Vec<_>>(),
        }).collect::<Vec<_>>(),
        protocols => study.axes.0.clone(),
        axes => study.axes.1.iter().map(|axis| context! {
            name => axis.name,
            values => axis.values.clone(),
            differs => axis.differs,
        }).collect::<Vec<_>>(),
        run_axes => AXES.iter().map(|&(name, values)| context! { name, values }).collect::<Vec<_>>(),
    }
}

fn matrix(study: &Reproduction) -> Value {
    context! {
        rules => study.extractors.rules.clone(),
        replies => study.extractors.rows.iter().map(|row| context! {
            reply => reply(&row.reply),
            cells => row.picked.iter().zip(&row.by_default).map(|(picked, by_default)| context! {
                picked => &**picked,
                by_default => *by_default,
            }).collect::<Vec<_>>(),
            letters => row.letters,
        }).collect::<Vec<_>>(),
    }
}
