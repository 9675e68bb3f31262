//! Figures of repeated measurements.

/// Measurements of one thing, in the order that they were made.
#[derive(Debug, Default, Clone)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// A single measurement.
    pub fn of(value: f64) -> Self {
        Self(vec![value])
    }

    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value below which a part of the measurements lies, by the nearest rank; `part` is between 0 and 1. Not a
    /// number if there are none.
    pub fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (part * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Half of the measurements lie within this width around the median.
    pub fn spread(&self) -> f64 {
        self.quantile(0.75) - self.quantile(0.25)
    }

    /// This sample and another that was measured in turn with it, pair by pair.
    pub fn paired(&self, other: &Self, with: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(mine, theirs)| with(*mine, *theirs)).collect())
    }

    /// Each measurement changed.
    pub fn map(&self, with: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().copied().map(with).collect())
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}
