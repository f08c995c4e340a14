//! Samples and the line that a figure is printed as.

/// Measured values of one kind, in one unit.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// One more.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those of another as well.
    pub fn take(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The value that this share of the samples does not exceed; 0 without samples.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() as f64 * share) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// The median.
    pub fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The 99th of a hundred.
    pub fn p99(&self) -> f64 {
        self.quantile(0.99)
    }
}

/// What TARGETS says of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Nothing.
    None,
    /// The value is to be at most this.
    AtMost(f64),
    /// The value is to be at least this.
    AtLeast(f64),
    /// The value is to be at most so many times the rival's.
    Times(f64, f64),
    /// The value is to be at least so many times the rival's.
    AtLeastTimes(f64, f64),
}

/// Prints one figure: what, value, unit, the target and whether it is reached, and what stands beside it.
pub fn show(what: &str, value: f64, unit: &str, target: Target, beside: &str) {
    let (reached, said) = match target {
        Target::None => (None, String::new()),
        Target::AtMost(most) => (Some(value <= most), format!("target <= {}", short(most))),
        Target::AtLeast(least) => (Some(value >= least), format!("target >= {}", short(least))),
        Target::Times(times, rival) => {
            let ratio = value / rival;
            (Some(ratio <= times), format!("{ratio:.2} x, target <= {times} x"))
        }
        Target::AtLeastTimes(times, rival) => {
            let ratio = value / rival;
            (Some(ratio >= times), format!("{ratio:.2} x, target >= {times} x"))
        }
    };
    let verdict = match reached {
        Some(true) => "reached",
        Some(false) => "MISSED",
        None => "",
    };
    println!("{what:<44} {:>9} {unit:<9} {verdict:<8} {said:<26} {beside}", short(value));
}

/// A number with as many digits as mean something.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
