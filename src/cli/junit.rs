//! JUnit XML: one test case for each part of a gate.
//!
//! A regression is a `<failure>`, a gate that could not decide an `<error>`.

use crate::claims::runs::{Gate, PartComparison};

/// Returns the document of a decision.
pub(super) fn of_gate(gate: &Gate) -> String {
    let cases: Vec<String> = gate.comparison.parts.iter().map(|part| case(gate, part)).collect();
    let failed = cases.iter().filter(|case| case.contains("<failure")).count();
    let flips = gate.comparison.flips.iter();
    let flips = flips.map(|flip| format!("{} ({}): {} -> {}", flip.id, flip.kind, flip.a, flip.b));
    let lines: Vec<String> =
        std::iter::once(gate.power.clone()).chain(flips).map(|line| escape(&line)).collect();
    let body = format!("{}    <system-out>{}</system-out>\n", cases.concat(), lines.join("\n"));
    document(cases.len(), failed, 0, &body)
}

/// Returns the document of a gate that could not decide.
pub(super) fn of_error(message: &str) -> String {
    let message = escape(message.trim());
    let body = format!(
        "    <testcase classname=\"medharness.gate\" name=\"all\" time=\"0\">\n      <error \
         message=\"{message}\"/>\n    </testcase>\n"
    );
    document(1, 0, 1, &body)
}

fn case(gate: &Gate, part: &PartComparison) -> String {
    let reasons: Vec<String> = gate
        .failures
        .iter()
        .filter(|failure| failure.part == part.name)
        .map(|failure| failure.reason.clone())
        .collect();
    let name = escape(&part.name);
    let open = format!("    <testcase classname=\"medharness.gate\" name=\"{name}\" time=\"0\"");
    if reasons.is_empty() {
        return format!("{open}/>\n");
    }
    let message = escape(&reasons.join("; "));
    format!("{open}>\n      <failure message=\"{message}\"/>\n    </testcase>\n")
}

fn document(tests: usize, failures: usize, errors: usize, body: &str) -> String {
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts} time=\"0\">\n  <testsuite \
         name=\"medharness gate\" {counts} skipped=\"0\" time=\"0\">\n{body}  </testsuite>\n</testsuites>\n"
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
