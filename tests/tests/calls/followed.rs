//! What a command writes, had while it runs.

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stockade::{Host, HostBuilder, Limits, Module, Output, OutputStream, Wasi, WorkerState};
use stockade_tests::{BOUND, ByHand, Scratch, eventually_async, guest, host_of};
use tokio::sync::mpsc;

use OutputStream::{Stderr, Stdout};

/// Writes its arguments to stdout and its input to stderr.
const ECHOES: &str = include_str!("../../../host/tests/cli/command.wat");
/// Writes a line to stdout, one to stderr and one to stdout, and never ends.
const WAITS: &str = include_str!("../../../host/tests/cli/waits.wat");
/// Never ends to write, and traps if that fails.
const YES: &str = include_str!("../../../host/tests/cli/yes.wat");

const WAITS_WRITES: [(OutputStream, &[u8]); 3] = [
    (Stdout, b"ready\n"),
    (Stderr, b"working\n"),
    (Stdout, b"\xff\n"),
];

/// Much longer than what these programs take to write.
const PATIENCE: Duration = Duration::from_secs(1);

type Pieces = Arc<Mutex<Vec<(OutputStream, Vec<u8>)>>>;

/// Keeps each piece.
fn sink() -> (Pieces, impl FnMut(OutputStream, &[u8]) + Send + 'static) {
    let pieces = Pieces::default();
    let kept = Arc::clone(&pieces);
    let sink = move |stream, bytes: &[u8]| kept.lock().unwrap().push((stream, bytes.to_vec()));
    (pieces, sink)
}

fn all_of(pieces: &Pieces, stream: OutputStream) -> Vec<u8> {
    let pieces = pieces.lock().unwrap();
    let of_it = pieces.iter().filter(|(of, _)| *of == stream);
    of_it.flat_map(|(_, bytes)| bytes).copied().collect()
}

fn builder(program: &str) -> HostBuilder {
    let builder = host_of(Module::from_wat(program)).workers(1);
    builder.interrupt_grace(BOUND)
}

async fn host(program: &str) -> Host {
    builder(program).build().await.unwrap()
}

#[tokio::test]
async fn what_a_program_writes_is_there_in_its_order_while_it_runs() {
    let host = host(WAITS).await;
    let (sender, mut pieces) = mpsc::unbounded_channel();
    let run = host.run_command([""; 0]).on_output(move |stream, bytes| {
        sender.send((stream, bytes.to_vec())).unwrap();
    });
    let run = tokio::spawn(run.into_future());
    for (stream, bytes) in WAITS_WRITES {
        let piece = tokio::time::timeout(BOUND, pieces.recv()).await.unwrap();
        assert_eq!(piece.unwrap(), (stream, bytes.to_vec()));
    }
    assert!(!run.is_finished());
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn nothing_of_a_long_output_is_lost_and_its_end_is_in_the_result() {
    let limits = Limits {
        output_bytes: 4096,
        ..Limits::default()
    };
    let host = builder(ECHOES).limits(limits).build().await.unwrap();
    let input: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let (pieces, sink) = sink();
    let run = host.run_command(["a"]).stdin(input.clone()).on_output(sink);
    let output = run.await.unwrap();
    assert_eq!(all_of(&pieces, Stdout), b"command\0a\0");
    assert!(all_of(&pieces, Stderr) == input);
    assert!(pieces.lock().unwrap().iter().all(|(_, p)| p.len() <= 4096));
    assert_eq!(output.stderr_lost as usize + 4096, input.len());
    assert!(input.ends_with(&output.stderr));
    // The next one of the same worker begins anew, and is not followed.
    let output = host.run_command(["b"]).stdin(input.clone()).await.unwrap();
    assert_eq!(output.stderr_lost as usize + 4096, input.len());
    assert_eq!(output.stdout, b"command\0b\0");
}

#[tokio::test]
async fn what_a_program_wrote_before_it_was_stopped_or_failed_is_had() {
    let host = host(WAITS).await;
    let (pieces, sink) = sink();
    let run = host.run_command([""; 0]).on_output(sink);
    let error = run.timeout(PATIENCE).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let expected = WAITS_WRITES.map(|(stream, bytes)| (stream, bytes.to_vec()));
    assert_eq!(*pieces.lock().unwrap(), expected);
    let traps = WAITS.replace("(loop $again (br $again))", "unreachable");
    let host = host_of(Module::from_wat(&traps)).build().await.unwrap();
    let (pieces, sink) = self::sink();
    let run = host.run_command([""; 0]).on_output(sink);
    assert!(run.await.unwrap_err().is_broken_worker());
    assert_eq!(*pieces.lock().unwrap(), expected);
}

#[tokio::test]
async fn what_is_discarded_is_not_given() {
    let wasi = Wasi::new().stdout(Output::Discard);
    let host = builder(WAITS).wasi(wasi).build().await.unwrap();
    let (pieces, sink) = sink();
    let run = host.run_command([""; 0]).on_output(sink);
    let error = run.timeout(PATIENCE).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(*pieces.lock().unwrap(), [(Stderr, b"working\n".to_vec())]);
}

/// Also with the other kind of streams, which programs have that were granted a directory.
#[tokio::test]
async fn a_program_waits_for_who_follows_it_and_can_be_stopped_meanwhile() {
    let scratch = Scratch::new();
    let granted = Wasi::new().read_dir(scratch.path(), "/data");
    for wasi in [Wasi::new(), granted] {
        let host = builder(YES).wasi(wasi).build().await.unwrap();
        let pid = host.stats().workers[0].pid;
        let (pieces, sink) = sink();
        let mut run = ByHand::new(host.run_command([""; 0]).on_output(sink));
        assert!(run.poll().is_pending());
        eventually_async(BOUND, || {
            host.stats().workers[0].state == WorkerState::Running
        })
        .await;
        // Nobody looks: it fills what there is room for, and waits. A look lets it go on.
        let mut looks = 0;
        while all_of(&pieces, Stdout).len() < 4_000_000 {
            assert!(run.wait(BOUND));
            assert!(run.poll().is_pending());
            looks += 1;
        }
        assert!(looks > 1, "{looks}");
        let all = all_of(&pieces, Stdout);
        assert!(all.chunks(2).all(|line| line == b"y\n"));
        drop(run);
        let (pieces, sink) = self::sink();
        let run = host.run_command([""; 0]).on_output(sink);
        let error = run.timeout(PATIENCE).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(all_of(&pieces, Stdout).starts_with(b"y\ny\n"));
        assert_eq!(host.stats().workers[0].pid, pid);
    }
}

#[tokio::test]
async fn a_sink_that_panics_ends_its_own_run_only() {
    let host = host(WAITS).await;
    let pid = host.stats().workers[0].pid;
    let run = host.run_command([""; 0]);
    let run = run.on_output(|_, _| panic!("the terminal is gone"));
    let panicked = tokio::spawn(run.into_future()).await.unwrap_err();
    assert!(panicked.is_panic());
    let (pieces, sink) = sink();
    let run = host.run_command([""; 0]).on_output(sink);
    let error = run.timeout(PATIENCE).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(pieces.lock().unwrap().len(), 3);
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn a_program_that_nobody_here_wrote_is_followed() {
    let limits = Limits {
        output_bytes: 4096,
        ..Limits::default()
    };
    let wasi = Wasi::new().arg("jaq");
    let host = host_of(guest::jaq()).wasi(wasi).limits(limits);
    let host = host.build().await.unwrap();
    let (pieces, sink) = sink();
    let run = host.run_command(["-Mn", "range(20000)"]).on_output(sink);
    let output = run.await.unwrap();
    assert_eq!(output.exit_code, 0);
    let expected: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    let written = all_of(&pieces, Stdout);
    assert!(written == expected.as_bytes(), "{}", written.len());
    assert_eq!(
        output.stdout_lost as usize + output.stdout.len(),
        written.len()
    );
}
