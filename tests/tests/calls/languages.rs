//! Guests in other languages than Rust, from the files that the repository keeps and, where their compilers are,
//! built anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use stockade::{Cause, Codec, Error, Host, Module, State};
use stockade_tests::{Scratch, host_of};

fn guests(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("guests").join(path)
}

async fn host(module: &Path, state: State) -> Host {
    let builder = host_of(Module::from_file(module)).workers(1).state(state);
    builder.build().await.unwrap()
}

#[track_caller]
fn cause(error: &Error) -> &Cause {
    match error {
        Error::BrokenWorker(broken) => broken.cause(),
        other => panic!("{other:?}"),
    }
}

/// What guests/c/text.c promises.
async fn text_in_c(module: &Path) {
    for state in [State::Fresh, State::Keep] {
        let host = host(module, state).await;
        for codec in [Codec::Bincode, Codec::Json] {
            let words: Vec<(String, u32)> = host
                .call(
                    "top_words",
                    ("the cat, the \"hat\"\nand the übercat: cat", 2u32),
                )
                .codec(codec)
                .await
                .unwrap();
            assert_eq!(words, [("the".into(), 3), ("cat".into(), 2)]);
            let mean = |numbers: Vec<f64>| host.call("mean", (numbers,)).codec(codec);
            let found: Option<f64> = mean(vec![1.0, 2.25, -3e300, 3e300]).await.unwrap();
            assert_eq!(found, Some(0.0));
            let found: Option<f64> = mean(vec![0.1, 0.2]).await.unwrap();
            assert_eq!(found, Some((0.1 + 0.2) / 2.0), "not a bit is lost");
            assert_eq!(mean(vec![]).await.unwrap(), None::<f64>);
            let divide = |a: i64, b: i64| {
                let call = host.call::<_, _, Result<i64, String>>("divide", (a, b));
                call.codec(codec)
            };
            assert_eq!(divide(-7, 2).await.unwrap(), Ok(-3));
            let why = "nothing can be divided by 0".to_owned();
            assert_eq!(divide(7, 0).await.unwrap(), Err(why));
        }
        let _: (u32, u32) = host.run_sync("count", ()).await.unwrap();
        let count: (u32, u32) = host.run_sync("count", ()).await.unwrap();
        let calls = if state == State::Keep { 2 } else { 1 };
        assert_eq!(count, (1, calls), "constructors run once per instance");
        // Beyond one page of memory, there and back.
        let long = "word ".repeat(100_000);
        let words: Vec<(String, u32)> = host.run_sync("top_words", (&*long, 9u32)).await.unwrap();
        assert_eq!(words, [("word".into(), 100_000)]);

        let error = host
            .run_sync::<_, _, Result<i64, String>>("divide", (i64::MIN, -1i64))
            .await
            .unwrap_err();
        let expected = Cause::Panic {
            message: "the quotient has more than 64 bits".into(),
            location: "text.c:91".into(),
        };
        assert_eq!(*cause(&error), expected);
        let error = host
            .run_sync::<_, _, Option<f64>>("mean", (vec![1u32],))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Signature { .. }), "{error}");
        let function = host
            .functions()
            .into_iter()
            .find(|f| f.name == "divide")
            .unwrap();
        assert_eq!(function.docs, "The quotient, or why there is none.");
    }
}

/// What guests/assemblyscript/guest.ts promises.
async fn assemblyscript(module: &Path) {
    for state in [State::Fresh, State::Keep] {
        let host = host(module, state).await;
        for codec in [Codec::Bincode, Codec::Json] {
            let shout =
                |text: &'static str, times: u32| host.call("shout", (text, times)).codec(codec);
            let shouted: String = shout("grün \"\u{1}\\ 😀", 3).await.unwrap();
            assert_eq!(shouted, "GRÜN \"\u{1}\\ 😀!!!");
            let long = "ä,".repeat(50_000);
            let split = host.call("split", (&*long, ",")).codec(codec);
            let parts: Vec<String> = split.await.unwrap();
            assert_eq!(
                (parts.len(), &*parts[0], &*parts[50_000]),
                (50_001, "ä", "")
            );
            let mean = host.call::<_, _, f64>("mean", (vec![1.0, 2.5, -9.5],));
            assert_eq!(mean.codec(codec).await.unwrap(), -2.0);
        }
        let _: u32 = host.run_sync("count", ()).await.unwrap();
        let count: u32 = host.run_sync("count", ()).await.unwrap();
        assert_eq!(count, if state == State::Keep { 2 } else { 1 });
        assert_eq!(
            host.run_sync::<_, _, i32>("add", (2i32, 3i32))
                .await
                .unwrap(),
            5
        );
        let error = host
            .run_sync::<_, _, f64>("mean", (Vec::<f64>::new(),))
            .await
            .unwrap_err();
        let Cause::Panic { message, location } = cause(&error) else {
            panic!("{error:?}")
        };
        assert_eq!(message, "nothing has no mean");
        assert!(location.starts_with("guest.ts:"), "{location}");
    }
}

#[tokio::test]
async fn a_guest_in_c_works() {
    text_in_c(&guests("c/text.wasm")).await;
}

#[tokio::test]
async fn a_guest_in_assemblyscript_works() {
    assemblyscript(&guests("assemblyscript/guest.wasm")).await;
}

/// Whether a compiler is to be used. Where it is missing, only the files that the repository keeps are tested; unless
/// `STOCKADE_TOOLCHAINS` names it, as the gate does.
fn is_there(toolchain: &str, found: bool, how: &str) -> bool {
    let wanted = std::env::var("STOCKADE_TOOLCHAINS").unwrap_or_default();
    if !found {
        assert!(
            !wanted.split(' ').any(|name| name == toolchain),
            "{toolchain} is missing: {how}"
        );
        eprintln!("{toolchain} is missing, so its guests are not built anew: {how}");
    }
    found
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

#[tokio::test]
async fn the_guests_in_c_are_what_their_sources_make() {
    let scratch = Scratch::new();
    let probe = scratch.file(
        "probe.c",
        "#include <stdlib.h>\nint probe(void) { return abs(1); }\n",
    );
    let mut clang = Command::new("clang");
    clang.args(["--target=wasm32-wasi", "-mexec-model=reactor", "-o"]);
    clang.arg(scratch.join("probe.wasm")).arg(probe);
    let how = "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32";
    if !is_there("clang", succeeds(&mut clang), how) {
        return;
    }
    run(Command::new(guests("c/build.sh")).arg(scratch.path()));
    text_in_c(&scratch.join("text.wasm")).await;
    let built = host(&scratch.join("types.wasm"), State::Fresh).await;
    let kept = host(&guests("c/types.wasm"), State::Fresh).await;
    assert_eq!(built.functions(), kept.functions());

    // What README.md shows.
    let readme = include_str!("../../../README.md");
    let (_, example) = readme.split_once("```c\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let module = scratch.join("example.wasm");
    let mut clang = Command::new("clang");
    clang.args([
        "--target=wasm32",
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-O2",
        "-nostdlib",
    ]);
    clang
        .args(["-Wl,--no-entry", "-I"])
        .arg(guests("../guest-sdk/c"));
    run(clang
        .arg(scratch.file("example.c", example))
        .arg("-o")
        .arg(&module));
    let host = host(&module, State::Fresh).await;
    let name: String = host.run_sync("greet", ("Ada",)).await.unwrap();
    assert_eq!(name, "Ada");
}

#[tokio::test]
async fn the_guest_in_assemblyscript_is_what_its_source_makes() {
    let compiler = guests("assemblyscript/node_modules/assemblyscript");
    let has_npm = succeeds(Command::new("npm").arg("--version"));
    let how = "install Node.js, and run `npm ci` in guests/assemblyscript";
    if !is_there("assemblyscript", has_npm && compiler.is_dir(), how) {
        return;
    }
    let scratch = Scratch::new();
    let module = scratch.join("guest.wasm");
    let mut npm = Command::new("npm");
    npm.args(["run", "build", "--", "--outFile"]).arg(&module);
    run(npm.current_dir(guests("assemblyscript")));
    assemblyscript(&module).await;
}
