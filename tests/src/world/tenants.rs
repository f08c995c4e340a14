//! The customer's part of a world: keys, policies, people and what their laptops trust.

use super::World;
use crate::{
    call::{Said, run},
    person::Person,
    plan::Tenant,
};
use anyhow::{Context, Result, bail};
use std::{fs, path::Path};

impl World {
    pub(super) fn begin_tenant(&self, tenant: &Tenant) -> Result<()> {
        let (name, owner) = (tenant.name, self.person(tenant.owner));
        let dir = self.tenant_dir(name);
        fs::create_dir_all(&dir)?;
        let invite = self.operator(&["tenant", "add", name])?.succeeded()?;
        fs::write(dir.join("invite.toml"), &invite.stdout)?;
        let mut init = owner.belay_command()?;
        init.args(["init", name, "--person", tenant.owner, "--as", &self.account, "--key"]).arg(owner.public_key());
        init.arg("--invite").arg(dir.join("invite.toml")).arg("--dir").arg(&dir);
        let said = run(&mut init, b"")?.succeeded()?;
        let hash = policy_hash(&said)?;
        fs::write(dir.join("policy-0.hash"), format!("{hash}\n"))?;
        let policy = dir.join("policy-0.toml");
        self.operator(&["tenant", "adopt", name, policy.to_str().context("a path that is not text")?])?.succeeded()?;
        owner.trust(&hash, &dir)?;
        for (person, actions) in tenant.people {
            let key = self.person(person).public_key();
            self.owner_adds(tenant, person, &key, &["--do", actions])?;
        }
        Ok(())
    }

    pub(super) fn owner_adds(&self, tenant: &Tenant, person: &str, key: &Path, more: &[&str]) -> Result<()> {
        self.owner_adds_signed_by(tenant, (person, key), more, &[&self.root_key(tenant.name)])
    }

    fn owner_adds_signed_by(
        &self,
        tenant: &Tenant,
        (person, key): (&str, &Path),
        more: &[&str],
        roots: &[&Path],
    ) -> Result<()> {
        let owner = self.person(tenant.owner);
        let mut add = owner.belay_command()?;
        add.args(["person", "add", tenant.name, person, "--yes"]).arg("--key").arg(key).args(more);
        for root in roots {
            add.arg("--root").arg(root);
        }
        run(&mut add, b"")?.succeeded()?;
        self.keep_policies(tenant.name, &owner)
    }

    /// Adds somebody new to a tenant's policy, with what `belay person add` takes after the key.
    ///
    /// # Errors
    /// It is refused.
    pub fn add_person(&self, tenant: &str, name: &str, more: &[&str]) -> Result<Person> {
        let tenant = self.tenant(tenant)?.clone();
        let person = Person::make(&self.dir.join("people").join(name), name)?;
        self.owner_adds(&tenant, name, &person.public_key(), more)?;
        self.configure(&person)?;
        Ok(person)
    }

    /// As [`World::add_person`], signed by these root keys.
    ///
    /// # Errors
    /// It is refused.
    pub fn add_person_signed_by(&self, tenant: &str, name: &str, more: &[&str], roots: &[&Path]) -> Result<Person> {
        let tenant = self.tenant(tenant)?.clone();
        let person = Person::make(&self.dir.join("people").join(name), name)?;
        self.owner_adds_signed_by(&tenant, (name, &person.public_key()), more, roots)?;
        self.configure(&person)?;
        Ok(person)
    }

    /// Removes somebody from a tenant's policy.
    ///
    /// # Errors
    /// It is refused.
    pub fn remove_person(&self, tenant: &str, name: &str) -> Result<()> {
        let owner = self.person(self.tenant(tenant)?.owner);
        let mut remove = owner.belay_command()?;
        remove.args(["person", "remove", tenant, name, "--yes", "--root"]).arg(self.root_key(tenant));
        run(&mut remove, b"")?.succeeded()?;
        self.keep_policies(tenant, &owner)
    }

    /// Somebody whom no policy knows, with everybody's ssh configuration.
    ///
    /// # Errors
    /// The key cannot be made.
    pub fn stranger(&self, name: &str) -> Result<Person> {
        let person = Person::make(&self.dir.join("people").join(name), name)?;
        self.configure(&person)?;
        Ok(person)
    }

    /// Pins every tenant and writes the ssh configuration.
    pub(super) fn configure(&self, person: &Person) -> Result<()> {
        for tenant in self.plan.tenants.iter().filter(|tenant| tenant.is_known_to(&self.plan, &person.name)) {
            person.trust(&self.policy0(tenant.name)?, &self.tenant_dir(tenant.name))?;
        }
        // A tenant that does not know this person tells them nothing: its policies stay those of the directory.
        person.belay(["config"])?;
        if !person.ssh_config().is_file() {
            bail!("`belay config` wrote nothing: {}", person.belay(["config"])?.story());
        }
        Ok(())
    }

    /// The hash of a tenant's version 0.
    ///
    /// # Errors
    /// There is none yet.
    pub fn policy0(&self, tenant: &str) -> Result<String> {
        Ok(fs::read_to_string(self.tenant_dir(tenant).join("policy-0.hash"))?.trim().to_owned())
    }

    /// Copies the chain that the owner verified to the tenant's directory.
    pub(super) fn keep_policies(&self, tenant: &str, owner: &Person) -> Result<()> {
        let (from, to) = (owner.home().join("tenants").join(tenant), self.tenant_dir(tenant));
        for entry in fs::read_dir(from)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("policy-") && !to.join(name).exists() {
                fs::copy(&path, to.join(name))?;
            }
        }
        Ok(())
    }

    pub(super) fn tenant(&self, name: &str) -> Result<&Tenant> {
        self.plan
            .tenants
            .iter()
            .find(|tenant| tenant.name == name)
            .with_context(|| format!("no tenant {name} is planned"))
    }
}

/// The hash that `belay init` tells people to pin.
pub(super) fn policy_hash(said: &Said) -> Result<String> {
    let out = said.out();
    let found = out.split_whitespace().find(|word| word.starts_with("sha256:"));
    found.map(str::to_owned).with_context(|| format!("no hash to pin: {}", said.story()))
}
