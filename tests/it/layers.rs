//! Modules import only from lower layers, and files stay readable.

use std::{fs, path::Path};

/// Lowest first. A module may use any earlier row, never its own row or a later one.
const LAYERS: &[&[&str]] = &[
    &["kernels", "exam", "stats"],
    &["quant", "protocol", "corpus"],
    &["lora", "store"],
    &["llama", "claims"],
    &["models", "reports"],
    &["eval", "train"],
    &["study"],
    &["cli"],
];

/// Longest source file allowed, tests included.
const MAX_LINES: usize = 600;

#[test]
fn imports_point_down() {
    let layer = |name: &str| LAYERS.iter().position(|row| row.contains(&name));
    let mut wrong = Vec::new();
    for (path, text) in sources(Path::new("src")) {
        let module = path.split('/').nth(1).unwrap_or_default().trim_end_matches(".rs");
        let Some(own) = layer(module) else {
            assert!(matches!(module, "lib" | "main"), "{path}: `{module}` is in no layer");
            continue;
        };
        for (number, line) in imports(&text) {
            for used in roots(&line) {
                if let Some(theirs) =
                    Some(used).filter(|used| used != module).and_then(|u| layer(&u))
                    && theirs >= own
                {
                    wrong.push(format!("{path}:{number}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable() {
    for dir in ["src", "tests", "benchmarks", "examples"] {
        for (path, text) in sources(Path::new(dir)) {
            let lines = text.lines().count();
            assert!(lines <= MAX_LINES, "{path} has {lines} lines, more than {MAX_LINES}");
            assert!(
                text.starts_with("//!"),
                "{path} does not begin with `//!`: say what it is for"
            );
        }
    }
}

/// Each statement that names `crate::`, joined to one line, with the number of its first line.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim_start().starts_with("//") || !line.contains("crate::") {
            continue;
        }
        let mut statement = line.to_owned();
        if line.trim_start().starts_with("use ") || line.trim_start().starts_with("pub use ") {
            while !statement.contains(';') {
                let Some((_, next)) = lines.next() else { break };
                statement.push_str(next.trim());
            }
        }
        found.push((number + 1, statement));
    }
    found
}

/// The modules named right behind `crate::`, also in braces: `crate::{exam::Letter, stats}`.
fn roots(statement: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in statement.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            continue;
        };
        let (mut depth, mut name) = (0, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push(std::mem::take(&mut name)),
                c if depth == 0 => name.push(c),
                _ => {}
            }
        }
        found.push(name);
    }
    found.iter().map(|name| name.trim().split("::").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn grouped_imports_are_seen() {
    let text = "use crate::{\n    exam::{Letter, Question},\n    study,\n};";
    let (number, statement) = &imports(text)[0];
    assert_eq!(*number, 1);
    assert_eq!(roots(statement), ["exam", "study", ""].map(String::from));
}

/// Path and text of every Rust file under `dir`.
fn sources(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries {
        let path = entry.expect("readable folder").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8 source");
            found.push((path.display().to_string(), text));
        }
    }
    found
}
