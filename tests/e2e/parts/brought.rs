//! Orders signed with `ssh-keygen` and brought with `ssh`.

use super::orders::{Draft, ORDER};
use belay_tests::{Person, Said};
use std::path::Path;

impl Draft {
    /// Order, signature and list as they travel.
    pub fn signed(&self, key: &Path) -> Vec<u8> {
        let text = self.order.to_text();
        let signature = Person::sign(key, ORDER, text.as_bytes()).unwrap();
        [text, signature, self.list.to_text()].concat().into_bytes()
    }

    /// Signed and brought by `person`.
    #[track_caller]
    pub fn submit(&self, person: &Person) -> Said {
        bring(person, &self.signed(&person.key()))
    }
}

/// `ssh gw run acme` with this on standard input.
#[track_caller]
pub fn bring(person: &Person, stream: &[u8]) -> Said {
    person.gw_with_input("run acme --json", stream)
}
