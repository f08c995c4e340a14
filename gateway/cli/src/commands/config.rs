//! `belay config`: walks from the pins to every tenant and writes `known_hosts` and `ssh_config`, whole; with `--for windows`
//! the same as a folder for a colleague who has no `belay`.

use super::now;
use crate::{
    chain,
    failure::{Outcome, refused, usage},
    gateway::Route,
    home::{Home, write_whole},
    screen::{document, note, say},
    ssh_config::{self, KNOWN_HOSTS, Paths, REVOKED, Reader, Tenant, Written},
    trusted::Trusted,
};
use std::path::{Path, PathBuf};

/// Where a colleague puts the folder unless told otherwise: `~` is the profile's directory on Windows too.
const FOLDER: &str = "~/.ssh/belay";

/// `belay config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the ssh configuration instead of writing anything
    #[arg(long, conflicts_with = "system")]
    print: bool,
    /// Write a folder for a colleague's ssh instead of this home's files
    #[arg(long = "for", value_name = "SYSTEM", requires = "output")]
    system: Option<System>,
    /// That folder
    #[arg(short, long, value_name = "DIR", requires = "system")]
    output: Option<PathBuf>,
    /// Where the colleague will put it, in full, as C:/Users/NAME/.ssh/belay; needed once a device is revoked
    #[arg(long, value_name = "PATH", requires = "system")]
    path: Option<String>,
}

/// Whose ssh the folder is for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum System {
    /// OpenSSH as Windows has it; any other OpenSSH can use the folder too
    Windows,
}

/// Writes them. With `--identity` the key is kept in `config.toml`, for the written files name it.
///
/// # Errors
/// Nothing is pinned, a file cannot be written, or a tenant was left out; the others are written all the same.
pub fn run(home: &Home, args: &Args, identity_named: bool) -> Outcome {
    let trusted = Trusted::refresh(home)?;
    let (tenants, mut left_out) = tenants(home, &trusted)?;
    let written = match &args.output {
        Some(folder) => hand_over(&tenants, folder, args.path.as_deref())?,
        None => write_own(home, &tenants, args, identity_named)?,
    };
    left_out.extend(written.left_out);
    left_out.iter().for_each(|sentence| note(&format!("belay: {sentence}")));
    if args.print {
        return Ok(());
    }
    warn(&trusted);
    if args.output.is_none() {
        for tenant in &tenants {
            say(&format!("*.{} through {}:{}", tenant.name, tenant.route.host, tenant.route.port));
        }
        say(&format!("ssh -F {} ACCOUNT@DEVICE.TENANT", home.ssh_config().display()));
    }
    if !trusted.is_whole() || !left_out.is_empty() {
        return Err(refused("what does not chain or could not be fetched was left as it was; see above"));
    }
    Ok(())
}

/// The tenants to write, the pinned ones first: the first one's gateway is `gw`. And those that cannot be, with why.
fn tenants(home: &Home, trusted: &Trusted) -> Outcome<(Vec<Tenant>, Vec<String>)> {
    let pins = home.pins()?.pins;
    let (mut tenants, mut left_out) = (Vec::new(), Vec::new());
    for held in trusted.reached() {
        let name = held.chain.tenant().clone();
        match Route::of(held.policy()) {
            Ok(route) => {
                let devices = &held.policy().devices;
                let device_ca_gone = chain::device_cas_gone(home, &name, &devices.ca);
                let (device_ca, revoked) = (devices.ca.clone(), devices.revoked.clone());
                tenants.push(Tenant { name, route, device_ca, device_ca_gone, revoked });
            }
            Err(failure) => left_out.push(format!("{name}: {}: left out", failure.sentence())),
        }
    }
    tenants.sort_by_key(|tenant| !pins.contains_key(&tenant.name));
    Ok((tenants, left_out))
}

fn write_own(home: &Home, tenants: &[Tenant], args: &Args, identity_named: bool) -> Outcome<Written> {
    let (folder, known_hosts) = (home.dir().display().to_string(), home.known_hosts());
    let control_dir = home.control_dir()?;
    let reader = Reader::Own { identity: home.identity(), control_dir: &control_dir };
    let written = ssh_config::write(tenants, &Paths { folder: &folder, reader })?;
    if args.print {
        document(&written.fragment);
        return Ok(written);
    }
    // Known hosts first: the fragment names that file and must never find it older than itself.
    write_whole(&known_hosts, written.known_hosts.as_bytes(), 0o600)?;
    write_revoked(&written, home.dir())?;
    write_whole(&home.ssh_config(), written.fragment.as_bytes(), 0o600)?;
    if identity_named {
        home.keep_config()?;
    }
    Ok(written)
}

/// Before the fragment, for the same reason: ssh refuses every host when the list that it names is missing.
fn write_revoked(written: &Written, dir: &Path) -> Outcome {
    for (tenant, list) in &written.revoked {
        write_whole(&dir.join(REVOKED).join(tenant.as_str()), list, 0o644)?;
    }
    Ok(())
}

/// The folder: nothing in it is secret, and nothing of this laptop.
fn hand_over(tenants: &[Tenant], folder: &Path, path: Option<&str>) -> Outcome<Written> {
    let path = path.map(|path| path.replace('\\', "/").trim_end_matches('/').to_owned());
    if let Some(path) = path.as_ref().filter(|path| !ssh_config::is_absolute(path)) {
        return Err(usage(format!(
            "--path {path:?} is not a whole path: give it from the root, as C:/Users/NAME/.ssh/belay"
        )));
    }
    let there = path.as_deref().unwrap_or(FOLDER);
    let written = ssh_config::write(tenants, &Paths { folder: there, reader: Reader::Colleague })?;
    write_whole(&folder.join(KNOWN_HOSTS), written.known_hosts.as_bytes(), 0o644)?;
    write_revoked(&written, folder)?;
    write_whole(&folder.join("ssh_config"), written.fragment.as_bytes(), 0o644)?;
    write_whole(&folder.join("README.txt"), readme(tenants, path.as_deref()).as_bytes(), 0o644)?;
    say(&format!("{}: ssh_config, known_hosts and README.txt for {} tenants", folder.display(), tenants.len()));
    Ok(written)
}

fn readme(tenants: &[Tenant], path: Option<&str>) -> String {
    let example = tenants.first().map_or("TENANT", |tenant| tenant.name.as_str());
    let (place, include) = match path {
        Some(path) => (path.to_owned(), format!("\"{path}/ssh_config\"")),
        None => ("C:\\Users\\YOU\\.ssh\\belay".to_owned(), "belay/ssh_config".to_owned()),
    };
    format!(
        "1. Copy this folder to {place}, so that there is a file ssh_config in it there.\r\n\
         2. Put this line at the very top of .ssh\\config in your home (a new file, if there is none):  Include {include}\r\n\
         3. Type:  ssh ACCOUNT@DEVICE.{example}   and  ssh gw devices   with the key you gave us (.ssh\\id_ed25519).\r\n\
         \r\n\
         Nothing in this folder is secret. When customers come or go, or a device is revoked, you get a new one: replace it whole.\r\n"
    )
}

fn warn(trusted: &Trusted) {
    let now = now();
    for held in trusted.reached() {
        if let Err(refusal) = held.chain.check_expiry(now) {
            note(&format!("belay: {refusal}"));
        } else if let Some(days) = held.chain.expires_soon(now) {
            note(&format!(
                "belay: the policy of {} expires in {days} days: renew it with `belay policy renew {0}`",
                held.chain.tenant()
            ));
        }
        if let Ok(Err(invalid)) = trusted.policies(held.chain.tenant()).map(|policies| policies.check_keys()) {
            note(&format!(
                "belay: {}: {}; until then that key is nobody's there",
                held.chain.tenant(),
                invalid.sentence
            ));
        }
    }
}
