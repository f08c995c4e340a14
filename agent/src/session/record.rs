//! What a session leaves in the log: its intent, its refusal, its end. Words of strangers are made readable first.

use super::{Caller, program::Ending, request::Asked};
use crate::device::Device;
use belay_certs::{
    Digest, Id,
    policy::Grant,
    recording::cast::{About, Kind},
    statement::{Body, Command, Intent, PolicyUsed, SessionKind, word},
};

/// How much a session moved, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    /// From the person.
    pub(super) bytes_in: u64,
    /// To the person.
    pub(super) bytes_out: u64,
}

/// The intent to run what was asked, under the grant that allows it, if one does.
pub(super) fn intent(caller: &Caller, asked: &Asked, grant: Option<&Grant>) -> Result<Intent, String> {
    let policies = PolicyUsed::all(grant.map_or(&[], |grant| grant.versions()));
    Ok(Intent {
        session: Id::random().map_err(|error| error.to_string())?,
        access: caller.access,
        person: grant.map_or(&caller.person, |grant| grant.person()).clone(),
        key: caller.key.fingerprint(),
        account: word(&caller.account),
        kind: asked.kind,
        command: asked.command().map(Command::of),
        target: None,
        tty: asked.terminal.is_some(),
        ticket: asked.ticket.as_deref().map(word),
        grant_line: grant.and_then(|grant| u64::try_from(grant.line()).ok()),
        policies,
    })
}

/// What the recording of a session says of it.
pub(super) fn about(device: &Device, intent: &Intent) -> About {
    let address = device.authority.address();
    About {
        session: intent.session,
        tenant: address.tenant.clone(),
        device: address,
        person: intent.person.clone(),
        account: intent.account.clone(),
        kind: match intent.kind {
            SessionKind::Exec => Kind::Exec,
            SessionKind::Sftp => Kind::Sftp,
            // A forward has no session that could be recorded.
            SessionKind::Shell | SessionKind::Forward => Kind::Shell,
        },
        command: intent.command.as_ref().map(|command| command.text.clone()),
        ticket: intent.ticket.clone(),
    }
}

/// A request was refused here. Durable on return; not waited for, because nothing will be done.
pub(super) async fn refusal(device: &Device, caller: &Caller, asked: &Asked, sentence: &str) {
    match intent(caller, asked, None) {
        Ok(intent) => report(device, Body::SessionRefused { intent, reason: word(sentence) }).await,
        Err(error) => tracing::error!("a refusal was not recorded: {error}"),
    }
}

/// A session is over. Durable on return: who hears the exit status finds the end in the log.
pub(super) async fn end(device: &Device, session: Id, ending: &Ending, moved: Moved, recording: Option<Digest>) {
    let Moved { bytes_in, bytes_out } = moved;
    let body = Body::SessionEnded {
        session,
        exit: ending.exit,
        signal: ending.signal.clone(),
        reason: ending.reason.as_deref().map(word),
        bytes_in,
        bytes_out,
        recording,
        files: ending.files.clone(),
    };
    report(device, body).await;
}

/// Something that is no session was refused: a forward, the agent, X11.
pub(crate) async fn refused_forward(device: &Device, caller: &Caller, target: &str, sentence: &str) {
    let Ok(session) = Id::random() else { return };
    let intent = Intent {
        session,
        access: caller.access,
        person: caller.person.clone(),
        key: caller.key.fingerprint(),
        account: word(&caller.account),
        kind: SessionKind::Forward,
        command: None,
        target: Some(word(target)),
        tty: false,
        ticket: None,
        grant_line: None,
        policies: Vec::new(),
    };
    report(device, Body::SessionRefused { intent, reason: word(sentence) }).await;
}

async fn report(device: &Device, body: Body) {
    if let Err(error) = device.recorder.report(body).await {
        tracing::error!("a statement could not be kept on disk: {error}");
    }
}
