//! The recipes that are part of the program.

use std::path::Path;

use super::{Recipe, RecipeError};

macro_rules! recipes {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../benchmarks/recipes/", $name, ".toml")))),*]
    };
}

/// Name and text of each, reproductions first.
const NAMED: &[(&str, &str)] = recipes![
    "medalpaca-7b-lora-8bit-2023",
    "medalpaca-7b-lora-2023",
    "medalpaca-7b-full-2023",
    "medalpaca-13b-lora-8bit-2023",
    "medalpaca-13b-lora-2023",
    "medalpaca-13b-full-2023",
    "alpaca-lora",
    "recommended",
    "mini-pretrain-small",
    "mini-pretrain-large",
    "mini-full",
    "mini-lora",
    "mini-lora-8bit",
];

impl Recipe {
    /// Returns the names of the recipes that are part of the program.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// Returns a recipe that is part of the program.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Unknown`] if there is none of this name.
    pub fn named(name: &str) -> Result<Self, RecipeError> {
        match NAMED.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(text, name),
            None => Err(RecipeError::Unknown { name: name.to_owned() }),
        }
    }

    /// Reads a recipe from a file, or by name where no such file is there.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn open(path_or_name: &str) -> Result<Self, RecipeError> {
        let path = Path::new(path_or_name);
        if !path.is_file() && path.extension().is_none() {
            return Self::named(path_or_name);
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path_or_name)
    }
}
