//! Seeds: every random choice takes one, and every seed can be derived again by hand.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where a sequence of random numbers starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// Returns the seed of one attempt at one question, from the run's seed.
    ///
    /// The first 8 bytes, big-endian, of the sha256 of
    /// `medharness-seed-v1\n<run seed>\n<question id>\n<attempt>`, numbers in decimal. So it
    /// depends on nothing else: not on order, batch, shard or thread. To derive it by hand:
    ///
    /// ```sh
    /// printf 'medharness-seed-v1\n%s\n%s\n%s' 42 step1/4 1 | sha256sum | cut -c1-16   # hex
    /// ```
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::stats::Seed;
    ///
    /// assert_eq!(Seed(42).derive("step1/4", 1), Seed(0xdcca_186c_08e9_f119));
    /// ```
    #[must_use]
    pub fn derive(self, question_id: &str, attempt: u32) -> Self {
        let text = format!("medharness-seed-v1\n{}\n{question_id}\n{attempt}", self.0);
        let digest = Sha256::digest(text.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Seed {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}
