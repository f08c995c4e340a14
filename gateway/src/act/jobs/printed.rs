//! Who follows what the runs of jobs print, and which devices printed since they looked.
//!
//! Only that something came stands here, once a device: what it is stands in the store, and whoever is slow finds all of it there.

use super::{JobKey, Jobs};
use belay_certs::{DeviceName, Id, TenantName};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::sync::Notify;

/// Everybody who follows, by job.
#[derive(Default)]
pub(super) struct Listeners(Mutex<HashMap<JobKey, Vec<Weak<Listener>>>>);

/// One who follows a job.
#[derive(Default)]
pub(crate) struct Listener {
    /// Devices that printed since it looked: no more than the job has.
    printed: Mutex<BTreeSet<DeviceName>>,
    bell: Notify,
}

impl Listener {
    /// Returns once a device has printed that was not taken yet.
    pub(crate) async fn heard(&self) {
        while lock(&self.printed).is_empty() {
            self.bell.notified().await;
        }
    }

    /// The devices that printed.
    pub(crate) fn take(&self) -> BTreeSet<DeviceName> {
        std::mem::take(&mut lock(&self.printed))
    }
}

impl Jobs {
    /// Listens from now on, until what this returns is dropped.
    pub(crate) fn listen(&self, key: JobKey) -> Arc<Listener> {
        let listener = Arc::default();
        let mut listeners = lock(&self.listeners.0);
        // Those who have left go with the next who comes.
        listeners.retain(|_, of_job| {
            of_job.retain(|listener| listener.strong_count() > 0);
            !of_job.is_empty()
        });
        listeners.entry(key).or_default().push(Arc::downgrade(&listener));
        listener
    }

    /// More of what a run printed is durable.
    pub(crate) fn printed(&self, tenant: &TenantName, job: Id, device: &DeviceName) {
        let listeners = lock(&self.listeners.0);
        if listeners.is_empty() {
            return;
        }
        for listener in listeners.get(&(tenant.clone(), job)).into_iter().flatten().filter_map(Weak::upgrade) {
            lock(&listener.printed).insert(device.clone());
            listener.bell.notify_one();
        }
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_follows_a_job_hears_once_of_each_of_its_devices_and_of_no_others() {
        let (jobs, tenant, id) = (Jobs::default(), "acme".parse::<TenantName>().unwrap(), Id([1; 16]));
        let device = |name: &str| name.parse::<DeviceName>().unwrap();
        jobs.printed(&tenant, id, &device("web1"));
        let (listener, other) = (jobs.listen((tenant.clone(), id)), jobs.listen((tenant.clone(), Id([2; 16]))));
        for name in ["web2", "web1", "web2"] {
            jobs.printed(&tenant, id, &device(name));
        }
        listener.heard().await;
        assert_eq!(listener.take(), BTreeSet::from([device("web1"), device("web2")]));
        assert!(listener.take().is_empty() && other.take().is_empty());
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(10), listener.heard()).await;
        assert!(waiting.is_err(), "what was rung for before is not heard again");
        drop((listener, other));
        jobs.printed(&tenant, id, &device("web1"));
        drop(jobs.listen((tenant, Id([3; 16]))));
        assert_eq!(lock(&jobs.listeners.0).len(), 1, "who left is forgotten");
    }
}
