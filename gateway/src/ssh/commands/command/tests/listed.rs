//! Every command stands in `help`, and every line of `help` is a command. A new command without its words here does not compile; one
//! whose words `help` lacks, or that no line reads, fails: what the end-to-end tests find in `help` is all that there is.

use super::{super::*, LINES, read};
use std::collections::BTreeSet;

/// For each kind of command the words that it is called by, in a match without an arm for the rest.
macro_rules! called {
    ($($kind:pat => $words:literal,)+) => {
        /// Which kind a command is, and its words.
        fn called(command: &Command) -> (&'static str, &'static str) {
            match command {
                $($kind => (stringify!($kind), $words),)+
            }
        }
        const ALL: &[(&str, &str)] = &[$((stringify!($kind), $words),)+];
    };
}

called! {
    Command::Help => "help",
    Command::Devices { .. } => "devices",
    Command::Pending { .. } => "pending",
    Command::Records { .. } => "records",
    Command::Recertify { .. } => "recertify",
    Command::Token { .. } => "token",
    Command::Approve { .. } => "approve",
    Command::PolicyShow { .. } => "policy show",
    Command::PolicyFetch => "policy fetch",
    Command::PolicyPush { .. } => "policy push",
    Command::Runbooks { .. } => "runbooks",
    Command::RunbookShow { .. } => "runbook show",
    Command::RunbookPush { .. } => "runbook push",
    Command::Run { .. } => "run",
    Command::Jobs { .. } => "jobs",
    Command::Job { .. } => "job",
    Command::Cancel { .. } => "cancel",
    Command::Sessions { .. } => "sessions",
    Command::Recording { .. } => "recording",
    Command::Search { .. } => "search",
    Command::Hold { wanted: Hold::Lay, .. } => "hold",
    Command::Hold { wanted: Hold::Lift, .. } => "release",
    Command::Kill { .. } => "kill",
    Command::Freeze { .. } => "freeze",
    Command::Thaw { .. } => "thaw",
    Command::Freezes { .. } => "freezes",
    Command::Reviews { .. } => "review",
    Command::ReviewGive { opinion: Opinion::Approved, .. } => "review approve",
    Command::ReviewGive { opinion: Opinion::Flagged, .. } => "review flag",
    Command::LogTail { .. } => "log tail",
    Command::LogStream { .. } => "log tail",
    Command::LogExport { .. } => "log export",
    Command::LogProof { .. } => "log proof",
    Command::LogCheckpoint { .. } => "log checkpoint",
}

/// The words of a usage that are typed as they are; where one of several is typed, each in its turn.
fn typed(usage: &str) -> Vec<String> {
    let is_typed = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase() || "-|".contains(letter));
    let mut all = vec![String::new()];
    for word in usage.split_whitespace().take_while(is_typed) {
        let longer = |one: &str| all.iter().map(|words| format!("{words} {one}").trim().to_owned()).collect::<Vec<_>>();
        all = word.split('|').flat_map(longer).collect();
    }
    all
}

#[test]
fn help_lists_every_command_and_nothing_else() {
    let usages = HELP.lines().filter_map(|line| line.strip_prefix("  ")?.split("  ").next());
    let listed: BTreeSet<String> = usages.flat_map(typed).filter(|words| !words.is_empty()).collect();
    let commands: BTreeSet<String> = ALL.iter().map(|(_, words)| (*words).to_owned()).collect();
    assert_eq!(listed, commands);
}

#[test]
fn every_kind_of_command_is_read_from_the_words_that_it_is_called_by() {
    let mut kinds = BTreeSet::new();
    for line in LINES {
        let (kind, words) = called(&read(line).unwrap());
        let rest = line.strip_prefix(words);
        assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')), "{line:?} is {kind}: {words:?}");
        kinds.insert((kind, words));
    }
    assert_eq!(kinds, ALL.iter().copied().collect(), "a kind of command that no line of LINES is read as");
}
