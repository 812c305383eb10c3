//! Real work on real input: pages, images, searches, scripts, archives. How much of it is the call.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade::{Bytes, Host, Interrupt, State};
use tokio::runtime::Runtime;

use crate::baselines::in_process::InProcess;
use crate::guests::{self, ARCHIVE, MARKDOWN, REGEX, SCRIPT, THUMBNAIL};
use crate::measure::{Block, Samples, Side, Size, interleave};
use crate::report::{Outcome, Row};

const PAGE: &str = include_str!("../../../tests/PARITY.md");
const IMAGE: &[u8] = include_bytes!("../../../tests/images/hills.jpg");
const LOG: &str = include_str!("../../../tests/texts/access.log");
const REPORT: &str = include_str!("../../../tests/scripts/report.jq");
const ORDERS: &str = include_str!("../../../tests/scripts/orders.json");
const ZIP: &[u8] = include_bytes!("../../../tests/archives/good.zip");

/// Clients that came twice in a row.
const TWICE: &str = r"(?m)^(\S+) (?=.*\n\1 )";

const ROUNDS: usize = 30;
const ROUNDS_QUICK: usize = 6;

/// The answer of a guest's function that may refuse, and how it refuses; only its length is looked at.
type Page = String;
type Image = Result<Bytes, String>;
type Found = Result<Vec<(usize, usize, Vec<Option<String>>)>, String>;
type Results = Result<Vec<String>, Refused>;
type Unpacked = Result<Bytes, Refused>;

/// What an enum of reasons is to a reader that expects none: its first byte.
type Refused = u8;

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let runtime = guests::current_thread()?;
    let rounds = if quick { ROUNDS_QUICK } else { ROUNDS };
    let mut outcome = Outcome::default();
    let measured = [
        measure(
            &runtime,
            rounds,
            MARKDOWN,
            "render",
            (PAGE,),
            |page: &Page| page.len() > PAGE.len(),
        )
        .context("markdown")?
        .named("markdown"),
        measure(
            &runtime,
            rounds,
            THUMBNAIL,
            "thumbnail",
            (Bytes::from(IMAGE), 200u32, 200u32),
            |image: &Image| image.as_ref().is_ok_and(|png| png.starts_with(b"\x89PNG")),
        )
        .context("thumbnail")?
        .named("thumbnail"),
        measure(
            &runtime,
            rounds,
            REGEX,
            "search",
            (TWICE, LOG),
            |found: &Found| found.as_ref().is_ok_and(|found| found.len() > 20),
        )
        .context("regex")?
        .named("regex"),
        measure(
            &runtime,
            rounds,
            SCRIPT,
            "run",
            (REPORT, ORDERS),
            |r: &Results| r.as_ref().is_ok_and(|results| results.len() == 1),
        )
        .context("script")?
        .named("script"),
        measure(
            &runtime,
            rounds,
            ARCHIVE,
            "extract",
            (Bytes::from(ZIP), "tables/squares.txt", 1u64 << 20),
            |file: &Unpacked| file.as_ref().is_ok_and(|file| file.len() == 108_154),
        )
        .context("archive")?
        .named("archive"),
    ];
    outcome.rows.extend(measured.into_iter().flatten());
    outcome.note("markdown: tests/PARITY.md; thumbnail: a JPEG of 1200 x 675 to 200 x 113; regex: a search with a back-reference in 700 lines; script: a report over 150 orders, its compilation included; archive: a file of 108 KB out of a zip");
    outcome.note("each in a fresh instance, the default; _keep: in a shared one, as in_process is; _epoch: the same, to what it takes where no code looks for epochs (Interrupt::KillOnly)");
    Ok(outcome)
}

/// One workload in its places, and once more with nothing in its code that looks for epochs.
struct Measured {
    in_process: Samples,
    fresh: Samples,
    keep: Samples,
    kill_only: Samples,
}

impl Measured {
    fn named(&self, name: &str) -> [Row; 3] {
        let row = |name: String, samples| {
            Row::time(name, samples).against("in_process", &self.in_process)
        };
        [
            row(name.to_owned(), &self.fresh),
            row(format!("{name}_keep"), &self.keep),
            Row::time(format!("{name}_epoch"), &self.keep).against("kill_only", &self.kill_only),
        ]
    }
}

fn measure<A, R>(
    runtime: &Runtime,
    rounds: usize,
    guest: &[u8],
    function: &str,
    args: A,
    is_right: fn(&R) -> bool,
) -> Result<Measured>
where
    A: Serialize + Clone,
    R: DeserializeOwned,
{
    let host = |state, interrupt| {
        let builder = guests::host(guest, 1).state(state).interrupt(interrupt);
        builder.build_blocking()
    };
    let fresh = host(State::Fresh, Interrupt::Epoch)?;
    let keep = host(State::Keep, Interrupt::Epoch)?;
    let kill_only = host(State::Keep, Interrupt::KillOnly)?;
    let mut here = InProcess::new(guest)?;
    let export = here.export(function)?;

    let size = Size::new(1, 5);
    let calls = |host: Host| {
        let args = args.clone();
        move |block: &mut Block<'_>| calls(runtime, &host, function, &args, is_right, block)
    };
    let mut in_process = Side::new(size, |block| {
        block.time(|| check(&here.call(export, black_box(&args))?, is_right))
    });
    let mut fresh = Side::new(size, calls(fresh));
    let mut keep = Side::new(size, calls(keep));
    let mut kill_only = Side::new(size, calls(kill_only));
    interleave(
        rounds,
        &mut [&mut in_process, &mut fresh, &mut keep, &mut kill_only],
    )?;
    Ok(Measured {
        in_process: in_process.finish(),
        fresh: fresh.finish(),
        keep: keep.finish(),
        kill_only: kill_only.finish(),
    })
}

fn calls<A, R>(
    runtime: &Runtime,
    host: &Host,
    function: &str,
    args: &A,
    is_right: fn(&R) -> bool,
    block: &mut Block<'_>,
) -> Result<()>
where
    A: Serialize + Clone,
    R: DeserializeOwned,
{
    runtime.block_on(async {
        for _ in 0..block.calls() {
            let args = black_box(args.clone());
            let start = Instant::now();
            let result = host.run_sync(function, args).await?;
            block.push(start.elapsed());
            check(&result, is_right)?;
        }
        Ok(())
    })
}

fn check<R>(result: &R, is_right: fn(&R) -> bool) -> Result<()> {
    ensure!(is_right(result), "another result than expected");
    Ok(())
}
