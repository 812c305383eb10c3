//! Programs that nobody here wrote, as crates.io has them: a compressor and an interpreter of scripts, each at
//! its own work, under limits, timeouts and cancel.

use std::fs;
use std::path::Path;
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

/// An interpreter that may read the scripts in a directory.
fn interpreter(scripts: &Path) -> HostBuilder {
    let wasi = Wasi::new().arg("rhai-run").read_dir(scripts, "/scripts");
    host_of(guest::rhai_run()).wasi(wasi).interrupt_grace(BOUND)
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
    let text = include_bytes!("../../../README.md").repeat(20);
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

const PRIMES: &str = r#"
    fn primes(max) {
        let composite = [];
        composite.pad(max + 1, false);
        let found = [];
        for n in 2..=max {
            if composite[n] { continue; }
            found.push(n);
            let m = n * n;
            while m <= max { composite[m] = true; m += n; }
        }
        found
    }
    let found = primes(10_000);
    print(`${found.len()} primes, the last is ${found[-1]}`);
    let words = "the quick brown fox jumps over the lazy dog".split(' ');
    words.sort(|a, b| if a < b { -1 } else if a > b { 1 } else { 0 });
    print(words.reduce(|all, word| if all == () { word } else { all + " " + word }));
"#;

#[tokio::test]
async fn scripts_compute() {
    let scratch = Scratch::new();
    let _ = scratch.file("primes.rhai", PRIMES);
    let _ = scratch.file("broken.rhai", "let x = 1;\nprint(x + nothing);");
    let host = interpreter(scratch.path()).build().await.unwrap();
    for _ in 0..3 {
        let out = run(&host, &["/scripts/primes.rhai"], b"").await;
        assert_eq!(
            text(&out.stdout),
            "1229 primes, the last is 9973\nbrown dog fox jumps lazy over quick the the\n"
        );
        assert_eq!((out.exit_code, text(&out.stderr)), (0, ""));
    }
    let out = run(&host, &["/scripts/broken.rhai"], b"").await;
    let said = format!("{}{}", text(&out.stdout), text(&out.stderr));
    assert!(said.contains("Variable not found: nothing"), "{said}");
    for path in ["/scripts/missing.rhai", "/etc/passwd", "/scripts/../x"] {
        let out = run(&host, &[path], b"").await;
        assert_eq!(out.exit_code, 1, "{path}");
        assert!(
            text(&out.stderr).contains("Error script file path"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_script_without_end_costs_only_itself() {
    let scratch = Scratch::new();
    let _ = scratch.file("loop.rhai", "let n = 0; loop { n += 1; }");
    for n in 0..20 {
        let script = format!("let all = 0; for n in 0..=1000 {{ all += n * {n}; }} print(all);");
        let _ = scratch.file(format!("{n}.rhai"), script);
    }
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
    let endless = || host.run_command(["/scripts/loop.rhai"]);
    // Dropped, it is stopped; others are served meanwhile.
    let running = tokio::spawn(endless().into_future());
    eventually_async(BOUND, || {
        let workers = host.stats().workers;
        workers.iter().any(|w| w.state == WorkerState::Running)
    })
    .await;
    for n in 0..20 {
        let out = run(&host, &[&format!("/scripts/{n}.rhai")], b"").await;
        assert_eq!(text(&out.stdout), format!("{}\n", 500_500 * n));
    }
    assert!(!running.is_finished());
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    for _ in 0..3 {
        let run = endless().timeout(Duration::from_millis(50));
        assert!(run.await.unwrap_err().is_timeout());
    }
    let out = run(&host, &["/scripts/7.rhai"], b"").await;
    assert_eq!(text(&out.stdout), format!("{}\n", 500_500 * 7));
    assert_eq!(pids(), before, "no stop cost a process");
}

#[tokio::test]
async fn a_script_that_wants_everything_gets_what_it_may() {
    let scratch = Scratch::new();
    let _ = scratch.file("memory.rhai", "let s = \"x\"; loop { s += s; }");
    let _ = scratch.file(
        "depth.rhai",
        "fn deeper(n) { deeper(n + 1) + 1 } deeper(0);",
    );
    let _ = scratch.file("output.rhai", "for n in 0..100_000 { print(n); }");
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
    let error = host.run_command(["/scripts/memory.rhai"]).await;
    let error = error.unwrap_err();
    let Error::BrokenWorker(broken) = &error else {
        panic!("{error:?}")
    };
    assert!(
        matches!(broken.cause(), Cause::OutOfMemory { limit, .. } if *limit == 32 << 20),
        "{error}"
    );
    // The interpreter counts itself how deep a script is.
    let out = run(&host, &["/scripts/depth.rhai"], b"").await;
    let said = format!("{}{}", text(&out.stdout), text(&out.stderr));
    assert!(said.contains("Stack overflow"), "{said}");
    let out = run(&host, &["/scripts/output.rhai"], b"").await;
    assert!(text(&out.stdout).ends_with("99998\n99999\n"));
    assert!(out.stdout_lost > 0 && out.stdout.len() <= 8192);
}
