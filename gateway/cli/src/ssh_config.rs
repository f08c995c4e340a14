//! What ssh is told: the fragment and the known hosts, from verified policies alone. Pure; `commands/config.rs` writes them.
//!
//! Everything is written whole: what no policy names any more is gone with the next writing.

use crate::{
    failure::{Outcome, usage},
    gateway::Route,
    krl,
};
use belay_certs::{PublicKey, TenantName};
use std::{fmt::Write, path::Path};

/// One tenant, as far as ssh has to know it.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its name: devices are `*.NAME`.
    pub name: TenantName,
    /// Its gateway.
    pub route: Route,
    /// The keys that certify its devices.
    pub device_ca: Vec<PublicKey>,
    /// Keys that did, under an earlier version.
    pub device_ca_gone: Vec<PublicKey>,
    /// Serials of device records that the policy revokes.
    pub revoked: Vec<u64>,
}

/// Paths that go into the fragment.
#[derive(Debug, Clone, Copy)]
pub struct Paths<'a> {
    /// The folder of the known-hosts file and of the lists, as ssh will find it.
    pub folder: &'a str,
    /// Whose ssh reads it.
    pub reader: Reader<'a>,
}

/// Whose ssh reads the fragment.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// This laptop's.
    Own {
        /// The person's key, if one is named.
        identity: Option<&'a Path>,
        /// The private directory for control sockets.
        control_dir: &'a Path,
    },
    /// A colleague's, perhaps on Windows: with their own default keys, and without shared connections, which Windows lacks.
    Colleague,
}

/// The two texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// `ssh_config`.
    pub fragment: String,
    /// `known_hosts`.
    pub known_hosts: String,
    /// Lists of revoked host certificates, each for the devices of one tenant: the file's name in the folder [`REVOKED`]
    /// beside the known hosts, and its bytes.
    pub revoked: Vec<(TenantName, Vec<u8>)>,
    /// Tenants that are in neither, and why.
    pub left_out: Vec<String>,
}

/// AES-GCM first: its tags leave no room for prefix truncation.
const CIPHERS: &str =
    "aes256-gcm@openssh.com,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr";
/// The only host key type a device has, always certified.
const DEVICE_ALGORITHMS: &str = "ssh-ed25519-cert-v01@openssh.com";

/// The file of known hosts.
pub const KNOWN_HOSTS: &str = "known_hosts";
/// The folder of the lists of revoked certificates, beside the known hosts.
pub const REVOKED: &str = "revoked";

/// One gateway and the tenants that reach their devices through it.
struct Group<'a> {
    alias: String,
    route: &'a Route,
    /// Set where another group has the same address under other keys: each must keep to its own.
    host_key_alias: Option<String>,
    tenants: Vec<&'a Tenant>,
}

/// The fragment and the known hosts for these tenants.
///
/// # Errors
/// A path cannot be written in ssh's configuration language.
pub fn write(tenants: &[Tenant], paths: &Paths<'_>) -> Outcome<Written> {
    let (kept, left_out) = without_impostors(tenants);
    let groups = groups(&kept);
    let mut fragment = String::from(
        "# Written by `belay config` from verified policies, whole, every time: changes made here are lost.\n\
         # Use it: put `Include PATH_OF_THIS_FILE` at the top of ~/.ssh/config, or call `ssh -F PATH_OF_THIS_FILE`.\n",
    );
    let common = common(paths)?;
    let control = match paths.reader {
        Reader::Own { control_dir, .. } => Some(quoted(&control_dir.display().to_string())?),
        Reader::Colleague => None,
    };
    for group in &groups {
        fragment.push_str(&gateway_block(group, &common, control.as_deref().map(|path| path.trim_matches('"'))));
    }
    for group in &groups {
        fragment.push_str(&devices_block(group, &common));
    }
    let mut revoked = Vec::new();
    for tenant in kept.iter().filter(|tenant| !tenant.revoked.is_empty()) {
        let path = plain(&format!("{}/{REVOKED}/{}", paths.folder, tenant.name))?;
        let _ = write!(fragment, "\nHost *.{}\n    RevokedHostKeys {path}\n", tenant.name);
        revoked.push((tenant.name.clone(), krl::write(&tenant.device_ca, &tenant.revoked)));
    }
    Ok(Written { fragment, known_hosts: known_hosts(&groups), revoked, left_out })
}

/// How known hosts name a host: port 22 is written without brackets.
pub fn known_hosts_pattern(host: &str, port: u16) -> String {
    if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") }
}

/// One line of a known-hosts file, with its end. The key's comment stays out: it is a stranger's text.
pub fn known_hosts_line(pattern: &str, key: &PublicKey) -> String {
    let line = key.line();
    let mut parts = line.split(' ');
    format!("{pattern} {} {}\n", parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// The plain algorithms of these keys: a gateway shows a key that a policy names, never a certificate.
pub fn host_key_algorithms(keys: &[PublicKey]) -> String {
    let mut algorithms: Vec<&'static str> = keys.iter().flat_map(|key| algorithms_of(&key.line())).copied().collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    algorithms.join(",")
}

fn algorithms_of(line: &str) -> &'static [&'static str] {
    match line.split(' ').next().unwrap_or_default() {
        "ecdsa-sha2-nistp256" => &["ecdsa-sha2-nistp256"],
        "ecdsa-sha2-nistp384" => &["ecdsa-sha2-nistp384"],
        "ecdsa-sha2-nistp521" => &["ecdsa-sha2-nistp521"],
        "ssh-rsa" => &["rsa-sha2-256", "rsa-sha2-512"],
        _ => &["ssh-ed25519"],
    }
}

/// A policy that names a device of any tenant as its gateway would plant a plain key for that device in known hosts, which
/// ssh believes beside the device CA. Such a tenant gets no line at all (P3).
fn without_impostors(tenants: &[Tenant]) -> (Vec<&Tenant>, Vec<String>) {
    let devices_of = |host: &str| {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        tenants.iter().find(|tenant| host.ends_with(&format!(".{}", tenant.name))).map(|tenant| &tenant.name)
    };
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for tenant in tenants {
        match devices_of(&tenant.route.host) {
            None => kept.push(tenant),
            Some(owner) => left_out.push(format!(
                "{}: its policy names the gateway {}, which is a name for devices of {owner}: left out",
                tenant.name, tenant.route.host
            )),
        }
    }
    (kept, left_out)
}

fn groups<'a>(tenants: &[&'a Tenant]) -> Vec<Group<'a>> {
    // In the order of their first tenants: a new customer with a gateway of its own leaves `gw` what it was.
    let mut by_route: Vec<(&Route, Vec<&Tenant>)> = Vec::new();
    for tenant in tenants {
        match by_route.iter_mut().find(|(route, _)| *route == &tenant.route) {
            Some((_, members)) => members.push(tenant),
            None => by_route.push((&tenant.route, vec![tenant])),
        }
    }
    let shared = |route: &Route| {
        by_route.iter().filter(|(other, _)| (&other.host, other.port) == (&route.host, route.port)).count() > 1
    };
    by_route
        .iter()
        .enumerate()
        .map(|(at, (route, members))| {
            let alias = if at == 0 { "gw".to_owned() } else { format!("gw{}", at + 1) };
            let host_key_alias = shared(route).then(|| format!("belay-{alias}"));
            Group { alias, route, host_key_alias, tenants: members.clone() }
        })
        .collect()
}

/// Options that hold on both hops.
fn common(paths: &Paths<'_>) -> Outcome<String> {
    let mut out = format!("    UserKnownHostsFile {}\n", quoted(&format!("{}/{KNOWN_HOSTS}", paths.folder))?);
    if let Reader::Own { identity, .. } = paths.reader {
        if let Some(identity) = identity {
            let _ = writeln!(out, "    IdentityFile {}", quoted(&identity.display().to_string())?);
        }
        out.push_str("    IdentitiesOnly yes\n");
    }
    let _ = write!(
        out,
        "    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    \
         UpdateHostKeys no\n    CheckHostIP no\n    PreferredAuthentications publickey\n    \
         PasswordAuthentication no\n    KbdInteractiveAuthentication no\n    ForwardAgent no\n    ForwardX11 no\n    \
         Ciphers {CIPHERS}\n    ServerAliveInterval 15\n"
    );
    Ok(out)
}

fn gateway_block(group: &Group<'_>, common: &str, control: Option<&str>) -> String {
    let Group { alias, route, host_key_alias, .. } = group;
    let mut out = format!(
        "\nHost {alias}\n    HostName {}\n    Port {}\n    User belay\n    HostKeyAlgorithms {}\n",
        route.host,
        route.port,
        host_key_algorithms(&route.host_keys)
    );
    if let Some(name) = host_key_alias {
        let _ = writeln!(out, "    HostKeyAlias {name}");
    }
    out.push_str(common);
    let _ = match control {
        Some(control) => {
            write!(out, "    ControlMaster auto\n    ControlPath \"{control}/{alias}.%C\"\n    ControlPersist 10m\n")
        }
        None => write!(out, "    ControlMaster no\n    ControlPath none\n"),
    };
    out
}

fn devices_block(group: &Group<'_>, common: &str) -> String {
    let patterns: Vec<String> = group.tenants.iter().map(|tenant| format!("*.{}", tenant.name)).collect();
    format!(
        "\nHost {}\n    ProxyJump {}\n    HostKeyAlgorithms {DEVICE_ALGORITHMS}\n{common}    \
         ControlMaster no\n    ControlPath none\n    SendEnv BELAY_TICKET LANG LC_*\n",
        patterns.join(" "),
        group.alias
    )
}

fn known_hosts(groups: &[Group<'_>]) -> String {
    let mut out = String::from("# Written by `belay config` from verified policies, whole, every time.\n");
    for group in groups {
        let pattern = match &group.host_key_alias {
            Some(alias) => alias.clone(),
            None => known_hosts_pattern(&group.route.host, group.route.port),
        };
        for key in &group.route.host_keys {
            out.push_str(&known_hosts_line(&pattern, key));
        }
    }
    for tenant in groups.iter().flat_map(|group| &group.tenants) {
        for key in &tenant.device_ca {
            out.push_str(&known_hosts_line(&format!("@cert-authority *.{}", tenant.name), key));
        }
        for key in &tenant.device_ca_gone {
            out.push_str(&known_hosts_line(&format!("@revoked *.{}", tenant.name), key));
        }
    }
    out
}

/// A path as ssh's configuration reads it back: quoted, `%` doubled.
fn quoted(path: &str) -> Outcome<String> {
    if path.chars().any(|c| c.is_control() || c == '"' || c == '\\') || path.contains("${") {
        return Err(usage(format!("ssh's configuration cannot hold the path {path:?}: choose another")));
    }
    Ok(format!("\"{}\"", path.replace('%', "%%")))
}

/// The path of a list of revoked keys. Some releases of ssh take this option word by word, others expand `~` and `%`; and
/// ssh refuses every host whose list it does not find. So the path must be one that both read alike.
fn plain(path: &str) -> Outcome<String> {
    if !is_absolute(path) || path.contains('%') {
        return Err(usage(format!(
            "a policy revokes devices, and some releases of ssh do not find the list of them at {path:?}: the folder's path must \
             be absolute, without `~` and `%` (`belay config --for windows --path C:/Users/NAME/.ssh/belay`, or another --home)"
        )));
    }
    quoted(path)
}

/// Here or on Windows: from the root, or from a drive's.
pub fn is_absolute(path: &str) -> bool {
    let from_drive = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic()) && rest.get(1..3) == Some(":/");
    path.starts_with('/') || from_drive(path)
}

#[cfg(test)]
#[path = "ssh_config/tests.rs"]
mod tests;
