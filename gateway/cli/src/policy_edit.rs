//! Changes a policy's text and nothing else in it: comments, order and layout of the person who wrote it stay.
//!
//! Whether the result is a valid policy is not decided here: it is parsed again and verified before it is signed.

use crate::failure::{Outcome, While, refused};
use belay_certs::{Digest, PublicKey, Timestamp};
use std::collections::BTreeSet;
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

    /// Removes a person, and from every grant and signer list their name and the names of teams that nobody is in any more:
    /// names that mean nobody make a policy invalid. A grant that named nobody else goes with them.
    ///
    /// # Errors
    /// There is no such person, or people or grants are not written as `[[people]]` and `[[grants]]`.
    pub fn remove_person(&mut self, name: &str) -> Outcome {
        let before = self.teams()?;
        let people = self.list("people")?;
        let count = people.len();
        people.retain(|table| !is_named(table, name));
        if people.len() == count {
            return Err(refused(format!("there is no person {name} in the policy")));
        }
        self.forget(name)?;
        self.forget_empty_teams(&before)
    }

    /// Gives a person one more key.
    ///
    /// # Errors
    /// There is no such person, or the key is theirs already.
    pub fn add_key(&mut self, name: &str, key: &PublicKey) -> Outcome {
        let keys = self.strings_of(name, "keys")?;
        if keys.iter().any(|line| is_key(line, key)) {
            return Err(refused(format!("{} is a key of {name} already", key.fingerprint())));
        }
        keys.push(key.line());
        Ok(())
    }

    /// Takes a key from a person; they stay in the policy, also without any key.
    ///
    /// # Errors
    /// There is no such person, or it is not their key.
    pub fn remove_key(&mut self, name: &str, fingerprint: &str) -> Outcome {
        let keys = self.strings_of(name, "keys")?;
        let count = keys.len();
        keys.retain(|line| !has_fingerprint(line, fingerprint));
        if keys.len() == count {
            return Err(refused(format!("{fingerprint} is no key of {name}")));
        }
        Ok(())
    }

    /// Puts a person into a team, which begins with its first member.
    ///
    /// # Errors
    /// There is no such person, or they are in it already.
    pub fn join_team(&mut self, name: &str, team: &str) -> Outcome {
        let teams = self.strings_of(name, "teams")?;
        if teams.iter().any(|found| found.as_str() == Some(team)) {
            return Err(refused(format!("{name} is in team {team} already")));
        }
        teams.push(team);
        Ok(())
    }

    /// Takes a person out of a team; a team that nobody is in any more leaves the grants too.
    ///
    /// # Errors
    /// There is no such person, or they are not in it.
    pub fn leave_team(&mut self, name: &str, team: &str) -> Outcome {
        let before = self.teams()?;
        let teams = self.strings_of(name, "teams")?;
        let count = teams.len();
        teams.retain(|found| found.as_str() != Some(team));
        if teams.len() == count {
            return Err(refused(format!("{name} is not in team {team}")));
        }
        self.forget_empty_teams(&before)
    }

    /// Imports a provider's people: they may be named as `PROVIDER:NAME` from then on.
    ///
    /// # Errors
    /// It is imported already, or `import` is not written as `[import.NAME]`.
    pub fn import(&mut self, provider: &str, policy0: &Digest) -> Outcome {
        let wrong = || refused("`import` is not a table: write each as [import.NAME], then try again");
        let imports = self.0.entry("import").or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        let imports = imports.as_table_mut().ok_or_else(wrong)?;
        if imports.contains_key(provider) {
            return Err(refused(format!("{provider} is imported already: change it with `belay policy edit`")));
        }
        let mut entry = Table::new();
        entry.insert("policy0", value(policy0.to_string()));
        imports.insert(provider, Item::Table(entry));
        Ok(())
    }

    /// Adds a tenant to the list of those served.
    ///
    /// # Errors
    /// It is on the list already.
    pub fn serve(&mut self, tenant: &str, policy0: &Digest) -> Outcome {
        let list = self.list("serves")?;
        if list.iter().any(|entry| names_tenant(entry, tenant)) {
            return Err(refused(format!("{tenant} is served already")));
        }
        let mut entry = Table::new();
        entry.insert("tenant", value(tenant));
        entry.insert("policy0", value(policy0.to_string()));
        list.push(entry);
        Ok(())
    }

    /// Takes a tenant from the list of those served.
    ///
    /// # Errors
    /// It is not on the list.
    pub fn serve_no_more(&mut self, tenant: &str) -> Outcome {
        let list = self.list("serves")?;
        let count = list.len();
        list.retain(|entry| !names_tenant(entry, tenant));
        if list.len() == count {
            return Err(refused(format!("{tenant} is not served")));
        }
        Ok(())
    }

    /// Revokes the record with this serial.
    ///
    /// # Errors
    /// It is revoked already, or `[devices]` has no list `revoked` to add it to.
    pub fn revoke_serial(&mut self, serial: u64) -> Outcome {
        let number = i64::try_from(serial).during(|| "cannot write the serial".to_owned())?;
        let devices = self.0.get_mut("devices").and_then(Item::as_table_like_mut);
        let devices = devices.ok_or_else(|| refused("the policy has no [devices]"))?;
        let revoked = devices.entry("revoked").or_insert_with(|| value(Array::new())).as_array_mut();
        let revoked = revoked.ok_or_else(|| refused("`revoked` in [devices] is no list"))?;
        if revoked.iter().any(|entry| entry.as_integer() == Some(number)) {
            return Err(refused(format!("serial {serial} is revoked already")));
        }
        revoked.push(number);
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

    /// Takes a name from every grant and signer list, and the grants that named nobody else.
    fn forget(&mut self, name: &str) -> Outcome {
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

    fn forget_empty_teams(&mut self, before: &BTreeSet<String>) -> Outcome {
        let now = self.teams()?;
        before.difference(&now).try_for_each(|team| self.forget(team))
    }

    /// The teams that somebody is in.
    fn teams(&mut self) -> Outcome<BTreeSet<String>> {
        let lists = self.list("people")?.iter().filter_map(|person| person.get("teams")?.as_array());
        Ok(lists.flat_map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned)).collect())
    }

    /// A list of strings of a person, made where it is missing.
    fn strings_of(&mut self, name: &str, field: &str) -> Outcome<&mut Array> {
        let person = self.list("people")?.iter_mut().find(|table| is_named(table, name));
        let person = person.ok_or_else(|| refused(format!("there is no person {name} in the policy")))?;
        let list = person.entry(field).or_insert_with(|| value(Array::new())).as_array_mut();
        list.ok_or_else(|| refused(format!("`{field}` of {name} is not a list")))
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

fn names_tenant(table: &Table, tenant: &str) -> bool {
    table.get("tenant").and_then(Item::as_str) == Some(tenant)
}

fn is_key(line: &Value, key: &PublicKey) -> bool {
    line.as_str().and_then(|line| PublicKey::parse(line).ok()).is_some_and(|found| found == *key)
}

fn has_fingerprint(line: &Value, fingerprint: &str) -> bool {
    line.as_str().and_then(|line| PublicKey::parse(line).ok()).is_some_and(|found| found.fingerprint() == fingerprint)
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
#[path = "policy_edit/tests.rs"]
mod tests;
