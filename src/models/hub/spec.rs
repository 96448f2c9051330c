//! Names of models on the hub, and of the files in them: what is allowed, and nothing else.

use std::fmt;

use super::HubError;

/// Longest name of a file within a repository, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// Longest part between slashes; most file systems hold no more.
const MAX_PART_BYTES: usize = 255;

/// A model on the hub: `hf:org/name[@revision]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSpec {
    /// `org/name`.
    pub repository: String,
    /// A branch, a tag, or a commit of 40 hex digits; `main` by default.
    pub revision: String,
}

impl HubSpec {
    /// Returns whether `text` means a model on the hub, well-formed or not.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("hf:")
    }

    /// Reads `hf:org/name[@revision]`.
    ///
    /// # Errors
    ///
    /// [`HubError::Spec`] unless both parts are names the hub could hold.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::models::hub::HubSpec;
    ///
    /// let spec = HubSpec::parse("hf:medalpaca/medalpaca-7b@main").unwrap();
    /// assert_eq!(spec.repository, "medalpaca/medalpaca-7b");
    /// assert!(HubSpec::parse("hf:../secret").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let refused = |problem| HubError::Spec { spec: text.to_owned(), problem };
        let name = text.strip_prefix("hf:").ok_or_else(|| refused("it does not begin with hf:"))?;
        let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
        let parts: Vec<&str> = repository.split('/').collect();
        if parts.len() > 2 {
            return Err(refused("a repository is org/name"));
        }
        for part in parts {
            check_repository_part(part).map_err(refused)?;
        }
        check_file_name(revision).map_err(refused)?;
        Ok(Self { repository: repository.to_owned(), revision: revision.to_owned() })
    }

    /// Returns the commit if the revision is one in full.
    pub fn pinned(&self) -> Option<&str> {
        is_commit(&self.revision).then_some(&*self.revision)
    }
}

impl fmt::Display for HubSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}@{}", self.repository, self.revision)
    }
}

/// Returns whether `text` is a commit in full.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The hub's own rules for the parts of a repository's name.
fn check_repository_part(part: &str) -> Result<(), &'static str> {
    if part.is_empty() || part.len() > 96 {
        return Err("a part of the repository's name is empty or longer than 96 characters");
    }
    if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err("a repository's name has only letters, digits, `-`, `_` and `.`");
    }
    if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
        return Err("a part of the repository's name begins or ends with `-` or `.`");
    }
    if part.contains("--") || part.contains("..") {
        return Err("a repository's name holds `--` or `..`");
    }
    Ok(())
}

/// Checks that a name from the network stays within its folder on every system, and that every
/// system can hold it: POSIX and Windows rules together.
///
/// Source: the traversals that huggingface_hub refuses since its pull request 4540.
pub(super) fn check_file_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err("it is empty or too long");
    }
    if name.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c)) {
        return Err("it holds a character that not every system allows in a name");
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Err("it begins or ends with a slash, or holds two in a row");
        }
        if part.len() > MAX_PART_BYTES {
            return Err("a part of it is longer than 255 bytes");
        }
        if part.ends_with(['.', ' ']) || part.starts_with(' ') {
            return Err("a part of it is `.` or `..`, or ends in a dot or a blank");
        }
        let stem = part.split('.').next().unwrap_or_default().to_ascii_uppercase();
        if is_device(&stem) {
            return Err("a part of it is the name of a device on Windows");
        }
    }
    Ok(())
}

/// Returns whether a name could lead out of its folder on some system. Git cannot hold such a name,
/// so a repository that lists one is not to be trusted; other names that [`check_file_name`] refuses
/// (`results_10:22.json`) occur in good faith and are only never used.
pub(super) fn leads_outside(name: &str) -> bool {
    let drive = name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
    let control = name.is_empty() || name.contains(['\\', '\0']);
    drive || control || name.starts_with('/') || name.split('/').any(|part| part == "..")
}

fn is_device(stem: &str) -> bool {
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    matches!(stem, "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_has_two_parts_and_a_revision() {
        let spec = HubSpec::parse("hf:medalpaca/medalpaca-7b").unwrap();
        assert_eq!((&*spec.repository, &*spec.revision), ("medalpaca/medalpaca-7b", "main"));
        assert_eq!(spec.pinned(), None);
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let spec = HubSpec::parse(&format!("hf:gpt2@{commit}")).unwrap();
        assert_eq!(spec.pinned(), Some(commit));
        assert_eq!(spec.to_string(), format!("hf:gpt2@{commit}"));
        assert_eq!(HubSpec::parse("hf:a/b@refs/pr/1").unwrap().revision, "refs/pr/1");
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "medalpaca/x",
            "hf:",
            "hf:a/b/c",
            "hf:a/",
            "hf:/b",
            "hf:../b",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@../x",
            "hf:a/b@/x",
            "hf:a b/c",
            "hf:a/b@x\\y",
            "hf:a/-b",
            "hf:a/b--c",
            "hf:a/b?x",
            "hf:a/b#x",
            "hf:a/b@c:d",
            "hf:a%2fb",
        ] {
            assert!(HubSpec::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_that_leave_their_folder_are_refused() {
        let long = "x".repeat(256);
        let longer = "x/".repeat(600) + "x";
        for name in [
            "",
            "../x",
            "/x",
            "C:\\x",
            "C:x",
            "\\\\h\\s",
            "\\x",
            "a/../../x",
            "a/..",
            "..",
            ".",
            "./x",
            "a/./b",
            "a//b",
            "a/",
            "x\0",
            "a\nb",
            "a\u{7f}",
            "a\u{85}",
            &long,
            &longer,
            "CON",
            "con.txt",
            "a/NUL",
            "com1",
            "LPT9.bin",
            "x ",
            "x.",
            "a. /b",
            "... ",
            "x:y",
            "a*b",
            "a?b",
            "a|b",
            "a<b",
            "a\"b",
        ] {
            assert!(check_file_name(name).is_err(), "{name:?}");
        }
        for name in [
            "config.json",
            "a/b.bin",
            ".gitattributes",
            "pytorch_model-00001-of-00003.bin",
            "ünï.txt",
            "con1",
            "a..b",
            "com",
            "com10",
        ] {
            assert_eq!(check_file_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn odd_names_in_good_faith_are_told_from_traversals() {
        for name in ["../x", "/x", "C:\\x", "c:x", "\\\\h\\s", "a/../../x", "x\0", "a\\b", "", ".."]
        {
            assert!(leads_outside(name), "{name:?}");
        }
        for name in ["results_10:22.json", "a?b", "NUL", "x ", "a..b", "...", "12:34"] {
            assert!(!leads_outside(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_in_its_folder(name in "[a-c./\\\\: ]{0,12}") {
            if check_file_name(&name).is_ok() {
                let parts = std::path::Path::new(&name).components();
                prop_assert!(parts.into_iter().all(|part| matches!(part, std::path::Component::Normal(_))));
            }
        }
    }
}
