//! Tells the program which commit, compiler and target it was built from; runs name them. Makes the
//! files of `golden/mini` part of it.
//!
//! Outside a checkout, or without git, the revision is `unknown`; the build never fails for it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    for path in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    // Not the index: whoever looks at the status writes it, and the next call would build anew.
    for name in ["HEAD", "logs/HEAD"] {
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
    if let Err(error) = write_miniature() {
        println!("cargo::error=cannot list golden/mini: {error}");
    }
}

/// Writes the expression of every file below `golden/mini`, by name with its bytes.
fn write_miniature() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = root.join("golden/mini");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut text = String::from("&[\n");
    for path in files {
        let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        text += &format!("    ({name:?}, include_bytes!({:?})),\n", path.display().to_string());
    }
    text += "]\n";
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("miniature.rs"), text)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
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
    let output = Command::new(program).args(args).env("GIT_OPTIONAL_LOCKS", "0").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
