//! Help texts, exit codes and messages that belong to no single command.

use clap::Command;

use crate::{snapshots, support::medharness};

#[test]
fn help_of_every_command_is_recorded() {
    let _guard = snapshots();
    let mut root = medharness::cli::command();
    root.clone().debug_assert();
    root.build();
    record("help", root);
}

fn record(name: &str, mut command: Command) {
    insta::assert_snapshot!(name, command.render_long_help().to_string());
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        record(&format!("{name}_{}", sub.get_name()), sub.clone());
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    medharness().arg("no-such-command").assert().code(2);
    medharness().args(["completions", "no-such-shell"]).assert().code(2);
}

#[test]
fn completions_name_every_command() {
    let output = medharness().args(["completions", "bash"]).output().expect("runs");
    assert!(output.status.success());
    let script = String::from_utf8(output.stdout).expect("UTF-8");
    for sub in medharness::cli::command().get_subcommands() {
        assert!(script.contains(sub.get_name()), "`{}` is not completed", sub.get_name());
    }
}
