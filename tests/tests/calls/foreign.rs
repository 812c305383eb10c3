//! Programs that nobody here wrote, as the package registry has them: a compressor and an interpreter of scripts, each
//! at its own work, under limits, timeouts and cancel.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stockade::{Cause, CommandOutput, Error, Host, HostBuilder, Limits, Wasi, WorkerState};
use stockade_tests::{BOUND, Scratch, eventually_async, guest, host_of};

/// All that the compressor writes is kept.
fn compressor(wasi: Wasi) -> HostBuilder {
    let limits = Limits {
        output_bytes: 8 << 20,
        ..Limits::default()
    };
    host_of(guest::brotli())
        .wasi(wasi.arg("brotli"))
        .limits(limits)
}

/// An interpreter that may read the scripts in a directory. It takes its output for a terminal, as a guest's is.
fn interpreter(scripts: &Path) -> HostBuilder {
    let wasi = Wasi::new().arg("jaq").read_dir(scripts, "/scripts");
    host_of(guest::jaq()).wasi(wasi).interrupt_grace(BOUND)
}

/// Where this repository's own scripts are.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

async fn run(host: &Host, args: &[&str], stdin: &[u8]) -> CommandOutput {
    let run = host.run_command(args.iter().copied());
    run.stdin(stdin.to_vec()).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn what_was_compressed_comes_back() {
    let text = include_bytes!("../../../LICENSE-APACHE").repeat(20);
    // As the reference implementation writes it.
    let host = compressor(Wasi::new()).build().await.unwrap();
    let hello = run(&host, &[], b"\x0b\x02\x80hello\x03").await;
    assert_eq!((hello.exit_code, &*hello.stdout), (0, &b"hello"[..]));
    let mut lengths = Vec::new();
    for quality in ["-q1", "-q5", "-q9"] {
        let packed = run(&host, &["-c", quality], &text).await;
        assert_eq!((packed.exit_code, packed.stdout_lost), (0, 0));
        lengths.push(packed.stdout.len());
        let back = run(&host, &[], &packed.stdout).await;
        assert_eq!((back.exit_code, back.stdout_lost), (0, 0));
        assert_eq!(back.stdout, text);
    }
    assert!(lengths.is_sorted_by(|one, next| one > next), "{lengths:?}");
    assert!(lengths[0] < text.len() / 10, "{lengths:?}");
}

#[tokio::test]
async fn files_are_compressed_where_they_may_be() {
    let scratch = Scratch::new();
    let content = include_bytes!("../../../README.md");
    let _ = scratch.file("in", content);
    let wasi = Wasi::new().write_dir(scratch.path(), "/data");
    let host = compressor(wasi).build().await.unwrap();
    let out = run(&host, &["-c", "/data/in", "/data/packed"], b"").await;
    assert_eq!((out.exit_code, out.stdout.len()), (0, 0));
    let packed = fs::read(scratch.join("packed")).unwrap();
    assert!(packed.len() < content.len() / 2);
    let out = run(&host, &["/data/packed", "/data/back"], b"").await;
    assert_eq!(out.exit_code, 0);
    assert_eq!(fs::read(scratch.join("back")).unwrap(), content);
    // It panics when it cannot open a file.
    let missing = host.run_command(["-c", "/etc/passwd", "/data/got"]);
    let Error::BrokenWorker(broken) = missing.await.unwrap_err() else {
        panic!("it read a file of the machine's")
    };
    assert!(
        broken.stderr_tail().contains("couldn't open /etc/passwd"),
        "{broken}"
    );
    assert!(!scratch.join("got").exists());
}

/// Some bytes that become 64 MiB.
#[tokio::test]
async fn a_bomb_fills_neither_the_disk_nor_the_server() {
    let limits = |output_bytes| Limits {
        output_bytes,
        file_bytes: 1 << 20,
        memory_bytes: 64 << 20,
        ..Limits::default()
    };
    let scratch = Scratch::new();
    let wasi = Wasi::new().arg("brotli").write_dir(scratch.path(), "/data");
    let builder = || host_of(guest::brotli()).wasi(wasi.clone());
    let host = builder().limits(limits(1 << 20)).build().await.unwrap();
    let packed = run(&host, &["-c", "-q1"], &vec![0; 16 << 20]).await.stdout;
    assert!(packed.len() < 100_000, "{}", packed.len());
    // What is too much to keep is lost, and counted.
    let out = run(&host, &[], &packed).await;
    assert_eq!(out.exit_code, 0);
    assert_eq!(out.stdout.len() as u64 + out.stdout_lost, 16 << 20);
    assert!(out.stdout.len() <= 2 << 20);
    // What is too long for a file is an error of the program's own.
    fs::write(scratch.join("packed"), &packed).unwrap();
    let run = host.run_command(["/data/packed", "/data/out"]);
    let said = match run.await {
        Ok(out) => {
            assert_ne!(out.exit_code, 0);
            String::from_utf8_lossy(&out.stderr).into_owned()
        }
        Err(Error::BrokenWorker(broken)) => broken.stderr_tail().to_owned(),
        Err(other) => panic!("{other}"),
    };
    assert!(said.contains("File too large"), "{said}");
    assert!(fs::metadata(scratch.join("out")).unwrap().len() <= 1 << 20);
}

#[tokio::test]
async fn a_compressor_is_stopped_in_the_middle_of_its_work_and_its_process_serves_on() {
    let host = compressor(Wasi::new()).workers(1).interrupt_grace(BOUND);
    let host = host.build().await.unwrap();
    let pid = host.stats().workers[0].pid;
    // The best quality takes this build of it minutes.
    let input = include_bytes!("../../../README.md").repeat(2000);
    let work = || host.run_command(["-c", "-q11"]).stdin(input.clone());
    let error = work().timeout(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let running = tokio::spawn(work().into_future());
    is_at_work(&host).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let hello = run(&host, &[], b"\x0b\x02\x80hello\x03").await;
    assert_eq!(hello.stdout, b"hello");
    assert_eq!(host.stats().workers[0].pid, pid);
}

async fn is_at_work(host: &Host) {
    eventually_async(BOUND, || {
        let workers = host.stats().workers;
        workers.iter().any(|w| w.state == WorkerState::Running)
    })
    .await;
}

#[tokio::test]
async fn scripts_compute() {
    let host = interpreter(&samples()).build().await.unwrap();
    for _ in 0..3 {
        let out = run(&host, &["-Mcf", "/scripts/queens.jq"], b"8").await;
        assert_eq!(text(&out.stderr), "");
        assert_eq!(text(&out.stdout), "[92,[0,4,7,5,2,6,1,3]]\n");
        assert_eq!(out.exit_code, 0);
    }
    // The same file by its name and as input.
    let report = ["-Mcf", "/scripts/report.jq", "/scripts/orders.json"];
    let by_name = run(&host, &report, b"").await;
    let orders = fs::read(samples().join("orders.json")).unwrap();
    let as_input = run(&host, &report[..2], &orders).await;
    assert_eq!(by_name.stdout, as_input.stdout);
    let report: serde_json::Value = serde_json::from_slice(&by_name.stdout).unwrap();
    let customers = report["customers"].as_array().unwrap();
    assert!(customers.is_sorted_by_key(|one| std::cmp::Reverse(one["cents"].as_u64())));
    let orders: serde_json::Value = serde_json::from_slice(&orders).unwrap();
    let of_each = customers.iter().map(|one| one["orders"].as_u64().unwrap());
    assert_eq!(
        of_each.sum::<u64>() as usize,
        orders["orders"].as_array().unwrap().len()
    );
}

#[tokio::test]
async fn what_a_script_may_not_read_and_what_it_gets_wrong_is_its_own_error() {
    let host = interpreter(&samples()).build().await.unwrap();
    let failed = async |args: &[&str], input: &[u8]| {
        let out = run(&host, args, input).await;
        assert_eq!(text(&out.stdout), "");
        (out.exit_code, text(&out.stderr).to_owned())
    };
    let (code, said) = failed(&["-M", ".a + nosuch"], b"{}").await;
    assert!(code == 3 && said.contains("undefined filter"), "{said}");
    let (code, said) = failed(&["-M", ". + 1"], b"\"a\"").await;
    assert!(code == 5 && said.contains("cannot calculate"), "{said}");
    let (code, said) = failed(&["-M", "."], b"{").await;
    assert!(code == 5 && said.contains("failed to parse"), "{said}");
    for path in ["/scripts/missing", "/etc/passwd", "/scripts/../x"] {
        let (code, said) = failed(&["-M", ".", path], b"").await;
        assert!(code == 2 && said.contains(path), "{code}: {said}");
    }
}

#[tokio::test]
async fn a_script_without_end_costs_only_itself() {
    let scratch = Scratch::new();
    let _ = scratch.file("loop.jq", "def f: f; f");
    let host = interpreter(scratch.path())
        .workers(2)
        .min_workers(2)
        .build()
        .await
        .unwrap();
    host.warm(2).await.unwrap();
    let pids = || {
        let mut pids: Vec<u32> = host.stats().workers.iter().map(|w| w.pid).collect();
        pids.sort_unstable();
        pids
    };
    let before = pids();
    let sum = async |n: u32| {
        let script = format!("reduce range(1001) as $n (0; . + $n * {n})");
        let out = run(&host, &["-Mn", &script], b"").await;
        assert_eq!(text(&out.stdout), format!("{}\n", 500_500 * n));
    };
    let endless = || host.run_command(["-nf", "/scripts/loop.jq"]);
    // Dropped, it is stopped; others are served meanwhile.
    let running = tokio::spawn(endless().into_future());
    is_at_work(&host).await;
    for n in 0..20 {
        sum(n).await;
    }
    assert!(!running.is_finished());
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    for _ in 0..3 {
        let run = endless().timeout(Duration::from_millis(50));
        assert!(run.await.unwrap_err().is_timeout());
    }
    sum(7).await;
    assert_eq!(pids(), before, "no stop cost a process");
}

#[tokio::test]
async fn a_script_that_wants_everything_gets_what_it_may() {
    let scratch = Scratch::new();
    let limits = Limits {
        memory_bytes: 32 << 20,
        output_bytes: 4096,
        cpu_time: Some(Duration::from_secs(60)),
        ..Limits::default()
    };
    let host = interpreter(scratch.path())
        .limits(limits)
        .build()
        .await
        .unwrap();
    let broken = async |script: &str| {
        let error = host.run_command(["-n", script]).await.unwrap_err();
        let Error::BrokenWorker(broken) = error else {
            panic!("{error:?}")
        };
        broken
    };
    let hoards = broken("[repeat(1)]").await;
    assert!(
        matches!(hoards.cause(), Cause::OutOfMemory { limit, .. } if *limit == 32 << 20),
        "{hoards}"
    );
    // Deeper than its stack, which is in its memory.
    let deep = broken("def f: 1 + f; f").await;
    assert!(
        matches!(deep.cause(), Cause::StackOverflow | Cause::Trap(_)),
        "{deep}"
    );
    let out = run(&host, &["-Mn", "range(100000)"], b"").await;
    assert_eq!(out.exit_code, 0);
    assert!(text(&out.stdout).ends_with("99998\n99999\n"));
    assert!(out.stdout_lost > 0 && out.stdout.len() <= 8192);
}
