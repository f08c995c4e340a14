//! The policy judged from outside: its documents, chains, decisions and the whole permission matrix.

mod answers;
mod chains;
mod differences;
mod documents;
mod explained;
pub(crate) mod fixture;
mod matrix;
