//! Every real workload, in this process and in the pool: the same bytes.
//!
//! What lies between the two is everything of ours that touches a payload: the slot, the worker's loop, the
//! copies, the decoding.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade::{Bytes, Host, State};
use stockade_tests::{host_of, wait_for};
use stockade_wire::message::{StopBy, WasiSetup};
use stockade_worker::guest::{Alone, Program, Runtime};
use stockade_worker::{Compiled, InstanceLimits, compiler};

/// A module twice: in this process, and in workers of both kinds.
struct Pair {
    compiled: Compiled,
    program: Program<Alone>,
    hosts: [Host; 2],
}

const CODEC: u8 = 0;
const VALUE: u8 = 0;

impl Pair {
    fn of(wasm: &[u8]) -> Self {
        let compiled = compiler::compile(wasm, StopBy::Epoch).unwrap();
        let limits = InstanceLimits {
            memory_bytes: 512 << 20,
            tables: compiled.info().tables,
            table_elements: 20_000,
            stack_bytes: 512 << 10,
        };
        let runtime = Runtime::new(StopBy::Epoch, limits).unwrap();
        let program = runtime
            .load_compiled(&compiled, &WasiSetup::default())
            .unwrap();
        let host = |state| {
            let module = stockade::Module::from_bytes(wasm);
            host_of(module)
                .workers(1)
                .state(state)
                .build_blocking()
                .unwrap()
        };
        Self {
            compiled,
            program,
            hosts: [host(State::Fresh), host(State::Keep)],
        }
    }

    /// Makes one call in all three places, and returns the value's length.
    #[track_caller]
    fn compare<A, R>(&self, function: &str, arguments: A) -> usize
    where
        A: Serialize + Clone + Debug,
        R: DeserializeOwned + Serialize,
    {
        let config = bincode::config::standard();
        let mut request = vec![CODEC];
        request.extend(bincode::serde::encode_to_vec(&arguments, config).unwrap());
        let found = self.compiled.info().functions.iter();
        let export = found.clone().find(|f| f.name == function).unwrap().export;
        let mut guest = self.program.instantiate(Alone).unwrap();
        let mut reply = Vec::new();
        guest
            .call(&self.program, export, &request[..], &mut reply)
            .unwrap();
        drop(guest);
        assert_eq!(reply[0], VALUE);
        for host in &self.hosts {
            let value: R = wait_for(host.run_sync(function, arguments.clone())).unwrap();
            let bytes = bincode::serde::encode_to_vec(&value, config).unwrap();
            assert!(
                bytes == reply[1..],
                "{function}: the pool says something else"
            );
        }
        reply.len() - 1
    }
}

fn files(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let wanted = |path: &PathBuf| {
        path.extension()
            .is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
    };
    entries.filter(wanted).collect()
}

#[test]
fn small_calls_are_the_same_in_both_places() {
    let pair = Pair::of(stockade::include_guest!("hello"));
    for n in 0..20u32 {
        pair.compare::<_, u64>("fib", (n,));
        pair.compare::<_, u64>("add", (n, u32::MAX));
    }
    for len in [0, 1, 20, 30, 50, 4000, 100_000] {
        pair.compare::<_, String>("greet", ("é".repeat(len),));
    }
}

#[test]
fn markdown_is_the_same_in_both_places() {
    let pair = Pair::of(stockade::include_guest!("markdown"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut texts = Vec::new();
    for dir in [root, &root.join("benches"), &root.join("tests")] {
        texts.extend(files(dir, &["md"]));
    }
    assert!(texts.len() >= 4);
    for path in texts {
        let text = fs::read_to_string(path).unwrap();
        assert!(pair.compare::<_, String>("render", (&*text,)) > 100);
    }
}

#[test]
fn thumbnails_are_the_same_in_both_places() {
    let pair = Pair::of(stockade::include_guest!("thumbnail"));
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let images = files(&images, &["png", "jpg"]);
    assert!(images.len() >= 4);
    for path in images {
        let image = Bytes::from(fs::read(path).unwrap());
        for side in [1u32, 48, 200] {
            pair.compare::<_, Result<Bytes, String>>("thumbnail", (image.clone(), side, side));
        }
    }
}

fn sample(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn searches_are_the_same_in_both_places() {
    type Found = Result<Vec<(usize, usize, Vec<Option<String>>)>, String>;
    let pair = Pair::of(stockade::include_guest!("regex"));
    let log = sample("texts/access.log");
    for pattern in [r"(?m)^(\S+) (?=.*\n\1 )", r#"(?<=" )50[03]"#, "a(b", "z{3}"] {
        pair.compare::<_, Found>("search", (pattern, &*log));
    }
    pair.compare::<_, Result<String, String>>("replace", (r"(\d+)\.(\d+)", &*log, "$2.$1"));
}

#[test]
fn scripts_are_the_same_in_both_places() {
    // What went wrong has other fields, and is not compared.
    type Results = Result<Vec<String>, ()>;
    let pair = Pair::of(stockade::include_guest!("script"));
    let orders = sample("scripts/orders.json");
    let report = sample("scripts/report.jq");
    pair.compare::<_, Results>("run", (&*report, &*orders));
    let queens = sample("scripts/queens.jq");
    for side in ["1", "4", "6"] {
        pair.compare::<_, Results>("run", (&*queens, side));
    }
}

#[test]
fn archives_are_the_same_in_both_places() {
    // A variant of an enum is a number on the way.
    type Entries = Result<Vec<(String, Option<String>, u32, u64, u64)>, (u32, String)>;
    let pair = Pair::of(stockade::include_guest!("archive"));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("archives");
    let archives = files(&dir, &["zip"]);
    assert!(archives.len() >= 6);
    for path in archives {
        let archive = Bytes::from(fs::read(path).unwrap());
        pair.compare::<_, Entries>("list", (archive,));
    }
    let good = Bytes::from(fs::read(dir.join("good.zip")).unwrap());
    for name in ["images/julia.jpg", "tables/squares.txt", "empty"] {
        let args = (good.clone(), name, 1u64 << 20);
        pair.compare::<_, Result<Bytes, u32>>("extract", args);
    }
}
