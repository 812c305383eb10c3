//! Stockade in one minute: `cargo run --example quickstart`.
//!
//! It renders this repository's README.md and shrinks its sample images in worker processes, stops a
//! function that would never return, and outlives functions and processes that crash. What it makes lies
//! in `target/quickstart`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stockade::{Bytes, Host, WorkerState};
use stockade_tests::guest;
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const THUMBNAIL_SIDE: u32 = 160;

#[tokio::main]
async fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("no workspace")?;
    let target = root.join("target/quickstart");
    fs::create_dir_all(&target)?;

    title("a call");
    first_call().await?;
    title("README.md as HTML");
    render_readme(root, &target).await?;
    title("thumbnails, in parallel");
    make_thumbnails(&root.join("tests/images"), &target).await?;
    title("guests that misbehave");
    misbehave().await?;
    println!("\nEverything was made in {}", target.display());
    Ok(())
}

/// From a module's bytes to the first result.
async fn first_call() -> Result<()> {
    let step = Step::begin("start a host: compile, or take from the cache");
    let host = Host::new(guest::hello()).await?;
    step.end(format!("{} worker process", host.stats().workers.len()));

    let step = Step::begin("host.run_sync(hello::fib, (32,))");
    let fib = host.run_sync(hello::fib, (32,)).await?;
    step.end(fib);

    let step = Step::begin(r#"host.run_sync("greet", ("Ada",))"#);
    let greeting: String = host.run_sync("greet", ("Ada",)).await?;
    step.end(greeting);

    let step = Step::begin("an i32 where the guest takes a u32");
    let Err(error) = host.run_sync::<_, _, u64>("fib", (32,)).await else {
        return Err("fib took an i32".into());
    };
    step.end("refused");
    println!("      {error}");
    Ok(())
}

async fn render_readme(root: &Path, target: &Path) -> Result<()> {
    let step = Step::begin("start a host for the markdown guest");
    let host = Host::new(guest::markdown()).await?;
    step.end("ready");

    let text = fs::read_to_string(root.join("README.md"))?;
    let step = Step::begin("render README.md");
    let html: String = host.run_sync("render", (text.as_str(),)).await?;
    step.end(format!("{} bytes of HTML", html.len()));
    fs::write(target.join("README.html"), html)?;
    Ok(())
}

async fn make_thumbnails(images: &Path, target: &Path) -> Result<()> {
    let step = Step::begin("start a host for the thumbnail guest");
    let host = Host::new(guest::thumbnail()).await?;
    step.end("ready");

    let all = Step::begin("all images at once");
    let mut tasks = JoinSet::new();
    for path in image_files(images)? {
        let host = host.clone();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let to = target.join(format!("{name}.png"));
        tasks.spawn(async move {
            let begun = Instant::now();
            let image = Bytes::from(fs::read(&path)?);
            let read = image.len();
            let args = (image, THUMBNAIL_SIDE, THUMBNAIL_SIDE);
            let small: std::result::Result<Bytes, String> = host
                .run_sync("thumbnail", args)
                .await
                .map_err(std::io::Error::other)?;
            let small = small.map_err(std::io::Error::other)?;
            fs::write(to, &small)?;
            std::io::Result::Ok((name, read, small.len(), begun.elapsed()))
        });
    }
    let mut made = 0;
    while let Some(done) = tasks.join_next().await {
        let (name, read, written, took) = done??;
        row(
            &format!("  {name}"),
            &format!("{read} -> {written} bytes"),
            took,
        );
        made += 1;
    }
    all.end(format!(
        "{made} thumbnails in {} workers",
        host.stats().workers.len()
    ));
    Ok(())
}

fn image_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "png" || e == "jpg") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

async fn misbehave() -> Result<()> {
    let host = Host::builder(guest::probe()).workers(1).build().await?;
    let pid = pid_of(&host);

    let step = Step::begin("an endless loop, stopped after 50 ms");
    let call = host.call(probe::faults::spin, ());
    let Err(error) = call.timeout(Duration::from_millis(50)).await else {
        return Err("the loop ended".into());
    };
    step.end("stopped");
    println!("      {error}");
    serves_on(&host, pid).await?;

    let step = Step::begin("a guest that divides by zero");
    let Err(error) = host.run_sync(probe::faults::divide_by_zero, ()).await else {
        return Err("there was a quotient".into());
    };
    step.end("trapped");
    println!("      {error}");
    serves_on(&host, pid).await?;

    let step = Step::begin("SIGKILL to the worker in the middle of a call");
    let call = host.call(probe::faults::spin, ()).timeout(PATIENCE).spawn();
    // A worker that dies before it has taken its call up costs nothing: the call would run elsewhere.
    while host.stats().workers[0].state != WorkerState::Running {
        tokio::task::yield_now().await;
    }
    let worker = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(worker.ok_or("no process")?, Signal::KILL)?;
    let Err(error) = call.await else {
        return Err("the loop ended".into());
    };
    step.end("died");
    println!("      {error}");
    serves_on(&host, pid).await
}

/// A step that takes longer than this has gone wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Only the one call is lost, whatever happened.
async fn serves_on(host: &Host, before: u32) -> Result<()> {
    let step = Step::begin("  the next call");
    let answer = host.run_sync(probe::values::no_args, ()).await?;
    let pid = pid_of(host);
    let which = if pid == before {
        "the same process"
    } else {
        "a new process"
    };
    step.end(format!("{answer}, from {which} ({pid})"));
    Ok(())
}

fn pid_of(host: &Host) -> u32 {
    host.stats().workers[0].pid
}

/// One line of the table: what was done, what came of it, how long it took.
struct Step {
    what: &'static str,
    begun: Instant,
}

impl Step {
    fn begin(what: &'static str) -> Self {
        Self {
            what,
            begun: Instant::now(),
        }
    }

    fn end(self, came: impl ToString) {
        row(self.what, &came.to_string(), self.begun.elapsed());
    }
}

fn title(text: &str) {
    println!("\n{text}");
}

fn row(what: &str, came: &str, took: Duration) {
    let took = format!("{:.3} ms", took.as_secs_f64() * 1e3);
    println!("  {what:<46}  {came:<34}  {took:>12}");
}
