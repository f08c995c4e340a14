//! The provider's part of a world: a list of customers in a tenant of its own, imports and grants at the customers, and
//! technicians whose laptops pin one hash.

use super::{World, tenants::policy_hash};
use crate::{call::run, person::Person};
use anyhow::{Context, Result};
use std::fs;

impl World {
    /// Lets the team `field` of `provider` have a shell on every device of the customers, and puts the customers on the list
    /// `PROVIDER-customers`, a tenant with the provider's root keys that nobody imports.
    ///
    /// # Errors
    /// The first step that fails.
    pub fn provide(&self, provider: &str, customers: &[&str]) -> Result<()> {
        let list = format!("{provider}-customers");
        self.begin_list(provider, &list)?;
        for customer in customers {
            self.import(customer, provider)?;
            let grant = format!(
                "\n[[grants]]\nwho = [\"{provider}:field\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"{}\"]\n",
                self.account()
            );
            self.append(customer, &grant)?;
            self.serve(&list, provider, customer)?;
        }
        self.serve(provider, provider, &list)
    }

    /// A technician of a provider, in a team, whose laptop pins the provider's hash, as its provider's, and nothing else.
    ///
    /// # Errors
    /// It is refused.
    pub fn hire(&self, provider: &str, name: &str, team: &str) -> Result<Person> {
        let tenant = self.tenant(provider)?.clone();
        let person = Person::make(&self.dir().join("people").join(name), name)?;
        self.owner_adds(&tenant, name, &person.public_key(), &["--team", team])?;
        person.trust_provider(&self.policy0(provider)?, &self.tenant_dir(provider))?;
        person.belay(["config"])?.succeeded()?;
        Ok(person)
    }

    /// `belay import CUSTOMER PROVIDER`, as the customer's owner.
    ///
    /// # Errors
    /// It is refused.
    pub fn import(&self, customer: &str, provider: &str) -> Result<()> {
        let owner = self.person(self.tenant(customer)?.owner);
        let mut import = owner.belay_command()?;
        import.args(["import", customer, provider, &self.policy0(provider)?, "--yes", "--root"]);
        run(import.arg(self.root_key(customer)), b"")?.succeeded()?;
        self.keep_policies(customer, &owner)
    }

    /// Puts TOML at the end of a tenant's policy, with `belay policy edit` as the tenant's owner.
    ///
    /// # Errors
    /// It is refused.
    pub fn append(&self, tenant: &str, toml: &str) -> Result<()> {
        let more = self.tenant_dir(tenant).join("more.toml");
        fs::write(&more, toml)?;
        self.edit(tenant, &format!("cat '{}' >>", more.display()))
    }

    /// Edits a tenant's policy with `belay policy edit` as the tenant's owner; `editor` is a command that the file's name is put
    /// behind.
    ///
    /// # Errors
    /// It is refused.
    pub fn edit(&self, tenant: &str, editor: &str) -> Result<()> {
        let owner = self.person(self.tenant(tenant)?.owner);
        let mut edit = owner.belay_command()?;
        edit.env_remove("VISUAL").env("EDITOR", editor);
        edit.args(["policy", "edit", tenant, "--yes", "--root"]).arg(self.root_key(tenant));
        run(&mut edit, b"")?.succeeded()?;
        self.keep_policies(tenant, &owner)
    }

    /// The tenant of the list: signed by the provider's root keys, read by its field team, imported by nobody.
    fn begin_list(&self, provider: &str, list: &str) -> Result<()> {
        let (owner, dir, keys) =
            (self.person(self.tenant(provider)?.owner), self.tenant_dir(list), self.tenant_dir(provider));
        fs::create_dir_all(&dir)?;
        let invite = self.operator(&["tenant", "add", list])?.succeeded()?;
        fs::write(dir.join("invite.toml"), &invite.stdout)?;
        let mut init = owner.belay_command()?;
        init.args(["init", list, "--invite"]).arg(dir.join("invite.toml")).arg("--dir").arg(&dir);
        init.args(["--import", &format!("{provider}={}", self.policy0(provider)?), "--do", "audit"]);
        init.args(["--grant", &format!("{provider}:{},{provider}:field", owner.name)]);
        for root in ["root-1", "root-2"] {
            init.arg("--root-key").arg(keys.join(root));
        }
        let hash = policy_hash(&run(&mut init, b"")?.succeeded()?)?;
        fs::write(dir.join("policy-0.hash"), format!("{hash}\n"))?;
        let policy = dir.join("policy-0.toml");
        self.operator(&["tenant", "adopt", list, policy.to_str().context("a path that is not text")?])?.succeeded()?;
        owner.trust(&hash, &dir)
    }

    /// `belay serve LIST TENANT`, as the provider's owner.
    fn serve(&self, list: &str, provider: &str, tenant: &str) -> Result<()> {
        let owner = self.person(self.tenant(provider)?.owner);
        let mut serve = owner.belay_command()?;
        serve.args(["serve", list, tenant, &self.policy0(tenant)?, "--yes", "--root"]);
        run(serve.arg(self.root_key(provider)), b"")?.succeeded()?;
        self.keep_policies(list, &owner)
    }
}
