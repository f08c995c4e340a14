//! The gateway's commands over ssh: `ssh gw devices`. One file a command.
//!
//! The same for each: its words are read, the tenants it concerns are found, `command.ran` is recorded in every one of
//! them, and only then it is answered (P6). Whoever has no grant there gets the strangers' text (P3).
//! Not here: how the bytes come and go (`connection`), and what a signed document must be (`act`, `belay_certs`).

mod approve;
mod command;
mod devices;
mod expiry;
mod fetch;
mod freezes;
mod input;
mod jobs;
mod kill;
mod log;
mod output;
mod pending;
mod policy;
mod proof;
mod recording;
mod records;
mod review;
mod run;
mod runbook;
mod sealed;
mod search;
mod sessions;
mod show;
mod token;

use crate::{
    Gateway,
    act::{access::Caller, strangers},
    store::{Broken, RecordError},
};
use belay_certs::{Invalid, PersonRef, TenantName, Timestamp, policy::ActionKind};
use belay_rules::{
    ask::Ask,
    event::What,
    {Draft, LogName},
};
use command::{Command, Held};
use std::{sync::Arc, time::Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Exit status of a command that did what it was asked.
const DONE: u32 = 0;
/// Exit status of a refusal, or of something broken on our side.
const REFUSED: u32 = 1;
/// Exit status of a command that was written wrongly.
const USAGE: u32 = 2;
/// Bytes of a stranger's command that are kept as an example.
const STRANGER_CHARS_MAX: usize = 64;

/// Where a command's input comes from.
type Input<'a> = dyn AsyncRead + Unpin + Send + 'a;
/// Where its answer goes.
type Output<'a> = dyn AsyncWrite + Unpin + Send + 'a;

/// Runs one command line and returns its exit status. Cut off halfway, what was recorded stays recorded and everything
/// else is as before: a signed document counts when its own event is durable.
pub(crate) async fn run<I, O, E>(
    gateway: Arc<Gateway>,
    caller: Caller,
    line: Vec<u8>,
    mut stdin: I,
    mut stdout: O,
    mut stderr: E,
) -> u32
where
    I: AsyncRead + Unpin + Send,
    O: AsyncWrite + Unpin + Send,
    E: AsyncWrite + Unpin + Send,
{
    let asked = Instant::now();
    let answered = match belay_rules::words::split(&line).and_then(|words| Ok((command::parse(&words)?, words))) {
        Ok((command, words)) => {
            let call = Call { gateway: &gateway, caller: &caller, words: &words, asked };
            call.answer(command, &mut stdin, &mut stdout).await
        }
        Err(sentence) => Err(Failure::Usage(sentence)),
    };
    let (status, sentence) = match answered {
        Ok(()) => (DONE, expiry::notice(&gateway, &caller.key, gateway.now())),
        Err(Failure::Refused(sentence)) => (REFUSED, Some(sentence)),
        Err(Failure::Usage(sentence)) => (USAGE, Some(sentence)),
        Err(Failure::Gone) => (REFUSED, None),
    };
    if let Some(sentence) = sentence {
        let _ = stderr.write_all(format!("{}\n", show::escape(&sentence)).as_bytes()).await;
    }
    let _ = stdout.flush().await;
    let _ = stderr.flush().await;
    status
}

/// Why a command is not answered.
#[derive(Debug)]
enum Failure {
    /// It is written wrongly; how it is written.
    Usage(String),
    /// A reasoned no, or a reference when something broke on our side.
    Refused(String),
    /// Nobody reads the answer any more.
    Gone,
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Refused(invalid.sentence)
    }
}

/// What broke is for the operator's log; an outsider gets a reference to it.
impl From<Broken> for Failure {
    fn from(why: Broken) -> Self {
        crate::broken(&why).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Broken::from(error).into()
    }
}

/// A tenant in which the caller is somebody.
#[derive(Debug, Clone)]
struct Place {
    tenant: TenantName,
    person: PersonRef,
}

/// One command under way.
struct Call<'a> {
    gateway: &'a Gateway,
    caller: &'a Caller,
    /// The command, word by word, as it is recorded.
    words: &'a [String],
    /// When it came: what the strangers' delay counts from.
    asked: Instant,
}

impl Call<'_> {
    async fn answer(&self, command: Command, stdin: &mut Input<'_>, stdout: &mut Output<'_>) -> Result<(), Failure> {
        let text = match command {
            Command::Help => command::HELP.to_owned(),
            Command::Devices { text, tenant, form } => {
                devices::run(self, text.as_deref(), tenant.as_ref(), form).await?
            }
            Command::Pending { wanted, form } => pending::run(self, &wanted, form).await?,
            Command::Records { tenant, device, after, limit } => {
                records::run(self, &tenant, device.as_ref(), after.as_ref(), limit).await?
            }
            Command::Recertify { tenant, form } => approve::recertify(self, &tenant, form, stdin, stdout).await?,
            Command::Token { tenant } => token::run(self, &tenant, stdin).await?,
            Command::Approve { tenant, form } => approve::run(self, &tenant, form, stdin, stdout).await?,
            Command::PolicyShow { tenant, from, form } => policy::show(self, &tenant, from, form, stdout).await?,
            Command::PolicyFetch => fetch::run(self, stdin, stdout).await?,
            Command::PolicyPush { tenant } => policy::push(self, &tenant, stdin).await?,
            Command::Runbooks { tenant, name, form } => runbook::list(self, &tenant, name.as_ref(), form).await?,
            Command::RunbookShow { tenant, version } => runbook::show(self, &tenant, version).await?,
            Command::RunbookPush { tenant } => runbook::push(self, &tenant, stdin).await?,
            Command::Run { tenant, form } => run::run(self, &tenant, form, stdin).await?,
            Command::Jobs { tenant, limit, form } => jobs::list(self, tenant.as_ref(), limit, form).await?,
            Command::Job { id, device, wanted } => jobs::one(self, id, device.as_ref(), wanted, stdout).await?,
            Command::Cancel { id } => run::cancel(self, id).await?,
            Command::Sessions { sought, form } => sessions::run(self, &sought, form).await?,
            Command::Recording { id, from, form } => recording::run(self, id, from, form, stdout).await?,
            Command::Search { text, sought, form } => search::run(self, &text, &sought, form).await?,
            Command::Hold { held: Held::Session(id), reason, wanted } => {
                recording::hold(self, id, reason, wanted).await?
            }
            Command::Hold { held: Held::Run(id, device), reason, wanted } => {
                output::hold(self, (id, device), reason, wanted).await?
            }
            Command::Kill { id } => kill::run(self, id).await?,
            Command::Freeze { frozen, reason } => freezes::freeze(self, frozen, reason).await?,
            Command::Thaw { frozen } => freezes::thaw(self, frozen).await?,
            Command::Freezes { tenant, form } => freezes::list(self, tenant.as_ref(), form).await?,
            Command::Reviews { tenant, state, limit, form } => {
                review::list(self, tenant.as_ref(), state, limit, form).await?
            }
            Command::ReviewGive { id, device, opinion, note } => {
                review::give(self, id, device.as_ref(), opinion, note).await?
            }
            Command::LogTail { tenant, limit, form } => log::tail(self, &tenant, limit, form, stdout).await?,
            Command::LogStream { tenant, begin, until, form } => {
                log::stream(self, &tenant, (begin, until), form, stdout).await?;
                String::new()
            }
            Command::LogExport { tenant, life } => log::export(self, &tenant, life, stdout).await?,
            Command::LogProof { tenant, wanted } => proof::run(self, tenant.as_ref(), &wanted).await?,
            Command::LogCheckpoint { tenant } => log::checkpoint(self, &tenant).await?,
        };
        stdout.write_all(text.as_bytes()).await?;
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.gateway.now()
    }

    /// The named tenant, or all in which the caller has any grant. Recorded in each before this returns.
    async fn granted(&self, tenant: Option<&TenantName>) -> Result<Vec<Place>, Failure> {
        let names = match tenant {
            Some(tenant) => vec![tenant.clone()],
            None => self.gateway.book.tenants_of(&self.caller.key).into_iter().map(|(tenant, _)| tenant).collect(),
        };
        let now = self.now();
        let place = |tenant: TenantName| {
            let person = self.gateway.book.in_tenant(&tenant, &self.caller.key, now)?;
            Some(Place { tenant, person })
        };
        let places: Vec<Place> = names.into_iter().filter_map(place).collect();
        if places.is_empty() {
            return Err(self.turn_away(tenant).await);
        }
        self.record(&places).await?;
        Ok(places)
    }

    /// The one tenant, for somebody who has a grant in it or is one of its own policy's people: a provider's policy may
    /// know people whom only its customers' policies grant anything. Recorded before this returns.
    async fn known(&self, tenant: &TenantName) -> Result<Place, Failure> {
        match self.find(tenant) {
            Some(place) => {
                self.record(std::slice::from_ref(&place)).await?;
                Ok(place)
            }
            None => Err(self.turn_away(Some(tenant)).await),
        }
    }

    /// As [`Call::known`], before anything is recorded or said.
    fn find(&self, tenant: &TenantName) -> Option<Place> {
        let (book, key) = (&self.gateway.book, &self.caller.key);
        let granted = book.in_tenant(tenant, key, self.now());
        let person = granted.or_else(|| book.person(tenant, key).filter(|person| person.tenant.is_none()))?;
        Some(Place { tenant: tenant.clone(), person })
    }

    /// The one tenant, for somebody whose grants hold `action`.
    async fn holding(&self, tenant: &TenantName, action: ActionKind) -> Result<Place, Failure> {
        let place = self.granted(Some(tenant)).await?.pop();
        match place.filter(|place| self.holds(place, action)) {
            Some(place) => Ok(place),
            None => Err(self.lacks(Some(tenant), action)),
        }
    }

    /// The tenants in which the caller may audit at this moment. Nothing is recorded by asking.
    fn auditing(&self) -> Vec<Place> {
        let place = |tenant: TenantName| {
            let person = self.gateway.book.in_tenant(&tenant, &self.caller.key, self.now())?;
            Some(Place { tenant, person })
        };
        let places = self.gateway.book.tenants_of(&self.caller.key).into_iter();
        let places = places.filter_map(|(tenant, _)| place(tenant));
        places.filter(|place| self.holds(place, ActionKind::Audit)).collect()
    }

    fn holds(&self, place: &Place, action: ActionKind) -> bool {
        self.gateway.book.may(&place.tenant, &self.caller.key, action, self.now()).is_some()
    }

    /// The refusal of somebody whose grants do not hold `action`, or whose tenant's policy has expired.
    fn lacks(&self, tenant: Option<&TenantName>, action: ActionKind) -> Failure {
        if let Some(refusal) = tenant.and_then(|tenant| self.expired(tenant)) {
            return refusal;
        }
        let sentence = match tenant {
            Some(tenant) => format!(
                "this needs a grant with `{action}` for you in tenant {tenant}, and at this moment none holds; \
                 whoever signs its policy can add one"
            ),
            None => format!(
                "this needs a grant with `{action}`, and at this moment you have none in any tenant; whoever signs a \
                 tenant's policy can add one"
            ),
        };
        Failure::Refused(sentence)
    }

    /// That a tenant's policy has expired, if so: nothing is granted any more.
    fn expired(&self, tenant: &TenantName) -> Option<Failure> {
        let refusal = self.gateway.book.chain(tenant)?.check_expiry(self.now()).err()?;
        Some(Failure::Refused(refusal.to_string()))
    }

    /// Waits and gives the one text that says nothing about what exists; or why somebody who is named there is nobody now.
    async fn turn_away(&self, tenant: Option<&TenantName>) -> Failure {
        let wanted: String = self.words.join(" ").chars().take(STRANGER_CHARS_MAX).collect();
        let (address, key) = (&self.caller.address, self.caller.key.fingerprint());
        let who = format!("{address} {key} {}", wanted.escape_debug());
        let text = strangers::turn_away(self.gateway, self.asked, who).await.to_owned();
        let why = self.gateway.book.why_nobody(tenant, &self.caller.key, self.now());
        Failure::Refused(why.map_or(text, |refusal| refusal.to_string()))
    }

    /// Records the command in every tenant it concerns; nothing is answered before that is durable.
    async fn record(&self, places: &[Place]) -> Result<(), Failure> {
        let notes = places.iter().map(|Place { tenant, person }| {
            let what = What::CommandRan { words: self.words.to_vec() };
            self.gateway.record(Ask::Note(Draft::new(LogName::Tenant(tenant.clone()), what).by(person.clone())))
        });
        match futures_util::future::try_join_all(notes).await {
            Ok(_) => Ok(()),
            Err(RecordError::Refused(refusal)) => Err(Failure::Refused(refusal.to_string())),
            Err(RecordError::Broken(why)) => Err(why.into()),
        }
    }
}

#[cfg(test)]
mod tests;
