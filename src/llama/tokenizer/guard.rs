//! A fence around the tokenizers library: its panics become errors.
//!
//! A hostile `tokenizer.json` can make the library panic while loading, encoding or decoding
//! (tokenizers pull request 2151 lists six ways). What can be seen in the file is refused by
//! [`check`](super::check); the rest is caught here. The panic's message goes into the error, and
//! the process's panic hook stays silent for it.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

use super::TokenizerError;

thread_local! {
    /// Whether a panic of this thread is going to be caught below.
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call` and returns its result; an error or a panic of it as a [`TokenizerError`].
pub(super) fn fenced<T>(
    operation: &'static str,
    call: impl FnOnce() -> tokenizers::Result<T>,
) -> Result<T, TokenizerError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if !FENCED.get() {
                previous(info);
            }
        }));
    });
    let outer = FENCED.replace(true);
    // The library's state is immutable but for caches, which hold finished entries only.
    let result = catch_unwind(AssertUnwindSafe(call));
    FENCED.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(TokenizerError::Library { operation, source }),
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "panic without a message".into());
            Err(TokenizerError::Panicked { operation, message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = fenced("encode", || -> tokenizers::Result<()> { panic!("attempt {}", 7) });
        assert!(
            matches!(error, Err(TokenizerError::Panicked { message, .. }) if message == "attempt 7")
        );
        assert!(!FENCED.get());
    }
}
