//! Replies that end in a loop: one piece of text over and over.

/// A reply's end that repeats one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repetition<'t> {
    /// The shortest unit that is repeated.
    pub unit: &'t str,
    /// How often, a cut last one not counted.
    pub times: usize,
}

impl Repetition<'_> {
    /// Returns whether the unit holds white space: words are repeated, not characters.
    pub fn is_of_words(&self) -> bool {
        self.unit.contains(char::is_whitespace)
    }
}

/// Fewest repetitions that make a loop.
const MIN_TIMES: usize = 4;

/// Fewest characters of a loop, so that `no no no no` is none.
const MIN_CHARACTERS: usize = 16;

/// A loop makes up at least one part in this many of the reply.
const MIN_SHARE: usize = 3;

/// Returns the loop that `reply` ends in, `None` if it ends in none: the same unit at least 4
/// times, at least 16 characters and a third of the reply in all, the last unit perhaps cut.
///
/// White space at the end is passed over. Takes time and memory proportional to the reply.
///
/// # Examples
///
/// ```
/// use medharness::protocol::repetition;
/// let reply = "Malaria causes fever, and chills and chills and chills and chills and chi";
/// let found = repetition(reply).expect("a loop");
/// assert_eq!(found.times, 4);
/// assert!(found.is_of_words());
/// assert_eq!(repetition("OOOOOOOOOOOOOOOOOOOO").expect("a loop").unit, "O");
/// assert_eq!(repetition("A: Aspirin"), None);
/// ```
pub fn repetition(reply: &str) -> Option<Repetition<'_>> {
    let reply = reply.trim_end();
    let backwards: Vec<char> = reply.chars().rev().collect();
    let length = backwards.len();
    let overlaps = overlaps(&backwards);
    let (period, looped) = (1..length.div_ceil(MIN_TIMES) + 1)
        .map_while(|period| Some((period, period + overlaps.get(period)?)))
        .find(|&(period, looped)| {
            looped >= MIN_TIMES * period && looped >= MIN_CHARACTERS && looped * MIN_SHARE >= length
        })?;
    let (start, _) = reply.char_indices().rev().nth(period - 1)?;
    Some(Repetition { unit: &reply[start..], times: looped / period })
}

/// For each position, how many items from there on equal those from the beginning on (the
/// Z-function); entry 0 is the whole length.
fn overlaps(items: &[char]) -> Vec<usize> {
    let mut found = vec![0; items.len()];
    let (mut left, mut right) = (0, 0);
    for at in 1..items.len() {
        let known = if at < right { found[at - left].min(right - at) } else { 0 };
        let more = items[known..].iter().zip(&items[at + known..]).take_while(|(a, b)| a == b);
        found[at] = known + more.count();
        if at + found[at] > right {
            (left, right) = (at, at + found[at]);
        }
    }
    if let Some(first) = found.first_mut() {
        *first = items.len();
    }
    found
}
