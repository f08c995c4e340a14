//! The shape of a policy document as TOML: which keys there are, nothing about their values. Unknown keys are refused.

use crate::reader::Text;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::{Spanned, value::Datetime};

/// Only the format, so that a policy of a later one is refused for that and not for its first new key.
#[derive(Deserialize)]
pub(super) struct RawFormat {
    pub(super) format: Spanned<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    #[serde(rename = "format")]
    pub(super) _format: u64,
    pub(super) tenant: Text,
    pub(super) version: Spanned<u64>,
    pub(super) previous: Option<Text>,
    pub(super) issued: Spanned<Datetime>,
    pub(super) expires: Spanned<Datetime>,
    pub(super) min_agent: Text,
    pub(super) root: RawRoot,
    pub(super) gateway: RawGateway,
    #[serde(default)]
    pub(super) devices: RawDevices,
    #[serde(default)]
    pub(super) import: BTreeMap<Text, RawImport>,
    #[serde(default)]
    pub(super) serves: Vec<RawServes>,
    #[serde(default)]
    pub(super) people: Vec<Spanned<RawPerson>>,
    #[serde(default)]
    pub(super) grants: Vec<Spanned<RawGrant>>,
    #[serde(default)]
    pub(super) runbooks: RawRunbooks,
    pub(super) recording: Option<Spanned<RawRecording>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoot {
    pub(super) threshold: Spanned<usize>,
    pub(super) keys: Spanned<Vec<Text>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGateway {
    pub(super) ssh: Text,
    pub(super) ssh_host_keys: Spanned<Vec<Text>>,
    pub(super) addresses: Spanned<Vec<Text>>,
    pub(super) transport_ca: Spanned<Vec<Text>>,
    pub(super) logs: Spanned<Vec<RawLog>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) origin: Text,
    pub(super) vkey: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDevices {
    pub(super) ca: Vec<Text>,
    pub(super) revoked: Vec<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawImport {
    pub(super) policy0: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServes {
    pub(super) tenant: Text,
    pub(super) policy0: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPerson {
    pub(super) name: Text,
    #[serde(default)]
    pub(super) robot: bool,
    pub(super) keys: Vec<Text>,
    #[serde(default)]
    pub(super) teams: Vec<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGrant {
    pub(super) who: Vec<Text>,
    pub(super) on: Vec<Text>,
    #[serde(default)]
    pub(super) except: Vec<Text>,
    #[serde(rename = "do")]
    pub(super) actions: Vec<Text>,
    #[serde(rename = "as", default)]
    pub(super) accounts: Vec<Text>,
    #[serde(default)]
    pub(super) forward_to: Vec<Text>,
    pub(super) hours: Option<Text>,
    pub(super) ticket: Option<Text>,
    #[serde(default)]
    pub(super) runbooks: Vec<Text>,
    pub(super) risk: Option<Text>,
    pub(super) devices_max: Option<u64>,
    #[serde(default)]
    pub(super) review: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRunbooks {
    pub(super) signers: Vec<Text>,
    pub(super) withdrawn: Vec<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecording {
    #[serde(default)]
    pub(super) to: Vec<Text>,
    #[serde(default)]
    pub(super) readable_by_gateway: bool,
    #[serde(default)]
    pub(super) input: bool,
    pub(super) keep: Option<Text>,
}
