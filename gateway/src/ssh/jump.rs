//! A jump to a device: asked, recorded, spliced; or refused with words that a stock `ssh` shows.

use crate::{
    Gateway,
    act::access::{self, Access, Caller, Closing, Target},
    limits,
    relay::splice::{self, Carried},
};
use belay_certs::{DeviceAddress, PersonRef};
use belay_protocol::flow::Waiting;
use russh::{Channel, ChannelMsg, server::Msg};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A jump as its connection hands it over.
pub(super) struct Jump {
    /// The channel.
    pub(super) channel: Channel<Msg>,
    /// Its bytes that wait, counted by the connection as they come.
    pub(super) waiting: Arc<Waiting>,
    /// Where to.
    pub(super) target: Target,
}

/// Serves one jump until it ends.
pub(super) async fn serve(gateway: Arc<Gateway>, caller: Caller, jump: Jump, gone: CancellationToken) {
    let Jump { channel, waiting, target } = jump;
    let Some(()) = gone.run_until_cancelled(gateway.shares.request(&caller.key)).await else { return };
    match access::open(&gateway, &caller, &target).await {
        Ok(access) => carry(&gateway, &caller, (channel, &waiting), access, gone).await,
        Err(sentence) => say(channel, &sentence).await,
    }
}

async fn carry(
    gateway: &Gateway,
    caller: &Caller,
    (channel, waiting): (Channel<Msg>, &Waiting),
    access: Access,
    gone: CancellationToken,
) {
    let Access { id, facts, person, send, recv, end, way: _way } = access;
    let carried = Carried::default();
    let cut = async {
        tokio::select! {
            reason = withdrawn(gateway, caller, &facts) => reason,
            reason = frozen(gateway, &facts, &person) => reason,
            reason = ended(end) => reason,
        }
    };
    let reason = tokio::select! {
        reason = splice::carry(channel, (waiting, &gateway.bulk), (send, recv), &carried, cut) => reason,
        () = gone.cancelled() => "the person's connection closed".to_owned(),
        () = gateway.stop.cancelled() => "the gateway stopped".to_owned(),
    };
    let (bytes_up, bytes_down) = (carried.up.load(Ordering::Relaxed), carried.down.load(Ordering::Relaxed));
    access::close(gateway, &facts, person, Closing { access: id, bytes_up, bytes_down, reason }).await;
}

/// Returns once no grant on the device is left, after the device had time to say so itself.
async fn withdrawn(gateway: &Gateway, caller: &Caller, facts: &belay_certs::policy::DeviceFacts) -> String {
    let mut changes = gateway.book.changes();
    loop {
        // Asked before the first wait too: the policy may have changed while the way was being opened.
        if let Err(refusal) = gateway.book.any_grant(&caller.key, facts, gateway.now()) {
            tokio::time::sleep(limits::WITHDRAWAL_GRACE).await;
            return refusal.to_string();
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns once a freeze keeps the person from the device: at once when one began while the way was being opened.
async fn frozen(gateway: &Gateway, facts: &belay_certs::policy::DeviceFacts, person: &PersonRef) -> String {
    let mut changes = gateway.store.freezes_changed();
    loop {
        let DeviceAddress { device, tenant } = &facts.address;
        if let Some(freeze) = gateway.store.freezes().find(tenant, Some(device), [person]) {
            return freeze.to_string();
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns once somebody ends the way.
async fn ended(mut end: watch::Receiver<Option<String>>) -> String {
    let why = end.wait_for(Option::is_some).await.map(|why| why.clone());
    match why {
        Ok(why) => why.unwrap_or_default(),
        Err(_) => std::future::pending().await,
    }
}

/// An SSH version line and a clear-text disconnect: every client prints it, also a multiplexed one.
async fn say(channel: Channel<Msg>, sentence: &str) {
    let (mut reading, writing) = channel.split();
    let farewell = async {
        writing.data_bytes(belay_protocol::farewell::packet(sentence)).await?;
        // The client speaks before it listens: closing first would break its pipe, and the words would be lost.
        while !matches!(reading.wait().await, None | Some(ChannelMsg::Close | ChannelMsg::Eof)) {}
        Ok::<_, russh::Error>(())
    };
    let _ = tokio::time::timeout(limits::FAREWELL_WAIT, farewell).await;
    let _ = writing.eof().await;
    let _ = writing.close().await;
}
