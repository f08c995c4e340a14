//! Where a session stands, by what its device said and by what became of the way to it. Never stored: it follows.

use belay_certs::Timestamp;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// It goes on, or its device may still say how it ended.
    Live,
    /// Its device said that it ended.
    Ended,
    /// The way to it is gone for long, and its device never said that it ended. It may say so later.
    Unterminated,
}

impl SessionState {
    /// As people and programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended => "ended",
            Self::Unterminated => "unterminated",
        }
    }
}

/// What is known of a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionHeard {
    /// Whether its device said that it ended.
    pub is_over: bool,
    /// When the connection it came through ended.
    pub way_ended: Option<Timestamp>,
    /// Of its recording, where there is one: whether the log says that it was cut off.
    pub recording: Option<bool>,
}

impl SessionHeard {
    /// Where it stands, when nothing is waited for of a session to which the way was gone before `before`. Of one that is
    /// recorded the log's word counts: chunks may come long after the way was gone.
    pub fn state(&self, before: Timestamp) -> SessionState {
        let is_given_up = match self.recording {
            Some(is_cut) => is_cut,
            None => self.way_ended.is_some_and(|ended| ended < before),
        };
        match (self.is_over, is_given_up) {
            (true, _) => SessionState::Ended,
            (false, true) => SessionState::Unterminated,
            (false, false) => SessionState::Live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_end_counts_more_than_silence_and_the_logs_word_more_than_the_clock() {
        use SessionState::{Ended, Live, Unterminated};
        let (early, late) = (Some(Timestamp::from_seconds(10)), Some(Timestamp::from_seconds(30)));
        for (is_over, way_ended, recording, state) in [
            (false, None, None, Live),
            (false, late, None, Live),
            (false, early, None, Unterminated),
            (false, early, Some(false), Live),
            (false, late, Some(true), Unterminated),
            (true, early, None, Ended),
            (true, early, Some(true), Ended),
        ] {
            let heard = SessionHeard { is_over, way_ended, recording };
            assert_eq!(heard.state(Timestamp::from_seconds(20)), state, "{heard:?}");
        }
    }
}
