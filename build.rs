//! Tells the program which commit, compiler and target it was built from; runs name them.
//!
//! Outside a checkout, or without git, the revision is `unknown`; the build never fails for it.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=src");
    for name in ["HEAD", "index"] {
        if let Some(path) = output("git", &["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let values = [
        ("MEDHARNESS_GIT_REVISION", revision()),
        ("MEDHARNESS_RUSTC", output(&rustc, &["--version"])),
        ("MEDHARNESS_TARGET", env::var("TARGET").ok()),
    ];
    for (name, value) in values {
        println!("cargo::rustc-env={name}={}", value.unwrap_or_else(|| "unknown".into()));
    }
}

/// The commit, with `-dirty` if tracked files differ from it; `None` if this is no checkout of it.
fn revision() -> Option<String> {
    // A release unpacked inside another project's checkout must not name that project's commit.
    output("git", &["ls-files", "--error-unmatch", "src/lib.rs"])?;
    let commit = output("git", &["rev-parse", "HEAD"])?;
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
