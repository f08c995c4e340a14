//! What devices are offered of one job: its documents, and each device's place and path.

use crate::store::{Broken, JobDocuments, SignedRunbook};
use belay_certs::{
    DeviceName, Digest, Invalid, Signed,
    order::{DeviceLine, DeviceList, DeviceTree, Order},
    runbook::Runbook,
};
use belay_protocol::{RunOffered, RunOfferedSealed, ToAgent};
use belay_rules::job::Plan;
use std::collections::HashMap;

/// What a device without secrets takes in memory, in bytes: a name, its place and a hash or two.
const LINE_BYTES: usize = 256;

/// A job's documents, read once.
pub(crate) struct Prepared {
    /// The order and its signature.
    order: Signed,
    /// The runbook and its author's signature.
    runbook: Signed,
    /// What it is paced by.
    pub(super) plan: Plan,
    /// Every device of it.
    lines: Vec<DeviceLine>,
    /// Where each device stands.
    places: HashMap<DeviceName, usize>,
    /// What proves each line.
    tree: DeviceTree,
    /// Whether the runbook names secrets, or the order readers.
    is_private: bool,
    /// The longest secrets of a line and those of all, in bytes as they travel.
    sealed: (usize, usize),
}

impl Prepared {
    /// Reads what a job goes by. For ten thousand devices this takes a moment: not on a thread that relays.
    ///
    /// # Errors
    /// When a document does not parse: the door has checked them, or the database is damaged.
    pub(crate) fn of(order: Signed, runbook: Signed, list: &DeviceList) -> Result<Self, Invalid> {
        let parsed = Runbook::parse(&runbook.bytes)?;
        let ordered = Order::parse(&order.bytes)?;
        let plan = Plan::of(&ordered, &parsed);
        let is_private = parsed.secrets().next().is_some() || !ordered.output_to.is_empty();
        let lines = list.lines().to_vec();
        let places = (0..).zip(&lines).map(|(place, line)| (line.name.clone(), place)).collect();
        let sealed = list.lines().iter().map(|line| line.sealed.as_ref().map_or(0, |sealed| sealed.as_str().len()));
        let sealed = sealed.fold((0, 0), |(most, all): (usize, usize), one| (most.max(one), all.saturating_add(one)));
        Ok(Self { order, runbook, plan, lines, places, tree: list.tree(), is_private, sealed })
    }

    /// The same from the tables.
    pub(super) fn read(documents: JobDocuments, runbooks: Vec<SignedRunbook>) -> Result<Self, Broken> {
        let JobDocuments { order, list, author_key } = documents;
        let runbook = runbooks.into_iter().find(|one| one.signed_by == author_key);
        let runbook = runbook.ok_or_else(|| Broken::new("the runbook of a job is missing"))?;
        let damaged = |invalid: Invalid| Broken::new(format!("the documents of a job cannot be read: {invalid}"));
        let list = DeviceList::parse(&list).map_err(damaged)?;
        Self::of(order, runbook.signed, &list).map_err(damaged)
    }

    /// The device's place.
    pub(super) fn place(&self, device: &DeviceName) -> Option<usize> {
        self.places.get(device).copied()
    }

    /// The device at a place.
    pub(super) fn line(&self, place: usize) -> Option<&DeviceLine> {
        self.lines.get(place)
    }

    /// Every device, in order.
    pub(super) fn lines(&self) -> &[DeviceLine] {
        &self.lines
    }

    /// Of the order's bytes.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.order.bytes)
    }

    /// How large an offer of it is, in bytes, all but the path.
    pub(super) fn offer_bytes(&self) -> usize {
        let of = |signed: &Signed| signed.bytes.len() + signed.signatures.iter().map(String::len).sum::<usize>();
        of(&self.order) + of(&self.runbook) + self.sealed.0
    }

    /// The room that it takes in memory, in devices without secrets.
    pub(super) fn weight(&self) -> usize {
        self.lines.len().saturating_add(self.sealed.1 / LINE_BYTES)
    }

    /// Whether an agent must know secrets, or readers of what is printed: an older one does not read a runbook that names the
    /// first, whether this order gives them or not, nor an order that names the second.
    pub(super) fn is_private(&self) -> bool {
        self.is_private
    }

    /// What the device at a place is offered.
    pub(super) fn offer(&self, place: usize) -> Option<ToAgent> {
        let signature = |signed: &Signed| signed.signatures.first().cloned().unwrap_or_default();
        let index = u64::try_from(place).ok()?;
        let offered = RunOffered {
            order: self.order.bytes.clone(),
            order_signature: signature(&self.order),
            runbook: self.runbook.bytes.clone(),
            runbook_signature: signature(&self.runbook),
            index,
            path: self.tree.path(index).ok()?,
        };
        Some(match &self.line(place)?.sealed {
            None => offered.into(),
            Some(sealed) => RunOfferedSealed { offered, sealed: sealed.to_string() }.into(),
        })
    }
}
