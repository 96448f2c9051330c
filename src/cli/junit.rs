//! JUnit XML: one test case for each part of a gate.
//!
//! A regression is a `<failure>`, a gate that could not decide an `<error>`.

use crate::{
    claims::runs::{Gate, READ},
    study::mini::StudyGate,
};

/// Returns the document of a decision.
pub(super) fn of_gate(gate: &Gate) -> String {
    let cases = cases(gate, "medharness.gate");
    let failed = cases.iter().filter(|case| case.contains("<failure")).count();
    let lines: Vec<String> = std::iter::once(escape(&gate.power)).chain(flips(gate, "")).collect();
    let body = format!("{}    <system-out>{}</system-out>\n", cases.concat(), lines.join("\n"));
    document(&Counts { tests: cases.len(), failed, ..Counts::default() }, &body)
}

/// Returns the document of a decision over a study: the test cases of each run, with the run's name
/// as their class; the flips are those of runs that failed.
pub(super) fn of_study(study: &StudyGate) -> String {
    let (mut all, mut lines) = (Vec::new(), Vec::new());
    for run in &study.runs {
        all.extend(cases(&run.gate, &run.name()));
        if !run.gate.passes {
            lines.extend(flips(&run.gate, &format!("{}: ", run.name())));
        }
    }
    lines.extend(study.added.iter().map(|name| escape(&format!("{name}: not in the baseline"))));
    for name in &study.missing {
        let open = format!("    <testcase classname=\"{}\" name=\"all\" time=\"0\"", escape(name));
        all.push(match study.partial {
            true => format!("{open}>\n      <skipped message=\"not made\"/>\n    </testcase>\n"),
            false => format!("{open}>\n      <failure message=\"not made\"/>\n    </testcase>\n"),
        });
    }
    let failed = all.iter().filter(|case| case.contains("<failure")).count();
    let body = format!("{}    <system-out>{}</system-out>\n", all.concat(), lines.join("\n"));
    let skipped = if study.partial { study.missing.len() } else { 0 };
    document(&Counts { tests: all.len(), failed, skipped, errors: 0 }, &body)
}

/// Every question answered otherwise, a line each.
fn flips<'a>(gate: &'a Gate, before: &'a str) -> impl Iterator<Item = String> + 'a {
    gate.comparison.flips.iter().map(move |flip| {
        escape(&format!("{before}{} ({}): {} -> {}", flip.id, flip.kind, flip.a, flip.b))
    })
}

/// A case for each part, and one for what is read where that fails.
fn cases(gate: &Gate, class: &str) -> Vec<String> {
    let parts = gate.comparison.parts.iter().map(|part| &*part.name);
    let read = gate.failures.iter().any(|failure| failure.part == READ).then_some(READ);
    parts.chain(read).map(|part| case(gate, class, part)).collect()
}

/// Returns the document of a gate that could not decide.
pub(super) fn of_error(message: &str) -> String {
    let message = escape(message.trim());
    let body = format!(
        "    <testcase classname=\"medharness.gate\" name=\"all\" time=\"0\">\n      <error \
         message=\"{message}\"/>\n    </testcase>\n"
    );
    document(&Counts { tests: 1, errors: 1, ..Counts::default() }, &body)
}

fn case(gate: &Gate, class: &str, part: &str) -> String {
    let reasons: Vec<String> = gate
        .failures
        .iter()
        .filter(|failure| failure.part == part)
        .map(|failure| failure.reason.clone())
        .collect();
    let (class, name) = (escape(class), escape(part));
    let open = format!("    <testcase classname=\"{class}\" name=\"{name}\" time=\"0\"");
    if reasons.is_empty() {
        return format!("{open}/>\n");
    }
    let message = escape(&reasons.join("; "));
    format!("{open}>\n      <failure message=\"{message}\"/>\n    </testcase>\n")
}

/// Numbers of test cases.
#[derive(Default)]
struct Counts {
    tests: usize,
    failed: usize,
    errors: usize,
    skipped: usize,
}

fn document(counts: &Counts, body: &str) -> String {
    let Counts { tests, failed, errors, skipped } = counts;
    let counts = format!("tests=\"{tests}\" failures=\"{failed}\" errors=\"{errors}\"");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts} time=\"0\">\n  <testsuite \
         name=\"medharness gate\" {counts} skipped=\"{skipped}\" time=\"0\">\n{body}  </testsuite>\n</testsuites>\n"
    )
}

/// Escapes text for an element or an attribute. XML 1.0 has no way to write most control
/// characters: they become U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' => escaped += "&#10;",
            '\t' => escaped += "&#9;",
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_file_becomes_markup() {
        assert_eq!(escape("<a b=\"&\">\u{1}\n"), "&lt;a b=&quot;&amp;&quot;&gt;\u{fffd}&#10;");
        let document = of_error("]]><failure message=\"\">");
        assert_eq!(document.matches("<failure").count(), 0);
        assert_eq!(document.matches("<error ").count(), 1);
    }
}
