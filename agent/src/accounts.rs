//! Operating-system accounts: who a session may run as on this machine, and what their login looks like.
//!
//! Whether a person *may* is not asked here (`authority`); only whether this process *can*.

use belay_certs::AccountName;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use std::{ffi::CString, path::PathBuf};

/// Supplementary groups handed to one session; Linux allows 65,536, no real account has more than this.
const GROUPS_MAX: usize = 1024;

/// An account of this machine, as its user database describes it.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// The login name.
    pub(crate) name: String,
    /// Its user id.
    pub(crate) uid: Uid,
    /// Its primary group.
    pub(crate) gid: Gid,
    /// All its groups, the primary one included.
    pub(crate) groups: Vec<Gid>,
    /// Its home directory; may not exist.
    pub(crate) home: PathBuf,
    /// Its login shell; `/bin/sh` where the database names none.
    pub(crate) shell: PathBuf,
}

/// Why a session cannot run as the account asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountProblem {
    /// The machine has no such account.
    #[error("there is no account {0} on this machine")]
    Missing(String),
    /// The agent is not root and the account is not its own.
    #[error("this agent runs as the ordinary user {own} and serves only that account, not {asked}")]
    NotOwn {
        /// The account the agent runs as.
        own: String,
        /// The account asked for.
        asked: String,
    },
    /// The user database could not be read.
    #[error("the user database could not be read: {0}")]
    Unreadable(String),
}

/// The account `name`, if this process can become it. Blocks while the user database answers.
pub(crate) fn find(name: &AccountName) -> Result<Account, AccountProblem> {
    let user = User::from_name(name.as_str())
        .map_err(|error| AccountProblem::Unreadable(error.to_string()))?
        .ok_or_else(|| AccountProblem::Missing(name.to_string()))?;
    let own = Uid::effective();
    if !own.is_root() && user.uid != own {
        return Err(AccountProblem::NotOwn { own: own_name(), asked: name.to_string() });
    }
    from_user(user)
}

/// What this agent can serve, as one sentence for its start-up line.
pub(crate) fn what_is_served() -> String {
    if Uid::effective().is_root() {
        "every account of this machine".to_owned()
    } else {
        format!("only the account {}: the agent does not run as root", own_name())
    }
}

fn own_name() -> String {
    let own = Uid::effective();
    User::from_uid(own).ok().flatten().map_or_else(|| format!("uid {own}"), |user| user.name)
}

fn from_user(user: User) -> Result<Account, AccountProblem> {
    let unreadable = |error: &dyn std::fmt::Display| AccountProblem::Unreadable(error.to_string());
    let name = CString::new(user.name.clone()).map_err(|error| unreadable(&error))?;
    let mut groups = getgrouplist(&name, user.gid).map_err(|error| unreadable(&error))?;
    groups.truncate(GROUPS_MAX);
    let shell = if user.shell.as_os_str().is_empty() { PathBuf::from("/bin/sh") } else { user.shell };
    Ok(Account { name: user.name, uid: user.uid, gid: user.gid, groups, home: user.dir, shell })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_account_is_found_with_its_groups() {
        let own: AccountName = own_name().parse().unwrap();
        let account = find(&own).unwrap();
        assert_eq!(account.uid, Uid::effective());
        assert!(account.groups.contains(&account.gid));
    }

    #[test]
    fn a_missing_account_is_named() {
        let missing: AccountName = "no-such-account-here".parse().unwrap();
        assert_eq!(find(&missing).unwrap_err().to_string(), "there is no account no-such-account-here on this machine");
    }
}
