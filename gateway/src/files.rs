//! How many files the process may have open: every connection is one.

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit as far as the hard one goes.
///
/// # Errors
/// Even that is too little for what the configuration allows: better now, in words, than in the middle of a busy day.
pub(crate) fn raise(needed: u64) -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!("the limit of open files could not be raised");
    }
    match getrlimit(Resource::Nofile).current {
        Some(allowed) if allowed < needed => bail!(
            "this process may have {allowed} files open and needs {needed} when every place is taken: raise LimitNOFILE in \
             its systemd unit (or `ulimit -Hn`), or lower `connections` or `places` under [limits] in gateway.toml"
        ),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::raise;

    #[test]
    fn a_gateway_that_may_not_open_enough_files_says_what_to_do() {
        raise(64).unwrap();
        let sentence = raise(u64::MAX).map_or_else(|error| error.to_string(), |()| "unlimited".to_owned());
        assert!(sentence.contains("LimitNOFILE") || sentence == "unlimited", "{sentence}");
    }
}
