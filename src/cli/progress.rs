//! Progress bars with rate and ETA, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

/// Returns a bar that counts items.
pub(super) fn items(shown: bool, count: usize) -> ProgressBar {
    bar(shown, "{wide_bar} {pos}/{len} {per_sec} ETA {eta}").with_length(count)
}

/// Returns a bar that counts bytes.
pub(super) fn bytes(shown: bool) -> ProgressBar {
    bar(shown, "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}")
}

fn bar(shown: bool, template: &str) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}

trait WithLength {
    fn with_length(self, count: usize) -> Self;
}

impl WithLength for ProgressBar {
    fn with_length(self, count: usize) -> Self {
        self.set_length(count as u64);
        self
    }
}
