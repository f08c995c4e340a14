//! The operator's commands: a new gateway's directory, tenants, logs. They go to the gateway that serves, through
//! `DIR/admin.sock`, or where none serves they are done right here, by the same functions.
//!
//! Local only: no network route leads here, and none of it can open a client machine (P2).

mod acts;
mod backup;
pub(crate) mod directory;
mod restore;
mod signed;
pub(crate) mod socket;
mod transport_ca;
mod verify;

#[cfg(test)]
mod tests;

pub(crate) use acts::Operator;

use crate::{
    config::{self, Config},
    serve,
};
use acts::{Identity, Request};
use anyhow::{Context, bail, ensure};
use belay_certs::{
    Digest, TenantName, Timestamp,
    tlog::{NoteVerifier, Report},
};
use directory::Directory;
use signed::read_signed;
use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, BufWriter},
    net::UnixStream,
};

/// How long a command waits for a gateway that is starting or stopping, or for another command.
const BUSY_WAIT: Duration = Duration::from_secs(15);
/// How often it looks again meanwhile.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Makes the directory of a new gateway.
///
/// # Errors
/// A gateway is there already, a value cannot stand in a configuration, or the disk does not take it.
pub fn init(directory: &Path, config: &Config) -> anyhow::Result<()> {
    Directory::new(directory).make(config, Timestamp::from_system(SystemTime::now()))
}

/// Adds a tenant and gives its invite.
///
/// # Errors
/// It is there already, or nothing can be recorded.
pub async fn tenant_add(directory: &Path, tenant: TenantName) -> anyhow::Result<String> {
    answer(directory, &Request::AddTenant { tenant }).await
}

/// The invite of a tenant that is there.
///
/// # Errors
/// It is not there.
pub async fn tenant_invite(directory: &Path, tenant: TenantName) -> anyhow::Result<String> {
    answer(directory, &Request::Invite { tenant }).await
}

/// Adopts version 0 of a tenant's policy from a file, whose signatures are beside it in `FILE*.sig`.
///
/// # Errors
/// It does not verify, or another one was adopted.
pub async fn tenant_adopt(directory: &Path, tenant: TenantName, policy: &Path) -> anyhow::Result<String> {
    let (text, signatures) = read_signed(policy)?;
    answer(directory, &Request::AdoptPolicy { tenant, text, signatures }).await
}

/// Begins a tenant's policy anew, with this version 0 in the place of the chain that begins with `lost`: for lost root keys.
///
/// # Errors
/// When the file is no signed version 0, or `lost` is not the chain held here.
pub async fn tenant_restart(
    directory: &Path,
    tenant: TenantName,
    policy: &Path,
    lost: Digest,
) -> anyhow::Result<String> {
    let (text, signatures) = read_signed(policy)?;
    answer(directory, &Request::RestartPolicy { tenant, text, signatures, lost }).await
}

/// All tenants, as a table or as JSON.
///
/// # Errors
/// The store cannot be read.
pub async fn tenant_list(directory: &Path, json: bool) -> anyhow::Result<String> {
    answer(directory, &Request::ListTenants { json }).await
}

/// Writes everything the gateway is to the new file `file`, while it serves: complete, or there is no file.
///
/// # Errors
/// The file is there already, or a disk does not take it.
pub async fn backup(directory: &Path, file: &Path) -> anyhow::Result<()> {
    let filled = backup::whole_and_new(file, async |to| {
        let mut to = BufWriter::new(tokio::fs::File::from_std(to));
        carry_out(directory, Request::BackUp, &mut to).await?;
        to.flush().await.context("the backup was not written")
    });
    filled.await
}

/// Makes a gateway's directory from a backup, and says what that means.
///
/// # Errors
/// The directory is not empty, or something in the backup does not fit; then the directory stays empty.
pub async fn restore(file: &Path, directory: &Path) -> anyhow::Result<String> {
    restore::restore(file, directory, Timestamp::from_system(SystemTime::now())).await
}

/// What an operator does with the transport CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportCaChange {
    /// Nothing: what is in force, and who still needs the previous one.
    Show,
    /// A new one takes its place.
    Rotate,
    /// The previous one ends, unless somebody still needs it.
    Retire,
    /// The previous one ends, whoever needs it.
    RetireByForce,
}

/// Shows or exchanges the transport CA.
///
/// # Errors
/// The step is not the next one, somebody would be lost, or the disk does not take it.
pub async fn transport_ca(directory: &Path, change: TransportCaChange) -> anyhow::Result<String> {
    let request = match change {
        TransportCaChange::Show => Request::ShowTransportCa,
        TransportCaChange::Rotate => Request::RotateTransportCa,
        TransportCaChange::Retire => Request::RetireTransportCa { force: false },
        TransportCaChange::RetireByForce => Request::RetireTransportCa { force: true },
    };
    answer(directory, &request).await
}

/// Begins a tenant's log anew, because entries of it were lost; what the customer's next policy must say.
///
/// # Errors
/// There is no such tenant, or nothing can be recorded.
pub async fn log_restart(directory: &Path, tenant: TenantName) -> anyhow::Result<String> {
    answer(directory, &Request::RestartLog { tenant }).await
}

/// Writes a whole log to `file`, as a tar: complete, or `file` is as it was before.
///
/// # Errors
/// There is no such log, or the disk does not take it.
pub async fn log_export(directory: &Path, log: &str, file: &Path) -> anyhow::Result<()> {
    let draft = beside(file, ".new");
    let written = async {
        let to = create(&draft)?;
        export(directory, log, to).await?;
        std::fs::rename(&draft, file).with_context(|| format!("{} cannot be written", file.display()))
    };
    written.await.inspect_err(|_| drop(std::fs::remove_file(&draft)))
}

/// Exports a log and checks all of it with the key `vkey`, or else the one that the tenant's adopted policy names.
///
/// # Errors
/// The first broken piece, named.
pub async fn log_verify(directory: &Path, log: &str, vkey: Option<&str>) -> anyhow::Result<Report> {
    let identity = match vkey {
        Some(vkey) => Identity { origin: NoteVerifier::parse(vkey)?.name().to_owned(), vkey: vkey.to_owned() },
        None => {
            let text = answer(directory, &Request::LogIdentity { log: log.to_owned() }).await?;
            serde_json::from_str(&text).context("the gateway's answer is not understood")?
        }
    };
    let path = directory.join(format!("verify-{}.tar", std::process::id()));
    let file = create(&path)?;
    // It is only for us, and gone with us however we end.
    std::fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
    export(directory, log, file.try_clone()?).await?;
    verify::check(file, &identity.origin, &identity.vkey)
}

async fn export(directory: &Path, log: &str, to: File) -> anyhow::Result<()> {
    let mut to = BufWriter::new(tokio::fs::File::from_std(to));
    carry_out(directory, Request::ExportLog { log: log.to_owned() }, &mut to).await?;
    to.flush().await?;
    to.into_inner().sync_all().await.context("the archive was not written")
}

/// The answer to a request whose answer is short.
async fn answer(directory: &Path, request: &Request) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    carry_out(directory, request.clone(), &mut bytes).await?;
    Ok(String::from_utf8(bytes)?)
}

/// Has a request done by the gateway that serves; where none serves, takes its lock and does it here.
async fn carry_out<W: AsyncWrite + Unpin + Send>(path: &Path, request: Request, out: &mut W) -> anyhow::Result<()> {
    let directory = Directory::new(path);
    let begun = Instant::now();
    loop {
        ensure!(
            directory.config().exists(),
            "{} is no gateway's directory: it has no {}; name yours with --dir",
            path.display(),
            config::FILE
        );
        if let Some(lock) = directory.try_lock()? {
            let config = Config::read(&directory.config())?;
            let (operator, _) = serve::open(&directory, config).await?;
            let acted = operator.carry_out(request, out).await;
            operator.gateway.store.close().await;
            drop(lock);
            return acted;
        }
        match UnixStream::connect(directory.socket()).await {
            Ok(stream) => return socket::ask(stream, &request, out).await,
            Err(error) if begun.elapsed() > BUSY_WAIT => {
                let socket = directory.socket();
                bail!(
                    "a belay-gateway works in {} and does not answer on {}: {error}",
                    path.display(),
                    socket.display()
                );
            }
            // It is starting, stopping, or another command is at work there.
            Err(_) => tokio::time::sleep(BUSY_PAUSE).await,
        }
    }
}

/// A file that nobody else reads, made anew.
fn create(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path);
    opened.with_context(|| format!("{} cannot be written", path.display()))
}

fn read(path: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let described = || format!("{} cannot be read", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(described)?;
    file.take(u64::try_from(bytes_max)?.saturating_add(1)).read_to_end(&mut bytes).with_context(described)?;
    ensure!(bytes.len() <= bytes_max, "{} is larger than {bytes_max} bytes", path.display());
    Ok(bytes)
}

/// The path with something added to its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
