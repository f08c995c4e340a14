//! What the operator can have done, whichever way the request comes: through the socket of a serving gateway, or
//! directly where none serves.

use super::directory::Directory;
use crate::{
    Gateway,
    act::policies::{self, Adopted},
    config::Config,
    store::RecordError,
};
use anyhow::{Context, bail};
use belay_certs::{Digest, PublicKey, Signed, TenantName, policy::LogIdentity};
use belay_rules::{
    ask::Ask,
    event::What,
    {Draft, LogName},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::Mutex,
};

/// The format of an invite.
const INVITE_FORMAT: u32 = 1;

/// One request of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// A tenant begins: its log and its log's key. Answered with the invite.
    AddTenant { tenant: TenantName },
    /// The invite of a tenant that is there.
    Invite { tenant: TenantName },
    /// Version 0 of a tenant's policy: there is no network route for it.
    AdoptPolicy { tenant: TenantName, text: String, signatures: Vec<String> },
    /// A version 0 in the place of a chain whose root keys are lost: `lost` is that chain's version 0.
    RestartPolicy { tenant: TenantName, text: String, signatures: Vec<String>, lost: Digest },
    /// All tenants.
    ListTenants { json: bool },
    /// A tenant's log begins anew, because entries of it were lost. Answered with what its next policy must say.
    RestartLog { tenant: TenantName },
    /// A whole log as a tar.
    ExportLog { log: String },
    /// A log's name and key as the tenant's adopted policy says, as JSON.
    LogIdentity { log: String },
    /// Everything the gateway is, as a tar.
    BackUp,
    /// The transport CA in force, and who still needs the previous one.
    ShowTransportCa,
    /// A new transport CA takes the place of the one in force.
    RotateTransportCa,
    /// The previous transport CA ends.
    RetireTransportCa { force: bool },
}

/// What a person who begins a tenant's policy must know about the gateway. No secrets.
#[derive(Debug, Serialize)]
struct Invite<'a> {
    format: u32,
    tenant: &'a TenantName,
    gateway: &'a str,
    ssh: &'a str,
    ssh_host_keys: Vec<String>,
    addresses: &'a [String],
    transport_ca: Vec<Digest>,
    origin: String,
    vkey: String,
}

/// One tenant in the list, as JSON.
#[derive(Debug, Serialize)]
struct Row {
    tenant: TenantName,
    added: String,
    /// The newest policy's version; none before version 0 was adopted.
    version: Option<u64>,
    policy0: Option<Digest>,
}

/// A log's name and key, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) origin: String,
    pub(super) vkey: String,
}

/// A gateway in the operator's hands.
pub(crate) struct Operator {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) config: Config,
    /// The key by which people know the gateway.
    pub(crate) host_key: PublicKey,
    /// Where its keys are.
    pub(crate) directory: Directory,
    /// Held while keys of the directory are exchanged, and while a backup takes them with the database: so they fit.
    pub(crate) keys: Mutex<()>,
}

impl Operator {
    /// Does it, and writes the answer to `out`.
    pub(super) async fn carry_out<W: AsyncWrite + Unpin + Send>(
        &self,
        request: Request,
        out: &mut W,
    ) -> anyhow::Result<()> {
        let text = match request {
            Request::AddTenant { tenant } => self.add_tenant(tenant).await?,
            Request::Invite { tenant } => self.invite(&tenant)?,
            Request::AdoptPolicy { tenant, text, signatures } => {
                self.adopt(&tenant, Signed { bytes: text.into_bytes(), signatures }).await?
            }
            Request::RestartPolicy { tenant, text, signatures, lost } => {
                self.restart(&tenant, Signed { bytes: text.into_bytes(), signatures }, lost).await?
            }
            Request::ListTenants { json } => self.list(json).await?,
            Request::RestartLog { tenant } => self.restart_log(tenant).await?,
            Request::ExportLog { log } => {
                let log: LogName = log.parse()?;
                self.known(&log)?;
                self.note(log.clone(), &["log", "export", log.as_str()]).await?;
                self.gateway.store.export(&log, out).await?;
                String::new()
            }
            Request::LogIdentity { log } => self.identity(&log.parse()?)?,
            Request::BackUp => {
                self.back_up(out).await?;
                String::new()
            }
            Request::ShowTransportCa => self.show_transport_ca().await?,
            Request::RotateTransportCa => self.rotate_transport_ca().await?,
            Request::RetireTransportCa { force } => self.retire_transport_ca(force).await?,
        };
        out.write_all(text.as_bytes()).await?;
        out.flush().await?;
        Ok(())
    }

    async fn add_tenant(&self, tenant: TenantName) -> anyhow::Result<String> {
        recorded(self.gateway.record(Ask::AddTenant { tenant: tenant.clone() }).await)?;
        self.invite(&tenant)
    }

    async fn restart_log(&self, tenant: TenantName) -> anyhow::Result<String> {
        let _keys = self.keys.lock().await;
        let log = LogName::Tenant(tenant.clone());
        let before = self.known(&log)?;
        let entries = self.gateway.store.checkpoint(&log).map_or(0, |(size, _)| size);
        recorded(self.gateway.record(Ask::RestartLog { tenant: tenant.clone() }).await)?;
        let now = self.known(&log)?;
        let named = self.gateway.book.chain(&tenant).map(|chain| chain.policy().gateway.logs.clone());
        let lives = named.unwrap_or_else(|| vec![before.clone()]).into_iter().chain([now.clone()]);
        let lives: Vec<String> = lives
            .map(|LogIdentity { origin, vkey }| format!("{{ origin = \"{origin}\", vkey = \"{vkey}\" }}"))
            .collect();
        Ok(format!(
            "The log of {tenant} goes on as {}, after {entries} entries of {}, which stay as they are.\n\
             Until a policy of {tenant} names it, devices start nothing and say why. The customer replaces this line under\n\
             [gateway] in the next version, signs and pushes it:\n\nlogs = [{}]\n\n\
             The customer can see what was lost: belay log verify {tenant}\n",
            now.origin,
            before.origin,
            lives.join(", "),
        ))
    }

    fn invite(&self, tenant: &TenantName) -> anyhow::Result<String> {
        let log = LogName::Tenant(tenant.clone());
        let LogIdentity { origin, vkey } = self.known(&log)?;
        let invite = Invite {
            format: INVITE_FORMAT,
            tenant,
            gateway: &self.config.name,
            ssh: &self.config.ssh.public,
            ssh_host_keys: vec![self.host_key.line()],
            addresses: &self.config.quic.public,
            transport_ca: self.gateway.transport.fingerprints(),
            origin,
            vkey,
        };
        let text = toml::to_string(&invite).context("the invite could not be written")?;
        Ok(format!(
            "# An invite to begin the policy of tenant {tenant} with: `belay init {tenant} --invite FILE`. It holds no secret,\n\
             # but whoever can change it on its way can put themselves in the gateway's place: hand it over as such.\n{text}"
        ))
    }

    async fn adopt(&self, tenant: &TenantName, signed: Signed) -> anyhow::Result<String> {
        self.known(&LogName::Tenant(tenant.clone()))?;
        let digest = Digest::of(&signed.bytes);
        Ok(match policies::adopt_first(&self.gateway, tenant, signed).await? {
            Adopted::Now(version) => {
                format!("{tenant}: version {version} adopted; whoever trusts it pins it: belay trust {digest}\n")
            }
            Adopted::Already(version) => format!("{tenant}: version {version} is adopted already\n"),
        })
    }

    /// The old chain ends here and everywhere that this gateway reaches; its devices go, and each stays as it is until
    /// somebody makes it forget.
    async fn restart(&self, tenant: &TenantName, signed: Signed, lost: Digest) -> anyhow::Result<String> {
        self.known(&LogName::Tenant(tenant.clone()))?;
        let digest = Digest::of(&signed.bytes);
        policies::restart(&self.gateway, tenant, signed, lost).await?;
        Ok(format!(
            "{tenant}: a new chain has begun, the one of {lost} has ended. On each device, as root: belay-agent forget --tenant \
             {tenant}, then join with a new token. On each laptop: take {tenant} out of trust.toml, then belay trust {digest}\n"
        ))
    }

    async fn list(&self, json: bool) -> anyhow::Result<String> {
        let tenants = self.gateway.store.tenants().await?.into_iter();
        let rows: Vec<Row> = tenants
            .map(|row| Row {
                version: self.gateway.book.chain(&row.name).map(|chain| chain.version()),
                added: row.added.whole_second().to_string(),
                policy0: row.policy0,
                tenant: row.name,
            })
            .collect();
        if json {
            return Ok(format!("{}\n", serde_json::to_string(&rows)?));
        }
        let heading = format!("{:<24}  {:<20}  POLICY\n", "TENANT", "ADDED");
        let lines = rows.iter().map(|Row { tenant, added, version, .. }| {
            let policy = version.map_or("none yet".to_owned(), |version| format!("version {version}"));
            format!("{:<24}  {added:<20}  {policy}\n", tenant.as_str())
        });
        Ok(std::iter::once(heading).chain(lines).collect())
    }

    /// The key is the adopted policy's, never the database's: a database that was exchanged brings its own.
    fn identity(&self, log: &LogName) -> anyhow::Result<String> {
        let Some(tenant) = log.tenant() else {
            bail!("no policy names the key of the gateway's own log; give the one you know with --vkey");
        };
        self.known(log)?;
        let chain = self.gateway.book.chain(tenant).with_context(|| {
            format!("tenant {tenant} has no policy here that names its log's key; give the one you know with --vkey")
        })?;
        let log = chain.policy().gateway.logs.last().context("the policy names no log")?;
        let identity = Identity { origin: log.origin.clone(), vkey: log.vkey.clone() };
        Ok(serde_json::to_string(&identity)?)
    }

    /// The identity of a log that is there.
    fn known(&self, log: &LogName) -> anyhow::Result<LogIdentity> {
        let missing = || format!("there is no tenant {log} here; `belay-gateway tenant list` shows those there are");
        self.gateway.store.log_identity(log).with_context(missing)
    }

    /// What the operator reads of a log stands in that log (P6).
    pub(super) async fn note(&self, log: LogName, words: &[&str]) -> anyhow::Result<()> {
        let words = std::iter::once("belay-gateway").chain(words.iter().copied()).map(str::to_owned).collect();
        recorded(self.gateway.record(Ask::Note(Draft::new(log, What::CommandRan { words }))).await)
    }
}

/// The operator is told what broke, not a reference to it.
fn recorded<T>(answer: Result<T, RecordError>) -> anyhow::Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(RecordError::Refused(refusal)) => bail!("{refusal}"),
        Err(RecordError::Broken(why)) => Err(why).context("this could not be recorded, so nothing was done"),
    }
}
