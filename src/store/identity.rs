//! What a run's numbers depend on: the program, the machine, and the short name of it all.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::Serialize;

use super::{
    ExamIdentity, Machine, Manifest, ModelIdentity, ProtocolIdentity, Selection, Shard,
    ToolIdentity, sha256_hex,
};

impl ModelIdentity {
    /// Returns the identity of a model without files.
    pub fn new(name: impl Into<String>, backend: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            backend: backend.into(),
            sha256: None,
            adapter_sha256: None,
            tokenizer_sha256: None,
            dtype: None,
            files: Vec::new(),
            adapter_files: Vec::new(),
        }
    }
}

impl ToolIdentity {
    /// Returns the program that is running.
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            git_revision: env!("MEDHARNESS_GIT_REVISION").into(),
            rustc: env!("MEDHARNESS_RUSTC").into(),
            target: env!("MEDHARNESS_TARGET").into(),
        }
    }
}

impl Machine {
    /// Returns the machine this runs on; what the system does not tell is `unknown` or 0.
    pub fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        let unknown = || "unknown".to_owned();
        let kib = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|value| value.trim_end_matches(" kB").parse::<u64>().ok());
        let kernel = read("/proc/sys/kernel/osrelease");
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            threads: std::thread::available_parallelism().map_or(0, usize::from),
            mem_bytes: kib.unwrap_or(0) * 1024,
            os: format!("{} {}", std::env::consts::OS, kernel.trim()).trim().to_owned(),
        }
    }
}

/// Everything that decides the bytes of `attempts.jsonl`, and nothing else.
#[derive(Serialize)]
struct Identity<'a> {
    format_version: u32,
    model: ModelKey<'a>,
    exam_sha256: &'a str,
    protocol: &'a ProtocolIdentity,
    seed: u64,
    selection: &'a Selection,
    kernel_set: &'a str,
    tool_version: &'a str,
}

/// Who answers, without where its files lay.
#[derive(Serialize)]
struct ModelKey<'a> {
    name: &'a str,
    backend: &'a str,
    sha256: &'a Option<String>,
    adapter_sha256: &'a Option<String>,
    tokenizer_sha256: &'a Option<String>,
    dtype: &'a Option<String>,
    /// Digest by name: the configuration decides a network's numbers as its weights do.
    files: BTreeMap<&'a str, &'a str>,
}

impl Manifest {
    /// Returns the first 16 hex digits of the sha256 over everything that decides the attempts:
    /// model with its files, exam, protocol, seed, selection, kernel set and program version.
    ///
    /// Two runs with the same id have the same `attempts.jsonl`, byte for byte.
    pub fn derive_run_id(&self) -> String {
        let json = serde_json::to_vec(&self.identity()).expect("strings and numbers serialize");
        sha256_hex(&json)[..16].to_owned()
    }

    /// Returns each identity in which `wanted` differs from this manifest, in words.
    pub fn differences(&self, wanted: &Self) -> Vec<String> {
        let [stored, wanted] = [self, wanted].map(|manifest| {
            serde_json::to_value(manifest.identity()).expect("strings and numbers serialize")
        });
        let mut found = Vec::new();
        compare("", &stored, &wanted, &mut found);
        found
    }

    fn identity(&self) -> Identity<'_> {
        let ModelIdentity {
            name, backend, sha256, adapter_sha256, tokenizer_sha256, dtype, ..
        } = &self.model;
        let files = self.model.files.iter().map(|file| (&*file.name, &*file.sha256)).collect();
        let ExamIdentity { sha256: exam_sha256, .. } = &self.exam;
        Identity {
            format_version: self.format_version,
            model: ModelKey {
                name,
                backend,
                sha256,
                adapter_sha256,
                tokenizer_sha256,
                dtype,
                files,
            },
            exam_sha256,
            protocol: &self.protocol,
            seed: self.seed,
            selection: &self.selection,
            kernel_set: &self.kernel_set,
            tool_version: &self.tool.version,
        }
    }
}

/// Lists the leaves in which two trees of JSON differ; maps of questions by their sizes only.
fn compare(
    name: &str,
    stored: &serde_json::Value,
    wanted: &serde_json::Value,
    found: &mut Vec<String>,
) {
    use serde_json::Value::Object;
    if stored == wanted {
        return;
    }
    match (stored, wanted) {
        (Object(a), Object(b)) if matches!(name, "selection.excluded" | "selection.not_run") => {
            found.push(format!("{name} differs ({} and {} questions)", a.len(), b.len()));
        }
        (Object(a), Object(b)) => {
            let mut fields: Vec<_> = a.keys().chain(b.keys()).collect();
            fields.sort();
            fields.dedup();
            for field in fields {
                let path = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                let absent = serde_json::Value::Null;
                let [a, b] = [a, b].map(|object| object.get(field).unwrap_or(&absent));
                compare(&path, a, b, found);
            }
        }
        _ => found.push(format!("{name} is {stored}, wanted {wanted}")),
    }
}

impl Shard {
    /// Why a run does not ask the questions of the other parts.
    pub const REASON: &str = "in another shard";

    /// Returns the part, `None` unless `index` is one of 1 to `of`.
    pub fn new(index: usize, of: usize) -> Option<Self> {
        (1..=of).contains(&index).then_some(Self { index, of })
    }

    /// Returns whether the question at `position` of those to ask, from 0, is in this part.
    pub fn holds(self, position: usize) -> bool {
        position % self.of == self.index - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('/')
            .and_then(|(index, of)| Self::new(index.parse().ok()?, of.parse().ok()?))
            .ok_or_else(|| format!("`{text}` is not `i/n` with i from 1 to n"))
    }
}
