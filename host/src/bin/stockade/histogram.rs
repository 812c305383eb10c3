//! Latencies as bars, for the terminal and for pictures.

use hdrhistogram::Histogram;

/// One bar: from and to in nanoseconds, and how many calls took that long.
pub(crate) struct Bar {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) calls: u64,
}

/// At most so many bars from the least to the greatest latency, each as wide as the others on a logarithmic axis: a median of
/// microseconds and a tail of milliseconds are both to be seen.
pub(crate) fn bars(latencies: &Histogram<u64>, bars_max: u16) -> Vec<Bar> {
    // A little to each side, so that equal latencies have a width, too.
    let low = (latencies.min().max(1) as f64) * 0.99;
    let high = (latencies.max().max(1) as f64) * 1.01;
    // Narrower bars would show the histogram's own steps.
    let fit = (high / low).ln() / 0.01;
    let count = bars_max.min(fit as u16).max(1);
    let edge = |at: u16| low * (high / low).powf(f64::from(at) / f64::from(count));
    let mut bars = Vec::new();
    let mut counted = 0;
    for at in 0..count {
        let (from, to) = (edge(at), edge(at + 1));
        // What lies below an edge is counted once; the differences leave nothing out.
        let below = if at + 1 == count {
            latencies.len()
        } else {
            latencies.count_between(0, to as u64)
        };
        let calls = below.saturating_sub(counted);
        counted = counted.max(below);
        bars.push(Bar { from, to, calls });
    }
    bars
}

#[cfg(test)]
pub(crate) fn of(values: &[u64]) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap();
    for value in values {
        histogram.record(*value).unwrap();
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_in_one_bar() {
        for values in [
            vec![0],
            vec![1],
            vec![5, 5, 5],
            vec![900, 1_000, 70_000, 3_000_000_000],
            (1..5_000).map(|n| n * n).collect(),
        ] {
            let bars = bars(&of(&values), 72);
            assert_eq!(
                bars.iter().map(|bar| bar.calls).sum::<u64>(),
                values.len() as u64
            );
            assert!(bars.iter().all(|bar| bar.from < bar.to));
        }
    }
}
