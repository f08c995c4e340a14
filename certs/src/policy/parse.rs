//! Reading `policy.v1@belay`: the exact bytes in, a [`Policy`] whose every value is right out, or the first thing wrong.
//!
//! Not here: people, grants and the names between them (`parse_grants`).

use super::document::{Devices, Gateway, LogIdentity, Recording, Root, Serves};
use super::raw::{RawDevices, RawFormat, RawGateway, RawPolicy, RawRecording, RawRoot, RawServes};
use super::values::{AgentVersion, Days, Endpoint, LogKey, Origin, Recipient};
use super::{Policy, parse_grants};
use crate::invalid::{Fault, Invalid};
use crate::limits::{IMPORTS_MAX, REVOKED_MAX, SERVES_MAX, SHORT_LIST_MAX};
use crate::limits::{POLICY_BYTES_MAX, POLICY_DAYS_MAX, ROOT_KEYS_MAX};
use crate::reader::Reader;
use crate::time::DAY;
use crate::{Digest, TenantName, sshsig};
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

/// The one format there is.
const FORMAT: u64 = 1;

impl Policy {
    /// Reads the exact bytes of a policy document.
    ///
    /// # Errors
    /// `TooLarge` over a limit, else `Malformed`, with the line of the first thing wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let text = sshsig::text(bytes, POLICY_BYTES_MAX).map_err(|invalid| invalid.of("the policy"))?;
        parse(&Reader::new(text)).map_err(|invalid| invalid.of("the policy"))
    }
}

fn parse(reader: &Reader<'_>) -> Result<Policy, Invalid> {
    let RawFormat { format } = reader.document()?;
    if *format.get_ref() != FORMAT {
        let sentence =
            format!("its format is {}, and this program reads format {FORMAT}: upgrade it", format.get_ref());
        return Err(reader.wrong(format.span(), sentence));
    }
    let raw: RawPolicy = reader.document()?;
    let tenant: TenantName = reader.value(&raw.tenant)?;
    let imports = imports(reader, &raw, &tenant)?;
    let names = parse_grants::Names::of(reader, &raw.people, &imports)?;
    let policy = Policy {
        version: *raw.version.get_ref(),
        previous: previous(reader, &raw)?,
        issued: reader.moment(&raw.issued)?,
        expires: reader.moment(&raw.expires)?,
        min_agent: reader.value::<AgentVersion>(&raw.min_agent)?.0,
        root: root(reader, &raw.root)?,
        gateway: gateway(reader, &raw.gateway)?,
        devices: devices(reader, &raw.devices)?,
        serves: serves(reader, &raw.serves, &tenant)?,
        people: parse_grants::people(reader, &raw.people)?,
        grants: parse_grants::grants(reader, &raw.grants, &names)?,
        runbooks: parse_grants::runbooks(reader, &raw.runbooks, &names)?,
        recording: raw.recording.as_ref().map(|section| recording(reader, section)).transpose()?.unwrap_or_default(),
        tenant,
        imports,
    };
    if policy.expires <= policy.issued || policy.expires > policy.issued.plus(POLICY_DAYS_MAX * DAY) {
        let sentence = format!("`expires` must be after `issued`, by at most {POLICY_DAYS_MAX} days");
        return Err(reader.wrong(raw.expires.span(), sentence));
    }
    Ok(policy)
}

fn previous(reader: &Reader<'_>, raw: &RawPolicy) -> Result<Option<Digest>, Invalid> {
    match (raw.version.get_ref(), &raw.previous) {
        (0, None) => Ok(None),
        (0, Some(previous)) => Err(reader.wrong(previous.span(), "version 0 has no `previous`: take the line away")),
        (_, Some(previous)) => reader.value(previous).map(Some),
        (version, None) => {
            let sentence = format!("version {version} must name the digest of version {} as `previous`", version - 1);
            Err(reader.wrong(raw.version.span(), sentence))
        }
    }
}

fn root(reader: &Reader<'_>, raw: &RawRoot) -> Result<Root, Invalid> {
    let keys = reader.some("`keys` of [root]", &raw.keys, ROOT_KEYS_MAX)?;
    let threshold = *raw.threshold.get_ref();
    if !(1..=keys.len()).contains(&threshold) {
        let sentence = format!("`threshold` must be 1 to the number of root keys, {}", keys.len());
        return Err(reader.wrong(raw.threshold.span(), sentence));
    }
    Ok(Root { threshold, keys })
}

fn gateway(reader: &Reader<'_>, raw: &RawGateway) -> Result<Gateway, Invalid> {
    let logs = raw.logs.get_ref();
    if logs.is_empty() || logs.len() > SHORT_LIST_MAX {
        return Err(reader.wrong(raw.logs.span(), format!("`logs` has 1 to {SHORT_LIST_MAX} logs, not {}", logs.len())));
    }
    let mut origins = BTreeSet::new();
    let mut identities = Vec::with_capacity(logs.len());
    for log in logs {
        let (Origin(origin), LogKey(vkey)) = (reader.value(&log.origin)?, reader.value(&log.vkey)?);
        if !origins.insert(origin.clone()) {
            return Err(reader.wrong(log.origin.span(), format!("the log {origin} is there twice: take one away")));
        }
        identities.push(LogIdentity { origin, vkey });
    }
    let addresses = reader.some::<Endpoint>("`addresses`", &raw.addresses, SHORT_LIST_MAX)?;
    Ok(Gateway {
        ssh: reader.value::<Endpoint>(&raw.ssh)?.0,
        ssh_host_keys: reader.some("`ssh_host_keys`", &raw.ssh_host_keys, SHORT_LIST_MAX)?,
        addresses: addresses.into_iter().map(|endpoint| endpoint.0).collect(),
        transport_ca: reader.some("`transport_ca`", &raw.transport_ca, SHORT_LIST_MAX)?,
        logs: identities,
    })
}

fn devices(reader: &Reader<'_>, raw: &RawDevices) -> Result<Devices, Invalid> {
    reader.bounded("`revoked`", &raw.revoked, REVOKED_MAX)?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = raw.revoked.iter().find(|serial| !seen.insert(*serial.get_ref())) {
        return Err(
            reader.wrong(twice.span(), format!("the serial {} is revoked twice: take one away", twice.get_ref()))
        );
    }
    let revoked = raw.revoked.iter().map(|serial| *serial.get_ref()).collect();
    Ok(Devices { ca: reader.list("`ca` of [devices]", &raw.ca, SHORT_LIST_MAX)?, revoked })
}

fn imports(reader: &Reader<'_>, raw: &RawPolicy, own: &TenantName) -> Result<BTreeMap<TenantName, Digest>, Invalid> {
    let mut imports = BTreeMap::new();
    for (name, import) in &raw.import {
        let tenant: TenantName = reader.value(name)?;
        if tenant == *own {
            return Err(
                reader.wrong(name.span(), format!("{own} cannot import itself: name its people without `{own}:`"))
            );
        }
        if imports.len() == IMPORTS_MAX {
            let sentence = format!("there are {} imports, over the limit of {IMPORTS_MAX}", raw.import.len());
            return Err(reader.at(name.span(), Invalid::new(Fault::TooLarge, sentence)));
        }
        imports.insert(tenant, reader.value(&import.policy0)?);
    }
    Ok(imports)
}

fn serves(reader: &Reader<'_>, raw: &[RawServes], own: &TenantName) -> Result<Vec<Serves>, Invalid> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::with_capacity(raw.len());
    for one in raw {
        let tenant: TenantName = reader.value(&one.tenant)?;
        if tenant == *own || !seen.insert(tenant.clone()) {
            return Err(reader.wrong(one.tenant.span(), format!("[[serves]] names {tenant} again: take one away")));
        }
        if all.len() == SERVES_MAX {
            let sentence = format!("[[serves]] has {} tenants, over the limit of {SERVES_MAX}", raw.len());
            return Err(reader.at(one.tenant.span(), Invalid::new(Fault::TooLarge, sentence)));
        }
        all.push(Serves { tenant, policy0: reader.value(&one.policy0)? });
    }
    Ok(all)
}

fn recording(reader: &Reader<'_>, section: &Spanned<RawRecording>) -> Result<Recording, Invalid> {
    let raw = section.get_ref();
    let to = reader.list::<Recipient>("`to` of [recording]", &raw.to, SHORT_LIST_MAX)?;
    if to.is_empty() && !raw.readable_by_gateway {
        let sentence = "nobody could read a recording: give `to` a recipient, or set `readable_by_gateway = true`";
        return Err(reader.wrong(section.span(), sentence));
    }
    Ok(Recording {
        to: to.into_iter().map(|recipient| recipient.0).collect(),
        readable_by_gateway: raw.readable_by_gateway,
        input: raw.input,
        keep_days: reader.optional::<Days>(raw.keep.as_ref())?.map(|days| days.0),
    })
}
