//! The gateway's commands as its `help` lists them; that it lists them all is the gateway's own test (`command::tests::listed`).

use std::collections::BTreeSet;

/// The words of each command that are typed as they are: those before what is to be filled in, and each of several
/// (`approve|flag`).
pub fn listed(help: &str) -> BTreeSet<String> {
    let usages = help.lines().filter_map(|line| line.strip_prefix("  ")?.split("  ").next());
    usages.flat_map(typed).filter(|words| !words.is_empty()).collect()
}

fn typed(usage: &str) -> Vec<String> {
    let is_typed = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase() || "-|".contains(letter));
    let mut all = vec![String::new()];
    for word in usage.split_whitespace().take_while(is_typed) {
        let longer = |one: &str| all.iter().map(|words| format!("{words} {one}").trim().to_owned()).collect::<Vec<_>>();
        all = word.split('|').flat_map(longer).collect();
    }
    all
}
