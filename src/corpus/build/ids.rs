//! Names of rows, unique within their source.

use std::{collections::HashSet, path::Path};

use sha2::{Digest, Sha256};

/// Names rows in the order in which they are read, taken or not, so that a row's name depends on the
/// files alone. Memory holds sixteen bytes a row.
pub(super) struct Ids {
    has_several_files: bool,
    seen: HashSet<[u8; 16]>,
}

impl Ids {
    /// Starts a source; readers name rows within a file, so that of several files is named too.
    pub(super) fn new(has_several_files: bool) -> Self {
        Self { has_several_files, seen: HashSet::new() }
    }

    /// Returns the name of the next row, which its reader calls `id`, in the file `path` of the
    /// recipe: `a.csv#7` of several files, and with `~2`, `~3`, … where the name was there before.
    pub(super) fn name(&mut self, path: &Path, id: &str) -> String {
        let name = match self.has_several_files {
            true => format!("{}#{id}", path.display().to_string().replace('\\', "/")),
            false => id.to_owned(),
        };
        if self.seen.insert(key(&name)) {
            return name;
        }
        let numbered = (2_usize..).map(|number| format!("{name}~{number}"));
        let mut free = numbered.filter(|name| self.seen.insert(key(name)));
        free.next().expect("there are more numbers than rows")
    }
}

fn key(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(name.as_bytes())[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once() {
        let mut one = Ids::new(false);
        let names: Vec<String> =
            ["u1", "u1", "u1~2", "u1", ""].map(|id| one.name(Path::new("a.csv"), id)).into();
        assert_eq!(names, ["u1", "u1~2", "u1~2~2", "u1~3", ""]);
        let mut several = Ids::new(true);
        assert_eq!(several.name(Path::new("d/a.csv"), "1"), "d/a.csv#1");
        assert_eq!(several.name(Path::new("d/b.csv"), "1"), "d/b.csv#1");
    }
}
