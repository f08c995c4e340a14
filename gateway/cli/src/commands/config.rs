//! `belay config`: walks from the pins to every tenant and writes `known_hosts` and `ssh_config`, whole.

use super::now;
use crate::{
    failure::{Outcome, refused},
    gateway::Route,
    home::{Home, write_whole},
    screen::{document, note, say},
    ssh_config::{self, Paths, Tenant},
    trusted::Trusted,
};

/// `belay config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the ssh configuration instead of writing anything
    #[arg(long)]
    print: bool,
}

/// Writes them. With `--identity` the key is kept in `config.toml`, for the written files name it.
///
/// # Errors
/// Nothing is pinned, a file cannot be written, or a tenant was left out.
pub fn run(home: &Home, args: &Args, identity_named: bool) -> Outcome {
    let trusted = Trusted::refresh(home)?;
    let tenants = trusted
        .reached()
        .map(|held| {
            Ok(Tenant {
                name: held.chain.tenant().clone(),
                route: Route::of(held.policy())?,
                device_ca: held.policy().devices.ca.clone(),
            })
        })
        .collect::<Outcome<Vec<_>>>()?;
    let known_hosts = home.known_hosts();
    let control_dir = home.control_dir()?;
    let paths = Paths { known_hosts: &known_hosts, identity: home.identity(), control_dir: &control_dir };
    let written = ssh_config::write(&tenants, &paths)?;
    written.left_out.iter().for_each(|sentence| note(&format!("belay: {sentence}")));
    if args.print {
        document(&written.fragment);
        return Ok(());
    }
    // Known hosts first: the fragment names that file and must never find it older than itself.
    write_whole(&known_hosts, written.known_hosts.as_bytes(), 0o600)?;
    write_whole(&home.ssh_config(), written.fragment.as_bytes(), 0o600)?;
    if identity_named {
        home.keep_config()?;
    }
    warn_of_expiry(&trusted);
    for tenant in &tenants {
        say(&format!("*.{} through {}:{}", tenant.name, tenant.route.host, tenant.route.port));
    }
    say(&format!("ssh -F {} ACCOUNT@DEVICE.TENANT", home.ssh_config().display()));
    if !trusted.is_whole() || !written.left_out.is_empty() {
        return Err(refused("what does not chain or could not be fetched was left as it was; see above"));
    }
    Ok(())
}

fn warn_of_expiry(trusted: &Trusted) {
    let now = now();
    for held in trusted.reached() {
        if let Err(refusal) = held.chain.check_expiry(now) {
            note(&format!("belay: {refusal}"));
        } else if let Some(days) = held.chain.expires_soon(now) {
            note(&format!(
                "belay: the policy of {} expires in {days} days: have a new version signed",
                held.chain.tenant()
            ));
        }
    }
}
