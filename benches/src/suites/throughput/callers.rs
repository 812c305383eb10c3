//! The rate of calls against how many tasks make them.

use anyhow::Result;
use stockade::{Host, State};

use super::{BATCH, CROWD, all_at_once, batches, host, in_this_process, rate};
use crate::baselines::in_process::InProcess;
use crate::guests::{self, HELLO};
use crate::measure::{Block, Side, Size, interleave};
use crate::plot::{Axis, Curve, Plot};
use crate::report::Outcome;

const CALLERS: [usize; 6] = [1, 2, 4, 8, 16, 64];

const ROUNDS: usize = 20;
const ROUNDS_QUICK: usize = 2;

/// Samples of a turn.
const SIZE: Size = Size::new(1, 2);

pub(super) fn measure(quick: bool, cores: usize, outcome: &mut Outcome) -> Result<()> {
    let runtime = guests::multi_thread()?;
    let (keep, fresh) = (
        host(HELLO, cores, State::Keep)?,
        host(HELLO, cores, State::Fresh)?,
    );
    let mut guest = InProcess::new(HELLO)?;
    let mut in_process = Side::new(SIZE, |block| {
        batches(block, BATCH, || in_this_process(&mut guest, BATCH))
    });
    let side = |host: &Host, callers, calls| {
        let (runtime, host) = (&runtime, host.clone());
        Side::new(SIZE, move |block: &mut Block<'_>| {
            batches(block, calls, || {
                runtime.block_on(all_at_once(&host, callers, calls))
            })
        })
    };
    let mut kept = CALLERS.map(|callers| side(&keep, callers, CROWD));
    let mut renewed = CALLERS.map(|callers| side(&fresh, callers, BATCH));
    let ours = kept.iter_mut().chain(&mut renewed);
    let mut sides: Vec<_> = std::iter::once(&mut in_process).chain(ours).collect();
    interleave(if quick { ROUNDS_QUICK } else { ROUNDS }, &mut sides)?;

    let base = in_process.finish();
    let mut curve = |suffix: &str, sides: [Side<'_>; CALLERS.len()]| {
        let mut points = Vec::new();
        for (callers, side) in CALLERS.into_iter().zip(sides) {
            let samples = side.finish();
            points.push((callers as f64, 1e9 / samples.median()));
            let name = format!("callers_{callers}{suffix}");
            let times = callers.min(cores) as f64;
            outcome.rows.push(rate(name, &samples, &base, times));
        }
        points
    };
    let (kept, renewed) = (curve("", kept), curve("_fresh", renewed));
    outcome.plot = Some(Plot {
        title: "Calls a second against callers at once",
        x: Axis::Callers,
        y: Axis::Rate,
        curves: vec![
            Curve::new("State::Keep", kept),
            Curve::new("State::Fresh", renewed),
        ],
    });
    Ok(())
}
