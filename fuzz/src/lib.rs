//! Inputs we did not think of: one function for each parser and check of what strangers send, and a seeded mutator.
//!
//! `tests/seeds.rs` feeds them the corpus and thousands of mutations of it under `cargo test`; `targets/` lets libFuzzer
//! feed the very same functions. An answer is judged one way only: a parser may refuse, it may not panic, what it accepts
//! it must accept again from its own text, and what does not prove something must not be believed.

mod documents;
mod log;
mod recording;
mod screen;
mod seeded;
mod text;
mod wire;

pub use seeded::Seeded;

/// One target: what `fuzz/targets/NAME.rs` runs on `fuzz/corpus/NAME/`.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Feeds one input; panics when something that must hold does not.
    pub feed: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "frames", feed: wire::frames },
    Target { name: "messages", feed: wire::messages },
    Target { name: "sftp", feed: wire::sftp },
    Target { name: "policy", feed: documents::policy },
    Target { name: "token", feed: documents::token },
    Target { name: "join", feed: documents::join },
    Target { name: "record", feed: documents::record },
    Target { name: "runbook", feed: documents::runbook },
    Target { name: "order", feed: documents::order },
    Target { name: "output", feed: documents::output },
    Target { name: "recording", feed: recording::recording },
    Target { name: "envelope", feed: documents::envelope },
    Target { name: "signature", feed: documents::signature },
    Target { name: "key", feed: documents::key },
    Target { name: "certificate", feed: documents::certificate },
    Target { name: "transport", feed: documents::transport },
    Target { name: "statement", feed: log::statement },
    Target { name: "entry", feed: log::entry },
    Target { name: "checkpoint", feed: log::checkpoint },
    Target { name: "proofs", feed: log::proofs },
    Target { name: "tiles", feed: log::tiles },
    Target { name: "export", feed: log::export },
    Target { name: "names", feed: text::names },
    Target { name: "rules", feed: text::rules },
    Target { name: "words", feed: text::words },
    Target { name: "journal", feed: text::journal },
    Target { name: "screen", feed: screen::screen },
];

/// Feeds one input to the target of that name.
///
/// # Panics
/// There is none, or something that must hold does not.
pub fn feed(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    assert!(target.is_some(), "there is no target {name}");
    if let Some(target) = target {
        (target.feed)(input);
    }
}

/// What was read, printed and read again is the same.
fn read_again<T: PartialEq + std::fmt::Debug, E>(first: &T, again: Result<T, E>) {
    assert_eq!(again.ok().as_ref(), Some(first), "what is read from its own text is the same");
}
