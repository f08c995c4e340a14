//! Changes a policy's text and nothing else in it: comments, order and layout of the person who wrote it stay.
//!
//! Whether the result is a valid policy is not decided here: it is parsed again and verified before it is signed.

use crate::failure::{Outcome, While, refused};
use belay_certs::{Digest, Timestamp};
use toml_edit::{Array, ArrayOfTables, Datetime, DocumentMut, Item, Table, Value, value};

/// The head of the version that follows.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its number.
    pub version: u64,
    /// The digest of the version before it.
    pub previous: Digest,
    /// When it is made.
    pub issued: Timestamp,
    /// When devices stop acting on it.
    pub expires: Timestamp,
}

/// A person to add, and the grant that comes with them.
#[derive(Debug, Clone, Default)]
pub struct NewPerson {
    /// The name inside the policy.
    pub name: String,
    /// A program, not a human.
    pub robot: bool,
    /// OpenSSH public key lines.
    pub keys: Vec<String>,
    /// The teams they belong to.
    pub teams: Vec<String>,
    /// What they may do; empty: no grant of their own.
    pub grant: Option<NewGrant>,
}

/// A grant for one person.
#[derive(Debug, Clone, Default)]
pub struct NewGrant {
    /// The actions.
    pub actions: Vec<String>,
    /// The device patterns.
    pub on: Vec<String>,
    /// The accounts.
    pub accounts: Vec<String>,
}

/// A policy's text that is being changed.
#[derive(Debug)]
pub struct Edit(DocumentMut);

impl Edit {
    /// Reads the text of a policy.
    ///
    /// # Errors
    /// It is not TOML.
    pub fn of(text: &str) -> Outcome<Self> {
        text.parse().map(Self).during(|| "the policy cannot be edited".to_owned())
    }

    /// Makes it the version that follows.
    ///
    /// # Errors
    /// A number or a moment cannot be written.
    pub fn renumber(&mut self, head: &Head) -> Outcome {
        let version = i64::try_from(head.version).during(|| "cannot write the version".to_owned())?;
        self.set("version", Value::from(version));
        self.set("previous", Value::from(head.previous.to_string()));
        self.set("issued", Value::from(moment(head.issued)?));
        self.set("expires", Value::from(moment(head.expires)?));
        Ok(())
    }

    /// Adds a person at the end of the people and their grant at the end of the grants.
    ///
    /// # Errors
    /// The name is taken, or people or grants are not written as `[[people]]` and `[[grants]]`.
    pub fn add_person(&mut self, person: &NewPerson) -> Outcome {
        let people = self.list("people")?;
        if people.iter().any(|table| is_named(table, &person.name)) {
            return Err(refused(format!(
                "{} is in the policy already: remove them first or choose another name",
                person.name
            )));
        }
        let mut entry = Table::new();
        entry.insert("name", value(&person.name));
        if person.robot {
            entry.insert("robot", value(true));
        }
        entry.insert("keys", value(strings(&person.keys)));
        if !person.teams.is_empty() {
            entry.insert("teams", value(strings(&person.teams)));
        }
        people.push(entry);
        let Some(grant) = &person.grant else { return Ok(()) };
        let mut entry = Table::new();
        entry.insert("who", value(strings(std::slice::from_ref(&person.name))));
        entry.insert("on", value(strings(&grant.on)));
        entry.insert("do", value(strings(&grant.actions)));
        if !grant.accounts.is_empty() {
            entry.insert("as", value(strings(&grant.accounts)));
        }
        self.list("grants")?.push(entry);
        Ok(())
    }

    /// Removes a person, their name in every grant and signer list, and the grants that named nobody else.
    ///
    /// # Errors
    /// There is no such person, or people or grants are not written as `[[people]]` and `[[grants]]`.
    pub fn remove_person(&mut self, name: &str) -> Outcome {
        let people = self.list("people")?;
        let before = people.len();
        people.retain(|table| !is_named(table, name));
        if people.len() == before {
            return Err(refused(format!("there is no person {name} in the policy")));
        }
        self.list("grants")?.retain(|grant| !names_only(grant, name));
        for grant in self.list("grants")?.iter_mut() {
            if let Some(who) = grant.get_mut("who").and_then(Item::as_array_mut) {
                who.retain(|entry| entry.as_str() != Some(name));
            }
        }
        let signers = self.0.get_mut("runbooks").and_then(|item| item.get_mut("signers")).and_then(Item::as_array_mut);
        if let Some(signers) = signers {
            signers.retain(|entry| entry.as_str() != Some(name));
        }
        Ok(())
    }

    /// The text now.
    pub fn text(&self) -> String {
        self.0.to_string()
    }

    /// Sets a value of the head and keeps the comment behind it.
    fn set(&mut self, key: &str, new: Value) {
        match self.0.get_mut(key).and_then(Item::as_value_mut) {
            Some(old) => {
                let decor = old.decor().clone();
                *old = new;
                *old.decor_mut() = decor;
            }
            None => {
                self.0.insert(key, Item::Value(new));
            }
        }
    }

    fn list(&mut self, name: &str) -> Outcome<&mut ArrayOfTables> {
        self.0
            .entry(name)
            .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()))
            .as_array_of_tables_mut()
            .ok_or_else(|| {
                refused(format!(
                    "`{name}` is written as one inline list: write each entry as [[{name}]], then try again"
                ))
            })
    }
}

fn is_named(table: &Table, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

fn names_only(grant: &Table, name: &str) -> bool {
    let who = grant.get("who").and_then(Item::as_array);
    who.is_some_and(|who| !who.is_empty() && who.iter().all(|entry| entry.as_str() == Some(name)))
}

fn moment(at: Timestamp) -> Outcome<Datetime> {
    at.whole_second().to_string().parse().during(|| "cannot write the moment".to_owned())
}

fn strings(texts: &[String]) -> Array {
    texts.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# acme's policy
format = 1
tenant = "acme"
version = 0          # counts up
issued = 2026-11-21T09:00:00Z
expires = 2027-02-19T09:00:00Z # ninety days

[root] # keep two offline
threshold = 1

[[people]]
name = "alice" # on call
keys = ["k1"]

# leaves in May
[[people]]
name = "bob"
keys = ["k2"]

[[grants]] # shared
who = ["alice", "bob"]
on = ["*"]

[[grants]] # bob's own
who = ["bob"]
on = ["db1"]

[runbooks]
signers = ["bob", "alice"]
"#;

    fn head() -> Head {
        Head {
            version: 1,
            previous: Digest::of(b"zero"),
            issued: "2026-12-01T10:00:00Z".parse().unwrap(),
            expires: "2027-03-01T10:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_head_moves_on_and_every_comment_stays() {
        let mut edit = Edit::of(TEXT).unwrap();
        edit.renumber(&head()).unwrap();
        let text = edit.text();
        assert!(text.contains("version = 1          # counts up"), "{text}");
        assert!(text.contains("expires = 2027-03-01T10:00:00Z # ninety days"), "{text}");
        assert!(text.contains(&format!("previous = \"{}\"", Digest::of(b"zero"))), "{text}");
        assert!(text.find("previous").unwrap() < text.find("[root]").unwrap(), "{text}");
        assert_eq!(text.matches('#').count(), TEXT.matches('#').count());
    }

    #[test]
    fn a_new_person_and_their_grant_stand_at_the_end_of_their_lists() {
        let mut edit = Edit::of(TEXT).unwrap();
        let grant = NewGrant { actions: vec!["shell".into()], on: vec!["*".into()], accounts: vec!["root".into()] };
        let person =
            NewPerson { name: "carol".into(), keys: vec!["k3".into()], grant: Some(grant), ..NewPerson::default() };
        edit.add_person(&person).unwrap();
        let text = edit.text();
        let people = "name = \"bob\"\nkeys = [\"k2\"]\n\n[[people]]\nname = \"carol\"\nkeys = [\"k3\"]\n";
        assert!(text.contains(people), "{text}");
        let grants =
            "on = [\"db1\"]\n\n[[grants]]\nwho = [\"carol\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"root\"]\n";
        assert!(text.contains(grants), "{text}");
        assert!(text.contains("# leaves in May"), "{text}");
        assert!(edit.add_person(&person).unwrap_err().sentence().contains("already"));
    }

    #[test]
    fn the_first_person_makes_the_lists() {
        let mut edit = Edit::of("format = 1\n\n[root]\nthreshold = 1\n").unwrap();
        edit.add_person(&NewPerson {
            name: "carol".into(),
            robot: true,
            teams: vec!["field".into()],
            ..NewPerson::default()
        })
        .unwrap();
        assert!(
            edit.text().ends_with("[[people]]\nname = \"carol\"\nrobot = true\nkeys = []\nteams = [\"field\"]\n"),
            "{}",
            edit.text()
        );
    }

    #[test]
    fn a_removed_person_is_named_nowhere_any_more() {
        let mut edit = Edit::of(TEXT).unwrap();
        edit.remove_person("bob").unwrap();
        let text = edit.text();
        assert!(!text.contains("\"bob\""), "{text}");
        assert_eq!(text.matches("[[grants]]").count(), 1);
        assert!(text.contains("who = [\"alice\"]") && text.contains("signers = [ \"alice\"]"), "{text}");
        assert!(text.contains("name = \"alice\" # on call"), "{text}");
        assert!(edit.remove_person("bob").is_err());
    }

    #[test]
    fn people_in_one_inline_list_are_not_guessed_at() {
        let mut edit = Edit::of("people = [{ name = \"a\" }]\n").unwrap();
        assert!(edit.remove_person("a").unwrap_err().sentence().contains("[[people]]"));
    }
}
