//! Calls, and the ways in which guests fail.

use stockade_wire::message::{
    Failure, FailureKind, InstanceState, Seal, StopBy, TrapKind, WasiSetup, WorkerRefusal,
};

use crate::guests::{NUMBERS, WORK};
use crate::tiny_host::{Answer, Options, Worker, compile};

fn sealed_and_not() -> [Options; 2] {
    [Seal::Required, Seal::None].map(|seal| Options {
        seal,
        ..Options::default()
    })
}

fn keep() -> Options {
    Options {
        state: InstanceState::Keep,
        ..Options::default()
    }
}

fn value(bytes: impl Into<Vec<u8>>) -> Answer {
    Answer::Value(bytes.into())
}

fn failure(answer: Answer) -> Failure {
    match answer {
        Answer::Failure(failure) => failure,
        other => panic!("not a failure: {other:?}"),
    }
}

#[test]
fn numbers_go_in_and_come_out_with_every_bit() {
    for options in sealed_and_not() {
        let mut worker = Worker::of(NUMBERS, &options);
        let sum = u64::from(u32::MAX).to_le_bytes();
        assert_eq!(worker.numbers("add", &[u64::from(u32::MAX), 0]), value(sum));
        let mixed = (-5.0f64 + 0.5 + 0.25).to_bits().to_le_bytes();
        let arguments = [-5i64 as u64, u64::from(0.5f32.to_bits()), 0.25f64.to_bits()];
        assert_eq!(worker.numbers("mix", &arguments), value(mixed));
        assert_eq!(worker.numbers("nothing", &[]), value([]));
        let many = [1, 0, 0, 0, 0, 0, 0, 0, 0, 1 << 40];
        let sum = ((1u64 << 40) + 1).to_le_bytes();
        assert_eq!(worker.numbers("many", &many), value(sum));
        let failure = failure(worker.numbers("add", &[1]));
        assert!(matches!(failure.kind, FailureKind::Abi(_)), "{failure:?}");
    }
}

#[test]
fn a_request_of_any_length_is_echoed() {
    for options in sealed_and_not() {
        let mut worker = Worker::of(WORK, &options);
        for len in [1, 23, 24, 25, 40, 41, 4096, 70_000, 1 << 20] {
            let mut request = vec![0xab; len];
            request[0] = 0;
            assert_eq!(worker.call("echo", &request), value(request));
        }
    }
}

#[test]
fn a_fresh_instance_knows_nothing_of_the_last_call() {
    for polled_for in [false, true] {
        let options = Options {
            polled_for,
            ..Options::default()
        };
        let mut worker = Worker::of(WORK, &options);
        for _ in 0..3 {
            assert_eq!(worker.call("count", &[0]), value([0; 5]));
            assert_eq!(worker.call("leave", &[0]), value([0, 0]));
            assert!(matches!(worker.call("trap", &[0]), Answer::Failure(_)));
        }
    }
}

#[test]
fn a_kept_instance_goes_on_until_it_fails() {
    for polled_for in [false, true] {
        let options = Options {
            polled_for,
            ..keep()
        };
        let mut worker = Worker::of(WORK, &options);
        for count in 0..3 {
            assert_eq!(worker.call("count", &[0]), value([0, count, 0, 0, 0]));
        }
        assert!(matches!(worker.call("trap", &[0]), Answer::Failure(_)));
        assert_eq!(worker.call("count", &[0]), value([0; 5]));
        // A result that is too large leaves the instance as it is.
        assert!(matches!(worker.call("huge", &[0]), Answer::Failure(_)));
        assert_eq!(worker.call("count", &[0]), value([0, 1, 0, 0, 0]));
    }
}

#[test]
fn every_failure_says_what_it_is_and_the_worker_serves_on() {
    let abi = |part: &str| Err(part.to_owned());
    let cases: [(&str, Result<FailureKind, String>); 12] = [
        ("trap", Ok(FailureKind::Trap(TrapKind::Unreachable))),
        (
            "divide",
            Ok(FailureKind::Trap(TrapKind::IntegerDivisionByZero)),
        ),
        (
            "outside",
            Ok(FailureKind::Trap(TrapKind::MemoryOutOfBounds)),
        ),
        ("deep", Ok(FailureKind::StackOverflow)),
        ("exit", Ok(FailureKind::Exit(3))),
        (
            "panic",
            Ok(FailureKind::Panic {
                message: "no good".into(),
                location: "src/lib.rs:1:2".into(),
            }),
        ),
        (
            "exhaust",
            Ok(FailureKind::OutOfMemory {
                limit: 16 << 20,
                requested: (16 << 20) + (2 << 16),
            }),
        ),
        ("huge", Ok(FailureKind::ResultTooLarge { bytes: 2_000_000 })),
        ("far", abi("outside the memory")),
        ("empty", abi("empty")),
        ("status", abi("status 9")),
        ("status", abi("status 9")),
    ];
    for options in sealed_and_not().into_iter().chain([keep()]) {
        let mut worker = Worker::of(WORK, &options);
        let pid = worker.pid();
        for (function, expected) in &cases {
            let found = failure(worker.call(function, &[0])).kind;
            match expected {
                Ok(expected) => assert_eq!(found, *expected, "{function}"),
                Err(part) => assert!(
                    matches!(&found, FailureKind::Abi(message) if message.contains(part)),
                    "{function}: {found:?}"
                ),
            }
            assert_eq!(worker.call("echo", &[0, 1]), value([0, 1]));
        }
        assert_eq!(worker.pid(), pid);
    }
}

#[test]
fn a_sealed_worker_can_use_all_the_memory_of_its_limit() {
    let options = Options {
        memory_bytes: 512 << 20,
        ..Options::default()
    };
    let mut worker = Worker::of(WORK, &options);
    for _ in 0..2 {
        let kind = FailureKind::OutOfMemory {
            limit: 512 << 20,
            requested: (512 << 20) + (2 << 16),
        };
        assert_eq!(failure(worker.call("exhaust", &[0])).kind, kind);
        assert_eq!(worker.call("echo", &[0, 1]), value([0, 1]));
    }
}

#[test]
fn a_request_that_finds_no_room_is_refused_by_the_guest() {
    let options = Options {
        memory_bytes: 2 << 16,
        ..Options::default()
    };
    let mut worker = Worker::of(WORK, &options);
    let failure = failure(worker.call("echo", &[0; 200_000]));
    assert_eq!(
        failure.kind,
        FailureKind::NoRoomForArguments { bytes: 200_000 }
    );
    assert_eq!(worker.call("echo", &[0]), value([0]));
}

#[test]
fn a_backtrace_names_the_frames_innermost_first() {
    let mut worker = Worker::of(WORK, &Options::default());
    let backtrace = failure(worker.call("trap", &[0])).backtrace.unwrap();
    let lines: Vec<_> = backtrace.lines().collect();
    assert_eq!(lines.len(), 2, "{backtrace}");
    assert!(
        lines[0].starts_with("0: inner (module offset 0x"),
        "{backtrace}"
    );
    assert!(lines[1].starts_with("1: "), "{backtrace}");
}

#[test]
fn output_is_kept_for_the_call_that_wrote_it() {
    let mut worker = Worker::of(WORK, &Options::default());
    worker.call("print", &[0]);
    assert_eq!(worker.output(0), b"hello\n");
    assert_eq!(worker.output(1), b"hello\n");
    worker.call("echo", &[0]);
    assert_eq!(worker.output(0), b"");
}

#[test]
fn a_seed_decides_what_is_random() {
    let mut draws = [None, Some(1), Some(1)].map(|random_seed| {
        let options = Options {
            wasi: WasiSetup {
                random_seed,
                ..WasiSetup::default()
            },
            ..Options::default()
        };
        let mut worker = Worker::of(WORK, &options);
        [worker.call("random", &[0]), worker.call("random", &[0])]
    });
    assert_eq!(draws[1], draws[2]);
    assert_eq!(draws[1][0], draws[1][1]);
    let [first, second] = &mut draws[0];
    assert_ne!(first, second);
}

#[test]
fn code_without_epochs_runs_too() {
    let options = Options {
        stop: StopBy::Kill,
        ..Options::default()
    };
    let mut worker = Worker::of(WORK, &options);
    assert_eq!(worker.call("echo", &[0, 7]), value([0, 7]));
}

#[test]
fn what_a_module_does_at_its_start_can_refuse_it() {
    let refusal = |wat: &str, options: &Options| {
        let artifact = compile(wat.as_bytes(), options).unwrap();
        Worker::start(&artifact, options).err().unwrap()
    };
    let options = Options::default();
    for wat in [
        "(module (func $s unreachable) (start $s))",
        r#"(module (func (export "_initialize") unreachable))"#,
    ] {
        let (why, message) = refusal(wat, &options);
        assert_eq!(why, WorkerRefusal::Init);
        assert!(message.contains("Unreachable"), "{message}");
        assert!(message.contains("0: "), "{message}");
    }
    let (why, message) = refusal("(module (memory 1000))", &options);
    assert_eq!(why, WorkerRefusal::Init);
    assert!(message.contains("65536000"), "{message}");
    let (why, message) = refusal("(module (table 20000 funcref))", &options);
    assert_eq!(why, WorkerRefusal::Init, "{message}");
    let tables = "(module (table 6000 funcref) (table 6000 funcref))";
    let (why, message) = refusal(tables, &options);
    assert_eq!(why, WorkerRefusal::Init);
    assert!(message.contains("12000"), "{message}");
}

#[test]
fn initialize_runs_once_before_each_instances_first_call() {
    let wat = r#"
        (module
          (global $n (mut i32) (i32.const 0))
          (func (export "_initialize") (global.set $n (i32.add (global.get $n) (i32.const 1))))
          (func (export "n") (result i32) (global.get $n)))"#;
    for options in [Options::default(), keep()] {
        let mut worker = Worker::of(wat, &options);
        for _ in 0..3 {
            assert_eq!(worker.numbers("n", &[]), value(1u64.to_le_bytes()));
        }
    }
}

#[test]
fn an_artifact_of_another_kind_is_told_from_a_failure() {
    let options = Options::default();
    let artifact = compile(NUMBERS.as_bytes(), &options).unwrap();
    let other = Options {
        stop: StopBy::Kill,
        ..options
    };
    let (why, message) = Worker::start(&artifact, &other).err().unwrap();
    assert_eq!(why, WorkerRefusal::Artifact, "{message}");
}

#[test]
fn a_program_that_links_the_crate_serves_as_its_own_worker() {
    assert!(stockade_worker::entry::in_main_program());
    for mut options in sealed_and_not() {
        options.embedded = true;
        let mut worker = Worker::of(WORK, &options);
        assert_eq!(worker.call("echo", &[0, 1]), value([0, 1]));
        assert!(matches!(worker.call("trap", &[0]), Answer::Failure(_)));
        assert_eq!(worker.call("echo", &[0, 1]), value([0, 1]));
    }
}

#[test]
fn the_program_says_that_it_is_not_started_by_hand() {
    let program = env!("CARGO_BIN_EXE_stockade-worker");
    let output = std::process::Command::new(program)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("started by stockade hosts"), "{said}");
}
