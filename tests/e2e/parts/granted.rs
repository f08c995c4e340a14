//! A grant changed in the text of a policy.

/// Adds lines to the grant that names only this person.
pub fn add_to_grant(text: &str, name: &str, lines: &str) -> String {
    let who = format!("who = [\"{name}\"]\n");
    assert_eq!(text.matches(&who).count(), 1, "{text}");
    text.replace(&who, &format!("{who}{lines}\n"))
}
