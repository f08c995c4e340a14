//! Whose turn it is: tenants in a circle, and in each its jobs in a circle. One offer a turn, so that a job for ten thousand devices
//! delays another tenant's by one offer.

use crate::limits::{JOBS_OPEN_MAX, JOBS_OPEN_PER_TENANT_MAX, PLACES_OPEN_MAX, PLACES_OPEN_PER_TENANT_MAX};
use belay_certs::TenantName;
use std::collections::VecDeque;

/// The circle of open jobs.
#[derive(Debug, Clone)]
pub struct Rota<J> {
    /// Tenants with open jobs, whoever is next in front; none is empty.
    tenants: VecDeque<(TenantName, VecDeque<J>)>,
}

/// No further job is opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The tenant has as many as it may.
    #[error(
        "tenant {0} has {JOBS_OPEN_PER_TENANT_MAX} jobs under way, the most there may be; wait for one to end or cancel one"
    )]
    Tenant(TenantName),
    /// The devices of all its jobs are as many as may be.
    #[error(
        "the jobs under way of tenant {0} are for {PLACES_OPEN_PER_TENANT_MAX} devices, the most there may be; wait for one to end or cancel one"
    )]
    TenantDevices(TenantName),
    /// Everybody together has.
    #[error("this gateway has {JOBS_OPEN_MAX} jobs under way, the most there may be; come back later")]
    Gateway,
}

impl<J> Default for Rota<J> {
    fn default() -> Self {
        Self { tenants: VecDeque::new() }
    }
}

impl<J: Copy + PartialEq> Rota<J> {
    /// Whether one more job of this tenant may be opened.
    ///
    /// # Errors
    /// Who is full.
    pub fn check_room(&self, tenant: &TenantName) -> Result<(), Full> {
        let of_tenant = self.jobs(tenant).map_or(0, VecDeque::len);
        if of_tenant >= JOBS_OPEN_PER_TENANT_MAX {
            return Err(Full::Tenant(tenant.clone()));
        }
        let all: usize = self.tenants.iter().map(|(_, jobs)| jobs.len()).sum();
        if all >= JOBS_OPEN_MAX { Err(Full::Gateway) } else { Ok(()) }
    }

    /// Whether a job for so many `devices` has room beside those for `of_tenant` and for `of_all`, in memory.
    ///
    /// # Errors
    /// Who is full.
    pub fn check_places(tenant: &TenantName, devices: usize, of_tenant: usize, of_all: usize) -> Result<(), Full> {
        if of_tenant.saturating_add(devices) > PLACES_OPEN_PER_TENANT_MAX {
            return Err(Full::TenantDevices(tenant.clone()));
        }
        if of_all.saturating_add(devices) > PLACES_OPEN_MAX { Err(Full::Gateway) } else { Ok(()) }
    }

    /// Adds a job, behind those of its tenant; a job that is there stays where it is.
    pub fn add(&mut self, tenant: &TenantName, job: J) {
        match self.tenants.iter_mut().find(|(name, _)| name == tenant) {
            Some((_, jobs)) if jobs.contains(&job) => {}
            Some((_, jobs)) => jobs.push_back(job),
            None => self.tenants.push_back((tenant.clone(), VecDeque::from([job]))),
        }
    }

    /// Takes a job out.
    pub fn remove(&mut self, job: J) {
        for (_, jobs) in &mut self.tenants {
            jobs.retain(|one| *one != job);
        }
        self.tenants.retain(|(_, jobs)| !jobs.is_empty());
    }

    /// The next job that has something to offer, and what `ask` says it is. Its tenant's turn is over with that, and its own
    /// among its tenant's. `None` when no job has: every one was asked once.
    pub fn next<T>(&mut self, mut ask: impl FnMut(J) -> Option<T>) -> Option<(J, T)> {
        for _ in 0..self.tenants.len() {
            let (tenant, mut jobs) = self.tenants.pop_front()?;
            let found = turn(&mut jobs, &mut ask);
            self.tenants.push_back((tenant, jobs));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn jobs(&self, tenant: &TenantName) -> Option<&VecDeque<J>> {
        self.tenants.iter().find(|(name, _)| name == tenant).map(|(_, jobs)| jobs)
    }
}

/// The next of one tenant's jobs; those that were asked go to the end.
fn turn<J: Copy, T>(jobs: &mut VecDeque<J>, ask: &mut impl FnMut(J) -> Option<T>) -> Option<(J, T)> {
    for _ in 0..jobs.len() {
        let job = jobs.pop_front()?;
        jobs.push_back(job);
        if let Some(found) = ask(job) {
            return Some((job, found));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    /// Asks until nobody has anything left, each job having so much.
    fn order(rota: &mut Rota<u8>, mut left: Vec<(u8, usize)>) -> Vec<u8> {
        let mut take = |job: u8| {
            let (_, more) = left.iter_mut().find(|(id, _)| *id == job)?;
            *more = more.checked_sub(1)?;
            Some(())
        };
        std::iter::from_fn(|| rota.next(&mut take).map(|(job, ())| job)).collect()
    }

    #[test]
    fn tenants_take_turns_whatever_they_have() {
        let mut rota = Rota::default();
        for (name, job) in [("acme", 1), ("acme", 2), ("acme", 3), ("globex", 9)] {
            rota.add(&tenant(name), job);
        }
        assert_eq!(order(&mut rota, vec![(1, 3), (2, 1), (3, 1), (9, 3)]), [1, 9, 2, 9, 3, 9, 1, 1]);
    }

    #[test]
    fn ten_thousand_devices_of_one_delay_another_by_one() {
        let mut rota = Rota::default();
        rota.add(&tenant("acme"), 1);
        rota.add(&tenant("globex"), 9);
        let turns = order(&mut rota, vec![(1, 10_000), (9, 1)]);
        assert_eq!((turns.len(), turns.iter().position(|job| *job == 9)), (10_001, Some(1)));
    }

    #[test]
    fn who_comes_and_goes_leaves_the_others_their_turns() {
        let mut rota = Rota::default();
        rota.add(&tenant("acme"), 1);
        rota.add(&tenant("acme"), 1);
        rota.add(&tenant("globex"), 9);
        rota.remove(1);
        rota.remove(7);
        assert_eq!(order(&mut rota, vec![(1, 1), (9, 2)]), [9, 9]);
        assert_eq!(rota.next(|_| None::<()>), None);
        rota.remove(9);
        assert_eq!(rota.next(|_| Some(())), None);
    }

    #[test]
    fn the_devices_of_all_jobs_have_a_limit() {
        let check = |devices, of_tenant, of_all| Rota::<u8>::check_places(&tenant("acme"), devices, of_tenant, of_all);
        assert_eq!(check(1, PLACES_OPEN_PER_TENANT_MAX - 1, PLACES_OPEN_MAX - 1), Ok(()));
        assert_eq!(check(2, PLACES_OPEN_PER_TENANT_MAX - 1, 0), Err(Full::TenantDevices(tenant("acme"))));
        assert_eq!(check(2, 0, PLACES_OPEN_MAX - 1), Err(Full::Gateway));
    }

    #[test]
    fn a_tenant_and_a_gateway_have_a_limit() {
        let mut rota = Rota::default();
        let acme = tenant("acme");
        (0..JOBS_OPEN_PER_TENANT_MAX).for_each(|job| rota.add(&acme, job));
        assert_eq!(rota.check_room(&acme), Err(Full::Tenant(acme.clone())));
        assert_eq!(rota.check_room(&tenant("globex")), Ok(()));
        (JOBS_OPEN_PER_TENANT_MAX..JOBS_OPEN_MAX).for_each(|job| rota.add(&tenant(&format!("t{}", job % 99)), job));
        assert_eq!(rota.check_room(&tenant("globex")), Err(Full::Gateway));
        rota.remove(0);
        assert!(rota.check_room(&acme).is_ok() && rota.check_room(&tenant("globex")).is_ok());
    }
}
