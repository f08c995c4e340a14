//! The pattern a ticket must fit: the small language of [`Pattern`], and what every ticket must be besides.

use crate::invalid::{Invalid, malformed};
use crate::limits::TICKET_BYTES_MAX;
use crate::pattern::Pattern;
use std::{fmt, str::FromStr};

/// A pattern like `INC-[0-9]+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketPattern(Pattern);

impl TicketPattern {
    /// Whether the whole ticket fits. An empty one, one over `TICKET_BYTES_MAX` or with anything but
    /// visible ASCII never does.
    pub fn matches(&self, ticket: &str) -> bool {
        !ticket.is_empty() && ticket.len() <= TICKET_BYTES_MAX && self.0.matches(ticket)
    }
}

impl fmt::Display for TicketPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TicketPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let pattern = Pattern::read(text);
        pattern.map(Self).map_err(|why| malformed(format!("{text:?} is not a ticket pattern, as INC-[0-9]+: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, ticket: &str) -> bool {
        pattern.parse::<TicketPattern>().unwrap().matches(ticket)
    }

    #[test]
    fn the_whole_ticket_must_fit() {
        assert!(fits("INC-[0-9]+", "INC-1") && fits("INC-[0-9]+", "INC-0042"));
        for ticket in [
            "",
            "INC-",
            "INC-1x",
            "xINC-1",
            "inc-1",
            "INC-1\n",
            "INC-1 ",
            "\nINC-1",
            "INC-1\0",
            "INC-\u{0661}",
            "INC-1,INC-2",
        ] {
            assert!(!fits("INC-[0-9]+", ticket), "{ticket:?}");
        }
    }

    #[test]
    fn a_pattern_that_fits_nothing_at_all_still_wants_a_ticket() {
        assert!(!fits("[0-9]*", "") && fits("[0-9]*", "1"));
    }

    #[test]
    fn hostile_patterns_and_long_tickets_cost_no_time() {
        let pattern: TicketPattern = "[a-z]*".repeat(20).parse().unwrap();
        assert!(!pattern.matches(&("a".repeat(127) + "B")));
        assert!(!pattern.matches(&"a".repeat(TICKET_BYTES_MAX + 1)));
    }
}
