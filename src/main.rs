//! The `medharness` program: hands the arguments to the library and exits with its code.

fn main() -> std::process::ExitCode {
    leave_cores_to_the_kernels();
    medharness::cli::main()
}

/// Keeps candle from threads of its own: they wait for its element-wise operations in a loop, on the
/// cores that the kernels' threads want. Half of a training's processor time was that.
#[expect(unsafe_code, reason = "candle takes this setting from the environment alone")]
fn leave_cores_to_the_kernels() {
    const THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        // SAFETY: the program has just begun: there is no other thread to read the environment.
        unsafe { std::env::set_var(THREADS, "1") };
    }
}
