//! Who and what an installation consists of.

/// An installation.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its tenants.
    pub tenants: Vec<Tenant>,
}

/// One tenant of it.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its name.
    pub name: &'static str,
    /// The first person: every action on every device, and the root keys at hand.
    pub owner: &'static str,
    /// The others: a name and what they may do on all devices, as `belay person add --do` takes it.
    pub people: &'static [(&'static str, &'static str)],
    /// People of other tenants who have its hash all the same: whoever may know it exists, nothing of it is theirs.
    pub onlookers: &'static [&'static str],
    /// Its devices, without the tenant.
    pub devices: &'static [&'static str],
}

impl Tenant {
    /// Whether somebody has the tenant's hash. Whoever is in no plan has them all, as a thief would.
    pub fn is_known_to(&self, plan: &Plan, name: &str) -> bool {
        let known = self.owner == name || self.onlookers.contains(&name);
        known || self.people.iter().any(|(person, _)| *person == name) || !plan.people().contains(&name)
    }
}

impl Plan {
    /// The demo's: two customers, a technician of each, an auditor of the first, three machines.
    pub fn demo() -> Self {
        let acme = Tenant {
            name: "acme",
            owner: "tech",
            people: &[("auditor", "audit")],
            onlookers: &["other"],
            devices: &["web1", "db1"],
        };
        let globex = Tenant { name: "globex", owner: "other", people: &[], onlookers: &["tech"], devices: &["till1"] };
        Self { tenants: vec![acme, globex] }
    }

    /// The demo's: a provider, the two customers that it serves, each with an owner of its own, and an auditor of the first.
    /// Who serves whom is the world's to set up (`World::provide`).
    pub fn provider() -> Self {
        let msp = Tenant { name: "msp", owner: "boss", people: &[], onlookers: &[], devices: &[] };
        let acme = Tenant {
            name: "acme",
            owner: "ana",
            people: &[("auditor", "audit")],
            onlookers: &["other"],
            devices: &["web1", "db1"],
        };
        let globex = Tenant { name: "globex", owner: "other", people: &[], onlookers: &[], devices: &["till1"] };
        Self { tenants: vec![msp, acme, globex] }
    }

    /// One customer with one technician and one machine.
    pub fn small() -> Self {
        Self { tenants: vec![Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices: &["web1"] }] }
    }

    /// One customer with one technician and three machines.
    pub fn three() -> Self {
        let devices = &["web1", "web2", "web3"];
        Self { tenants: vec![Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices }] }
    }

    /// One customer with one technician, and no machine yet.
    pub fn without_devices() -> Self {
        Self { tenants: vec![Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices: &[] }] }
    }

    /// Everybody, each once, with the tenants they belong to.
    pub fn people(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = self
            .tenants
            .iter()
            .flat_map(|tenant| std::iter::once(tenant.owner).chain(tenant.people.iter().map(|(name, _)| *name)))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Every device, as `web1.acme`.
    pub fn devices(&self) -> Vec<String> {
        self.tenants
            .iter()
            .flat_map(|tenant| tenant.devices.iter().map(move |device| format!("{device}.{}", tenant.name)))
            .collect()
    }
}
